"""The same model trained otherwise: each household alone, and all readings pooled in one place.

Alone is what a household could do without the federation, pooled what the federation gives up by not sharing readings.
Both get what the federation got: as many steps, and the weights that were best on validation.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch

from neurogrid.data.household import Household
from neurogrid.errors import RunError
from neurogrid.fl import local
from neurogrid.fl.update import Vector
from neurogrid.fl.weights import FlatModel, flatten
from neurogrid.plural import plural
from neurogrid.randomness import generator
from neurogrid.workloads.meters.agent import as_tensors, model_shape
from neurogrid.workloads.meters.models import Forecaster, LossSettings, ModelSettings, Windows, build, forecast_loss
from neurogrid.workloads.meters.windows import Indices, Shard, WindowSettings, build_shard, gather

_LOOKS, _PATIENCE = 20, 5
"""How often a training is looked at in all its steps, and after how many looks without a better one it ends."""


@dataclass(frozen=True)
class CentralSettings:
    """How a model is trained in one place.

    Attributes:
        windows, model, loss, local: as in the federation, but for `local`'s `steps` and `learning_rate`.
        steps: gradient steps at most, over which the learning rate falls.
        learning_rates: tried one after another; the one with the least validation loss is kept.
        validation_windows: how many windows that loss is measured on.
        seed: the run's.
    """

    windows: WindowSettings
    model: ModelSettings
    loss: LossSettings
    local: local.LocalSettings
    steps: int
    learning_rates: tuple[float, ...]
    validation_windows: int
    seed: int


def train_alone(household: Household, settings: CentralSettings) -> Vector | None:
    """Weights of a model that saw this household only; None where it has no windows to train on."""
    shard = build_shard([(household, None)], settings.windows, ("train", "validation"))
    return _train(shard, settings, household.meta.household_id).weights if len(shard.origins["train"]) else None


def train_pooled(households: Sequence[Household], settings: CentralSettings) -> tuple[float, Vector]:
    """Validation loss and weights of a model that saw all windows of these households; takes the memory of all of them.

    The loss tells which of several trainings is best; without validation windows all are alike.

    Raises:
        RunError: none of them has a training window.
    """
    shard = build_shard([(household, None) for household in households], settings.windows, ("train", "validation"))
    if not len(shard.origins["train"]):
        raise RunError(f"none of {plural(len(households), 'household')} has a training window")
    best = _train(shard, settings, "pooled")
    return best.loss if math.isfinite(best.loss) else 0.0, best.weights


def _train(shard: Shard, settings: CentralSettings, name: str) -> "_Best":
    model = build(settings.model, model_shape(settings.windows), seed=settings.seed)
    start, flat = flatten(model), FlatModel(model)
    random = generator(settings.seed, "central", "validation", name)
    held_out = random.permutation(shard.origins["validation"])[: settings.validation_windows]
    best = _Best(flat, settings, shard, held_out)
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
    return best


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
        every, lately, since = max(1, len(chosen) // _LOOKS), math.inf, 0
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
                loss = float(forecast_loss(cast(Forecaster, model), self.settings.loss, windows))
            model.train()
        if loss < self.loss or not self.weights.size:
            self.loss, self.weights = loss, self.flat.vector()
        return loss
