"""Trainers for the benchmark of rounds: a CityLSTM of about 80,000 weights on made readings, and one that does nothing.

Importable by name, so that Spark's workers and bare processes can make them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch

from neurogrid.fl import local
from neurogrid.fl.spec import Spec
from neurogrid.fl.update import AgentId, Trainer, Update, Vector
from neurogrid.fl.weights import FlatModel, flatten, spec_of
from neurogrid.randomness import generator
from neurogrid.workloads.meters.models import (
    Forecaster,
    LossSettings,
    ModelSettings,
    Shape,
    Windows,
    build,
    forecast_loss,
)

MOST_AGENTS = 10_000  # that have a delta of their own when they only answer
SLOTS = 60 * 96  # of 15 minutes: 60 days an agent
SHAPE = Shape(history_slots=48, features=11, horizon_slots=8, known=7)
MODEL = ModelSettings(name="city_lstm", hidden=80, layers=1, surge_hidden=40)
LOSS = LossSettings(loss="l1", huber_delta=1.0, surge_weight=0.0)
LOCAL = local.LocalSettings(
    optimiser="adam",
    steps=2,
    batch_size=32,
    learning_rate=1e-3,
    final_learning_rate_share=1.0,
    gradient_clip_norm=1.0,
    proximal_mu=0.0,
)


def model() -> Forecaster:
    """The benchmark's model, always the same."""
    return build(MODEL, SHAPE, seed=1)


def start() -> tuple[Vector, Spec]:
    """The model's first weights and what they are."""
    first = model()
    return flatten(first), spec_of(first)


@dataclass(frozen=True)
class LstmFactory:
    """Makes a trainer that trains a CityLSTM for a few steps."""

    def __call__(self) -> Trainer:
        """One thread a task, as in a run."""
        torch.set_num_threads(1)
        return LstmTrainer()


class LstmTrainer:
    """Trains on readings that are drawn from the agent's name."""

    def __init__(self) -> None:
        self._model = model()
        self._flat = FlatModel(self._model)
        self._shards: dict[AgentId, np.ndarray[tuple[int, int], np.dtype[np.float32]]] = {}

    def train(self, agent: AgentId, round_number: int, weights: Vector) -> Update:
        """A few steps on windows drawn from (round, agent)."""
        if agent not in self._shards:
            drawn = generator(1, "bench readings", agent).standard_normal((SLOTS, SHAPE.features), np.float32)
            self._shards[agent] = drawn
        result = local.train(
            self._flat,
            weights,
            self._batches(agent, round_number),
            lambda windows: forecast_loss(self._model, LOSS, windows),
            settings=LOCAL,
            rates=repeat(LOCAL.learning_rate),
            random=generator(1, "bench dropout", round_number, agent),
        )
        return Update(agent, result.delta, SLOTS, {"loss": result.loss, "train_s": result.seconds})

    def _batches(self, agent: AgentId, round_number: int) -> Iterator[Windows]:
        readings, random = self._shards[agent], generator(1, "bench batches", round_number, agent)
        for _ in range(LOCAL.steps):
            origins = random.integers(SHAPE.history_slots, SLOTS - SHAPE.horizon_slots, LOCAL.batch_size)
            history = readings[origins[:, None] + np.arange(-SHAPE.history_slots, 0)]
            ahead = readings[origins[:, None] + np.arange(SHAPE.horizon_slots)]
            known, target = torch.from_numpy(ahead[:, :, 1 : 1 + SHAPE.known].copy()), torch.from_numpy(ahead[:, :, 0])
            surge, surge_base = torch.zeros_like(target), torch.zeros(len(target), SHAPE.horizon_slots + 1)
            yield Windows(torch.from_numpy(history), known, target, surge, surge_base)

    def evaluate(self, agent: AgentId, weights: Vector) -> Mapping[str, float]:
        """Not measured."""
        raise NotImplementedError

    def holds(self, agent: AgentId) -> bool:
        """Whether its readings are drawn."""
        return agent in self._shards


@dataclass(frozen=True)
class IdleFactory:
    """Makes a trainer that only answers, so that all of a round is overhead."""

    n_weights: int

    def __call__(self) -> Trainer:
        """See the class."""
        return IdleTrainer(self.n_weights)


class IdleTrainer:
    """Answers with a part of one drawn vector, each agent with another: equal deltas take the server longer."""

    def __init__(self, n_weights: int) -> None:
        self._n_weights = n_weights
        self._drawn = generator(1, "bench delta").standard_normal(n_weights + MOST_AGENTS, np.float32)

    def train(self, agent: AgentId, round_number: int, weights: Vector) -> Update:
        """At once."""
        first = int(agent[1:]) % MOST_AGENTS
        return Update(agent, self._drawn[first : first + self._n_weights], SLOTS, {"loss": 1.0, "train_s": 0.0})

    def evaluate(self, agent: AgentId, weights: Vector) -> Mapping[str, float]:
        """Not measured."""
        raise NotImplementedError

    def holds(self, agent: AgentId) -> bool:
        """Always."""
        return True
