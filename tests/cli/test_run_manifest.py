"""A run stays with its manifest: one that lay elsewhere is found again, one that was changed since is refused."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pyspark.sql import SparkSession

from neurogrid.backends import inline
from neurogrid.cli import main, terminal
from neurogrid.config import Config, load
from neurogrid.data.manifest import read_manifest
from neurogrid.data.synthetic import SyntheticSettings, make_heapo
from neurogrid.errors import UsageError
from neurogrid.lock import is_released
from neurogrid.pipeline import sessions, steps, training
from neurogrid.pipeline.etl import etl
from neurogrid.pipeline.etl_plan import plan_etl
from neurogrid.pipeline.events import Observer
from neurogrid.pipeline.plan import plan_sampling, plan_training
from neurogrid.storage import place

CONFIG = """
sampling: {agents: 4, districts: 2, clusters: 2, held_out_share: 0.25, min_observed_slots: 200}
model: {name: linear, surge_hidden: 4, history_slots: 16, horizon_slots: 4}
local: {steps: 2, batch_size: 16}
rounds: {count: 2, agents_per_round: 4, panel_agents: 2}
personal: {steps: 10, batch_size: 16}
aggregation: {rule: mean}
evaluation: {comparisons: []}
backend: {kind: inline}
"""
Command = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Path:
    """Eight households, cleaned and sampled."""
    root = tmp_path_factory.mktemp("sampled")
    (root / "small.yaml").write_text(CONFIG)
    config = load(CONFIG, [f"warehouse={root}/w", f"source.path={root}/data"])
    make_heapo(root / "data", SyntheticSettings(households=8, stations=2, days=40, seed=1))
    etl(plan_etl(config), lambda: spark)
    steps.sample(plan_sampling(config), spark)
    return root


@pytest.fixture
def neurogrid(spark: SparkSession, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in this process: its exit code, its result and its words."""

    @contextmanager
    def session(config: Config, observer: Observer) -> Iterator[SparkSession]:
        yield spark

    monkeypatch.setattr(sessions, "session", session)

    def run(*arguments: object) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["neurogrid", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return int(end.value.code or 0), json.loads(said.out or "{}"), said.err

    return run


@pytest.fixture
def drawn(sampled: Path, tmp_path: Path) -> Path:
    """The manifest of a small warehouse `w`, the test's own; beside that lies the config."""
    shutil.copytree(sampled, tmp_path, dirs_exist_ok=True)
    (folder,) = (tmp_path / "w" / "manifests").iterdir()
    return folder / "manifest.json"


def train(folder: Path, run_id: str) -> tuple[object, ...]:
    return "train", "-c", folder / "small.yaml", "--warehouse", folder / "w", "--set", f"run_id={run_id}"


def test_a_run_from_a_manifest_given_by_its_path_is_resumed_evaluated_reported_and_audited(
    drawn: Path, tmp_path: Path, neurogrid: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.loads(drawn.read_text())
    content["agents"].pop()
    own = tmp_path / "own.json"
    own.write_text(json.dumps(content))
    warehouse = ("--warehouse", tmp_path / "w")

    def stopped(*arguments: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "federate", stopped)
        code, _, said = neurogrid(*train(tmp_path, "ext"), "--manifest", own)
    assert code == 130
    assert "neurogrid train --resume ext" in said
    own.unlink()

    code, trained, said = neurogrid("train", "--resume", "ext", *warehouse)
    assert (code, trained["n_agents"]) == (0, 3), said
    kept = tmp_path / "w" / "manifests" / trained["manifest_id"] / "manifest.json"
    assert kept != drawn
    assert json.loads(kept.read_text()) == content
    for command in ("evaluate", "report", "audit"):
        code, _, said = neurogrid(command, "ext", *warehouse)
        assert code == 0, said


def test_a_runs_own_command_goes_on_with_it_and_one_that_says_otherwise_is_refused(
    drawn: Path, tmp_path: Path, neurogrid: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    own = ("--manifest", drawn.parent.name, "--rounds", 2, "--set", "seed=5")
    command, resume = (*train(tmp_path, "again"), *own), ("--resume", "again")
    bare = ("train", "--warehouse", tmp_path / "w", "--set", "run_id=again", "--set", "rounds.count=2", *resume)
    with monkeypatch.context() as patch:
        patch.setattr(training, "federate", stopped)
        assert neurogrid(*command)[0] == 130
        for same in ((*command, *resume), (*bare, *own)):
            code, _, said = neurogrid(*same)
            assert code == 130, said
            assert "resuming after round 0" in said
    for other, words in (
        (("--rounds", 3), "rounds.count is 3, was 2"),
        (("--set", "seed=6"), "seed is 6, was 5"),
        (("--set", "run_id=another"), "run_id is 'another', was 'again'"),
        (("--manifest", "abc"), f"sampling.manifest is 'abc', was '{drawn.parent.name}'"),
    ):
        for asked in ((*command, *resume, *other), (*bare, *other)):
            code, said, _ = neurogrid(*asked)
            assert (code, words in said["error"]["found"]) == (2, True), said
    code, _, said = neurogrid(*command, *resume)
    assert code == 0, said


@pytest.mark.parametrize(
    ("module", "failing"), [(terminal, "traced"), (inline, "InlineBackend"), (training, "federate")]
)
def test_a_training_that_cannot_begin_lets_go_of_its_run(
    module: ModuleType, failing: str, drawn: Path, tmp_path: Path, neurogrid: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **named: Any) -> Any:
        raise OSError(28, "No space left on device")

    run = tmp_path / "w" / "runs" / "again"
    for resume in ((), ("--resume", "again")):
        with monkeypatch.context() as patch:
            patch.setattr(module, failing, full)
            code, said, _ = neurogrid(*train(tmp_path, "again"), *(resume if (run / "run.json").exists() else ()))
        assert (code, said["error"]["found"]) == (1, "No space left on device")
        assert not (run / "run.lock").exists() or is_released(place(str(run)))
    code, _, words = neurogrid(*train(tmp_path, "again"), *(resume if (run / "run.json").exists() else ()))
    assert code == 0, words


def test_one_household_alone_makes_a_whole_run(sampled: Path, tmp_path: Path, neurogrid: Command) -> None:
    where = ("--data-dir", sampled / "data", "--warehouse", tmp_path / "w")
    alone = ("source.limit_households=1", "sampling.districts=1", "sampling.held_out_share=0", "run_id=one")
    sets = [word for each in alone for word in ("--set", each)]
    command = ("run", "-c", sampled / "small.yaml", *where, "--agents", 1, *sets)
    code, said, _ = neurogrid(*command)
    assert (code, said["error"]["fix"]) == (2, "set sampling.clusters to at most 1")
    code, said, words = neurogrid(*command, "--set", "sampling.clusters=1")
    assert code == 0, words
    assert (said["train"]["rounds"], said["train"]["n_agents"]) == (2, 1)


def test_a_manifest_that_was_changed_after_its_run_is_refused_by_all_and_named_by_the_audit(
    drawn: Path, tmp_path: Path, neurogrid: Command
) -> None:
    assert neurogrid(*train(tmp_path, "mine"))[0] == 0
    warehouse = ("--warehouse", tmp_path / "w")
    assert neurogrid("evaluate", "mine", *warehouse)[0] == 0
    before = (tmp_path / "w" / "runs" / "mine" / "evaluation.json").read_bytes()
    whole = drawn.read_text()
    content = json.loads(whole)
    content["held_out"].append({**content["agents"].pop(), "agent_id": "H0009"})
    drawn.write_text(json.dumps(content))

    for command in (("evaluate", "mine"), ("report", "mine"), train(tmp_path, "other")):
        code, said, _ = neurogrid(*command, *warehouse)
        assert code == 2
        assert f"{drawn} was changed" in said["error"]["what"]
        assert "neurogrid sample" in said["error"]["fix"]
    assert (tmp_path / "w" / "runs" / "mine" / "evaluation.json").read_bytes() == before

    code, said, _ = neurogrid("audit", "mine", *warehouse)
    assert code == 1
    assert f"manifests/{drawn.parent.name}/manifest.json: is not the one that the run was made with" in str(said)
    drawn.unlink()
    assert neurogrid("audit", "mine", *warehouse)[0] == 0, "a run may be kept without its manifest"
    drawn.write_text(whole)
    assert neurogrid("audit", "mine", *warehouse)[0] == 0


def test_a_run_is_not_resumed_with_another_manifest(drawn: Path, tmp_path: Path, neurogrid: Command) -> None:
    config = load((tmp_path / "small.yaml").read_text(), [f"warehouse={tmp_path}/w", "rounds.count=1"])
    manifest = read_manifest(place(str(drawn)))
    other = replace(manifest, agents=manifest.agents[1:])
    assert neurogrid(*train(tmp_path, "mine"))[0] == 0
    (tmp_path / "w" / "runs" / "mine" / "end.json").unlink()
    with pytest.raises(UsageError, match="run mine was made with another manifest") as refused:
        training.train(plan_training(config, other, "mine"), None)
    told = re.search(r"neurogrid (run --resume mine)", refused.value.fix)
    assert told
    assert neurogrid(*told[1].split(), "--warehouse", tmp_path / "w")[0] == 0
