"""`neurogrid teach` and `train --teacher` by the command: refusals, a start from a teacher, a resume."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import small_teacher
import torch
from pyspark import SparkConf
from pyspark.sql import SparkSession
from safetensors.numpy import load_file

from neurogrid.cli import main
from neurogrid.config import Config
from neurogrid.errors import UsageError
from neurogrid.pipeline import sessions, teaching
from neurogrid.pipeline.events import Observer
from neurogrid.storage import place
from neurogrid.teacher import records
from neurogrid.teacher.distribute import refuse_without_slots
from neurogrid.teacher.store import conclude
from neurogrid.workloads.meters.models import build
from neurogrid.workloads.meters.tensors import model_shape

CONFIG = """
seed: 3
sampling: {agents: 2, districts: 1}
model: {hidden: 6, surge_hidden: 4, history_slots: 8, horizon_slots: 2}
local: {steps: 2, batch_size: 16}
rounds: {count: 4, agents_per_round: 2, panel_agents: 2}
aggregation: {rule: mean, byzantine_share: 0.0}
teacher: {batch_size: 64, ranks: 2, epochs: 2, id: new, timeout_s: 30}
backend: {kind: inline}
"""
# arguments | exit code | what the message says; {w} is a warehouse with a manifest and three teachers
TEACH, TRAIN = "teach -c {w}/small.yaml --warehouse {w}", "train -c {w}/small.yaml --warehouse {w} --teacher "
CASES = [
    (TEACH, 2, ["named or drawn for it", "neither list nor share", "teacher.share"]),
    (f"{TEACH} --set teacher.households=[house0,house2]", 2, ["both taught and held out", "house2"]),
    (f"{TEACH} --set teacher.households=[house0,7]", 2, ["not there: 7"]),
    (
        f"{TEACH} --set teacher.share=1.0 --ranks 4",
        2,
        ["fewer households than ranks", "4 ranks", "2 households"],
    ),
    (f"{TEACH} --set teacher.share=1.0 --set teacher.batch_size=63", 2, ["divide evenly", "batch_size 63"]),
    (f"{TEACH} --set teacher.share=1.5", 2, ["teacher.share", "1.5"]),
    (f"{TEACH} --set teacher.id=a/b", 2, ["teacher.id", "a/b"]),
    (
        f"{TEACH} --set teacher.share=1.0 --set teacher.apart=false --ranks 4",
        2,
        ["4 ranks at once, but not as many free Spark slots", "2 free of 2", "at most 2"],
    ),
    (f"{TEACH} --set teacher.share=1.0 --set teacher.device=gpu", 2, ["each task one GPU", "gpu.amount is 0"]),
    (f"{TEACH} --resume never", 2, ['no teacher "never"', "done"]),
    (
        f"{TEACH} --resume begun --epochs 3",
        2,
        ["teacher begun keeps the config that it began with", "teacher.epochs is 3, was"],
    ),
    (f"{TEACH} --resume done", 2, ["teacher done has ended", "train --teacher done"]),
    (f"{TRAIN} never", 2, ['no teacher "never"', "begun, done, other", "neurogrid teach"]),
    (f"{TRAIN} begun", 2, ["teacher begun is not finished", "0 epochs"]),
    (f"{TRAIN} other", 2, ["other learnt from households that this manifest holds out", "house2"]),
    (f"{TRAIN} done --set model.hidden=4", 2, ["of another size", "hidden 6", "hidden 4", "local.distill_weight"]),
    (f"{TRAIN} done --set model.horizon_slots=3", 2, ["sees or forecasts other slots", "horizon_slots 2 against 3"]),
    ("train -c {w}/small.yaml --warehouse {w} --set local.distill_weight=1", 2, ["needs a teacher", "--teacher"]),
]


def make_teacher(root: Path, name: str, households: list[str], *, ended: bool = True) -> None:
    folder = place(str(root / "teachers" / name))
    manifest = json.loads(next((root / "manifests").glob("*/manifest.json")).read_text())
    manifest_id = next((root / "manifests").iterdir()).name
    first = {"teacher_id": name, "households": households, "device": "cpu", "manifest_id": manifest_id}
    records.begin(folder, first, (root / "small.yaml").read_text() + "\n")
    if not ended:
        return
    (folder / "data.json").write(json.dumps({"ranks": []}))
    model = build(small_teacher.SETTINGS.model, model_shape(small_teacher.SETTINGS.windows), seed=9)
    figures = {"epoch": 1, "held_out_loss": 0.5, "train_s": 1.0, "evaluate_s": 0.5, "windows_per_s": 100.0}
    state = {"weights": dict(model.state_dict()), "optimiser": {}}
    records.write_epoch(folder, records.read(folder), figures, state)
    conclude(
        folder,
        {
            "model": vars(small_teacher.SETTINGS.model),
            "windows": vars(small_teacher.SETTINGS.windows),
            "cadence_minutes": manifest["cadence_minutes"],
            "reason": "all epochs done",
        },
    )


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("teach")
    small_teacher.make_warehouse(root)
    (root / "small.yaml").write_text(CONFIG)
    drawn = small_teacher.manifest(("house0", "house1"), ("house2",), ("house3", "house4"))
    small_teacher.write_manifest(root, drawn)
    make_teacher(root, "done", ["house3", "house4"])
    make_teacher(root, "other", ["house2", "house4"])
    make_teacher(root, "begun", ["house3"], ended=False)
    return root


def command(arguments: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["neurogrid", *arguments.format(w=root).split()])
    monkeypatch.setenv("COLUMNS", "200")
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize(("arguments", "code", "words"), CASES, ids=[case[0][-50:] for case in CASES])
def test_a_mistake_gets_words_and_an_exit_code(
    arguments: str,
    code: int,
    words: list[str],
    warehouse: Path,
    spark: SparkSession,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def session(config: Config, observer: Observer) -> Iterator[SparkSession]:
        yield spark

    monkeypatch.setattr(sessions, "session", session)
    assert command(arguments, warehouse, monkeypatch) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err
    assert not (warehouse / "teachers" / "new").exists()


def test_executors_that_come_and_go_are_refused(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    allocation = SparkConf(loadDefaults=False).set("spark.dynamicAllocation.enabled", "true")
    monkeypatch.setattr(spark.sparkContext, "getConf", lambda: allocation)
    with pytest.raises(UsageError) as refused:
        refuse_without_slots(spark, ranks=2, timeout_s=0)
    assert refused.value.found == "spark.dynamicAllocation.enabled is true"


def final(root: Path, run_id: str) -> dict[str, np.ndarray]:
    return load_file(root / "runs" / run_id / "W_final.safetensors")


def cut(root: Path, run_id: str, rounds: int) -> None:
    """The run's folder as a kill after so many durable rounds leaves it."""
    run = root / "runs" / run_id
    (run / "end.json").unlink()
    (run / "round_metrics.parquet").unlink()  # is made anew of the records
    for path in sorted((run / "rounds").glob("*.json"))[rounds:]:
        path.unlink()


@pytest.mark.parametrize("more", ["", "--set model.hidden=4 --set local.distill_weight=0.5"], ids=["start", "distil"])
def test_a_run_with_a_teacher_says_so_and_resumes_to_the_same_bits(
    more: str, warehouse: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = tmp_path / "w"
    shutil.copytree(warehouse, root)
    train = f"train -c {{w}}/small.yaml --warehouse {{w}} {more} --teacher done --set run_id="
    assert command(f"{train}whole", root, monkeypatch) == 0
    genesis = json.loads((root / "runs" / "whole" / "run.json").read_text())
    assert genesis["teacher"] == "done"
    assert genesis["teacher_sha256"] == json.loads((root / "teachers" / "done" / "end.json").read_text())["sha256"]
    start = load_file(root / "runs" / "whole" / "W_global" / "round=0000" / "state.safetensors")["model"]
    taught = torch.load(root / "teachers" / "done" / "weights.pt", weights_only=True)
    flat = np.concatenate([tensor.numpy().ravel() for tensor in taught.values()])
    assert np.array_equal(start, flat) == (more == "")

    assert command(f"{train}cut", root, monkeypatch) == 0
    cut(root, "cut", 2)
    assert command("train --resume cut --warehouse {w}", root, monkeypatch) == 0
    whole, resumed = final(root, "whole"), final(root, "cut")
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def test_learning_from_forecasts_changes_what_agents_learn(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = tmp_path / "w"
    shutil.copytree(warehouse, root)
    train = "train -c {w}/small.yaml --warehouse {w} --set model.hidden=4 --set run_id="
    assert command(f"{train}alone", root, monkeypatch) == 0
    assert command(f"{train}guided --teacher done --set local.distill_weight=0.5", root, monkeypatch) == 0
    alone, guided = final(root, "alone"), final(root, "guided")
    assert not any(np.array_equal(alone[name], guided[name]) for name in ("forecast.weight", "combine.weight"))


def test_a_run_does_not_go_on_with_a_teacher_that_is_another_by_now(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "w"
    shutil.copytree(warehouse, root)
    assert command("train -c {w}/small.yaml --warehouse {w} --teacher done --set run_id=r", root, monkeypatch) == 0
    cut(root, "r", 2)
    shutil.rmtree(root / "teachers" / "done")
    make_teacher(root, "done", ["house3"])
    assert command("train --resume r --warehouse {w}", root, monkeypatch) == 2
    assert "began with another teacher" in capsys.readouterr().err
    shutil.rmtree(root / "teachers" / "done")
    assert command("train --resume r --warehouse {w}", root, monkeypatch) == 2
    assert 'no teacher "done"' in capsys.readouterr().err


def test_a_teacher_may_be_named_by_its_folder(warehouse: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = tmp_path / "w"
    shutil.copytree(warehouse, root)
    elsewhere = tmp_path / "elsewhere"
    (root / "teachers" / "done").rename(elsewhere)
    arguments = f"train -c {{w}}/small.yaml --warehouse {{w}} --teacher {elsewhere} --set run_id=r"
    assert command(arguments, root, monkeypatch) == 0
    assert json.loads((root / "runs" / "r" / "run.json").read_text())["teacher"] == "elsewhere"


def test_a_teacher_from_a_manifest_given_by_its_path_finds_it_again(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spark: SparkSession
) -> None:
    root = tmp_path / "w"
    shutil.copytree(warehouse, root)
    (kept,) = (root / "manifests").glob("*/manifest.json")
    kept.rename(tmp_path / "own.json")

    @contextmanager
    def session(config: Config, observer: Observer) -> Iterator[SparkSession]:
        yield spark

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sessions, "session", session)
    monkeypatch.setattr(teaching, "distribute", stopped)
    by_path = f"{TEACH} --set teacher.households=[house3,house4] --manifest {tmp_path}/own.json"
    assert command(by_path, root, monkeypatch) == 130
    (tmp_path / "own.json").unlink()
    assert kept.exists()
    assert command("teach --resume new --warehouse {w}", root, monkeypatch) == 130, "it got as far as before"
