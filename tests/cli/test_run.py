"""The whole product by its command, on made-up readings: same bits everywhere, clean stops, resume, audit."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from neurogrid.cli import main

pytestmark = pytest.mark.slow

SMALL = """
sampling: {agents: 9, districts: 3, clusters: 2, held_out_share: 0.2, min_observed_slots: 200}
model: {hidden: 8, surge_hidden: 8, history_slots: 16, horizon_slots: 4}
local: {steps: 20, batch_size: 16}
rounds: {count: 4, agents_per_round: 9, panel_agents: 3}
personal: {steps: 10, batch_size: 16}
aggregation: {byzantine_share: 0.25}
attack: {kind: noise, fraction: 0.25}
evaluation: {comparisons: [ridge]}
"""
Run = Callable[..., dict[str, Any]]


def neurogrid(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "neurogrid", *arguments]


# As on a machine behind a proxy, which knows nothing of what this machine's own processes say to each other.
PROXIED = os.environ | dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


def run(*arguments: str, code: int = 0) -> dict[str, Any]:
    command = neurogrid(*arguments, "--json")
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=400, env=PROXIED)
    assert done.returncode == code, done.stderr[-3000:]
    return json.loads(done.stdout) if code == 0 else {"said": done.stderr}


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run` within this process, for commands that start no Spark: a process of its own takes seconds to begin."""
    monkeypatch.setenv("COLUMNS", "200")

    def run_here(*arguments: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["neurogrid", *arguments, "--json"])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        assert (end.value.code or 0) == code, said.err[-3000:]
        return json.loads(said.out) if code == 0 else {"said": said.err}

    return run_here


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many that their ETL can be stopped in its midst."""
    folder = tmp_path_factory.mktemp("readings") / "data"
    run("synth", str(folder), "--households", "60", "--days", "150")
    return folder


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


def weights(said: dict[str, Any]) -> str:
    """The hash of the final weights, by what a whole run said."""
    return said["train"]["w_final_sha256"]


def test_a_run_leaves_every_file_that_it_promises(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, said = whole
    root = folder / "w" / "runs" / "whole"
    for name in (
        *("config.yaml", "run.json", "end.json", "W_final.safetensors", "round_metrics.parquet", "report.html"),
        *("run_summary.json", "run_summary.md", "evaluation.json", "evaluation.md", "personal.parquet"),
        *(
            "rounds/round=0004.json",
            "W_global/round=0004/state.safetensors",
            "audit/agent_round_audit/round=0004.parquet",
        ),
    ):
        assert (root / name).stat().st_size > 0
    own = pq.read_table(root / "personal.parquet").to_pylist()
    assert len(own) == said["train"]["personal"]["agents"] == said["train"]["n_agents"]
    assert {f"{row['agent']}.safetensors" for row in own} == {file.name for file in (root / "personal").iterdir()}
    assert all(row["loss"] <= min(row["loss_usual"], row["loss_federated"], row["loss_personal"]) for row in own)
    assert (folder / "w" / "quality" / "report.md").exists()
    page = (folder / "w" / "quality" / "report.html").read_text()
    assert "A usual day of each kind of household" in page  # sampling came after the ETL
    assert said["train"]["rounds"] == 4
    assert said["etl"]["unusable"]
    assert not list(root.rglob("*.tmp"))


def test_every_file_that_names_a_household_is_on_the_page_who_holds_what(whole: tuple[Path, dict[str, Any]]) -> None:
    """In text, in cells of tables, or in its path; agents are named elsewhere too."""
    root = whole[0] / "w"
    page = (Path(__file__).resolve().parents[2] / "docs" / "who-holds-what.md").read_text()
    households = set(pq.read_table(root / "households.parquet")["household_id"].to_pylist())
    naming = set()
    for file in (file for file in root.rglob("*") if file.is_file()):
        tables = file.suffix == ".parquet"
        text = str(pq.read_table(file, partitioning=None).to_pydict()) if tables else file.read_bytes().decode("latin1")
        path = str(file.relative_to(root))
        if any(household in path + text for household in households):
            naming.add("meters/" if path.startswith("meters/") else re.sub(r"^(\w+s)/[^/]+/", r"\1/<id>/", path))
    assert {"meters/", "households.parquet", "manifests/<id>/manifest.json", "runs/<id>/evaluation.json"} <= naming
    assert not {path for path in naming if f"`{path}`" not in page}


def test_the_evaluation_is_of_the_final_weights(whole: tuple[Path, dict[str, Any]]) -> None:
    _, said = whole
    assert said["evaluate"]["w_final_sha256"] == said["train"]["w_final_sha256"]


def test_the_weights_are_the_same_bits_inline(whole: tuple[Path, dict[str, Any]], here: Run) -> None:
    folder, said = whole
    assert here(*train(folder, "inline", "--set", "backend.kind=inline"))["w_final_sha256"] == weights(said)
    inline, spark = (folder / "w" / "runs" / name / "personal" for name in ("inline", "whole"))
    assert {f.name: f.read_bytes() for f in inline.iterdir()} == {f.name: f.read_bytes() for f in spark.iterdir()}


def test_the_weights_are_the_same_bits_on_one_core(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, said = whole
    assert run(*train(folder, "one-core", "--set", "spark.master=local[1]"))["w_final_sha256"] == weights(said)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "it ended before it was to be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def family_of(process: subprocess.Popen[str]) -> list[int]:
    """It and all that it started."""
    return [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for_the_end_of(family: list[int]) -> None:
    until = time.monotonic() + 20
    while any(map(alive, family)):
        assert time.monotonic() < until, [psutil.Process(pid).cmdline()[:3] for pid in family if alive(pid)]
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("how", "backend"),
    [(signal.SIGTERM, "inline"), (signal.SIGKILL, "spark")],
)
def test_a_run_stopped_in_its_rounds_leaves_no_process_and_resumes_to_the_same_weights(
    whole: tuple[Path, dict[str, Any]], here: Run, how: signal.Signals, backend: str
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
    family = family_of(process)
    process.send_signal(how)
    _, words = process.communicate(timeout=60)
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert f"neurogrid train --resume {run_id}" in words
        assert "Traceback" not in words
    wait_for_the_end_of(family)
    resumed = here("train", "--warehouse", str(folder / "w"), "--resume", run_id, "--set", "backend.kind=inline")
    assert resumed["w_final_sha256"] == weights(said)
    here("audit", run_id, "--warehouse", str(folder / "w"))


def test_a_whole_run_stopped_in_each_step_leaves_no_process_and_is_finished_by_what_it_says(
    whole: tuple[Path, dict[str, Any]], here: Run, tmp_path: Path
) -> None:
    folder, said = whole
    warehouse, root = tmp_path / "w", tmp_path / "w" / "runs" / "cut"
    command = (
        *("run", "-c", str(folder / "small.yaml"), "--data-dir", str(folder / "data")),
        *("--warehouse", str(warehouse), "--set", "run_id=cut"),
    )
    words = stopped_at(warehouse / "meters", command)
    assert words.index("What this run will do") < words.index("\nETL\n")
    assert "give the same command again" in words
    resume = told(stopped_at(root / "rounds" / "round=0001.json", command))
    assert told(stopped_at(root / "personal", resume)) == resume
    assert told(stopped_at(root / "end.json", resume)) == resume
    before = (root / "end.json").read_bytes()
    finished = run(*resume)
    assert before == (root / "end.json").read_bytes()
    assert weights(finished) == finished["evaluate"]["w_final_sha256"] == weights(said)
    assert (root / "report.html").stat().st_size > 0
    here("audit", "cut", "--ended", "--warehouse", str(warehouse))


def stopped_at(moment: Path, command: Sequence[str]) -> str:
    """The words of a command that is stopped with Ctrl-C once that file or folder is there; no process may be left."""
    process = subprocess.Popen(neurogrid(*command), stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(moment.exists, process)
    family = family_of(process)
    os.killpg(process.pid, signal.SIGINT)  # to all of them, as a terminal does
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert "Traceback" not in words
    wait_for_the_end_of(family)
    return words


def told(words: str) -> list[str]:
    """The arguments of the command that goes on, which a stopped run names."""
    found = re.search(r"go on with: neurogrid (run --resume cut --warehouse \S+)", words)
    assert found, words
    return found[1].split()


def test_a_run_killed_before_its_report_gets_it_without_training_or_evaluating_again(
    whole: tuple[Path, dict[str, Any]], here: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, said = whole
    shutil.copytree(folder / "w", tmp_path / "w")
    root = tmp_path / "w" / "runs" / "whole"
    (root / "report.html").unlink()
    kept = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    monkeypatch.delattr("neurogrid.pipeline.sessions.session")  # no Spark can be started, and none is needed
    finished = here("run", "--resume", "whole", "--warehouse", str(tmp_path / "w"))
    assert finished["train"] == said["train"] | {"path": str(root)}
    assert finished["evaluate"] == json.loads((root / "evaluation.json").read_text())
    assert (root / "report.html").stat().st_size > 0
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_what_would_change_a_run_that_exists_is_refused(whole: tuple[Path, dict[str, Any]], here: Run) -> None:
    folder, _ = whole
    said = here("train", "--warehouse", str(folder / "w"), "--resume", "whole", "--rounds", "9", code=2)["said"]
    assert "run whole keeps the config that it began with" in said
    assert "rounds.count is 9, was 4" in said


def test_a_run_that_has_ended_is_not_resumed(whole: tuple[Path, dict[str, Any]], here: Run) -> None:
    folder, _ = whole
    said = here("train", "--warehouse", str(folder / "w"), "--resume", "whole", "--set", "backend.kind=inline", code=2)
    assert "run whole has ended" in said["said"]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("rounds/round=0002.json", '"n_accepted_agents": ', '"n_accepted_agents": 1'),
        ("evaluation.json", '"value": 0.', '"value": 0.0'),
    ],
)
def test_the_audit_names_what_was_changed(
    whole: tuple[Path, dict[str, Any]], here: Run, tmp_path: Path, name: str, old: str, new: str
) -> None:
    folder, _ = whole
    here("audit", "whole", "--warehouse", str(folder / "w"))
    shutil.copytree(folder / "w" / "runs", tmp_path / "runs")
    file = tmp_path / "runs" / "whole" / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    assert f"{name}: its content was changed" in here("audit", "whole", "--warehouse", str(tmp_path), code=1)["said"]


@pytest.mark.parametrize("later_s", [0.1, 0.5])
def test_an_etl_that_is_stopped_says_so_and_nothing_else(readings: Path, tmp_path: Path, later_s: float) -> None:
    command = neurogrid("etl", "--data-dir", str(readings), "--warehouse", str(tmp_path / "w"))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for((tmp_path / "w" / "meters").exists, process)
    time.sleep(later_s)
    os.killpg(process.pid, signal.SIGINT)  # to all of them, as a terminal does
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert words.rstrip().endswith("neurogrid: stopped")
    assert "Traceback" not in words
