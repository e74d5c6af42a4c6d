"""What the private stages promise: how far one agent can move the model, how much noise hides it, and that nothing that
the server does depends on who answered."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rounds import AGENTS, FEDERATION, SETTINGS, SPEC, Trainer, Watch

from neurogrid.backends.inline import InlineBackend
from neurogrid.fl.pipeline import make_stages, run_stages
from neurogrid.fl.privacy import CLIP_NORM, AgentNoise, Drawn, Noise, PrivacyPlan, PrivateMean, privatise
from neurogrid.fl.rounds import federate
from neurogrid.fl.stages import Asked, Batch
from neurogrid.fl.state import State
from neurogrid.fl.update import Phases, RoundResult, Update
from neurogrid.randomness import generator

PLAN = PrivacyPlan("central", 0.5, 2.0, "poisson", len(AGENTS), 15, 3.0, 1e-5, 6, test_seed=1)
D = SPEC.size


def result(deltas: np.ndarray) -> RoundResult:
    rows = np.array(deltas, np.float32).reshape(-1, D)
    windows = range(1, len(rows) + 1)
    updates = tuple(Update(AGENTS[i], row, 10**w, {}) for i, (row, w) in enumerate(zip(rows, windows, strict=True)))
    return RoundResult(updates, rows, {}, Phases(0, 0, 0))


def asked() -> Asked:
    return Asked(AGENTS, FEDERATION.districts, SPEC)


def mean_of(deltas: np.ndarray, plan: PrivacyPlan = PLAN) -> np.ndarray:
    batch = Batch.of(result(deltas), SPEC)
    passed = PrivateMean(plan)(batch, asked(), State.start(np.zeros(D, np.float32)))
    assert passed.batch.mean is not None
    return passed.batch.mean.delta


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10), st.floats(1e-3, 1e6), st.integers(0, 2**32))
def test_one_agent_moves_the_mean_by_the_clip_over_the_expected_number_whatever_it_sends(n, length, seed):
    rng = np.random.default_rng(seed)
    others = rng.normal(0, 3, (n, D))
    one = rng.normal(0, 1, D)
    one *= length / np.linalg.norm(one)
    moved = np.linalg.norm(mean_of(np.vstack([others, one])) - mean_of(others))
    limit = min(length, PLAN.clip_norm) / PLAN.divisor
    assert moved == pytest.approx(limit, rel=1e-3, abs=1e-6)


def test_an_agent_that_claims_a_million_windows_counts_as_much_as_any():
    deltas = np.eye(3, D)  # claims of 10, 100 and 1000 windows, see `result`
    assert mean_of(deltas)[:3] == pytest.approx([PLAN.clip_norm / PLAN.divisor] * 3)


def test_the_noise_has_the_standard_deviation_that_is_accounted_for_and_is_another_each_time():
    plan = replace(PLAN, test_seed=None)
    batch = replace(Batch.of(result(np.zeros((0, D))), SPEC))
    start = State.start(np.zeros(D, np.float32))
    mean = PrivateMean(plan)(batch, asked(), start).batch
    drawn = np.array([Noise(plan)(mean, asked(), start).batch.mean.delta for _ in range(400)])
    assert len({row.tobytes() for row in drawn}) == 400
    assert drawn.std() == pytest.approx(2.0 * 0.5 / 15, rel=0.05)
    assert drawn.mean() == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("n", [0, 1])
def test_a_round_of_few_or_no_answers_is_a_round_like_any_other(n):
    stages = make_stages(replace(SETTINGS.aggregation, min_agents=1), 1, PLAN)
    outcome = run_stages(stages, result(np.ones((n, D))), asked(), State.start(np.zeros(D, np.float32)))
    assert not outcome.void
    assert np.isfinite(outcome.slots["model"]).all()
    assert np.linalg.norm(outcome.slots["model"]) > 0


def test_what_is_not_finite_never_reaches_the_sum():
    bad = np.ones((2, D))
    bad[0, 3] = np.nan
    start = State.start(np.zeros(D, np.float32))
    with_bad = run_stages(make_stages(SETTINGS.aggregation, 1, PLAN), result(bad), asked(), start)
    assert with_bad.findings["reason"][AGENTS[0]] == "not finite"
    assert np.isfinite(with_bad.slots["model"]).all()


def test_each_agent_is_drawn_by_itself_with_the_chance_of_the_plan():
    plan = replace(PLAN, agents_per_round=5, test_seed=3)
    drawn = [Drawn(plan).choose(AGENTS, 5, State(number, {})).agents for number in range(2000)]
    counts, sizes = Counter(a for agents in drawn for a in agents), [len(agents) for agents in drawn]
    assert all(abs(counts[agent] / 2000 - 0.25) < 0.04 for agent in AGENTS)
    # Binomial, not fixed: variance n q (1 - q) = 3.75.
    assert np.var(sizes) == pytest.approx(3.75, rel=0.15)


def test_without_a_tests_seed_nobody_who_knows_the_config_knows_who_is_drawn():
    plan, state = replace(PLAN, agents_per_round=10, test_seed=None), State(0, {})
    assert len({Drawn(plan).choose(AGENTS, 10, state).agents for _ in range(20)}) > 1


def test_the_clip_follows_the_quantile_of_the_norms():
    plan = replace(PLAN, clip_norm=0.1, clip_quantile=0.5, clip_share=0.9, noise_multiplier=0.01)
    deltas = np.diag(np.linspace(1, 3, D))[:15]
    state = State.start(np.zeros(D, np.float32))
    for number in range(60):
        passed = PrivateMean(plan)(Batch.of(result(deltas), SPEC), asked(), state)
        state = state.with_(passed.slots, round=number + 1)
    norms = np.linspace(1, 3, D)[:15]
    assert state.json(CLIP_NORM) == pytest.approx(np.median(norms), rel=0.1)


@given(st.floats(0.3, 30), st.floats(0.01, 0.99))
def test_the_clips_share_and_the_updates_noise_make_one_gaussian_of_the_plans_multiplier(noise, share):
    plan = replace(PLAN, noise_multiplier=noise, clip_quantile=0.5, clip_share=share)
    together = 1 / plan.update_noise**2 + (1 / 2) ** 2 / plan.count_noise**2
    assert together == pytest.approx(1 / noise**2)


def test_an_update_leaves_its_agent_clipped_and_noisy():
    rng = np.random.default_rng(1)
    long = np.full(D, 100.0, np.float32)
    drawn = np.array([privatise(long, 0.5, 2.0, rng) for _ in range(3000)])
    assert np.linalg.norm(drawn.mean(axis=0)) == pytest.approx(0.5, rel=0.2)
    assert (drawn - drawn.mean(axis=0)).std() == pytest.approx(1.0, rel=0.02)
    nan = np.full(D, np.nan, np.float32)
    assert np.isfinite(privatise(nan, 0.5, 2.0, rng)).all()


def test_an_agent_that_is_asked_twice_in_a_round_has_the_same_noise_and_after_a_kill_another():
    plan = replace(PLAN, mode="local", test_seed=None)
    drawn = [AgentNoise(plan, key).stream("A00", number).normal() for key, number in ((5, 1), (5, 1), (6, 1), (5, 2))]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3
    assert "5" not in repr(AgentNoise(PLAN, 5)).rpartition("level")[2]


class Count:
    """A run's count in memory."""

    def __init__(self, releases, limit=99):
        self.releases, self.limit, self.seen = releases, limit, []

    def exhausted(self):
        return self.releases >= self.limit

    def release(self):
        self.releases += 1
        return {"releases": self.releases, "epsilon": 0.1 * self.releases, "guarantee": "each"}


def run(plan, spending=None, **changes):
    watch = Watch()
    changed = replace(SETTINGS, privacy=plan, **changes)
    with InlineBackend(Trainer) as backend:
        finish = federate(State.start(FEDERATION.start), FEDERATION, changed, backend, [watch], None, spending)
    return watch, finish


def test_every_round_says_what_is_spent_and_the_run_ends_before_its_budget_is_crossed():
    watch, finish = run(PLAN, Count(0, limit=4))
    assert finish.reason == "privacy budget spent"
    assert [record.figures["privacy.epsilon"] for record in watch.records] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert {record.figures["mean.clip_norm"] for record in watch.records} == {0.5}
    assert all(record.figures["noise.std"] == pytest.approx(2 * 0.5 / 15) for record in watch.records)


def test_a_budget_that_pays_for_the_last_round_ends_nothing_early():
    assert run(PLAN, Count(0, limit=6))[1].reason == "all rounds done"


def test_a_round_counts_before_its_noise_is_drawn_and_a_killed_one_counts_again():
    class Killed(Count):
        def release(self):
            super().release()
            raise KeyboardInterrupt

    counted = Killed(0)
    with pytest.raises(KeyboardInterrupt):
        run(PLAN, counted)
    watch, finish = run(PLAN, Count(counted.releases, limit=6))
    assert (finish.state.round, finish.reason) == (5, "privacy budget spent")
    assert watch.records[0].figures["privacy.releases"] == 2


def test_rounds_in_which_hardly_anybody_is_drawn_end_no_run():
    watch, finish = run(replace(PLAN, agents_per_round=1, agents=20), rounds=30)
    asked_n = [record.figures["n_total_agents"] for record in watch.records]
    assert 0 in asked_n
    assert finish.reason == "all rounds done"
    assert all(record.aggregated for record in watch.records)


def test_with_a_tests_seed_a_run_has_the_same_bits_again_and_without_other_ones():
    hashes = [run(plan)[0].records[-1].w_global_sha256 for plan in (PLAN, PLAN, replace(PLAN, test_seed=None))]
    assert hashes[0] == hashes[1] != hashes[2]
    assert "none" in PLAN.guarantee
    assert math.isclose(replace(PLAN, test_seed=None).rate, 0.75)
    assert generator(1, "central noise", "model", 1).normal() != generator(1, "central noise", "model", 2).normal()
