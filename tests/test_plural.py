"""A count of one takes a singular noun, wherever a person meets it."""

import pytest

from neurogrid.cli.plan import show_training
from neurogrid.config import load
from neurogrid.data.manifest import Manifest
from neurogrid.plural import plural


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 agents"), (1, "1 agent"), (2, "2 agents"), (12_345, "12,345 agents")]
)
def test_only_one_is_singular_and_thousands_are_set_apart(count: int, words: str) -> None:
    assert plural(count, "agent") == words


def test_a_plural_of_its_own_is_taken() -> None:
    assert [plural(count, "entry", "entries") for count in (1, 2)] == ["1 entry", "2 entries"]


def test_a_plan_with_one_of_each_says_so_in_the_singular(capsys: pytest.CaptureFixture[str]) -> None:
    text = "{local: {steps: 1, batch_size: 1}, aggregation: {byzantine_share: 0.07}}"
    show_training(load(text), Manifest(1, 30, "natural", 1, 0.0, (), (), (), (), {}), 12345, "inline")
    said = capsys.readouterr().err
    assert "0 in 1 district," in said
    assert "1 step of 1 window," in said
