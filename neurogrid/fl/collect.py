"""A synchronous round on top of a backend's stream: ask, gather what comes, put it in the plan's order."""

import math
import time
from collections.abc import Sequence

import numpy as np

from neurogrid.fl.claims import Claims
from neurogrid.fl.order import LOST, Backend, Missing, Scores, Update, orders
from neurogrid.fl.update import AgentId, Matrix, Phases, RoundPlan, RoundResult, Vector, Worked
from neurogrid.fl.update import Update as AgentUpdate


class Rows:
    """A matrix for a round's deltas, kept from round to round: to touch fresh memory costs more than the copies."""

    def __init__(self) -> None:
        self._matrix: Matrix = np.empty((0, 0), np.float32)

    def take(self, agents: int, n_weights: int) -> Matrix:
        """(agents, n_weights) float32, with anything in it; what was taken before is not valid any more."""
        if self._matrix.shape[0] < agents or self._matrix.shape[1] != n_weights:
            self._matrix = np.empty((agents, n_weights), np.float32)
        return self._matrix[:agents]


def run_round(backend: Backend, plan: RoundPlan, rows: Rows) -> RoundResult:
    """Has the plan's agents train. The result's deltas lie in `rows`.

    Raises:
        RunError: nobody is left to train them.
    """
    deltas = rows.take(len(plan.agents), plan.weights.size)
    version = plan.round - 1
    missing = {agent: LOST for agent in plan.agents if agent in plan.left_alone}
    asked = orders(plan.asked, "train", plan.round, version, plan.attempts)
    began = time.perf_counter()
    backend.publish(version, plan.weights)
    backend.submit(asked, plan.timeout_s)
    place = {agent: row for row, agent in enumerate(plan.agents)}
    came: dict[int, Update] = {}
    risky: set[AgentId] = set()
    for answer in backend.answers(math.inf):
        agent = answer.order.agent
        if isinstance(answer, Update):
            np.copyto(deltas[place[agent]], answer.delta)
            came[place[agent]] = answer
        elif isinstance(answer, Missing):
            missing[agent] = answer.reason
            if answer.risky:
                risky.add(agent)
    updates = []
    worked: dict[AgentId, Worked] = {}
    for row, index in enumerate(sorted(came)):
        if row != index:  # somebody before it is missing: close the gap
            deltas[row] = deltas[index]
        agent, claims = came[index].order.agent, came[index].claims
        updates.append(AgentUpdate(agent, deltas[row], claims.windows, claims.metrics))
        worked[agent] = came[index].worked
    traffic = backend.traffic()
    # What is sent while another task trains already is no part of the round's length.
    beyond_s = max(0.0, time.perf_counter() - began - traffic.train_s)
    send_s = min(traffic.send_s, beyond_s)
    return RoundResult(
        updates=tuple(updates),
        deltas=deltas[: len(updates)],
        missing={agent: missing[agent] for agent in plan.agents if agent in missing},
        phases=Phases(send_s, traffic.train_s, beyond_s - send_s),
        bytes_down=traffic.bytes_down,
        bytes_up=traffic.bytes_up,
        executors=traffic.executors,
        reassigned=traffic.reassigned,
        worked=worked,
        risky=frozenset(risky),
    )


def score(
    backend: Backend, agents: Sequence[AgentId], version: int, weights: Vector, deadline_s: float
) -> dict[AgentId, Claims]:
    """What each of `agents` says of the weights, in their order; who failed or was late is left out.

    Raises:
        RunError: nobody is left to score them.
    """
    backend.publish(version, weights)
    backend.submit(orders(agents, "score", version, version, {}), deadline_s)
    found = {a.order.agent: a.claims for a in backend.answers(math.inf) if isinstance(a, Scores)}
    return {agent: found[agent] for agent in agents if agent in found}
