"""Sums of households' forecasts: what a group of them gives, and the groups of a set put together.

A task adds up its group, so that what it returns does not grow with the number of households, and there are at most
about `_GROUPS`. Only windows that begin at whole horizons since 1970 are taken: then each slot is forecast once, and
the sums are as long as the period, whatever the horizon.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Annotated

import numpy as np
import numpy.typing as npt

from neurogrid.data.household import Household
from neurogrid.data.manifest import Manifest
from neurogrid.tasks import array_of
from neurogrid.workloads.meters.distribution import moments, quantiles_kwh
from neurogrid.workloads.meters.evaluation import naive
from neurogrid.workloads.meters.models import Forecaster, point
from neurogrid.workloads.meters.tensors import in_chunks, run_model
from neurogrid.workloads.meters.windows import (
    Indices,
    Period,
    Shard,
    WindowSettings,
    build_shard,
    gather,
    window_origins,
)

Narrow = Annotated[npt.NDArray[np.float32], array_of(np.float32)]
Floats = npt.NDArray[np.float64]
LEAST_HOUSEHOLDS = 15
"""A sum of fewer is not judged."""
PERIODS: tuple[Period, ...] = ("validation", "test")
MEASURED, OWN, MEAN, VARIANCE, DEVIATION = "measured", "federated", "quantile_mean", "variance", "deviation"
NAIVE = ("mean_28_days", "median_28_days", "last_week")
SCALED = "_scaled"
"""Ends the name of a forecast that is multiplied by what was measured over what was forecast in the validation part."""
_FACTORS = (0.5, 2.0)
_GROUPS, _LEAST_A_GROUP = 64, 8


@dataclass(frozen=True)
class Group:
    """Households that one task adds up: their ids and the set that they are of, `district 1` or `held_out`."""

    part_of: str
    household_ids: tuple[str, ...]


@dataclass(frozen=True)
class Sums:
    """Sums over households of one period's windows. T windows, one after another, h slots each.

    Attributes:
        first: number of the first window: horizons since 1970.
        households: (T,) how many households have the window.
        kwh: by name, (T, h): what was measured, and each method's forecast. With quantiles also the sums of variances
            (kWh squared) and of standard deviations.
        quantiles: (T, h, Q) sums of each quantile; Q may be 0.
    """

    first: int
    households: Narrow
    kwh: dict[str, Narrow]
    quantiles: Narrow

    def is_of(self, first: int, stop: int, horizon: int, levels: int) -> bool:
        """Whether it has the right sums, and windows from `first` to before `stop` alone."""
        windows = len(self.households) if self.households.ndim == 1 else -1
        return (
            first <= self.first <= self.first + windows <= stop
            and self.households.shape == (windows,)
            and self.kwh.keys() == set(names(levels > 0))
            and all(
                values.shape == (windows, horizon) and bool(np.isfinite(values).all()) for values in self.kwh.values()
            )
            and self.quantiles.shape == (windows, horizon, levels)
            and bool(np.isfinite(self.quantiles).all())
        )


def names(with_quantiles: bool) -> list[str]:
    """What is summed."""
    found = [MEASURED, *NAIVE, OWN, OWN + SCALED]
    return [*found, MEAN, MEAN + SCALED, VARIANCE, DEVIATION] if with_quantiles else found


def groups(manifest: Manifest) -> list[Group]:
    """The groups of each district and of those held out; where weeks are dealt out, all that train are one set.

    None has fewer than eight households, unless its set has.
    """
    of_set: dict[str, dict[str, None]] = {}
    dealt = any(part.blocks is not None for agent in manifest.agents for part in agent.parts)
    for agent in (*manifest.agents, *manifest.held_out):
        name = "held_out" if agent.district < 0 else "trained" if dealt else f"district {agent.district + 1}"
        of_set.setdefault(name, {}).update(dict.fromkeys(part.household_id for part in agent.parts))
    size = max(_LEAST_A_GROUP, -(-sum(map(len, of_set.values())) // _GROUPS))
    found = []
    for name, members in of_set.items():
        ids, parts = list(members), max(1, len(members) // size)
        edges = [len(ids) * part // parts for part in range(parts + 1)]
        found += [Group(name, tuple(ids[low:high])) for low, high in pairwise(edges)]
    return found


def sets(manifest: Manifest) -> dict[str, list[Group]]:
    """The sets that are large enough to be judged: each district, all that train, those held out."""
    found: dict[str, list[Group]] = {"trained": []}
    for group in groups(manifest):
        for name in dict.fromkeys((group.part_of, group.part_of if group.part_of == "held_out" else "trained")):
            found.setdefault(name, []).append(group)
    return {name: own for name, own in found.items() if sum(len(g.household_ids) for g in own) >= LEAST_HOUSEHOLDS}


def window_number(moment: datetime, cadence_minutes: int, horizon: int) -> int:
    """Whole horizons from 1970 to a moment."""
    return int(moment.timestamp()) // (60 * cadence_minutes * horizon)


def add_up(
    households: Iterable[Household], windows: WindowSettings, model_of: Callable[[Household], Forecaster]
) -> dict[Period, Sums]:
    """A group's sums by period.

    Args:
        households: read one after another.
        windows: how windows are cut.
        model_of: gives the model with its weights, for a household.
    """
    found: dict[Period, list[Sums]] = {period: [] for period in PERIODS}
    for household in households:
        shard = build_shard([(household, None)], windows, PERIODS)
        model, own = model_of(household), window_origins(household, None, windows)
        factors: dict[str, float] = {}
        for period in PERIODS:
            # The shard's rows of windows stand in the order of their slots.
            slot = window_number(household.meta.first, household.meta.cadence_minutes, 1) + own[period]
            whole = slot % windows.horizon_slots == 0
            if not whole.any():
                continue
            kwh, quantiles = _in_chunks(shard, shard.origins[period][whole], model)
            if period == "validation":
                factors = {name: _factor(kwh[MEASURED], kwh[name]) for name in (OWN, MEAN) if name in kwh}
            for name in (OWN, MEAN):
                if name in kwh:
                    kwh[name + SCALED] = kwh[name] * factors.get(name, 1.0)
            found[period].append(_spread(slot[whole] // windows.horizon_slots, kwh, quantiles))
    return {period: together(parts) for period, parts in found.items() if parts}


def _in_chunks(shard: Shard, origins: Indices, model: Forecaster) -> tuple[dict[str, Floats], npt.NDArray[np.float32]]:
    found = [_forecasts(shard, chunk, model) for chunk in in_chunks(origins)]
    kwh = {name: np.concatenate([own[name] for own, _ in found]) for name in found[0][0]}
    return kwh, np.concatenate([quantiles for _, quantiles in found])


def _forecasts(shard: Shard, origins: Indices, model: Forecaster) -> tuple[dict[str, Floats], npt.NDArray[np.float32]]:
    batch, levels = gather(shard, origins), shard.settings.quantiles
    output, _ = run_model(model, batch)
    usual = naive.forecasts(shard, origins)
    kwh = {
        MEASURED: batch.target_kwh,
        **{name: usual[name] for name in NAIVE},
        OWN: batch.base_kwh + batch.scale * point(output),
    }
    found = {name: values.astype(np.float64) for name, values in kwh.items()}
    if not levels:
        return found, np.empty((*batch.target.shape, 0), np.float32)
    quantiles = quantiles_kwh(output, batch, levels)
    found[MEAN], found[VARIANCE] = moments(quantiles, levels)
    found[DEVIATION] = np.sqrt(found[VARIANCE])
    return found, quantiles


def _factor(measured: Floats, forecast: Floats) -> float:
    total = float(forecast.sum())
    return float(np.clip(measured.sum() / total, *_FACTORS)) if total > 0 else 1.0


def _spread(numbers: Indices, kwh: Mapping[str, Floats], quantiles: npt.NDArray[np.float32]) -> Sums:
    """One household's windows on a time axis without gaps."""
    first, windows = int(numbers[0]), int(numbers[-1] - numbers[0]) + 1

    def placed(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        result = np.zeros((windows, *values.shape[1:]), np.float32)
        result[numbers - first] = values
        return result

    present = placed(np.ones(len(numbers)))
    return Sums(first, present, {name: placed(values) for name, values in kwh.items()}, placed(quantiles))


def together(parts: Sequence[Sums]) -> Sums:
    """The sum of sums, added in their order with 64 bits."""
    first = min(part.first for part in parts)
    windows = max(part.first + len(part.households) for part in parts) - first

    def added(arrays: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        total = np.zeros((windows, *arrays[0].shape[1:]), np.float64)
        for part, values in zip(parts, arrays, strict=True):
            total[part.first - first :][: len(values)] += values
        return total.astype(np.float32)

    return Sums(
        first,
        added([part.households for part in parts]),
        {name: added([part.kwh[name] for part in parts]) for name in parts[0].kwh},
        added([part.quantiles for part in parts]),
    )
