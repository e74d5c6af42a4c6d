"""Buildings of the CityLearn package: hourly CSVs whose rows have a month, an hour and a day of the week, but no date.

Read about the format: the files in the wheel CityLearn 1.8.0 and in the project's repository, and the documentation of
`EnergySimulation` (hours 1 to 24, days of the week 1 to 8 with 8 for holidays). The load is `non_shiftable_load`
(`Equipment Electric Power [kWh]` in older files), in kWh; demands for heating, cooling and hot water are thermal and
are left, and solar generation is per kW installed. An hour's number is its end: hour 24 is the last of its day.

Dates are worked out. Days are counted from the changes of the hour and the month. The year is the latest up to
LATEST_YEAR whose days of the week fit best; what was found is told in the log as assumed. The documentation says that 1
is Monday. In the files of 2020 and 2021 summer time begins on a day 1, which is a Sunday in the country where they were
made, so there 1 is Sunday. Clocks have 24 hours on each day and no zone; they are taken as UTC.
"""

import re
from calendar import isleap, monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import BinaryIO

import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import text
from neurogrid.data.layouts.blocks import MINUTE_US, Block
from neurogrid.data.readings import UnusableFileError

NAME = "citylearn"
ENDS = False
LABELS = "utc"
REGISTER = False
MINUTES = 60

EARLIEST_YEAR, LATEST_YEAR = 2000, 2025
LEAST_FIT = 0.5
"""Of the days that are no holidays, at least such a share has the year's day of the week."""
HOLIDAY = 8
MOST_ROWS = 1_000_000
LOADS = ("non_shiftable_load", "equipment_electric_power")
HOUR_US, DAY_US = 60 * MINUTE_US, 24 * 60 * MINUTE_US


@dataclass(frozen=True)
class Hour:
    """One row: month 1 to 12, the hour's end 1 to 24, day type 1 to 8, whether it is summer time, kWh."""

    month: int
    hour: int
    day_type: int
    summer: bool
    kwh: float
    line: int


@dataclass
class Day:
    """Hours of one day, its day in the month, and how many years after the first it is."""

    hours: list[Hour]
    number: int = 0
    years_on: int = 0


def is_it(beginning: bytes, name: str) -> str:
    """Why a file is a building of CityLearn; empty where it is not."""
    columns = {_plain(cell) for cell in text.cells(text.first_line(beginning).casefold(), ",")}
    load = next((each for each in LOADS if each in columns), "")
    return (
        f"its header has month, hour, day_type and {load}" if load and {"month", "hour", "day_type"} <= columns else ""
    )


def rows(stream: BinaryIO, name: str, faults: FaultLog) -> Iterator[pa.Table]:
    """The building's hours as tables of ROWS.

    Raises:
        UnusableFileError: a column is missing, rows are no hours of days that follow each other, or no year fits.
    """
    numbered = text.lines(stream)
    head = text.header(numbered, (), name)
    places = {_plain(each): place for each, place in head.columns.items()}
    load = next((each for each in LOADS if each in places), LOADS[0])
    for wanted in ("month", "hour", "day_type", load):
        if wanted not in places:
            raise UnusableFileError(
                Fault.MISSING_COLUMN, f"no column {wanted!r} in {name}; found: {', '.join(head.columns)[:200]}"
            )
    if "minutes" in places:
        raise UnusableFileError(
            Fault.UNUSABLE_STEP, f"{name} has minutes; wanted are hours, which alone are documented"
        )
    days = _days(list(_hours(numbered, head, places, load, faults)), faults)
    year = _year(days, faults)
    household, block = text.stem(name), Block()
    for day in days:
        start = (date(year + day.years_on, day.hours[0].month, day.number) - date(1970, 1, 1)).days * DAY_US
        for hour in day.hours:
            block.add(household, start + (hour.hour - 1) * HOUR_US, hour.kwh, hour.line, minutes=MINUTES)
        if block.full:
            yield block.table()
    if len(block):
        yield block.table()


def _plain(column: str) -> str:
    """A column's name without its unit, with _ for spaces."""
    return re.sub(r"\[.*", "", column).strip().replace(" ", "_")


def _hours(
    numbered: Iterator[tuple[int, str]], head: text.Header, places: dict[str, int], load: str, faults: FaultLog
) -> Iterator[Hour]:
    last: tuple[int, int, int] | None = None
    for count, (line, row) in enumerate(text.table(numbered, head, faults)):
        if count == MOST_ROWS:
            raise UnusableFileError(
                Fault.UNREADABLE_FILE, f"more than {MOST_ROWS:,} rows, which are no hours of a building"
            )
        said = [text.number(row[places[each]]) for each in ("month", "hour", "day_type")]
        month, hour, day_type = (int(each) if each is not None and 0 < each < 25 else 0 for each in said)
        if not (0 < month <= 12 and hour and 0 < day_type <= HOLIDAY):
            cells = ", ".join(f"{each} = {row[places[each]][:20]!r}" for each in ("month", "hour", "day_type"))
            faults.add(Fault.BAD_TIMESTAMP, f"{cells}; wanted are 1 to 12, 1 to 24 and 1 to 8", line)
            continue
        if last == (month, hour, day_type):
            faults.add(Fault.DUPLICATE, f"month {month}, hour {hour}, day type {day_type} again", line)
            continue
        last = month, hour, day_type
        summer = "daylight_savings_status" in places and text.number(row[places["daylight_savings_status"]]) == 1
        yield Hour(month, hour, day_type, summer, text.energy(row[places[load]], load, line, faults), line)


def _days(hours: list[Hour], faults: FaultLog) -> list[Day]:
    """Days with their number in the month.

    Raises:
        UnusableFileError: there are none, or a month is not whole, so that nobody can tell which day is which.
    """
    days: list[Day] = []
    for hour in hours:
        before = days[-1].hours[-1] if days else None
        if before is None or hour.month != before.month or hour.hour <= before.hour:
            days.append(Day([hour]))
        else:
            days[-1].hours.append(hour)
    if not days:
        raise UnusableFileError(Fault.NO_READINGS, f"no hours; {faults.cause() or 'a header only'}")
    months: list[list[Day]] = []
    for day in days:
        if not months or months[-1][0].hours[0].month != day.hours[0].month:
            months.append([])
        months[-1].append(day)
    years_on = 0
    for place, found in enumerate(months):
        month, line = found[0].hours[0].month, found[0].hours[0].line
        if place and month != months[place - 1][0].hours[0].month % 12 + 1:
            raise UnusableFileError(
                Fault.UNREADABLE_FILE, f"line {line}: month {month} does not follow the one before it"
            )
        years_on += place > 0 and month == 1
        lengths = {28, 29} if month == 2 else {monthrange(2001, month)[1]}
        whole = 0 < place < len(months) - 1
        if len(found) > max(lengths) or (whole and len(found) not in lengths):
            raise UnusableFileError(
                Fault.UNREADABLE_FILE,
                f"line {line}: {len(found)} days in month {month}, so no day can be told from another",
            )
        # A file that begins within a month begins so many days before that month's end.
        before_it = min(lengths) - len(found) if place == 0 and len(months) > 1 else 0
        for number, day in enumerate(found, 1 + max(before_it, 0)):
            day.number, day.years_on = number, years_on
    return days


def _year(days: list[Day], faults: FaultLog) -> int:
    """The year of the first day.

    Raises:
        UnusableFileError: no year's days of the week fit.
    """
    changes = (after for day, after in pairwise(days) if after.hours[-1].summer and not day.hours[0].summer)
    spring = next(changes, None)
    sunday = spring is not None and spring.hours[0].day_type == 1
    typed = [day for day in days if day.hours[-1].day_type != HOLIDAY]
    fits: dict[int, int] = {}
    for year in range(EARLIEST_YEAR, LATEST_YEAR + 1 - days[-1].years_on):
        leap_days = [day for day in days if (day.hours[0].month, day.number) == (2, 29)]
        if all(isleap(year + day.years_on) for day in leap_days):
            fits[year] = sum(_weekday(day, year, sunday) == day.hours[-1].day_type for day in typed)
    best = max(fits.values(), default=0)
    if best < LEAST_FIT * len(typed) or not best:
        raise UnusableFileError(
            Fault.UNREADABLE_FILE,
            f"no year from {EARLIEST_YEAR} to {LATEST_YEAR} has these days of the week: at most {best:,} of "
            f"{len(typed):,} fit",
        )
    same = [year for year, count in fits.items() if count == best]
    day = days[0]
    faults.add(
        Fault.ASSUMED,
        f"the file has no year; {best:,} of {len(typed):,} days fit those of the week from "
        f"{', '.join(map(str, same))}, "
        f"with day type 1 as {'Sunday' if sunday else 'Monday'}; it is taken to begin on "
        f"{date(same[-1], day.hours[0].month, day.number)}, in hours of UTC",
        day.hours[0].line,
    )
    return same[-1]


def _weekday(day: Day, year: int, sunday: bool) -> int:
    """The day type, 1 to 7, that a day has in a year."""
    weekday = date(year + day.years_on, day.hours[0].month, day.number).isoweekday()
    return weekday % 7 + 1 if sunday else weekday
