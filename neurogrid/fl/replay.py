"""A run made again from its own record: a backend that answers as the record says who answered, and a comparison.

Whoever answered trains again, from the weights that this replay has come to; whoever is missing on record is missing
again. So the loop, its schedule and whom it draws are those of the run, and a record that names other answers than were
given, or other weights than come of them, is found.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from neurogrid.fl.order import LATE, Answer, Backend, Kind, Missing, Order, Traffic
from neurogrid.fl.record import Round, reason_kind
from neurogrid.fl.rounds import Federation, Observer, RoundSettings, federate
from neurogrid.fl.state import State
from neurogrid.fl.update import AgentId, Matrix, Vector
from neurogrid.fl.void import VoidRoundsError

_NOT_FIT = frozenset({"not_finite", "bad_windows"})  # what `stages.refusal` says

_GIVEN: Mapping[Kind, str] = {"train": "an update", "vote": "votes"}


class ReplayDiffersError(RuntimeError):
    """The record says something else than the replay came to; the message names the round and what differs."""


@dataclass(frozen=True)
class Entry:
    """What the audit of a round says of one agent; see `AgentRecord`."""

    agent_id: AgentId
    answered: bool
    reason: str
    staleness: int
    risky: bool
    voted: bool | None = None


@dataclass(frozen=True)
class Recorded:
    """What a round's record says: of its agents, of the weights after it, and of those that had left by then."""

    entries: tuple[Entry, ...]
    w_global_sha256: str
    left: frozenset[AgentId] = frozenset()


class Replayed:
    """A backend that gives the answers on record, each from the backend that it wraps.

    Args:
        backend: where agents train again. It is given one order at a time, so any will do.
        record: by round, what the run has on record.
    """

    def __init__(self, backend: Backend, record: Mapping[int, Recorded]) -> None:
        self._backend, self._record = backend, record
        self._weights: dict[int, Vector | Matrix] = {}
        self._version = 0
        self._given: int | None = None  # the version that the wrapped backend has
        self._open: dict[tuple[AgentId, int], Order] = {}

    def publish(self, version: int, weights: Vector | Matrix) -> None:
        """See Backend."""
        used = {order.version for order in self._open.values()}
        self._weights = {kept: own for kept, own in self._weights.items() if kept in used}
        self._weights[version] = np.array(weights, np.float32)
        self._given = None
        if version >= 0:  # else it is of candidates
            self._version = version

    def submit(self, orders: Sequence[Order], deadline_s: float) -> None:
        """See Backend. Nothing is late here that was not late in the run."""
        self._open |= {(order.agent, order.version): order for order in orders}

    def answers(self, until_s: float) -> Iterator[Answer]:
        """See Backend: those of the round that trains from the newest version.

        Raises:
            ReplayDiffersError: the record has an answer that nobody was asked for, or that cannot be given again.
        """
        number = self._version + 1
        found = self._record.get(number)
        if ballots := [order for order in self._open.values() if order.kind == "vote"]:
            yield from self._votes(ballots, {e.agent_id: e for e in found.entries} if found else {})
            return
        for entry in sorted(found.entries if found else (), key=_turn):
            version = number - 1 - entry.staleness if entry.answered else self._asked_version(entry.agent_id)
            order = self._open.pop((entry.agent_id, version), None)
            if order is not None and not entry.answered:
                yield Missing(order, entry.reason, entry.risky)
            elif order is not None:
                yield from self._again(order)
            elif entry.answered:
                raise ReplayDiffersError(
                    f"round {number} has an update of agent {entry.agent_id} on record, trained from the weights after "
                    f"round {version}, which was not asked for"
                )

    def _votes(self, ballots: Sequence[Order], entries: Mapping[AgentId, Entry]) -> Iterator[Answer]:
        for order in ballots:
            del self._open[order.agent, order.version]
            entry = entries.get(order.agent)
            if entry is not None and entry.voted:
                yield from self._again(order)
            else:
                yield Missing(order, LATE, entry is not None and entry.answered and entry.risky)

    def _asked_version(self, agent: AgentId) -> int:
        """From which version the agent, who has one order at a time, was to train; -1 where it was not asked."""
        return next((version for asked, version in self._open if asked == agent), -1)

    def _again(self, order: Order) -> Iterator[Answer]:
        if order.version != self._given:
            self._backend.publish(order.version, self._weights[order.version])
            self._given = order.version
        self._backend.submit([order], math.inf)
        for answer in self._backend.answers(math.inf):
            if isinstance(answer, Missing):
                raise ReplayDiffersError(
                    f"round {self._version + 1} has {_GIVEN[order.kind]} of agent {order.agent} on record, "
                    f"but the agent cannot be asked again: {answer.reason}"
                )
            yield answer

    def cancel(self, order_ids: Iterable[int]) -> None:
        """See Backend."""
        gone = set(order_ids)
        self._open = {name: order for name, order in self._open.items() if order.id not in gone}

    def traffic(self) -> Traffic:
        """See Backend."""
        return self._backend.traffic()

    def __enter__(self) -> "Replayed":
        self._backend.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._backend.__exit__(*exc)


def _turn(entry: Entry) -> int:
    """Whose turn it is: a round closes on its last update that is fit to use, so what is none comes before."""
    return 2 if entry.answered and reason_kind(entry.reason) not in _NOT_FIT else int(entry.answered)


@dataclass(frozen=True)
class Comparison:
    """Observer of a replay's `federate`: compares each round with the record."""

    record: Mapping[int, Recorded]

    def after_round(self, record: Round, state: State) -> None:
        """Raises ReplayDiffersError where the round has other agents, or comes to other weights."""
        own = self.record[record.round_id]
        here = {agent.agent_id for agent in record.agents}
        others = sorted(here ^ {entry.agent_id for entry in own.entries})
        if others:
            raise ReplayDiffersError(
                f"round {record.round_id} has other agents on record than were to be asked: {', '.join(others[:5])} "
                f"{'are' if len(others) > 1 else 'is'} in one of the two only"
            )
        if record.w_global_sha256 != own.w_global_sha256:
            raise ReplayDiffersError(
                f"round {record.round_id} comes to other weights than it has on record: "
                f"{record.w_global_sha256[:12]}, on record {own.w_global_sha256[:12]}"
            )


def remake(
    backend: Backend,
    federation: Federation,
    settings: RoundSettings,
    record: Mapping[int, Recorded],
    observers: Iterable[Observer] = (),
) -> State:
    """Makes all rounds on record again, from the federation's first weights; returns the state after the last.

    Args:
        backend: a `Replayed` one of this record, or one around it; entered.
        federation: the run's, with its first weights.
        settings: the run's. Nobody scores: what a panel says changes no weights, and where the run ended is on record.
        record: by round.
        observers: told after each round that is as on record.

    Raises:
        ReplayDiffersError: a round is not.
    """
    settings = replace(settings, rounds=len(record), panel_agents=0, patience_rounds=0, converged_update=0.0)
    last = _Last(State.start(federation.start))
    while last.state.round < len(record):
        # A run that stopped because nothing changed any more may have been gone on with.
        with suppress(VoidRoundsError):
            watchers: list[Observer] = [Comparison(record), last, *observers]
            federate(last.state, federation, settings, backend, watchers, leaving=lambda number: record[number].left)
    return last.state


@dataclass
class _Last:
    """Observer of `federate`: the state after the last round."""

    state: State

    def after_round(self, record: Round, state: State) -> None:
        self.state = state
