"""`neurogrid runs`: what it lists are the ledger's own figures; a damaged run is named, never a traceback."""

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from small_run import ROUNDS, train
from typer.testing import CliRunner

from neurogrid.cli.app import app
from neurogrid.errors import RunError, UsageError
from neurogrid.ledger import read_round_metrics, verify
from neurogrid.ledger.follow import Following
from neurogrid.storage import place


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    train(tmp_path / "runs" / "r1")
    return tmp_path


def listed(warehouse: Path) -> list[dict]:
    done = CliRunner().invoke(app, ["runs", "--warehouse", str(warehouse), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)["runs"]


def test_a_run_is_listed_with_its_first_and_last_loss(warehouse: Path) -> None:
    (run,) = listed(warehouse)
    losses = read_round_metrics(place(str(warehouse / "runs" / "r1")))["held_out_loss"].to_pylist()
    assert (run["first_loss"], run["last_loss"]) == (losses[0], losses[-1])
    assert losses[0] > losses[-1]
    assert (run["state"], run["rounds"], run["rounds_asked"]) == ("ended", ROUNDS, ROUNDS)
    assert (run["run_id"], run["rule"], run["attack"]) == ("r1", "trimmed_mean", "noise")


def test_the_table_is_a_result_on_stdout(warehouse: Path) -> None:
    done = CliRunner().invoke(app, ["runs", "--warehouse", str(warehouse)], catch_exceptions=False)
    assert re.search(r"^r1 .* ended +8/8 +trimmed_mean +noise ", done.stdout, re.MULTILINE)


def test_an_empty_warehouse_has_no_runs_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert listed(tmp_path) == []
    with pytest.raises(UsageError, match="there is no warehouse"):
        listed(tmp_path / "nowhere")


def spoilt(run: Path, name: str, content: str | None) -> None:
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_text(content)


FOUR = "rounds/round=0004.json"
DAMAGE = [
    *[("run.json", content) for content in ("", "{}", '{"run_id": "r2"}', "[]", "[" * 9999)],
    *[(FOUR, content) for content in (None, "", "[]", "[" * 9999, '{"held_out_loss": NaN}', '{"round_id": 4}')],
    ("rounds/round=0008.json", None),
]


@pytest.mark.parametrize(("name", "content"), DAMAGE)
def test_a_damaged_run_is_named_beside_the_others(warehouse: Path, name: str, content: str | None) -> None:
    shutil.copytree(warehouse / "runs" / "r1", warehouse / "runs" / "r2")
    spoilt(warehouse / "runs" / "r2", name, content)
    runs = listed(warehouse)
    assert {run["run_id"]: run["state"] for run in runs} == {"r1": "ended", "r2": "damaged"}
    assert next(run["last_loss"] for run in runs if run["run_id"] == "r2") is None
    assert verify(place(str(warehouse / "runs" / "r2"))).problems


@pytest.mark.parametrize(("name", "content"), DAMAGE)
def test_who_watches_a_damaged_run_is_told(warehouse: Path, name: str, content: str | None) -> None:
    spoilt(warehouse / "runs" / "r1", name, content)
    following = Following(place(str(warehouse)), "r1")
    if name == "run.json":
        with pytest.raises(RunError, match="run r1 was modified"):
            following.look(datetime.now(UTC))
    else:
        figures = following.look(datetime.now(UTC))
        assert figures is not None
        assert figures["state"] == "damaged"
