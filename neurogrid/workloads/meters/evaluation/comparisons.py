"""The same model trained otherwise: each household alone, and all readings pooled in one place.

Alone is what a household could do without the federation, pooled what the federation gives up by not sharing readings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from neurogrid.data.household import Household
from neurogrid.errors import RunError
from neurogrid.fl import local
from neurogrid.fl.update import Vector
from neurogrid.fl.weights import FlatModel, flatten
from neurogrid.plural import plural
from neurogrid.randomness import generator
from neurogrid.workloads.meters.agent import as_tensors, model_shape
from neurogrid.workloads.meters.models import LossSettings, ModelSettings, build, forecast_loss
from neurogrid.workloads.meters.windows import Shard, WindowSettings, build_shard, gather


@dataclass(frozen=True)
class CentralSettings:
    """How a model is trained in one place.

    Attributes:
        windows, model, loss, local: as in the federation, but for `local`'s `steps` and `learning_rate`.
        steps: gradient steps in all, over which the learning rate falls.
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
    return _train(shard, settings, household.meta.household_id) if len(shard.origins["train"]) else None


def train_pooled(households: Sequence[Household], settings: CentralSettings) -> Vector:
    """Weights of a model that saw all windows of these households at once; takes the memory of all of them.

    Raises:
        RunError: none of them has a training window.
    """
    shard = build_shard([(household, None) for household in households], settings.windows, ("train", "validation"))
    if not len(shard.origins["train"]):
        raise RunError(f"none of {plural(len(households), 'household')} has a training window")
    return _train(shard, settings, "pooled")


def _train(shard: Shard, settings: CentralSettings, name: str) -> Vector:
    model = build(settings.model, model_shape(settings.windows), seed=settings.seed)
    start, flat = flatten(model), FlatModel(model)
    random = generator(settings.seed, "central", "validation", name)
    held_out = random.permutation(shard.origins["validation"])[: settings.validation_windows]
    found: list[tuple[float, Vector]] = []
    for rate in settings.learning_rates:
        random = generator(settings.seed, "central", "batches", name)
        chosen = random.integers(0, len(shard.origins["train"]), (settings.steps, settings.local.batch_size))
        result = local.train(
            flat,
            start,
            (as_tensors(gather(shard, origins)) for origins in shard.origins["train"][chosen]),
            lambda windows: forecast_loss(model, settings.loss, windows),
            settings=settings.local,
            rates=(rate * local.cosine(settings.local, step, settings.steps) for step in range(settings.steps)),
            random=generator(settings.seed, "central", "dropout", name),
        )
        loss = float("inf")
        if len(held_out):
            model.eval()
            with torch.inference_mode():
                loss = float(forecast_loss(model, settings.loss, as_tensors(gather(shard, held_out))))
        found.append((loss, start + result.delta))
    return min(found, key=lambda pair: pair[0])[1]
