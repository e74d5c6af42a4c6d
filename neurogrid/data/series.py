"""A file's values judged as one series: a meter of net energy, readings after a gap, estimated ones.

What a series is decides what its values mean, so this comes before they are judged one by one. Each finding is logged;
what is done about it is the config's choice.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import DAY_MINUTES, MINUTE_US
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.steps import Ints, Minutes

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MOSTLY = 0.5
"""A file of which a larger share of rows was refused is no household."""

NET_SHARE, NET_LEAST, NET_VALUES = 0.01, 10, 3
"""Of a meter of net energy at least such a share of values, and so many, are below zero, and of so many sizes; of
others a few by mistake, or -999 where there is no reading."""

CATCH_UP_SLOTS = 4
"""A gap of fewer slots loses no more than a household may use in one, so that no reading tells of it."""
CATCH_UP_PEAK_QUANTILE, CATCH_UP_PEAKS = 0.999, 1.5
"""A catch-up reading is above this many times the household's usual peak, which is this quantile of its readings. With
77 real households of half-hours, one gap of 100,000 is followed by such a reading by chance; of the catch-up readings
after 12 hours 60% are above it, after a day 87%. The others are no larger than what a household may use in a slot.
"""
CATCH_UP_HIGH, CATCH_UP_SAMPLE = 0.9, 4096
"""And it is as many times above this quantile of a sample of all readings: most files have none, and are done soon."""
CATCH_UP_PIECE = 1 << 16
"""Readings whose gaps are looked at together, to hold little memory."""
CATCH_UP_TIMES = 3.0
"""A catch-up reading holds what the household uses on average in that time, or up to so many times more or less."""
CATCH_UP_USUAL = 96
"""So many other readings are needed to tell what is usual."""
CATCH_UP_DAYS = 31
"""Energy of a longer gap is not spread: a month of one value tells nothing of when it was used."""


@dataclass(frozen=True)
class Treatment:
    """What is done where more than one thing is right.

    Attributes:
        max_power_kw: a reading of more mean power is absurd.
        registers: of files that hold a meter's register: `refuse` them, or take its `differences`.
        net_meters: of files with energies below zero: `refuse` them, or take the `import`, the `export` or the `net`.
        catch_up: of a reading after a gap that holds its energy: `spread` it over the gap, or take it as `missing`.
        estimated: of readings that their file marks as estimated: `use` them, or take them as `missing`.
    """

    max_power_kw: float
    registers: str
    net_meters: str
    catch_up: str
    estimated: str


@dataclass(frozen=True)
class Rows:
    """A file's rows by time.

    Attributes:
        starts: (n,) when what a row covers begins, microseconds since 1970, UTC, rising; of a register, when it was
            read.
        step: (n,) minutes between readings.
        covers: (n,) minutes that the row's energy is of: its step, or more after a gap.
        kwh: (n,) NaN where there is no number.
        empty: (n,) where the cell is empty, and not one that could not be read.
        line: (n,) in the file.
    """

    starts: Ints
    step: Minutes
    covers: Minutes
    kwh: Floats
    empty: Bools
    line: npt.NDArray[np.int32]

    def take(self, which: Bools | npt.NDArray[np.intp] | slice) -> "Rows":
        """Some of the rows; all of them, and those of a slice, are not copied."""
        if not isinstance(which, slice) and which.dtype == bool and which.all():
            return self
        step = self.step[which]
        covers = step if self.covers is self.step else self.covers[which]
        return Rows(self.starts[which], step, covers, self.kwh[which], self.empty[which], self.line[which])


def once(rows: Rows) -> Bools | slice:
    """Rows with a number, the first of each moment; a slice where that is all of them."""
    finite = np.isfinite(rows.kwh)
    if finite.all() and (rows.starts[1:] > rows.starts[:-1]).all():
        return slice(None)
    starts = rows.starts[finite]
    first = np.ones(len(starts), bool)
    first[1:] = starts[1:] != starts[:-1]
    finite[finite] = first
    return finite


def without_estimated(rows: Rows, estimated: Bools, treatment: str, file_rows: int, faults: FaultLog) -> Rows:
    """The rows, less estimated ones where the config takes them as missing.

    Raises:
        UnusableFileError: hardly a row is left.
    """
    marked = estimated & np.isfinite(rows.kwh)
    if not marked.any():
        return rows
    done = "used" if treatment == "use" else "taken as missing"
    faults.add_rows(Fault.ESTIMATED, rows.line[marked], (f"{kwh:g} kWh, {done}" for kwh in rows.kwh[marked]))
    if treatment == "use":
        return rows
    if marked.all() or marked.sum() > MOSTLY * file_rows:
        text = f"{marked.sum():,} of {file_rows:,} rows are marked as estimated; etl.estimated=use takes them"
        raise UnusableFileError(Fault.MOSTLY_REFUSED, text)
    return rows.take(~marked)


def one_way(kwh: Floats, line: npt.NDArray[np.int32], treatment: str, faults: FaultLog) -> Floats:
    """Energies, of a meter of net energy those of the direction that the config takes.

    Raises:
        UnusableFileError: the config refuses meters of net energy.
    """
    below = kwh < 0
    if below.sum() < max(NET_LEAST, NET_SHARE * np.isfinite(kwh).sum()) or len(np.unique(kwh[below])) < NET_VALUES:
        return kwh
    text = f"{below.sum():,} of {np.isfinite(kwh).sum():,} readings are below zero: a meter of net energy"
    if treatment == "refuse":
        raise UnusableFileError(Fault.NET_METER, f"{text}; set etl.net_meters to import, export or net")
    faults.add(Fault.NET_METER, f"{text}; its {treatment} is taken", int(line[below][0]))
    if treatment == "import":
        return np.where(below, 0.0, kwh)
    return np.where(kwh > 0, 0.0, -kwh) if treatment == "export" else kwh


def without_high_first(rows: Rows, faults: FaultLog) -> Rows:
    """The rows, less a first reading far above all peaks: it holds what was used before the file begins."""
    own = once(rows)
    read = rows.take(own)
    if len(read.kwh) <= CATCH_UP_USUAL:
        return rows
    first, thinned = read.kwh[0] / read.covers[0], slice(None, None, len(read.kwh) // CATCH_UP_SAMPLE + 1)
    usual = np.quantile(read.kwh[thinned] / read.covers[thinned], CATCH_UP_HIGH)
    if first <= max(0.0, CATCH_UP_PEAKS * usual):
        return rows  # as nearly all are, which is seen sooner
    if first <= CATCH_UP_PEAKS * np.quantile(read.kwh[1:] / read.covers[1:], CATCH_UP_PEAK_QUANTILE):
        return rows
    text = f"{read.kwh[0]:g} kWh in the first reading, which holds what was used before it, taken as missing"
    faults.add(Fault.CATCH_UP, text, int(read.line[0]))
    keep = np.ones(len(rows.kwh), bool)
    keep[np.arange(len(rows.kwh))[own][0]] = False
    return rows.take(keep)


def caught_up(rows: Rows, treatment: str, faults: FaultLog) -> Rows:
    """Readings that hold the energy of the gap before them: spread evenly over both, or left out.

    A gap is slots without a reading, or with zeros or the value before it again and again, as some meters report while
    they are cut off. Zeros of an empty house stay what they are: nobody comes home to use in one slot, far above all
    peaks, what belongs to the days away.
    """
    own = once(rows)
    after, gap = _catching_up(rows.take(own))
    if len(after) == 0:
        return rows
    return _spread(rows, np.arange(len(rows.kwh))[own][after], gap, treatment, faults)


def _catching_up(read: Rows) -> tuple[npt.NDArray[np.intp], Ints]:
    """The readings that hold the energy of the gap before them, and the minutes of the gap."""
    nothing = np.empty(0, np.intp), np.empty(0, np.int64)
    if len(read.kwh) < CATCH_UP_USUAL:
        return nothing
    power = read.kwh / read.covers
    common = np.quantile(power[:: len(power) // CATCH_UP_SAMPLE + 1], CATCH_UP_HIGH)
    high = np.flatnonzero(power > CATCH_UP_PEAKS * common)
    if len(high) == 0:
        return nothing
    runs = np.flatnonzero(np.r_[True, read.kwh[1:] != read.kwh[:-1]])
    after = high[_after_gap(read, runs, high)]
    if len(after) == 0:
        return nothing
    peak = power[after].max() / CATCH_UP_PEAKS
    as_high = np.flatnonzero(power >= peak)
    seldom = (1 - CATCH_UP_PEAK_QUANTILE) * len(power) + 1
    if np.count_nonzero(~_after_gap(read, runs, as_high)) > seldom:
        return nothing  # as the quantile below would say, and sooner
    missing, quiet = _minutes_before(read, runs, after)
    pieces = (np.arange(n, min(n + CATCH_UP_PIECE, len(power))) for n in range(0, len(power), CATCH_UP_PIECE))
    ordinary = ~np.concatenate([_after_gap(read, runs, piece) for piece in pieces])
    del runs
    usual = power[ordinary]
    if len(usual) < CATCH_UP_USUAL:
        return nothing
    usual_peak = np.quantile(usual, CATCH_UP_PEAK_QUANTILE, overwrite_input=True)  # sorts in place
    del usual
    above = power[after] > CATCH_UP_PEAKS * usual_peak
    after, missing, quiet = after[above], missing[above], quiet[above]
    mean = read.kwh[ordinary].sum() / read.covers[ordinary].sum()
    kwh, step, gap = read.kwh[after], read.step[after], np.zeros(len(after), np.int64)
    for minutes in (quiet, missing):
        expected = mean * (minutes + step)
        fits = (kwh >= expected / CATCH_UP_TIMES) & (kwh <= expected * CATCH_UP_TIMES)
        fits &= (minutes >= CATCH_UP_SLOTS * step) & (minutes <= CATCH_UP_DAYS * DAY_MINUTES)
        gap = np.where(fits & (minutes % step == 0), minutes, gap)
    return after[gap > 0], gap[gap > 0]


def _after_gap(read: Rows, runs: npt.NDArray[np.intp], which: npt.NDArray[np.intp]) -> Bools:
    return np.asarray(_minutes_before(read, runs, which).max(axis=0) >= CATCH_UP_SLOTS * read.step[which])


def _minutes_before(read: Rows, runs: npt.NDArray[np.intp], which: npt.NDArray[np.intp]) -> Ints:
    """(2, n) minutes before readings: without a reading, and of nothing but zeros or one value and its repetitions.

    The first of a value that is repeated is a reading; `runs` are where readings of one value begin.
    """
    before = np.maximum(which - 1, 0)
    first = runs[np.searchsorted(runs, before, side="right") - 1]
    last_used = np.maximum(np.where(read.kwh[before] == 0, first - 1, first), 0)
    last = np.stack([before, last_used])
    minutes = (read.starts[which] - read.starts[last]) // MINUTE_US - read.covers[last]
    return np.where(which == 0, 0, minutes)


def _spread(rows: Rows, at: npt.NDArray[np.intp], gap: Ints, treatment: str, faults: FaultLog) -> Rows:
    """The rows, of which those `at` get the slots of the `gap` minutes before them, or are left out."""
    slots, done = gap // rows.step[at], "spread over them" if treatment == "spread" else "taken as missing"
    texts = (
        f"{kwh:g} kWh after {count:,} slots without a reading or with one value, {done}"
        for kwh, count in zip(rows.kwh[at], slots, strict=True)
    )
    faults.add_rows(Fault.CATCH_UP, rows.line[at], texts)
    starts, covers = rows.starts.copy(), rows.covers.copy()
    starts[at] -= gap * MINUTE_US
    covers[at] += gap
    keep = np.ones(len(rows.kwh), bool)
    for begin, end in zip(starts[at], rows.starts[at], strict=True):
        within = slice(*np.searchsorted(rows.starts, (begin, end)))
        # Zeros, repetitions and empty cells of the gap: the reading gets their slots.
        keep[within] = np.isinf(rows.kwh[within])
    keep[at] = treatment == "spread"
    return replace(rows, starts=starts, covers=covers).take(keep)
