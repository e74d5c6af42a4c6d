"""When rounds close, whose updates they are made of, and that the record is enough to make them again."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from racing import Racing, recorded, replay
from test_rounds import AGENTS, FEDERATION, SEED, SETTINGS, START, D, Scrambled, Trainer, Watch, goal, run

from neurogrid.backends.inline import InlineBackend
from neurogrid.fl.attack import Attacked, Attackers, AttackSettings
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.record import reason_kind
from neurogrid.fl.rounds import federate
from neurogrid.fl.schedule import FLIGHT, VERSIONS, ScheduleSettings
from neurogrid.fl.select import SelectSettings
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.state import State

BUFFERED = replace(SETTINGS, rounds=8, agents_per_round=12, schedule=ScheduleSettings("buffered", 1.0, 7, 4))
BUFFERED = replace(BUFFERED, aggregation=replace(SETTINGS.aggregation, byzantine_share=0.1, min_agents=1))


def quorum(share):
    return replace(SETTINGS, schedule=ScheduleSettings("sync", share))


def losing(order):
    """Some agents fail, in some rounds some are late or lost."""
    number = int(order.agent[1:])
    if order.kind == "score":
        return ""
    if number == 3:
        return "failed: ValueError: no"
    return ("late" if number % 2 else "lost") if (number + order.round) % 7 == 0 else ""


def ids(records):
    return [[a.agent_id for a in r.agents] for r in records]


def answered(record):
    return {a.agent_id for a in record.agents if a.answered}


# A quorum.


def test_a_round_with_a_quorum_closes_on_it_and_the_others_are_late():
    _, seen = run(quorum(0.8), Racing(Trainer, 1))
    assert {len(answered(r)) for r in seen.records} == {12}
    assert all(a.reason == "late" for r in seen.records for a in r.agents if not a.answered)
    assert {r.figures["n_late_agents"] for r in seen.records} == {3}
    firsts = [answered(r) for r in seen.records]
    assert firsts != [answered(r) for r in run(quorum(0.8), Racing(Trainer, 2))[1].records]


def test_a_round_does_not_close_on_updates_that_no_rule_will_see():
    def spoil(number, agent, delta):
        return np.full_like(delta, np.nan) if int(agent[1:]) < 5 else delta

    _, seen = run(quorum(0.6), Scrambled(Trainer, spoil))
    for record in seen.records:
        fit = [a for a in record.agents if a.answered and a.reason != "not finite"]
        assert len(fit) == 9


def test_a_quorum_that_cannot_be_had_waits_for_all_and_no_longer():
    _, seen = run(quorum(0.9), Racing(Trainer, 1, lambda order: "lost" if int(order.agent[1:]) < 8 else ""))
    assert all(len(r.agents) == 15 for r in seen.records)
    assert all(a.reason != "late" for r in seen.records for a in r.agents)


def test_a_quorum_of_all_is_no_quorum_bit_by_bit():
    one, other = run(quorum(1.0), Racing(Trainer, 1))[0], run()[0]
    assert one.state.weights.tobytes() == other.state.weights.tobytes()


def test_the_scores_after_a_quorum_are_of_the_new_weights_and_not_lost_among_late_answers():
    _, seen = run(quorum(0.6), Racing(Trainer, 3))
    for record, state in zip(seen.records, seen.states, strict=True):
        panel = [a for a in AGENTS if a in _panel()]
        losses = [Trainer().evaluate(agent, state.weights)["loss"] for agent in panel]
        assert record.held_out_loss == pytest.approx(np.mean(losses))


def _panel():
    from neurogrid.fl.rounds import choose_panel

    return choose_panel(FEDERATION, SETTINGS)


# A buffer.


def test_a_buffer_as_large_as_the_round_is_the_synchronous_round_bit_by_bit():
    same = replace(SETTINGS, schedule=ScheduleSettings("buffered", 1.0, 15, 3))
    one, seen = run(same, Racing(Trainer, 1))
    other, reference = run()
    assert one.state.weights.tobytes() == other.state.weights.tobytes()
    assert ids(seen.records) == ids(reference.records)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), buffer=st.integers(5, 12), oldest=st.integers(1, 4), loses=st.booleans())
def test_whatever_order_answers_come_in_rounds_are_full_and_made_again_from_their_record(seed, buffer, oldest, loses):
    chosen = replace(BUFFERED, schedule=ScheduleSettings("buffered", 1.0, buffer, oldest))
    finish, seen = run(chosen, Racing(Trainer, seed, losing if loses else lambda order: ""))
    for record, state in zip(seen.records, seen.states, strict=True):
        assert len(ids([record])[0]) == len(set(ids([record])[0]))
        ages = [a.staleness for a in record.agents if a.answered]
        assert len(ages) == buffer or (loses and state.json(FLIGHT)["agents"] == {})
        assert all(0 <= age <= oldest for age in ages)
        flight = state.json(FLIGHT)
        assert len(flight["agents"]) <= 12
        assert len(state.array(VERSIONS)) == len(flight["versions"]) <= oldest
        assert record.figures["assumed_f"] == 1
        assert record.figures["schedule.agents_in_flight"] == len(flight["agents"])
    again = replay(recorded(seen.records), FEDERATION, chosen, Trainer)
    assert again.weights.tobytes() == finish.state.weights.tobytes()
    for name in ("lost/agents", FLIGHT):
        assert again.json(name) == finish.state.json(name)


def test_an_update_of_older_weights_weighs_less_by_the_root_of_its_age():
    mean = replace(BUFFERED.aggregation, rule="mean", clip=ClipSettings("none", "tensor", 1.0), weight_cap=1e9)
    plain = replace(BUFFERED, rounds=5, aggregation=replace(mean, server_momentum=0.0, server_step=1.0))
    _, seen = run(plain, Racing(Trainer, 4))
    versions, weights = [START], START
    for record in seen.records:
        came = [a for a in record.agents if a.answered]
        began = [record.round_id - 1 - a.staleness for a in came]
        deltas = [Trainer().train(a.agent_id, v + 1, versions[v]).delta for a, v in zip(came, began, strict=True)]
        share = np.array([a.windows / np.sqrt(1 + a.staleness) for a in came])
        weights = weights + (share / share.sum()) @ np.stack(deltas)
        versions.append(seen.states[record.round_id - 1].weights)
        np.testing.assert_allclose(versions[-1], weights, rtol=1e-4, atol=1e-6)
        weights = versions[-1]
    assert max(a.staleness for r in seen.records for a in r.agents) >= 1


def test_a_statistic_is_set_to_the_mean_of_the_agents_own_however_old_the_weights_they_began_from():
    class Measuring(Trainer):
        def train(self, agent, round_number, weights):
            update = super().train(agent, round_number, weights)
            update.delta[12:] = goal(agent)[12:] - weights[12:]
            return update

    spec = Spec((Span("a", (12,), 0, 12), Span("mean", (6,), 12, 18, "buffer")))
    mean = replace(BUFFERED.aggregation, rule="mean", clip=ClipSettings("none", "tensor", 1.0), weight_cap=1e9)
    watch = Watch()
    with Racing(Measuring, 4) as backend:
        federation, plain = replace(FEDERATION, spec=spec), replace(BUFFERED, rounds=5, aggregation=mean)
        federate(State.start(START), federation, plain, backend, [watch])
    assert max(a.staleness for r in watch.records for a in r.agents) >= 1
    for record, state in zip(watch.records, watch.states, strict=True):
        came = [a for a in record.agents if a.answered]
        share = np.array([a.windows / np.sqrt(1 + a.staleness) for a in came])
        own = (share / share.sum()) @ np.stack([goal(a.agent_id)[12:] for a in came])
        np.testing.assert_allclose(state.weights[12:], own, rtol=1e-5, atol=1e-6)


def test_an_agent_that_takes_too_long_is_given_up_by_name_and_asked_again():
    class Slow(Racing):
        def answers(self, until_s):
            for number, (order, *_) in list(self._open.items()):
                if order.agent == "A05" and order.kind == "train" and order.round < 5:
                    self.held = self._open.pop(number)
            yield from super().answers(until_s)

        def cancel(self, order_ids):
            if (held := getattr(self, "held", None)) and held[0].id in set(order_ids):
                self.gone = held[0].round
            super().cancel(order_ids)

    everyone = replace(BUFFERED, agents_per_round=20, schedule=ScheduleSettings("buffered", 1.0, 10, 2))
    backend = Slow(Trainer, 1)
    _, seen = run(replace(everyone, rounds=9), backend)
    given_up = [(r.round_id, a.reason) for r in seen.records for a in r.agents if a.reason.startswith("stale")]
    assert given_up[0] == (4, "stale: its weights were of 3 rounds before, rounds.max_staleness is 2")
    assert backend.gone == 1
    assert reason_kind(given_up[0][1]) == "stale"
    assert any(a.agent_id == "A05" and a.answered for r in seen.records[5:] for a in r.agents)


@pytest.mark.parametrize("stop", [1, 3, 6])
@pytest.mark.parametrize("kind", ["random", "adaptive"])
def test_a_stopped_run_asks_those_at_work_for_the_same_again_and_is_made_again_from_its_record(stop, kind):
    chosen = replace(BUFFERED, select=SelectSettings(kind, 0.2))
    _, before = run(replace(chosen, rounds=stop), Racing(Trainer, 1, losing))
    flight = before.states[-1].json(FLIGHT)["agents"]
    assert flight

    asked = {}

    class Asked(Racing):
        def submit(self, orders, deadline_s):
            for order in orders:
                if order.kind == "train":
                    asked.setdefault(order.agent, (order.version, order.round))
            super().submit(orders, deadline_s)

    finish, after = run(chosen, Asked(Trainer, 2, losing), state=before.states[-1])
    assert {agent: asked[agent] for agent in flight} == {agent: (v, v + 1) for agent, v in flight.items()}
    record = recorded([*before.records, *after.records])
    again = replay(record, FEDERATION, chosen, Trainer)
    assert again.weights.tobytes() == finish.state.weights.tobytes()


def test_what_comes_while_the_panel_scores_is_not_lost():
    trained = []

    class Counting(Trainer):
        def train(self, agent, round_number, weights):
            trained.append(agent)
            return super().train(agent, round_number, weights)

    finish, seen = run(BUFFERED, InlineBackend(Counting))
    used = sum(len(answered(r)) for r in seen.records)
    waiting = len(finish.state.json(FLIGHT)["agents"])
    assert used <= len(trained) <= used + waiting


@pytest.mark.parametrize("schedule", [ScheduleSettings("buffered", 1.0, 9, 4), ScheduleSettings("sync", 0.7)])
def test_attackers_attack_a_round_that_closes_early_too(schedule):
    attackers = Attackers(AGENTS, SEED, AttackSettings("noise", 0.2, "fixed", 10.0, 30.0))
    settings = replace(BUFFERED, schedule=schedule, agents_per_round=16)
    backend = Attacked(Racing(Trainer, 5), attackers)
    finish, seen = run(settings, backend, truth=attackers)
    sent = [a for r in seen.records for a in r.agents if a.answered and a.malicious]
    honest = [a for r in seen.records for a in r.agents if a.answered and not a.malicious]
    assert sent
    assert min(a.norm for a in sent) > 3 * max(a.norm for a in honest)
    again = replay(
        recorded(seen.records),
        FEDERATION,
        settings,
        Trainer,
        lambda backend: Attacked(backend, attackers),
    )
    assert again.weights.tobytes() == finish.state.weights.tobytes()


def test_a_buffered_federation_comes_closer_to_what_its_agents_want():
    plain = replace(BUFFERED.aggregation, server_momentum=0.0, server_step=1.0)
    _, seen = run(replace(BUFFERED, rounds=16, aggregation=plain), Racing(Trainer, 1))
    losses = [r.held_out_loss for r in seen.records]
    assert losses[-1] < 0.2 * losses[0]


def test_nobody_waits_for_anything_when_a_run_is_over():
    watch = Watch()
    with InlineBackend(Trainer) as backend:
        federate(State.start(START), FEDERATION, BUFFERED, backend, [watch])
        assert not backend._open
    assert watch.states[-1].array(VERSIONS).shape[1] == D
