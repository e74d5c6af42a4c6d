"""Every mistake a person can make gets its own words and an exit code, never a traceback."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command import main_code
from pyspark.sql import SparkSession

from neurogrid.config import Config
from neurogrid.errors import RunError
from neurogrid.ledger.chain import seal, sha256, to_text
from neurogrid.pipeline import sessions
from neurogrid.pipeline.events import Observer

# arguments | exit code | what the message says; {tmp} is an empty folder with the files of `folder` in it
CASES = [
    ("nonsense", 2, ["No such command"]),
    ("train --nonsense", 2, ["No such option"]),
    ("etl -c {tmp}/none.yaml", 2, ["cannot read the config", "none.yaml"]),
    ("etl -c {tmp}/broken.yaml", 2, ["broken.yaml is not valid YAML", "line 2, column 1"]),
    ("etl -c {tmp}/list.yaml", 2, ["must be a mapping", "list"]),
    ("config validate -c {tmp}/unknown.yaml", 2, ["no key rounds.cuont", "did you mean rounds.count"]),
    ("config validate --config {tmp}/none.yaml", 2, ["cannot read the config"]),
    ("config validate", 2, ["Missing option '--config'"]),
    ("config show --set learning_rate=1", 2, ["no key learning_rate", "did you mean local.learning_rate"]),
    ("config show --set rounds.count=many", 2, ["rounds.count", "valid integer", "'many'"]),
    ("config show --set rounds.count=true", 2, ["rounds.count: input should be a number, found True"]),
    ("config show --set etl.cadence_minutes=yes", 2, ["etl.cadence_minutes: input should be a number, found True"]),
    ("config show --set run_id=no", 2, ["run_id", "in quotes", "found False"]),
    ("config show --set rounds.count=0", 2, ["rounds.count", "greater than or equal to 1", "found 0"]),
    ("config show --set seed=-1", 2, ["seed", "found -1"]),
    ("config show --set rounds.count", 2, ["--set takes key=value", "rounds.count"]),
    ("config show --set seed=1 --set seed.a=2", 2, ["seed is a value, not a section"]),
    ("config show --set etl.train_share=0.95 --set etl.validation_share=0.1", 2, ["leave time to test on", "0.95"]),
    ("config show --set aggregation.byzantine_share=0", 2, ["would cut nothing", "use the rule mean"]),
    (
        "config show --set aggregation.byzantine_share=0.49 --set aggregation.rule=trimmed_mean",
        2,
        ["cannot tolerate f = 7", "2f + 3 = 17"],
    ),
    (
        "config show --set sampling.agents=4 --set aggregation.byzantine_share=0.25 --set aggregation.rule=krum",
        2,
        ["4 agents", "f = 1", "= 5"],
    ),
    ("config show --set rounds.min_agents=16", 2, ["rounds.min_agents 16", "15 agents"]),
    ("config show --set sampling.districts=70", 2, ["sampling.districts 70", "sampling.agents 61"]),
    ("config show --set run_id=a/b", 2, ["run_id", "a/b"]),
    ("config show --set run_id=..", 2, ["run_id", "begins with a letter, a digit or _"]),
    ("config show --set run_id=-x", 2, ["run_id", "begins with a letter, a digit or _"]),
    ("config show --set run_id=" + 101 * "x", 2, ["run_id", "up to 100 letters"]),
    ("config show --set rounds=[", 2, ["--set rounds: the value is not YAML", "in quotes"]),
    ("config validate -c {tmp}/deep.yaml", 2, ["deep.yaml cannot be read", "too deep"]),
    ("config validate -c {tmp}/inner.yaml", 2, ["inner.yaml cannot be read", "too deep"]),
    ("config validate -c {tmp}/key.yaml", 2, ["key.yaml is not valid YAML", "line 1, column 1: a key must be a word"]),
    ("config validate -c {tmp}/bytes.yaml", 2, ["cannot read the config", "in UTF-8"]),
    ("config validate -c {tmp}/empty", 2, ["cannot read the config", "empty", "name a YAML file"]),
    ("runs --warehouse {tmp}/nowhere", 2, ["there is no warehouse", "nothing there", "--warehouse"]),
    ("runs --warehouse {tmp}/list.yaml", 2, ["there is no warehouse", "a file"]),
    ("config show --set spark.master=yarnn", 2, ["not a Spark master", "spark://host:7077", "'yarnn'"]),
    ("config show --set seed=99999999999999999999", 2, ["seed", "less than 9223372036854775808"]),
    ("config show --set rounds=5", 2, ["rounds is a section of keys, found 5"]),
    ("config show --set evaluation.learning_rates=[-1]", 2, ["learning_rates.0", "greater than 0"]),
    ("config validate -c {tmp}/twice.yaml", 2, ["the key count is given twice", "line 3"]),
    ("train --byzantine-attack gossip", 2, ["attack.kind", "sign_flip", "gossip"]),
    ("train --byzantine-fraction 1.5 --byzantine-attack noise", 2, ["attack.fraction", "1.5"]),
    ("train --byzantine-fraction 0.2", 2, ["without an attack does nothing", "--byzantine-attack"]),
    ("etl --data-dir {tmp}/nowhere --warehouse {tmp}/w", 2, ["nowhere is not a folder", "--data-dir"]),
    ("etl --data-dir {tmp}/other.yaml --warehouse {tmp}/w", 2, ["other.yaml is not a folder", "a file"]),
    ("etl --data-dir {tmp}/empty --warehouse {tmp}/w", 2, ["does not hold", "an empty folder", "households.csv"]),
    ("etl --data-dir {tmp}/data --warehouse {tmp}/w --set source.kind=sgsc", 2, ["meter data of kind sgsc"]),
    (
        "etl --data-dir {tmp}/data --warehouse {tmp}/w --set etl.cadence_minutes=7",
        2,
        ["of 7 minutes", "5, 15, 30, 60, or null"],
    ),
    ("etl --data-dir {tmp}/data --warehouse {tmp}/w --exclude *", 2, ["exclude"]),
    ("etl --data-dir {tmp}/data --warehouse ftp://host/w", 2, ["ftp://host/w", "s3://"]),
    ("exporter --warehouse ftp://host/w", 2, ["ftp://host/w", "s3://"]),
    ("exporter --release prod", 2, ["--release", "--kubernetes"]),
    ("sample --warehouse {tmp}/w", 2, ["no households in", "neurogrid etl"]),
    ("audit . --warehouse {tmp}/cut", 2, ['no run "."', "edited"]),
    ("sample --warehouse {tmp}/whole --agents 400", 2, ["400", "usable"]),
    ("train --warehouse {tmp}/w", 2, ["no manifest", "neurogrid sample"]),
    ("train --warehouse {tmp}/w --manifest 123", 2, ['no manifest "123"', "neurogrid sample"]),
    ("train --warehouse {tmp}/w --manifest {tmp}/list.json", 2, ["list.json is not a usable manifest", "a JSON list"]),
    ("train --warehouse {tmp}/w --manifest {tmp}/old.json", 2, ["manifest version 0", "reads versions 1 and 2"]),
    ("train --warehouse {tmp}/w --resume yesterday", 2, ['no run "yesterday"', "no runs at all"]),
    ("run --warehouse {tmp}/w --resume yesterday", 2, ['no run "yesterday"']),
    ("evaluate yesterday --warehouse {tmp}/w", 2, ['no run "yesterday"']),
    ("report yesterday --warehouse {tmp}/w", 2, ['no run "yesterday"']),
    ("run --warehouse {tmp}/cut --resume never", 2, ["run never has not begun", "neurogrid run --set run_id=never"]),
    ("evaluate never --warehouse {tmp}/cut", 2, ["run never has not begun", "never/run.json"]),
    ("report never --warehouse {tmp}/cut", 2, ["run never has not begun"]),
    ("audit never --warehouse {tmp}/cut", 1, ["run.json: is missing"]),
    (
        "train --warehouse {tmp}/cut --resume damaged",
        1,
        ["is not a JSON record any more", "neurogrid audit damaged"],
    ),
    ("evaluate damaged --warehouse {tmp}/cut", 1, ["run.json is not a JSON record any more"]),
    ("report damaged --warehouse {tmp}/cut", 1, ["run.json is not a JSON record any more"]),
    ("audit damaged --warehouse {tmp}/cut", 1, ["run.json: is not a JSON record any more"]),
    ("train --warehouse {tmp}/cut --resume edited", 1, ["config.yaml of run edited", "is missing or was modified"]),
    ("evaluate edited --warehouse {tmp}/cut", 1, ["config.yaml of run edited", "neurogrid audit edited"]),
    (
        "train --warehouse {tmp}/cut --resume intact --rounds 9",
        2,
        ["run intact keeps the config", "rounds.count is 9, was 60"],
    ),
    (
        "train -c {tmp}/other.yaml --resume intact",
        2,
        ["run intact began with another config", "seed is 12, was 11"],
    ),
    ("run -c {tmp}/other.yaml --resume intact", 2, ["seed is 12, was 11", "resume it without --config"]),
    ("run --manifest m1 --data-dir {tmp}/data", 2, ["--data-dir", "would do nothing"]),
    ("run --set sampling.manifest=m1 --agents 5 --data-dir d", 2, ["--data-dir d and --agents 5", "would do nothing"]),
    ("audit -c {tmp}/other.yaml yesterday", 2, ['no run "yesterday"', "edited"]),
    ("report -c {tmp}/other.yaml yesterday", 2, ['no run "yesterday"', "edited"]),
    ("evaluate -c {tmp}/other.yaml yesterday --all", 2, ['no run "yesterday"', "edited"]),
    ("audit yesterday --warehouse {tmp}/w", 2, ['no run "yesterday"', "no runs at all"]),
    ("synth {tmp}/data", 2, ["cannot write to", "not empty"]),
    (
        "synth {tmp}/list.yaml/data",
        1,
        ["could not be read or written", "list.yaml", "a file lies where a folder should be: move it away"],
    ),
    ("bench rounds --agents few", 2, ["--agents takes whole numbers", "few"]),
    ("bench rounds --backends ray", 2, ["--backends takes", "ray"]),
    ("bench byzantine --rules best", 2, ["--rules takes", "best"]),
    ("bench byzantine --attacks charm", 2, ["--attacks takes", "charm"]),
    ("bench byzantine --alphas nan", 2, ["--alphas"]),
    ("bench byzantine --alphas 0", 2, ["--alphas"]),
    ("evidence nothing", 2, ['there is no run "nothing"']),
    ("bench etl --rows 3", 2, ["--rows", "96"]),
]


RUN = "run --data-dir {tmp}/data --agents 3 --set aggregation.rule=mean"
TRAIN = "train --warehouse {tmp}/whole --set sampling.agents=3 --set aggregation.rule=mean"
# As above, of what is refused before Spark starts; {manifest} is one of three agents in the warehouse `whole`
EARLY = [
    (
        RUN + " --warehouse {tmp}/cut --set run_id=edited",
        ["run edited exists already", "--resume edited", "--set run_id="],
    ),
    (RUN + " --warehouse {tmp}/w --teacher nobody", ['no teacher "nobody"', "neurogrid teach"]),
    (
        RUN + " --warehouse {tmp}/w --agents 40",
        ["too few households for 40 agents", "8 household files", "at most 6 agents"],
    ),
    (RUN + " --warehouse {tmp}/w --set sampling.clusters=9", ["9 clusters", "8 household files"]),
    (RUN + " --warehouse {tmp}/w --set etl.cadence_minutes=7", ["7 minutes"]),
    (TRAIN + " --set model.history_slots=2000", ["2004 slots of 15 min", "0 of 3 agents", "model.history_slots"]),
    (TRAIN + " --set model.horizon_slots=1400", ["2016 before its start", "0 of 3 agents"]),
    ("train --warehouse {tmp}/whole", ["with this manifest's agents", "would cut nothing", "3 agents"]),
    (
        RUN + " --warehouse {tmp}/w --set backend.tasks=5 --set spark.master=local[2]",
        ["5 resident tasks", "2 on local[2]"],
    ),
    (TRAIN + " --set backend.tasks=5 --set spark.master=local", ["5 resident tasks", "at most 1"]),
    ("sample --warehouse {tmp}/w", ["there are no households in", "neurogrid etl"]),
    ("evaluate intact --warehouse {tmp}/cut", ["intact has no final weights yet", "run --resume intact --warehouse /"]),
    (TRAIN + " --teacher nobody", ['no teacher "nobody"']),
    (
        TRAIN + " --warehouse {tmp}/cut --manifest {tmp}/whole/manifests/{manifest} --set run_id=edited",
        ["exists already"],
    ),
    (TRAIN.replace("train", "run") + " --manifest {manifest} --set model.history_slots=2000", ["2004 slots"]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Path:
    tmp = tmp_path_factory.mktemp("bad")
    (tmp / "broken.yaml").write_text("rounds: [1\n")
    (tmp / "list.yaml").write_text("- 1\n")
    (tmp / "list.json").write_text("[1]")
    (tmp / "old.json").write_text(json.dumps({"version": 0}))
    (tmp / "deep.yaml").write_text("[" * 999)
    (tmp / "inner.yaml").write_text("x: " + "[" * 500 + "]" * 500)
    (tmp / "key.yaml").write_text("[1, 2]: 2\n")
    (tmp / "bytes.yaml").write_bytes(b"seed: \xff\n")
    (tmp / "unknown.yaml").write_text("rounds:\n  cuont: 3\n")
    (tmp / "twice.yaml").write_text("rounds:\n  count: 3\n  count: 4\n")
    (tmp / "empty").mkdir()
    (tmp / "other.yaml").write_text(f"seed: 12\nwarehouse: {tmp}/cut\n")
    _leave_runs(tmp / "cut" / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["neurogrid", "synth", str(tmp / "data"), "--households", "8", "--days", "20"])
        main_code()
        patch.setattr(sessions, "session", _shared(spark))
        argv = ["neurogrid", "etl", "--data-dir", str(tmp / "data"), "--warehouse", str(tmp / "whole")]
        patch.setattr(sys, "argv", argv)
        assert main_code() == 0
        few = ["--agents", "3", "--set", "aggregation.rule=mean", "--set", "sampling.clusters=2"]
        patch.setattr(sys, "argv", ["neurogrid", "sample", "--warehouse", str(tmp / "whole"), *few])
        assert main_code() == 0
    return tmp


def _leave_runs(runs: Path) -> None:
    """Runs as a kill or a hand may leave them: stopped before its first record, that record cut off, another config."""
    for run_id in ("never", "damaged", "edited", "intact"):
        (runs / run_id).mkdir(parents=True)
        (runs / run_id / "config.yaml").write_text("seed: 12\n")
    (runs / "damaged" / "run.json").write_text('{"run_id": "damag')
    genesis = {"manifest_id": "m", "files": {"config.yaml": sha256(b"seed: 11\n")}}
    for run_id in ("edited", "intact"):
        (runs / run_id / "run.json").write_text(to_text(seal({"run_id": run_id, **genesis}, "")))
    (runs / "intact" / "config.yaml").write_text("seed: 11\n")


def _shared(spark: SparkSession):  # type: ignore[no-untyped-def]
    @contextmanager
    def session(config: Config, observer: Observer) -> Iterator[SparkSession]:
        yield spark

    return session


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
    monkeypatch.setattr(sessions, "session", _shared(spark))
    monkeypatch.setattr(sys, "argv", ["neurogrid", *command.format(tmp=folder).split()])
    monkeypatch.setenv("COLUMNS", "200")
    assert main_code() == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err


@pytest.mark.parametrize(
    ("command", "code", "what"),
    [
        ("train --nonsense --json", 2, "No such option: --nonsense"),
        ("config show --json --set seed=-1", 2, "--set seed=-1 cannot be used"),
        ("config validate -c {tmp}/unknown.yaml --json", 2, "unknown.yaml cannot be used"),
        ("audit damaged --warehouse {tmp}/cut --json", 1, "run damaged has been modified"),
    ],
)
def test_under_json_an_error_is_json_too(
    command: str,
    code: int,
    what: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["neurogrid", *command.format(tmp=folder).split()])
    assert main_code() == code
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert what in error["what"]
    assert error["exit_code"] == code
    assert what in said.err


NO_TABLE = "0123456789ab.parquet"
# A change to the manifest of `whole` | what is said of a training with what comes of it
SPOILT: dict[str, tuple[Callable[[dict[str, Any]], object], list[str]]] = {
    "no fingerprints": (lambda m: m["fingerprints"].clear(), ["fingerprints has none of meters/", "A0001"]),
    "agent twice": (lambda m: m["agents"].append(m["agents"][0]), ["agent A0001 is there 2 times"]),
    "also held out": (
        lambda m: m["held_out"].append({**m["agents"][0], "agent_id": "H0009"}),
        ["trains as agent A0001 and is held out as H0009"],
    ),
    "no parts": (lambda m: m["agents"][0].update(parts=[]), ["agent A0001 has no parts"]),
    "no offset": (lambda m: m["agents"][0].update(first="2023-01-01T00:00:00"), ["agents[0].first has no offset"]),
    "beyond the data": (
        lambda m: m["agents"][0].update(train_end="2029-01-01T00:00:00+00:00"),
        ["validation_end of agent A0001 is before its train_end"],
    ),
    "another kind": (lambda m: m.clear() or m.update(version=1, run_id="r1"), ["seed is missing", "more"]),
    "district below 0": (lambda m: m["agents"][0].update(district=-1), ["A0001 is in district -1, but there are"]),
    "district above": (lambda m: m["agents"][0].update(district=10**9), ["A0001 is in district 1000000000, but"]),
    "no districts": (lambda m: m.update(districts=0), ["A0001 is in district 0, but there are 0"]),
    "empty district": (lambda m: m.update(districts=10**9), ["nobody is in district 3 of the 1000000000"]),
    "out of the warehouse": (
        lambda m: m["agents"][0]["parts"][0].update(weather_id="x/../../.."),
        ["weather_id of agent A0001: 'x/../../..' has a character"],
    ),
    "of a folder above": (
        lambda m: m["held_out"][0]["parts"][0].update(household_id="../1"),
        ["household_id of agent H0001: '../1' has a character"],
    ),
    "a week before the first": (
        lambda m: m["agents"][0]["parts"][0].update(blocks=[-1]),
        ["of agent A0001 has a week before its first"],
    ),
    "another fingerprint": (
        lambda m: m.update(fingerprints=dict.fromkeys(m["fingerprints"], "0" * 64)),
        ["the fingerprint of meters/", "is not the one that its name says"],
    ),
    "household of nobody": (
        lambda m: (
            m["agents"][0]["parts"][0].update(household_id="999", weather_id="W", table=NO_TABLE),
            m["fingerprints"].update({f"meters/Weather_ID=W/Household_ID=999/{NO_TABLE}": NO_TABLE[:12] + "0" * 52}),
        ),
        ["does not fit the meters", f"Household_ID=999/{NO_TABLE} of agent A0001 is not there"],
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_manifest_that_is_none_or_does_not_fit_is_refused_by_agent_or_key(
    how: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change, words = SPOILT[how]
    (drawn,) = (folder / "whole" / "manifests").iterdir()
    content = json.loads((drawn / "manifest.json").read_text())
    change(content)
    spoilt = folder / "spoilt.json"
    spoilt.write_text(json.dumps(content))
    monkeypatch.setattr(sessions, "session", _no_session)
    monkeypatch.setattr(sys, "argv", ["neurogrid", *TRAIN.format(tmp=folder).split(), "--manifest", str(spoilt)])
    assert main_code() == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    for word in [*words, "neurogrid sample"]:
        assert word in said


@contextmanager
def _no_session(config: Config, observer: Observer) -> Iterator[SparkSession]:
    raise RunError("Spark was to be started")
    yield


@pytest.mark.parametrize(("command", "words"), EARLY, ids=[case[0] for case in EARLY])
def test_what_cannot_work_is_refused_before_spark_starts(
    command: str,
    words: list[str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "session", _no_session)
    (manifest,) = (folder / "whole" / "manifests").iterdir()
    monkeypatch.setattr(sys, "argv", ["neurogrid", *command.format(tmp=folder, manifest=manifest.name).split()])
    assert main_code() == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    for word in words:
        assert word in said


def test_a_run_says_what_it_will_do_before_spark_starts(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "session", _no_session)
    command = f"run --data-dir {folder}/data --warehouse {folder}/new --agents 5 --set sampling.clusters=2"
    monkeypatch.setattr(sys, "argv", ["neurogrid", *command.split()])
    assert main_code() == 1
    plan, _, end = capsys.readouterr().err.partition("neurogrid: ")
    for words in (
        "8 household files",
        "agents: 5 in 3 districts",
        "city_lstm, 3",
        "caf, which tolerates f = 1",
    ):
        assert words in plan
    assert "Spark was to be started" in end
