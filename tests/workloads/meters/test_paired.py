"""Methods compared household by household: the test is scipy's, and no more is claimed than it bears."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from neurogrid.workloads.meters.evaluation.intervals import Resampler
from neurogrid.workloads.meters.evaluation.paired import compare, holm, wilcoxon


@given(st.lists(st.floats(-100, 100).filter(bool), min_size=1, max_size=40, unique_by=abs))
@settings(max_examples=60, deadline=None)
def test_the_test_is_scipys_exact_one_where_no_differences_are_equal(differences: list[float]) -> None:
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert wilcoxon(np.array(differences)) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9).filter(any))
@settings(max_examples=40, deadline=None)
def test_with_equal_differences_it_is_that_of_all_signs_there_can_be(differences: list[int]) -> None:
    some = np.array([d for d in differences if d], float)
    ranks = stats.rankdata(np.abs(some))
    sums = [sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in np.ndindex(*[2] * len(some))]
    seen = ranks[some > 0].sum()
    tails = np.mean(np.array(sums) <= seen), np.mean(np.array(sums) >= seen)
    assert wilcoxon(np.array(differences, float)) == pytest.approx(min(1, 2 * min(tails)))


@pytest.mark.parametrize("ties", [False, True])
def test_of_many_households_it_is_scipys_approximation(ties: bool) -> None:
    random = np.random.default_rng(2)
    differences = random.normal(size=1500) + 0.05
    differences = np.round(differences, 1) if ties else differences
    expected = stats.wilcoxon(differences, method="approx", correction=False).pvalue
    assert wilcoxon(differences) == pytest.approx(expected, rel=1e-9)
    less = differences[:200]
    assert wilcoxon(less) == pytest.approx(stats.wilcoxon(less, method="approx").pvalue, abs=0.005)


def test_without_any_difference_there_is_no_test() -> None:
    assert math.isnan(wilcoxon(np.zeros(5)))


def test_holms_correction_is_that_of_the_example_by_hand() -> None:
    # Four tests: the smallest is times 4, the next times 3 and so on, and none is below one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, math.nan, 0.6]) == pytest.approx([1.0, math.nan, 1.0], nan_ok=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
@settings(max_examples=60, deadline=None)
def test_a_corrected_p_value_is_below_a_level_where_holms_procedure_refuses(
    p_values: list[float], level: float
) -> None:
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    refused = set()
    for done, at in enumerate(order):
        if p_values[at] > level / (len(order) - done):
            break
        refused.add(at)
    corrected = holm(p_values)
    for at, p in enumerate(corrected):
        if abs(p - level) > 1e-9:
            assert (p <= level) == (at in refused)


def drawn(households: int) -> tuple[np.ndarray, np.random.Generator]:
    random = np.random.default_rng(4)
    return random.lognormal(-2, 0.8, households), random


def test_figures_are_those_of_the_households_by_hand() -> None:
    alone, random = drawn(25)
    ours = alone * (0.97 + 0.02 * random.normal(size=25))
    ours[3] = np.nan  # has no such model
    alone[7] = np.nan
    both = np.array([at not in (3, 7) for at in range(25)])
    (found,) = compare({"ours": ours, "alone": alone}, "ours", ["alone"], Resampler.of(25, 1, "x"))
    assert found.households == 23
    assert found.mae_change_percent.value == pytest.approx(100 * (ours[both].mean() / alone[both].mean() - 1))
    assert found.mae_change_percent.low < found.mae_change_percent.value < found.mae_change_percent.high < 0
    assert found.better_share.value == pytest.approx((ours < alone)[both].mean())
    changes = sorted((100 * (ours / alone - 1))[both])
    assert found.worst_tenth_percent == pytest.approx(np.mean(changes[-3:]))
    assert found.p_value == pytest.approx(stats.wilcoxon(ours[both], alone[both]).pvalue)
    assert found.corrected_p_value == found.p_value
    assert found.shown == "lower"


def test_a_difference_that_one_test_alone_would_show_is_not_claimed_among_many() -> None:
    rival, random = drawn(14)
    ours = rival * np.where(np.arange(14) < 11, 0.99, 1.003) * (1 + 0.001 * random.normal(size=14))
    others = {f"other {n}": ours * (1 + 0.01 * random.normal(size=14)) for n in range(9)}
    mae = {"ours": ours, "rival": rival, **others}
    resampler = Resampler.of(14, 1, "x")
    (alone,) = compare(mae, "ours", ["rival"], resampler)
    among = {pair.rival: pair for pair in compare(mae, "ours", ["rival", *others], resampler)}["rival"]
    assert alone.shown == "lower"
    assert among.p_value == alone.p_value < 0.05 <= among.corrected_p_value
    assert among.shown == ""


def test_of_five_households_nothing_can_be_shown() -> None:
    rival, _ = drawn(5)
    (found,) = compare({"ours": rival / 2, "rival": rival}, "ours", ["rival"], Resampler.of(5, 1, "x"))
    assert (found.p_value, found.shown) == (0.0625, "")


def test_nothing_is_claimed_where_the_means_say_the_contrary_of_the_ranks() -> None:
    # All small households gain a little; the largest loses more than all the others gain.
    rival = np.append(np.linspace(0.1, 0.2, 30), 5.0)
    ours = np.append(rival[:-1] - 0.001 * np.arange(1, 31) / 30, 5.5)
    (found,) = compare({"ours": ours, "rival": rival}, "ours", ["rival"], Resampler.of(31, 1, "x"))
    assert found.p_value < 0.001
    assert found.mae_change_percent.value > 0
    assert found.shown == ""


def test_a_method_that_no_household_has_twice_is_not_defined_rather_than_wrong() -> None:
    (found,) = compare(
        {"ours": np.array([1.0, np.nan]), "rival": np.array([np.nan, 1.0])}, "ours", ["rival"], Resampler.of(2, 1, "x")
    )
    assert (found.households, found.shown) == (0, "")
    assert np.isnan([found.p_value, found.corrected_p_value, found.mae_change_percent.value]).all()
