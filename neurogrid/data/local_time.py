"""Between UTC and the local time of a household, both ways, for a whole series at once.

Python's zoneinfo knows the rules but answers one moment at a time; here it is asked only where the offset changes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import MINUTE_US
from neurogrid.data.steps import Ints, begins_with_newest, snapped

DAY_MINUTES = 1440
DAY_US = DAY_MINUTES * MINUTE_US
_CLOCKS = (
    *("Europe/Berlin", "Europe/London", "Europe/Athens", "America/New_York", "Australia/Sydney", "Pacific/Auckland"),
    *("America/Santiago", "America/Asuncion", "America/Havana", "Asia/Jerusalem", "Asia/Beirut", "Africa/Cairo"),
)
"""One for each way in which clocks change where many live; all of North America's change at one local time."""
FIRST_DAY, LAST_DAY = -25_567, 65_744
"""1900 to 2150. A label outside them is a mistake; it is given the offset of the nearest day in them."""
NEAR_US = 2 * DAY_US
"""The step that holds at a change of clocks is that of the labels so near to it."""
BLOCK_ROWS = 1 << 16
"""Rows whose offsets are looked up together."""

Repeated = Literal["twice", "summed"]
"""What a file does with the hour that clocks repeat: its labels stand `twice`, or once with both hours `summed`."""


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
    minutes += np.repeat(offsets, np.diff(bounds))
    return minutes


def forward_changes_us(timezone: str, first_us: int, last_us: int) -> Ints:
    """Moments in microseconds since 1970 at which clocks go forward."""
    moments, offsets = _changes_between(timezone, first_us, last_us)
    forward: Ints = moments[np.diff(offsets) > 0]
    return forward


def _changes_between(timezone: str, first_us: int, last_us: int) -> tuple[Ints, Ints]:
    """Moments at which the offset changes, and the offsets before, between and after; in microseconds."""
    first, last = (min(max(day, FIRST_DAY), LAST_DAY) for day in (first_us // DAY_US - 1, last_us // DAY_US + 2))
    moments, offsets = _changes(timezone, first, last)
    return moments * MINUTE_US, offsets * MINUTE_US


@dataclass(frozen=True)
class Placed:
    """Where the rows of a file with local labels belong. M is N, less rows left out, plus rows that hold two hours.

    Attributes:
        rows: (M,) rows of the file, rising; a slice where they are all of them.
        utc_us: (M,) their moments in microseconds since 1970, UTC.
        share: (M,) of the row's energy that belongs there: 1, or 0.5 of a row that holds two hours; None where all are
            1.
    """

    rows: npt.NDArray[np.intp] | slice
    utc_us: Ints
    share: npt.NDArray[np.float64] | None


def utc_of_local(
    labels_us: Ints, timezone: str, line: npt.NDArray[np.int32], faults: FaultLog, *, ends: bool, repeated: Repeated
) -> Placed:
    """Wall-clock labels without an offset to UTC.

    Where clocks go back, a label that stands twice is first the moment before the change, then the one after it, in
    files that begin with their newest row, too; of more copies the moments take turns. A label that stands once is the
    earlier moment, and counted; where the file's step fits only one of both, it is that one. Of end labels, the moment
    of the change may have its name before it (03:00) or after it (02:00).

    Where clocks go forward, rows with labels that are skipped are counted and left out. An end label may name the
    moment of the change by the time before it (02:00) or after it (03:00).

    Args:
        labels_us: (N,) wall-clock time in microseconds since 1970, as if it were UTC; one household's rows in the
            file's order.
        timezone: IANA name.
        line: (N,) of the rows in their file.
        faults: ambiguous and skipped times are logged here.
        ends: whether a label names the end of its slot, instead of the start.
        repeated: how the file holds the hour that clocks repeat; see Repeated.
    """
    if len(labels_us) == 0:
        return Placed(slice(None), labels_us, None)
    wall = snapped(labels_us)
    moments, offsets = _changes_between(timezone, int(wall.min()), int(wall.max()))
    utc = _with_usual_offset(wall, moments, offsets)
    skipped, once, halved, lengths = ([np.empty(0, np.int64)] for _ in range(4))
    newest_first = begins_with_newest(labels_us)
    for moment, before, after in zip(moments.tolist(), offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        low, high = sorted((moment + before, moment + after))
        near = np.flatnonzero((wall >= low - NEAR_US) & (wall < high + NEAR_US))
        near = near[::-1] if newest_first else near
        near = near[np.argsort(labels_us[near], kind="stable")]
        times = wall[near]
        hour = slice(*np.searchsorted(times, (low, high + ends)))
        at, labels = near[hour], times[hour]
        own = labels > low if ends else labels >= low
        if after > before:
            moment_named_once = ends and repeated == "twice" and own.all()
            skipped.append(at[own & (labels != high) if moment_named_once else own])
            continue
        utc[at] = labels - before
        if repeated == "summed":
            halved.append(at[own])
            lengths.append(np.full(np.count_nonzero(own), high - low))
            continue
        rest = utc[np.concatenate([near[: hour.start], near[hour.stop :]])]
        times = np.unique(times)
        later, alone = _later(utc[at], high - low, moment, _most_frequent(times[1:] - times[:-1]), rest)
        utc[at[later]] += high - low
        once.append(at[alone & own & (labels != high)])
    for fault, which, text in (
        (Fault.NO_SUCH_TIME, skipped, "is skipped by the clocks of"),
        (Fault.AMBIGUOUS_TIME, once, "stands once and is taken as the first of two in"),
        (Fault.AMBIGUOUS_TIME, halved, "holds two hours, half of it goes to each, in"),
    ):
        rows = np.sort(np.concatenate(which))
        faults.add_rows(
            fault, line[rows], (f"{np.datetime64(int(labels_us[row]), 'us')} {text} {timezone}" for row in rows)
        )
    if wall is not labels_us:
        utc += labels_us - wall
    return _placed(utc, np.concatenate(skipped), np.concatenate(halved), np.concatenate(lengths))


def _with_usual_offset(wall: Ints, moments: Ints, offsets: Ints) -> Ints:
    """Labels less the offset that they have if no hour were repeated; a block at a time, to hold little memory."""
    # Clocks that change show two times at once; labels from the later of both on have the new offset.
    bounds = moments + np.maximum(offsets[1:], offsets[:-1])
    utc = wall.copy()
    for begin in range(0, len(utc), BLOCK_ROWS):
        block = utc[begin : begin + BLOCK_ROWS]
        block -= offsets[np.searchsorted(bounds, block, side="right")]
    return utc


def _placed(utc: Ints, skipped: Ints, halved: Ints, lengths: Ints) -> Placed:
    """Moments of all rows, less those that are skipped, and of those that hold two hours of a length, both."""
    if not len(skipped) and not len(halved):
        return Placed(slice(None), utc, None)
    times = np.ones(len(utc), np.int8)
    times[skipped], times[halved] = 0, 2
    rows = np.repeat(np.arange(len(utc)), times)
    moments = utc[rows]
    second = np.flatnonzero(rows[1:] == rows[:-1]) + 1
    moments[second] += lengths[np.argsort(halved, kind="stable")]
    return Placed(rows, moments, np.where(times[rows] == 2, 0.5, 1.0))


def local_as_utc(starts_us: Ints, cadence_minutes: int, timezone: str) -> str:
    """What tells that labels are local time which was called UTC, in words; empty where nothing does.

    Such labels lack exactly the hour that clocks skip, or have exactly the hour that clocks repeat twice, while for
    days around none is missing. A label in a skipped hour shows that they are UTC, whatever other years lack.

    Args:
        starts_us: (N,) starts of slots as UTC in microseconds, rising, with those that stand twice.
        cadence_minutes: length of a slot.
        timezone: IANA name of the household's zone. Where that is UTC, nobody may have said where the household is, and
            the clocks of others are tried.
    """
    if len(starts_us) == 0:
        return ""
    for zone in _CLOCKS if timezone in ("UTC", "Etc/UTC") else (timezone,):
        if signs := _signs_of_local_time(starts_us, cadence_minutes, zone):
            whose = f"{timezone} change" if zone == timezone else f"{zone} change (source.timezone is {timezone})"
            return f"{', '.join(signs)}, where clocks of {whose}: labels look like local time with the offset of UTC"
    return ""


def _signs_of_local_time(starts_us: Ints, cadence_minutes: int, timezone: str) -> list[str]:
    step = cadence_minutes * MINUTE_US
    moments, offsets = _changes_between(timezone, int(starts_us[0]), int(starts_us[-1]))
    signs = []
    for moment, before, after in zip(moments.tolist(), offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        low, high = sorted((moment + before, moment + after))
        begin, from_hour, after_hour, end = np.searchsorted(starts_us, (low - NEAR_US, low, high, high + NEAR_US))
        days = np.concatenate([starts_us[begin:from_hour], starts_us[after_hour:end]])
        hour = starts_us[from_hour:after_hour]
        if after > before and len(hour):
            return []
        complete = len(days) == len(np.unique(days)) == 2 * (NEAR_US // step)
        slots = (high - low) // step
        if not complete or slots == 0:
            continue
        said = f"{np.datetime64(low, 'us').item():%Y-%m-%d %H:%M} to {np.datetime64(high, 'us').item():%H:%M}"
        if after > before:
            signs.append(f"{said} is missing")
        elif len(hour) == 2 * slots and (np.unique(hour, return_counts=True)[1] == 2).all():
            signs.append(f"{said} stands twice")
    return signs


def _later(
    earlier: Ints, length: int, moment: int, step: int, rest: Ints
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Of labels in a repeated hour: whether each is the later of its two moments, and whether that is not certain.

    Args:
        earlier: (n,) the earlier of both, rising.
        length: of the repeated hour.
        moment: of the change; the hour's last label, which only end labels have, is that moment or an hour later.
        step: of the labels nearby; 0 where there are none.
        rest: moments of other labels nearby.
    """
    if step and length % step:
        phase = _most_frequent(rest % step)
        fits = np.stack([(earlier - phase) % step == 0, (earlier + length - phase) % step == 0])
        return fits[1] & ~fits[0], np.asarray(~fits.any(axis=0))
    _, first, copies = np.unique(earlier, return_index=True, return_counts=True)
    copy = np.arange(len(earlier)) - np.repeat(first, copies)
    alone = np.repeat(copies == 1, copies)
    return np.where(alone, earlier == moment, copy % 2 == 1), alone


def _most_frequent(values: Ints) -> int:
    """The smallest of the most frequent values; 0 of none."""
    distinct, counts = np.unique(values, return_counts=True)
    return int(distinct[np.argmax(counts)]) if len(distinct) else 0
