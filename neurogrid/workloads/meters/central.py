"""A model trained in one place, on one shard: a household's own, all readings pooled, or fine-tuned at home.

The weights that were best on validation are kept, and a training ends when it gets no better.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np
import torch

from neurogrid.fl import local
from neurogrid.fl.update import Vector
from neurogrid.fl.weights import FlatModel, flatten
from neurogrid.randomness import generator
from neurogrid.workloads.meters.models import Forecaster, LossSettings, ModelSettings, Windows, build, forecast_loss
from neurogrid.workloads.meters.tensors import as_tensors, model_shape
from neurogrid.workloads.meters.windows import Indices, Shard, WindowSettings, gather

_PATIENCE = 5
"""After how many looks without a better one a training ends."""


@dataclass(frozen=True)
class CentralSettings:
    """How a model is trained in one place.

    Attributes:
        windows, model, loss, local: as in the federation, but for `local`'s `steps` and `learning_rate`.
        steps: gradient steps at most, over which the learning rate falls.
        learning_rates: tried one after another; the one with the least validation loss is kept.
        validation_windows: how many windows that loss is measured on.
        seed: the run's.
        looks: how often a training is looked at in all its steps.
    """

    windows: WindowSettings
    model: ModelSettings
    loss: LossSettings
    local: local.LocalSettings
    steps: int
    learning_rates: tuple[float, ...]
    validation_windows: int
    seed: int
    looks: int = 20


class Trained(NamedTuple):
    """Weights (d,) that were best, and their loss on the validation windows.

    The loss is -inf where there are no such windows, and inf where the training diverged.
    """

    weights: Vector
    loss: float

    @property
    def usable(self) -> bool:
        """Whether the training came to anything, and did not diverge."""
        return self.loss < math.inf and bool(np.isfinite(self.weights).all())


def first_weights(settings: CentralSettings) -> Vector:
    """The weights that the federation began with, where it had no teacher: those of the seed."""
    return flatten(build(settings.model, model_shape(settings.windows), seed=settings.seed))


def train_on(shard: Shard, settings: CentralSettings, start: Vector, name: str) -> Trained:
    """What a training from `start` (d,) has made of a shard with training windows.

    What is drawn depends on the seed and `name` alone.
    """
    flat = FlatModel(build(settings.model, model_shape(settings.windows), seed=settings.seed))
    model = cast(Forecaster, flat.model)
    best = _Best(flat, settings, shard, sample(shard, settings.validation_windows, settings.seed, name))
    for rate in settings.learning_rates:
        random = generator(settings.seed, "central", "batches", name)
        chosen = random.integers(0, len(shard.origins["train"]), (settings.steps, settings.local.batch_size))
        local.train(
            flat,
            start,
            best.watched(shard.origins["train"][chosen]),
            lambda windows: forecast_loss(model, settings.loss, windows),
            settings=settings.local,
            rates=(rate * local.cosine(settings.local, step, settings.steps) for step in range(settings.steps)),
            random=generator(settings.seed, "central", "dropout", name),
        )
    return Trained(best.weights, best.loss)


def sample(shard: Shard, windows: int, seed: int, name: str) -> Indices:
    """Origins of at most so many of a shard's validation windows, the same ones each time."""
    random = generator(seed, "central", "validation", name)
    chosen: Indices = random.permutation(shard.origins["validation"])[:windows]
    return chosen


@dataclass
class _Best:
    """Looks at a model while it trains, ends the training when it gets no better, and keeps the best weights.

    Attributes:
        flat: the model.
        settings: see there.
        shard: what it is trained on.
        held_out: origins of the windows that it is judged by; without any, what the first training ends with is best.
        loss, weights: of the best so far.
    """

    flat: FlatModel
    settings: CentralSettings
    shard: Shard
    held_out: Indices
    loss: float = math.inf
    weights: Vector = field(default_factory=lambda: np.empty(0, np.float32))

    def watched(self, chosen: Indices) -> Iterator[Windows]:
        """The batches of one training, (steps, batch_size) origins."""
        every, lately, since = max(1, len(chosen) // self.settings.looks), math.inf, 0
        for step, origins in enumerate(chosen):
            if step and step % every == 0 and len(self.held_out):
                loss = self._look()
                lately, since = (loss, 0) if loss < lately else (lately, since + 1)
                if since >= _PATIENCE:
                    return
            yield as_tensors(gather(self.shard, origins))
        self._look()

    def _look(self) -> float:
        model, loss = self.flat.model, -math.inf
        if len(self.held_out):
            model.eval()
            with torch.inference_mode():
                windows = as_tensors(gather(self.shard, self.held_out))
                found = float(forecast_loss(cast(Forecaster, model), self.settings.loss, windows))
            loss = math.inf if math.isnan(found) else found  # a training that diverged is the worst
            model.train()
        if loss < self.loss or not self.weights.size:
            self.loss, self.weights = loss, self.flat.vector()
        return loss
