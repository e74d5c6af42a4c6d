"""Readings onto the full UTC grid: every slot from a household's first to its last reading, missing ones included.

A slot is named by its number since 1970 at the grid's cadence, so grids of all households line up with UTC and nest.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts.times import FIRST_US, LAST_US
from neurogrid.data.readings import UnusableFileError
from neurogrid.errors import InputError

DAY_MINUTES = 1440
MINUTE_US = 60_000_000


@dataclass(frozen=True)
class Grid:
    """Energy by slot.

    Attributes:
        first: number of the first slot since 1970.
        cadence_minutes: length of a slot.
        kwh: (T,) float64; NaN where nothing was measured.
        dropped_kwh: energy of readings that found no place (duplicates, off the grid, far from the rest).
    """

    first: int
    cadence_minutes: int
    kwh: npt.NDArray[np.float64]
    dropped_kwh: float

    @property
    def starts_us(self) -> npt.NDArray[np.int64]:
        """(T,) start of each slot, microseconds since 1970, UTC."""
        step = self.cadence_minutes * MINUTE_US
        return np.arange(self.first, self.first + len(self.kwh), dtype=np.int64) * step


def to_grid(readings: pa.Table, cadence_minutes: int, longest_gap_days: float, faults: FaultLog) -> Grid:
    """Places readings (schema READINGS) on the grid; the first of two readings of a slot is kept.

    Args:
        readings: in the file's order.
        cadence_minutes: the source's own; a reading that starts between two slots is off the grid.
        longest_gap_days: readings on the far side of a longer gap than this (a wrong year, say) are dropped.
        faults: what was dropped is logged here.

    Raises:
        UnusableFileError: no reading is left.
    """
    step = cadence_minutes * MINUTE_US
    starts = np.asarray(readings.column("Timestamp").cast(pa.int64()).to_numpy(), np.int64)
    kwh = readings.column("kWh").to_numpy()
    lines = readings.column("line").to_numpy()
    total_kwh = kwh.sum()
    slots, off = starts // step, np.flatnonzero(starts % step)
    if len(off):
        rows = off[_first_of_each(lines[off])]
        faults.add_rows(Fault.OFF_GRID, lines[rows], (utc_text(start) for start in starts[rows]))
        slots, kwh, lines = (np.delete(values, off) for values in (slots, kwh, lines))
    _refuse_none(slots, faults)
    if (slots[1:] < slots[:-1]).any():
        order = np.argsort(slots, kind="stable")
        slots, kwh, lines = slots[order], kwh[order], lines[order]
    near = near_the_rest(slots, lines, cadence_minutes, longest_gap_days, faults)
    slots, kwh, lines = slots[near], kwh[near], lines[near]
    _refuse_none(slots, faults)
    again = np.flatnonzero(slots[1:] == slots[:-1]) + 1
    if len(again):
        rows = again[_first_of_each(lines[again])]
        faults.add_rows(Fault.DUPLICATE, lines[rows], (f"{utc_text(slots[r] * step)}, {kwh[r]:g} kWh" for r in rows))
        keep = np.ones(len(slots), bool)
        keep[again] = False
        slots, kwh = slots[keep], kwh[keep]
    first = int(slots[0])
    full = np.full(int(slots[-1]) - first + 1, np.nan)
    slots -= first
    full[slots] = kwh
    return Grid(first, cadence_minutes, full, float(total_kwh - kwh.sum()))


def _refuse_none(slots: npt.NDArray[np.int64], faults: FaultLog) -> None:
    if len(slots) == 0:
        cause = faults.cause()
        raise UnusableFileError(Fault.NO_READINGS, f"no row has a usable value{cause and ': '}{cause}")


def _first_of_each(lines: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """By line; a row that was spread over several slots is one row of the file."""
    return np.unique(lines, return_index=True)[1]


def near_the_rest(
    slots: npt.NDArray[np.int64],
    lines: npt.NDArray[np.int32],
    cadence_minutes: int,
    longest_gap_days: float,
    faults: FaultLog,
) -> slice:
    """The longest run of readings without a longer gap. One stray year would make a grid of millions of slots.

    Readings before 1990 or after 2100 are in no run, even where there are no others.

    Args:
        slots: numbers of the readings' slots since 1970, at least one, rising.
        lines: of the readings in their file.
        cadence_minutes: length of a slot.
        longest_gap_days: readings on the far side of a longer gap are logged, and not in the run.
        faults: what is far from the rest is logged here.
    """
    step = cadence_minutes * MINUTE_US
    low, high = np.searchsorted(slots, (FIRST_US // step, LAST_US // step)).tolist()
    longest_gap = longest_gap_days * DAY_MINUTES / cadence_minutes
    near = slice(low, high)
    if low < high and slots[high - 1] - slots[low] > longest_gap:
        bounds = np.array([low, *np.flatnonzero(np.diff(slots[near]) > longest_gap) + 1 + low, high])
        longest = int(np.argmax(np.diff(bounds)))
        near = slice(int(bounds[longest]), int(bounds[longest + 1]))
    if near == slice(0, len(slots)):
        return near
    far = np.delete(np.arange(len(slots)), near)
    faults.add_rows(Fault.FAR_FROM_THE_REST, lines[far], (utc_text(slots[row] * step) for row in far))
    return near


def utc_text(microseconds: int) -> str:
    """A moment as faults list it: 2023-02-25T10:00:00Z, with a fraction of a second only where there is one."""
    return str(np.datetime64(int(microseconds), "us")).removesuffix(".000000") + "Z"


def check_cadence(source_minutes: int, wanted_minutes: int | None) -> int:
    """The cadence of the output.

    Raises:
        InputError: the wanted cadence neither divides the source's nor is a multiple of it, or does not divide a day.
    """
    wanted = wanted_minutes or source_minutes
    if wanted < 1 or DAY_MINUTES % wanted or (wanted % source_minutes and source_minutes % wanted):
        fitting = [m for m in (5, 10, 15, 20, 30, 60) if not (m % source_minutes and source_minutes % m)]
        raise InputError(
            f"etl: slots of {wanted} minutes cannot be made from slots of {source_minutes} minutes",
            found=f"cadence_minutes = {wanted}",
            fix=f"use one of {', '.join(map(str, fitting))}, or null for the source's own",
        )
    return wanted


def change_cadence(
    first: int,
    kwh: npt.NDArray[np.float64],
    tier: npt.NDArray[np.uint8],
    cadence_minutes: int,
    wanted_minutes: int,
) -> tuple[int, npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """A filled series at another cadence; its sum stays the same.

    Finer: a slot's energy is spread evenly over its parts, which share its tier. Coarser: a slot's energy is the sum
    of its parts, measured and filled, and its tier is the worst of theirs, so a slot of which a part was not measured
    counts as not observed although the measured part of its energy is in its value. `first` must be a multiple of the
    wanted cadence and the series end with a whole slot, see `coarse_bounds`.

    Returns:
        The first slot's number, energies and tiers at the wanted cadence.
    """
    if wanted_minutes < cadence_minutes:
        parts = cadence_minutes // wanted_minutes
        return first * parts, np.repeat(kwh / parts, parts), np.repeat(tier, parts)
    parts = wanted_minutes // cadence_minutes
    if parts == 1:
        return first, kwh, tier
    return first // parts, kwh.reshape(-1, parts).sum(axis=1), tier.reshape(-1, parts).max(axis=1)


def coarse_bounds(grid: Grid, wanted_minutes: int) -> Grid:
    """The grid, widened by missing slots to whole slots of a coarser cadence."""
    parts = max(wanted_minutes // grid.cadence_minutes, 1)
    before = grid.first % parts
    after = -(grid.first + len(grid.kwh)) % parts
    if before == 0 and after == 0:
        return grid
    kwh = np.concatenate([np.full(before, np.nan), grid.kwh, np.full(after, np.nan)])
    return Grid(grid.first - before, grid.cadence_minutes, kwh, grid.dropped_kwh)
