"""`neurogrid audit --replay`: a run is made again from its own records, and what does not follow from them is found.

And a run of which nothing comes says why.
"""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_run_manifest import Command, drawn, neurogrid, sampled, train  # noqa: F401 - fixtures

from neurogrid.ledger.chain import seal, sha256, to_text
from neurogrid.ledger.table import metrics_table
from neurogrid.pipeline import replay, training

BUFFERED = (
    "rounds.schedule=buffered",
    "rounds.buffer=2",
    "rounds.agents_per_round=3",
    "rounds.count=5",
    "backend.kind=spark",
)
KINDS = {"sync": ("rounds.count=3", "local.private_layers=[surge]"), "buffered": BUFFERED}


def sets(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def stopped_after(rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next training is interrupted when so many of its rounds are over."""
    real = training.federate

    class Stop:
        def after_round(self, record: Any, state: Any) -> None:
            if record.round_id == rounds:
                raise KeyboardInterrupt

    def federate(state: Any, federation: Any, settings: Any, backend: Any, observers: Any, *further: Any) -> Any:
        return real(state, federation, settings, backend, [*observers, Stop()], *further)

    monkeypatch.setattr(training, "federate", federate)


def forge(run: Path, number: int, change: Any) -> None:
    """Changes a round's record and its audit's rows, and makes the rest of the chain anew, so that it verifies."""
    audit = f"audit/agent_round_audit/round={number:04d}.parquet"
    names = ["run.json", *(f"rounds/{path.name}" for path in sorted((run / "rounds").iterdir())), "end.json"]
    records = [json.loads((run / name).read_text()) for name in names]
    table = pq.read_table(run / audit)
    rows = table.to_pylist()
    change(records[number], rows)
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), sink)
    (run / audit).write_bytes(sink.getvalue())
    records[number]["files"][audit] = sha256(sink.getvalue())
    head = records[number - 1]["sha256"]
    for place in range(number, len(records)):
        if place == len(records) - 1:
            content = metrics_table(records[1:-1])
            (run / "round_metrics.parquet").write_bytes(content)
            records[place]["files"]["round_metrics.parquet"] = sha256(content)
        bare = {key: value for key, value in records[place].items() if key not in ("sha256", "previous_sha256")}
        records[place] = seal(bare, head)
        head = records[place]["sha256"]
        (run / names[place]).write_text(to_text(records[place]))


def weights(record: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    record["w_global_sha256"] = "0" * 64


def answers(record: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    next(row for row in rows if row["answered"])["answered"] = False


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_run_that_was_stopped_between_is_made_again_and_a_forged_chain_that_verifies_is_found(
    kind: str,
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, warehouse = tmp_path / "w" / "runs" / "again", ("--warehouse", tmp_path / "w")
    with monkeypatch.context() as patch:
        stopped_after(2, patch)
        assert neurogrid(*train(tmp_path, "again"), *sets(*KINDS[kind]))[0] == 130
    code, trained, words = neurogrid("train", "--resume", "again", *warehouse)
    assert code == 0, words
    code, found, words = neurogrid("audit", "again", "--replay", *warehouse)
    assert (code, found["replayed_rounds"]) == (0, trained["rounds"]), words
    assert "each with the weights on record" in words

    shutil.copytree(run, tmp_path / "honest")
    for change, said in ((answers, "round 2 "), (weights, "round 2 comes to other weights than it has on record")):
        shutil.rmtree(run)
        shutil.copytree(tmp_path / "honest", run)
        forge(run, 2, change)
        assert neurogrid("audit", "again", *warehouse)[0] == 0
        code, found, words = neurogrid("audit", "again", "--replay", *warehouse)
        assert code == 1, words
        assert found["error"]["what"] == "run again cannot be made again from its records"
        assert said in found["error"]["found"]


def test_a_replay_is_refused_where_readings_versions_or_records_are_others(
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warehouse = ("--warehouse", tmp_path / "w")
    assert neurogrid(*train(tmp_path, "once"))[0] == 0

    def refused() -> dict[str, Any]:
        code, said, words = neurogrid("audit", "once", "--replay", *warehouse)
        assert code == 2, words
        return dict(said["error"])

    with monkeypatch.context() as patch:
        patch.setattr(replay, "made_with", lambda: {"neurogrid": "9.9", "processor": "sparc"})
        error = refused()
    assert "was made with other versions or on another processor" in error["what"]
    assert "processor sparc, was " in error["found"]

    with monkeypatch.context() as patch:
        patch.setattr(replay, "breaks", lambda records: ["from round 2 on: torch 2, was 1"])
        assert "more than one version or processor" in refused()["what"]

    manifest = json.loads(drawn.read_text())
    used = [part["table"] for agent in manifest["agents"] for part in agent["parts"]]
    table = next(p for p in (tmp_path / "w" / "meters").rglob("*.parquet") if any(name in p.name for name in used))
    content = table.read_bytes()
    table.write_bytes(content[:-1] + b"x")
    error = refused()
    assert error["what"].startswith("the readings of agent ")
    table.unlink()
    assert "does not fit the meters" in refused()["what"]


def test_a_training_that_diverges_says_so_and_what_to_lower(
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    diverging = sets(
        "local.learning_rate=1e30",
        "local.optimiser=sgd",
        "local.gradient_clip_norm=0",
        "local.loss=mse",
        "local.steps=8",
    )
    code, said, _ = neurogrid(*train(tmp_path, "diverged"), *diverging)
    assert code == 1
    assert said["error"]["found"] == "4 of 4 agents: not finite"
    assert said["error"]["fix"].startswith("lower local.learning_rate")
