"""The weighted mean of what a rule kept: shares, capped weights, districts as a report, a slow oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogrid.fl import aggregate as module
from neurogrid.fl import threads as cores
from neurogrid.fl.aggregate import Aggregate, average, capped_weights, length
from neurogrid.fl.built_in import RULES
from neurogrid.fl.rows import Rows
from neurogrid.fl.rules import Verdict


def aggregate(deltas, weights, districts, f, rule) -> Aggregate:
    return average(rule(deltas, f), weights, districts)


def draw(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@given(seed=st.integers(0, 10**6), rule=st.sampled_from(sorted(RULES)), n=st.integers(15, 20))
@settings(max_examples=100, deadline=None)
def test_shares_sum_to_one_and_none_is_negative(seed, rule, n):
    rng = np.random.default_rng(seed)
    result = aggregate(draw(n, 30, seed), rng.uniform(0.1, 9, n), rng.integers(0, 4, n), 3, RULES[rule])
    assert result.share.sum() == pytest.approx(1)
    assert (result.share >= 0).all()


def keep_these(*rows: int):
    def rule(deltas: np.ndarray, f: int) -> Verdict:
        kept = np.isin(np.arange(len(deltas)), rows)
        return Verdict(Rows.of(deltas), kept, None, np.zeros(len(deltas)))

    return rule


def test_the_city_mean_is_the_weighted_mean_of_the_district_means():
    deltas, weights, districts = draw(7, 11), np.array([1, 2, 3, 4, 5, 6, 7.0]), np.array([0, 0, 1, 1, 3, 3, 3])
    result = aggregate(deltas, weights, districts, 0, keep_these(0, 2, 3, 4, 6))
    of_0 = deltas[0].astype(float)
    of_1 = (3 * deltas[2].astype(float) + 4 * deltas[3]) / 7
    of_3 = (5 * deltas[4].astype(float) + 7 * deltas[6]) / 12
    np.testing.assert_allclose(result.delta, (1 * of_0 + 7 * of_1 + 12 * of_3) / 20, rtol=1e-6, atol=1e-7)
    expected = {k: np.sqrt((m**2).sum()) for k, m in ((0, of_0), (1, of_1), (3, of_3))}
    assert result.district_norms == pytest.approx(expected)
    np.testing.assert_allclose(result.share, np.array([1, 0, 3, 4, 5, 0, 7]) / 20)


@pytest.mark.parametrize("columns_at_once", [7, 100])
def test_the_trimmed_city_mean_is_that_of_a_loop_over_entries(columns_at_once, monkeypatch):
    n, f, d = 9, 2, 23
    monkeypatch.setattr(module, "BLOCK_ENTRIES", columns_at_once * n)
    deltas, districts = draw(n, d), np.arange(n) % 3
    weights = np.random.default_rng(1).uniform(1, 4, n)
    result = aggregate(deltas, weights, districts, f, RULES["trimmed_mean"])
    shares, squares = np.zeros(n), np.zeros(3)
    for column in range(d):
        inside = [i for i in range(n) if f <= (deltas[:, column] < deltas[i, column]).sum() < n - f]
        total = sum(weights[i] for i in inside)
        city = 0.0
        for district in range(3):
            own = [i for i in inside if districts[i] == district]
            weight = sum(weights[i] for i in own)
            mean = sum(weights[i] * float(deltas[i, column]) for i in own) / weight if own else 0.0
            city += mean * weight / total
            squares[district] += mean**2
        for i in inside:
            shares[i] += weights[i] / total / d
        assert result.delta[column] == pytest.approx(city, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(result.share, shares)
    np.testing.assert_allclose([result.district_norms[k] for k in range(3)], np.sqrt(squares))


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_shares_are_those_with_which_the_deltas_make_the_mean(rule):
    # Rules that judge each coordinate have shares of each; with one coordinate the shares are its own.
    d = 1 if rule in ("median", "trimmed_mean", "bulyan") else 200
    deltas, weights = draw(11, d), np.random.default_rng(2).uniform(1, 4, 11)
    result = aggregate(deltas, weights, np.arange(11) % 2, 2, RULES[rule])
    np.testing.assert_allclose(result.share @ deltas, result.delta, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("odd", [-1, 10**9])
def test_a_district_is_a_label_and_no_bit_of_the_mean_depends_on_it(rule, odd):
    deltas, weights = draw(11, 300), np.random.default_rng(3).uniform(1, 4, 11)
    labelled = np.arange(11) % 3
    labelled[4:6] = odd
    one = aggregate(deltas, weights, np.zeros(11, np.int64), 2, RULES[rule])
    other = aggregate(deltas, weights, labelled, 2, RULES[rule])
    assert (one.delta.tobytes(), one.share.tobytes()) == (other.delta.tobytes(), other.share.tobytes())
    assert set(other.district_norms) == {0, 1, 2, odd}


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_same_updates_give_the_same_bits_whatever_the_number_of_threads(rule, monkeypatch):
    deltas, found = draw(60, 700), set()
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 60 * 100)
    monkeypatch.setattr(module, "SUMMED_COLUMNS", 100)
    for threads in (1, 2, 5):
        monkeypatch.setattr(cores, "_cores", lambda threads=threads: threads)
        result = aggregate(deltas, np.ones(60), np.arange(60) % 3, 12, RULES[rule])
        found.add((result.delta.tobytes(), result.share.tobytes(), str(result.district_norms)))
    assert len(found) == 1


def test_two_attackers_in_one_district_are_filtered_as_if_they_were_apart():
    deltas = draw(15, 40)
    deltas[:3] = 50
    together, apart = np.repeat([0, 1, 2], 5), np.tile([0, 1, 2], 5)
    for districts in (together, apart):
        result = aggregate(deltas, np.ones(15), districts, 3, RULES["multi_krum"])
        assert not result.accepted[:3].any()
        assert np.abs(result.delta).max() < 3


def test_claiming_a_thousand_million_windows_weighs_no_more_than_the_cap_times_the_median():
    honest = np.array([300, 310, 320, 330, 340, 350])
    weights = capped_weights(np.append(honest, 10**9), 2.0)
    assert weights[-1] == 2 * 330
    result = aggregate(draw(7, 5), weights, np.zeros(7, np.int64), 0, RULES["mean"])
    assert result.share[-1] == pytest.approx(660 / (honest.sum() + 660))


@given(
    st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=30),
    st.floats(1, 10),
)
def test_no_weight_exceeds_the_cap_times_the_median_and_those_below_stay(claimed, cap):
    windows = np.array(claimed, np.int64)
    limit = cap * np.median(windows)
    weights = capped_weights(windows, cap)
    assert (weights <= limit).all()
    assert (weights[windows <= limit] == windows[windows <= limit]).all()


def test_an_agent_counts_as_accepted_when_it_kept_half_of_what_an_average_one_keeps():
    deltas = draw(11, 4000)
    deltas[0] = 9
    result = aggregate(deltas, np.ones(11), np.zeros(11, np.int64), 2, RULES["trimmed_mean"])
    assert not result.accepted[0]
    assert result.scores[0] == 1
    assert result.accepted[1:].all()


def test_the_same_updates_give_the_same_bits_whatever_the_number_of_blas_threads():
    from threadpoolctl import threadpool_limits

    deltas = draw(15, 20_000)
    found = set()
    for threads in (1, 2):
        with threadpool_limits(threads):
            for rule in sorted(RULES):
                result = aggregate(deltas, np.ones(15), np.arange(15) % 3, 3, RULES[rule])
                found.add((rule, result.delta.tobytes(), str(result.district_norms), result.scores.tobytes()))
            found.add(("length", length(deltas[0])))
    assert len(found) == len(RULES) + 1
