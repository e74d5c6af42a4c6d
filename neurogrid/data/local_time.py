"""Local time of day and day of the week of UTC slots, for a whole series at once.

Python's zoneinfo knows the rules but answers one moment at a time; here it is asked only where the offset changes.
"""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

DAY_MINUTES = 1440


def _offset_minutes(zone: ZoneInfo, minute: int) -> int:
    offset = datetime.fromtimestamp(minute * 60, UTC).astimezone(zone).utcoffset()
    return round(offset.total_seconds() / 60) if offset is not None else 0


@lru_cache(maxsize=64)
def _changes(timezone: str, first_day: int, last_day: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Minutes since 1970 at which the offset from UTC changes, and the offsets before, between and after."""
    zone = ZoneInfo(timezone)
    moments, offsets = [], [_offset_minutes(zone, first_day * DAY_MINUTES)]
    for day in range(first_day, last_day):
        before, after = day * DAY_MINUTES, (day + 1) * DAY_MINUTES
        if _offset_minutes(zone, after) == offsets[-1]:
            continue
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if _offset_minutes(zone, middle) == offsets[-1] else (before, middle)
        moments.append(after)
        offsets.append(_offset_minutes(zone, after))
    return np.array(moments, np.int64), np.array(offsets, np.int64)


def local_minutes(first: int, count: int, cadence_minutes: int, timezone: str) -> npt.NDArray[np.int64]:
    """(count,) local wall-clock minutes since 1970 at the start of each slot, from slot number `first`.

    The time of day is this modulo 1440, the day this divided by 1440, and day 0 was a Thursday.
    """
    minutes = np.arange(first, first + count, dtype=np.int64) * cadence_minutes
    moments, offsets = _changes(
        timezone, int(minutes[0]) // DAY_MINUTES, -(-int(minutes[-1] + cadence_minutes) // DAY_MINUTES)
    )
    bounds = np.concatenate([[0], np.searchsorted(minutes, moments), [count]])
    return minutes + np.repeat(offsets, np.diff(bounds))
