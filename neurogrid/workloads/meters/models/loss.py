"""What training makes small: the forecast's error and, with a weight, the surge head's."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from neurogrid.workloads.meters.models.forecaster import Forecaster
from neurogrid.workloads.meters.models.quantiles import compose, pinball_loss


@dataclass(frozen=True)
class LossSettings:
    """What the forecast's error is.

    Attributes:
        loss: `l1` for MAE (the median), `mse` for RMSE and sums over households (the mean), `huber` between them.
        huber_delta: where Huber's loss turns from square to linear, in standard deviations of the household's load.
        surge_weight: weight of the surge head's cross-entropy beside the forecast's error.
        quantiles: probabilities of the quantiles that the model gives; with any the error is their pinball loss.
    """

    loss: Literal["l1", "huber", "mse"]
    huber_delta: float
    surge_weight: float
    quantiles: tuple[float, ...] = ()


class Windows(NamedTuple):
    """A batch as tensors: inputs as in Forecaster, targets (B, h) scaled, surges (B, h), 1 where there is one.

    `surge_base` (B, h + 1) are the logits that the model's surge logits are added to, `usual_quantiles` (B, h, Q) the
    quantiles of the days before, which are empty where no quantiles are asked for.
    """

    history: Tensor
    known: Tensor
    target: Tensor
    surge: Tensor
    surge_base: Tensor
    usual_quantiles: Tensor = torch.empty(0)


def forecast_loss(
    model: Forecaster,
    settings: LossSettings,
    windows: Windows,
    *,
    towards: Tensor | None = None,
    towards_weight: float = 0.0,
) -> Tensor:
    """Mean over windows and slots of the forecast's error, plus the surge head's cross-entropy by its weight.

    With `towards`, another model's output for the forecast, also plus the distance from it by `towards_weight`.
    """
    forecast, logits = model(windows.history, windows.known)
    if settings.quantiles:
        forecast = compose(forecast, windows.usual_quantiles, settings.quantiles)
        error = pinball_loss(forecast, windows.target, settings.quantiles)
    else:
        error = point_loss(forecast, windows.target, settings)
    if towards is not None:
        if settings.quantiles:
            towards = compose(towards, windows.usual_quantiles, settings.quantiles)
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
