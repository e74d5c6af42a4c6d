"""Epsilon is dp-accounting's, asked here by hand, and the noise that is found is the least that keeps to it."""

import math
from dataclasses import replace

import dp_accounting
import numpy as np
import pytest
from dp_accounting import pld, rdp
from scipy import stats

from neurogrid.errors import UsageError
from neurogrid.fl.privacy import PrivacyPlan
from neurogrid.privacy.accounting import affordable, classic_noise, composed, delta_for, epsilon, noise_for

PLAN = PrivacyPlan("central", 1.0, 3.0, "poisson", 61, 15, 3.0, 1e-5, 60)
GAUSS = dp_accounting.GaussianDpEvent


def by_hand(accountant, event, count):
    accountant.compose(event, count)
    return accountant.get_epsilon(1e-5)


@pytest.mark.parametrize("rounds", [1, 20])
def test_poisson_sampling_is_accounted_for_with_its_amplification(rounds):
    sampled = dp_accounting.PoissonSampledDpEvent(15 / 61, GAUSS(3.0))
    tight = by_hand(pld.PLDAccountant(), sampled, rounds)
    assert epsilon(PLAN, rounds) == pytest.approx(tight, abs=1e-3)
    renyi = epsilon(replace(PLAN, accountant="rdp"), rounds)
    assert renyi == pytest.approx(by_hand(rdp.RdpAccountant(), sampled, rounds), abs=1e-3)
    assert renyi > tight


def test_with_all_agents_in_each_round_there_is_nothing_to_amplify():
    everyone = replace(PLAN, agents_per_round=61, noise_multiplier=20.0)
    assert epsilon(everyone, 60) == pytest.approx(by_hand(pld.PLDAccountant(), GAUSS(20.0), 60), abs=1e-3)


@pytest.mark.parametrize("plan", [replace(PLAN, sampling="fixed"), replace(PLAN, mode="local")])
def test_a_fixed_number_and_local_noise_are_accounted_for_as_if_all_had_part_and_one_were_replaced(plan):
    own = pld.PLDAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_ONE)
    assert epsilon(replace(plan, noise_multiplier=9.0), 10) == pytest.approx(by_hand(own, GAUSS(9.0), 10), abs=1e-3)
    assert "replaced" in plan.guarantee


def test_one_gaussian_release_is_what_its_exact_formula_says():
    """Balle and Wang 2018, theorem 8: delta of the Gaussian mechanism at an epsilon."""
    plan = replace(PLAN, agents_per_round=61, noise_multiplier=2.0)
    found = epsilon(plan, 1)
    a, b = 1 / (2 * 2.0), found * 2.0
    assert stats.norm.cdf(a - b) - math.exp(found) * stats.norm.cdf(-a - b) == pytest.approx(1e-5, rel=0.01)


@pytest.mark.slow
def test_steps_on_windows_are_accounted_for_one_by_one():
    plan = replace(PLAN, mode="example", noise_multiplier=1.0, example_rate=0.01, steps=40)
    step = dp_accounting.PoissonSampledDpEvent(0.01, GAUSS(1.0))
    assert epsilon(plan, 5) == pytest.approx(by_hand(pld.PLDAccountant(), step, 200), abs=1e-3)


@pytest.mark.parametrize("budget", [1.0, *(pytest.param(budget, marks=pytest.mark.slow) for budget in (3.0, 10.0))])
def test_the_noise_that_is_found_is_the_least_that_lasts_for_all_rounds(budget):
    plan = replace(PLAN, epsilon=budget)
    noise = noise_for(plan, 6)
    assert 0.998 * budget < epsilon(replace(plan, noise_multiplier=noise), 6) <= budget


@pytest.mark.slow
def test_a_noise_that_is_given_pays_for_as_many_rounds_as_stay_within_the_budget():
    plan = replace(PLAN, epsilon=2.0)
    rounds = affordable(plan, 60)
    assert 1 < rounds < 60
    assert epsilon(plan, rounds) <= 2.0 < epsilon(plan, rounds + 1)
    assert affordable(plan, rounds - 1) == rounds - 1
    assert affordable(replace(plan, noise_multiplier=0.5), 60) == 0


def test_a_budget_that_no_noise_keeps_is_refused_in_words():
    with pytest.raises(UsageError, match="no noise keeps"):
        noise_for(replace(PLAN, epsilon=1e-7), 60)


def test_the_classic_formula_by_hand():
    # S = 2, epsilon = 0.5, delta = 1e-5: 2 * sqrt(2 ln 125000) / 0.5 = 4 * 4.844805...
    assert classic_noise(2.0, 0.5, 1e-5) == pytest.approx(4 * math.sqrt(2 * math.log(125000)), rel=1e-12)
    assert classic_noise(1.0, 1.0, 1e-5) == pytest.approx(4.8448, abs=1e-4)
    for wrong in (0.0, 1.01, -1.0):
        with pytest.raises(ValueError, match="epsilon <= 1"):
            classic_noise(1.0, wrong, 1e-5)


def test_the_classic_formula_keeps_its_word_for_one_round_and_not_for_many():
    plan = replace(PLAN, agents_per_round=61, noise_multiplier=classic_noise(1.0, 1.0, 1e-5))
    assert epsilon(plan, 1) < 1.0 < epsilon(plan, 60)


def test_plans_of_several_runs_compose_to_less_than_their_sum_and_more_than_each():
    other = replace(PLAN, mode="local", noise_multiplier=30.0)
    one, two = epsilon(PLAN, 30), epsilon(other, 10)
    assert max(one, two) < composed([(PLAN, 30), (other, 10)], 1e-5) < one + two
    assert composed([], 1e-5) == 0.0


def test_delta_is_far_below_one_over_the_number_of_agents():
    for agents in (10, 61, 10_000, 10**6):
        assert delta_for(agents) * agents < 0.4
    assert delta_for(61) == 1e-5
    assert delta_for(10**6) == pytest.approx(10**-6.6)


def test_noise_of_a_tests_seed_promises_nothing():
    assert epsilon(replace(PLAN, test_seed=1), 1) == math.inf
    assert np.isfinite(noise_for(replace(PLAN, test_seed=1), 2))
