"""Files of many households written by hand, and how tests read them: split in this process, without Spark."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from meter_files import readings

from neurogrid.data.faults import FaultLog
from neurogrid.data.folder import Listing, MeterFile
from neurogrid.data.layouts.buckets import forget
from neurogrid.data.layouts.parts import stage_piece
from neurogrid.data.sources import Source, open_source
from neurogrid.data.staging import households_of, plan
from neurogrid.storage import place


@contextmanager
def split(source: Source, folder: Path) -> Iterator[Listing]:
    """The households of a source's files, whose rows lie in `folder` meanwhile."""
    listing = source.listing(9)
    work, unusable = plan(source, listing.files, place(str(folder)), 9)
    done = [stage_piece(task) for task in work]
    try:
        yield households_of(source, listing, work, done, unusable, 9)
    finally:
        forget()


TRIAL = "CUSTOMER_ID, READING_DATETIME, CALENDAR_KEY, EVENT_KEY, GENERAL_SUPPLY_KWH, CONTROLLED_LOAD_KWH, OTHER_KWH"


def found(source: Source, file: MeterFile, **changes: object) -> tuple[dict[datetime, float], dict[str, int]]:
    """A household's energies by start, and the faults counted."""
    faults = FaultLog(9)
    table = readings(source, file, faults, **changes).table
    by_start = dict(zip(table.column("Timestamp").to_pylist(), table.column("kWh").to_pylist(), strict=True))
    return by_start, {str(kind): count for kind, count in faults.counts.items() if count}


def all_found(
    source: Source, folder: Path, **changes: object
) -> dict[str, tuple[dict[datetime, float], dict[str, int]]]:
    """`found` of each household."""
    with split(source, folder) as listing:
        return {file.household_id: found(source, file, **changes) for file in listing.files}


def declared(root: Path, source: Source, **changes: object) -> Source:
    """A source with a changed declaration."""
    return replace(source, root=place(str(root)), declaration=replace(source.declaration, **changes))


def kwh(seed: int, count: int) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).gamma(2, 0.2, count).round(3)]


def moments(first: str, count: int, minutes: int, zone: str = "UTC") -> list[datetime]:
    """So many moments from a local one on, in UTC."""
    start = datetime.fromisoformat(first).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return [start + timedelta(minutes=minutes * n) for n in range(count)]


def lines(rows: Sequence[Sequence[object]], separator: str = ",", end: str = "\n") -> str:
    return "".join(separator.join(map(str, row)) + end for row in rows)


def opened(folder: Path, **settings: object) -> Source:
    return open_source("auto", place(str(folder)), (), None, **settings)


def trial_file(folder: Path, households: int = 3, slots: int = 100, interleaved: bool = False) -> Path:
    """The trial as published: one file, names in upper case with spaces."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        (710 + h, f"{at:%Y-%m-%d %H:%M:%S}", 1, 0, value, "" if h else 0.25, 0)
        for h in range(households)
        for at, value in zip(moments("2013-06-01 00:30", slots, 30), kwh(h, slots), strict=True)
    ]
    if interleaved:
        rows.sort(key=lambda row: row[1])
    (folder / "CD_INTERVAL_READING_ALL_NO_QUOTES.csv").write_text(TRIAL + "\n" + lines(rows))
    return folder
