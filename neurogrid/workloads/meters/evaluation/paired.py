"""One method against others on the same households: what a claim that it is better can rest on.

A household is the unit. Households differ much more than methods do, so methods are compared within each, and figures
are of the differences. Any method can be put against any other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from neurogrid.workloads.meters.evaluation.intervals import Figure, Resampler, share
from neurogrid.workloads.meters.evaluation.metrics import Floats

SIGNIFICANT = 0.05
_EXACT_UP_TO = 200
"""Households up to which the test is exact; with more the normal distribution is near enough."""


@dataclass(frozen=True)
class Paired:
    """A method's MAE against a rival's, over the households that have both.

    Attributes:
        method, rival: which.
        households: how many.
        mae_change_percent: how far the method's mean MAE lies above the rival's, with its 95% interval.
        better_share: share of households whose MAE is less with the method.
        worst_tenth_percent: mean of the households' own changes, of the tenth of them that fare worst with the method.
        p_value: of Wilcoxon's signed-rank test of the households' differences, two-sided.
        corrected_p_value: by Holm 1979, over all rivals that the method was put against.
        shown: what the corrected test bears: that households' MAE is `lower` with the method, `higher`, or neither.
    """

    method: str
    rival: str
    households: int
    mae_change_percent: Figure
    better_share: Figure
    worst_tenth_percent: float
    p_value: float
    corrected_p_value: float
    shown: Literal["lower", "higher", ""]


def compare(mae: Mapping[str, Floats], method: str, rivals: Sequence[str], resampler: Resampler) -> tuple[Paired, ...]:
    """`method` against each of the rivals.

    Args:
        mae: by method (n,) MAE of each household; NaN where it lacks the method.
        method: one of them.
        rivals: others of them, which the correction is over.
        resampler: of the n households.
    """
    found = [_against(mae[method], mae[rival], method, rival, resampler) for rival in rivals]
    corrected = holm([one.p_value for one in found])
    return tuple(
        replace(one, corrected_p_value=p, shown=one.shown if p < SIGNIFICANT else "")
        for one, p in zip(found, corrected, strict=True)
    )


def _against(ours: Floats, theirs: Floats, method: str, rival: str, resampler: Resampler) -> Paired:
    both = ~np.isnan(ours) & ~np.isnan(theirs)
    ratio = resampler.ratio(np.where(both, ours, 0), np.where(both, theirs, 0))
    difference, base = (ours - theirs)[both], theirs[both]
    change = np.sort(100 * difference[base > 0] / base[base > 0])[::-1]
    worst = change[: math.ceil(len(change) / 10)]
    # The ranks and the means have to say the same: a test of one bears no claim about the other.
    side = {(1, 1): "higher", (-1, -1): "lower"}.get((_side(signed_ranks(difference)), _side(difference)), "")
    return Paired(
        method=method,
        rival=rival,
        households=int(both.sum()),
        mae_change_percent=Figure(*(100 * (end - 1) for end in (ratio.value, ratio.low, ratio.high))),
        better_share=share(np.where(both, ours < theirs, np.nan)),
        worst_tenth_percent=float(worst.mean()) if len(worst) else math.nan,
        p_value=wilcoxon(difference),
        corrected_p_value=math.nan,
        shown=side,  # type: ignore[arg-type]
    )


def _side(values: Floats) -> int:
    return int(np.sign(values.sum()))


def signed_ranks(differences: Floats) -> Floats:
    """Ranks of the sizes of (n,) differences with their signs; equal ones share a rank, zeros are left out."""
    some = differences[differences != 0]
    _, place, count = np.unique(np.abs(some), return_inverse=True, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2
    return np.asarray(ranks[place] * np.sign(some), np.float64)


def wilcoxon(differences: Floats) -> float:
    """P-value of Wilcoxon's signed-rank test (1945, doi:10.2307/3001968), two-sided; NaN without a difference.

    Exact up to 200 households, also with equal differences; beyond, by the normal distribution.
    """
    ranks = signed_ranks(differences)
    if not len(ranks):
        return math.nan
    above = ranks[ranks > 0].sum()
    if len(ranks) > _EXACT_UP_TO:
        far = abs(above - np.abs(ranks).sum() / 2) / math.sqrt((ranks**2).sum() / 4)
        return 2 * NormalDist().cdf(-far)
    # Chances of each sum of ranks, counted in halves, when each sign falls like a coin.
    chances = np.ones(1)
    for rank in np.rint(2 * np.abs(ranks)).astype(np.int64):
        chances = (np.append(chances, np.zeros(rank)) + np.append(np.zeros(rank), chances)) / 2
    at = round(2 * above)
    return float(min(1.0, 2 * min(chances[: at + 1].sum(), chances[at:].sum())))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many tests there are (Holm 1979, https://www.jstor.org/stable/4615733).

    NaN, a test that could not be made, does not count as one.
    """
    corrected, least = [math.nan] * len(p_values), 0.0
    order = sorted((p, at) for at, p in enumerate(p_values) if not math.isnan(p))
    for done, (p, at) in enumerate(order):
        least = max(least, min(1.0, (len(order) - done) * p))
        corrected[at] = least
    return corrected
