"""Figures out of sums: errors, precision and recall, each with an interval over households."""

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
"""Surge scores are logits, rounded to steps of 0.05 between -10 and 10 and counted: sums over households stay exact."""


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator != 0, np.divide(numerator, denominator), np.nan)


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


def average_precision(counts: Floats | Counts) -> Floats:
    """Sum of precision times the step in recall, over the cuts from high to low; (..., 2, SCORE_BINS) to (...)."""
    hits, said = _from_above(counts)
    positives = counts[..., 1, :].sum(-1)
    precision = _divide(hits, said)
    area = np.nansum(np.where(counts[..., 1, :] > 0, precision * counts[..., 1, :], 0), axis=-1)
    return _divide(area, positives)


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
        household_f1, household_average_precision: means over households of their own, of those that have a surge.
    """

    precision: Figure
    recall: Figure
    f1: Figure
    accuracy: Figure
    average_precision: Figure
    household_f1: Figure
    household_average_precision: Figure


def detection(confusions: Counts, scores: Counts | None, resampler: Resampler) -> Detection:
    """Figures of (n, 4) confusions, one row a household, and of (n, 2, SCORE_BINS) counted scores."""
    hit, false, missed, right = confusions.astype(np.float64).T
    ranked = own_ranked = UNDEFINED
    some = hit + missed > 0
    if scores is not None:
        own_ranked = resampler.mean(np.where(some, average_precision(scores), np.nan))
        flat, shape = scores.reshape(len(scores), -1).astype(np.float64), scores.shape[1:]
        ranked = resampler.statistic(lambda counts: average_precision((counts @ flat).reshape(-1, *shape)))
    return Detection(
        precision=resampler.ratio(hit, hit + false, most=1),
        recall=resampler.ratio(hit, hit + missed, most=1),
        f1=resampler.ratio(2 * hit, 2 * hit + false + missed, most=1),
        accuracy=resampler.ratio(hit + right, hit + false + missed + right, most=1),
        average_precision=ranked,
        household_f1=resampler.mean(np.where(some, _divide(2 * hit, 2 * hit + false + missed), np.nan)),
        household_average_precision=own_ranked,
    )


def _from_above(counts: Floats | Counts) -> tuple[Floats, Floats]:
    """For each bin: positives, and all, from it upwards."""
    above = np.cumsum(counts[..., ::-1], axis=-1, dtype=np.float64)[..., ::-1]
    return above[..., 1, :], above.sum(-2)


def _f1(hits: Floats, said: Floats, positives: float) -> Floats:
    return np.nan_to_num(_divide(2 * hits, said + positives))
