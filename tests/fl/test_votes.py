"""Votes: what a minority of liars can do to them, and rounds whose agents vote."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from racing import Racing, recorded, replay
from test_rounds import AGENTS, FEDERATION, SEED, SETTINGS, START, D, Trainer, goal, run
from test_schedule import BUFFERED

from neurogrid.backends.inline import InlineBackend
from neurogrid.fl.attack import Attacked, Attackers, AttackSettings
from neurogrid.fl.claims import MOST_CANDIDATES, Claims, Refusal, ballot
from neurogrid.fl.order import LATE, Order
from neurogrid.fl.replay import ReplayDiffersError
from neurogrid.fl.schedule import ScheduleSettings
from neurogrid.fl.void import VoidRoundsError
from neurogrid.fl.votes import TooFewVotesError, vote
from neurogrid.randomness import generator

VOTE = replace(SETTINGS, aggregation=replace(SETTINGS.aggregation, rule="vote"))
TOLD = st.floats(-1e12, 1e12) | st.just(np.inf)


class Voter(Trainer):
    """Its loss is how far the weights are from its own goal, in units of its own."""

    def vote(self, agent, round_number, candidates):
        unit = 1 + AGENTS.index(agent)
        return [unit * (10 + float(np.square(goal(agent) - weights).sum())) for weights in candidates]


def of(votes, f):
    verdict = vote(np.zeros((votes.shape[1], 2), np.float32), f, votes)
    return verdict.kept.tolist(), verdict.scores


@st.composite
def polls(draw):
    """Votes of which f rows are anything, and the others agree that some updates are worse than all others."""
    f = draw(st.integers(1, 3))
    n = draw(st.integers(3 * f + 1, 12))
    honest = generator(draw(st.integers(0, 99)), "votes").normal(size=(n, n))
    worst = draw(st.lists(st.integers(0, n - 1), min_size=f, max_size=f, unique=True))
    honest[:, worst] += 100
    honest += generator(n, "votes").normal(0, 1000, (n, 1))
    liars = draw(st.lists(st.integers(0, n - 1), min_size=f, max_size=f, unique=True))
    for liar in liars:
        honest[liar] = draw(st.lists(TOLD, min_size=n, max_size=n))
    # As many honest voters are left as it takes, though liars make themselves unheard.
    silent = draw(st.integers(0, max(0, n - 3 * f - 1)))
    honest[[row for row in range(n) if row not in liars][:silent]] = np.nan
    return honest, f, worst


@settings(max_examples=60, deadline=None)
@given(polls())
def test_what_all_honest_voters_find_worst_is_dropped_whatever_f_liars_say(poll):
    votes, f, worst = poll
    kept, _ = of(votes, f)
    assert [row for row, is_kept in enumerate(kept) if not is_kept] == sorted(worst)


@settings(max_examples=30, deadline=None)
@given(polls(), st.randoms(use_true_random=False))
def test_the_order_of_agents_says_nothing(poll, random):
    votes, f, _ = poll
    order = random.sample(range(len(votes)), len(votes))
    kept, scores = of(votes, f)
    again, others = of(votes[np.ix_(order, order)], f)
    assert again == [kept[row] for row in order]
    np.testing.assert_array_equal(others, scores[order])


def test_an_update_that_gives_no_finite_loss_is_worst_and_is_dropped_beyond_f_too():
    votes = np.ones((7, 7))
    votes[:, [2, 3, 5]] = np.inf
    assert of(votes, 1)[0] == [True, True, False, False, True, False, True]


def test_no_more_than_twice_f_voters_that_are_heard_decide_nothing():
    votes = np.arange(49.0).reshape(7, 7)
    votes[0] = np.nan
    votes[1] = np.inf
    with pytest.raises(TooFewVotesError, match=r"f = 3 malicious voters needs more than 6 voters, got 5"):
        vote(np.zeros((7, 2), np.float32), 3, votes)
    assert sum(of(votes, 2)[0]) == 5
    votes[2] = np.nan  # four are heard, of whom two may lie
    with pytest.raises(TooFewVotesError, match="needs more than 4 voters, got 4"):
        vote(np.zeros((7, 2), np.float32), 2, votes)


@pytest.mark.parametrize("told", [None, "1", [], [1.0, "2"], [True], [1.0] * (MOST_CANDIDATES + 1), {"loss": 1}])
def test_what_is_no_list_of_losses_is_no_vote(told):
    assert isinstance(ballot(told), Refusal)


def test_a_loss_that_is_no_finite_number_is_worse_than_all_others():
    assert ballot([1, float("nan"), -np.inf, 10**400, None, np.float32(0.5)]) == Claims(
        0, {}, (1.0, np.inf, np.inf, np.inf, np.inf, 0.5)
    )


def attacked(kind="scale", placement="fixed"):
    return Attackers(AGENTS, SEED, AttackSettings(kind, 0.2, placement, -10.0, 1.0))


@pytest.mark.parametrize("placement", ["fixed", "per_round"])
def test_attackers_are_dropped_though_they_vote_for_one_another(placement):
    attackers = attacked(placement=placement)
    _, seen = run(VOTE, Attacked(InlineBackend(Voter), attackers), truth=attackers)
    assert all(r.figures["vote.voters"] == r.figures["n_total_agents"] == 15 for r in seen.records)
    for record in seen.records:
        attacking = [agent for agent in record.agents if agent.malicious]
        assert sum(not agent.accepted for agent in attacking) == min(3, len(attacking))
        assert sum(not agent.accepted for agent in record.agents) == 3
        worst = max((a.score for a in record.agents if not a.malicious), default=-np.inf)
        assert all(agent.score > worst for agent in attacking)
    assert sum(agent.malicious for record in seen.records for agent in record.agents) >= 12


def quiet(order: Order) -> str:
    """Who gives no vote: two are late in each round, one takes down its task in round 2."""
    if order.kind != "vote":
        return ""
    if order.agent == "A03" and order.round == 2:
        return "lost"
    return LATE if order.agent in ("A01", "A05", "A09") else ""


@pytest.mark.parametrize(
    "chosen",
    [VOTE, replace(VOTE, schedule=ScheduleSettings("sync", 0.8)), replace(BUFFERED, aggregation=VOTE.aggregation)],
    ids=["sync", "quorum", "buffered"],
)
def test_who_gives_no_vote_costs_its_vote_alone_and_the_rounds_are_made_again_with_the_same_bits(chosen):
    finish, seen = run(chosen, Racing(Voter, 1, quiet))
    assert all(record.aggregated for record in seen.records)
    silent = {a.agent_id for record in seen.records for a in record.agents if a.voted is False}
    assert silent >= {"A01"}
    assert {"A01", "A05"} & {a.agent_id for record in seen.records for a in record.agents if a.accepted}
    record = recorded(seen.records)
    assert replay(record, FEDERATION, chosen, Voter).weights.tobytes() == finish.state.weights.tobytes()
    resumed, _ = run(chosen, Racing(Voter, 1, quiet), state=seen.states[2])
    if chosen is VOTE:
        assert resumed.state.weights.tobytes() == finish.state.weights.tobytes()


def test_a_vote_on_record_that_was_not_given_and_one_that_is_left_out_are_found():
    _, seen = run(VOTE, Racing(Voter, 1, quiet))
    record = recorded(seen.records)
    others = tuple(replace(entry, voted=not entry.voted) for entry in record[2].entries)
    with pytest.raises(ReplayDiffersError, match="round 2 comes to other weights"):
        replay({**record, 2: replace(record[2], entries=others)}, FEDERATION, VOTE, Voter)


def test_an_agent_that_voted_and_cannot_vote_again_is_named():
    class Broken(Voter):
        def vote(self, agent, round_number, candidates):
            raise OSError("no readings")

    _, seen = run(VOTE, InlineBackend(Voter))
    with pytest.raises(ReplayDiffersError, match=r"votes of agent A\d+ on record, but .* OSError: no readings"):
        replay(recorded(seen.records), FEDERATION, VOTE, Broken)


class Poisoned(Voter):
    def vote(self, agent, round_number, candidates):
        if agent in ("A01", "A04", "A07", "A10", "A13", "A16"):
            return [float("nan")] * len(candidates)
        if agent == "A02":
            raise ValueError("no readings")
        if agent == "A05":
            return [1.0]
        return super().vote(agent, round_number, candidates)


def test_votes_that_are_no_numbers_too_few_or_fail_are_not_heard():
    _, seen = run(VOTE, InlineBackend(Poisoned))
    _, whole = run(VOTE, InlineBackend(Voter))
    assert all(record.aggregated for record in seen.records)
    by_agent = {a.agent_id: a.voted for record in seen.records for a in record.agents}
    assert by_agent["A05"] is by_agent["A02"] is False
    assert whole.records[0].held_out_loss > whole.records[-1].held_out_loss
    assert seen.records[0].held_out_loss > seen.records[-1].held_out_loss


def test_a_round_with_too_few_votes_is_void_and_says_so():
    def mute(order):
        return LATE if order.kind == "vote" and order.round == 2 and order.agent > "A06" else ""

    _, seen = run(replace(VOTE, rounds=3), Racing(Voter, 1, mute))
    assert [record.aggregated for record in seen.records] == [True, False, True]
    assert "a vote with f = 3 malicious voters needs more than 6 voters" in seen.records[1].void_reason


def test_who_takes_down_its_task_by_votes_twice_is_left_alone():
    def deadly(order):
        return "lost" if order.kind == "vote" and order.agent in AGENTS[:2] else ""

    everybody = replace(VOTE, agents_per_round=20, rounds=4)
    _, seen = run(everybody, Racing(Voter, 1, deadly))
    answered = [{a.agent_id for a in record.agents if a.answered} for record in seen.records]
    assert [set(AGENTS[:2]) <= found for found in answered] == [True, True, False, False]
    assert replay(recorded(seen.records), FEDERATION, everybody, Voter).weights.tobytes() == (
        seen.states[-1].weights.tobytes()
    )


def test_agents_of_districts_vote_on_one_another_where_districts_are_judged_alone():
    apart = replace(VOTE, aggregation=replace(VOTE.aggregation, scope="district"), agents_per_round=20)
    _, seen = run(apart, InlineBackend(Voter))
    assert all(sum(not a.accepted for a in record.agents) == 4 for record in seen.records)


def test_a_workload_whose_agents_do_not_vote_has_void_rounds():
    with pytest.raises(VoidRoundsError, match="changed nothing"):
        run(VOTE, InlineBackend(Trainer))


def test_votes_are_of_the_weights_that_a_round_would_come_to_with_each_update_alone():
    seen = []

    class Watched(Voter):
        def vote(self, agent, round_number, candidates):
            seen.append(candidates.copy())
            return super().vote(agent, round_number, candidates)

    unclipped = replace(VOTE.aggregation, stages=("admit", "rule", "mean", "server_step"))
    _, watch = run(replace(VOTE, aggregation=unclipped, rounds=1), InlineBackend(Watched))
    asked = [a.agent_id for a in watch.records[0].agents]
    expected = [START + Trainer().train(agent, 1, START).delta for agent in asked]
    assert len(seen) == 15
    assert all(candidates.tobytes() == np.array(expected, np.float32).tobytes() for candidates in seen)
    assert seen[0].shape == (15, D)
