"""What a round asks of agents and what comes back: orders go to a backend, answers come as a stream.

A backend is where agents run: this process, or resident Spark tasks. It hands orders to whoever may answer them, as it
likes; equal orders give equal bits, so it doesn't matter who does, and the first answer counts.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from neurogrid.fl.claims import Claims
from neurogrid.fl.update import AgentId, Matrix, Vector, Worked

LATE, LOST = "late", "lost"
Kind = Literal["train", "score", "adapt", "vote"]
_IDS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Order:
    """One thing that is asked of one agent.

    Attributes:
        id: never used again in this process.
        agent: who is asked.
        kind: `train` from the weights, `score` them, `adapt` them to itself and keep what comes of it, or `vote` on
            several: give the loss of each.
        round: number of the round.
        version: of the published weights.
        attempt: 1 for an agent that took down or held up its task in the last round it was in: it is tried after all
            others, alone and once.
        remembers: the last round of which the server took its update, where agents remember what they did not send
            (see uplink.py); 0 is none.
    """

    id: int
    agent: AgentId
    kind: Kind
    round: int
    version: int
    attempt: int = 0
    remembers: int = 0


def orders(
    agents: Iterable[AgentId],
    kind: Kind,
    round_number: int,
    version: int,
    attempts: Mapping[AgentId, int],
    remembers: Mapping[AgentId, int] | None = None,
) -> tuple[Order, ...]:
    """One order an agent, with new ids."""
    known = remembers or {}
    return tuple(Order(next(_IDS), a, kind, round_number, version, attempts.get(a, 0), known.get(a, 0)) for a in agents)


@dataclass(frozen=True, slots=True)
class Update:
    """An agent has trained.

    Attributes:
        order: the order.
        delta: (d,) float32, readable until the next answer is asked for; or the payload of a codec, see payload.py.
        claims: what the agent says of its training.
        worked: where and when.
    """

    order: Order
    delta: Vector | bytes
    claims: Claims
    worked: Worked


@dataclass(frozen=True, slots=True)
class Scores:
    """An agent has scored the weights, voted on several, or adapted them and says how good the result is."""

    order: Order
    claims: Claims


@dataclass(frozen=True, slots=True)
class Missing:
    """No answer comes.

    Attributes:
        order: the order.
        reason: `late`, `lost`, `failed: ...`, `wrong shape: ...` or `claims ...`.
        risky: whether it took down its tasks, or held one up until it was late.
    """

    order: Order
    reason: str
    risky: bool = False


Answer = Update | Scores | Missing


@dataclass(frozen=True)
class Traffic:
    """What a backend did since this was last asked for.

    Attributes:
        send_s: until the last task began, after orders were submitted.
        train_s: the longest sum of training seconds of one task.
        bytes_down, bytes_up: payload bytes sent to and received from tasks.
        executors: how many tasks are there now.
        reassigned: how many orders were answered by another than the first who had them.
    """

    send_s: float = 0.0
    train_s: float = 0.0
    bytes_down: int = 0
    bytes_up: int = 0
    executors: int = 1
    reassigned: int = 0


class Backend(Protocol):
    """Where agents run. A context manager: enters ready for orders, leaves nothing behind."""

    def publish(self, version: int, weights: Vector | Matrix) -> None:
        """Weights that orders may name, or (n, d) candidates that orders to vote may name.

        Kept until there is a newer version and no order refers to it.
        """
        ...

    def submit(self, orders: Sequence[Order], deadline_s: float) -> None:
        """Asks. An order that is not answered `deadline_s` from now is missing."""
        ...

    def answers(self, until_s: float) -> Iterator[Answer]:
        """Answers as they come: each order is answered or missing, once, and never both.

        Ends when no order is open, or none has been answered for `until_s` from now; open ones stay open.

        Raises:
            RunError: nobody is left to answer.
        """
        ...

    def cancel(self, order_ids: Iterable[int]) -> None:
        """These are missing from now on, as late ones are; an answer that still comes is dropped."""
        ...

    def traffic(self) -> Traffic:
        """What it did since this was last asked for."""
        ...

    def __enter__(self) -> "Backend": ...

    def __exit__(self, *exc: object) -> None: ...
