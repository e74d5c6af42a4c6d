"""A round on top of a backend's stream: ask, gather what comes, put it in the plan's order."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from neurogrid.fl.aggregate import length
from neurogrid.fl.claims import Claims
from neurogrid.fl.order import LATE, LOST, Answer, Backend, Missing, Order, Scores, Update, orders
from neurogrid.fl.payload import PayloadError
from neurogrid.fl.stages import refusal
from neurogrid.fl.update import AgentId, Matrix, Phases, RoundPlan, RoundResult, Vector, Worked
from neurogrid.fl.update import Update as AgentUpdate
from neurogrid.fl.uplink import Uplink


class Rows:
    """A matrix for a round's deltas, kept from round to round: to touch fresh memory costs more than the copies."""

    def __init__(self) -> None:
        self._matrix: Matrix = np.empty((0, 0), np.float32)

    def take(self, agents: int, n_weights: int) -> Matrix:
        """(agents, n_weights) float32, with anything in it; what was taken before is not valid any more."""
        if self._matrix.shape[0] < agents or self._matrix.shape[1] != n_weights:
            self._matrix = np.empty((agents, n_weights), np.float32)
        return self._matrix[:agents]


class Inbox:
    """A backend's answers for whoever waits for them: a round that trains, the panel that scores.

    While one of them is waited for, what comes for others is kept; what comes for nobody is dropped.
    """

    def __init__(self, backend: Backend, uplink: Uplink | None = None) -> None:
        self.backend, self.uplink = backend, uplink
        self._open: set[int] = set()
        self._kept: dict[int, Answer] = {}

    def submit(self, orders: Sequence[Order], deadline_s: float) -> None:
        """See `Backend`."""
        self._open |= {order.id for order in orders}
        self.backend.submit(orders, deadline_s)

    def cancel(self, orders: Iterable[Order]) -> None:
        """Nobody waits for these any more: no answer to them is heard, not even that they are missing."""
        self._forget({order.id for order in orders} & self._open)

    def close(self) -> None:
        """Nobody waits for anything any more."""
        self._forget(set(self._open))

    def _forget(self, numbers: set[int]) -> None:
        self._open -= numbers
        unanswered = sorted(number for number in numbers if self._kept.pop(number, None) is None)
        if unanswered:
            self.backend.cancel(unanswered)

    def answers(self, orders: Iterable[Order]) -> Iterator[Answer]:
        """Answers to these orders as they come. Ends after the last; who stops before that hears the rest next time.

        Raises:
            RunError: nobody is left to answer.
        """
        waiting = {order.id for order in orders} & self._open
        for number in [number for number in self._kept if number in waiting]:
            waiting.discard(number)
            self._open.discard(number)
            yield self._kept.pop(number)
        if not waiting:
            return
        for answer in self.backend.answers(math.inf):
            number = answer.order.id
            if number in waiting:
                waiting.discard(number)
                self._open.discard(number)
                yield answer
                if not waiting:
                    return
            elif number in self._open:
                # A delta is the backend's memory, and readable only until the next answer.
                self._kept[number] = _own(answer) if isinstance(answer, Update) else answer


def _own(update: Update) -> Update:
    return update if isinstance(update.delta, bytes) else replace(update, delta=update.delta.copy())


def run_round(inbox: Inbox, plan: RoundPlan, rows: Rows) -> RoundResult:
    """Has the plan's agents train. The result's deltas lie in `rows`. Who has not answered when it closes is late.

    Raises:
        RunError: nobody is left to train them.
    """
    asked = orders(plan.asked, "train", plan.round, plan.round - 1, plan.attempts, plan.remembers)
    result = gather(inbox, plan, asked, {}, rows)
    inbox.cancel(asked)
    answered = {update.agent for update in result.updates}
    missing = {a: result.missing.get(a, LATE) for a in plan.agents if a not in answered}
    return replace(result, missing=missing)


def gather(
    inbox: Inbox, plan: RoundPlan, new: Sequence[Order], waiting: Mapping[Order, float], rows: Rows
) -> RoundResult:
    """Submits the `new` orders and takes answers to them and to those `waiting`, until the plan says that it closes.

    Args:
        inbox: where answers come in.
        plan: of the round; its agents are those of all these orders, and those that are not asked.
        new: orders for the plan's weights.
        waiting: orders of rounds before, with when they were submitted, by time.perf_counter.
        rows: where the result's deltas lie.

    Raises:
        RunError: nobody is left to train the agents.
    """
    deltas = rows.take(len(plan.agents), plan.weights.size)
    place = {agent: row for row, agent in enumerate(plan.agents)}
    missing = {**plan.missing, **{agent: LOST for agent in plan.agents if agent in plan.left_alone}}
    came: dict[int, Update] = {}
    risky: set[AgentId] = set()
    fit = 0
    began = time.perf_counter()
    inbox.backend.publish(plan.round - 1, plan.weights)
    inbox.submit(new, plan.timeout_s)
    for answer in inbox.answers((*waiting, *new)):
        agent = answer.order.agent
        if isinstance(answer, Update):
            row = deltas[place[agent]]
            try:
                np.copyto(row, decoded(answer.delta, inbox.uplink))
            except PayloadError as error:
                missing[agent] = f"wrong shape: {error}"
                continue
            came[place[agent]] = answer
            fit += plan.closes_at is not None and _is_fit(answer, row)
            if fit == plan.closes_at:
                break
        elif isinstance(answer, Missing):
            missing[agent] = answer.reason
            if answer.risky:
                risky.add(agent)
    updates = []
    worked: dict[AgentId, Worked] = {}
    for number, index in enumerate(sorted(came)):
        if number != index:  # somebody before it is missing: close the gap
            deltas[number] = deltas[index]
        answer = came[index]
        agent, claims = answer.order.agent, answer.claims
        updates.append(AgentUpdate(agent, deltas[number], claims.windows, claims.metrics))
        worked[agent] = answer.worked
        if answer.order in waiting:  # seconds into this round, not into the one in which it was asked
            into_s = waiting[answer.order] - began
            worked[agent] = replace(answer.worked, ended_s=answer.worked.ended_s + into_s)
    traffic = inbox.backend.traffic()
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
        staleness={update.order.agent: plan.round - 1 - update.order.version for update in came.values()},
    )


def decoded(sent: Vector | bytes, uplink: Uplink | None) -> Vector:
    """(d,) float32 of what an agent sent; raises PayloadError where that is not what was asked for."""
    if uplink is not None:
        if not isinstance(sent, bytes):
            raise PayloadError(f"an update without the codec {uplink.codec.name}")
        return uplink.received(sent)
    if isinstance(sent, bytes):
        raise PayloadError("a payload where float32 was asked for")
    return sent


def _is_fit(update: Update, delta: Vector) -> bool:
    """Whether the first stage will admit it: a round does not close on what no rule will see."""
    with np.errstate(over="ignore", invalid="ignore"):
        return not refusal(update.claims.windows, np.array([length(delta)]))


def score(
    inbox: Inbox, agents: Sequence[AgentId], version: int, weights: Vector, deadline_s: float
) -> dict[AgentId, Claims]:
    """What each of `agents` says of the weights, in their order; who failed or was late is left out.

    Raises:
        RunError: nobody is left to score them.
    """
    asked = orders(agents, "score", version, version, {})
    inbox.backend.publish(version, weights)
    inbox.submit(asked, deadline_s)
    found = {a.order.agent: a.claims for a in inbox.answers(asked) if isinstance(a, Scores)}
    return {agent: found[agent] for agent in agents if agent in found}
