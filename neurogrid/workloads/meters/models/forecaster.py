"""What every model takes and gives, and how its weights begin."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from neurogrid.workloads.meters.registry import Scalar


@dataclass(frozen=True)
class ModelSettings:
    """Which model, how large.

    Attributes:
        name: in the registry.
        hidden: width of the LSTMs and of the forecast's head; unused by `linear`.
        layers: LSTM layers, each of encoder and decoder; unused by `linear`.
        surge_hidden: width of the surge head.
        params: settings of its own, which another package's model may have; see ModelSpec.
    """

    name: str
    hidden: int
    layers: int
    surge_hidden: int
    params: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """Sizes of a window.

    Attributes:
        history_slots, features: slots of history, and features of each.
        horizon_slots, known: slots to forecast, and features known in advance of each.
        quantiles: how many of each slot are to be forecast; 0 is a point forecast alone.
    """

    history_slots: int
    features: int
    horizon_slots: int
    known: int
    quantiles: int = 0


class Forecaster(nn.Module):
    """A model of the coming slots.

    `forward(history, known)` takes (B, H, F) and (B, h, K), scaled, and gives the forecast (B, h), in units of
    `Batch.target`, and surge logits (B, h + 1), to be added to `Batch.surge_base`: of each slot, then of any of them.
    Where `shape.quantiles` is not 0 the forecast is (B, h, quantiles), raw: see quantiles.py, whose `point` takes the
    point forecast of either. Only models whose ModelSpec says so are asked for that.
    """

    def __init__(self, settings: ModelSettings, shape: Shape) -> None:
        super().__init__()
        self.settings, self.shape = settings, shape

    def forward(self, history: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        raise NotImplementedError

    def __call__(self, history: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, with types kept."""
        forecast, surge = super().__call__(history, known)
        return forecast, surge


def initialise(model: Forecaster, seed: int) -> None:
    """Uniform in +-1/sqrt(fan-in) as torch does, but zero in layers marked by `starts_at_zero`, and from `seed` only.

    With its last layers at zero a model starts as the profile and the usual surges whose residuals it forecasts.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LSTM):
                bound, zero = 1 / math.sqrt(module.hidden_size), False
            elif isinstance(module, nn.Linear):
                bound, zero = 1 / math.sqrt(module.in_features), hasattr(module, "starts_at_zero")
            else:
                continue
            for parameter in module.parameters(recurse=False):
                if zero:
                    parameter.zero_()
                else:
                    parameter.uniform_(-bound, bound, generator=random)


class ZeroLinear(nn.Linear):
    """A linear layer that starts at zero."""

    starts_at_zero = True
