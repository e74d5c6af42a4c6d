"""Forecasts that take no training: what a model has to beat."""

import numpy as np
import numpy.typing as npt

from neurogrid.workloads.meters.windows import MEAN, MEDIAN, Indices, Shard, lag_days, lag_weeks

Array = npt.NDArray[np.float32]
NAIVE = ("persistence", "yesterday", "last_week", "mean_28_days", "median_28_days")


def forecasts(shard: Shard, origins: Indices) -> dict[str, Array]:
    """Each of NAIVE for the windows at `origins`: (B, h), kWh. Over a day ahead, `yesterday` is the last day known."""
    horizon, day = shard.settings.horizon_slots, shard.slots_per_day
    slots = origins[:, None] + np.arange(horizon)
    return {
        "persistence": np.repeat(shard.kwh[origins - 1][:, None], horizon, axis=1),
        "yesterday": shard.kwh[slots - lag_days(shard.settings, day) * day],
        "last_week": shard.kwh[slots - lag_weeks(shard.settings, day) * 7 * day],
        "mean_28_days": shard.profiles[slots, MEAN],
        "median_28_days": shard.profiles[slots, MEDIAN],
    }


def surge_persistence(shard: Shard, origins: Indices) -> npt.NDArray[np.bool_]:
    """Whether the last slot before the origin was above the threshold: (B,)."""
    run = np.searchsorted(shard.run_start, origins, side="right") - 1
    return np.asarray(shard.kwh[origins - 1] > shard.run_threshold[run])
