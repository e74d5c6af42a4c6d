"""How good forecasts of sums are: errors, bias, and the sum's distribution under three views of how households move.

Intervals are over weeks: a set is one, so its weeks are what is drawn.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch

from neurogrid.workloads.meters.evaluation.intervals import Figure, Resampler
from neurogrid.workloads.meters.evaluation.quantiles import central
from neurogrid.workloads.meters.evaluation.sums import (
    DEVIATION,
    LEAST_HOUSEHOLDS,
    MEAN,
    MEASURED,
    VARIANCE,
    Floats,
    Sums,
    together,
)
from neurogrid.workloads.meters.windows import Period

BASE = "mean_28_days"
VIEWS = ("independent", "correlated", "comonotone")
"""Households' errors have nothing to do with each other; are correlated as on validation; all come together."""
RATING_LEVEL = 0.9


@dataclass(frozen=True)
class SumError:
    """Errors of a method's forecast of the sum.

    Attributes:
        nmae: mean absolute error over the mean load.
        bias_percent: how far the forecasts lie above what was measured, as a share of that.
        nmae_below_mean_percent: how far `nmae` lies below that of the 28-day means.
    """

    nmae: Figure
    bias_percent: Figure
    nmae_below_mean_percent: Figure


@dataclass(frozen=True)
class SumInterval:
    """A central interval of the sum: the share that it ought to cover, and what it covers."""

    nominal: float
    coverage: Figure


@dataclass(frozen=True)
class SumDistribution:
    """The sum's distribution under one view.

    Attributes:
        ncrps: twice the mean pinball loss of its quantiles, over the mean load.
        intervals: the widest first.
        above_expected, above_observed: mean probability that the sum lies above a rating, and how often it did. The
            rating is what 90% of the validation part's sums lie below, in proportion to how many households there are.
    """

    ncrps: Figure
    intervals: tuple[SumInterval, ...]
    above_expected: Figure
    above_observed: Figure


@dataclass(frozen=True)
class SumFigures:
    """One set of households, on its test part.

    Attributes:
        households: in the set.
        windows, least, most: how many windows at least 15 of them have, and how many have the emptiest and the fullest.
        mean_kwh: mean measured sum, a slot.
        correlation: of households' errors on validation; NaN without quantiles, or where nothing can be told.
        methods: by name. distributions: by view; empty without quantiles.
    """

    households: int
    windows: int
    least: int
    most: int
    mean_kwh: float
    correlation: float
    methods: dict[str, SumError]
    distributions: dict[str, SumDistribution]


def sum_figures(
    groups: Sequence[Mapping[Period, Sums]],
    households: int,
    levels: tuple[float, ...],
    slots_per_week: int,
    *,
    seed: int,
    name: str,
) -> SumFigures | None:
    """A set's figures; None where no window of the test part has enough households.

    Args:
        groups: the sums of its groups.
        households: how many the set has.
        levels: probabilities of the quantiles.
        slots_per_week: 7 days in slots.
        seed, name: of the draws of weeks.
    """
    tested = [group["test"] for group in groups if "test" in group]
    if not tested:
        return None
    test = together(tested)
    rows = test.households >= LEAST_HOUSEHOLDS
    if not rows.any():
        return None
    kwh = {key: values[rows].astype(np.float64) for key, values in test.kwh.items()}
    horizon = kwh[MEASURED].shape[1]
    week = (np.flatnonzero(rows) + test.first) * horizon // slots_per_week
    weeks = _Weeks(np.unique(week, return_inverse=True)[1], seed, name)
    known = [group["validation"] for group in groups if "validation" in group]
    validation = together(known) if known else None
    correlation = _correlation(validation) if levels and validation else math.nan
    counts = test.households[rows]
    return SumFigures(
        households=households,
        windows=int(rows.sum()),
        least=int(counts.min()),
        most=int(counts.max()),
        mean_kwh=float(kwh[MEASURED].mean()),
        correlation=correlation,
        methods={
            key: _error(values, kwh, weeks) for key, values in kwh.items() if key not in (MEASURED, VARIANCE, DEVIATION)
        },
        distributions={
            view: _distribution(
                view, kwh, test.quantiles[rows], levels, correlation, _rating(validation, counts), weeks
            )
            for view in VIEWS
            if len(levels) > 1 and not (view == "correlated" and math.isnan(correlation))
        },
    )


class _Weeks:
    """Ratios of sums over windows, with intervals over the weeks that they lie in."""

    def __init__(self, week: npt.NDArray[np.int64], seed: int, name: str) -> None:
        self._week, self._count = week, int(week.max()) + 1
        self._resampler = Resampler.of(self._count, seed, f"weeks of {name}")

    def ratio(self, above: Floats, below: Floats, least: float = 0.0, most: float = math.inf) -> Figure:
        """Of (T, h) values."""
        return self._resampler.ratio(self._total(above), self._total(below), least, most)

    def _total(self, values: Floats) -> Floats:
        return np.bincount(self._week, values.sum(axis=1), self._count).astype(np.float64)


def _error(forecast: Floats, kwh: Mapping[str, Floats], weeks: _Weeks) -> SumError:
    measured = kwh[MEASURED]
    error, base = np.abs(forecast - measured), np.abs(kwh[BASE] - measured)
    bias, below = weeks.ratio(forecast - measured, measured, least=-math.inf), weeks.ratio(error, base)
    return SumError(
        nmae=weeks.ratio(error, measured),
        bias_percent=Figure(*(100 * end for end in (bias.value, bias.low, bias.high))),
        nmae_below_mean_percent=Figure(*(100 * (1 - end) for end in (below.value, below.high, below.low))),
    )


def _correlation(validation: Sums) -> float:
    """Of households' errors: by which the mean squared error of their sum is what it is; between 0 and 1."""
    rows = validation.households > 1
    kwh = {key: values[rows].astype(np.float64) for key, values in validation.kwh.items()}
    apart, all_of_it = kwh[VARIANCE].sum(), (kwh[DEVIATION] ** 2).sum()
    if not all_of_it > apart:
        return math.nan
    return float(np.clip((((kwh[MEASURED] - kwh[MEAN]) ** 2).sum() - apart) / (all_of_it - apart), 0, 1))


def _rating(validation: Sums | None, counts: npt.NDArray[np.float32]) -> Floats | None:
    """(T, 1) kWh; None without a validation part."""
    if validation is None:
        return None
    rows = validation.households > 0
    each = validation.kwh[MEASURED][rows] / validation.households[rows, None]
    return float(np.quantile(each, RATING_LEVEL)) * counts.astype(np.float64)[:, None]


def _distribution(
    view: str,
    kwh: Mapping[str, Floats],
    comonotone: npt.NDArray[np.float32],
    levels: tuple[float, ...],
    correlation: float,
    rating: Floats | None,
    weeks: _Weeks,
) -> SumDistribution:
    measured, mean = kwh[MEASURED], kwh[MEAN]
    if view == "comonotone":
        quantiles = comonotone.astype(np.float64)
    else:
        share = correlation if view == "correlated" else 0.0
        deviation = np.sqrt(kwh[VARIANCE] + share * np.maximum(kwh[DEVIATION] ** 2 - kwh[VARIANCE], 0))
        scores = np.array([NormalDist().inv_cdf(level) for level in levels])
        quantiles = mean[..., None] + deviation[..., None] * scores
    error = measured[..., None] - quantiles
    pinball = np.maximum(np.array(levels) * error, (np.array(levels) - 1) * error).mean(-1)
    one = np.ones_like(measured)
    intervals = []
    for low, high, nominal in central(levels):
        within = (measured >= quantiles[..., low]) & (measured <= quantiles[..., high])
        intervals.append(SumInterval(nominal, weeks.ratio(within.astype(np.float64), one, most=1)))
    expected = observed = Figure(math.nan, math.nan, math.nan)
    if rating is not None:
        above = (
            1 - _share_below(quantiles, levels, rating)
            if view == "comonotone"
            else probability_above(mean, deviation, rating)
        )
        expected = weeks.ratio(above, one, most=1)
        observed = weeks.ratio((measured > rating).astype(np.float64), one, most=1)
    return SumDistribution(weeks.ratio(2 * pinball, measured), tuple(intervals), expected, observed)


def probability_above(mean: Floats, deviation: Floats, rating: Floats) -> Floats:
    """Probability that a normal load lies above a rating; shapes that fit each other, kWh."""
    spread = np.where(deviation > 0, deviation, np.finfo(np.float64).tiny)
    z = torch.from_numpy(np.asarray((mean - rating) / spread))
    found: Floats = torch.special.ndtr(z).numpy()
    return found


def _share_below(quantiles: Floats, levels: Sequence[float], rating: Floats) -> Floats:
    """Probability of a load up to `rating` (T, 1): between two of the (T, h, Q) quantiles in proportion.

    Beyond the outer ones it is half way to 0 and to 1.
    """
    found = np.full(quantiles.shape[:-1], levels[0] / 2)
    for low in range(len(levels) - 1):
        step = np.maximum(quantiles[..., low + 1] - quantiles[..., low], 1e-12)
        part = np.clip((rating - quantiles[..., low]) / step, 0, 1)
        inside = rating >= quantiles[..., low]
        found = np.where(inside, levels[low] + part * (levels[low + 1] - levels[low]), found)
    return np.where(rating >= quantiles[..., -1], (1 + levels[-1]) / 2, found)
