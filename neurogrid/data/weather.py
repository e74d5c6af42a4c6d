"""Hourly readings of a weather station, joined to slots as they were known when the slot began.

A label of 10:00 describes 09:00 to 10:00 and is known from 10:00 on: a slot that starts at 10:00 may use it, one that
starts at 09:45 may not. Gaps are filled from the past alone. A station is read once a process and kept.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neurogrid.data.columns import rows_of, rows_with_time, trimmed
from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import MINUTE_US, near_the_rest, utc_text
from neurogrid.data.household import OBSERVED, SLOT_MEAN, TRAILING_MEAN, ZERO
from neurogrid.data.readings import (
    IDENTIFIER,
    UTC_TIME,
    UnusableFileError,
    read_columns,
)
from neurogrid.storage import Place

VARIABLES = ("Temperature_avg_hourly", "Humidity_avg_hourly", "Sunshine_duration_hourly")
HOUR_MINUTES = 60
HOUR_US = HOUR_MINUTES * MINUTE_US


@dataclass(frozen=True, eq=False)
class Station:
    """One station's hours. Two are the same only if they are one object, so that what is made of one can be kept.

    Attributes:
        first: number of the first label's hour since 1970.
        values: (H, 3) as measured, columns as VARIABLES, NaN where missing.
        faults: of the station's file.
    """

    first: int
    values: npt.NDArray[np.float64]
    faults: FaultLog


@dataclass(frozen=True)
class SlotWeather:
    """Weather by slot.

    Attributes:
        hour: (T,) row of each slot in the other arrays.
        values: (H, 3) filled, columns as VARIABLES.
        observed: (H, 3) whether it was measured.
        tier: (H,) worst tier of the variables that the station measures.
    """

    hour: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    observed: npt.NDArray[np.bool_]
    tier: npt.NDArray[np.uint8]


NO_STATION = Station(0, np.empty((0, len(VARIABLES))), FaultLog(0))


def read_station(file: Place, weather_id: str, longest_gap_days: float, faults: FaultLog) -> Station:
    """Reads an hourly file; what cannot be used is logged, labels that stand twice keep the first row.

    Args:
        file: the station's hours.
        weather_id: of the station; rows of another one are dropped.
        longest_gap_days: hours on the far side of a longer gap than this (a wrong year, say) are dropped.
        faults: what was dropped or taken as missing is logged here.

    Raises:
        UnusableFileError: the file gives no hour at all.
    """
    types = {"Weather_ID": IDENTIFIER, "Timestamp": UTC_TIME} | dict.fromkeys(VARIABLES, pa.float64())
    columns = read_columns(file, types, ";", faults)
    columns = trimmed(columns, "Weather_ID", faults)
    columns = rows_of(columns, "Weather_ID", weather_id, Fault.WRONG_STATION, faults)
    columns = rows_with_time(columns, "Timestamp", faults)
    labels = columns.times("Timestamp")
    hours, rest = np.divmod(labels, HOUR_US)
    faults.add_rows(Fault.OFF_GRID, columns.line[rest != 0], (utc_text(label) for label in labels[rest != 0]))
    good = rest == 0
    _refuse_none(np.flatnonzero(good), faults)
    values = np.column_stack([columns.numbers(name) for name in VARIABLES])
    infinite = np.isinf(values).any(axis=1)
    faults.add_rows(Fault.NOT_FINITE, columns.line[infinite], ("an infinite value" for _ in range(infinite.sum())))
    values[np.isinf(values)] = np.nan
    order = np.flatnonzero(good)[np.argsort(hours[good], kind="stable")]
    order = order[near_the_rest(hours[order], columns.line[order], HOUR_MINUTES, longest_gap_days, faults)]
    _refuse_none(order, faults)
    hours, values, lines = hours[order], values[order], columns.line[order]
    unique, rows = np.unique(hours, return_index=True)
    if len(unique) < len(hours):
        again = np.setdiff1d(np.arange(len(hours)), rows)
        again = again[np.argsort(lines[again])]
        faults.add_rows(Fault.DUPLICATE, lines[again], (utc_text(hours[row] * HOUR_US) for row in again))
    full = np.full((int(unique[-1] - unique[0]) + 1, len(VARIABLES)), np.nan)
    full[unique - unique[0]] = values[rows]
    return Station(int(unique[0]), full, faults)


def _refuse_none(rows: npt.NDArray[np.int64], faults: FaultLog) -> None:
    if len(rows) == 0:
        cause = faults.cause()
        raise UnusableFileError(
            Fault.NO_READINGS, f"no row of this station has a usable timestamp{cause and ': '}{cause}"
        )


_STATIONS: dict[tuple[str, int | None, int, str, float, int], Station] = {}
"""Stations read by this process, which outlives a task: by path, time of change, size, how it was read."""


def station_once(file: Place, weather_id: str, longest_gap_days: float, faults: FaultLog) -> Station:
    """`read_station`, once a process for the same file; a station that was kept has the faults of its own reading."""
    info = file.filesystem.get_file_info(file.path)
    key = (file.path, info.mtime_ns, info.size, weather_id, longest_gap_days, faults.listed_per_kind)
    if key not in _STATIONS:
        if len(_STATIONS) >= 64:
            _STATIONS.clear()
        _STATIONS[key] = read_station(file, weather_id, longest_gap_days, faults)
    return _STATIONS[key]


def known_weather(station: Station, starts_us: npt.NDArray[np.int64], last_known_hours: int) -> SlotWeather:
    """The weather known at the start of each slot.

    A missing hour takes the last measured value of up to `last_known_hours` before, then the mean of all earlier days
    at that hour (UTC), then zero. A variable that the station never reports is zero and does not make an hour missing.
    """
    hour = starts_us // HOUR_US
    first, last = int(hour[0]), int(hour[-1])
    # Of hours long before the slots only means by hour of day are left, and whole days between change none of them:
    # without those days, hours that stand in a wrong year cost no more than others.
    between = first - (station.first + len(station.values))
    start = station.first + 24 * (max(between - last_known_hours - 24, 0) // 24)
    # Wide enough for the slots and for all that the station measured: households within its time share what is made. Of
    # hours after the slots nothing enters into theirs, and a station that begins after them may do so long after.
    begin = min(first, start)
    end = max(last + 1, start + len(station.values)) if start <= last else last + 1
    filled = _filled(station, start - begin, end - begin, begin, last_known_hours)
    wanted = slice(first - begin, last + 1 - begin)
    return SlotWeather(hour - first, filled.values[wanted], filled.observed[wanted], filled.tier[wanted])


@dataclass(frozen=True)
class _Filled:
    """A station's hours without gaps; as in SlotWeather."""

    values: npt.NDArray[np.float64]
    observed: npt.NDArray[np.bool_]
    tier: npt.NDArray[np.uint8]


@lru_cache(maxsize=16)
def _filled(station: Station, lead: int, hours: int, first_hour: int, last_known_hours: int) -> _Filled:
    """`hours` hours from `first_hour` on, the station's own after `lead` of them; each filled from those before it."""
    ever = ~np.isnan(station.values).all(axis=0)
    if not ever.any():
        nothing = np.zeros((hours, len(VARIABLES)))
        return _Filled(nothing, nothing > 0, np.full(hours, ZERO, np.uint8))
    series = np.full((hours, len(VARIABLES)), np.nan)
    measured = station.values[: max(hours - lead, 0)]
    series[lead : lead + len(measured)] = measured
    observed = ~np.isnan(series)
    tier = np.zeros(hours, np.uint8)
    for column in np.flatnonzero(ever):
        series[:, column], tiers = fill_hours(series[:, column], first_hour, last_known_hours)
        tier = np.maximum(tier, tiers)
    return _Filled(np.where(ever, series, 0.0), observed, tier)


def fill_hours(
    values: npt.NDArray[np.float64], first_hour: int, last_known_hours: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """One variable's hours, filled from the past; (H,) values and tiers (TRAILING_MEAN stands for the last known)."""
    there = ~np.isnan(values)
    if there.all():
        return values, np.zeros(len(values), np.uint8)
    position = np.arange(len(values))
    last_known = np.maximum.accumulate(np.where(there, position, -1))
    age = np.where(last_known >= 0, position - last_known, len(values) + last_known_hours)
    lead = first_hour % 24
    days = -(-(lead + len(values)) // 24)
    padded = np.full(days * 24, np.nan)
    padded[lead : lead + len(values)] = values
    by_day = padded.reshape(days, 24)
    sums, counts = np.zeros((days, 24)), np.zeros((days, 24), np.int64)
    np.cumsum(np.nan_to_num(by_day[:-1]), axis=0, out=sums[1:])
    np.cumsum(~np.isnan(by_day[:-1]), axis=0, out=counts[1:])
    count = counts.ravel()[lead : lead + len(values)]
    mean = sums.ravel()[lead : lead + len(values)] / np.maximum(count, 1)
    recent = age <= last_known_hours
    filled = np.where(recent, values[np.maximum(last_known, 0)], np.where(count > 0, mean, 0.0))
    tier = np.where(recent, TRAILING_MEAN, np.where(count > 0, SLOT_MEAN, ZERO))
    return np.where(there, values, filled), np.where(there, OBSERVED, tier).astype(np.uint8)
