"""What a warehouse holds for the data-quality page, read once. No more is read of a table than is shown of it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.data.manifest import Manifest
from neurogrid.data.summary import HouseholdSummary, Load, read_load, read_summary
from neurogrid.data.tables import read_tables
from neurogrid.errors import RunError
from neurogrid.report.facts import Record, read_json
from neurogrid.storage import Place

MOST_SHOWN = 6
"""Households whose load is drawn."""
_READERS = 8  # an object store takes long for each read and many reads at a time


@dataclass(frozen=True)
class Example:
    """A fault as it stood in a file; `line` is None where a line means nothing."""

    household_id: str
    file: str
    line: int | None
    text: str


@dataclass(frozen=True)
class QualityFacts:
    """Everything that the page says, unformatted.

    Attributes:
        report: quality/report.json of the ETL.
        examples: the first listed fault of each kind of household files and the household list.
        station_examples: the same by weather station and kind.
        households: each table summed up, by household id.
        unreadable: household id and reason of each table that could not be read.
        loads: of the households with most slots missing, worst first; empty where they are not to be shown.
        shown: whether readings of single households are shown.
        manifest: whose clusters are drawn, if there is one.
    """

    report: Record
    examples: dict[str, Example]
    station_examples: dict[tuple[str, str], Example]
    households: tuple[HouseholdSummary, ...]
    unreadable: dict[str, str]
    loads: tuple[Load, ...]
    shown: bool
    manifest: Manifest | None


def read_quality(warehouse: Place, manifest: Manifest | None, *, show_households: bool) -> QualityFacts:
    """Reads the ETL's report, its listed faults, and five columns of every table (about 4 ms each).

    Raises:
        RunError: there is no report of an ETL, or it is not what the ETL wrote.
    """
    report = read_json(warehouse / "quality" / "report.json")
    if report is None:
        raise RunError(
            "there is no data-quality report to make a page of",
            found=f"no {warehouse}/quality/report.json",
            fix="run `neurogrid etl` first",
        )
    examples, station_examples = _examples(warehouse, report)
    tables = household_tables(warehouse)
    households, unreadable = _summaries(warehouse, tables)
    worst = [row["household_id"] for row in report.get("worst") or () if row.get("missing_share", 0) > 0]
    readable = [household for household in worst if household in tables and household not in unreadable]
    return QualityFacts(
        report=report,
        examples=examples,
        station_examples=station_examples,
        households=households,
        unreadable=unreadable,
        loads=tuple(read_load(warehouse.filesystem, tables[household]) for household in readable[:MOST_SHOWN])
        if show_households
        else (),
        shown=show_households,
        manifest=manifest,
    )


def _summaries(warehouse: Place, tables: dict[str, str]) -> tuple[tuple[HouseholdSummary, ...], dict[str, str]]:
    """Every table summed up, by household id, and those that cannot be read with the reason."""

    def read(path: str) -> HouseholdSummary | str:
        try:
            return read_summary(warehouse.filesystem, path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return str(error).partition("\n")[0]

    with ThreadPoolExecutor(_READERS) as threads:
        found = dict(zip(tables, threads.map(read, tables.values()), strict=True))
    return (
        tuple(each for each in found.values() if isinstance(each, HouseholdSummary)),
        {household: each for household, each in found.items() if isinstance(each, str)},
    )


def household_tables(warehouse: Place) -> dict[str, str]:
    """Path of each household's current table, by household id; none where no ETL has ended."""
    tables = read_tables(warehouse)
    known = tables.by_household if tables else {}
    return {household: (warehouse / known[household].path).path for household in sorted(known)}


def _examples(warehouse: Place, report: Record) -> tuple[dict[str, Example], dict[tuple[str, str], Example]]:
    listed = warehouse / "quality" / "faults.parquet"
    stations = report.get("weather_faults") or {}
    own: dict[str, Example] = {}
    of_stations: dict[tuple[str, str], Example] = {}
    for row in _read_parquet(listed, None) if listed.exists() else ():
        example = Example(row["household_id"], row["file"], row["line"], row["text"])
        if not row["household_id"] and row["kind"] in stations.get(row["file"], {}):
            of_stations.setdefault((row["file"], row["kind"]), example)
        else:
            own.setdefault(row["kind"], example)
    return own, of_stations


def _read_parquet(file: Place, columns: list[str] | None) -> list[Record]:
    try:
        with file.filesystem.open_input_file(file.path) as source:
            rows: list[Record] = pq.read_table(source, columns=columns, partitioning=None).to_pylist()
    except (ValueError, KeyError, pa.ArrowException) as error:
        raise RunError(
            f"{file} is not what the ETL wrote", found=str(error), fix="run `neurogrid etl` again"
        ) from error
    return rows
