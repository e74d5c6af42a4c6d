"""Figures out of sums: errors, precision and recall, each with an interval over households."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt

from neurogrid.data.household import Household
from neurogrid.tasks import array_of
from neurogrid.workloads.meters.evaluation.intervals import UNDEFINED, Figure, Resampler

Floats = Annotated[npt.NDArray[np.float64], array_of(np.float64)]
Counts = Annotated[npt.NDArray[np.int64], array_of(np.int64)]
SCORE_LIMIT, SCORE_STEP = 10.0, 0.05
SCORE_BINS = int(2 * SCORE_LIMIT / SCORE_STEP) + 1
"""Surge scores are logits, rounded to steps of 0.05 between -10 and 10 and counted: what a household sends back stays
small, and sums over households stay exact. Whether a surge is said is decided by the rounded score."""
_CHANCES = 1 / (1 + np.exp(SCORE_LIMIT - SCORE_STEP * np.arange(SCORE_BINS)))  # that each bin stands for
RELIABILITY_BINS = 10
_EULER = 0.5772156649015329
_HARMONIC = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, 65))])


def _divide(numerator: Floats, denominator: Floats, nothing: float = np.nan) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator != 0, np.divide(numerator, denominator), nothing)


def mase_scale_kwh(household: Household) -> float:
    """What MASE divides by: mean absolute change from the day before, over the training period's measured pairs.

    The seasonal form of Hyndman and Athanasopoulos 2021, section 5.8 (https://otexts.com/fpp3/accuracy.html), with a
    season of a day. Hyndman and Koehler 2006, who proposed MASE, divide by the change from one value to the next. NaN
    where it would be 0.
    """
    day, end = 1440 // household.meta.cadence_minutes, household.slot(household.meta.train_end)
    kwh, observed = household.kwh[:end].astype(np.float64), household.observed[:end]
    pairs = observed[day:] & observed[:-day]
    change = np.abs(kwh[day:] - kwh[:-day])[pairs]
    return float(change.mean()) if change.any() else float("nan")


def count_scores(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> Counts:
    """Counts of the rounded scores of (B, o) logits by output and label: (o, 2, SCORE_BINS)."""
    bins = np.rint((np.clip(logits, -SCORE_LIMIT, SCORE_LIMIT) + SCORE_LIMIT) / SCORE_STEP).astype(np.int64)
    outputs = logits.shape[1]
    flat = (np.arange(outputs) * 2 + labels.astype(np.int64)) * SCORE_BINS + bins
    return np.bincount(flat.ravel(), minlength=outputs * 2 * SCORE_BINS).reshape(outputs, 2, SCORE_BINS)


def best_cut(counts: Counts) -> int:
    """The bin from which to say "surge" so that F1 is highest; of equal ones the highest bin. (2, SCORE_BINS) in."""
    hits, said = _from_above(counts)
    f1 = _f1(hits, said, counts[1].sum())
    return int(SCORE_BINS - 1 - np.argmax(f1[::-1]))


def average_precisions(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> Floats:
    """Average precision of a household's own (B, h + 1) scores, unrounded: (h + 2,), of each slot, all slots, and any.

    The sum of precision times the step in recall over the cuts from high to low, equal scores in one step; NaN where
    there is no surge.
    """
    slots, last = logits.shape[1] - 1, (logits[:, -1], labels[:, -1])
    pairs = [*((logits[:, slot], labels[:, slot]) for slot in range(slots)), (logits[:, :-1], labels[:, :-1]), last]
    return np.array([_exact(scores.ravel(), surges.ravel()) for scores, surges in pairs])


def _exact(scores: npt.NDArray[np.float32], surges: npt.NDArray[np.float32]) -> float:
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = np.cumsum(surges[order], dtype=np.float64)[ends]
    return float(_divide((hits / (ends + 1) * np.diff(hits, prepend=0)).sum(), hits[-1]))


def average_precision(counts: Floats | Counts) -> Floats:
    """Average precision of pooled scores, of which only the step is known; (..., 2, SCORE_BINS) to (...).

    Scores within a step are taken to come in any order with the same chance (McSherry and Najork 2008,
    doi:10.1007/978-3-540-78646-7_38). See `average_precision_bounds` for how far off that can be.
    """
    surges, above, hits, other = _steps(counts)
    every = surges + other
    slope = np.where(every > 1, (surges - 1) / np.maximum(every - 1, 1), 0)
    start = hits + 1 - slope
    # Each step begins where the one above it ends, so one harmonic number a step is enough.
    ends = _harmonic(above + every)
    begins = np.concatenate([ends[..., 1:], np.zeros_like(ends[..., :1])], axis=-1)
    mean = slope * every + (start - slope * above) * (ends - begins)
    return _divide((_divide(surges, every, 0) * mean).sum(-1), surges.sum(-1))


def average_precision_bounds(counts: Floats | Counts) -> tuple[Floats, Floats]:
    """Between what the average precision of the unrounded scores lies, whatever they are, ties included.

    Of a surge the precision is least where all others of its step come first and no surge ties with it, and greatest
    where all surges of its step tie before all others.
    """
    surges, above, hits, other = _steps(counts)
    worst = surges - (above + other - hits) * (_harmonic(above + other + surges) - _harmonic(above + other))
    best = surges * _divide(hits + surges, above + surges, 0)
    positives = surges.sum(-1)
    return _divide(worst.sum(-1), positives), _divide(best.sum(-1), positives)


def _steps(counts: Floats | Counts) -> tuple[Floats, Floats, Floats, Floats]:
    """By step: surges in it, all and surges in the steps above it, and others in it."""
    hits, said = _from_above(counts)
    surges, other = counts[..., 1, :].astype(np.float64), counts[..., 0, :].astype(np.float64)
    return surges, said - surges - other, hits - surges, other


def _harmonic(count: Floats) -> Floats:
    """1 + 1/2 + ... + 1/count, for whole numbers."""
    large = np.maximum(count, len(_HARMONIC) - 1)
    tail = np.log(large) + _EULER + 1 / (2 * large) - 1 / (12 * large**2) + 1 / (120 * large**4)
    return np.where(count < len(_HARMONIC), _HARMONIC[np.minimum(count, len(_HARMONIC) - 1).astype(np.int64)], tail)


def confusion(counts: Counts, cut: int) -> Counts:
    """Saying "surge" from bin `cut` on: true positives, false positives, false and true negatives, (..., 4)."""
    no, yes = counts[..., 0, :], counts[..., 1, :]
    parts = (yes[..., cut:].sum(-1), no[..., cut:].sum(-1), yes[..., :cut].sum(-1), no[..., :cut].sum(-1))
    return np.stack(parts, axis=-1)


@dataclass(frozen=True)
class Detection:
    """How well surges are told.

    Attributes:
        precision, recall, f1, accuracy, average_precision: of all households' windows together, so that a household
            with many surges counts more; average precision is NaN where there is no score.
        average_precision_bounds: between what that of the unrounded scores lies.
        household_f1, household_average_precision: means over households of their own, of those that have a surge;
            the average precision is exact.
        brier: mean squared distance of the probability from what came, 0 or 1 (Brier 1950), of all windows together;
            NaN where there is no score. Probabilities are those of the rounded scores.
        household_f1_above_usual: by how much `household_f1` lies above that of the share of the slot's usual surges,
            household by household; not defined where that is not told.
    """

    precision: Figure
    recall: Figure
    f1: Figure
    accuracy: Figure
    average_precision: Figure
    average_precision_bounds: tuple[float, float]
    household_f1: Figure
    household_average_precision: Figure
    brier: Figure
    household_f1_above_usual: Figure


@dataclass(frozen=True)
class ReliabilityBin:
    """Windows whose surge was said to be about as likely, of all households together.

    Attributes:
        windows: how many.
        said: mean of their probabilities.
        observed: share of them that had a surge.
    """

    windows: int
    said: float
    observed: Figure


def own_f1(confusions: Counts) -> Floats:
    """(n,) F1 of each household's (n, 4) confusion; NaN for one without a surge."""
    hit, false, missed, _ = confusions.astype(np.float64).T
    return np.where(hit + missed > 0, _divide(2 * hit, 2 * hit + false + missed), np.nan)


def detection(
    confusions: Counts,
    scores: Counts | None,
    own_average_precision: Floats | None,
    resampler: Resampler,
    usual_f1: Floats | None = None,
) -> Detection:
    """Figures of households.

    Args:
        confusions: (n, 4), one row a household.
        scores: (n, 2, SCORE_BINS) counts; None of what has no scores.
        own_average_precision: (n,) see `average_precisions`; None of what has no scores.
        resampler: of the n households.
        usual_f1: (n,) see `own_f1`, of the share of usual surges; None where it is not told.
    """
    hit, false, missed, right = confusions.astype(np.float64).T
    ranked = own_ranked = brier = above = UNDEFINED
    bounds = (np.nan, np.nan)
    f1 = own_f1(confusions)
    if usual_f1 is not None:
        known = ~np.isnan(f1) & ~np.isnan(usual_f1)
        above = resampler.ratio(np.where(known, f1 - usual_f1, 0), known.astype(float), least=-1, most=1)
    if own_average_precision is not None:
        own_ranked = _mean_share(own_average_precision, resampler)
    if scores is not None:
        used = scores[..., scores.any(axis=(0, 1))]  # most steps are empty, and add nothing
        flat, shape = used.reshape(len(used), -1).astype(np.float64), used.shape[1:]
        ranked = resampler.statistic(lambda counts: average_precision((counts @ flat).reshape(-1, *shape)))
        least, most = average_precision_bounds(scores.sum(0))
        bounds = (float(least), float(most))
        squares = scores[:, 0] * _CHANCES**2 + scores[:, 1] * (1 - _CHANCES) ** 2
        missed_by = np.array([math.fsum(own) for own in squares.tolist()])  # exact, on any processor
        brier = resampler.ratio(missed_by, scores.sum(axis=(1, 2)).astype(np.float64), most=1)
    return Detection(
        precision=resampler.ratio(hit, hit + false, most=1),
        recall=resampler.ratio(hit, hit + missed, most=1),
        f1=resampler.ratio(2 * hit, 2 * hit + false + missed, most=1),
        accuracy=resampler.ratio(hit + right, hit + false + missed + right, most=1),
        average_precision=ranked,
        average_precision_bounds=bounds,
        household_f1=_mean_share(f1, resampler),
        household_average_precision=own_ranked,
        brier=brier,
        household_f1_above_usual=above,
    )


def reliability(scores: Counts, resampler: Resampler) -> tuple[ReliabilityBin, ...]:
    """(n, 2, SCORE_BINS) counts of n households by tenths of the probability, without empty ones."""
    tenth = np.minimum((_CHANCES * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)
    found = []
    for number in range(RELIABILITY_BINS):
        own = scores[..., tenth == number]
        every = own.sum(axis=(1, 2)).astype(np.float64)
        if not every.any():
            continue
        # Exact, since the last bits of a product of vectors depend on the processor.
        said = math.fsum((own.sum(axis=(0, 1)) * _CHANCES[tenth == number]).tolist()) / float(every.sum())
        surges = own[:, 1].sum(axis=-1).astype(np.float64)
        found.append(ReliabilityBin(int(every.sum()), said, resampler.ratio(surges, every, most=1)))
    return tuple(found)


def _mean_share(values: Floats, resampler: Resampler) -> Figure:
    """Mean of (n,) figures from 0 to 1, without those that are NaN; its interval stays there too."""
    known = ~np.isnan(values)
    return resampler.ratio(np.where(known, values, 0), known.astype(np.float64), most=1)


def _from_above(counts: Floats | Counts) -> tuple[Floats, Floats]:
    """For each bin: positives, and all, from it upwards."""
    above = np.cumsum(counts[..., ::-1], axis=-1, dtype=np.float64)[..., ::-1]
    return above[..., 1, :], above.sum(-2)


def _f1(hits: Floats, said: Floats, positives: float) -> Floats:
    return np.nan_to_num(_divide(2 * hits, said + positives))
