"""When a round closes, and what becomes of those who have not answered by then.

`Sync`: all agents of a round train from the same weights. It closes when all have answered, or a quorum has; the others
are late, and their work is lost.

`Buffered`: FedBuff (Nguyen et al. 2022, arXiv:2106.06639). As many agents as `agents_per_round` are at work all the
time, and every so many usable updates close a round. Who is still at work goes on, and its update comes into a later
round, where it weighs less (see `stages.Weigh`). When a round begins, agents are drawn for those that have answered.

Which answers a round is made of depends on who was first, so the record says it: who answered, from how old weights,
and who gave nothing for which reason. Within a round the order of answers changes nothing, since sums are made in the
order of all agents. So replay.py gets the same bits from the record.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from neurogrid.fl import lost, roster
from neurogrid.fl.collect import Inbox, Rows, gather, run_round
from neurogrid.fl.order import Order, orders
from neurogrid.fl.record import Figures
from neurogrid.fl.registry import at_least
from neurogrid.fl.select import Select
from neurogrid.fl.state import Slot, State
from neurogrid.fl.update import AgentId, RoundPlan, RoundResult
from neurogrid.fl.uplink import remembered

FLIGHT, VERSIONS = "schedule/flight", "schedule/versions"


@dataclass(frozen=True)
class ScheduleSettings:
    """When rounds close; see the config's section `rounds` for each key."""

    kind: Literal["sync", "buffered"] = "sync"
    quorum: float = 1.0
    buffer: int = 10
    max_staleness: int = 10


@dataclass(frozen=True)
class Pool:
    """Whom a schedule draws from.

    Attributes:
        everyone: all agents, in the order of every sum.
        at_work: how many are to be at work at once.
        timeout_s: an agent that has not answered by then is late.
        select: who draws them.
        buffers: columns of the vector that are statistics, which a round sets rather than steps (see spec.py).
    """

    everyone: tuple[AgentId, ...]
    at_work: int
    timeout_s: float
    select: Select
    buffers: slice


@dataclass(frozen=True)
class Gathered:
    """What a round is made of.

    Attributes:
        agents: all whose answer came in it or will not come any more, in the order of every sum.
        asked: those of them that were asked.
        result: what they gave.
        at_work: of how many agents at once the fastest may have been those that answered.
        slots: of the state that changed.
        reports: figures for the round's record.
    """

    agents: tuple[AgentId, ...]
    asked: tuple[AgentId, ...]
    result: RoundResult
    at_work: int
    slots: Mapping[str, Slot]
    reports: Mapping[str, Figures]


class Schedule(Protocol):
    """Gathers the updates of one round after another."""

    def gather(self, state: State) -> Gathered:
        """What the round after `state` is made of; the deltas are valid until the next round.

        Raises:
            RunError: nobody is left to train.
        """
        ...


class Sync:
    """Rounds of agents that all train from the newest weights.

    Args:
        pool: see there.
        quorum: share of the round's agents whose usable updates close it.
        inbox: where orders go and answers come from.
    """

    def __init__(self, pool: Pool, quorum: float, inbox: Inbox) -> None:
        self._pool, self._quorum, self._inbox, self._rows = pool, quorum, inbox, Rows()

    def gather(self, state: State) -> Gathered:
        """See Schedule."""
        number, before = state.round + 1, state.json("lost/agents")
        chosen = self._pool.select.choose(roster.staying(self._pool.everyone, state), self._pool.at_work, state)
        agents = chosen.agents
        plan = RoundPlan(
            round=number,
            agents=agents,
            weights=state.weights,
            timeout_s=self._pool.timeout_s,
            attempts=lost.attempts(before),
            left_alone=lost.left_alone(before, number),
            closes_at=None if self._quorum >= 1 else at_least(self._quorum, len(agents)),
            remembers=remembered(state),
        )
        result = run_round(self._inbox, plan, self._rows)
        reports = {"select": chosen.figures} if chosen.figures else {}
        return Gathered(agents, plan.asked, result, len(agents), {}, reports)


class Buffered:
    """Rounds of so many updates, from agents that are at work all the time.

    An agent has one order at a time, and a round has one answer of it. Who is at work is in the slots, with the weights
    that they train from, so that a run that was stopped asks them again and they give the same updates:

        schedule/flight    {"agents": {agent: version}, "versions": [version, ...]}, a version by its round
        schedule/versions  (versions, d) float32, in that order; no more than `max_staleness` of them

    Args:
        pool: see there.
        buffer: so many usable updates close a round.
        max_staleness: an agent whose weights are older than so many rounds is given up.
        inbox: where orders go and answers come from.
    """

    def __init__(self, pool: Pool, buffer: int, max_staleness: int, inbox: Inbox) -> None:
        self._pool, self._buffer, self._max_staleness = pool, buffer, max_staleness
        self._inbox, self._rows = inbox, Rows()
        self._open: dict[AgentId, tuple[Order, float]] = {}

    def gather(self, state: State) -> Gathered:
        """See Schedule."""
        gone, everyone = roster.left(state), roster.staying(self._pool.everyone, state)
        flight = {a: v for a, v in _flight(state)["agents"].items() if a not in gone}
        stale = {a: v for a, v in flight.items() if state.round - v > self._max_staleness}
        going_on = {a: v for a, v in flight.items() if a not in stale}
        self._inbox.cancel([self._open.pop(agent)[0] for agent in (*stale, *gone) if agent in self._open])
        self._ask_again({a: v for a, v in going_on.items() if a not in self._open}, state)
        free = [agent for agent in everyone if agent not in flight]
        chosen = self._pool.select.choose(free, max(0, self._pool.at_work - len(going_on)), state)
        plan = self._plan(state, {*flight, *chosen.agents}, chosen.agents, stale)
        asked = [agent for agent in plan.asked if agent not in flight]
        new = orders(asked, "train", plan.round, state.round, plan.attempts, remembered(state))
        now = time.perf_counter()
        result = gather(self._inbox, plan, new, dict(self._open.values()), self._rows)
        self._rebase(result, state)
        done = {update.agent for update in result.updates} | set(result.missing)
        at_work = {**self._open, **{order.agent: (order, now) for order in new}}
        self._open = {agent: own for agent, own in at_work.items() if agent not in done}
        agents = tuple(agent for agent in plan.agents if agent in done)
        ages = list(result.staleness.values())
        report = {
            "agents_in_flight": len(self._open),
            "stale_agents": len(stale),
            "mean_staleness": sum(ages) / len(ages) if ages else None,
            "greatest_staleness": max(ages, default=None),
        }
        return Gathered(
            agents,
            tuple(agent for agent in agents if agent not in plan.left_alone),
            result,
            min(self._pool.at_work, len(everyone)),
            self._slots(state),
            {"schedule": report, **({"select": chosen.figures} if chosen.figures else {})},
        )

    def _plan(
        self, state: State, agents: set[AgentId], chosen: Sequence[AgentId], stale: Mapping[AgentId, int]
    ) -> RoundPlan:
        number, before = state.round + 1, state.json("lost/agents")
        why = "stale: its weights were of {} rounds before, rounds.max_staleness is {}"
        return RoundPlan(
            round=number,
            agents=tuple(agent for agent in self._pool.everyone if agent in agents),
            weights=state.weights,
            timeout_s=self._pool.timeout_s,
            attempts=lost.attempts(before),
            left_alone=lost.left_alone(before, number) & set(chosen),
            closes_at=self._buffer,
            missing={a: why.format(state.round - version, self._max_staleness) for a, version in stale.items()},
        )

    def _ask_again(self, agents: Mapping[AgentId, int], state: State) -> None:
        """Asks those who were at work when the run was stopped for the same as then."""
        attempts = lost.attempts(state.json("lost/agents"))
        for row, version in enumerate(_flight(state)["versions"]):
            own = [agent for agent in self._pool.everyone if agents.get(agent) == version]
            if own:
                asked = orders(own, "train", version + 1, version, attempts, remembered(state))
                self._inbox.backend.publish(version, state.array(VERSIONS)[row])
                self._open |= {order.agent: (order, time.perf_counter()) for order in asked}
                self._inbox.submit(asked, self._pool.timeout_s)

    def _rebase(self, result: RoundResult, state: State) -> None:
        """Makes what stale agents say of their statistics a change of the newest ones.

        A round sets statistics to a mean of the agents' own; an agent sends its own less those that it began from.
        """
        columns = self._pool.buffers
        for row, update in enumerate(result.updates):
            if age := result.staleness[update.agent]:
                before = state.array(VERSIONS)[_flight(state)["versions"].index(state.round - age)]
                result.deltas[row, columns] += before[columns] - state.weights[columns]

    def _slots(self, state: State) -> dict[str, Slot]:
        """Who is at work after the round that follows `state`; what will be too old in the next is not kept."""
        agents = {agent: order.version for agent, (order, _) in sorted(self._open.items())}
        versions = sorted({v for v in agents.values() if state.round + 1 - v <= self._max_staleness})
        before = _flight(state)["versions"]
        kept = [
            state.weights if version == state.round else state.array(VERSIONS)[before.index(version)]
            for version in versions
        ]
        weights = np.array(kept, np.float32).reshape(len(kept), state.weights.size)
        return {FLIGHT: {"agents": agents, "versions": versions}, VERSIONS: weights}


def make_schedule(settings: ScheduleSettings, pool: Pool, inbox: Inbox) -> Schedule:
    """What the settings name."""
    if settings.kind == "sync":
        return Sync(pool, settings.quorum, inbox)
    return Buffered(pool, settings.buffer, settings.max_staleness, inbox)


def _flight(state: State) -> Any:
    return state.json(FLIGHT) if FLIGHT in state.slots else {"agents": {}, "versions": []}
