"""The time that each reading covers, found from a file's own labels and not from what its layout promises."""

import math

import numpy as np
import numpy.typing as npt

from neurogrid.data.grid import MINUTE_US

Ints = npt.NDArray[np.int64]
Minutes = npt.NDArray[np.int32]

SNAP_US = 1_000_000
"""A label so near to a whole minute is meant to be that minute: spreadsheets round times by some milliseconds."""
LATE_SHARE, LATE_US = 0.1, 59_000_000
"""Where nearly all labels lie so near to the slots of the file's own step (a share of it, less than a minute), and many
beside them, they are meant to be those: a logger that polls its meter is some seconds late."""
NEARLY_ALL, MANY = 0.9, 0.1
NEWEST_FIRST = 0.75
"""A file of which such a share of labels falls begins with its newest row; in one without order about half do."""

LONGEST_STEP_MINUTES = 60
LONG_RUN = 24
"""So many equal distances one after another are a step of the meter, and not gaps that happen to be alike."""


FEWEST, FEWEST_ALIKE = 8, 4
"""Fewer distances than this tell no step, and if all are alike, fewer than that."""


def remainder(values: Ints, divisor: int) -> Ints:
    """`values % divisor`, which numpy takes several times as long for as it does to divide whole numbers."""
    rest = values // divisor
    rest *= -divisor
    rest += values
    return rest


def snapped(labels: Ints) -> Ints:
    """Labels, with those that lie a little beside a whole minute or a slot at the moment that they are meant to be."""
    rest = remainder(labels, MINUTE_US)
    if not rest.any():
        return labels
    minutes = labels + MINUTE_US // 2 - (labels + MINUTE_US // 2) % MINUTE_US
    snapped_minutes = np.where(np.abs(minutes - labels) <= SNAP_US, minutes, labels)
    if np.count_nonzero(rest) < MANY * len(labels):
        return snapped_minutes
    distances = np.unique(labels)
    step = int(np.median((distances[1:] - distances[:-1]) / MINUTE_US).round()) * MINUTE_US if len(distances) > 1 else 0
    if not 0 < step <= LONGEST_STEP_MINUTES * MINUTE_US:
        return snapped_minutes
    # Slots begin at multiples of the step, or else at the minute of it that most labels are near.
    for phase in (0, int(np.bincount((minutes % step) // MINUTE_US).argmax()) * MINUTE_US):
        slots = labels - phase + step // 2
        slots -= slots % step - phase
        near = np.abs(labels - slots) <= min(LATE_SHARE * step, LATE_US)
        if near.mean() >= NEARLY_ALL:
            return np.where(near, slots, snapped_minutes)
    return snapped_minutes


def in_time(labels: Ints) -> npt.NDArray[np.intp] | slice:
    """Rows by label; of one label the earlier first, in files that begin with their newest row, too.

    A slice where rows are in order already, from first to last or from last to first, so that no row is copied.
    """
    rises, falls = _rises_and_falls(labels)
    if falls == 0:
        return slice(None)
    if rises == 0:
        return slice(None, None, -1)
    if begins_with_newest(labels):
        return len(labels) - 1 - np.argsort(labels[::-1], kind="stable")
    return np.argsort(labels, kind="stable")


def begins_with_newest(labels: Ints) -> bool:
    """Whether a file begins with its newest row, so that of one label the later row is the earlier reading."""
    rises, falls = _rises_and_falls(labels)
    return falls > NEWEST_FIRST * (rises + falls)


def _rises_and_falls(labels: Ints) -> tuple[int, int]:
    return int(np.count_nonzero(labels[1:] > labels[:-1])), int(np.count_nonzero(labels[1:] < labels[:-1]))


def covered_minutes(labels: Ints, promised_minutes: int, ends: bool) -> Minutes:
    """(n,) minutes that each reading covers; the same for all in most files.

    A step is a distance between labels that occurs `LONG_RUN` times in a row, or else the most frequent one. What lies
    between such runs is a gap or a stray label: its readings have the step of those before them.

    Args:
        labels: (n,) rising moments of the readings in microseconds, whole minutes.
        promised_minutes: the layout's step, for files of too few readings to tell.
        ends: whether a label names the end of what its reading covers, instead of its start.
    """
    n = len(labels)
    if n < 2:
        return np.full(n, promised_minutes, np.int32)
    apart = np.diff(labels)
    apart //= MINUTE_US
    # Longer distances are no step, whatever they are.
    distance = np.minimum(apart, np.iinfo(np.int32).max, out=apart).astype(np.int32)
    del apart
    if (distance == promised_minutes).all():
        return np.full(n, promised_minutes, np.int32)
    step = _steps(distance, promised_minutes)
    del distance
    # A reading's own distance is the one before its label, if that is an end, or the one after.
    covered: Minutes = np.r_[step[0], step] if ends else np.r_[step, step[-1]]
    return covered


def _steps(distance: Minutes, promised_minutes: int) -> Minutes:
    """The step that holds at each distance between two labels."""
    starts = np.flatnonzero(np.r_[True, distance[1:] != distance[:-1]])
    lengths = np.diff(np.r_[starts, len(distance)])
    long = lengths >= LONG_RUN
    if not long.any():
        values, counts = np.unique(distance, return_counts=True)
        told = len(distance) >= (FEWEST if len(values) > 1 else FEWEST_ALIKE)
        usual = int(values[np.argmax(counts)]) if told else promised_minutes
        return np.full(len(distance), usual, np.int32)
    # Of each run, the nearest long one before it; before the first, that one.
    last = np.maximum.accumulate(np.where(long, np.arange(len(starts)), -1))
    last[last < 0] = np.flatnonzero(long)[0]
    return np.repeat(distance[starts[last]], lengths)


def common_step(starts: Ints, minutes: Minutes) -> int:
    """Minutes of the widest grid on whose slots nearly all readings begin and end.

    Where a slot begins is decided by most readings, and by `LONG_RUN` others that begin at the same minute of it: a
    meter's clock may be set anew. One that begins elsewhere is off the grid.
    """
    step = 0
    alike = minutes.min() == minutes.max()
    for own in minutes[:1].tolist() if alike else np.unique(minutes).tolist():
        rest = remainder((starts if alike else starts[minutes == own]) // MINUTE_US, own)
        counts = np.bincount(rest) if rest.any() else np.ones(1, np.int64)
        usual = [int(counts.argmax()), *np.flatnonzero(counts >= LONG_RUN).tolist()]
        step = math.gcd(step, own, *usual)
    return step
