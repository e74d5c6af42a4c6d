"""What a reader looks for first: a few households' forecasts beside what was measured, and each cluster's usual day.

Some hundred numbers, kept with the evaluation, so that the run's page shows them without the readings.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

from neurogrid.data.household import FEATURES, Household
from neurogrid.data.manifest import Manifest
from neurogrid.data.summary import HOURS, local_hour, mean_by_hour
from neurogrid.workloads.meters.windows import MEDIAN, Batch, Indices, Shard, gather, window_origins

Rank = Literal["best", "median", "worst", "only"]
SHOWN_HOURS = 48
"""How much time of a household is shown, in whole forecasts."""
_DIGITS = 4  # of kWh and kW: a tenth of a watt-hour


@dataclass(frozen=True)
class Stretch:
    """Forecasts that follow each other without a gap, from one household's test part. S slots.

    Attributes:
        start: of the first slot, UTC, ISO 8601.
        measured_kwh, forecast_kwh, usual_kwh: (S,) kWh a slot; `usual_kwh` is the 28-day median of the slot.
    """

    start: str
    measured_kwh: tuple[float, ...]
    forecast_kwh: tuple[float, ...]
    usual_kwh: tuple[float, ...]


@dataclass(frozen=True)
class Candidate:
    """One household as the choice of examples sees it.

    Attributes:
        household_id: whose.
        mae_kwh, mase: of the run's own model over its whole test part.
        stretch: what would be shown.
    """

    household_id: str
    mae_kwh: float
    mase: float
    stretch: Stretch


@dataclass(frozen=True)
class Example:
    """One household that is shown, and how its error ranks by MASE among those that could have been."""

    rank: Rank
    group: Literal["held_out", "trained"]
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
    """Empty where nothing can be shown, or single households are not to be."""

    forecasts: tuple[Example, ...]
    days: tuple[ClusterDay, ...]


def stretch(household: Household, shard: Shard, forecast: Callable[[Batch], npt.NDArray[np.float32]]) -> Stretch | None:
    """Forecasts of the days in the middle of a household's test part, or None where it has no window there.

    They begin at a local midnight if such days were measured without a gap, and are fewer where no such days are.

    Args:
        household: its readings.
        shard: made of all its windows in the test part.
        forecast: gives (B, h) kWh for gathered windows.
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
    return Stretch(
        start=start.isoformat(),
        measured_kwh=_rounded(batch.target_kwh),
        forecast_kwh=_rounded(forecast(batch)),
        usual_kwh=_rounded(shard.profiles[slots, MEDIAN]),
    )


def _consecutive(household: Household, origins: Indices, horizon: int) -> Indices:
    """Origins a horizon apart: as many as SHOWN_HOURS take or, where so many do not follow each other, fewer."""
    wanted = max(round(SHOWN_HOURS * 60 / (household.meta.cadence_minutes * horizon)), 1)
    is_origin = np.zeros(len(household.kwh) + wanted * horizon, np.bool_)
    is_origin[origins] = True
    starts, count = origins, 1
    while count < wanted and (more := starts[is_origin[starts + count * horizon]]).size:
        starts, count = more, count + 1
    hour = local_hour(*(household.features[starts, FEATURES.index(name)] for name in ("hour_sin", "hour_cos")))
    before = local_hour(*(household.features[starts - 1, FEATURES.index(name)] for name in ("hour_sin", "hour_cos")))
    midnights = starts[(hour == 0) & (before == HOURS - 1)]
    starts = midnights if len(midnights) else starts
    chosen: Indices = starts[len(starts) // 2] + np.arange(count) * horizon
    return chosen


def usual_day(household: Household) -> npt.NDArray[np.float64]:
    """(24,) mean measured power by hour of the local day, kW; NaN where nothing was measured."""
    seen = household.features[household.observed]
    hour = local_hour(seen[:, FEATURES.index("hour_sin")], seen[:, FEATURES.index("hour_cos")])
    return mean_by_hour(household.kwh[household.observed] * np.float32(60 / household.meta.cadence_minutes), hour)


def ranked(candidates: Sequence[Candidate], group: Literal["held_out", "trained"]) -> tuple[Example, ...]:
    """The best, the median and the worst by MASE; of two the best and the worst, of one that."""
    order = sorted((c for c in candidates if np.isfinite(c.mase)), key=lambda c: (c.mase, c.household_id))
    if not order:
        return ()
    last = len(order) - 1
    places: dict[int, Rank] = {0: "only"} if last == 0 else {last // 2: "median", 0: "best", last: "worst"}
    return tuple(
        Example(rank, group, c.household_id, round(c.mae_kwh, _DIGITS), round(c.mase, _DIGITS), c.stretch)
        for place, rank in sorted(places.items())
        for c in [order[place]]
    )


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


def _rounded(values: npt.NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) for value in values.reshape(-1))
