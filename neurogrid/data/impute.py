"""Missing values filled from the past alone, in three tiers, each value marked with the tier it came from.

1. the mean of the measured values among the slots just before; 2. the mean of all earlier days at the same slot of the
local day; 3. zero. A filled value never enters another one's mean, and no value depends on a later slot.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from neurogrid.data.household import OBSERVED, SLOT_MEAN, TRAILING_MEAN, ZERO

_PIECE = 1 << 16
"""Missing slots whose windows are looked at together, to hold little memory."""


def impute(
    values: npt.NDArray[np.float64],
    day: npt.NDArray[np.int32],
    slot: npt.NDArray[np.int32],
    slots_per_day: int,
    trailing_slots: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """Fills the NaNs of a series.

    Args:
        values: (T,) one value a slot, NaN where missing.
        day: (T,) number of the day that each slot lies in, not decreasing by more than a clock change.
        slot: (T,) number of the slot within its day, below `slots_per_day`.
        slots_per_day: how many slots a day has.
        trailing_slots: how many slots back the first tier looks.

    Returns:
        (T,) values without NaN, and (T,) uint8 tiers.
    """
    tier = np.full(len(values), OBSERVED, np.uint8)
    missing = np.flatnonzero(np.isnan(values))
    if len(missing) == 0:
        return values, tier
    filled = values.copy()
    for piece in range(0, len(missing), _PIECE):
        at = missing[piece : piece + _PIECE]
        filled[at], tier[at] = _trailing_mean(values, at, trailing_slots)
    left = missing[tier[missing] != TRAILING_MEAN]
    if len(left):
        total, number = _earlier_days(values, day, slot, slots_per_day, left)
        filled[left] = np.where(number > 0, total / np.maximum(number, 1), 0.0)
        tier[left] = np.where(number > 0, SLOT_MEAN, ZERO)
    return filled, tier


def _trailing_mean(
    values: npt.NDArray[np.float64], at: npt.NDArray[np.intp], trailing_slots: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """The mean of what was measured just before each slot of `at`, and its tier; OBSERVED where nothing was."""
    before = at[:, None] + np.arange(-trailing_slots, 0)
    windows = values[np.maximum(before, 0)]
    there = ~np.isnan(windows) & (before >= 0)
    count = there.sum(axis=1)
    mean = np.where(there, windows, 0.0).sum(axis=1) / np.maximum(count, 1)
    return mean, np.where(count > 0, TRAILING_MEAN, OBSERVED).astype(np.uint8)


def _earlier_days(
    values: npt.NDArray[np.float64],
    day: npt.NDArray[np.int32],
    slot: npt.NDArray[np.int32],
    slots_per_day: int,
    at: npt.NDArray[np.intp],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Sums and counts of the measured values of all earlier days at the same slot of the day, for each slot of `at`.

    Summed down each column by itself, so that not even the last bit depends on a later value. When clocks go back, two
    slots share a cell and both count.
    """
    first = day.min()
    there = ~np.isnan(values)
    cell = (day[there] - first).astype(np.int64)
    cell *= slots_per_day
    cell += slot[there]
    size = (int(day.max() - first) + 1) * slots_per_day
    # The cell of the day before. A first day has none.
    yesterday, none = (day[at] - first - 1).astype(np.int64) * slots_per_day + slot[at], day[at] == first
    yesterday[none] = 0

    def before(by_cell: npt.NDArray[Any]) -> npt.NDArray[Any]:
        running = by_cell.reshape(-1, slots_per_day)
        np.cumsum(running, axis=0, out=running)
        found: npt.NDArray[Any] = by_cell[yesterday]
        found[none] = 0
        return found

    return before(np.bincount(cell, values[there], size)), before(np.bincount(cell, minlength=size))
