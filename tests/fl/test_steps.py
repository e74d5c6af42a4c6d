"""Steps before a rule: beside byzfl's, what becomes of shares, and what the config refuses."""

import importlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from neurogrid.config import load
from neurogrid.errors import ConfigError
from neurogrid.fl.aggregate import average
from neurogrid.fl.audit import audit_agents
from neurogrid.fl.built_in import RULES
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.pipeline import AggregationSettings, make_stages, run_stages
from neurogrid.fl.rows import Rows, gram
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.stages import Asked
from neurogrid.fl.state import State
from neurogrid.fl.steps import arc, bucketing, nnm
from neurogrid.fl.update import Phases, RoundResult, Update

N, D, F = 15, 30, 3
SPEC = Spec((Span("a", (20,), 0, 20), Span("b", (5, 2), 20, 30)))
AGENTS = tuple(f"A{i:02}" for i in range(N))
ASKED = Asked(AGENTS, {agent: i % 3 for i, agent in enumerate(AGENTS)}, SPEC)
SETTINGS = AggregationSettings("trimmed_mean", 0.2, 2.0, 2, ClipSettings("none", "tensor", 1.0), 0.0, 1.0)
DELTAS = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
DELTAS[:F] *= 30


@pytest.fixture(scope="module")
def steps_of_byzfl(byzfl):
    return importlib.import_module(f"{byzfl.__name__}.preaggregators")


def rows(of: Rows) -> np.ndarray:
    return of.block(slice(None))


def outcome(settings: AggregationSettings, deltas=DELTAS, seed=1, state=None) -> SimpleNamespace:
    sent = deltas.copy()
    updates = tuple(Update(agent, sent[i], 100, {}) for i, agent in enumerate(AGENTS))
    result = RoundResult(updates, sent, {}, Phases(0.0, 0.0, 0.0))
    state = state or State.start(np.zeros(D, np.float32))
    found = run_stages(make_stages(settings, seed), result, ASKED, state)
    return SimpleNamespace(**vars(found), agents=audit_agents(4, ASKED, result, found, {}))


@pytest.mark.parametrize(("n", "f", "d"), [(9, 3, 7), (15, 3, 500), (11, 4, 64), (7, 0, 5)])
def test_clipping_and_mixing_give_what_byzfl_gives(steps_of_byzfl, n, f, d):
    deltas = np.random.default_rng(d).standard_normal((n, d)).astype(np.float32)
    deltas[:f] *= 30
    wide = deltas.astype(np.float64)
    np.testing.assert_allclose(rows(arc(deltas, f)), steps_of_byzfl.ARC(f)(wide.copy()), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rows(nnm(deltas, f)), steps_of_byzfl.NNM(f)(wide), rtol=1e-5, atol=1e-6)
    both = steps_of_byzfl.NNM(f)(steps_of_byzfl.ARC(f)(wide.copy()))
    np.testing.assert_allclose(rows(nnm(arc(deltas, f), f)), both, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [2, 4])
def test_buckets_are_byzfls_from_the_same_order(steps_of_byzfl, monkeypatch, size):
    order = np.random.default_rng(3).permutation(N)
    monkeypatch.setattr(np.random, "permutation", lambda vectors: vectors[order])
    expected = steps_of_byzfl.Bucketing(size)(DELTAS.astype(np.float64))

    class Drawn:
        def permutation(self, n: int) -> np.ndarray:
            return order

    np.testing.assert_allclose(rows(bucketing(DELTAS, size, Drawn())), expected, rtol=1e-5, atol=1e-6)


def test_the_products_of_rows_that_are_never_made_are_those_of_the_rows():
    made = nnm(arc(DELTAS, F), F)
    np.testing.assert_allclose(made.gram, gram(rows(made)), rtol=1e-5, atol=1e-4)
    assert made.products is Rows.of(made).products


def test_the_gram_matrix_is_numpys_in_every_tile():
    deltas = np.random.default_rng(1).standard_normal((300, 5000)).astype(np.float32)
    wide = deltas.astype(np.float64)
    np.testing.assert_allclose(gram(deltas), wide @ wide.T, rtol=1e-9, atol=1e-9)


def test_the_products_of_a_round_are_made_once_whoever_asks(monkeypatch):
    from neurogrid.fl import rows as module

    made = []
    monkeypatch.setattr(module, "gram", lambda deltas: made.append(len(deltas)) or gram(deltas))
    stages = ("admit", "rule:multi_krum", "arc", "nnm", "rule", "mean", "server_step")
    outcome(replace(SETTINGS, rule="caf", stages=stages))
    assert made == [N]


@pytest.mark.parametrize("rule", ["mean", "caf", "krum", "geometric_median"])
@pytest.mark.parametrize("step", [arc, nnm, lambda x, f: bucketing(x, 2, np.random.default_rng(1))])
def test_shares_are_those_with_which_the_deltas_make_the_mean(rule, step):
    weights = np.random.default_rng(2).uniform(1, 4, N)
    made = step(DELTAS, F)
    found = average(RULES[rule](made, 1), weights, np.arange(N) % 3)
    assert found.share.sum() == pytest.approx(1)
    scaled = DELTAS if made.scale is None else DELTAS * made.scale[:, None]
    np.testing.assert_allclose(found.share @ scaled, found.delta, rtol=1e-4, atol=1e-5)


def test_mixing_shows_in_the_audit_whose_updates_came_into_nobody_elses_mixture():
    found = outcome(replace(SETTINGS, stages=("admit", "nnm", "rule", "mean", "server_step")))
    assert sum(agent.share for agent in found.agents) == pytest.approx(1)
    assert [agent.accepted for agent in found.agents] == [False] * F + [True] * (N - F)
    assert all(np.isfinite(agent.score) for agent in found.agents)


def test_nearest_neighbours_and_the_trimmed_mean_are_byzfls(byzfl, steps_of_byzfl):
    found = outcome(replace(SETTINGS, stages=("admit", "nnm", "rule", "mean", "server_step")))
    expected = byzfl.TrMean(F)(steps_of_byzfl.NNM(F)(DELTAS.astype(np.float64)))
    np.testing.assert_allclose(found.mean.delta, expected, rtol=1e-5, atol=1e-6)


def test_buckets_depend_on_the_seed_and_the_round_and_on_nothing_else():
    settings = replace(SETTINGS, rule="median", stages=("admit", "bucketing", "rule", "mean", "server_step"))
    later = State.start(np.zeros(D, np.float32)).with_({}, round=1)
    found = [outcome(settings, seed=seed, state=state).mean for seed, state in ((1, None), (1, None), (2, None))]
    assert found[0].delta.tobytes() == found[1].delta.tobytes() != found[2].delta.tobytes()
    assert found[0].delta.tobytes() != outcome(settings, state=later).mean.delta.tobytes()
    assert outcome(settings).reports["bucketing"] == {"buckets": 8}
    assert found[0].share.sum() == pytest.approx(1)


def test_before_a_rule_that_is_no_defence_nothing_is_cut():
    plain = outcome(replace(SETTINGS, rule="mean", stages=("admit", "rule", "mean", "server_step")))
    with_arc = outcome(replace(SETTINGS, rule="mean", stages=("admit", "arc", "rule", "mean", "server_step")))
    assert plain.mean.delta.tobytes() == with_arc.mean.delta.tobytes()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("rule: nnm_trimmed_mean", "is now the step nnm before the rule trimmed_mean"),
        ("stages: [admit, nnm, arc, rule, mean, server_step]", "arc before what mixes it"),
        ("stages: [admit, arc, 'rule:krum', rule, mean, server_step]", "come before arc"),
        ("stages: [admit, 'rule:caf', rule, mean, server_step]", "rule:caf weighs updates"),
        ("rule: vote\n  stages: [admit, nnm, rule, mean, server_step]", "says something of each by itself"),
        ("rule: mean\n  stages: [admit, nnm, rule, mean, server_step]", "the rule mean judges nothing"),
        ("rule: median\n  byzantine_share: 0.01\n  stages: [admit, nnm, rule, mean, server_step]", "the mean of all"),
        ("rule: krum\n  stages: [admit, bucketing, rule, mean, server_step]", r"8 means of 15 .* 2f \+ 3 = 9"),
    ],
)
def test_what_cannot_go_together_is_refused_with_the_reason(config, words):
    with pytest.raises(ConfigError, match=words):
        load(f"aggregation:\n  {config}")
