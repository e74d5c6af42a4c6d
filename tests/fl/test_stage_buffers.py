"""What the server makes of statistics of a model's inputs: clipped and judged apart from its weights, and set."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogrid.fl.aggregate import length
from neurogrid.fl.audit import audit_agents
from neurogrid.fl.built_in import RULES
from neurogrid.fl.clip import ClipSettings, clip, tensor_norms
from neurogrid.fl.pipeline import AggregationSettings, make_stages, run_stages
from neurogrid.fl.record import reason_kind
from neurogrid.fl.registry import STAGES
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.stages import Asked
from neurogrid.fl.state import State
from neurogrid.fl.update import Phases, RoundResult, Update

SHARED = Spec((Span("conv.weight", (5, 4), 0, 20), Span("conv.bias", (4,), 20, 24)))
SPEC = Spec(
    (
        *SHARED.spans,
        Span("norm.running_mean", (4,), 24, 28, "buffer"),
        Span("norm.running_var", (4,), 28, 32, "buffer", nonnegative=True),
    )
)
N, D, S = 15, SPEC.size, SHARED.size
AGENTS = tuple(f"A{i:02}" for i in range(N))
SETTINGS = AggregationSettings("trimmed_mean", 0.2, 2.0, 2, ClipSettings("median", "tensor", 1.0), 0.9, 0.5)
NO_CLIP = ClipSettings("none", "tensor", 1.0)
RANDOM = np.random.default_rng(4)
START = np.concatenate([RANDOM.standard_normal(28), [9.0, 0.5, 0.0, 100.0]]).astype(np.float32)
DELTAS = RANDOM.standard_normal((N, D)).astype(np.float32)
DELTAS[:, 28:] = np.abs(DELTAS[:, 28:]) * 50  # variances are large beside weights


def outcome(deltas=DELTAS, chosen=SETTINGS, spec=SPEC, state=None):
    rows = deltas[:, : spec.size].copy()
    updates = tuple(Update(agent, rows[i], 100 + i, {}) for i, agent in enumerate(AGENTS))
    result = RoundResult(updates, rows, {}, Phases(0.0, 0.0, 0.0))
    asked = Asked(AGENTS, {agent: i % 3 for i, agent in enumerate(AGENTS)}, spec)
    found = run_stages(make_stages(chosen, 1), result, asked, state or State.start(START[: spec.size]))
    return SimpleNamespace(**vars(found), agents=audit_agents(4, asked, result, found, {}))


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("per", ["tensor", "update"])
@pytest.mark.parametrize("to", ["median", "fixed", "none"])
def test_weights_and_audits_are_those_of_the_same_model_without_buffers(rule, per, to):
    chosen = replace(SETTINGS, rule=rule, clip=ClipSettings(to, per, 2.0))
    found, without = outcome(chosen=chosen), outcome(chosen=chosen, spec=SHARED)
    for slot in ("model", "server/momentum"):
        assert found.slots[slot][:S].tobytes() == without.slots[slot].tobytes()
    assert repr(found.agents) == repr(without.agents)


@given(
    seed=st.integers(0, 10**6),
    rule=st.sampled_from(sorted(RULES)),
    clip_=st.sampled_from([ClipSettings(to, per, 1.0) for to in ("median", "none") for per in ("tensor", "update")]),
    step=st.sampled_from([0.5, 1.0, 5.0]),
    scope=st.sampled_from(["all", "district"]),
)
@settings(max_examples=80, deadline=None)
def test_a_variance_is_never_negative_whatever_agents_send(seed, rule, clip_, step, scope):
    random = np.random.default_rng(seed)
    variances = (10.0 ** random.uniform(-30, 30, (1, 4))).astype(np.float32) * random.integers(0, 2, (1, 4))
    deltas = random.standard_normal((N, D)).astype(np.float32)
    # Many of them take a variance to 0, or as near as float32 goes.
    share = random.choice([-1.0, -1 + 1e-7, -0.5, 0.0, 3.0, -1.1], (N, 4), p=[0.4, 0.2, 0.2, 0.1, 0.08, 0.02])
    deltas[:, 28:] = share.astype(np.float32) * variances
    start = np.concatenate([START[:28], variances[0]]).astype(np.float32)
    chosen = replace(SETTINGS, rule=rule, clip=clip_, server_step=step, scope=scope)
    found = outcome(deltas, chosen, state=State.start(start))
    if not found.void:
        assert (found.slots["model"][28:] >= 0).all()


def test_an_update_that_would_make_a_variance_negative_is_refused_by_name_and_reaches_no_rule():
    deltas = DELTAS.copy()
    deltas[6, 29] = -0.6
    found = outcome(deltas, replace(SETTINGS, rule="mean"))
    refused = found.agents[6]
    assert (refused.accepted, refused.share) == (False, 0.0)
    assert refused.reason == "negative variance in norm.running_var"
    assert reason_kind(refused.reason) == "negative_variance"
    assert sum(a.accepted for a in found.agents) == N - 1
    deltas[6, 29] = -0.5  # down to 0 is possible
    assert outcome(deltas, replace(SETTINGS, rule="mean")).agents[6].accepted


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_statistic_that_is_not_finite_is_refused_as_a_weight_is(bad):
    deltas = DELTAS.copy()
    deltas[6, 25] = bad
    assert outcome(deltas).agents[6].reason == "not finite"


def test_buffers_become_their_mean_without_momentum_or_step():
    chosen = replace(SETTINGS, rule="mean", clip=NO_CLIP, weight_cap=100.0)
    state = State.start(START)
    for _ in range(3):
        before = state.weights
        found = outcome(chosen=chosen, state=state)
        windows = 100.0 + np.arange(N)
        expected = before[S:] + np.average(DELTAS[:, S:].astype(np.float64), axis=0, weights=windows)
        np.testing.assert_allclose(found.slots["model"][S:], expected, rtol=1e-5)
        assert not found.slots["server/momentum"][S:].any()
        assert found.slots["server/momentum"][:S].any()
        state = state.with_(found.slots)


@pytest.mark.parametrize("rule", [name for name in sorted(RULES) if name != "mean"])
def test_weights_as_others_have_them_carry_no_poisoned_statistics_in(rule):
    poisoned = DELTAS.copy()
    poisoned[:, :S] = 0.01 * DELTAS[:, :S] + 1
    attackers = [2, 7, 11]
    poisoned[attackers, :S] = poisoned[:, :S].mean(axis=0)  # in the middle of all, so every rule lets them in
    honest = np.delete(poisoned, attackers, axis=0)[:, S:]
    poisoned[attackers, S:] = 1e6
    plain = tuple(stage for stage in STAGES if stage not in ("clip", "arc"))
    found = outcome(poisoned, replace(SETTINGS, rule=rule, stages=plain))
    assert any(found.agents[i].accepted for i in attackers)
    moved = found.slots["model"][S:] - START[S:]
    if rule in ("geometric_median", "centred_clipping"):  # these let in some of the length of any row
        assert length(moved) < 2 * max(map(length, honest))
    else:
        assert (moved <= honest.max(axis=0) * (1 + 1e-5)).all()


def test_buffers_are_clipped_by_themselves_and_by_the_median_where_the_norm_of_weights_is_fixed():
    norms = tensor_norms(DELTAS, SPEC)
    for chosen in (ClipSettings("median", "update", 1.0), ClipSettings("fixed", "update", 1.0)):
        rows = DELTAS.copy()
        factors = clip(rows, norms, SPEC, chosen)
        shared, buffers = (np.linalg.norm(DELTAS[:, part].astype(float), axis=1) for part in (slice(0, S), slice(S, D)))
        limit = np.median(shared) if chosen.to == "median" else 1.0
        np.testing.assert_allclose(factors, np.minimum(1, limit / shared), rtol=1e-6)
        np.testing.assert_allclose(rows[:, :S], DELTAS[:, :S] * np.minimum(1, limit / shared)[:, None], rtol=1e-5)
        own = np.minimum(1, np.median(buffers) / buffers)[:, None]
        np.testing.assert_allclose(rows[:, S:], DELTAS[:, S:] * own, rtol=1e-5)
    rows = DELTAS.copy()
    clip(rows, norms, SPEC, ClipSettings("fixed", "tensor", 0.1))
    after = tensor_norms(rows, SPEC)
    assert (after[:, :2] <= 0.1 * (1 + 1e-6)).all()
    np.testing.assert_allclose(after[:, 2:].max(axis=0), np.median(norms[:, 2:], axis=0), rtol=1e-6)
