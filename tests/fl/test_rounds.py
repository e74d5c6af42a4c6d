"""The round loop with agents that are numpy functions: what it records, when it stops, what state it goes on from."""

import math
from dataclasses import replace

import numpy as np
import pytest

from neurogrid.backends.inline import InlineBackend
from neurogrid.fl.attack import Attacked, Attackers, AttackSettings
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.order import Missing
from neurogrid.fl.order import Update as Answered
from neurogrid.fl.pipeline import AggregationSettings
from neurogrid.fl.rounds import (
    Federation,
    RoundSettings,
    choose_panel,
    federate,
    stop_reason,
)
from neurogrid.fl.select import Random
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.state import Progress, State
from neurogrid.fl.update import Update
from neurogrid.fl.void import VoidRoundsError
from neurogrid.randomness import generator

SPEC = Spec((Span("a", (12,), 0, 12), Span("b", (3, 2), 12, 18)))
N, D, SEED = 20, SPEC.size, 5
AGENTS = tuple(f"A{i:02}" for i in range(N))
START = generator(SEED, "start").standard_normal(D).astype(np.float32)
FEDERATION = Federation(AGENTS, {a: i % 4 for i, a in enumerate(AGENTS)}, SPEC, START, SEED)
SETTINGS = RoundSettings(
    rounds=6,
    agents_per_round=15,
    timeout_s=30.0,
    panel_agents=4,
    patience_rounds=0,
    min_improvement=0.0,
    converged_update=0.0,
    aggregation=AggregationSettings("trimmed_mean", 0.2, 3.0, 5, ClipSettings("median", "tensor", 1.0), 0.9, 0.5),
)


def goal(agent: str) -> np.ndarray:
    return generator(SEED, "goal").standard_normal(D) + 0.1 * generator(SEED, "goal", agent).standard_normal(D)


class Trainer:
    """Each agent goes a third of the way to its own goal, with noise of its own."""

    def train(self, agent, round_number, weights):
        noise = 0.01 * generator(SEED, "batch", round_number, agent).standard_normal(D)
        delta = ((goal(agent) - weights) / 3 + noise).astype(np.float32)
        return Update(agent, delta, 100 + AGENTS.index(agent), {"loss": float(np.square(delta).mean()), "train_s": 0.0})

    def evaluate(self, agent, weights):
        return {"loss": float(np.square(goal(agent) - weights).mean()), "windows": 10}

    def holds(self, agent):
        return True


class Scrambled(InlineBackend):
    """Trains in another order than asked, and can lose or spoil what comes back."""

    def __init__(self, factory, spoil=None, lose=None):
        super().__init__(factory)
        self.spoil, self.lose = spoil or (lambda number, agent, delta: delta), lose or (lambda number, agent: "")

    def submit(self, orders, deadline_s):
        order = generator(1, "scramble", len(orders)).permutation(len(orders))
        super().submit([orders[i] for i in order], deadline_s)

    def answers(self, until_s):
        for answer in super().answers(until_s):
            number, agent = answer.order.round, answer.order.agent
            if not isinstance(answer, Answered):
                yield answer
            elif self.lose(number, agent):
                yield Missing(answer.order, self.lose(number, agent))
            else:
                yield replace(answer, delta=self.spoil(number, agent, answer.delta))


class Watch:
    def __init__(self):
        self.records, self.states = [], []

    def after_round(self, record, state):
        self.records.append(record)
        self.states.append(state)


def run(settings=SETTINGS, backend=None, state=None, federation=FEDERATION, truth=None):
    watch = Watch()
    with backend or InlineBackend(Trainer) as entered:
        finish = federate(state or State.start(START), federation, settings, entered, [watch], truth)
    return finish, watch


def drawn_in(number, wanted=SETTINGS.agents_per_round):
    return Random(SEED).choose(AGENTS, wanted, State.start(START).with_({}, round=number - 1)).agents


def without_times(record):
    agents = tuple(replace(agent, task=0, ended_s=0.0) for agent in record.agents)
    untimed = {name: value for name, value in record.figures.items() if not name.endswith("_s")}
    return repr((agents, record.districts, untimed))


def test_the_weights_are_the_same_bits_in_whatever_order_agents_are_trained():
    one, seen = run()
    other, seen_too = run(backend=Scrambled(Trainer))
    assert one.state.weights.tobytes() == other.state.weights.tobytes()
    assert [without_times(r) for r in seen.records] == [without_times(r) for r in seen_too.records]


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_the_weights_are_the_same_bits_when_the_loop_goes_on_from_any_rounds_state(stop):
    whole, seen = run()
    resumed, rest = run(state=seen.states[stop - 1])
    assert whole.state.weights.tobytes() == resumed.state.weights.tobytes()
    assert [without_times(r) for r in seen.records[stop:]] == [without_times(r) for r in rest.records]


def test_a_federation_comes_closer_to_what_its_agents_want():
    _, seen = run(replace(SETTINGS, rounds=12))
    losses = [r.held_out_loss for r in seen.records]
    assert losses[-1] < 0.2 * losses[0]
    assert seen.records[-1].w_drift == pytest.approx(np.linalg.norm(seen.states[-1].weights - START))


def test_server_momentum_is_the_running_sum_that_its_formula_says():
    plain = replace(SETTINGS, rounds=1, aggregation=replace(SETTINGS.aggregation, rule="mean", weight_cap=100.0))
    plain = replace(plain, aggregation=replace(plain.aggregation, clip=ClipSettings("none", "tensor", 1.0)))
    weights, momentum = START.astype(np.float64), np.zeros(D)
    for number in range(1, 5):
        chosen = drawn_in(number)
        updates = [Trainer().train(a, number, weights.astype(np.float32)) for a in chosen]
        windows = np.array([u.windows for u in updates], float)
        momentum = 0.9 * momentum + (windows / windows.sum()) @ np.stack([u.delta for u in updates])
        weights = weights + 0.5 * momentum
    finish, _ = run(replace(plain, rounds=4))
    np.testing.assert_allclose(finish.state.weights, weights, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(finish.state.array("server/momentum"), momentum, rtol=1e-4, atol=1e-5)


def test_a_round_asks_as_many_different_agents_as_set_in_the_manifests_order_and_others_next_time():
    drawn = [drawn_in(number) for number in range(1, 6)]
    assert all(len(set(d)) == 15 and list(d) == sorted(d) for d in drawn)
    assert len(set(drawn)) == 5
    assert drawn_in(1, wanted=99) == AGENTS
    assert choose_panel(FEDERATION, SETTINGS) == choose_panel(FEDERATION, SETTINGS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_update_that_is_not_finite_is_refused_and_the_weights_stay_finite(value):
    def spoil(number, agent, delta):
        return np.full_like(delta, value) if agent in AGENTS[:2] else delta

    finish, seen = run(backend=Scrambled(Trainer, spoil))
    refused = [a for r in seen.records for a in r.agents if a.agent_id in AGENTS[:2]]
    assert refused
    assert {a.reason for a in refused} == {"not finite"}
    assert np.isfinite(finish.state.weights).all()


def test_late_and_lost_agents_are_counted_and_cost_their_update_only():
    def lose(number, agent):
        return {"A03": "late", "A04": "lost", "A05": "failed: ValueError: no"}.get(agent, "")

    _, seen = run(backend=Scrambled(Trainer, lose=lose))
    for record in seen.records:
        asked = {a.agent_id for a in record.agents}
        said = record.figures
        assert (said["n_late_agents"], said["n_lost_agents"]) == ("A03" in asked, "A04" in asked)
        assert said["n_answered_agents"] == 15 - len(asked & {"A03", "A04", "A05"})
        assert record.aggregated
        kinds = ("n_accepted_agents", "n_late_agents", "n_lost_agents", "n_refused_agents")
        assert sum(said[kind] for kind in kinds) == said["n_total_agents"] == 15


def test_a_void_round_leaves_weights_and_momentum_and_the_next_goes_on():
    def lose(number, agent):
        return "lost" if number == 2 else ""

    _, seen = run(backend=Scrambled(Trainer, lose=lose))
    assert [r.aggregated for r in seen.records] == [True, False, True, True, True, True]
    assert seen.states[1].weights.tobytes() == seen.states[0].weights.tobytes()
    assert seen.states[1].array("server/momentum").tobytes() == seen.states[0].array("server/momentum").tobytes()
    assert [s.progress.void_in_a_row for s in seen.states[:3]] == [0, 1, 0]
    assert seen.records[1].void_reason == "0 usable updates of 15 requested, rounds.min_agents is 5"
    assert seen.records[1].update_norm == 0
    assert math.isnan(seen.records[1].figures["loss_mean"])


def test_three_void_rounds_in_a_row_end_the_run_and_each_is_on_record():
    watch = Watch()
    with (
        Scrambled(Trainer, lose=lambda number, agent: "late" if number > 1 else "") as backend,
        pytest.raises(VoidRoundsError, match=r"3 rounds in a row changed nothing; the last: 0 usable updates of 15"),
    ):
        federate(State.start(START), FEDERATION, SETTINGS, backend, [watch])
    assert [r.aggregated for r in watch.records] == [True, False, False, False]


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_run_of_void_rounds_only_does_not_end_well_however_few_they_are(rounds):
    said = "no round changed anything, so the weights are those of the start; the last: 0 usable updates of 15"
    with pytest.raises(VoidRoundsError, match=said):
        run(replace(SETTINGS, rounds=rounds), backend=Scrambled(Trainer, lose=lambda number, agent: "late"))


def test_a_federation_too_small_for_its_f_changes_nothing_and_says_the_numbers():
    settings = replace(SETTINGS, agents_per_round=8, aggregation=replace(SETTINGS.aggregation, byzantine_share=0.4))
    with pytest.raises(VoidRoundsError, match="f = 3 malicious agents needs at least 9 agents, got 8"):
        run(settings)


@pytest.mark.parametrize("placement", ["fixed", "per_round"])
def test_attackers_are_on_record_and_precision_and_recall_are_counted_from_it(placement):
    attackers = Attackers(AGENTS, SEED, AttackSettings("scale", 0.2, placement, -30.0, 0.1))
    no_clip = ClipSettings("none", "tensor", 1.0)
    settings = replace(SETTINGS, aggregation=replace(SETTINGS.aggregation, rule="multi_krum", clip=no_clip))
    backend = Scrambled(Trainer, lose=lambda number, agent: "late" if agent == "A07" else "")
    _, seen = run(settings, Attacked(backend, attackers), truth=attackers)
    for record in seen.records:
        said = record.figures
        bad = {a.agent_id for a in record.agents if a.malicious}
        out = {a.agent_id for a in record.agents if not a.accepted}
        assert said["byzantine_agents_n"] == len(bad)
        assert said["byzantine_attack"] == "scale"
        assert said["assumed_f"] == 3
        if bad:
            assert said["rejection_recall"] == len(bad & out) / len(bad)
        else:
            assert math.isnan(said["rejection_recall"])
        assert "A07" in out or "A07" not in {a.agent_id for a in record.agents}
        came = out - {"A07"}  # who was late was not rejected
        assert said["rejection_precision"] == len(bad & came) / len(came)
        assert said["acceptance_rate"] == (15 - len(out)) / 15
        if placement == "per_round":
            assert len(bad) == 3
    if placement == "fixed":
        everywhere = {a.agent_id for r in seen.records for a in r.agents if a.malicious}
        assert len(everywhere) == 4
    assert np.nanmean([r.figures["rejection_recall"] for r in seen.records]) > 0.7


def test_the_districts_of_a_round_add_up_to_its_agents():
    _, seen = run()
    for record in seen.records:
        assert sum(d.asked for d in record.districts) == 15
        assert sum(d.accepted for d in record.districts) == record.figures["n_accepted_agents"]
        assert sum(d.share for d in record.districts) == pytest.approx(1)
        assert sum(a.share for a in record.agents) == pytest.approx(1)


def after(losses=(), updates=()):
    progress = Progress(tuple(losses), tuple(updates))
    return State.start(START).with_({"progress": progress.to_json()}, round=len(losses or updates))


@pytest.mark.parametrize(
    ("losses", "stops"),
    [
        ([5, 4, 3, 3.1, 3.2, 3.0], True),
        ([5, 4, 3, 3.1, 3.2, 2.9], False),
        ([5, 4, 3, 3.1, 3.2, 2.99], True),
        ([3, 3.1, 3.2], False),
        ([3, math.nan, math.nan, math.nan], False),
        ([math.nan] * 6, False),
        ([3, math.nan, 3.1, math.nan], True),
        ([math.nan, math.nan, 3.1, math.nan], False),
    ],
)
def test_a_run_stops_when_the_last_three_rounds_did_not_improve_by_a_hundredth(losses, stops):
    settings = replace(SETTINGS, patience_rounds=3, min_improvement=0.01)
    assert stop_reason(after(losses), settings) == ("no improvement" if stops else "")
    assert stop_reason(after(losses), replace(settings, patience_rounds=0)) == ""


@pytest.mark.parametrize(
    ("updates", "converged"),
    [([1e-3, 1e-5, 1e-5, 1e-5], True), ([1e-5, 1e-5], False), ([1e-5, 1e-3, 1e-5, 1e-5], False), ([0, 0, 0], False)],
)
def test_a_run_has_converged_when_the_last_three_updates_were_small_and_not_void(updates, converged):
    settings = replace(SETTINGS, patience_rounds=3, converged_update=1e-4)
    assert stop_reason(after((math.nan,) * len(updates), updates), settings) == ("converged" if converged else "")


def test_a_converged_run_ends_early_with_the_word_in_its_last_record():
    plain = replace(SETTINGS.aggregation, server_momentum=0.0, server_step=1.0)
    finish, seen = run(replace(SETTINGS, rounds=500, aggregation=plain, converged_update=0.05))
    assert finish.reason == "converged"
    assert len(seen.records) < 500
    assert [r.converged for r in seen.records] == [False] * (len(seen.records) - 1) + [True]
    again, nothing = run(replace(SETTINGS, rounds=500, converged_update=0.05), state=finish.state)
    assert (again.reason, nothing.records) == ("converged", [])


def test_a_loss_that_is_infinite_is_on_record_as_not_measured():
    class Diverged(Trainer):
        def evaluate(self, agent, weights):
            return {"loss": math.inf, "windows": 10}

    _, seen = run(backend=InlineBackend(Diverged))
    assert all(math.isnan(x) for x in seen.states[-1].progress.held_out)


def test_an_agent_without_validation_windows_does_not_hide_the_loss_of_the_others():
    class OneWithout(Trainer):
        def evaluate(self, agent, weights):
            return {"loss": math.nan, "windows": 0.0} if agent == AGENTS[0] else {"loss": 2.0, "windows": 10.0}

    _, seen = run(backend=InlineBackend(OneWithout))
    assert all(loss == 2.0 for loss in seen.states[-1].progress.held_out)
