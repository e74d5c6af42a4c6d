"""Who is asked: each agent's chance is the one that is stated, history shifts it, and lies do so only within bounds."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rounds import AGENTS, SETTINGS, START, Scrambled, Trainer, drawn_in, run

from neurogrid.fl.record import AgentRecord
from neurogrid.fl.registry import at_least
from neurogrid.fl.select import HISTORY, Adaptive, SelectSettings, chances, systematic
from neurogrid.fl.state import State
from neurogrid.randomness import generator

ADAPTIVE = replace(SETTINGS, select=SelectSettings("adaptive", 0.2))
SELECT = Adaptive(5, 0.2, 0.2)


def state(history=None, round_number=0):
    slots = {} if history is None else {HISTORY: history}
    return State.start(START).with_(slots, round=round_number)


def row(agent, *, accepted=True, answered=True, reason="", windows=100, loss=1.0, train_s=0.1):
    return AgentRecord(
        1, agent, 0, answered, accepted, 0.1, 1.0, 1.0, 0.0, reason, None, windows, loss, train_s, 0, train_s
    )


weights_and_wanted = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1.0)), min_size=2, max_size=40).flatmap(
    lambda weights: st.tuples(st.just(np.array(weights)), st.integers(1, len(weights) - 1))
)


@given(weights_and_wanted, st.floats(0.01, 1.0))
def test_chances_add_up_to_the_agents_wanted_and_none_is_above_one_or_below_the_floor(drawn, floor):
    weights, wanted = drawn
    each = chances(weights, wanted, floor)
    assert math.isclose(each.sum(), wanted, rel_tol=1e-9)
    assert each.max() <= 1
    assert each.min() >= floor * wanted / len(weights) * (1 - 1e-9)
    order = np.argsort(weights, kind="stable")
    assert (np.diff(each[order]) >= -1e-12).all()


def test_where_nobodys_chance_is_above_one_it_is_what_the_formula_says():
    each = chances(np.array([1.0, 2.0, 3.0, 4.0]), 2, 0.2)
    np.testing.assert_allclose(each, [2 * (0.05 + 0.8 * w / 10) for w in (1, 2, 3, 4)])
    np.testing.assert_allclose(chances(np.array([0.0, 0.0, 1.0]), 2, 0.3), [0.5, 0.5, 1.0])
    np.testing.assert_allclose(chances(np.zeros(4), 1, 0.2), [0.25] * 4)


@given(weights_and_wanted, st.integers(0, 2**32))
def test_as_many_different_agents_are_drawn_as_are_wanted(drawn, seed):
    weights, wanted = drawn
    rows = systematic(chances(weights, wanted, 0.2), wanted, generator(seed, "adaptive agents"))
    assert len(rows) == wanted
    assert rows == sorted(set(rows))


def test_each_agent_is_drawn_as_often_as_its_stated_chance():
    history = {agent: [i / 20, 1.0 - i / 40, 0.9] for i, agent in enumerate(AGENTS)}
    each = chances(np.array([np.prod(history[a]) for a in AGENTS]), 7, 0.2)
    rounds = 1500
    drawn = [SELECT.choose(AGENTS, 7, state(history, number)).agents for number in range(rounds)]
    times = np.array([sum(agent in chosen for chosen in drawn) for agent in AGENTS])
    assert all(list(chosen) == sorted(chosen) and len(chosen) == 7 for chosen in drawn)
    spread = np.sqrt(rounds * each * (1 - each))
    assert (np.abs(times - rounds * each) < 4.5 * spread + 1e-9).all()
    assert times[0] > 0.8 * 0.2 * 7 / 20 * rounds  # nothing but the floor


def test_the_record_says_the_least_and_the_greatest_chance():
    _, seen = run(ADAPTIVE)
    for record in seen.records:
        said = record.figures
        least, greatest = said["select.least_chance"], said["select.greatest_chance"]
        assert 0.2 * 15 / 20 <= least + 1e-9 <= 15 / 20 + 2e-9 <= greatest + 3e-9 <= 1 + 3e-9
    assert seen.records[0].figures["select.untried_agents"] == 20
    assert seen.records[-1].figures["select.untried_agents"] < 5
    _, plain = run()
    assert not [name for name in plain.records[0].figures if name.startswith(("select.", "schedule."))]


def test_who_learns_more_who_answers_and_who_is_accepted_is_asked_more_often():
    rows = [
        row("A00", loss=4.0),
        row("A01", loss=4.0),
        row("A02", loss=1.0),
        row("A03", loss=4.0, accepted=False, answered=False, reason="late", windows=0),
        row("A04", loss=4.0, accepted=False, reason="filtered by multi_krum"),
        row("A05", loss=4.0, accepted=False, reason="round void: too few"),
    ]
    history = SELECT.after_round(state(), rows, 6)[HISTORY]
    assert history == {
        "A00": [1.0, 1.0, 1.0],
        "A01": [1.0, 1.0, 1.0],
        "A02": [0.5 + 0.5 * 0.25, 1.0, 1.0],
        "A03": [1.0, 0.8, 1.0],
        "A04": [1.0, 1.0, 0.8],
        "A05": [1.0, 1.0, 1.0],
    }
    again = SELECT.after_round(state(history), rows[:3], 6)[HISTORY]
    assert again["A02"][0] == pytest.approx(0.25 * 0.25 + 0.75 * 0.625 - 0.0, abs=0.1)
    assert again["A03"] == history["A03"]


@pytest.mark.parametrize("lie", [1e3, 1e12])
def test_liars_no_more_than_f_are_never_worth_more_than_the_most_useful_honest_agent(lie):
    honest = [row(f"A{i:02}", loss=1.0 + i / 10) for i in range(12)]
    liars = [row(f"B{i}", loss=lie, windows=2**31 - 1) for i in range(3)]
    history = SELECT.after_round(state(), [*honest, *liars], 15)[HISTORY]
    assert history["A11"] == history["B0"] == [1.0, 1.0, 1.0]
    truth = SELECT.after_round(state(), honest, 12)[HISTORY]
    assert all(history[a][0] == pytest.approx(truth[a][0], rel=0.2) for a in truth)


@pytest.mark.parametrize("loss", [math.nan, -3.0, 0.0])
def test_a_loss_that_says_nothing_breaks_nothing(loss):
    history = SELECT.after_round(state(), [row("A00", loss=loss), row("A01", loss=loss)], 2)[HISTORY]
    assert all(0 <= figure <= 1 for known in history.values() for figure in known)
    assert len(SELECT.choose(AGENTS, 7, state(history)).agents) == 7


def test_how_long_an_agent_takes_is_no_part_of_its_history():
    quick = SELECT.after_round(state(), [row("A00", train_s=0.001)], 1)
    slow = SELECT.after_round(state(), [row("A00", train_s=1000.0)], 1)
    assert quick == slow


@pytest.mark.parametrize("kind", ["random", "adaptive"])
@pytest.mark.parametrize("stop", [1, 4])
def test_a_resumed_run_asks_the_same_agents_and_comes_to_the_same_bits(kind, stop):
    chosen = replace(SETTINGS, select=SelectSettings(kind, 0.2), agents_per_round=12)

    def lossy():
        return Scrambled(Trainer, lose=lambda number, agent: "late" if (number + int(agent[1:])) % 5 == 0 else "")

    whole, seen = run(chosen, lossy())
    resumed, rest = run(chosen, lossy(), state=seen.states[stop - 1])
    assert whole.state.weights.tobytes() == resumed.state.weights.tobytes()
    ids = [[a.agent_id for a in record.agents] for record in seen.records]
    assert ids[stop:] == [[a.agent_id for a in record.agents] for record in rest.records]
    if kind == "adaptive":
        assert set(whole.state.json(HISTORY)) <= set(AGENTS)
        at_random = run(replace(SETTINGS, agents_per_round=12))[1].records
        assert ids != [[a.agent_id for a in record.agents] for record in at_random]
    else:
        assert HISTORY not in whole.state.slots


def test_an_agent_that_is_always_late_is_asked_less_often_than_others_but_still_asked():
    late = replace(ADAPTIVE, rounds=80, agents_per_round=10)
    _, seen = run(late, Scrambled(Trainer, lose=lambda number, agent: "late" if agent == "A03" else ""))
    times = {agent: sum(agent == a.agent_id for r in seen.records for a in r.agents) for agent in AGENTS}
    assert 2 <= times["A03"] < 0.5 * np.mean([times[a] for a in AGENTS if a != "A03"])


@settings(max_examples=200)
@given(st.integers(1, 60), st.integers(1, 100))
def test_a_quorum_is_the_fewest_agents_that_are_its_share(agents, percent):
    wanted = at_least(percent / 100, agents)
    assert wanted * 100 >= percent * agents > (wanted - 1) * 100


def test_random_draws_what_it_drew_before_there_was_a_choice():
    drawn = generator(5, "agents", 3).choice(20, 15, replace=False)
    assert drawn_in(3) == tuple(AGENTS[i] for i in sorted(drawn.tolist()))


def test_any_two_agents_may_be_drawn_together():
    each = chances(np.ones(6), 2, 0.2)
    pairs = {tuple(systematic(each, 2, generator(seed, "adaptive agents"))) for seed in range(300)}
    assert len(pairs) == 15
