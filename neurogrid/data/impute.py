"""Missing values filled from the past alone, in three tiers, each value marked with the tier it came from.

1. the mean of the measured values among the slots just before; 2. the mean of all earlier days at the same slot of the
local day; 3. zero. A filled value never enters another one's mean, and no value depends on a later slot.
"""

import numpy as np
import numpy.typing as npt

from neurogrid.data.household import OBSERVED, SLOT_MEAN, TRAILING_MEAN, ZERO


def impute(
    values: npt.NDArray[np.float64],
    day: npt.NDArray[np.int64],
    slot: npt.NDArray[np.int64],
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
    # Padded in front, so that a window that reaches before the start finds NaN.
    padded = np.concatenate([np.full(trailing_slots, np.nan), values])
    windows = padded[missing[:, None] + np.arange(trailing_slots)]
    mean, count = _mean(windows)
    filled[missing], tier[missing] = mean, TRAILING_MEAN
    left = missing[count == 0]
    if len(left):
        sums, counts = _earlier_days(values, day - day.min(), slot, slots_per_day)
        total, number = sums[day[left] - day.min(), slot[left]], counts[day[left] - day.min(), slot[left]]
        filled[left] = np.where(number > 0, total / np.maximum(number, 1), 0.0)
        tier[left] = np.where(number > 0, SLOT_MEAN, ZERO)
    return filled, tier


def _mean(windows: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    there = ~np.isnan(windows)
    count = there.sum(axis=1)
    return np.where(there, windows, 0.0).sum(axis=1) / np.maximum(count, 1), count


def _earlier_days(
    values: npt.NDArray[np.float64], day: npt.NDArray[np.int64], slot: npt.NDArray[np.int64], slots_per_day: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """(days, slots) sums and counts of the measured values of all earlier days at each slot.

    Summed down each column by itself, so that not even the last bit depends on a later value. When clocks go back, two
    slots share a cell and both count.
    """
    shape = (int(day.max()) + 1, slots_per_day)
    there = np.flatnonzero(~np.isnan(values))
    cell = day[there] * slots_per_day + slot[there]
    size = shape[0] * shape[1]
    sums = np.bincount(cell, values[there], size).reshape(shape)
    counts = np.bincount(cell, minlength=size).reshape(shape)
    before_sums, before_counts = np.zeros(shape), np.zeros(shape, np.int64)
    np.cumsum(sums[:-1], axis=0, out=before_sums[1:])
    np.cumsum(counts[:-1], axis=0, out=before_counts[1:])
    return before_sums, before_counts
