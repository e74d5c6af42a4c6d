import dataclasses
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, precision_recall_fscore_support

from neurogrid.workloads.meters.evaluation.intervals import Resampler
from neurogrid.workloads.meters.evaluation.metrics import (
    SCORE_LIMIT,
    SCORE_STEP,
    average_precision,
    average_precision_bounds,
    average_precisions,
    best_cut,
    confusion,
    count_scores,
    detection,
    mase_scale_kwh,
    own_f1,
    reliability,
)


def draw(seed: int, windows: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.random((windows, 3)) < 0.2
    labels[0] = True
    logits = np.clip(random.normal(size=labels.shape) * 2 + labels, -9, 9)
    rounded = np.rint(logits / SCORE_STEP) * SCORE_STEP
    return rounded.astype(np.float32), labels.astype(np.float32)


def unrounded(seed: int, windows: int, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Scores as they come, or some dozen different ones, beyond the limits too, with surges of some of them."""
    random = np.random.default_rng(seed)
    labels = (random.random((windows, 3)) < random.choice([0.05, 0.2, 0.9])).astype(np.float32)
    logits = random.normal(size=labels.shape) * random.choice([0.03, 2, 9]) + labels
    if ties:
        logits = random.choice(np.round(random.normal(size=12) * 2, 2), labels.shape)
    return logits.astype(np.float32), labels


@given(seed=st.integers(0, 10_000), windows=st.integers(1, 300), ties=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_households_own_average_precision_is_what_sklearn_says_to_the_last_digits(
    seed: int, windows: int, ties: bool
) -> None:
    logits, labels = unrounded(seed, windows, ties=ties)
    found = average_precisions(logits, labels)
    scores = [*((logits[:, slot], labels[:, slot]) for slot in range(2)), (logits[:, :2], labels[:, :2])]
    for own, (given_scores, surges) in zip(found, [*scores, (logits[:, 2], labels[:, 2])], strict=True):
        if surges.any():
            assert own == pytest.approx(average_precision_score(surges.ravel(), given_scores.ravel()), rel=1e-12)
        else:
            assert np.isnan(own)


@given(seed=st.integers(0, 10_000), windows=st.integers(1, 300), ties=st.booleans())
@settings(max_examples=60, deadline=None)
def test_bounds_of_a_pooled_average_precision_hold_what_sklearn_says_of_the_unrounded_scores(
    seed: int, windows: int, ties: bool
) -> None:
    logits, labels = unrounded(seed, windows, ties=ties)
    logits = np.clip(logits, -SCORE_LIMIT, SCORE_LIMIT)
    counts = count_scores(logits, labels)
    found, (least, most) = average_precision(counts), average_precision_bounds(counts)
    for output in range(3):
        if labels[:, output].any():
            exact = average_precision_score(labels[:, output], logits[:, output])
            assert least[output] - 1e-9 <= exact <= most[output] + 1e-9
            assert least[output] - 1e-9 <= found[output] <= most[output] + 1e-9


def test_bounds_of_a_pooled_average_precision_are_reached() -> None:
    # One step that holds two surges and two others, in the worst and in the best order.
    counts = count_scores(np.full((4, 1), 0.01, np.float32), np.array([[1], [1], [0], [0]], np.float32))
    least, most = average_precision_bounds(counts)
    worst = average_precision_score([1, 1, 0, 0], [1, 2, 3, 4])
    best = average_precision_score([1, 1, 0, 0], [2, 2, 1, 1])
    assert (float(least[0]), float(most[0])) == pytest.approx((worst, best))


@given(seed=st.integers(0, 10_000), items=st.integers(1, 7), above=st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_a_pooled_average_precision_is_the_mean_over_all_orders_within_a_step(seed, items, above) -> None:
    random = np.random.default_rng(seed)
    below = random.permutation([True, *(random.random(items - 1) < 0.5)])
    labels = np.concatenate([random.random(above) < 0.5, below])
    logits = np.where(np.arange(len(labels)) < above, 1.0, 0.0)[:, None].astype(np.float32)
    counts = count_scores(logits, labels[:, None].astype(np.float32))
    first = [
        average_precision_score([*one, *other], -np.arange(len(labels)))
        for one in set(permutations(labels[:above].tolist()))
        for other in set(permutations(labels[above:].tolist()))
    ]
    assert average_precision(counts)[0] == pytest.approx(np.mean(first))


def test_a_pooled_average_precision_is_nearer_than_a_thousandth_where_households_have_many_windows() -> None:
    random = np.random.default_rng(1)
    logits = (random.normal(size=(50_000, 1)) * 1.2 - 2.2).astype(np.float32)
    labels = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    counts = count_scores(logits, labels)
    exact = average_precision_score(labels[:, 0], logits[:, 0])
    least, most = average_precision_bounds(counts)
    assert average_precision(counts)[0] == pytest.approx(exact, abs=0.001)
    assert 0.01 < most[0] - least[0] < 0.03


@given(seed=st.integers(0, 10_000), windows=st.integers(1, 300))
@settings(max_examples=8, deadline=None)
def test_the_cut_gives_the_highest_f1_that_any_cut_gives(seed: int, windows: int) -> None:
    logits, labels = draw(seed, windows)
    counts = count_scores(logits, labels)[0]
    cut = best_cut(counts)
    bins = np.rint((logits[:, 0] + SCORE_LIMIT) / SCORE_STEP)
    every = [f1_score(labels[:, 0], bins >= at, zero_division=0) for at in np.unique(bins)]
    assert f1_score(labels[:, 0], bins >= cut, zero_division=0) == pytest.approx(max(every))


def test_precision_recall_f1_and_accuracy_are_what_sklearn_says() -> None:
    logits, labels = draw(3, 400)
    counts = count_scores(logits, labels)[:1]
    cut = best_cut(counts[0])
    found = detection(confusion(counts, cut), counts, average_precisions(logits, labels)[:1], Resampler.of(1, 1, "x"))
    said = np.rint((logits[:, 0] + SCORE_LIMIT) / SCORE_STEP) >= cut
    precision, recall, f1, _ = precision_recall_fscore_support(labels[:, 0], said, average="binary")
    assert (found.precision.value, found.recall.value, found.f1.value) == pytest.approx((precision, recall, f1))
    assert found.accuracy.value == pytest.approx((labels[:, 0] == said).mean())
    assert np.isnan([found.f1.low, found.f1.high]).all()  # of one household nothing is known of others


def test_figures_of_households_are_means_of_their_own_and_those_without_a_surge_are_left_out() -> None:
    drawn = [draw(seed, 300) for seed in (1, 2, 3)]
    drawn[2] = (drawn[2][0], np.zeros_like(drawn[2][1]))
    counts = np.stack([count_scores(logits, labels)[0] for logits, labels in drawn])
    cut = best_cut(counts.sum(0))
    exact = np.array([average_precisions(logits, labels)[0] for logits, labels in drawn])
    found = detection(confusion(counts, cut), counts, exact, Resampler.of(3, 1, "x"))
    own = [
        (f1_score(labels[:, 0], np.rint((logits[:, 0] + SCORE_LIMIT) / SCORE_STEP) >= cut),
         average_precision_score(labels[:, 0], logits[:, 0]))
        for logits, labels in drawn[:2]
    ]  # fmt: skip
    assert found.household_f1.value == pytest.approx(np.mean([f1 for f1, _ in own]))
    assert found.household_average_precision.value == pytest.approx(np.mean([ap for _, ap in own]))


@pytest.mark.parametrize("ties", [True, False])
def test_the_brier_score_is_what_sklearn_says_but_for_the_rounding_of_scores(ties) -> None:
    logits, labels = unrounded(5, 4000, ties=ties)
    counts = count_scores(logits, labels)[:1]
    found = detection(confusion(counts, best_cut(counts[0])), counts, None, Resampler.of(1, 1, "x"))
    chances = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
    assert found.brier.value == pytest.approx(brier_score_loss(labels[:, 0], chances), abs=2e-3)


def test_reliability_is_how_often_a_surge_came_by_tenths_of_its_chance() -> None:
    drawn = [draw(seed, 400) for seed in (1, 2, 3)]
    found = reliability(np.stack([count_scores(*one)[0] for one in drawn]), Resampler.of(3, 1, "x"))
    logits, labels = (np.concatenate([one[part][:, 0] for one in drawn]).astype(np.float64) for part in (0, 1))
    chances = 1 / (1 + np.exp(-logits))
    tenths = np.floor(chances * 10)
    assert [one.windows for one in found] == [int((tenths == t).sum()) for t in np.unique(tenths)]
    for one, tenth in zip(found, np.unique(tenths), strict=True):
        assert one.said == pytest.approx(chances[tenths == tenth].mean(), abs=1e-6)
        assert one.observed.value == pytest.approx(labels[tenths == tenth].mean())
        assert not one.observed.high > 1
    # A chance of a half is the lowest of the sixth tenth, whatever float says.
    even = reliability(count_scores(np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)), Resampler.of(1, 1, "x"))
    assert [(one.windows, one.said) for one in even] == [(1, 0.5)]


def test_a_gain_over_the_usual_share_is_that_of_each_households_own_f1_with_a_paired_interval() -> None:
    random = np.random.default_rng(3)
    surges = random.integers(20, 60, 40)
    usual_hits = (surges * random.uniform(0.1, 0.9, 40)).astype(np.int64)
    hits = np.minimum(usual_hits + 1, surges)
    surges[0] = hits[0] = usual_hits[0] = 0  # without a surge: not counted

    def confusions(found: np.ndarray) -> np.ndarray:
        return np.stack([found, np.full(40, 5), surges - found, np.full(40, 900)], axis=1)

    ours, usual = confusions(hits), confusions(usual_hits)
    figures = detection(ours, None, None, Resampler.of(40, 1, "x"), own_f1(usual))
    gains = [
        2 * a[0] / (2 * a[0] + a[1] + a[2]) - 2 * b[0] / (2 * b[0] + b[1] + b[2])
        for a, b in zip(ours, usual, strict=True)
        if a[0]
    ]
    gain = figures.household_f1_above_usual
    assert len(gains) == 39
    assert gain.value == pytest.approx(np.mean(gains))
    assert 0 < gain.low < gain.value < gain.high
    # Households differ much more than the two methods do within each of them.
    assert figures.household_f1.high - figures.household_f1.low > 5 * (gain.high - gain.low)
    worse = detection(usual, None, None, Resampler.of(40, 1, "x"), own_f1(ours)).household_f1_above_usual
    assert (worse.value, worse.high < 0) == (pytest.approx(-gain.value), True)
    assert np.isnan(detection(ours, None, None, Resampler.of(40, 1, "x")).household_f1_above_usual.value)


def test_scores_beyond_the_limits_are_counted_at_them() -> None:
    counts = count_scores(np.array([[50.0], [-50.0]], np.float32), np.array([[1.0], [0.0]], np.float32))
    assert counts[0, 1, -1] == 1
    assert counts[0, 0, 0] == 1
    assert counts.sum() == 2


def test_detection_without_any_surge_is_not_defined_rather_than_wrong() -> None:
    counts = count_scores(np.zeros((5, 1), np.float32), np.zeros((5, 1), np.float32))
    found = detection(confusion(counts, 401), counts, np.array([np.nan]), Resampler.of(1, 1, "x"))
    assert np.isnan([found.precision.value, found.recall.value, found.average_precision.value]).all()
    assert found.accuracy.value == 1


def test_mase_divides_by_the_training_periods_mean_change_from_the_day_before(households) -> None:
    household = households[0]
    small = dataclasses.replace(household, observed=np.ones_like(household.observed))
    small.observed[30] = False
    end = household.slot(household.meta.train_end)
    by_hand = [abs(float(household.kwh[t]) - float(household.kwh[t - 12])) for t in range(12, end) if t not in (30, 42)]
    assert mase_scale_kwh(small) == pytest.approx(np.mean(by_hand))


def test_mase_of_a_household_that_never_changes_is_not_defined(households) -> None:
    flat = dataclasses.replace(households[0], kwh=np.ones_like(households[0].kwh))
    assert np.isnan(mase_scale_kwh(flat))
