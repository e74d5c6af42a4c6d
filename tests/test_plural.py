"""A count of one takes a singular noun, wherever a person meets it."""

from datetime import UTC, datetime

import pytest

from neurogrid.cli import plan_words
from neurogrid.config import load
from neurogrid.data.manifest import Agent, Manifest
from neurogrid.pipeline.plan import plan_training
from neurogrid.plural import plural


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 agents"), (1, "1 agent"), (2, "2 agents"), (12_345, "12,345 agents")]
)
def test_only_one_is_singular_and_thousands_are_set_apart(count: int, words: str) -> None:
    assert plural(count, "agent") == words


def test_a_plural_of_its_own_is_taken() -> None:
    assert [plural(count, "entry", "entries") for count in (1, 2)] == ["1 entry", "2 entries"]


def test_a_plan_with_one_of_each_says_so_in_the_singular() -> None:
    text = "{local: {steps: 1, batch_size: 1}, sampling: {districts: 1}, aggregation: {rule: mean}}"
    now = datetime(2026, 1, 1, tzinfo=UTC)
    alone = (Agent("A0001", (), 0, 0, 1000, now, now, now, now),)
    plan = plan_training(load(text), Manifest(1, 30, "natural", 1, 0.0, (), alone, (), (), {}))
    said = dict(plan_words.training(plan, "inline"))
    assert said["agents"].startswith("1 in 1 district,")
    assert said["rounds"].endswith("with 1 of 1 agent in each")
    assert said["each agent"].startswith("1 step of 1 window,")
