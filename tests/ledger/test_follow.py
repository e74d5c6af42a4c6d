"""A watcher's figures are the ledger's own, and only new rounds are read for them."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
from small_run import ROUNDS, SETTINGS, begin_or_resume, train

from neurogrid.errors import UsageError
from neurogrid.fl.record import reason_kind
from neurogrid.ledger import read_agent_audit, read_round_metrics
from neurogrid.ledger.chain import seal, to_text
from neurogrid.ledger.follow import Follower, Following
from neurogrid.storage import place

NOW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("w") / "runs" / "r1"
    train(folder, settings=replace(SETTINGS, aggregation=replace(SETTINGS.aggregation, rule="multi_krum")))
    return folder


def test_figures_are_those_of_the_metrics_and_the_audit(run: Path) -> None:
    figures = Follower(place(str(run))).look().figures(NOW)
    metrics, audit = read_round_metrics(place(str(run))), read_agent_audit(place(str(run)))
    assert figures["rounds"] == len(metrics) == ROUNDS
    assert figures["state"] == "ended"
    assert figures["held_out_loss"] == metrics["held_out_loss"].to_pylist()
    assert figures["acceptance"] == metrics["acceptance_rate"].to_pylist()
    assert figures["bytes_up"] == sum(metrics["bytes_up"].to_pylist())
    assert figures["latency_s"]["train"]["longest"] == max(metrics["train_s"].to_pylist())
    assert figures["updates"]["asked"] == len(audit)
    assert figures["updates"]["accepted"] == pc.sum(audit["accepted"]).as_py()
    refused = [row for row in audit.to_pylist() if not row["accepted"]]
    for entry in figures["rejected"]:
        own = [r for r in refused if reason_kind(r["reason"]) == entry["reason"]]
        assert entry["updates"] == sum(r["malicious"] == entry["attackers"] for r in own) > 0
    assert sum(entry["updates"] for entry in figures["rejected"]) == len(refused) > 0
    json.dumps(figures, allow_nan=False)


def test_a_later_look_reads_only_what_came_since(run: Path, tmp_path: Path) -> None:
    half = tmp_path / "runs" / "half"
    (half / "rounds").mkdir(parents=True)
    for name in ("run.json", *(f"rounds/round={n:04d}.json" for n in (1, 2))):
        (half / name).write_bytes((run / name).read_bytes())
    follower = Follower(place(str(half)))
    first = follower.look()
    assert (len(first.rounds), first.state(datetime.now(UTC)), first.state(NOW)) == (2, "running", "silent")
    # What was read is not read again: broken now, it makes no difference.
    (half / "rounds" / "round=0001.json").write_text("no JSON")
    (half / "rounds" / "round=0003.json").write_bytes((run / "rounds" / "round=0003.json").read_bytes())
    assert len(follower.look().rounds) == 3


def test_a_run_that_is_stopped_in_order_is_stopped_at_once_and_running_again_when_it_is_resumed(
    run: Path, tmp_path: Path
) -> None:
    half = tmp_path / "runs" / "half"
    shutil.copytree(run, half)
    for name in ("end.json", *(f"rounds/round={n:04d}.json" for n in range(3, ROUNDS + 1))):
        (half / name).unlink()
    (half / "round_metrics.parquet").unlink()
    follower = Follower(place(str(half)))
    assert follower.look().figures(datetime.now(UTC))["state"] == "stopped"
    ledger, _ = begin_or_resume(place(str(half)))
    assert follower.look().state(datetime.now(UTC)) == "running"
    held = (half / "run.lock").read_bytes()
    ledger.close()
    assert follower.look().state(datetime.now(UTC)) == "stopped"
    # A run that was killed has let go of nothing.
    (half / "run.lock").write_bytes(held)
    assert (follower.look().state(datetime.now(UTC)), follower.look().state(NOW)) == ("running", "silent")


def test_the_newest_run_is_the_one_that_was_started_last(run: Path, tmp_path: Path) -> None:
    assert Following(place(str(tmp_path)), "").look(NOW) is None
    genesis = json.loads((run / "run.json").read_text())
    for name, started in (("b", "2026-01-02"), ("a", "2026-01-03"), ("c", "2026-01-01")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        own = {key: value for key, value in genesis.items() if "sha256" not in key}
        (folder / "run.json").write_text(to_text(seal({**own, "run_id": name, "started": started}, "")))
    assert Following(place(str(tmp_path)), "").look(NOW)["run_id"] == "a"
    with pytest.raises(UsageError, match="there is no run"):
        Following(place(str(tmp_path)), "nope").look(NOW)
