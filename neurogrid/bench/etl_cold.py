"""The ETL as a user runs it: the whole command in a process of its own, beside lean scripts, in turn in one run.

What Spark's start takes is measured beside it, by a program that starts a session, has each worker answer, and ends.
"""

import importlib.util
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from neurogrid.bench.etl_lean import ENGINES
from neurogrid.bench.table import ResultTable
from neurogrid.errors import RunError

FIRST, AGAIN, START = "neurogrid etl", "neurogrid etl, nothing changed", "Spark's start alone"
GOAL_OF_LEAN, GOAL_AGAIN = 1.0, 0.1
_START = """
from pathlib import Path
from neurogrid.session import spark_session
with spark_session("bench-start", "local[{cores}]", {{}}, Path({log!r})) as spark:
    spark.sparkContext.parallelize(range({cores}), {cores}).map(abs).collect()
"""


def bench_cold(source: Path, folder: Path, cores: int, repeats: int, title: str) -> ResultTable:
    """Measures each whole command `repeats` times in turn.

    Args:
        source: a folder in the HEAPO layout.
        folder: for what they write; deleted afterwards.
        cores: that each may use.
        repeats: how often.
        title: of the table.

    Raises:
        RunError: a command fails.
    """
    ours = folder / "cold-neurogrid"
    etl = [sys.executable, "-m", "neurogrid", "etl", "--data-dir", str(source), "--warehouse", str(ours)]
    etl += ["--set", f"spark.master=local[{cores}]"]
    log = str(folder / "start.log")
    lean = {f"{name}, lean": name for name in ENGINES if importlib.util.find_spec(name) is not None}
    seconds: dict[str, list[float]] = {name: [] for name in (FIRST, AGAIN, START, *lean)}
    for _ in range(repeats):
        shutil.rmtree(ours, ignore_errors=True)
        seconds[FIRST].append(_seconds(etl))
        seconds[AGAIN].append(_seconds(etl))
        seconds[START].append(_seconds([sys.executable, "-c", _START.format(cores=cores, log=log)]))
        for name, engine in lean.items():
            target = folder / f"cold-{engine}"
            shutil.rmtree(target, ignore_errors=True)
            command = [sys.executable, "-m", "neurogrid.bench.etl_lean", engine, str(source), str(target), str(cores)]
            seconds[name].append(_seconds(["env", f"POLARS_MAX_THREADS={cores}", *command]))
            shutil.rmtree(target)
    shutil.rmtree(ours, ignore_errors=True)
    return ResultTable(
        title=title,
        columns=("command", "median_s", "fastest_s", "slowest_s"),
        rows=tuple((name, statistics.median(each), min(each), max(each)) for name, each in seconds.items()),
        notes=tuple(verdicts(seconds, repeats)),
    )


def verdicts(seconds: Mapping[str, Sequence[float]], repeats: int) -> list[str]:
    """What the figures say of the goals."""
    median = {name: statistics.median(each) for name, each in seconds.items()}
    notes = [f"whole commands, each in a process of its own; medians of {repeats}, in turn"]
    beyond = median[FIRST] - median[START]
    for name in (name for name in median if name.endswith(", lean")):
        share = beyond / median[name]
        notes.append(f"beyond Spark's start neurogrid takes {share:.2f} of the time of {name}" + _met(share, name))
    again = median[AGAIN] / median[FIRST]
    return [
        *notes,
        f"nothing changed: {again:.2f} of the first time; goal, at most {GOAL_AGAIN}: {verdict(again, GOAL_AGAIN)}",
    ]


def _met(share: float, name: str) -> str:
    return f"; goal, at most {GOAL_OF_LEAN:g}: {verdict(share, GOAL_OF_LEAN)}" if name.startswith("duckdb") else ""


def verdict(figure: float, bound: float) -> str:
    """Whether a goal that bounds a figure from above is met, in a word."""
    return "met" if figure <= bound else "**missed**"


def _seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RunError(
            "bench etl: a command failed", found=(done.stderr.strip() or "no words")[-500:], fix=" ".join(command)
        )
    return time.perf_counter() - began
