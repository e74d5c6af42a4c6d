"""The eleven features of a slot, and the table that holds them.

Calendar features have few distinct values, so they are looked up in small tables and written as dictionaries, which
saves most of the time that Parquet would spend on them.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neurogrid.data.household import Scale
from neurogrid.data.steps import remainder

DAY_MINUTES = 1440
_FIRST_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""


@lru_cache(maxsize=1)
def _clock() -> npt.NDArray[np.float32]:
    """(2, 1440) sine and cosine of each minute of the day."""
    angle = 2 * np.pi * np.arange(DAY_MINUTES) / DAY_MINUTES
    return np.stack([np.sin(angle), np.cos(angle)]).astype(np.float32)


@lru_cache(maxsize=1)
def _week() -> npt.NDArray[np.float32]:
    """(3, 7) sine and cosine of each day of the week, Monday first, and whether it is Saturday or Sunday."""
    angle = 2 * np.pi * np.arange(7) / 7
    return np.stack([np.sin(angle), np.cos(angle), np.arange(7) >= 5]).astype(np.float32)


def calendar(local_minutes: npt.NDArray[np.int64], cadence_minutes: int) -> list[pa.Array]:
    """hour_sin, hour_cos, dow_sin, dow_cos, is_weekend by local time; the hour counts its minutes."""
    day, minute = local_minutes // DAY_MINUTES, remainder(local_minutes, DAY_MINUTES).astype(np.int16)
    # Offsets of whole quarter hours keep the minutes on few values; where they are not, each minute has its own.
    grain = math.gcd(cadence_minutes, 15)
    time = minute // grain
    if (time * grain != minute).any():
        grain, time = 1, minute
    time_index, week_index = pa.array(time), pa.array(remainder(day + _FIRST_WEEKDAY, 7).astype(np.int8))
    clock = [pa.DictionaryArray.from_arrays(time_index, pa.array(row[::grain])) for row in _clock()]
    return clock + [pa.DictionaryArray.from_arrays(week_index, pa.array(row)) for row in _week()]


def observed_scale(values: npt.NDArray[np.float64]) -> Scale:
    """Mean and standard deviation of measured values; (0, 1) if there are none."""
    if len(values) == 0:
        return Scale(0.0, 1.0)
    std = float(values.std())
    return Scale(float(values.mean()), std if std > 1e-9 else 1.0)


def scaled(values: npt.NDArray[np.float64], scale: Scale) -> npt.NDArray[np.float32]:
    """(value - mean) / std as float32."""
    return ((values - scale.mean) / scale.std).astype(np.float32)
