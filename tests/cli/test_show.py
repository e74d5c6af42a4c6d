"""What a person sees while something takes its time."""

import os
import pty
import subprocess
import sys

import pytest

from neurogrid.cli import show

# Spark's start takes stderr away from this process, as here.
STARTING = """
import os, time
from neurogrid.cli import show

with show.waiting("starting Spark"):
    ours = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    time.sleep(0.8)
    os.dup2(ours, 2)
show.say("started")
"""


def on_a_terminal(program: str) -> str:
    """What the program shows on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", program], stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the last one has closed the terminal
            break
    os.close(ours)
    assert process.wait(60) == 0
    return shown.decode()


def test_the_spinner_turns_while_spark_starts_and_has_stderr() -> None:
    shown = on_a_terminal(STARTING)
    assert shown.count("starting Spark") > 4
    assert shown.rstrip().endswith("started")


def test_a_log_has_one_line_when_spark_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with show.waiting("starting Spark on local[*]"):
        pass
    assert capsys.readouterr().err == "  starting Spark on local[*]\n"


def test_the_evaluations_bar_says_how_much_there_is_to_do() -> None:
    program = """
import time
from neurogrid.cli import show

with show.bar("evaluation") as bar:
    for name, total in (("ridge", 2), ("scoring", 8)):
        bar.step(name, total)
        time.sleep(0.3)
    bar(3, 8)
    time.sleep(0.3)
"""
    shown = on_a_terminal(program)
    for words in ("0/2", "0/8", "3/8", "scoring"):
        assert words in shown


def test_a_figure_that_rounds_to_zero_has_no_sign() -> None:
    assert (show.number(-0.04, 1), show.number(-0.06, 1), show.number(None)) == ("0.0", "-0.1", "-")
