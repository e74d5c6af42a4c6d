"""Clipping: no update, or no tensor of it, longer than a norm; the first thing the server does to what it received.

Buffers are clipped apart from shared tensors: a variance is in another unit than weights, and would drown them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from neurogrid.fl.spec import Spec
from neurogrid.fl.threads import over_cores
from neurogrid.fl.update import Floats, Matrix

BLOCK_ROWS, CUT_ROWS = 4, 50
"""Rows made float64 at once to measure them, so that they stay in cache; and rows scaled at once."""


@dataclass(frozen=True)
class ClipSettings:
    """How deltas are clipped.

    Attributes:
        to: `median` clips to the round's median norm, which follows the norms down as the learning rate falls;
            `fixed` to `norm`; `none` leaves deltas as they are.
        per: `update` clips the vector of all shared tensors, and that of all buffers; `tensor` each tensor of the model
            by itself, so that an update whose whole length sits in one small tensor (an output bias) is cut too.
        norm: L2 norm for `fixed`, of shared tensors. Buffers are then clipped to the median, since `norm` is in the
            weights' unit.
    """

    to: Literal["median", "fixed", "none"]
    per: Literal["update", "tensor"]
    norm: float


def tensor_norms(deltas: Matrix, spec: Spec) -> Floats:
    """(n, tensors) float64, L2 norm of each tensor of each delta; not finite where an entry is not, or overflows."""
    squares = np.empty((len(deltas), len(spec.spans)))

    def measure(start: int) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # each thread has its own
            rows = deltas[start : start + BLOCK_ROWS].astype(np.float64)
            for k, span in enumerate(spec.spans):
                part = rows[:, span.start : span.stop]
                squares[start : start + BLOCK_ROWS, k] = np.einsum("ij,ij->i", part, part)

    over_cores(measure, range(0, len(deltas), BLOCK_ROWS), len(deltas))
    norms: Floats = np.sqrt(squares)
    return norms


def whole_norms(norms: Floats, spec: Spec) -> Floats:
    """(n,), L2 norm of each delta's shared tensors together, from `tensor_norms`."""
    whole: Floats = np.sqrt(np.square(norms[:, : spec.n_shared]).sum(axis=1))
    return whole


def clip(deltas: Matrix, norms: Floats, spec: Spec, settings: ClipSettings) -> Floats:
    """Clips `deltas` in place.

    Args:
        deltas: (n, d), finite.
        norms: (n, tensors), from `tensor_norms`.
        spec: where the tensors lie.
        settings: see there.

    Returns:
        (n,) factor by which the length of each delta's shared tensors shrank; 1 where nothing was cut.
    """
    shared, whole = spec.n_shared, whole_norms(norms, spec)
    if settings.to == "none":
        return np.ones(len(deltas))
    judged = norms
    if settings.per == "update":
        judged = np.stack([whole, np.sqrt(np.square(norms[:, shared:]).sum(axis=1))], axis=1)
    limits = np.median(judged, axis=0)
    if settings.to == "fixed":
        limits[: 1 if settings.per == "update" else shared] = settings.norm
    # A tensor that most agents left alone has a median norm of 0, so nobody may change it in this round.
    factors = np.divide(limits, judged, out=np.ones_like(judged), where=judged > limits)
    if settings.per == "update":
        factors = np.repeat(factors, [shared, len(spec.spans) - shared], axis=1)
    # float32 cannot hold the factor of an update that was sent absurdly large; float64 takes twice as long.
    absurd = factors.min(axis=1) <= np.finfo(np.float32).tiny
    narrow = np.where(absurd[:, None], 1, factors).astype(np.float32)

    def cut(start: int) -> None:
        rows = slice(start, start + CUT_ROWS)
        for k in np.flatnonzero((narrow[rows] < 1).any(axis=0)).tolist():
            deltas[rows, spec.spans[k].start : spec.spans[k].stop] *= narrow[rows, k : k + 1]

    over_cores(cut, range(0, len(deltas), CUT_ROWS), len(deltas))
    widths = [span.stop - span.start for span in spec.spans]
    for row in np.flatnonzero(absurd):
        deltas[row] = deltas[row] * np.repeat(factors[row], widths)
    after = whole_norms(norms * factors, spec)
    shrunk: Floats = np.divide(after, whole, out=np.ones_like(whole), where=whole > 0)
    return shrunk
