"""Every mistake a person can make gets its own words and an exit code, never a traceback."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from neurogrid.cli import main, steps
from neurogrid.config import Config
from neurogrid.ledger.chain import seal, sha256, to_text

# arguments | exit code | what the message says; {tmp} is an empty folder with the files of `folder` in it
CASES = [
    ("nonsense", 2, ["No such command"]),
    ("train --nonsense", 2, ["No such option"]),
    ("etl -c {tmp}/none.yaml", 2, ["cannot read the config", "none.yaml"]),
    ("etl -c {tmp}/broken.yaml", 2, ["is not YAML", "line"]),
    ("etl -c {tmp}/list.yaml", 2, ["must be a mapping", "list"]),
    ("config validate {tmp}/unknown.yaml", 2, ["no key rounds.cuont", "did you mean rounds.count"]),
    ("config validate {tmp}/none.yaml", 2, ["cannot read the config"]),
    ("config show --set learning_rate=1", 2, ["no key learning_rate", "did you mean local.learning_rate"]),
    ("config show --set rounds.count=many", 2, ["rounds.count", "valid integer", "'many'"]),
    ("config show --set rounds.count=0", 2, ["rounds.count", "greater than or equal to 1", "found 0"]),
    ("config show --set seed=-1", 2, ["seed", "found -1"]),
    ("config show --set rounds.count", 2, ["--set takes key=value", "rounds.count"]),
    ("config show --set seed=1 --set seed.a=2", 2, ["seed is a value, not a section"]),
    ("config show --set etl.train_share=0.95 --set etl.validation_share=0.1", 2, ["leave time to test on", "0.95"]),
    ("config show --set aggregation.byzantine_share=0", 2, ["would trim nobody", "use the rule mean"]),
    ("config show --set aggregation.byzantine_share=0.49", 2, ["cannot bear f = 7", "2f + 3 = 17"]),
    ("config show --set sampling.agents=4 --set aggregation.byzantine_share=0.25", 2, ["4 agents", "f = 1", "= 5"]),
    ("config show --set rounds.min_agents=16", 2, ["rounds.min_agents 16", "15 agents"]),
    ("config show --set sampling.districts=70", 2, ["sampling.districts 70", "sampling.agents 61"]),
    ("config show --set run_id=a/b", 2, ["run_id", "a/b"]),
    ("train --byzantine-attack gossip", 2, ["attack.kind", "sign_flip", "gossip"]),
    ("train --byzantine-fraction 1.5 --byzantine-attack noise", 2, ["attack.fraction", "1.5"]),
    ("train --byzantine-fraction 0.2", 2, ["without an attack does nothing", "--byzantine-attack"]),
    ("etl --data-dir {tmp}/nowhere --warehouse {tmp}/w", 2, ["nowhere is not a folder", "--data-dir"]),
    ("etl --data-dir {tmp}/empty --warehouse {tmp}/w", 2, ["does not hold", "an empty folder", "households.csv"]),
    ("etl --data-dir {tmp}/data --warehouse {tmp}/w --set source.kind=sgsc", 2, ["meter data of kind sgsc"]),
    ("etl --data-dir {tmp}/data --warehouse {tmp}/w --set etl.cadence_minutes=7", 2, ["7"]),
    ("etl --data-dir {tmp}/data --warehouse {tmp}/w --exclude *", 2, ["exclude"]),
    ("etl --data-dir {tmp}/data --warehouse ftp://host/w", 2, ["ftp://host/w", "s3://"]),
    ("exporter --warehouse ftp://host/w", 2, ["ftp://host/w", "s3://"]),
    ("exporter --release prod", 2, ["--release", "--kubernetes"]),
    ("sample --warehouse {tmp}/w", 2, ["meters", "neurogrid etl"]),
    ("sample --warehouse {tmp}/whole --agents 400", 2, ["400", "usable"]),
    ("train --warehouse {tmp}/w", 2, ["no manifest", "neurogrid sample"]),
    ("train --warehouse {tmp}/w --manifest 123", 2, ['no manifest "123"', "neurogrid sample"]),
    ("train --warehouse {tmp}/w --manifest {tmp}/list.json", 2, ["list.json is no manifest"]),
    ("train --warehouse {tmp}/w --manifest {tmp}/old.json", 2, ["manifest version 0", "reads version 1"]),
    ("train --warehouse {tmp}/w --resume yesterday", 2, ['no run "yesterday"', "no runs at all"]),
    ("run --warehouse {tmp}/w --resume yesterday", 2, ['no run "yesterday"']),
    ("evaluate yesterday --warehouse {tmp}/w", 2, ['no run "yesterday"']),
    ("report yesterday --warehouse {tmp}/w", 2, ['no run "yesterday"']),
    ("run --warehouse {tmp}/cut --resume never", 2, ["run never has not begun", "neurogrid run --set run_id=never"]),
    ("evaluate never --warehouse {tmp}/cut", 2, ["run never has not begun", "never/run.json"]),
    ("report never --warehouse {tmp}/cut", 2, ["run never has not begun"]),
    ("audit never --warehouse {tmp}/cut", 1, ["run.json: is missing"]),
    ("train --warehouse {tmp}/cut --resume damaged", 1, ["run.json is not JSON any more", "neurogrid audit damaged"]),
    ("evaluate damaged --warehouse {tmp}/cut", 1, ["run.json is not JSON any more"]),
    ("report damaged --warehouse {tmp}/cut", 1, ["run.json is not JSON any more"]),
    ("audit damaged --warehouse {tmp}/cut", 1, ["run.json: is not JSON any more"]),
    ("train --warehouse {tmp}/cut --resume edited", 1, ["config.yaml of run edited", "not the one that the run began"]),
    ("evaluate edited --warehouse {tmp}/cut", 1, ["config.yaml of run edited", "neurogrid audit edited"]),
    ("audit yesterday --warehouse {tmp}/w", 2, ["no run yesterday"]),
    ("synth {tmp}/data", 2, ["is in the way", "not empty"]),
    ("bench rounds --agents few", 2, ["--agents takes numbers", "few"]),
    ("bench rounds --backends ray", 2, ["--backends takes", "ray"]),
    ("bench etl --rows 3", 2, ["--rows", "96"]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Path:
    tmp = tmp_path_factory.mktemp("bad")
    (tmp / "broken.yaml").write_text("rounds: [1\n")
    (tmp / "list.yaml").write_text("- 1\n")
    (tmp / "list.json").write_text("[1]")
    (tmp / "old.json").write_text(json.dumps({"version": 0}))
    (tmp / "unknown.yaml").write_text("rounds:\n  cuont: 3\n")
    (tmp / "empty").mkdir()
    _leave_runs(tmp / "cut" / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["neurogrid", "synth", str(tmp / "data"), "--households", "8", "--days", "20"])
        main_code()
        patch.setattr(steps, "session", _shared(spark))
        argv = ["neurogrid", "etl", "--data-dir", str(tmp / "data"), "--warehouse", str(tmp / "whole")]
        patch.setattr(sys, "argv", argv)
        assert main_code() == 0
    return tmp


def _leave_runs(runs: Path) -> None:
    """Runs as a kill or a hand may leave them: stopped before its first record, that record cut off, another config."""
    for run_id in ("never", "damaged", "edited"):
        (runs / run_id).mkdir(parents=True)
        (runs / run_id / "config.yaml").write_text("seed: 12\n")
    (runs / "damaged" / "run.json").write_text('{"run_id": "damag')
    genesis = {"run_id": "edited", "manifest_id": "m", "files": {"config.yaml": sha256(b"seed: 11\n")}}
    (runs / "edited" / "run.json").write_text(to_text(seal(genesis, "")))


def _shared(spark: SparkSession):  # type: ignore[no-untyped-def]
    @contextmanager
    def session(config: Config) -> Iterator[SparkSession]:
        yield spark

    return session


def main_code() -> int:
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize(("command", "code", "words"), CASES, ids=[case[0] for case in CASES])
def test_a_mistake_gets_words_and_an_exit_code(
    command: str,
    code: int,
    words: list[str],
    folder: Path,
    spark: SparkSession,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps, "session", _shared(spark))
    monkeypatch.setattr(sys, "argv", ["neurogrid", *command.format(tmp=folder).split()])
    monkeypatch.setenv("COLUMNS", "200")
    assert main_code() == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err
