"""An attack on the claim: canaries whose presence an adversary tells from the model's weights.

The adversary of central privacy sees every model, knows all other agents, and chooses what the canary sends. Its rates
of error give a lower bound on epsilon, with 99% confidence (Clopper and Pearson 1934; Jagielski et al. 2020,
arXiv:2006.07709). It has to lie below what is claimed, and above it where the noise is broken on purpose: an audit
that finds nothing broken would prove nothing.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.pipeline import AggregationSettings, make_stages, run_stages
from neurogrid.fl.privacy import PrivacyPlan
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.stages import Asked
from neurogrid.fl.state import State
from neurogrid.fl.update import Phases, RoundResult, Update
from neurogrid.privacy.accounting import epsilon, noise_for

HONEST, CANARIES, ROUNDS, RUNS = 10, 60, 2, 60
D = 4 + CANARIES
"""A linear model of four weights that honest agents train, and one direction for each canary."""
SPEC = Spec((Span("w", (D,), 0, D),))
AGENTS = tuple(f"A{i:03}" for i in range(HONEST + CANARIES))
CLAIM = PrivacyPlan("central", 1.0, 0.0, "poisson", len(AGENTS), len(AGENTS), 2.0, 1e-5, ROUNDS)
SETTINGS = AggregationSettings("mean", 0.0, 1.0, 1, ClipSettings("none", "update", 1.0), 0.0, 1.0)
FEATURES = np.random.default_rng(5).normal(0, 1, (HONEST, 20, 4))
TARGETS = FEATURES @ np.array([1.0, -2.0, 0.5, 0.0]) + np.random.default_rng(6).normal(0, 0.1, (HONEST, 20))


@pytest.fixture(scope="module")
def claimed() -> PrivacyPlan:
    """A plan whose claim is that of its accounting; all agents are in each round, so that nothing helps the noise."""
    return replace(CLAIM, noise_multiplier=noise_for(CLAIM, ROUNDS))


def scores(plan: PrivacyPlan, random: np.random.Generator, send: float = 1e3) -> tuple[np.ndarray, np.ndarray]:
    """Of every canary of every run, whether it had part, and how far the model went its way; orthogonal, so that each
    is a game of its own."""
    there = random.random((RUNS, CANARIES)) < 0.5
    went = np.zeros((RUNS, CANARIES))
    for run in range(RUNS):
        # A seed for each run, so that the test does not fail once in a hundred times.
        stages = make_stages(SETTINGS, 1, replace(plan, test_seed=run))
        state = State.start(np.zeros(D, np.float32))
        for number in range(1, ROUNDS + 1):
            deltas = np.zeros((len(AGENTS), D), np.float32)
            error = FEATURES @ state.weights[:4] - TARGETS
            deltas[:HONEST, :4] = -0.1 * np.einsum("ij,ijk->ik", error, FEATURES) / 20
            deltas[HONEST + np.arange(CANARIES), 4 + np.arange(CANARIES)] = send
            rows = np.array([*range(HONEST), *(HONEST + np.flatnonzero(there[run]))])
            updates = tuple(Update(AGENTS[row], deltas[row], 100, {}) for row in rows)
            result = RoundResult(updates, deltas[rows], {}, Phases(0, 0, 0))
            asked = Asked(AGENTS, dict.fromkeys(AGENTS, 0), SPEC)
            state = state.with_(run_stages(stages, result, asked, state).slots, round=number)
        went[run] = state.weights[4:]
    return there, went


def lower_bound(there: np.ndarray, went: np.ndarray, delta: float) -> float:
    """Epsilon of at least so much, with 99% confidence; the threshold is chosen on one half and tried on the other."""
    half = len(there) // 2

    def bound(rows: slice, threshold: float, confidence: float) -> float:
        present, said = there[rows].ravel(), went[rows].ravel() > threshold
        hits, n, wrong, m = (present & said).sum(), present.sum(), (~present & said).sum(), (~present).sum()
        share = (1 - confidence) / 2
        caught = stats.beta.ppf(share, hits, n - hits + 1) if hits else 0.0
        false = stats.beta.ppf(1 - share, wrong + 1, m - wrong) if wrong < m else 1.0
        return math.log((caught - delta) / false) if caught > delta else 0.0

    tried = np.quantile(went[:half], np.linspace(0.05, 0.999, 60))
    best = max(tried, key=lambda threshold: bound(slice(0, half), threshold, 0.9))
    return bound(slice(half, None), best, 0.99)


def test_the_weights_give_away_no_more_than_is_claimed(claimed: PrivacyPlan) -> None:
    found = lower_bound(*scores(claimed, np.random.default_rng(1)), claimed.delta)
    assert 0.3 < found < epsilon(claimed, ROUNDS)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"noise_multiplier": 0.6}, id="too little noise"),
        pytest.param({"clip_norm": 8.0}, id="a clip that the noise does not know of"),
    ],
)
def test_the_attack_finds_noise_that_is_broken_on_purpose(claimed: PrivacyPlan, broken: dict[str, float]) -> None:
    fewer = replace(claimed, **broken)
    if "clip_norm" in broken:  # longer updates, under the noise of the clip that is claimed
        fewer = replace(fewer, noise_multiplier=claimed.noise_multiplier / broken["clip_norm"])
    assert lower_bound(*scores(fewer, np.random.default_rng(1)), claimed.delta) > epsilon(claimed, ROUNDS)


@pytest.mark.slow
def test_a_canary_that_sends_a_thousand_times_as_much_is_seen_no_better(claimed: PrivacyPlan) -> None:
    huge, unit = (scores(claimed, np.random.default_rng(1), send)[1] for send in (1e3, 1.0))
    np.testing.assert_allclose(huge, unit, atol=1e-4)
