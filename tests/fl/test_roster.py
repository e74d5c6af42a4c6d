"""Agents that leave a run: asked for nothing from then on, on record, and made again with the same bits."""

from dataclasses import replace

import pytest
from racing import Racing, recorded, replay
from test_rounds import AGENTS, FEDERATION, SETTINGS, START, Trainer, Watch
from test_schedule import BUFFERED, losing

from neurogrid.backends.inline import InlineBackend
from neurogrid.fl import roster
from neurogrid.fl.replay import ReplayDiffersError
from neurogrid.fl.rounds import choose_panel, federate
from neurogrid.fl.schedule import ScheduleSettings
from neurogrid.fl.select import SelectSettings
from neurogrid.fl.state import State
from neurogrid.fl.void import VoidRoundsError

PANEL = choose_panel(FEDERATION, SETTINGS)
GONE_FROM_3 = {PANEL[0], *(agent for agent in AGENTS if agent not in PANEL)} - set(AGENTS[8:])
KINDS = {
    "sync": SETTINGS,
    "adaptive": replace(SETTINGS, select=SelectSettings("adaptive")),
    "quorum": replace(SETTINGS, schedule=ScheduleSettings("sync", 0.8)),
    "buffered": BUFFERED,
}


def leaving(number):
    return GONE_FROM_3 if number >= 3 else ()


class Noted(Racing):
    """Notes which agents are asked for what from which weights."""

    def __init__(self):
        super().__init__(Trainer, 1, losing)
        self.asked = []

    def submit(self, orders, deadline_s):
        self.asked += [(order.round, order.kind, order.agent) for order in orders]
        super().submit(orders, deadline_s)


def run(settings, leave, state=None):
    watch = Watch()
    with Noted() as backend:
        federate(state or State.start(START), FEDERATION, settings, backend, [watch], leaving=leave)
    return backend.asked, watch


def as_recorded(records):
    entries = recorded(records)
    return {r.round_id: replace(entries[r.round_id], left=roster.recorded_left(r.figures)) for r in records}


@pytest.fixture(scope="module", params=sorted(KINDS))
def made(request):
    return KINDS[request.param], *run(KINDS[request.param], leaving)


def test_whoever_left_is_asked_before_and_never_after(made):
    _, asked, seen = made
    assert {agent for number, _, agent in asked if number < 3} & GONE_FROM_3
    assert not {agent for number, _, agent in asked if number >= 3} & GONE_FROM_3
    for record in seen.records:
        assert record.round_id < 3 or not {a.agent_id for a in record.agents} & GONE_FROM_3


def test_each_record_from_then_on_says_who_left(made):
    for record in made[2].records:
        gone = GONE_FROM_3 if record.round_id >= 3 else set()
        assert roster.recorded_left(record.figures) == gone
        assert record.figures.get("roster.left_agents", 0) == len(gone)


def test_a_run_that_agents_left_is_made_again_with_the_same_bits(made):
    settings, _, seen = made
    again = replay(as_recorded(seen.records), FEDERATION, settings, Trainer)
    assert again.weights.tobytes() == seen.states[-1].weights.tobytes()


def test_a_record_that_hides_who_left_is_found(made):
    settings, _, seen = made
    with pytest.raises(ReplayDiffersError):
        replay(recorded(seen.records), FEDERATION, settings, Trainer)


def test_whoever_left_stays_away_when_a_run_goes_on_without_the_list():
    whole = run(SETTINGS, leaving)[1].states[-1]
    asked, seen = run(SETTINGS, roster.nobody, run(replace(SETTINGS, rounds=4), leaving)[1].states[-1])
    assert not {agent for _, _, agent in asked} & GONE_FROM_3
    assert seen.states[-1].weights.tobytes() == whole.weights.tobytes()


def test_who_left_before_is_gone_too_where_the_list_names_others_now():
    state = roster.with_left(roster.with_left(State.start(START), {"A1"}), {"A2"})
    assert roster.left(state) == {"A1", "A2"}


def test_a_run_that_nobody_left_says_nothing_of_it():
    _, seen = run(replace(SETTINGS, rounds=2), roster.nobody)
    assert not any("roster" in record.reports for record in seen.records)
    assert all(roster.LEFT not in state.slots for state in seen.states)


def test_a_run_that_everybody_left_ends_in_words():
    with pytest.raises(VoidRoundsError), InlineBackend(Trainer) as backend:
        federate(State.start(START), FEDERATION, SETTINGS, backend, [], leaving=lambda number: AGENTS)
