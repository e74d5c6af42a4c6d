"""Rounds whose updates travel in a codec: what is taken is remembered, and the bits are the same however it goes."""

from dataclasses import replace

import numpy as np
import pytest
import test_rounds as rounds

from neurogrid.backends.inline import InlineBackend
from neurogrid.fl.attack import Attacked, Attackers, AttackSettings
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.codecs import Quantised, Sign, TopK
from neurogrid.fl.collect import Inbox, Rows, run_round
from neurogrid.fl.pipeline import AggregationSettings
from neurogrid.fl.replay import Entry, Recorded, Replayed, remake
from neurogrid.fl.rounds import federate
from neurogrid.fl.schedule import ScheduleSettings
from neurogrid.fl.state import State
from neurogrid.fl.update import RoundPlan
from neurogrid.fl.uplink import MEMORY, MemoryHere, Uplink, remembered
from neurogrid.storage import place
from neurogrid.workloads.memory_files import MemoryFiles

SETTINGS = replace(
    rounds.SETTINGS,
    aggregation=AggregationSettings("mean", 0.0, 3.0, 5, ClipSettings("median", "tensor", 1.0), 0.9, 0.5),
)


def files(folder):
    return MemoryFiles(place(str(folder / "memory")), "s", 4)


def run(uplink, settings=SETTINGS, state=None, observers=(), backend=None):
    federation = replace(rounds.FEDERATION, uplink=uplink)
    watch = rounds.Watch()
    with backend or InlineBackend(rounds.Trainer, uplink) as entered:
        finish = federate(state or State.start(rounds.START), federation, settings, entered, [watch, *observers])
    return finish.state, watch


@pytest.mark.parametrize("codec", [Quantised(), Sign(), TopK(0.3)], ids=lambda codec: codec.name)
def test_a_run_learns_and_only_agents_whose_updates_were_taken_remember(tmp_path, codec):
    uplink = Uplink(codec, rounds.SPEC, rounds.SEED, files(tmp_path) if codec.feedback else None)
    state, watch = run(uplink)
    losses = [record.held_out_loss for record in watch.records]
    assert losses[-1] < 0.6 * losses[0]
    assert all(record.reports["uplink"] == {"update_bytes": uplink.payload_bytes} for record in watch.records)
    last = {a.agent_id: r.round_id for r in watch.records for a in r.agents if a.answered}
    assert remembered(state) == (last if codec.feedback else {})


@pytest.mark.parametrize("buffered", [False, True], ids=["sync", "buffered"])
def test_a_run_that_was_stopped_in_any_round_goes_on_to_the_same_bits(tmp_path, buffered):
    settings, back = replace(SETTINGS, agents_per_round=8), 2
    if buffered:
        back += 3
        settings = replace(settings, schedule=ScheduleSettings("buffered", 1.0, 5, 3))
    whole, _ = run(Uplink(TopK(0.3), rounds.SPEC, 1, MemoryFiles(place(str(tmp_path / "a")), "s", back)), settings)
    # The files of a run that got two rounds further than its last checkpoint.
    uplink = Uplink(TopK(0.3), rounds.SPEC, 1, MemoryFiles(place(str(tmp_path / "b")), "s", back))
    state = State.start(rounds.START)
    while state.round < settings.rounds:
        _, ahead = run(uplink, replace(settings, rounds=min(state.round + 3, settings.rounds)), state)
        state = ahead.states[0]
    assert state.weights.tobytes() == whole.weights.tobytes()
    assert state.json(MEMORY) == whole.json(MEMORY)


def test_a_run_is_made_again_from_its_record_without_its_files(tmp_path):
    state, watch = run(Uplink(TopK(0.3), rounds.SPEC, 1, files(tmp_path)))
    recorded = {
        r.round_id: Recorded(
            tuple(Entry(a.agent_id, a.answered, a.reason, a.staleness, a.risky) for a in r.agents), r.w_global_sha256
        )
        for r in watch.records
    }
    uplink = Uplink(TopK(0.3), rounds.SPEC, 1, MemoryHere())
    with Replayed(InlineBackend(rounds.Trainer, uplink), recorded) as backend:
        again = remake(backend, replace(rounds.FEDERATION, uplink=uplink), SETTINGS, recorded)
    assert again.weights.tobytes() == state.weights.tobytes()


def test_an_agent_whose_memory_is_gone_is_missing_and_others_are_not(tmp_path):
    uplink = Uplink(TopK(0.3), rounds.SPEC, 1, files(tmp_path))
    everyone = replace(SETTINGS, agents_per_round=rounds.N, rounds=1)
    state, _ = run(uplink, everyone)
    uplink.memory.place("A03", 1).write(b"something")
    state, watch = run(uplink, replace(everyone, rounds=2), state)
    missing = {a.agent_id: a.reason for a in watch.records[-1].agents if not a.answered}
    assert list(missing) == ["A03"]
    assert "cannot go on from what it remembered after round 1" in missing["A03"]
    assert remembered(state) == {agent: 1 if agent == "A03" else 2 for agent in rounds.AGENTS}


class Sending(InlineBackend):
    """Some agents send bytes of another kind."""

    def answers(self, until_s):
        wrong = {"A00": b"", "A01": b"x" * 10_000_000, "A02": np.zeros(rounds.D, np.float32)}
        for answer in super().answers(until_s):
            yield replace(answer, delta=wrong.get(answer.order.agent, answer.delta))


def test_bytes_that_are_no_update_make_their_agent_missing_with_a_reason():
    uplink = Uplink(Quantised(), rounds.SPEC, 1)
    plan = RoundPlan(1, rounds.AGENTS[:5], rounds.START, 10.0)
    with Sending(rounds.Trainer, uplink) as backend:
        result = run_round(Inbox(backend, uplink), plan, Rows())
    assert [update.agent for update in result.updates] == ["A03", "A04"]
    assert all(reason.startswith("wrong shape: ") for reason in result.missing.values())
    assert list(result.missing) == ["A00", "A01", "A02"]
    with InlineBackend(rounds.Trainer, uplink) as backend:  # and a payload where none was asked for
        assert not run_round(Inbox(backend), plan, Rows()).updates


def test_attackers_send_what_the_codec_can_say():
    uplink = Uplink(TopK(0.3), rounds.SPEC, 1, MemoryHere())
    attackers = Attackers(rounds.AGENTS, 1, AttackSettings("sign_flip", 0.4, "fixed", 1.0, 1.0))
    plan = RoundPlan(1, rounds.AGENTS, rounds.START, 10.0)
    found = []
    for backend in (InlineBackend(rounds.Trainer, uplink), None):
        with backend or Attacked(InlineBackend(rounds.Trainer, uplink), attackers, uplink) as entered:
            found.append(run_round(Inbox(entered, uplink), plan, Rows()).deltas.copy())
    honest, spoilt = found
    malicious = np.array(list(attackers.malicious(1, rounds.AGENTS).values()))
    assert (honest[~malicious] == spoilt[~malicious]).all()
    np.testing.assert_allclose(spoilt[malicious], -honest[malicious], rtol=0.02, atol=0.02)
    assert ((spoilt != 0).sum(axis=1) <= 6).all()


def test_an_update_that_is_not_finite_is_a_failure_of_its_agent():
    class Diverged(rounds.Trainer):
        def train(self, agent, round_number, weights):
            update = super().train(agent, round_number, weights)
            return replace(update, delta=update.delta * np.float32(np.nan)) if agent == "A01" else update

    uplink = Uplink(Quantised(), rounds.SPEC, 1)
    with InlineBackend(Diverged, uplink) as backend:
        result = run_round(Inbox(backend, uplink), RoundPlan(1, ("A00", "A01"), rounds.START, 9.0), Rows())
    assert dict(result.missing) == {"A01": "failed: the update is not finite, so no codec can hold it"}
