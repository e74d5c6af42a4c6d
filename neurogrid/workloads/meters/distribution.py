"""A model's output for windows as quantiles in kWh, and the mean and variance of each slot that follow from them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from neurogrid.workloads.meters.models import compose
from neurogrid.workloads.meters.windows import Batch

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


def quantiles_kwh(output: Array, batch: Batch, levels: Sequence[float]) -> Array:
    """Quantiles of each target slot's load, kWh a slot; they ascend, and none is below 0, as no reading is.

    Args:
        output: (B, h, Q), a model's raw output for the batch's windows: the first that its `forward` gives.
        batch: those windows, gathered with these `levels` in their settings.
        levels: the Q quantiles' probabilities.

    Returns:
        (B, h, Q) float32.
    """
    found = compose(torch.from_numpy(output), torch.from_numpy(batch.usual_quantiles), levels).numpy()
    kwh: Array = np.maximum(batch.base_kwh[..., None] + batch.scale[..., None] * found, np.float32(0))
    return kwh


def moments(quantiles: Array, levels: Sequence[float]) -> tuple[Floats, Floats]:
    """Mean and variance of the distributions that (..., Q) quantiles of loads describe, kWh and kWh squared.

    Between two quantiles the distribution is uniform. Above the last one it falls exponentially, as fast as between the
    last two; below the first one it is uniform down to 0, or down to where the first step would end if that is higher.
    With one level alone the mean is that quantile and the variance 0.
    """
    q, p = quantiles.astype(np.float64), np.asarray(levels, np.float64)
    if len(p) == 1:
        return q[..., 0], np.zeros(q.shape[:-1])
    first, last = q[..., 0], q[..., -1]
    low = np.maximum(first - (q[..., 1] - first) * p[0] / (p[1] - p[0]), 0)
    low = np.minimum(low, first)
    fall = (last - q[..., -2]) / np.log((1 - p[-2]) / (1 - p[-1]))
    edges, shares = np.concatenate([low[..., None], q], axis=-1), np.diff(p, prepend=0.0)
    mean = ((edges[..., 1:] + edges[..., :-1]) / 2 * shares).sum(-1) + (1 - p[-1]) * (last + fall)
    thirds = (edges[..., 1:] ** 2 + edges[..., 1:] * edges[..., :-1] + edges[..., :-1] ** 2) / 3
    square = (thirds * shares).sum(-1) + (1 - p[-1]) * (last**2 + 2 * last * fall + 2 * fall**2)
    return mean, np.maximum(square - mean**2, 0)
