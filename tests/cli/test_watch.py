"""The terminal view: what it shows of a run, of a run without rounds, and of no run at all."""

import io
import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from neurogrid.cli import show
from neurogrid.cli.watch import bar, sparkline, view

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
    for part in ("filtered", "against f = 3, a round", "90%", "60%", "3.0 MB", "4.5 MB", "void rounds"):
        assert part in said, part


def test_the_view_fits_a_narrow_terminal(monkeypatch) -> None:
    monkeypatch.setattr(show.console, "width", 80)
    said = text(FIGURES, 80)
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= 80


def test_a_run_without_rounds_and_no_run_at_all_are_said_in_words() -> None:
    assert "no round has been finished yet" in text({**FIGURES, "rounds": 0})
    assert "no run yet in /w" in text(None)


def test_a_spark_line_shows_gaps_and_bars_stay_in_their_room() -> None:
    assert sparkline([0.0, None, 1.0]) == "▁·█"
    assert sparkline([2.0, 2.0]) == "▄▄"
    assert sparkline([None]) == ""
    assert (bar(7), bar(-1), bar(0.5)) == ("█" * 20, "", "█" * 10)


def test_without_a_terminal_it_shows_once_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "neurogrid", "watch", "--warehouse", str(tmp_path), "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)
    assert (done.returncode, json.loads(done.stdout)) == (0, None), done.stderr
    assert "no run yet" in done.stderr
    done = subprocess.run([*command, "nope"], check=False, capture_output=True, text=True, timeout=110)
    assert done.returncode == 2
    assert 'there is no run "nope"' in done.stderr
