"""Forecasting models, found by name, all with one interface: see `Forecaster`."""

import torch

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
    with torch.device("meta"):  # no memory and, above all, no random numbers spent on weights that we set ourselves
        model = MODELS[settings.name](settings, shape)
    model.to_empty(device="cpu")
    initialise(model, seed)
    return model
