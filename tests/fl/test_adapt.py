"""After the rounds every agent adapts the weights; one that fails, hangs or is left alone costs itself alone."""

import numpy as np
import pytest

from neurogrid.backends.inline import InlineBackend
from neurogrid.fl.adapt import adapt
from neurogrid.fl.claims import Claims
from neurogrid.fl.collect import Inbox
from neurogrid.fl.order import LATE, LOST, Missing, Scores
from neurogrid.fl.state import State

WEIGHTS = np.arange(4, dtype=np.float32)


class Trainer:
    def train(self, agent, round_number, weights): ...

    def evaluate(self, agent, weights): ...

    def adapt(self, agent, weights):
        if agent == "raises":
            raise ValueError("no readings")
        return {"loss": float(weights.sum()), "loss_federated": 7.0, "windows": len(agent)}

    def holds(self, agent):
        return True


class WithoutPersonalModels:
    def train(self, agent, round_number, weights): ...

    def evaluate(self, agent, weights): ...

    def holds(self, agent):
        return True


class Counted(Inbox):
    """Notes how many are asked at a time."""

    def __init__(self, backend):
        super().__init__(backend)
        self.asked = []

    def submit(self, orders, deadline_s):
        self.asked.append(len(orders))
        super().submit(orders, deadline_s)


def run(agents, at_once, trainer=Trainer, state=None):
    with InlineBackend(trainer) as backend:
        inbox = Counted(backend)
        state = state or State.start(WEIGHTS)
        return adapt(inbox, state, agents, at_once, 30.0, lambda done, total: None), inbox.asked


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_each_agent_answers_in_the_order_of_agents_and_some_at_a_time(at_once) -> None:
    agents = [f"A{i}" for i in range(7)]
    found, seen = run(agents, at_once)
    assert list(found) == agents
    assert all(isinstance(answer, Scores) for answer in found.values())
    assert found["A3"].claims.metrics == {"loss": 6.0, "loss_federated": 7.0}
    assert found["A3"].claims.windows == 2
    assert max(seen) <= at_once
    assert sum(seen) == 7


def test_one_that_fails_has_no_model_and_the_others_have() -> None:
    found, _ = run(["A1", "raises", "A2"], 2)
    assert isinstance(found["raises"], Missing)
    assert found["raises"].reason == "failed: ValueError: no readings"
    assert isinstance(found["A2"], Scores)


def test_whom_rounds_leave_alone_is_not_asked() -> None:
    state = State.start(WEIGHTS).with_({"lost/agents": {"A1": [3, 4], "A2": [4]}}, round=5)
    found, seen = run(["A1", "A2", "A3"], 5, state=state)
    assert found["A1"].reason == LOST
    assert seen == [2]
    assert isinstance(found["A2"], Scores)


def test_a_workload_without_personal_models_says_so() -> None:
    found, _ = run(["A1"], 1, trainer=WithoutPersonalModels)
    assert "makes no personal models" in found["A1"].reason


class Hanging:
    """A backend on a clock of its own: agents called H... never answer, all others do at once."""

    def __init__(self):
        self.now, self.open = 0.0, {}

    def publish(self, version, weights): ...

    def submit(self, orders, deadline_s):
        self.open |= dict.fromkeys(orders, self.now + deadline_s)

    def answers(self, until_s):
        while self.open:
            order = next((o for o in self.open if not o.agent.startswith("H")), None)
            if order is None:
                order = min(self.open, key=self.open.__getitem__)
                self.now = self.open.pop(order)
                yield Missing(order, LATE)
            else:
                del self.open[order]
                yield Scores(order, Claims(1, {}))


def test_agents_that_hang_in_different_places_cost_one_deadline_together() -> None:
    backend = Hanging()
    agents = [f"{'H' if i % 4 == 0 else 'A'}{i}" for i in range(12)]
    found = adapt(Inbox(backend), State.start(WEIGHTS), agents, 4, 30.0, lambda done, total: None)
    assert backend.now == 30.0
    assert [agent for agent in agents if isinstance(found[agent], Missing)] == ["H0", "H4", "H8"]
