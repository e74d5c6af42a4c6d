"""What training makes small: the forecast's error and, with a weight, the surge head's."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from neurogrid.workloads.meters.models.forecaster import Forecaster


@dataclass(frozen=True)
class LossSettings:
    """What the forecast's error is.

    Attributes:
        loss: `l1` for MAE (the median), `mse` for RMSE and sums over households (the mean), `huber` between them.
        huber_delta: where Huber's loss turns from square to linear, in standard deviations of the household's load.
        surge_weight: weight of the surge head's cross-entropy beside the forecast's error.
    """

    loss: Literal["l1", "huber", "mse"]
    huber_delta: float
    surge_weight: float


class Windows(NamedTuple):
    """A batch as tensors: inputs as in Forecaster, targets (B, h) scaled, surges (B, h), 1 where there is one.

    `surge_base` (B, h + 1) are the logits that the model's surge logits are added to.
    """

    history: Tensor
    known: Tensor
    target: Tensor
    surge: Tensor
    surge_base: Tensor


def forecast_loss(
    model: Forecaster,
    settings: LossSettings,
    windows: Windows,
    *,
    towards: Tensor | None = None,
    towards_weight: float = 0.0,
) -> Tensor:
    """Mean over windows and slots of the forecast's error, plus the surge head's cross-entropy by its weight.

    With `towards`, another model's forecast (B, h), also plus the distance from it by `towards_weight`.
    """
    forecast, logits = model(windows.history, windows.known)
    error = point_loss(forecast, windows.target, settings)
    if towards is not None:
        error = error + towards_weight * point_loss(forecast, towards, settings)
    if not settings.surge_weight:
        return error
    labels = torch.cat([windows.surge, windows.surge.amax(dim=1, keepdim=True)], dim=1)
    return error + settings.surge_weight * functional.binary_cross_entropy_with_logits(
        windows.surge_base + logits, labels
    )


def point_loss(forecast: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    """The forecast's error alone."""
    if settings.loss == "l1":
        return functional.l1_loss(forecast, target)
    if settings.loss == "huber":
        return functional.huber_loss(forecast, target, delta=settings.huber_delta)
    return functional.mse_loss(forecast, target)
