"""What the driver keeps of a task and of a round under way, and the strict reading of what tasks send."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from neurogrid.backends.answers import MAX_REASON
from neurogrid.backends.exchange import Stream, vectors
from neurogrid.backends.queue import RoundQueue, TaskId
from neurogrid.fl.update import AgentId, Matrix, Worked


@dataclass(eq=False)
class Resident:
    """A task, as the driver knows it.

    Attributes:
        task: its number, never used again.
        stream: how to talk to it.
        heard_s: when it was last heard, by time.monotonic.
        ready: whether its trainer is made.
        alive: False when it is lost or has left.
        behind: whether it may still be busy with a ticket that has closed.
        ticket: the last ticket whose weights it was sent.
        weights_s: when they were there, as far as is known: the messages that say how long ago took time themselves.
        busy_s: what it has trained for, in this ticket.
        at: the ticket and the agent with which it was busy at its last sign of life.
    """

    task: TaskId
    stream: Stream
    heard_s: float
    ready: bool = False
    alive: bool = True
    behind: bool = False
    ticket: int = 0
    weights_s: float = math.inf
    busy_s: float = 0.0
    at: tuple[int, Any] = (0, None)


@dataclass(frozen=True)
class Answer:
    """What came back for one agent, apart from its delta."""

    windows: int
    metrics: dict[str, float]
    worked: Worked


@dataclass
class Ticket:
    """One call of `run` or `evaluate`.

    Attributes:
        number: of the ticket, never used again.
        do: `train` or `evaluate`.
        round: number of the round.
        agents: in the order of the plan.
        weights: the batch with the weights.
        queue: who trains whom.
        deltas: (n, d), one row an agent of the plan; None for `evaluate`.
    """

    number: int
    do: str
    round: int
    agents: Sequence[AgentId]
    weights: pa.RecordBatch
    queue: RoundQueue
    deltas: Matrix | None
    answers: dict[int, Answer] = field(default_factory=dict)
    began_s: float = 0.0
    send_s: float = 0.0
    train_s: float = 0.0
    bytes_down: int = 0
    bytes_up: int = 0
    executors: int = 0


@dataclass(frozen=True)
class Sent:
    """A message of updates, its lists checked against each other; what stands in `metrics` is not checked yet.

    `ages_s` says how long before the message was sent each agent's training ended, `began_s` when the weights came.
    """

    agents: list[int]
    windows: list[int]
    deltas: Matrix
    metrics: list[Any]
    held: list[bool]
    ages_s: list[float]
    failed: list[tuple[int, str, bool]]
    busy_s: float
    began_s: float
    nbytes: int


def updates(message: dict[str, Any], batch: pa.RecordBatch | None, n_weights: int) -> Sent:
    """Reads a message of updates; raises ValueError when it is not one."""
    metrics, held = message.get("metrics"), message.get("held")
    if not isinstance(metrics, list) or not isinstance(held, list):
        raise ValueError("updates without lists of metrics and held")
    if batch is None:
        agents, windows, deltas = [], [], np.empty((0, n_weights), np.float32)
    elif batch.column(0).null_count or batch.column(1).null_count:
        raise ValueError("updates with nulls")
    else:
        agents, windows = batch.column(0).to_pylist(), batch.column(1).to_pylist()
        deltas = vectors(batch.column(2), n_weights)
    ages_s = [_seconds(age, "ages_s") for age in message.get("ages_s") or ()]
    if not len(agents) == len(metrics) == len(held) == len(ages_s):
        raise ValueError("updates whose lists differ in length")
    nbytes = 0 if batch is None else batch.nbytes
    began_s = _seconds(message.get("began_s"), "began_s")
    return Sent(agents, windows, deltas, metrics, held, ages_s, failures(message), busy_s(message), began_s, nbytes)


def failures(message: dict[str, Any]) -> list[tuple[int, str, bool]]:
    """Agents that gave no update, each with the reason and whether another task should try; raises ValueError."""
    failed = message.get("failed")
    if not isinstance(failed, list):
        raise ValueError("updates without a list of failures")
    for item in failed:
        if not isinstance(item, list) or len(item) != 3 or not isinstance(item[0], int):
            raise ValueError("a failure that is not an index, a reason and whether to retry")
    return [(index, str(reason)[:MAX_REASON], retry is True) for index, reason, retry in failed]


def losses(message: dict[str, Any]) -> list[tuple[int, Any]]:
    """The answers to "evaluate", each an index and unchecked figures; raises ValueError."""
    answers = message.get("losses")
    if not isinstance(answers, list):
        raise ValueError("losses without a list")
    for item in answers:
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], int):
            raise ValueError("a loss that is not an index and figures")
    return [(index, metrics) for index, metrics in answers]


def busy_s(message: dict[str, Any]) -> float:
    """How long the task has worked for this message; raises ValueError."""
    return _seconds(message.get("busy_s"), "busy_s")


def _seconds(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f"{name} is not a number of seconds")
    return float(value)
