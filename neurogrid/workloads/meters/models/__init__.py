"""Forecasting models, found by name, all with one interface: see `Forecaster`."""

import torch

from neurogrid.fl.local import seed_torch
from neurogrid.randomness import generator
from neurogrid.workloads.meters.models.city_lstm import CityLSTM
from neurogrid.workloads.meters.models.forecaster import Forecaster, ModelSettings, Shape, initialise
from neurogrid.workloads.meters.models.linear import LinearForecaster
from neurogrid.workloads.meters.models.loss import LossSettings, Windows, forecast_loss, point_loss

__all__ = [
    "MODELS",
    "Forecaster",
    "LossSettings",
    "ModelSettings",
    "Shape",
    "Windows",
    "build",
    "forecast_loss",
    "point_loss",
]

MODELS: dict[str, type[Forecaster]] = {"city_lstm": CityLSTM, "linear": LinearForecaster}


def build(settings: ModelSettings, shape: Shape, *, seed: int) -> Forecaster:
    """A new model whose weights depend on the settings, the shape and `seed` alone; torch's own random state is left.

    Raises:
        KeyError: no model has that name.
    """
    with torch.random.fork_rng(devices=[]):
        seed_torch(generator(seed, "model"))  # layers that `initialise` does not know set their own weights
        model = MODELS[settings.name](settings, shape)
    initialise(model, seed)
    return model
