"""A model's raw output for several quantiles to quantiles that do not cross, and what training them makes small.

Raw output 0 is the median; the others widen or narrow the steps between neighbouring quantiles, which start as wide as
those of the same slot over the 28 days before. So a new model forecasts what is usual, as it does without quantiles.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from neurogrid.workloads.meters.registry import MEDIAN_LEVEL

Output = TypeVar("Output", Tensor, npt.NDArray[np.float32])
LEAST_STEP = 0.01
"""Added to each usual step, in standard deviations of the household's load: where all days were alike a step of 0
could never grow."""


def point(output: Output) -> Output:
    """A model's point forecast (B, h): its output as it is or, of (B, h, Q) raw outputs for quantiles, the median."""
    return output[..., 0] if output.ndim == 3 else output


def compose(raw: Tensor, usual: Tensor, levels: Sequence[float]) -> Tensor:
    """Quantiles that ascend, from a model's raw output.

    Each step between neighbours is softplus(raw + what makes the usual step of raw 0), and steps add up from the
    median outwards.

    Args:
        raw: (B, h, Q): the median, then a number for each step, from the lowest to the highest.
        usual: (B, h, Q) ascending, in the same unit; only its steps count.
        levels: the Q quantiles' probabilities, ascending, 0.5 among them.

    Returns:
        (B, h, Q), in units of `Batch.target`.
    """
    middle = list(levels).index(MEDIAN_LEVEL)
    median, steps = raw[..., :1], usual.diff(dim=-1) + LEAST_STEP
    steps = functional.softplus(raw[..., 1:] + steps + torch.log(-torch.expm1(-steps)))
    below = steps[..., :middle].flip(-1).cumsum(-1).flip(-1)
    return torch.cat([median - below, median, median + steps[..., middle:].cumsum(-1)], dim=-1)


def pinball_loss(quantiles: Tensor, target: Tensor, levels: Sequence[float]) -> Tensor:
    """Twice the mean pinball loss (Koenker and Bassett 1978, doi:10.2307/1913643); of the median alone that is L1.

    Args:
        quantiles: (B, h, Q).
        target: (B, h).
        levels: the Q probabilities.
    """
    error = target.unsqueeze(-1) - quantiles
    p = torch.tensor(levels, dtype=error.dtype, device=error.device)
    return 2 * torch.maximum(p * error, (p - 1) * error).mean()
