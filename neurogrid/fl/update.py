"""The types that everything speaks: what a round asks of agents and what comes back.

Backends carry them, the round loop consumes them, the agent side makes them. Nothing here does any work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

AgentId = str
Vector = npt.NDArray[np.float32]
"""(d,) float32: a model's weights, or a change of them, flattened in the model's own order of tensors."""
Matrix = npt.NDArray[np.float32]
"""(n, d) float32: one row an agent."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Update:
    """What one agent returns from a round of local training.

    Attributes:
        agent: who trained.
        delta: (d,) float32, weights after less weights before; nobody writes to it any more.
        windows: number of examples the agent says it trains on; those of meters are windows of readings.
        metrics: named figures of the training, e.g. `loss` (mean over its steps) and `train_s`.
    """

    agent: AgentId
    delta: Vector
    windows: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RoundPlan:
    """What a round asks for: these agents, starting from these weights.

    Attributes:
        round: number of the round, from 1.
        agents: the agents chosen, in the order in which sums are made.
        weights: (d,) float32, the global model.
        timeout_s: agents that have not answered by then are late and cost their update, not the round.
        attempts: see `Order.attempt`; an agent that is not named has 0.
        left_alone: agents that are not asked, and missing as lost ones are.
        closes_at: so many usable updates close the round; None waits for all that are asked.
        missing: agents from whom no answer is taken any more, each with the reason.
        remembers: see `Order.remembers`.
    """

    round: int
    agents: tuple[AgentId, ...]
    weights: Vector
    timeout_s: float
    attempts: Mapping[AgentId, int] = field(default_factory=dict)
    left_alone: frozenset[AgentId] = frozenset()
    closes_at: int | None = None
    missing: Mapping[AgentId, str] = field(default_factory=dict)
    remembers: Mapping[AgentId, int] = field(default_factory=dict)

    @property
    def asked(self) -> tuple[AgentId, ...]:
        """The agents that are asked, in the plan's order."""
        return tuple(agent for agent in self.agents if agent not in self.left_alone)


@dataclass(frozen=True)
class Phases:
    """Where a round's time went on the backend's side, in seconds.

    `send` is until the last task has the weights, `train` the longest sum of training seconds of one task, `collect`
    the rest: queueing, transfer and copying of the deltas.
    """

    send_s: float
    train_s: float
    collect_s: float


@dataclass(frozen=True)
class Worked:
    """Where and when an agent was trained: which resident task, and when it was done, seconds after it was asked or, in
    a round's result, into the round."""

    task: int
    ended_s: float


@dataclass(frozen=True)
class RoundResult:
    """What came back from a round.

    Attributes:
        updates: one an agent that answered, in the order of the plan, whatever order they arrived in.
        deltas: (n, d) float32; row i is `updates[i].delta` (the same memory, so that nothing is copied twice).
        missing: agents that gave no usable update, each with the reason: `late`, `lost`, `failed: ...`,
            `wrong shape: ...` or `stale: ...`.
        phases: where the time went.
        bytes_down, bytes_up: payload bytes sent to and received from agents' hosts.
        executors: how many resident tasks were alive at the end of the round.
        reassigned: how many agents were taken from a lost task and trained by another.
        worked: where and when each agent that answered was trained.
        risky: agents that took down their tasks, or held one up until they were late.
        staleness: of each agent that answered, how many rounds older than the model its weights were; 0 where it is
            not named.
    """

    updates: tuple[Update, ...]
    deltas: Matrix
    missing: Mapping[AgentId, str]
    phases: Phases
    bytes_down: int = 0
    bytes_up: int = 0
    executors: int = 1
    reassigned: int = 0
    worked: Mapping[AgentId, Worked] = field(default_factory=dict)
    risky: frozenset[AgentId] = frozenset()
    staleness: Mapping[AgentId, int] = field(default_factory=dict)


class Trainer(Protocol):
    """The agent side, as a backend sees it: lives where the readings are, one per task, keeps shards it has loaded."""

    def train(self, agent: AgentId, round_number: int, weights: Vector) -> Update:
        """Trains `agent` from `weights`; the result depends on the arguments, the config's seed and the data only."""
        ...

    def evaluate(self, agent: AgentId, weights: Vector) -> Mapping[str, float]:
        """Loss of `weights` on the agent's fixed sample of validation windows: `loss` and `windows`."""
        ...

    def holds(self, agent: AgentId) -> bool:
        """Whether the agent's shard is in this trainer's memory, so that training it costs no loading."""
        ...


@runtime_checkable
class Adapting(Protocol):
    """A trainer whose agents can make the global weights their own."""

    def adapt(self, agent: AgentId, weights: Vector) -> Mapping[str, float]:
        """Fine-tunes `weights` for `agent` and keeps the result where the agent is; figures of it, see `claims.KNOWN`.

        Done again with the same weights it is the same, so that whoever is asked twice does no harm.
        """
        ...


@runtime_checkable
class Voting(Protocol):
    """A trainer whose agents can say which of several weights they prefer."""

    def vote(self, agent: AgentId, round_number: int, candidates: Matrix) -> Sequence[float]:
        """(n,) the loss of each of (n, d) candidates, all on the same readings of the agent's own.

        Depends on the arguments, the config's seed and the data only.
        """
        ...


class TrainerFactory(Protocol):
    """Makes a `Trainer` where the agents run. Picklable and small: paths and settings, never readings or weights."""

    def __call__(self) -> Trainer:
        """Called once a task."""
        ...
