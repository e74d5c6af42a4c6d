"""The least model that is one: linear in the history's load and in what is known of the target slots."""

import torch
from torch import Tensor, nn

from neurogrid.workloads.meters.models.forecaster import Forecaster, ModelSettings, Shape, ZeroLinear


class LinearForecaster(Forecaster):
    """One linear map to the forecast, another to the surge logits."""

    def __init__(self, settings: ModelSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        width = shape.history_slots + shape.features + shape.horizon_slots * shape.known
        self.forecast: nn.Linear = ZeroLinear(width, shape.horizon_slots * (shape.quantiles or 1))
        self.surge: nn.Linear = ZeroLinear(width, shape.horizon_slots + 1)

    def forward(self, history: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """See Forecaster. Of the history it takes the load (feature 0), and all features of the last slot."""
        inputs = torch.cat([history[:, :, 0], history[:, -1], known.flatten(1)], dim=1)
        forecast = self.forecast(inputs)
        if self.shape.quantiles:
            forecast = forecast.unflatten(1, (self.shape.horizon_slots, self.shape.quantiles))
        return forecast, self.surge(inputs)
