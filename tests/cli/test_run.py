"""The whole product by its command, on made-up readings: same bits everywhere, clean stops, resume, audit."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

SMALL = """
sampling: {agents: 9, districts: 3, clusters: 2, held_out_share: 0.2, min_observed_slots: 200}
model: {hidden: 8, surge_hidden: 8, history_slots: 16, horizon_slots: 4}
local: {steps: 20, batch_size: 16}
rounds: {count: 4, agents_per_round: 9, panel_agents: 3}
aggregation: {byzantine_share: 0.25}
attack: {kind: noise, fraction: 0.25}
evaluation: {comparisons: [ridge]}
"""
Command = Callable[..., subprocess.CompletedProcess[str]]


def neurogrid(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "neurogrid", *arguments]


def run(*arguments: str, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(neurogrid(*arguments, "--json"), check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == code, done.stderr[-3000:]
    return json.loads(done.stdout) if code == 0 else {"said": done.stderr}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A warehouse after `neurogrid run` on two cores, and what it said."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "small.yaml").write_text(SMALL)
    run("synth", str(folder / "data"), "--households", "16", "--days", "40")
    return folder, run(
        *("run", "-c", str(folder / "small.yaml"), "--data-dir", str(folder / "data")),
        *("--warehouse", str(folder / "w"), "--set", "run_id=whole", "--set", "spark.master=local[2]"),
    )


def train(folder: Path, run_id: str, *more: str) -> list[str]:
    """The arguments that train the same federation as `whole`, under another name."""
    config = ("-c", str(folder / "small.yaml"), "--warehouse", str(folder / "w"), "--set", f"run_id={run_id}")
    return ["train", *config, *more]


def test_a_run_leaves_every_file_that_it_promises(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, said = whole
    root = folder / "w" / "runs" / "whole"
    for name in (
        *("config.yaml", "run.json", "end.json", "W_final.pt", "round_metrics.parquet", "report.html"),
        *("run_summary.json", "run_summary.md", "evaluation.json", "evaluation.md"),
        *("rounds/round=0004.json", "W_global/round=0004/W.pt", "audit/agent_round_audit/round=0004.parquet"),
    ):
        assert (root / name).stat().st_size > 0
    assert (folder / "w" / "quality" / "report.md").exists()
    assert said["train"]["rounds"] == 4
    assert said["etl"]["unusable"]
    assert not list(root.rglob("*.tmp"))


def test_the_evaluation_is_of_the_final_weights(whole: tuple[Path, dict[str, Any]]) -> None:
    _, said = whole
    assert said["evaluate"]["w_final_sha256"] == said["train"]["w_final_sha256"]


@pytest.mark.parametrize(
    "where", ["backend.kind=inline", pytest.param("spark.master=local[1]", marks=pytest.mark.slow)]
)
def test_the_weights_are_the_same_bits_inline_and_on_one_core(whole: tuple[Path, dict[str, Any]], where: str) -> None:
    folder, said = whole
    again = run(*train(folder, where.replace("[", "-").strip("]").replace("=", "-"), "--set", where))
    assert again["w_final_sha256"] == said["train"]["w_final_sha256"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "it ended before it was to be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("how", "backend"),
    [
        pytest.param(signal.SIGINT, "spark", marks=pytest.mark.slow),
        (signal.SIGTERM, "inline"),
        pytest.param(signal.SIGKILL, "spark", marks=pytest.mark.slow),
    ],
)
def test_a_run_stopped_in_its_rounds_leaves_no_process_and_resumes_to_the_same_weights(
    whole: tuple[Path, dict[str, Any]], how: signal.Signals, backend: str
) -> None:
    folder, said = whole
    run_id = f"stopped-{how.name}"
    command = neurogrid(*train(folder, run_id, "--set", f"backend.kind={backend}", "--set", "spark.master=local[2]"))
    # Who is ended by SIGTERM was often put in the background by a shell, which has it ignore Ctrl-C.
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN if how == signal.SIGTERM else signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, ignored)
    root = folder / "w" / "runs" / run_id
    wait_for((root / "rounds" / "round=0001.json").exists, process)
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    # A terminal's Ctrl-C reaches every process of the group, Spark's too.
    (os.killpg if how == signal.SIGINT else os.kill)(process.pid, how)
    _, words = process.communicate(timeout=60)
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert f"neurogrid train --resume {run_id}" in words
        assert "Traceback" not in words
    gone = time.monotonic() + 20
    while any(map(alive, family)):
        assert time.monotonic() < gone, [psutil.Process(pid).cmdline()[:3] for pid in family if alive(pid)]
        time.sleep(0.1)
    resumed = run("train", "--warehouse", str(folder / "w"), "--resume", run_id, "--set", "backend.kind=inline")
    assert resumed["w_final_sha256"] == said["train"]["w_final_sha256"]
    run("audit", run_id, "--warehouse", str(folder / "w"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "started"),
    [("meters", False), ("runs/{id}/rounds/round=0001.json", True), ("runs/{id}/end.json", True)],
    ids=["etl", "rounds", "evaluation"],
)
def test_a_whole_run_stopped_in_any_step_is_finished_by_what_it_says(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, moment: str, started: bool
) -> None:
    folder, said = whole
    command = (
        *("run", "-c", str(folder / "small.yaml"), "--data-dir", str(folder / "data")),
        *("--warehouse", str(tmp_path / "w"), "--set", "run_id=cut"),
    )
    process = subprocess.Popen(neurogrid(*command), stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for((tmp_path / "w" / moment.format(id="cut")).exists, process)
    os.killpg(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in words
    assert words.index("What this run will do") < words.index("\nETL\n")
    root = tmp_path / "w" / "runs" / "cut"
    if started:
        told = re.search(r"go on with: neurogrid (run --resume cut --warehouse \S+)", words)
        assert told, words
        before = {path.name: path.read_bytes() for path in root.glob("end.json")}
        finished = run(*told[1].split())
        assert before in ({}, {"end.json": (root / "end.json").read_bytes()})
    else:
        assert "give the same command again" in words
        finished = run(*command)
    assert finished["train"]["w_final_sha256"] == finished["evaluate"]["w_final_sha256"]
    assert finished["train"]["w_final_sha256"] == said["train"]["w_final_sha256"]
    assert (root / "report.html").stat().st_size > 0
    run("audit", "cut", "--ended", "--warehouse", str(tmp_path / "w"))


def test_a_run_killed_before_its_report_gets_it_without_training_or_evaluating_again(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, said = whole
    shutil.copytree(folder / "w", tmp_path / "w")
    root = tmp_path / "w" / "runs" / "whole"
    (root / "report.html").unlink()
    kept = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    # No Spark can be started there, and none is needed.
    finished = run(
        "run", "--resume", "whole", "--warehouse", str(tmp_path / "w"), "--set", "spark.master=k8s://nowhere"
    )
    assert finished["train"] == said["train"] | {"path": str(root)}
    assert finished["evaluate"] == json.loads((root / "evaluation.json").read_text())
    assert (root / "report.html").stat().st_size > 0
    assert all(path.read_bytes() == content for path, content in kept.items())


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_would_change_a_run_that_exists_is_refused(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = whole
    said = run("train", "--warehouse", str(folder / "w"), "--resume", "whole", "--rounds", "9", code=2)["said"]
    assert "a run keeps the config that it began with" in said
    assert "rounds.count=9" in said


def test_a_run_that_has_ended_is_not_resumed(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = whole
    said = run("train", "--warehouse", str(folder / "w"), "--resume", "whole", "--set", "backend.kind=inline", code=2)
    assert "run whole has ended" in said["said"]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("rounds/round=0002.json", '"n_accepted_agents": ', '"n_accepted_agents": 1'),
        ("evaluation.json", '"value": 0.', '"value": 0.0'),
    ],
)
def test_the_audit_names_what_was_changed(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, name: str, old: str, new: str
) -> None:
    folder, _ = whole
    shutil.copytree(folder / "w" / "runs", tmp_path / "runs")
    file = tmp_path / "runs" / "whole" / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    assert f"{name}: its content was changed" in run("audit", "whole", "--warehouse", str(tmp_path), code=1)["said"]
    run("audit", "whole", "--warehouse", str(folder / "w"))


@pytest.mark.slow
@pytest.mark.parametrize("later_s", [0.0, 0.2, 0.4, 0.7])
def test_an_etl_that_is_stopped_says_so_and_nothing_else(tmp_path: Path, later_s: float) -> None:
    run("synth", str(tmp_path / "data"), "--households", "60", "--days", "150")
    command = neurogrid("etl", "--data-dir", str(tmp_path / "data"), "--warehouse", str(tmp_path / "w"))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for((tmp_path / "w" / "meters").exists, process)
    time.sleep(later_s)
    os.killpg(process.pid, signal.SIGINT)  # to all of them, as a terminal does
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert words.rstrip().endswith("neurogrid: stopped")
    assert "Traceback" not in words


@pytest.mark.slow
def test_an_etl_that_was_killed_and_run_again_leaves_what_one_in_peace_leaves(tmp_path: Path) -> None:
    run("synth", str(tmp_path / "data"), "--households", "60", "--days", "150")

    def etl(name: str) -> list[str]:
        return ["etl", "--data-dir", str(tmp_path / "data"), "--warehouse", str(tmp_path / name)]

    def tables(name: str) -> dict[str, bytes]:
        root = tmp_path / name
        files = [*(root / "meters").rglob("*"), root / "households.parquet", root / "quality" / "faults.parquet"]
        return {str(p.relative_to(root)): p.read_bytes() for p in files if p.is_file()}

    process = subprocess.Popen(neurogrid(*etl("killed")), stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: any((tmp_path / "killed").rglob("*.parquet")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "households.parquet").exists()
    run(*etl("killed"))
    run(*etl("in-peace"))
    assert tables("killed") == tables("in-peace")
