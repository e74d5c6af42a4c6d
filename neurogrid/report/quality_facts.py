"""What a warehouse holds for the data-quality page, read once; tables only of the households whose load is drawn."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.data.manifest import Manifest
from neurogrid.data.summary import Load, Summary, read_load
from neurogrid.data.tables import INDEX, read_tables
from neurogrid.errors import RunError
from neurogrid.report.facts import Record, read_json
from neurogrid.storage import Place

MOST_SHOWN = 6
"""Households whose load is drawn."""
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Example:
    """A fault as it stood in a file; `line` is None where a line means nothing."""

    household_id: str
    file: str
    line: int | None
    text: str


@dataclass(frozen=True)
class Household:
    """One household's row of the list of tables; of its numbers those of data/summary.py as arrays."""

    household_id: str
    weather_id: str
    rows: int
    observed: int
    first_week: int
    slots: Counts
    measured: Counts
    weather: Counts
    kw_by_hour: npt.NDArray[np.float64]


@dataclass(frozen=True)
class QualityFacts:
    """Everything that the page says, unformatted.

    Attributes:
        report: quality/report.json of the ETL.
        examples: the first listed fault of each kind of household files and the household list.
        station_examples: the same by weather station and kind.
        households: each with a table, by household id.
        unreadable: household id and reason of each whose table, or summary, could not be read.
        loads: of the households with most slots missing, worst first; empty where they are not to be shown.
        shown: whether readings of single households are shown.
        manifest: whose clusters are drawn, if there is one.
    """

    report: Record
    examples: dict[str, Example]
    station_examples: dict[tuple[str, str], Example]
    households: tuple[Household, ...]
    unreadable: dict[str, str]
    loads: tuple[Load, ...]
    shown: bool
    manifest: Manifest | None


def read_quality(warehouse: Place, manifest: Manifest | None, *, show_households: bool) -> QualityFacts:
    """Reads the ETL's report, its listed faults, its list of tables, and the load of those that are drawn.

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
    households, unreadable = _households(warehouse) if tables else ([], {})
    loads: list[Load] = []
    worst = [row["household_id"] for row in report.get("worst") or () if row.get("missing_share", 0) > 0]
    for household in worst if show_households else ():
        if household in tables and len(loads) < MOST_SHOWN:
            try:
                loads.append(read_load(warehouse.filesystem, tables[household]))
            except (OSError, ValueError, KeyError, TypeError) as error:
                unreadable[household] = str(error).partition("\n")[0]
    return QualityFacts(
        report=report,
        examples=examples,
        station_examples=station_examples,
        households=tuple(households),
        unreadable=unreadable,
        loads=tuple(loads),
        shown=show_households,
        manifest=manifest,
    )


def _households(warehouse: Place) -> tuple[list[Household], dict[str, str]]:
    """Every household with a table, by its id, and those without a summary with the reason."""
    found, without = [], {}
    for row in sorted(_read_parquet(warehouse / INDEX, None), key=lambda row: str(row["household_id"])):
        try:
            own = Summary.from_plain(row)
        except KeyError:
            without[str(row["household_id"])] = f"an older version wrote {INDEX}; run `neurogrid etl` again"
            continue
        found.append(
            Household(
                row["household_id"],
                row["weather_id"],
                row["rows"],
                row["observed"],
                own.first_week,
                np.array(own.week_slots, np.int64),
                np.array(own.week_measured, np.int64),
                np.array(own.week_weather, np.int64),
                np.array(own.kw_by_hour, np.float64),  # NaN for None
            )
        )
    return found, without


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
