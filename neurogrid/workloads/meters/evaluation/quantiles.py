"""How good quantiles are: pinball loss and CRPS, coverage and width of central intervals, beside a rival that is free.

The rival has the same slot's quantiles over the 28 days before. The intervals of both are also widened or narrowed by
what they missed on the household's validation part: conformalised quantile regression (Romano, Patterson and Candes
2019, arXiv:1905.03222). Its promise is for exchangeable windows; those of a household overlap and follow the seasons,
so here it is measured and not promised.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neurogrid.data.household import Household
from neurogrid.workloads.meters.distribution import quantiles_kwh
from neurogrid.workloads.meters.evaluation.intervals import Figure, Resampler
from neurogrid.workloads.meters.evaluation.metrics import Floats
from neurogrid.workloads.meters.models import Forecaster
from neurogrid.workloads.meters.tensors import in_chunks, run_model
from neurogrid.workloads.meters.windows import (
    PROFILES,
    Indices,
    Period,
    Shard,
    WindowSettings,
    build_shard,
    gather,
)

Array = npt.NDArray[np.float32]
OWN, USUAL = "federated", "quantiles_28_days"
METHODS = (OWN, USUAL)
TITLES = {OWN: "**federated**", USUAL: "the slot's quantiles, 28 days"}
SCORED: tuple[Period, ...] = ("validation", "test")


@dataclass(frozen=True)
class Scored:
    """Means over one household's windows and slots of one period, by one method. Q quantiles, I central intervals.

    Attributes:
        pinball: (Q,) pinball loss of each quantile, kWh.
        covered, width: (I,) share of slots whose load lies within the interval, and its width, kWh.
        corrected_covered, corrected_width: (I,) the same of intervals moved by what the validation part asks for; NaN
            where that has too few windows, and in the validation part itself.
        crossed: slots in which a quantile lies below the one before.
    """

    pinball: Floats
    covered: Floats
    width: Floats
    corrected_covered: Floats
    corrected_width: Floats
    crossed: int


@dataclass(frozen=True)
class QuantileScore:
    """One household's, by period and method; periods without windows are missing."""

    household_id: str
    parts: dict[Period, dict[str, Scored]]

    def is_of(self, household_id: str, levels: Sequence[float]) -> bool:
        """Whether it can be that household's, with these quantiles."""
        shape = (len(central(levels)),)
        return (
            self.household_id == household_id
            and self.parts.keys() <= set(SCORED)
            and all(
                methods.keys() == set(METHODS)
                and all(
                    found.pinball.shape == (len(levels),)
                    and bool(np.isfinite(found.pinball).all())
                    and found.covered.shape == found.width.shape == shape
                    and found.corrected_covered.shape == found.corrected_width.shape == shape
                    for found in methods.values()
                )
                for methods in self.parts.values()
            )
        )


@dataclass(frozen=True)
class IntervalFigures:
    """A central interval over households: `nominal` is the share that it ought to cover; widths are kWh a slot."""

    nominal: float
    coverage: Figure
    width: Figure
    corrected_coverage: Figure
    corrected_width: Figure


@dataclass(frozen=True)
class QuantileFigures:
    """A method's quantiles, means over households.

    Attributes:
        levels: the quantiles' probabilities.
        pinball: of each quantile, kWh a slot.
        crps: twice the mean of these, kWh a slot: the continuous ranked probability score as these quantiles give it.
        crps_below_usual_percent: how far it lies below that of the 28 days' quantiles.
        intervals: the central ones, the widest first.
        crossed: slots in which quantiles cross.
    """

    levels: tuple[float, ...]
    pinball: tuple[Figure, ...]
    crps: Figure
    crps_below_usual_percent: Figure
    intervals: tuple[IntervalFigures, ...]
    crossed: int


def central(levels: Sequence[float]) -> list[tuple[int, int, float]]:
    """Pairs of quantiles with as much below the first as above the second: their places, the share between them."""
    return [
        (low, high, round(levels[high] - level, 9))
        for low, level in enumerate(levels)
        for high in range(low + 1, len(levels))
        if math.isclose(level + levels[high], 1, abs_tol=1e-9)
    ]


def margin(missed: Array, nominal: float) -> float:
    """By how much an interval has to grow at both ends to cover `nominal`, kWh; negative where it may shrink.

    Args:
        missed: (n,) how far each load lies outside of its interval; inside it is negative.
        nominal: share to cover.

    Returns:
        The ceil((n + 1) nominal)-th smallest, by equation 8 of Romano et al.; NaN where there are not so many.
    """
    place = math.ceil((len(missed) + 1) * nominal - 1e-9)
    return float(np.partition(missed, place - 1)[place - 1]) if 0 < place <= len(missed) else math.nan


def score_quantiles(household: Household, windows: WindowSettings, model: Forecaster) -> QuantileScore:
    """Scores a model's quantiles, and the rival's, on a household's validation and test windows.

    Takes 8 bytes for each window, slot and quantile of one period.
    """
    shard = build_shard([(household, None)], windows, SCORED)
    margins = {method: np.full(len(central(windows.quantiles)), math.nan) for method in METHODS}
    parts: dict[Period, dict[str, Scored]] = {}
    for period in SCORED:
        origins = shard.origins[period]
        if not len(origins):
            continue
        target, found = _quantiles(shard, origins, model)
        parts[period] = {method: _scored(found[method], target, windows.quantiles, margins[method]) for method in found}
        if period == "validation":
            margins = {method: _margins(found[method], target, windows.quantiles) for method in found}
    return QuantileScore(household.meta.household_id, parts)


def _quantiles(shard: Shard, origins: Indices, model: Forecaster) -> tuple[Array, dict[str, Array]]:
    """Loads (B, h) and, by method, their quantiles (B, h, Q), kWh."""
    levels, targets, own, usual = shard.settings.quantiles, [], [], []
    for chunk in in_chunks(origins):
        batch = gather(shard, chunk)
        output, _ = run_model(model, batch)
        targets.append(batch.target_kwh)
        own.append(quantiles_kwh(output, batch, levels))
        usual.append(shard.profiles[chunk[:, None] + np.arange(shard.settings.horizon_slots), len(PROFILES) :])
    return np.concatenate(targets), {OWN: np.concatenate(own), USUAL: np.concatenate(usual)}


def _margins(quantiles: Array, target: Array, levels: Sequence[float]) -> Floats:
    return np.array(
        [
            margin(np.maximum(quantiles[..., low] - target, target - quantiles[..., high]).ravel(), nominal)
            for low, high, nominal in central(levels)
        ],
        np.float64,
    )


def _scored(quantiles: Array, target: Array, levels: Sequence[float], margins: Floats) -> Scored:
    pinball, pairs = [], central(levels)
    for column, level in enumerate(levels):
        error = target.astype(np.float64) - quantiles[..., column]
        pinball.append(np.maximum(level * error, (level - 1) * error).mean())
    covered, width = np.full((2, len(pairs)), math.nan), np.full((2, len(pairs)), math.nan)
    for place, (low, high, _) in enumerate(pairs):
        for row, more in enumerate((0.0, margins[place])):
            if math.isnan(more):
                continue
            # An interval that shrinks ends where its middle is; a load is never below 0.
            bottom = np.maximum(quantiles[..., low] - np.float32(more), 0)
            top = np.maximum(quantiles[..., high] + np.float32(more), bottom)
            covered[row, place] = ((target >= bottom) & (target <= top)).mean()
            width[row, place] = (top - bottom).mean(dtype=np.float64)
    crossed = int((np.diff(quantiles, axis=-1) < 0).any(axis=-1).sum())
    return Scored(np.array(pinball), covered[0], width[0], covered[1], width[1], crossed)


def quantile_figures(
    scores: Sequence[QuantileScore], quiet: Collection[str], levels: tuple[float, ...], *, seed: int, group: str
) -> dict[Period, dict[str, QuantileFigures]]:
    """Figures of a group of households by period and method, without those that are `quiet`."""
    found: dict[Period, dict[str, QuantileFigures]] = {}
    for period in SCORED:
        counted = [s.parts[period] for s in scores if period in s.parts and s.household_id not in quiet]
        if counted:
            resampler = Resampler.of(len(counted), seed, f"{group} {period}")
            crps = {m: 2 * np.array([part[m].pinball.mean() for part in counted]) for m in METHODS}
            found[period] = {
                method: _figures([part[method] for part in counted], crps[method], crps[USUAL], levels, resampler)
                for method in METHODS
            }
    return found


def _figures(
    parts: Sequence[Scored], crps: Floats, usual: Floats, levels: tuple[float, ...], resampler: Resampler
) -> QuantileFigures:
    def share(values: Floats) -> Figure:
        known = ~np.isnan(values)
        return resampler.ratio(np.where(known, values, 0), known.astype(float), most=1)

    def column(name: str, place: int) -> Floats:
        return np.array([getattr(part, name)[place] for part in parts])

    below = resampler.ratio(crps, usual)
    return QuantileFigures(
        levels=levels,
        pinball=tuple(resampler.mean(column("pinball", place)) for place in range(len(levels))),
        crps=resampler.mean(crps),
        crps_below_usual_percent=Figure(*(100 * (1 - end) for end in (below.value, below.high, below.low))),
        intervals=tuple(
            IntervalFigures(
                nominal=nominal,
                coverage=share(column("covered", place)),
                width=resampler.mean(column("width", place)),
                corrected_coverage=share(column("corrected_covered", place)),
                corrected_width=resampler.mean(column("corrected_width", place)),
            )
            for place, (_, _, nominal) in enumerate(central(levels))
        ),
        crossed=sum(part.crossed for part in parts),
    )
