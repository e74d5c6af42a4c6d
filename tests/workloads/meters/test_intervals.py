"""Intervals cover what they say, also with few households: by simulation, and by scipy."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from neurogrid.workloads.meters.evaluation.intervals import Figure, Resampler, share


def draws(households: int, times: int, seed: int) -> np.ndarray:
    """As skewed as households' errors are: most small, a few large."""
    return np.random.default_rng(seed).lognormal(-2.2, 0.6, (times, households))


def covered(found: list[Figure], truth: float) -> float:
    """Of those that say something: an interval without ends claims nothing, and has to be rare."""
    said = [figure for figure in found if math.isfinite(figure.high)]
    assert len(said) > 0.9 * len(found)
    return float(np.mean([figure.low <= truth <= figure.high for figure in said]))


@pytest.mark.parametrize("households", [5, 19])
def test_intervals_of_a_mean_cover_95_percent(households: int) -> None:
    resampler = Resampler.of(households, 1, "simulated")
    found = [resampler.mean(values) for values in draws(households, 400, households)]
    assert 0.92 <= covered(found, math.exp(-2.2 + 0.18)) <= 0.985


@pytest.mark.parametrize("households", [5, 19])
def test_intervals_of_a_ratio_cover_95_percent(households: int) -> None:
    """A method's error over another's, household by household nearly in step."""
    than = draws(households, 400, households + 1)
    own = than * np.random.default_rng(9).normal(0.94, 0.05, than.shape)
    resampler = Resampler.of(households, 2, "simulated")
    found = [resampler.ratio(one, other) for one, other in zip(own, than, strict=True)]
    assert 0.92 <= covered(found, 0.94) <= 0.985


def test_percentiles_would_not_have() -> None:
    """What these intervals took the place of."""
    resampler = Resampler.of(5, 1, "simulated")
    found = []
    for values in draws(5, 400, 5):
        low, high = np.percentile(resampler.counts @ values / 5, [2.5, 97.5])
        found.append(Figure(float(values.mean()), low, high))
    assert covered(found, math.exp(-2.2 + 0.18)) < 0.88


@pytest.mark.parametrize("households", [19])
def test_intervals_of_a_median_cover_95_percent(households: int) -> None:
    resampler = Resampler.of(households, 3, "simulated")
    found = [resampler.median(values) for values in draws(households, 400, households)]
    assert 0.91 <= covered(found, math.exp(-2.2)) <= 0.985


@given(n=st.integers(1, 60), data=st.data())
def test_intervals_of_a_share_are_those_of_clopper_and_pearson(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    found = share(np.array([1.0] * hits + [0.0] * (n - hits) + [math.nan]))
    wanted = stats.binomtest(hits, n).proportion_ci(method="exact")
    assert found.value == pytest.approx(hits / n)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_all_of_five_is_no_certainty() -> None:
    assert share(np.ones(5)).low == pytest.approx(0.478, abs=0.001)
    assert share(np.zeros(60)).high == pytest.approx(0.060, abs=0.001)
    assert math.isnan(share(np.array([math.nan])).value)


def test_intervals_depend_on_seed_and_group_alone_and_hold_the_mean() -> None:
    values = np.random.default_rng(2).gamma(2, 1, 60)
    one, same, other = (Resampler.of(60, seed, "g").mean(values) for seed in (1, 1, 2))
    assert one == same
    assert one.low < values.mean() < one.high
    assert one != other
    # About 2 x 1.96 standard errors wide.
    assert one.high - one.low == pytest.approx(3.92 * values.std() / np.sqrt(60), rel=0.2)


def test_households_without_a_value_are_left_out() -> None:
    values = np.array([1.0, np.nan, 3.0, 2.0, 2.5, np.nan, 1.5, 2.0])
    resampler = Resampler.of(8, 1, "g")
    found = resampler.mean(values)
    assert found.value == pytest.approx(2)
    assert 1 < found.low < 2 < found.high < 3.5
    assert resampler.median(values).value == pytest.approx(2)


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0]])
def test_where_nothing_varies_there_is_no_interval(values: list[float]) -> None:
    found = Resampler.of(len(values), 1, "g").mean(np.array(values))
    assert found.value == values[0]
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@example(values=[0.0, 4e-112], than=1.0)
@given(
    values=st.lists(st.floats(0, 1e6) | st.just(math.nan), min_size=1, max_size=8),
    than=st.floats(1e-6, 1e6),
)
def test_an_interval_holds_its_value_or_is_none(values: list[float], than: float) -> None:
    own = np.array(values)
    resampler = Resampler.of(len(own), 1, "g")
    known = np.where(np.isnan(own), 0, own)
    hits = (known > 1).astype(float)
    for figure in (
        resampler.mean(own),
        resampler.median(own),
        resampler.ratio(known, np.full(len(own), than)),
        resampler.ratio(known - known.mean(), np.full(len(own), than), least=-math.inf),
        resampler.ratio(hits, np.ones(len(own)), most=1),
    ):
        assert math.isnan(figure.low) or figure.low <= figure.value * (1 + 1e-9) + 1e-9
        assert math.isnan(figure.high) or figure.high >= figure.value * (1 - 1e-9) - 1e-9


def test_no_figure_without_households() -> None:
    assert math.isnan(Resampler.of(0, 1, "g").mean(np.empty(0)).value)
    assert math.isnan(Resampler.of(2, 1, "g").median(np.array([np.nan, np.nan])).value)


def test_an_interval_that_says_nothing_is_not_shown() -> None:
    assert Figure(-10.6, -33.0, 1.57e17).words(1, "%") == "-10.6%"
    assert Figure(0.1, math.nan, math.nan).words(1) == Figure(0.1, 0.0, math.inf).words(1) == "0.1"
    assert Figure(-0.0004, -5.0, 5.0).words(1, "%") == "-0.0% (-5.0 to 5.0)"
