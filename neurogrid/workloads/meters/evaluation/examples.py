"""What a reader looks for first: a few households' forecasts beside what was measured, and each cluster's usual day.

Some thousand numbers, kept with the evaluation, so that the run's page shows them without the readings.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

from neurogrid.data.household import FEATURES, Household
from neurogrid.data.manifest import Manifest
from neurogrid.data.summary import local_hour, mean_by_hour
from neurogrid.workloads.meters.evaluation.quantiles import central
from neurogrid.workloads.meters.windows import MEDIAN, Batch, Indices, Shard, gather, window_origins

Array = npt.NDArray[np.float32]
Rank = Literal["best", "median", "worst", "only"]
Group = Literal["held_out", "trained"]
SHOWN_DAYS, SHOWN_SLOTS = 7, 672
"""How much time of a household is shown, in whole forecasts: a week, less where slots are under a quarter hour."""
SHOWN_INTERVAL = 0.8
"""What the interval that is shown should cover; of a model's central intervals the nearest to it is taken."""
_DIGITS = 4  # of kWh and kW: a tenth of a watt-hour


@dataclass(frozen=True)
class Stretch:
    """Forecasts that follow each other without a gap, from one household's test part. S slots.

    Attributes:
        start: of the first slot, UTC, ISO 8601.
        measured_kwh, forecast_kwh, usual_kwh: (S,) kWh a slot; `usual_kwh` is the 28-day median of the slot.
        low_kwh, high_kwh: (S,) ends of the forecast's interval, see `shown_interval`; empty where there is none.
    """

    start: str
    measured_kwh: tuple[float, ...]
    forecast_kwh: tuple[float, ...]
    usual_kwh: tuple[float, ...]
    low_kwh: tuple[float, ...] = ()
    high_kwh: tuple[float, ...] = ()

    def is_of(self, horizon: int, levels: Sequence[float]) -> bool:
        """Whether it can be of a model with this horizon and these quantiles."""
        slots, ends = len(self.measured_kwh), (self.low_kwh, self.high_kwh)
        bounds = slots if shown_interval(levels) else 0
        every = (self.measured_kwh, self.forecast_kwh, self.usual_kwh, *ends)
        return (
            0 < slots <= max(SHOWN_SLOTS, horizon)
            and slots % horizon == 0
            and len(self.forecast_kwh) == len(self.usual_kwh) == slots
            and all(len(end) == bounds for end in ends)
            and all(math.isfinite(value) for values in every for value in values)
        )


@dataclass(frozen=True)
class Candidate:
    """One household as the choice of examples sees it.

    Attributes:
        household_id: whose.
        mae_kwh, mase: of the method that is shown, over its whole test part.
    """

    household_id: str
    mae_kwh: float
    mase: float


@dataclass(frozen=True)
class Example:
    """One household that is shown, and how its error ranks by MASE among those that could have been."""

    rank: Rank
    group: Group
    household_id: str
    mae_kwh: float
    mase: float
    stretch: Stretch


@dataclass(frozen=True)
class ClusterDay:
    """Mean measured power of a cluster's households by hour of the local day; None where none was measured."""

    cluster: int
    households: int
    kw_by_hour: tuple[float | None, ...]


@dataclass(frozen=True)
class Examples:
    """Empty where nothing can be shown, or single households are not to be.

    Attributes:
        method: whose forecasts they are: `served` where households have models of their own, else `federated`.
        interval: share that the forecasts' intervals ought to cover; None where there are none.
        forecasts: of single households.
        days: of clusters.
    """

    method: str
    interval: float | None
    forecasts: tuple[Example, ...]
    days: tuple[ClusterDay, ...]


def shown_interval(levels: Sequence[float]) -> tuple[int, int, float] | None:
    """The central interval nearest to SHOWN_INTERVAL: places of its ends, what it ought to cover; None without any."""
    return min(central(levels), key=lambda found: (abs(found[2] - SHOWN_INTERVAL), -found[2]), default=None)


def stretch(
    household: Household, shard: Shard, forecast: Callable[[Indices, Batch], tuple[Array, Array]]
) -> Stretch | None:
    """Forecasts of the days in the middle of a household's test part, or None where it has no window there.

    They begin at a local midnight if such days were measured without a gap, and are fewer where no such days are.

    Args:
        household: its readings.
        shard: made of all its windows in the test part.
        forecast: gives (B, h) kWh and quantiles (B, h, Q) kWh for the shard's rows of windows, and these gathered.
    """
    settings = shard.settings
    origins = window_origins(household, None, settings)["test"]
    if not len(origins):
        return None
    chosen = _consecutive(household, origins, settings.horizon_slots)
    # The shard's rows of windows stand in the order of their slots.
    rows = shard.origins["test"][np.searchsorted(origins, chosen)]
    batch = gather(shard, rows)
    slots = rows[:, None] + np.arange(settings.horizon_slots)
    start = household.meta.first + int(chosen[0]) * timedelta(minutes=household.meta.cadence_minutes)
    kwh, quantiles = forecast(rows, batch)
    interval = shown_interval(settings.quantiles)
    ends = [_rounded(quantiles[..., place]) for place in interval[:2]] if interval else [(), ()]
    return Stretch(
        start=start.isoformat(),
        measured_kwh=_rounded(batch.target_kwh),
        forecast_kwh=_rounded(kwh),
        usual_kwh=_rounded(shard.profiles[slots, MEDIAN]),
        low_kwh=ends[0],
        high_kwh=ends[1],
    )


def _consecutive(household: Household, origins: Indices, horizon: int) -> Indices:
    """Origins a horizon apart: as many as fill the time shown or, where so many do not follow each other, fewer."""
    day = 1440 // household.meta.cadence_minutes
    wanted = max(min(SHOWN_DAYS * day, SHOWN_SLOTS) // horizon, 1)
    is_origin = np.zeros(len(household.kwh) + wanted * horizon, np.bool_)
    is_origin[origins] = True
    starts, count = origins, 1
    while count < wanted and (more := starts[is_origin[starts + count * horizon]]).size:
        starts, count = more, count + 1
    midnights = starts[_midnight(household, starts)]
    starts = midnights if len(midnights) else starts
    chosen: Indices = starts[len(starts) // 2] + np.arange(count) * horizon
    # Whole days are easier to read than a few more hours.
    later = np.flatnonzero(_midnight(household, chosen))
    if len(later) and (count - later[0]) * horizon >= 2 * day:
        return chosen[later[0] :]
    return chosen


def _midnight(household: Household, slots: Indices) -> npt.NDArray[np.bool_]:
    """Whether a local day begins with each slot."""
    hour, before = (
        local_hour(*(household.features[at, FEATURES.index(name)] for name in ("hour_sin", "hour_cos")))
        for at in (slots, slots - 1)
    )
    begins: npt.NDArray[np.bool_] = (hour == 0) & (before != 0)  # what is before begins an hour or more earlier
    return begins


def usual_day(household: Household) -> npt.NDArray[np.float64]:
    """(24,) mean measured power by hour of the local day, kW; NaN where nothing was measured."""
    seen = household.features[household.observed]
    hour = local_hour(seen[:, FEATURES.index("hour_sin")], seen[:, FEATURES.index("hour_cos")])
    return mean_by_hour(household.kwh[household.observed] * np.float32(60 / household.meta.cadence_minutes), hour)


def ranked(candidates: Sequence[Candidate]) -> dict[Rank, Candidate]:
    """The best, the median and the worst by MASE; of two the best and the worst, of one that."""
    order = sorted((c for c in candidates if np.isfinite(c.mase)), key=lambda c: (c.mase, c.household_id))
    if not order:
        return {}
    last = len(order) - 1
    places: dict[int, Rank] = {0: "only"} if last == 0 else {last // 2: "median", 0: "best", last: "worst"}
    return {rank: order[place] for place, rank in sorted(places.items())}


def example(rank: Rank, group: Group, chosen: Candidate, shown: Stretch) -> Example:
    """One that is kept."""
    return Example(rank, group, chosen.household_id, round(chosen.mae_kwh, _DIGITS), round(chosen.mase, _DIGITS), shown)


def cluster_days(manifest: Manifest, days: Mapping[str, npt.NDArray[np.float64]]) -> tuple[ClusterDay, ...]:
    """The mean of the usual days of each cluster's households, of those that are one agent or held out."""
    members: dict[int, list[npt.NDArray[np.float64]]] = defaultdict(list)
    for household, cluster in sorted(manifest.cluster_of_household().items()):
        if household in days:
            members[cluster].append(days[household])
    found = []
    for cluster in sorted(members):
        values = np.array(members[cluster])
        known = np.isfinite(values)
        counts, sums = known.sum(axis=0), np.where(known, values, 0).sum(axis=0)
        means = tuple(round(float(s / n), _DIGITS) if n else None for s, n in zip(sums, counts, strict=True))
        found.append(ClusterDay(cluster, len(values), means))
    return tuple(found)


def _rounded(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) for value in values.reshape(-1))
