"""Runs side by side: what differs in their settings, what came of each, in all three forms."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import Page
from typer.testing import CliRunner

from neurogrid.cli.app import app
from neurogrid.errors import RunError, UsageError
from neurogrid.ledger import read_round_metrics
from neurogrid.storage import Place

MakeRun = Callable[..., tuple[Place, Place]]


def compare(warehouse: Place, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["compare", *arguments, "--warehouse", str(warehouse)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


@pytest.fixture
def warehouse(make_run: MakeRun) -> Place:
    """A run with an attack and an evaluation, and a longer one without either."""
    make_run(run_id="attacked", rounds=4)
    return make_run(run_id="calm", rounds=6, attack="none", evaluated=False)[1]


def test_what_differs_and_what_came_of_each_run_is_set_side_by_side(warehouse: Place) -> None:
    found = json.loads(compare(warehouse, "attacked", "calm", "--json"))
    assert found["runs"] == ["attacked", "calm"]
    assert found["settings"] == {"attack.kind": ["sign_flip", "none"], "rounds.count": [4, 6]}
    losses = [read_round_metrics(warehouse / "runs" / run)["held_out_loss"].to_pylist() for run in found["runs"]]
    assert found["held_out_loss"] == losses
    figures = found["figures"]
    assert figures["state"] == ["ended", "ended"]
    assert figures["rounds"] == [4, 6]
    assert figures["held_out_loss_last"] == [losses[0][-1], losses[1][-1]]
    evaluation = json.loads((warehouse / "runs" / "attacked" / "evaluation.json").read_text())
    trained = evaluation["parts"]["test"]["trained"]["methods"]["federated"]
    assert figures["trained_mae_kwh"] == [trained["mae"]["value"], None]
    assert figures["rejection_recall"][1] is None
    assert found["notes"] == []


def test_the_table_and_the_page_say_the_same(warehouse: Place, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    table = compare(warehouse, "attacked", "calm", "--page", str(file))
    page = Page(file.read_text())
    assert page.open == []
    assert page.loads == []
    for words in ("attack.kind", "sign_flip", "rounds.count", "held-out loss after the last round", "ended"):
        assert words in table
        assert words in page.words
    assert 'aria-label="Held-out loss by round' in file.read_text()


def test_runs_of_other_households_are_compared_with_a_warning(make_run: MakeRun) -> None:
    make_run(run_id="many", rounds=1)
    _, warehouse = make_run(run_id="few", rounds=1, agents=9)
    found = json.loads(compare(warehouse, "many", "few", "--json"))
    assert len(set(found["settings"]["sampling.manifest"])) == 2
    assert "other households are tested" in found["notes"][0]


def test_a_single_run_a_missing_one_and_a_damaged_one_are_refused(warehouse: Place) -> None:
    for runs in (("calm",), ("calm", "calm")):
        with pytest.raises(UsageError, match="two runs or more"):
            compare(warehouse, *runs)
    with pytest.raises(UsageError, match='there is no run "nobody"'):
        compare(warehouse, "calm", "nobody")
    record = warehouse / "runs" / "attacked" / "rounds" / "round=0002.json"
    record.write(record.read_text().replace("0", "1", 1))
    with pytest.raises(RunError, match="run attacked was modified"):
        compare(warehouse, "calm", "attacked")
