"""Hourly long-term statistics of Home Assistant, as the integration Import Statistics exports and imports them.

Read about the format: README and sample files of the project klausj1/homeassistant-statistics. Columns are
`statistic_id`, `unit`, `start` (of the hour, 31.01.2025 00:00, on the clock on the wall) and `sum` (the energy counted
until the hour's end), or else `delta` (the energy of the hour). Each statistic is a household. An hour's energy is the
difference of its sum and that of the hour before; where that hour is not there, it is passed over.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import text
from neurogrid.data.layouts.blocks import MINUTE_US, Floats, tables
from neurogrid.data.readings import UnusableFileError

NAME = "ha_statistics"
ENDS = False
LABELS = "local"
REGISTER = False
MINUTES = 60

KWH = {"kwh": 1.0, "wh": 0.001, "mwh": 1000.0}
HOUR_US = 60 * MINUTE_US
MOST_ROWS = 10_000_000
LONGEST_NAME = 255


@dataclass
class Statistic:
    """Hours of one statistic in the file's order: labels, sums or energies in kWh (NaN where refused), lines."""

    labels: "array[int]" = field(default_factory=lambda: array("q"))
    kwh: "array[float]" = field(default_factory=lambda: array("d"))
    lines: "array[int]" = field(default_factory=lambda: array("q"))


def is_it(beginning: bytes, name: str) -> str:
    """Why a file holds statistics of Home Assistant; empty where it does not."""
    first = text.first_line(beginning).casefold()
    found = max((text.cells(first, separator) for separator in ",;\t|"), key=len)
    wanted = {"statistic_id", "start", "unit"}
    return "its header has statistic_id, start and unit" if wanted <= set(found) else ""


def rows(stream: BinaryIO, name: str, faults: FaultLog) -> Iterator[pa.Table]:
    """Energies of hours as tables of ROWS.

    Raises:
        UnusableFileError: a column is missing, there are too many rows, or none is of energy.
    """
    numbered = text.lines(stream)
    head = text.header(numbered, ("statistic_id", "start", "unit"), name)
    column = next((each for each in ("sum", "delta", "change") if each in head.columns), "")
    if not column:
        raise UnusableFileError(
            Fault.MISSING_COLUMN, f"no column 'sum' or 'delta' in {name}; found: {', '.join(head.columns)[:200]}"
        )
    given = False
    for household, statistic in sorted(_statistics(numbered, head, column, faults).items()):
        labels, kwh, lines = (np.array(each) for each in (statistic.labels, statistic.kwh, statistic.lines))
        order = np.argsort(labels, kind="stable")
        labels, kwh, lines = labels[order], kwh[order], lines[order]
        if column == "sum":
            follows = np.append(False, np.diff(labels) == HOUR_US)
            note = f"{household}: a sum without that of the hour before"
            faults.add_rows(Fault.PASSED_OVER, lines[~follows].astype(np.int32), (note for _ in lines))
            kwh = _differences(kwh)[follows]
            labels, lines = labels[follows], lines[follows]
        below = kwh < 0
        faults.add_rows(
            Fault.NEGATIVE, lines[below].astype(np.int32), (f"{household}: {each:g} kWh" for each in kwh[below])
        )
        kwh[below] = np.nan
        given |= len(labels) > 0
        none, never, hour = np.full(len(labels), np.nan), np.zeros(len(labels), bool), np.full(len(labels), MINUTES)
        yield from tables(household, labels, kwh, none, never, hour, lines)
    if not given:
        raise UnusableFileError(
            Fault.NO_READINGS,
            f"no hours of energy in {name}; wanted are rows with a unit of kWh, Wh or MWh and a {column} in hours that "
            f"follow each other; {faults.cause() or 'found were other units or single hours'}",
        )


def _differences(sums: Floats) -> Floats:
    """Each sum without the one before; NaN where one is missing or the difference has no end."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.diff(sums, prepend=np.nan)
    return np.where(np.isfinite(found), found, np.nan)


def _statistics(
    numbered: Iterator[tuple[int, str]], head: text.Header, column: str, faults: FaultLog
) -> dict[str, Statistic]:
    """Rows of energy by statistic; others are counted."""
    statistics: dict[str, Statistic] = {}
    count = 0
    for line, row in text.table(numbered, head, faults):
        household, start, unit = (row[head.columns[each]] for each in ("statistic_id", "start", "unit"))
        time = text.clock_us(start)
        factor = KWH.get(unit.casefold())
        if not 0 < len(household) <= LONGEST_NAME:
            faults.add(Fault.BROKEN_ROW, f"statistic_id = {household[: text.SHOWN]!r}", line)
        elif factor is None:
            faults.add(Fault.PASSED_OVER, f"{household} is in {unit[:20]!r}, no energy", line)
        elif time is None or time[1]:
            wanted = "wanted is the clock on the wall, 31.01.2025 00:00"
            faults.add(Fault.BAD_TIMESTAMP, f"start = {start!r:.{text.SHOWN}}; {wanted}", line)
        else:
            count += 1
            if count > MOST_ROWS:
                raise UnusableFileError(Fault.UNREADABLE_FILE, f"more than {MOST_ROWS:,} rows; export fewer statistics")
            kwh = text.energy(row[head.columns[column]], column, line, faults, factor, signed=True)
            statistic = statistics.setdefault(household, Statistic())
            statistic.labels.append(time[0])
            statistic.kwh.append(kwh)
            statistic.lines.append(line)
    return statistics
