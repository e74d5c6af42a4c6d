"""Agents in this process: what a round makes of the stream of their answers."""

import time

import numpy as np
import pytest

from neurogrid.backends.inline import InlineBackend
from neurogrid.errors import RunError
from neurogrid.fl.claims import Claims
from neurogrid.fl.collect import Inbox, Rows, run_round, score
from neurogrid.fl.update import RoundPlan, Update


class Trainer:
    def train(self, agent, round_number, weights):
        if agent == "raises":
            raise ValueError("no\nreadings")
        if agent == "slow":
            time.sleep(0.3)
        delta = {"short": np.ones(2, np.float32), "double": np.ones(3), "nan": np.full(3, np.nan, np.float32)}
        return Update(agent, delta.get(agent, weights + round_number), 5, {"loss": np.float32(0.5)})

    def evaluate(self, agent, weights):
        if agent == "raises":
            raise ValueError("no readings")
        return {"loss": float(weights.sum()), "windows": 3}

    def holds(self, agent):
        return True


def run(*agents, timeout_s=10.0, **other):
    with InlineBackend(Trainer) as backend:
        return run_round(
            Inbox(backend), RoundPlan(2, agents, np.arange(3, dtype=np.float32), timeout_s, **other), Rows()
        )


def test_updates_come_in_the_order_of_the_plan_and_share_the_matrix():
    result = run("B", "A")
    assert [u.agent for u in result.updates] == ["B", "A"]
    assert result.deltas.tolist() == [[2, 3, 4], [2, 3, 4]]
    assert all(np.shares_memory(u.delta, result.deltas[i]) for i, u in enumerate(result.updates))
    assert result.updates[0].metrics == {"loss": 0.5}
    assert result.updates[0].windows == 5
    assert 0 < result.worked["B"].ended_s <= result.worked["A"].ended_s < 10


def test_an_agent_that_gives_no_usable_update_is_missing_with_the_reason_and_nan_passes():
    result = run("raises", "short", "double", "nan", "A")
    assert [u.agent for u in result.updates] == ["nan", "A"]
    assert result.deltas.shape == (2, 3)
    assert np.isnan(result.deltas[0]).all()
    assert result.missing == {
        "raises": "failed: ValueError: no readings",
        "short": "wrong shape: delta is (2,) float32, not (3,) float32",
        "double": "wrong shape: delta is (3,) float64, not (3,) float32",
    }


def test_agents_after_the_deadline_are_late():
    result = run("A", "slow", "B", timeout_s=0.2)
    assert [u.agent for u in result.updates] == ["A"]
    assert result.missing == {"slow": "late", "B": "late"}


def test_an_agent_that_is_left_alone_is_not_asked_and_missing_as_lost():
    result = run("A", "B", left_alone=frozenset({"A"}))
    assert [u.agent for u in result.updates] == ["B"]
    assert result.missing == {"A": "lost"}


def test_a_score_leaves_out_agents_that_fail():
    with InlineBackend(Trainer) as backend:
        found = score(Inbox(backend), ("B", "raises", "A"), 1, np.ones(3, np.float32), 10.0)
    assert found == {"B": Claims(3, {"loss": 3.0}), "A": Claims(3, {"loss": 3.0})}


def test_a_round_outside_of_the_with_block_is_refused():
    with pytest.raises(RunError, match="with"):
        run_round(Inbox(InlineBackend(Trainer)), RoundPlan(1, ("A",), np.ones(3, np.float32), 1.0), Rows())
