"""Robust rules beside byzfl's, beside numpy, and beside what they promise whatever the attackers send."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from neurogrid.fl.aggregate import Aggregate, average
from neurogrid.fl.built_in import RULES
from neurogrid.fl.registry import BUILT_IN, NothingToTrimError, TooFewAgentsError
from neurogrid.fl.rows import BLOCK_COLUMNS

SHAPES = [(9, 3, 7), (15, 3, 500), (11, 4, 64), (25, 1, 30), (13, 5, BLOCK_COLUMNS + 37)]
ROBUST = sorted(set(RULES) - {"mean"})


def in_one_district(deltas: np.ndarray, f: int, rule: str) -> Aggregate:
    n = len(deltas)
    return aggregate(deltas, np.ones(n), np.zeros(n, np.int64), f, RULES[rule])


def aggregate(deltas, weights, districts, f, rule) -> Aggregate:
    return average(rule(deltas, f), weights, districts)


def draw(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
@pytest.mark.parametrize("rule", ["mean", "median", "trimmed_mean", "krum", "multi_krum"])
def test_each_rule_gives_what_byzfl_gives(byzfl, rule, n, f, d):
    theirs = {
        "mean": byzfl.Average(),
        "median": byzfl.Median(),
        "trimmed_mean": byzfl.TrMean(f),
        "krum": byzfl.Krum(f),
        "multi_krum": byzfl.MultiKrum(f),
    }
    deltas = draw(n, d, seed=n * d)
    deltas[-f:] *= 30
    expected = theirs[rule](deltas.astype(np.float64))
    np.testing.assert_allclose(in_one_district(deltas, f, rule).delta, expected, rtol=1e-5, atol=1e-6)


@given(
    values=st.lists(st.lists(st.integers(-2, 2), min_size=5, max_size=5), min_size=9, max_size=14), f=st.integers(1, 3)
)
@settings(max_examples=100, deadline=None)
def test_ties_are_trimmed_as_often_as_scipy_trims_them(values, f):
    deltas = np.array(values, np.float32)
    result = in_one_district(deltas, f, "trimmed_mean")
    np.testing.assert_allclose(result.delta, stats.trim_mean(deltas, f / len(deltas) + 1e-9, axis=0), atol=1e-6)
    assert (1 - result.scores).sum() == pytest.approx(len(deltas) - 2 * f)


@given(values=st.lists(st.lists(st.integers(-2, 2), min_size=4, max_size=4), min_size=3, max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_median_of_tied_values_is_numpys(values):
    deltas = np.array(values, np.float32)
    np.testing.assert_allclose(in_one_district(deltas, 1, "median").delta, np.median(deltas, axis=0), atol=1e-6)


@given(seed=st.integers(0, 10**6), rule=st.sampled_from(sorted(RULES)), tied=st.booleans())
@settings(max_examples=120, deadline=None)
def test_the_order_of_agents_does_not_matter(seed, rule, tied):
    rng = np.random.default_rng(seed)
    n, f = 13, 3
    deltas = draw(n, 40, seed)
    if rule == "bulyan":
        n, f = 15, 3
        deltas = draw(n, 40, seed)
    if tied and rule in ("median", "trimmed_mean"):
        deltas = np.round(deltas, 1)
    weights, districts, order = rng.uniform(1, 5, n), rng.integers(0, 3, n), rng.permutation(n)
    one = aggregate(deltas, weights, districts, f, RULES[rule])
    other = aggregate(deltas[order], weights[order], districts[order], f, RULES[rule])
    np.testing.assert_allclose(one.delta, other.delta, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one.share[order], other.share, atol=1e-9)
    assert (one.accepted[order] == other.accepted).all()


def test_a_coordinate_that_everybody_left_alone_speaks_for_nobody():
    deltas = draw(11, 100)
    deltas[:, :80] = 0
    for rule in ("median", "trimmed_mean"):
        result = in_one_district(deltas, 2, rule)
        kept = (1 - result.scores) - 0.8 * (7 / 11 if rule == "trimmed_mean" else 1 / 11)
        alone = in_one_district(deltas[:, 80:].copy(), 2, rule)
        np.testing.assert_allclose(kept, 0.2 * (1 - alone.scores), atol=1e-9)


@given(
    seed=st.integers(0, 10**6),
    sent=st.lists(st.floats(-(2.0**127), 2.0**127, width=32), min_size=3, max_size=3),
    rule=st.sampled_from(["median", "trimmed_mean"]),
)
@settings(max_examples=150, deadline=None)
def test_no_attacker_moves_a_coordinate_beyond_the_honest_ones(seed, sent, rule):
    honest = draw(10, 12, seed)
    deltas = np.vstack([np.full((1, 12), np.float32(value)) for value in sent] + [honest])
    order = np.random.default_rng(seed).permutation(13)
    weights = np.random.default_rng(seed).uniform(1, 3, 13)
    delta = aggregate(deltas[order], weights, np.arange(13) % 3, 3, RULES[rule]).delta
    assert (delta >= honest.min(axis=0) - 1e-5).all()
    assert (delta <= honest.max(axis=0) + 1e-5).all()


@pytest.mark.parametrize("rule", ["krum", "multi_krum"])
def test_krum_scores_are_highest_for_far_updates_and_far_updates_are_dropped(rule):
    deltas = draw(12, 50)
    deltas[[2, 5]] += 10
    result = in_one_district(deltas, 2, rule)
    assert set(np.argsort(result.scores)[-2:].tolist()) == {2, 5}
    assert not result.accepted[[2, 5]].any()
    assert result.accepted.sum() == (1 if rule == "krum" else 10)
    assert result.share[[2, 5]].sum() == 0


@pytest.mark.parametrize("rule", ["trimmed_mean", "krum", "multi_krum"])
def test_fewer_than_2f_plus_3_agents_are_refused_with_the_numbers(rule):
    with pytest.raises(TooFewAgentsError, match=r"f = 4 malicious agents needs at least 11 agents, got 10"):
        BUILT_IN[rule].refuse(10, 4)
    BUILT_IN[rule].refuse(11, 4)


def test_a_median_without_an_honest_majority_is_refused_with_the_numbers():
    with pytest.raises(
        TooFewAgentsError, match=r"the median of each weight with f = 4 malicious agents needs .* 9 agents"
    ):
        BUILT_IN["median"].refuse(8, 4)
    BUILT_IN["median"].refuse(9, 4)


@pytest.mark.parametrize("rule", ["trimmed_mean", "caf", "bulyan"])
def test_trimming_nobody_is_never_a_silent_mean(rule):
    with pytest.raises(NothingToTrimError, match="use the rule mean instead"):
        BUILT_IN[rule].refuse(12, 0)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_rule_leaves_the_deltas_as_they_were_sent(rule):
    deltas = draw(11, 20)
    before = deltas.copy()
    in_one_district(deltas, 2, rule)
    assert (deltas == before).all()
