"""Ridge regression of the residual, one for each slot of the horizon; federated exactly, by summing Gram matrices.

The matrices of all households' windows together are the sums of each household's, so one round gives what a pooled fit
would (up to rounding), and only sums leave a household. A baseline that a network has to beat to be worth its cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neurogrid.workloads.meters.evaluation.metrics import Floats
from neurogrid.workloads.meters.windows import LOAD, Batch, Indices, Shard, gather

ALPHAS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)
_WINDOWS_AT_ONCE = 2048


@dataclass(frozen=True)
class Gram:
    """Sums over windows, for each of h slots with p inputs: X'X (h, p, p), X'y (h, p), y'y (h,), number of windows."""

    xx: Floats
    xy: Floats
    yy: Floats
    windows: int

    def __add__(self, other: "Gram") -> "Gram":
        return Gram(self.xx + other.xx, self.xy + other.xy, self.yy + other.yy, self.windows + other.windows)


def design(batch: Batch) -> Floats:
    """(h, B, p): the history's load, all features of the last slot, what is known of the target slot, and 1."""
    count, horizon = batch.target.shape
    history = np.concatenate([batch.history[:, :, LOAD], batch.history[:, -1, LOAD + 1 :]], axis=1)
    known = batch.known.transpose(1, 0, 2)
    shared = np.broadcast_to(history, (horizon, *history.shape))
    return np.concatenate([shared, known, np.ones((horizon, count, 1))], axis=2).astype(np.float64)


def gram(shard: Shard, origins: Indices) -> Gram:
    """The sums of these windows, targets scaled as the models see them."""
    parts = []
    for start in range(0, max(len(origins), 1), _WINDOWS_AT_ONCE):
        batch = gather(shard, origins[start : start + _WINDOWS_AT_ONCE])
        x, y = design(batch), batch.target.T.astype(np.float64)
        turned = x.transpose(0, 2, 1)
        parts.append(Gram(turned @ x, (turned @ y[..., None])[..., 0], (y**2).sum(1), len(batch)))
    return add(parts)


def add(grams: Sequence[Gram]) -> Gram:
    """Their sum, in this order."""
    total = grams[0]
    for other in grams[1:]:
        total += other
    return total


def solve(sums: Gram, alpha: float) -> Floats:
    """Coefficients (h, p) of least squares, plus `alpha` times their squares but for the constant's."""
    inputs = sums.xy.shape[1]
    penalty = np.full(inputs, alpha)
    penalty[-1] = 1e-9  # of the constant: none, but for keeping the matrix regular where there are no windows
    return np.asarray(np.linalg.solve(sums.xx + np.diag(penalty), sums.xy[..., None])[..., 0], np.float64)


def squared_error(sums: Gram, coefficients: Floats) -> float:
    """Sum of squared errors of the coefficients over the windows of `sums`, without seeing the windows."""
    fitted = np.einsum("hp,hpq,hq->h", coefficients, sums.xx, coefficients)
    return float((sums.yy - 2 * (coefficients * sums.xy).sum(1) + fitted).sum())


def fit(train: Gram, validation: Gram) -> tuple[Floats, float]:
    """The best of ALPHAS by squared error on the validation windows: coefficients (h, p) and the alpha."""
    solutions = [(solve(train, alpha), alpha) for alpha in ALPHAS]
    return min(solutions, key=lambda solution: squared_error(validation, solution[0]))


def predict(batch: Batch, coefficients: Floats) -> npt.NDArray[np.float32]:
    """Forecasts (B, h), scaled."""
    return (design(batch) @ coefficients[..., None])[..., 0].T.astype(np.float32)
