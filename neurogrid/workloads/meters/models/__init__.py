"""Forecasting models, found by name, all with one interface: see `Forecaster`."""

import torch

from neurogrid.fl.local import seed_torch
from neurogrid.randomness import generator
from neurogrid.workloads.meters.models.forecaster import Forecaster, ModelSettings, Shape, initialise
from neurogrid.workloads.meters.models.loss import LossSettings, Windows, forecast_loss, point_loss
from neurogrid.workloads.meters.models.quantiles import compose, point
from neurogrid.workloads.meters.registry import MODELS

__all__ = [
    "Forecaster",
    "LossSettings",
    "ModelSettings",
    "Shape",
    "Windows",
    "build",
    "compose",
    "forecast_loss",
    "point",
    "point_loss",
]


def build(settings: ModelSettings, shape: Shape, *, seed: int) -> Forecaster:
    """A new model whose weights depend on the settings, the shape and `seed` alone; torch's own random state is left.

    Raises:
        UnknownNameError: no model has that name.
    """
    kind = MODELS.find(settings.name).load()
    with torch.random.fork_rng(devices=[]):
        seed_torch(generator(seed, "model"))  # layers that `initialise` does not know set their own weights
        model = kind(settings, shape)
    initialise(model, seed)
    return model
