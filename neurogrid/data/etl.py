"""Raw meter files to clean tables, as one Spark job: each task takes whole files, one after another.

No shuffle, and no reading reaches the driver: a task returns counts. `households.parquet` is deleted first and written
last, so a warehouse that has it is whole and of one run.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pyspark.sql import SparkSession

from neurogrid.data.clean import EtlSettings, Outcome, Stations, clean_file
from neurogrid.data.faults import FaultLog
from neurogrid.data.grid import check_cadence
from neurogrid.data.household import household_path
from neurogrid.data.progress import watched
from neurogrid.data.quality import QualityReport, faults_table, households_table, quality_report
from neurogrid.data.sources import MeterFile, Source
from neurogrid.errors import RunError
from neurogrid.storage import Place, refuse_unwritable

HOUSEHOLDS = "households.parquet"
TASKS_PER_CORE = 8
"""Enough tasks that the cores end together, few enough that starting them (10 to 30 ms each) costs little."""

TaskResult = tuple[list[Outcome], dict[str, FaultLog]]


def run_etl(
    spark: SparkSession,
    source: Source,
    warehouse: Place,
    settings: EtlSettings,
    progress: Callable[[int, int], None],
) -> QualityReport:
    """Cleans every household of a source into `warehouse`.

    A re-run replaces what is there: a household that the source no longer has, or that has become unusable, is removed
    and named in the report.

    Args:
        spark: an open session.
        source: from `open_source`.
        warehouse: root of the warehouse; gets meters/, households.parquet and quality/.
        settings: see EtlSettings.
        progress: called with files done and files in all, now and then, from another thread.

    Raises:
        InputError: no usable name in the source, a cadence that does not fit, or a warehouse that cannot be written.
        RunError: not one file could be used.
    """
    began = time.perf_counter()
    cadence = check_cadence(source.cadence_minutes, settings.cadence_minutes)
    listing = source.listing(settings.listed_per_kind)
    refuse_unwritable(warehouse)
    _delete(warehouse / HOUSEHOLDS)
    outcomes, weather_faults = _clean_all(spark, source, listing.files, warehouse, cadence, settings, progress)
    removed = _remove_others(warehouse, [o for o in outcomes if o.meta is not None])
    report = quality_report(source.kind, cadence, outcomes, listing, weather_faults)
    quality = warehouse / "quality"
    (quality / "faults.parquet").write(_parquet(faults_table(outcomes, listing, weather_faults)))
    report = replace(report, removed=removed)
    (quality / "report.json").write(report.to_json())
    (quality / "report.md").write(report.to_markdown())
    if report.households == 0:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(report.unusable.items())[:3])
        raise RunError(
            f"etl: not one of {report.files} files could be used",
            found=reasons,
            fix=f"see {quality / 'report.md'} for all",
        )
    (warehouse / HOUSEHOLDS).write(_parquet(households_table(outcomes)))
    return replace(report, seconds=time.perf_counter() - began)


def _clean_all(
    spark: SparkSession,
    source: Source,
    files: Sequence[MeterFile],
    warehouse: Place,
    cadence_minutes: int,
    settings: EtlSettings,
    progress: Callable[[int, int], None],
) -> tuple[list[Outcome], dict[str, FaultLog]]:
    """Outcomes in the order of households, and the faults of weather stations."""
    context = spark.sparkContext
    hands = deal(files, TASKS_PER_CORE * context.defaultParallelism)
    work = partial(_clean_hand, source, warehouse, cadence_minutes, settings)
    with watched(spark, "etl: one household's file after another", len(hands), len(files), progress):
        results: list[TaskResult] = context.parallelize(hands, len(hands)).map(work).collect()
    outcomes = sorted((o for outcomes, _ in results for o in outcomes), key=lambda outcome: outcome.household_id)
    stations = {name: faults for _, stations in results for name, faults in stations.items()}
    return outcomes, dict(sorted(stations.items()))


def deal(files: Sequence[MeterFile], hands: int) -> list[list[MeterFile]]:
    """Files dealt into at most so many hands of about the same size, largest first."""
    count = max(min(hands, len(files)), 1)
    dealt: list[list[MeterFile]] = [[] for _ in range(count)]
    sizes = [0] * count
    for file in sorted(files, key=lambda file: (-file.size_bytes, file.household_id)):
        smallest = sizes.index(min(sizes))
        dealt[smallest].append(file)
        sizes[smallest] += file.size_bytes
    return dealt


def _clean_hand(
    source: Source, warehouse: Place, cadence_minutes: int, settings: EtlSettings, files: list[MeterFile]
) -> TaskResult:
    stations = Stations(source, settings)
    outcomes = [clean_file(source, file, stations, warehouse, cadence_minutes, settings) for file in files]
    return outcomes, stations.faults()


def _delete(file: Place) -> None:
    if file.exists():
        file.filesystem.delete_file(file.path)


def _remove_others(warehouse: Place, kept: Sequence[Outcome]) -> tuple[str, ...]:
    """Deletes what lies under meters/ and is not of this run; returns the households that are gone."""
    root = warehouse / "meters"
    paths = {household_path(warehouse.path, o.meta.weather_id, o.household_id) for o in kept if o.meta is not None}
    households = {outcome.household_id for outcome in kept}
    gone = set()
    for info in root.filesystem.get_file_info(fs.FileSelector(root.path, recursive=True, allow_not_found=True)):
        folder = info.path.rsplit("/", 2)[-2]
        if info.type != fs.FileType.File or info.path in paths or not folder.startswith("Household_ID="):
            continue
        root.filesystem.delete_file(info.path)
        gone.add(folder.removeprefix("Household_ID="))
    for info in root.filesystem.get_file_info(fs.FileSelector(root.path, recursive=True, allow_not_found=True)):
        if info.type == fs.FileType.Directory and not any(path.startswith(f"{info.path}/") for path in paths):
            with suppress(OSError):  # an object store has no folders, and a folder may go with its parent
                root.filesystem.delete_dir(info.path)
    return tuple(sorted(gone - households))


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())
