"""Raw meter files to clean tables, as one Spark job: each task takes whole files, one after another.

No shuffle, and no reading reaches the driver: a task returns counts. Tables are written beside those of before, and
`households.parquet`, which lists the current ones, is replaced last: a warehouse is whole at any moment.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from neurogrid.data.clean import Outcome, Stations, clean_file, is_of
from neurogrid.data.cleaning import Cleaning, EtlSettings
from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.folder import Listing, MeterFile
from neurogrid.data.grid import check_cadence
from neurogrid.data.progress import watched
from neurogrid.data.quality import QualityReport, faults_table, households_table, quality_report
from neurogrid.data.remembered import (
    FILES,
    Fingerprints,
    read_remembered,
    remembered_parquet,
    remembered_whole,
    same_whole,
    station_faults,
    unchanged,
)
from neurogrid.data.sources import Source
from neurogrid.data.staging import staged
from neurogrid.data.tables import CLEANING_KEY, INDEX, SOURCE_KEY, Tables, read_tables
from neurogrid.errors import InputError, RunError
from neurogrid.plural import plural
from neurogrid.storage import Place, WritesBehind, refuse_unwritable
from neurogrid.tasks import run_tasks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TASKS_PER_CORE = 8
"""Enough tasks that the cores end together, few enough that starting them (10 to 30 ms each) costs little."""

TaskResult = tuple[list[Outcome], dict[str, FaultLog]]


def run_etl(
    spark: Callable[[], "SparkSession"],
    source: Source,
    warehouse: Place,
    settings: EtlSettings,
    progress: Callable[[int, int], None],
) -> QualityReport:
    """Cleans every household of a source into `warehouse`; files that are still the same are not read again.

    What is there stays as it is until all tables are made: the new ones lie beside the old ones, and then become the
    current ones in one step. A household that the source no longer has, or that has become unusable, is not current any
    more and is named in the report.

    Args:
        spark: opens a session; only called where a file has to be read.
        source: from `open_source`.
        warehouse: root of the warehouse; gets meters/, households.parquet and quality/.
        settings: see EtlSettings.
        progress: called with files done and files in all, now and then, from another thread.

    Raises:
        InputError: no usable name in the source, a cadence that does not fit, a warehouse that cannot be written or
            that holds another source's tables.
        RunError: not one file could be used.
    """
    began = time.perf_counter()
    cadence = check_cadence(source.cadence_minutes, settings.cadence_minutes)
    listing = source.listing(settings.listed_per_kind)
    refuse_unwritable(warehouse)
    before = _tables_before(warehouse)
    work = _Work(spark, source, warehouse, cadence, settings, progress)
    clean = _clean_split if source.declaration.staged else _clean_files
    cleaned = clean(work, listing, before)
    outcomes, listing, stations = cleaned.outcomes, cleaned.listing, cleaned.stations
    report = quality_report(source.kind, cadence, outcomes, listing, stations, settings.max_power_kw)
    gone = set(before.by_household if before else ()) - {o.household_id for o in outcomes if o.meta is not None}
    report = replace(report, removed=tuple(sorted(gone)), unchanged=cleaned.unchanged)
    if _is_as_before(work, cleaned, report, before):
        return replace(report, seconds=time.perf_counter() - began)
    (warehouse / FILES).write(cleaned.remember())
    _write_quality(warehouse, report, faults_table(outcomes, listing, stations))
    if report.households == 0:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(report.unusable.items())[:3])
        raise RunError(
            f"etl: none of {plural(report.files, 'file')} could be used",
            found=reasons,
            fix=f"see {warehouse / 'quality/report.md'} for all",
        )
    # In one step: whoever reads the warehouse finds the tables of before, or all of the new ones.
    said = {SOURCE_KEY: source.kind.encode(), CLEANING_KEY: work.cleaning.encode()}
    index = households_table(outcomes).replace_schema_metadata(said)
    (warehouse / INDEX).write(_parquet(index))
    return replace(report, seconds=time.perf_counter() - began)


def _tables_before(warehouse: Place) -> Tables | None:
    """The current tables; none where their list is damaged, which is then made anew as its error says."""
    try:
        return read_tables(warehouse)
    except InputError:
        return None


@dataclass(frozen=True)
class _Work:
    """What an ETL is done with; see run_etl."""

    spark: Callable[[], "SparkSession"]
    source: Source
    warehouse: Place
    cadence_minutes: int
    settings: EtlSettings
    progress: Callable[[int, int], None]

    @property
    def prints(self) -> Fingerprints:
        """Of what the tables are made from."""
        return Fingerprints(self.source, self.settings, self.cadence_minutes)

    @property
    def cleaning(self) -> str:
        """How the tables are made, as their list says it."""
        # What one ETL was allowed to replace says nothing of its tables.
        return Cleaning(self.source.timezone, replace(self.settings, another_source="refuse")).to_json()


@dataclass(frozen=True)
class _Cleaned:
    """What came of each household, in their order.

    Attributes:
        outcomes: by household.
        listing: of households.
        stations: faults of weather stations.
        unchanged: households that were not read again.
        remember: what the next ETL goes by.
    """

    outcomes: list[Outcome]
    listing: Listing
    stations: dict[str, FaultLog]
    unchanged: int
    remember: Callable[[], bytes]


def _clean_files(work: _Work, listing: Listing, before: Tables | None) -> _Cleaned:
    """Of files of a household each: those that are the same are not read again."""
    _refuse_other_source(work, before, [file.household_id for file in listing.files])
    prints, remembered = work.prints, read_remembered(work.warehouse)
    same = unchanged(listing.files, remembered, prints.made_with, work.warehouse)
    files = [file for file in listing.files if file.household_id not in same]
    made, stations = _clean_all(work, files) if files else ([], {})
    outcomes = sorted([*same.values(), *made], key=lambda outcome: outcome.household_id)
    for name in {file.weather_id for file in listing.files if file.household_id in same} - set(stations):
        if (log := station_faults(remembered, name, prints.station(name))) is not None:
            stations[name] = log
    made_with = {file.household_id: prints.made_with(file) for file in listing.files}
    remember = partial(
        remembered_parquet,
        {o.household_id: (made_with[o.household_id], o) for o in outcomes},
        {name: (prints.station(name), log) for name, log in stations.items()},
    )
    return _Cleaned(outcomes, listing, dict(sorted(stations.items())), len(same), remember)


def _clean_split(work: _Work, listing: Listing, before: Tables | None) -> _Cleaned:
    """Of files of many households: all are read again, unless all are the same."""
    _refuse_other_source(work, before, None)
    whole = work.prints.whole(listing.files)
    remembered = read_remembered(work.warehouse)
    if (same := same_whole(remembered, whole, listing, work.warehouse)) is not None:
        return _Cleaned(same.outcomes, same.listing, same.stations, len(same.outcomes), lambda: same.remember)
    folder, listed = work.warehouse / "staging", work.settings.listed_per_kind
    with staged(work.spark(), work.source, listing, folder, listed, work.progress) as households:
        _refuse_other_source(work, before, [file.household_id for file in households.files])
        outcomes, stations = _clean_all(work, households.files)
    outcomes.sort(key=lambda outcome: outcome.household_id)
    stations = dict(sorted(stations.items()))
    remember = partial(remembered_whole, whole, outcomes, households, stations)
    return _Cleaned(outcomes, households, stations, 0, remember)


def _is_as_before(work: _Work, cleaned: _Cleaned, report: QualityReport, before: Tables | None) -> bool:
    """Whether all that would be written is there already: making Arrow tables of it takes longer than to see that."""
    quality = work.warehouse / "quality"
    if cleaned.unchanged < len(cleaned.outcomes) or cleaned.listing.faults or before is None:
        return False
    tables = {outcome.household_id: outcome.table for outcome in cleaned.outcomes if outcome.meta is not None}
    current = {name: table.table for name, table in before.by_household.items()}
    if (tables, work.source.kind, work.cleaning) != (current, before.kind, before.cleaning):
        return False
    try:
        pq.ParquetFile(pa.BufferReader((quality / "faults.parquet").read_bytes())).read()
        return (quality / "report.json").read_bytes() == report.to_json().encode()
    except (OSError, ValueError, pa.ArrowException):  # lost or damaged: written anew
        return False


def _refuse_other_source(work: _Work, before: Tables | None, households: Sequence[str] | None) -> None:
    """Readings of other people would silently take the place of those that are there; None is not known yet."""
    if before is None or not before.by_household or work.settings.another_source == "replace":
        return
    same_kind = before.kind in ("", work.source.kind)
    if same_kind and (households is None or any(household in before.by_household for household in households)):
        return
    names = ", ".join(list(before.by_household)[:3])
    there = f"{plural(len(before.by_household), 'household')}" + (f" of kind {before.kind}" if before.kind else "")
    here = f"{plural(len(households), 'household')} of kind" if households is not None else "kind"
    raise InputError(
        f"etl: the warehouse {work.warehouse} holds the tables of another source",
        found=f"{there} there ({names}, ...); {here} {work.source.kind} here, "
        f"{'none of the same household' if same_kind else 'another kind'}",
        fix="name another warehouse with --warehouse, or set etl.another_source=replace to make these the current ones",
    )


def _write_quality(warehouse: Place, report: QualityReport, faults: pa.Table) -> None:
    quality = warehouse / "quality"
    (quality / "faults.parquet").write(_parquet(faults))
    (quality / "report.json").write(report.to_json())
    (quality / "report.md").write(report.to_markdown())


def _clean_all(work: _Work, files: Sequence[MeterFile]) -> tuple[list[Outcome], dict[str, FaultLog]]:
    """Outcomes, and the faults of weather stations."""
    spark, minutes = work.spark(), work.cadence_minutes
    context = spark.sparkContext
    hands = deal(files, TASKS_PER_CORE * context.defaultParallelism)
    clean = partial(_clean_hand, work.source, work.warehouse, minutes, work.settings)
    with watched(spark, "etl: one household after another", len(hands), len(files), work.progress):
        results = run_tasks(context, hands, clean, TypeAdapter(TaskResult), partial(_is_of, minutes))
    stations = {name: faults for _, stations in results for name, faults in stations.items()}
    return [outcome for outcomes, _ in results for outcome in outcomes], stations


def _is_of(minutes: int, files: Sequence[MeterFile], result: TaskResult) -> bool:
    """Whether a task's result can be that of its files: an outcome of each, and faults of their stations."""
    outcomes, stations = result
    return (
        len(outcomes) == len(files)
        and all(is_of(file, minutes, outcome) for file, outcome in zip(files, outcomes, strict=True))
        and stations.keys() <= {file.weather_id for file in files}
        and all(log.counts.keys() <= set(Fault) for log in stations.values())
    )


def deal(files: Sequence[MeterFile], hands: int) -> list[list[MeterFile]]:
    """Files dealt into at most so many hands of about the same size, largest first; those of a bucket to one hand."""
    units: dict[int | str, list[MeterFile]] = {}
    for file in files:
        units.setdefault(file.household_id if file.bucket is None else file.bucket.number, []).append(file)
    sized = [(-sum(file.size_bytes for file in unit), unit[0].household_id, unit) for unit in units.values()]
    count = max(min(hands, len(sized)), 1)
    dealt: list[list[MeterFile]] = [[] for _ in range(count)]
    sizes = [0] * count
    for less, _, unit in sorted(sized, key=lambda one: one[:2]):
        smallest = sizes.index(min(sizes))
        dealt[smallest] += unit
        sizes[smallest] -= less
    return dealt


def _clean_hand(
    source: Source, warehouse: Place, cadence_minutes: int, settings: EtlSettings, files: list[MeterFile]
) -> TaskResult:
    stations = Stations(source, settings)
    with WritesBehind() as behind:
        outcomes = [
            clean_file(source, file, stations, warehouse, cadence_minutes, settings, behind.write) for file in files
        ]
    return outcomes, stations.faults()


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())
