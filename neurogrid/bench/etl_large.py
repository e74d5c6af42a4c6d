"""How the whole command grows with the readings: some files and many times as many, with the memory that each takes."""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from neurogrid.bench.etl import CORES, made_files
from neurogrid.bench.etl_cold import verdict
from neurogrid.bench.memory import peak_memory
from neurogrid.bench.table import ResultTable
from neurogrid.errors import RunError

GOAL_GROWTH, GOAL_PEAK_MB = 1.05, 3000.0
"""Most that the time may grow beyond the files' number, and most memory of all processes."""


@dataclass(frozen=True)
class Measured:
    """One whole command: its seconds, the most memory of all its processes, the size of the page that it wrote."""

    seconds: float
    peak_mb: float
    page_mb: float


def bench_large(folder: Path, files: int, rows: int, times: int, repeats: int) -> ResultTable:
    """Measures `neurogrid etl` on `files` files and on `times` as many, `repeats` times in turn.

    Raises:
        RunError: a command fails.
    """
    sizes = (files, files * times)
    sources = {size: made_files(folder, size, rows)[0] for size in sizes}
    found: dict[int, list[Measured]] = {size: [] for size in sizes}
    for _ in range(repeats):
        for size in sizes:
            found[size].append(_measured(sources[size], folder.absolute() / "large"))
    return ResultTable(
        title=f"Large: whole commands on files of {rows:,} rows, {CORES} cores",
        columns=("files", "median_s", "slowest_s", "peak_memory_mb", "page_mb"),
        rows=tuple((size, _median(each), max(m.seconds for m in each), *_worst(each)) for size, each in found.items()),
        notes=tuple(verdicts(found, times)),
    )


def verdicts(found: dict[int, list[Measured]], times: int) -> list[str]:
    """What the figures of both sizes say of the goals."""
    small, large = found.values()
    growth, peak = _median(large) / _median(small), _worst(large)[0]
    most = GOAL_GROWTH * times
    return [
        f"{times} times the files take {growth:.1f} times as long; goal, at most {most:.1f}: {verdict(growth, most)}",
        f"most memory of all processes, what they share counted once: {peak:,.0f} MB; goal, under {GOAL_PEAK_MB:,.0f}: "
        + verdict(peak, GOAL_PEAK_MB),
        "seconds are those of the command with Spark's start and the quality page, medians of the runs in turn",
    ]


def _measured(source: Path, warehouse: Path) -> Measured:
    shutil.rmtree(warehouse, ignore_errors=True)
    command = [sys.executable, "-m", "neurogrid", "etl", "--data-dir", str(source), "--warehouse", str(warehouse)]
    command += ["--set", f"spark.master=local[{CORES}]"]
    began = time.perf_counter()
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
        peak_memory(psutil.Process(process.pid), set()) as memory,
    ):
        words, _ = process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RunError("bench etl-large: the command failed", found=words.strip()[-500:], fix=" ".join(command))
    page = (warehouse / "quality" / "report.html").stat().st_size
    shutil.rmtree(warehouse)
    return Measured(seconds, memory.peak / 1e6, page / 1e6)


def _median(found: Sequence[Measured]) -> float:
    return statistics.median(each.seconds for each in found)


def _worst(found: Sequence[Measured]) -> tuple[float, float]:
    return max(each.peak_mb for each in found), max(each.page_mb for each in found)
