"""`neurogrid teach` as a person runs it, on Spark: kills of a rank and of the driver."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import small_teacher
import torch

from neurogrid.storage import place
from neurogrid.teacher.store import open_teacher

CONFIG = """
seed: 3
spark: {master: "local[2]"}
sampling: {agents: 2, districts: 1}
rounds: {agents_per_round: 2}
aggregation: {rule: mean, byzantine_share: 0.0}
model: {hidden: 6, surge_hidden: 4, history_slots: 8, horizon_slots: 2}
teacher: {households: [house0, house1, house3, house4], batch_size: 64, epochs: 6, epoch_windows: 1600, timeout_s: 60}
"""
ENDLESS = ("--set", "teacher.epochs=400", "--set", "teacher.patience_epochs=0")
"""Without patience a teacher ends after few epochs that are no better, which may be before a signal comes."""
PATIENCE_S = 500  # of a machine that has much else to do
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teach")
    small_teacher.make_warehouse(folder)
    (folder / "small.yaml").write_text(CONFIG)
    drawn = small_teacher.manifest(("house0", "house1"), ("house2",), ("house3", "house4"))
    small_teacher.write_manifest(folder, drawn)
    return folder


def neurogrid(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "neurogrid", "teach", "--warehouse", str(root), *arguments, "--json"]


def new(root: Path, name: str, *more: str) -> list[str]:
    return neurogrid(root, "-c", str(root / "small.yaml"), "--set", f"teacher.id={name}", *more)


def finish(command: list[str], code: int = 0) -> tuple[dict[str, Any], str]:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == code, done.stderr[-3000:]
    return (json.loads(done.stdout) if code == 0 else {}), done.stderr


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not what() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    if not what():
        process.kill()
    assert process.poll() is None, "it ended before, or took too long"
    assert what()


def pids(root: Path, name: str, number: int) -> list[int]:
    said = json.loads((root / "teachers" / name / "tries" / f"try={number:04d}.json").read_text())
    return [rank["pid"] for rank in said["ranks"]]


def final(root: Path, name: str) -> dict[str, torch.Tensor]:
    return dict(open_teacher(place(str(root / "teachers" / name))).weights())


def same(root: Path, one: str, other: str) -> bool:
    ours, theirs = final(root, one), final(root, other)
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def whole(root: Path) -> tuple[dict[str, Any], str]:
    return finish(new(root, "whole"))


def test_a_teacher_leaves_every_file_that_it_promises(root: Path, whole: tuple[dict[str, Any], str]) -> None:
    metrics, said = whole
    folder = root / "teachers" / "whole"
    for name in (
        *("config.yaml", "teacher.json", "data.json", "weights.pt", "metrics.json", "end.json"),
        *("epochs/epoch=0006.json", "checkpoints/epoch=0006.pt", "tries/try=0001.json"),
    ):
        assert (folder / name).stat().st_size > 0
    assert not list(folder.rglob("*.tmp"))
    assert metrics["households"] == ["house0", "house1", "house3", "house4"]
    assert len(metrics["epochs"]) == 6
    assert metrics["held_out_loss"] < metrics["held_out_loss_first"]
    assert metrics["tries"] == 1
    assert [len(rank["fingerprints"]) for rank in metrics["data"]] == [2, 2]
    assert said.count("held-out loss") == 7  # six epochs, and how it ended
    assert "W socket" not in said
    assert "torch" not in said


def test_a_rank_that_is_killed_costs_a_try_and_one_that_hangs_after_the_last_epoch_nothing_and_neither_a_bit(
    root: Path, whole: object
) -> None:
    process = subprocess.Popen(new(root, "hurt"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    epochs = root / "teachers" / "hurt" / "epochs"
    wait_for((epochs / "epoch=0002.json").exists, process)
    os.kill(pids(root, "hurt", 1)[1], signal.SIGKILL)
    wait_for((epochs / "epoch=0006.json").exists, process)
    rank, began = pids(root, "hurt", 2)[1], time.monotonic()
    os.kill(rank, signal.SIGSTOP)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - began < 120  # torchrun alone waits for 300 s
    assert process.returncode == 0, err[-3000:]
    assert json.loads(out)["tries"] == 2
    assert "Traceback" not in err
    assert same(root, "whole", "hurt")
    with contextlib.suppress(ProcessLookupError):
        os.kill(rank, signal.SIGKILL)


def test_a_driver_that_is_killed_leaves_no_rank_and_goes_on_to_the_same_bits(root: Path, whole: object) -> None:
    process = subprocess.Popen(new(root, "orphan"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for((root / "teachers" / "orphan" / "epochs" / "epoch=0002.json").exists, process)
    ranks = pids(root, "orphan", 1)
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    until = time.monotonic() + 30
    while any(map(psutil.pid_exists, ranks)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, ranks))
    metrics, said = finish(neurogrid(root, "--resume", "orphan", "--set", "spark.master=local[3]"))
    assert len(metrics["epochs"]) == 6
    assert said.count("  epoch ") < 6
    assert same(root, "whole", "orphan")


def test_ranks_that_are_lost_again_and_again_end_in_words(root: Path) -> None:
    command = new(root, "hopeless", "--set", "teacher.tries=2", *ENDLESS)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for number in (1, 2):
        wait_for((root / "teachers" / "hopeless" / "tries" / f"try={number:04d}.json").exists, process)
        time.sleep(0.2)
        os.kill(pids(root, "hopeless", number)[number - 1], signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "ranks were lost 2 times" in err
    assert "teach --resume hopeless" in err


def test_stopping_with_ctrl_c_says_how_to_go_on(root: Path) -> None:
    command = new(root, "stopped", *ENDLESS)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for((root / "teachers" / "stopped" / "epochs" / "epoch=0001.json").exists, process)
    ranks = pids(root, "stopped", 1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err[-3000:]
    assert "Traceback" not in err
    assert "teach --resume stopped" in err
    assert not any(map(psutil.pid_exists, ranks))


def test_ranks_on_executors_of_their_own_come_to_the_same_bits(root: Path, whole: object) -> None:
    finish(new(root, "cluster", "--set", "spark.master=local-cluster[2,1,1024]"))
    assert same(root, "whole", "cluster")
