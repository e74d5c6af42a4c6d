"""Our ETL against a plain DuckDB script that does the same job, in turn, in one run, on the same made files.

Spark's start is outside the timing and shown by itself: a pipeline pays it once. Both use two cores.
"""

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from pyspark.sql import SparkSession

from neurogrid.bench.etl_cold import bench_cold
from neurogrid.bench.etl_duckdb import Totals, run_script, totals
from neurogrid.bench.table import ResultTable
from neurogrid.data.cleaning import EtlSettings
from neurogrid.data.etl import run_etl
from neurogrid.data.sources import open_source
from neurogrid.data.synthetic import make_benchmark
from neurogrid.errors import RunError
from neurogrid.session import spark_session
from neurogrid.storage import place

CORES = 2
GOAL = 0.2
SPARK_LOG = Path("build/bench/spark.log")
TOLERANCE = 1e-6
SETTINGS = EtlSettings(
    cadence_minutes=15,
    trailing_slots=5,
    weather_last_known_hours=3,
    train_share=0.72,
    validation_share=0.08,
    surge_percentile=95,
    max_power_kw=200,
    longest_gap_days=400,
    registers="refuse",
    net_meters="refuse",
    catch_up="spread",
    estimated="use",
    another_source="refuse",
    listed_per_kind=20,
    compression="snappy",
)


def bench_etl(folder: Path, files: int, rows: int, repeats: int) -> ResultTable:
    """Equal work in a warm session, measured both ways `repeats` times in turn; the made files stay in `folder`.

    Raises:
        RunError: the two ways do not agree on what they wrote.
    """
    source, megabytes = made_files(folder, files, rows)
    ours, theirs = folder.absolute() / "warehouse-neurogrid", folder.absolute() / "warehouse-duckdb"
    seconds: dict[str, list[float]] = {"neurogrid etl": [], "DuckDB script": []}
    began = time.perf_counter()
    with spark_session("bench-etl", f"local[{CORES}]", {}, SPARK_LOG) as spark:
        start_s = time.perf_counter() - began
        for _ in range(repeats):
            seconds["neurogrid etl"].append(_timed(ours, lambda: _run_ours(spark, source, ours)))
            seconds["DuckDB script"].append(_timed(theirs, lambda: _run_duckdb(source, theirs)))
    check = _agree(totals(ours), totals(theirs))
    for warehouse in (ours, theirs):
        shutil.rmtree(warehouse)
    table = [
        (name, statistics.median(each), min(each), each[0], megabytes / statistics.median(each))
        for name, each in seconds.items()
    ]
    share = statistics.median(seconds["neurogrid etl"]) / statistics.median(seconds["DuckDB script"])
    return ResultTable(
        title=f"Warm: ETL of {files} files x {rows:,} rows ({megabytes:,.0f} MB of CSV), {CORES} cores",
        columns=("way", "median_s", "fastest_s", "first_s", "csv_mb_per_s"),
        rows=(*table, ("Spark's start, not in the above", start_s, None, None, None)),
        notes=(
            "equal work: both read, fill, make the same features and write",
            f"neurogrid takes {share:.2f} of the DuckDB script's time (medians of {repeats}, in turn); "
            f"goal, at most {GOAL:g}: {'met' if share <= GOAL else '**missed**'}",
            f"both wrote the same: {check}",
            "`first_s` includes the start of Spark's Python workers",
        ),
    )


def bench_commands(folder: Path, files: int, rows: int, repeats: int) -> ResultTable:
    """Whole commands on the same files, as a user runs them; see etl_cold.py."""
    source, megabytes = made_files(folder, files, rows)
    title = f"Cold: {files} files x {rows:,} rows ({megabytes:,.0f} MB of CSV), {CORES} cores"
    return bench_cold(source, folder.absolute(), CORES, repeats, title)


def made_files(folder: Path, files: int, rows: int) -> tuple[Path, float]:
    """The folder of the made files, and their megabytes."""
    source = folder.absolute() / f"heapo-{files}x{rows}"
    if not (source / "complete").exists():
        shutil.rmtree(source, ignore_errors=True)
        make_benchmark(source, files, rows, seed=1)
        (source / "complete").touch()
    return source, sum(file.stat().st_size for file in source.glob("smart_meter_data/15min/*")) / 1e6


def _timed(target: Path, work: Callable[[], None]) -> float:
    shutil.rmtree(target, ignore_errors=True)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _run_ours(spark: SparkSession, source: Path, target: Path) -> None:
    meters = open_source("heapo", place(str(source)), (), None)
    run_etl(lambda: spark, meters, place(str(target)), SETTINGS, lambda done, total: None)


def _run_duckdb(source: Path, target: Path) -> None:
    run_script(
        source,
        target,
        {
            "threads": CORES,
            "limit_kwh": SETTINGS.max_power_kw / 4,
            "train": SETTINGS.train_share,
            "trailing": SETTINGS.trailing_slots,
            "hold_hours": SETTINGS.weather_last_known_hours,
            "compression": SETTINGS.compression,
        },
    )


def _agree(ours: Totals, theirs: Totals) -> str:
    counts = [(t.slots, t.households, t.load_tiers, t.weather_tiers) for t in (ours, theirs)]
    sums = ((ours.energy_kwh, theirs.energy_kwh), (ours.feature_squares, theirs.feature_squares))
    if counts[0] != counts[1] or any(abs(a - b) > TOLERANCE * abs(b) for a, b in sums):
        raise RunError(
            "bench etl: the two ways wrote different tables",
            found=f"neurogrid {ours}; DuckDB {theirs}",
            fix="one of them is wrong; compare a household's file",
        )
    return (
        f"{ours.slots:,} slots of {ours.households} households, {ours.energy_kwh:,.1f} kWh, "
        f"{sum(ours.load_tiers[1:]):,} loads imputed"
    )
