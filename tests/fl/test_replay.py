"""A record that says something else than what happened is found by making the rounds again."""

from contextlib import suppress
from dataclasses import replace

import pytest
from racing import Racing, recorded, replay
from test_rounds import FEDERATION, SETTINGS, Trainer, Watch, run
from test_schedule import BUFFERED, losing

from neurogrid.fl.replay import ReplayDiffersError
from neurogrid.fl.rounds import federate
from neurogrid.fl.schedule import ScheduleSettings
from neurogrid.fl.state import State
from neurogrid.fl.void import VoidRoundsError

QUORUM = replace(SETTINGS, schedule=ScheduleSettings("sync", 0.8))


@pytest.fixture(scope="module", params=["sync", "quorum", "buffered"])
def made(request):
    """A run's settings, its record, and its last state."""
    settings = {"sync": SETTINGS, "quorum": QUORUM, "buffered": BUFFERED}[request.param]
    finish, seen = run(settings, Racing(Trainer, 1, losing))
    return settings, recorded(seen.records), finish.state


def again(made, record):
    return replay(record, FEDERATION, made[0], Trainer)


def with_round(record, number, **changed):
    return {**record, number: replace(record[number], **changed)}


def with_entry(record, number, which, **changed):
    """The record with another entry in the place of the first that `which` is true of."""
    entries = list(record[number].entries)
    place = next(i for i, entry in enumerate(entries) if which(entry))
    entries[place] = replace(entries[place], **changed)
    return with_round(record, number, entries=tuple(entries))


def test_a_run_is_made_again_from_its_record_with_the_same_bits(made):
    assert again(made, made[1]).weights.tobytes() == made[2].weights.tobytes()


def test_other_weights_than_come_of_a_round_are_found_with_the_round(made):
    with pytest.raises(
        ReplayDiffersError, match=r"round 3 comes to other weights than it has on record: \w+, on record"
    ):
        again(made, with_round(made[1], 3, w_global_sha256="0" * 64))


def test_an_answer_that_is_left_out_is_found(made):
    record = with_entry(made[1], 2, lambda e: e.answered, answered=False, reason="late")
    with pytest.raises(ReplayDiffersError, match="round 2"):
        again(made, record)


def test_an_answer_that_is_made_up_is_found(made):
    record = with_entry(made[1], 2, lambda e: not e.answered and e.reason != "stale", answered=True, reason="")
    with pytest.raises(ReplayDiffersError, match="round 2"):
        again(made, record)


def test_an_agent_that_is_taken_out_of_the_record_is_found(made):
    record = with_round(made[1], 2, entries=made[1][2].entries[1:])
    with pytest.raises(ReplayDiffersError, match="round 2"):
        again(made, record)


def test_an_agent_that_was_not_to_be_asked_is_found(made):
    settings, record, _ = made
    asked = {entry.agent_id for entry in record[2].entries}
    other = next(agent for agent in FEDERATION.agents if agent not in asked)
    changed = with_entry(record, 2, lambda e: not e.answered, agent_id=other)
    with pytest.raises(ReplayDiffersError, match="round 2"):
        again((settings, record, None), changed)


def test_another_age_of_the_weights_than_an_agent_had_is_found(made):
    record = with_entry(made[1], 2, lambda e: e.answered, staleness=made[1][2].entries[0].staleness + 1)
    with pytest.raises(ReplayDiffersError, match="round 2"):
        again(made, record)


def test_an_agent_that_answered_and_cannot_be_trained_again_is_named(made):
    class Broken(Trainer):
        def train(self, agent, round_number, weights):
            if round_number == 2:
                raise OSError("no readings")
            return super().train(agent, round_number, weights)

    with pytest.raises(ReplayDiffersError, match=r"cannot be asked again: failed: OSError: no readings"):
        replay(made[1], FEDERATION, made[0], Broken)


def test_a_run_that_stopped_because_nothing_changed_and_was_gone_on_with_is_made_again_to_its_end():
    def void_until_5(order):
        return "failed: ValueError: no" if order.kind == "train" and order.round < 5 else ""

    settings, records, state = replace(BUFFERED, rounds=7), [], State.start(FEDERATION.start)
    while state.round < 7:
        watch = Watch()
        with suppress(VoidRoundsError), Racing(Trainer, 1, void_until_5) as backend:
            federate(state, FEDERATION, settings, backend, [watch])
        records, state = [*records, *watch.records], watch.states[-1]
    assert [r.aggregated for r in records][:5] == [False] * 4 + [True]
    assert replay(recorded(records), FEDERATION, settings, Trainer).weights.tobytes() == state.weights.tobytes()
    forged = with_round(recorded(records), 7, w_global_sha256="0" * 64)
    with pytest.raises(ReplayDiffersError, match="round 7"):
        replay(forged, FEDERATION, settings, Trainer)
