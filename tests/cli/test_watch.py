"""The terminal view: what it shows of a run, of a run without rounds, and of no run at all."""

import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import main_code
from in_process import neurogrid
from rich.console import Console

from neurogrid.cli import show
from neurogrid.cli.watch import bar, sparkline, view
from neurogrid.ledger.chain import seal, to_text

FIGURES = {
    "run_id": "r1",
    "state": "running",
    "reason": None,
    "age_s": 3.2,
    "rounds": 3,
    "rounds_asked": 10,
    "void_rounds": 1,
    "latency_s": {
        name: {"last": 0.5, "median": 0.25, "longest": 1.5}
        for name in ("wallclock", "send", "train", "collect", "aggregate", "evaluate", "persist")
    },
    "held_out_loss": [0.9, None, 0.4],
    "training_loss": [0.8, 0.6, 0.5],
    "acceptance": [0.8, 0.0, 0.6],
    "updates": {"asked": 45, "answered": 43, "late": 2, "lost": 0, "accepted": 21},
    "districts": {"0": {"asked": 15, "accepted": 3}, "1": {"asked": 30, "accepted": 18}},
    "rejected": [
        {"reason": "filtered", "attackers": True, "updates": 9},
        {"reason": "late", "attackers": False, "updates": 2},
    ],
    "assumed_f": 3,
    "suspected": [3, 0, 6],
    "rejection_recall": 0.9,
    "rejection_precision": 0.6,
    "bytes_down": 3_000_000,
    "bytes_up": 4_500_000,
    "executors": 2,
}


def text(figures: dict | None, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(view(figures, "/w"))
    return console.file.getvalue()


def test_the_view_says_latency_acceptance_loss_rejections_and_bytes() -> None:
    said = text(FIGURES)
    for part in ("round 3 of 10", "3 s ago", "0.9000", "0.4000", "persist", "0.250", "district 0", "20%", "47%"):
        assert part in said, part
    for part in ("filtered", "suspected, per round (f = 3)", "90%", "60%", "3.0 MB", "4.5 MB", "void rounds"):
        assert part in said, part


def test_the_view_fits_a_narrow_terminal(monkeypatch) -> None:
    monkeypatch.setattr(show.console, "width", 80)
    said = text(FIGURES, 80)
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= 80


def test_one_task_is_said_in_the_singular() -> None:
    assert "; 2 tasks" in text(FIGURES)
    assert text({**FIGURES, "executors": 1}).rstrip().endswith("; 1 task")


def test_a_run_without_rounds_and_no_run_at_all_are_said_in_words() -> None:
    assert "no round has been finished yet" in text({**FIGURES, "rounds": 0})
    assert "no run yet in /w" in text(None)


def test_a_run_that_says_nothing_may_have_been_killed_and_one_that_was_stopped_was_not() -> None:
    assert "silent  round 3 of 10  last written 3 s ago; it may have been killed" in text(
        {**FIGURES, "state": "silent"}
    )
    said = text({**FIGURES, "state": "stopped"})
    assert "stopped  round 3 of 10  last written 3 s ago" in said
    assert "killed" not in said


def test_on_a_terminal_the_view_ends_when_the_run_was_stopped(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "r1"
    run.mkdir(parents=True)
    (run / "run.json").write_text(to_text(seal({"run_id": "r1", "rounds": 10, "rule": "mean", "started": "2026"}, "")))
    (run / "run.lock").write_text("{}" + " " * 398)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "neurogrid", "watch", "--warehouse", str(tmp_path), "--every", "0.1"]
    watching = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    until = time.monotonic() + 60
    while time.monotonic() < until and select.select([ours], [], [], 60)[0]:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the command has closed the terminal
            break
    assert watching.wait(60) == 0
    os.close(ours)
    assert "stopped" in shown.decode()


def test_a_spark_line_shows_gaps_and_bars_stay_in_their_room() -> None:
    assert sparkline([0.0, None, 1.0]) == "▁·█"
    assert sparkline([2.0, 2.0]) == "▄▄"
    assert sparkline([None]) == ""
    assert (bar(7), bar(-1), bar(0.5)) == ("█" * 20, "", "█" * 10)


def test_without_a_terminal_it_shows_once_and_ends(tmp_path: Path) -> None:
    done = neurogrid("watch", "--warehouse", tmp_path, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, None), done.stderr
    assert "no run yet" in done.stderr


def test_a_run_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["neurogrid", "watch", "--warehouse", str(tmp_path), "--json", "nope"])
    assert main_code() == 2
    assert 'there is no run "nope"' in capsys.readouterr().err
