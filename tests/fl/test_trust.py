"""FLTrust: what updates count when some agents are trusted, and rounds in which these are always asked."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from racing import recorded, replay
from test_rounds import AGENTS, FEDERATION, SEED, SETTINGS, Trainer, run

from neurogrid.backends.inline import InlineBackend
from neurogrid.config import load
from neurogrid.errors import ConfigError
from neurogrid.fl.aggregate import average
from neurogrid.fl.attack import Attacked, Attackers, AttackSettings
from neurogrid.fl.rows import BLOCK_COLUMNS
from neurogrid.fl.select import Random
from neurogrid.fl.state import State
from neurogrid.fl.trust import Always, NoReferenceError, fltrust
from neurogrid.randomness import generator

TRUSTED = frozenset({"A04", "A11"})
TRUST = replace(
    SETTINGS, aggregation=replace(SETTINGS.aggregation, rule="fltrust", byzantine_share=0.45, trusted=TRUSTED)
)


def of_the_paper(deltas, reference, weights):
    """Algorithm 2 of the paper, with weights of agents."""
    length = np.linalg.norm(reference)
    scores = [
        max(0.0, float(g @ reference) / (np.linalg.norm(g) * length)) * w for g, w in zip(deltas, weights, strict=True)
    ]
    return sum(s * length / np.linalg.norm(g) * g for s, g in zip(scores, deltas, strict=True)) / sum(scores)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.integers(1, 3), st.sampled_from([5, BLOCK_COLUMNS + 3]))
def test_the_mean_is_that_of_the_paper(seed, trusted, d):
    rng = generator(seed, "deltas")
    deltas = rng.normal(size=(8, d)).astype(np.float32) + np.float32(0.3)
    weights = rng.uniform(1, 2, 8)
    mask = np.arange(8) < trusted
    found = average(fltrust(deltas, 2, mask), weights, np.zeros(8, np.int64))
    wide = deltas.astype(np.float64)
    np.testing.assert_allclose(found.delta, of_the_paper(wide, wide[mask].mean(axis=0), weights), rtol=2e-4, atol=1e-6)
    assert found.share.sum() == pytest.approx(1)
    assert (found.share > 0).tolist() == found.accepted.tolist()


def test_updates_that_point_elsewhere_or_nowhere_count_nothing_however_many_and_long_they_are():
    good = np.ones((2, 6), np.float32)
    verdict = fltrust(np.concatenate([good, np.tile(-1e6 * good[:1], (7, 1)), 0 * good]), 0, np.arange(11) == 0)
    assert verdict.kept.tolist() == [True, True, *[False] * 9]
    assert np.isfinite(verdict.rows.block(slice(0, 6))).all()


@pytest.mark.parametrize("deltas", [np.ones((3, 4)), np.zeros((3, 4)), np.array([[1.0], [1], [-1]])])
def test_without_a_reference_nothing_is_judged(deltas):
    trusted = np.zeros(3, bool) if deltas.all() and deltas.shape[1] > 1 else np.array([False, True, True])
    with pytest.raises(NoReferenceError):
        fltrust(deltas.astype(np.float32), 1, trusted)


def test_trusted_agents_are_asked_in_each_round_and_the_rest_is_drawn_among_the_others():
    always = Always(Random(SEED), TRUSTED)
    for number in range(20):
        agents = always.choose(AGENTS, 6, State.start(FEDERATION.start).with_({}, round=number)).agents
        assert len(agents) == 6
        assert set(agents) >= TRUSTED
        assert list(agents) == sorted(agents)
    assert set(always.choose(AGENTS, 1, State.start(FEDERATION.start)).agents) == TRUSTED
    assert always.choose(AGENTS, 99, State.start(FEDERATION.start)).agents == AGENTS


@pytest.mark.parametrize("placement", ["fixed", "per_round"])
def test_nearly_all_others_may_attack_and_rounds_are_made_again_with_the_same_bits(placement):
    attackers = Attackers(AGENTS, SEED, AttackSettings("scale", 0.8, placement, -10.0, 1.0), TRUSTED)

    def attacked(backend):
        return Attacked(backend, attackers)

    finish, seen = run(TRUST, attacked(InlineBackend(Trainer)), truth=attackers)
    for record in seen.records:
        assert record.aggregated
        assert {a.agent_id for a in record.agents} >= TRUSTED
        assert sum(a.malicious for a in record.agents) >= 8
        assert not any(a.accepted for a in record.agents if a.malicious)
        assert all(a.accepted for a in record.agents if a.agent_id in TRUSTED)
    assert seen.records[-1].held_out_loss < seen.records[0].held_out_loss * 0.7
    again = replay(recorded(seen.records), FEDERATION, TRUST, Trainer, attacked)
    assert again.weights.tobytes() == finish.state.weights.tobytes()


def test_a_round_without_a_trusted_update_is_void_and_says_so():
    class Away(Trainer):
        def train(self, agent, round_number, weights):
            if agent in TRUSTED and round_number == 2:
                raise OSError("no readings")
            return super().train(agent, round_number, weights)

    _, seen = run(replace(TRUST, rounds=3), InlineBackend(Away))
    assert [record.aggregated for record in seen.records] == [True, False, True]
    assert "no trusted agent has given an update" in seen.records[1].void_reason


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("aggregation: {rule: fltrust}", "name them in aggregation.trusted_households"),
        ("aggregation: {trusted_households: [x]}", "not used by aggregation.rule caf"),
        ("aggregation: {rule: fltrust, trusted_households: [x, x]}", "each once: it names 2"),
        ("aggregation: {rule: fltrust, trusted_households: [x]}\nrounds: {quorum: 0.9}", "set rounds.schedule to sync"),
        ("aggregation: {rule: fltrust, trusted_households: [x], scope: district}", "set aggregation.scope to all"),
        ("aggregation: {stages: [admit, 'rule:fltrust', rule, mean, server_step]}", "no rule can follow it"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_the_reason(config, words):
    with pytest.raises(ConfigError, match=words):
        load(config)
    assert load("aggregation: {rule: fltrust, trusted_households: [1408]}").aggregation.trusted_households == ["1408"]
