"""CityLSTM: encoder-decoder LSTM with attention over the history (Luong et al. 2015, arXiv:1508.04025)."""

import torch
from torch import Tensor, nn

from neurogrid.workloads.meters.models.forecaster import Forecaster, ModelSettings, Shape, ZeroLinear


class CityLSTM(Forecaster):
    """Encodes the history; decodes over the horizon from what is known of each slot, attending to the history.

    The decoder does not read its own forecasts, so each LSTM runs over its whole sequence in one call (oneDNN on CPU).
    The surge head sees the same states, but does not train them: a surge is too rare to shape the forecast.
    """

    def __init__(self, settings: ModelSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        hidden = settings.hidden
        self.encoder = nn.LSTM(shape.features, hidden, settings.layers, batch_first=True)
        self.decoder = nn.LSTM(shape.known, hidden, settings.layers, batch_first=True)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.combine = nn.Linear(2 * hidden + shape.known, hidden)
        self.forecast: nn.Linear = ZeroLinear(hidden, shape.quantiles or 1)
        self.surge_combine = nn.Linear(2 * hidden + shape.known, settings.surge_hidden)
        self.surge_slot: nn.Linear = ZeroLinear(settings.surge_hidden, 1)
        self.surge_any: nn.Linear = ZeroLinear(settings.surge_hidden, 1)

    def forward(self, history: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """See Forecaster."""
        encoded, state = self.encoder(history)
        decoded, _ = self.decoder(known, state)
        attention = torch.softmax(self.query(decoded) @ encoded.transpose(1, 2), dim=-1)
        seen = torch.cat([decoded, attention @ encoded, known], dim=-1)
        forecast = self.forecast(torch.relu(self.combine(seen)))
        if not self.shape.quantiles:
            forecast = forecast.squeeze(-1)
        surge = torch.relu(self.surge_combine(seen.detach()))
        slots, any_slot = self.surge_slot(surge).squeeze(-1), self.surge_any(surge.mean(dim=1))
        return forecast, torch.cat([slots, any_slot], dim=1)
