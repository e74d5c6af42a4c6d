"""Rules that weigh whole updates by how they lie to each other: each needs the Gram matrix and nothing else.

What comes out is how much of each row may enter the mean, 0 to 1. So they cost what the Gram matrix costs, and one pass
for the mean.
"""

import numpy as np
from threadpoolctl import threadpool_limits

from neurogrid.fl.rows import Judged, Rows
from neurogrid.fl.rules import Verdict
from neurogrid.fl.update import Floats

EXACT_ROWS = 100
"""Up to so many rows the covariance's eigenvectors are found directly, beyond it by Lanczos."""
_NEAR = 1e-9  # eigenvalues that differ by less are one: its eigenvectors could be any in their plane
_STEPS, _RESIDUAL = 300, 1e-9
_ITERATIONS, _MOVED, _SMOOTH = 500, 1e-10, 1e-6
_CLIP_ITERATIONS = 20


def caf(deltas: Judged, f: int) -> Verdict:
    """Takes weight from rows that stick out in the direction of the greatest variance, until 2f have lost theirs.

    The covariance-bound agnostic filter (Allouah et al. 2025, arXiv:2505.01874). Of the weighted means on the way the
    one of the least variance is taken. Needs n > 2f. Each turn takes all its weight from one row at least. Rows that
    have none left are not looked at again, so that one far row cannot hide the others.
    """
    rows = Rows.of(deltas)
    # One BLAS thread, whose number might show in the last bits of eigenvectors.
    with threadpool_limits(1, user_api="blas"):
        best = _filtered(rows.gram, f)
    return Verdict(rows, best, None, 1 - best)


def _filtered(gram: Floats, f: int) -> Floats:
    n = len(gram)
    weights = best = np.ones(n)
    least = np.inf
    while weights.sum() > n - 2 * f:
        left = np.flatnonzero(weights > 0)
        shares = weights[left] / weights[left].sum()
        variance, parts = _greatest(_covariance(gram[np.ix_(left, left)], shares))
        if variance < least:
            least, best = variance, weights
        out = parts / shares
        if variance <= 0 or out.max() <= 0:  # all that are left are the same
            break
        weights = weights.copy()
        weights[left] *= 1 - out / out.max()
    return best


def _covariance(gram: Floats, shares: Floats) -> Floats:
    """A matrix with the eigenvalues of the rows' weighted covariance; its eigenvectors say what each row adds."""
    means = gram @ shares
    roots = np.sqrt(shares)
    centred: Floats = gram - means[:, None] - means + means @ shares
    centred *= roots[:, None]
    centred *= roots
    return centred


def _greatest(matrix: Floats) -> tuple[float, Floats]:
    """The greatest eigenvalue, and each row's squared part in its eigenvector, or in the plane of all that share it."""
    if len(matrix) <= EXACT_ROWS:
        values, vectors = np.linalg.eigh(matrix)
        same = values >= values[-1] - _NEAR * abs(values[-1])
        return float(values[-1]), np.square(vectors[:, same]).sum(axis=1)
    value, vector = _lanczos(matrix)
    return value, np.square(vector)


def _lanczos(matrix: Floats) -> tuple[float, Floats]:
    """The greatest eigenvalue and its eigenvector, by Lanczos' method with full orthogonalisation."""
    n = len(matrix)
    start = np.sin(np.arange(1.0, n + 1) ** 2)  # no pattern of rows is orthogonal to it
    basis, diagonal, beside = np.zeros((_STEPS, n)), np.zeros(_STEPS), np.zeros(_STEPS)
    vector = start / np.sqrt(np.square(start).sum())
    value, ritz, step = 0.0, np.ones(1), 0
    for step in range(_STEPS):
        basis[step] = vector
        image = matrix @ vector
        diagonal[step] = image @ vector
        known = basis[: step + 1]
        for _ in range(2):
            image -= (known @ image) @ known
        beside[step] = np.sqrt(np.square(image).sum())
        last = step == _STEPS - 1
        if last or step % 10 == 9 or beside[step] <= _RESIDUAL * abs(diagonal[0]):
            small = np.diag(diagonal[: step + 1]) + np.diag(beside[:step], 1) + np.diag(beside[:step], -1)
            values, vectors = np.linalg.eigh(small)
            value, ritz = float(values[-1]), vectors[:, -1]
            if last or beside[step] * abs(ritz[-1]) <= _RESIDUAL * abs(value):
                break
        vector = image / beside[step]
    found: Floats = ritz @ basis[: len(ritz)]
    return value, found


def _distances(gram: Floats, centre: Floats) -> Floats:
    """(n,) of each row to the sum of rows times `centre`."""
    products = np.einsum("ij,j->i", gram, centre)
    found: Floats = np.sqrt(np.maximum(np.diag(gram) - 2 * products + np.einsum("i,i->", products, centre), 0))
    return found


def geometric_median(deltas: Judged, f: int) -> Verdict:
    """Weighs each row by one over its distance to their geometric median, which is the mean of rows so weighed.

    Smoothed Weiszfeld iterations from 0 (RFA, Pillutla et al. 2022, arXiv:1912.13445), until they stand still. A row
    nearer than a millionth of the median distance counts as if it were as far as that. Needs n > 2f.
    """
    rows = Rows.of(deltas)
    gram, n = rows.gram, len(rows)
    centre = np.zeros(n)
    near = np.ones(n)
    for _ in range(_ITERATIONS):
        distances = _distances(gram, centre)
        smooth = max(_SMOOTH * float(np.median(distances)), 1e-150)
        near = smooth / np.maximum(distances, smooth)
        before, centre = centre, near / near.sum()
        if np.abs(centre - before).sum() <= _MOVED:
            break
    return Verdict(rows, near / near.max(), None, _distances(gram, centre))


def centred_clipping(deltas: Judged, f: int) -> Verdict:
    """The mean of rows of which none is further from it than the median row: clipped around a centre that moves there.

    Karimireddy et al. 2021 (arXiv:2012.10333), which takes the radius from the user; here it is the median distance of
    rows to the centre, anew in each of 20 iterations. The first centre is the row whose median distance to others is
    the least. Needs n > 2f.
    """
    rows = Rows.of(deltas)
    gram, n = rows.gram, len(rows)
    centre = np.zeros(n)
    centre[np.argmin(np.median(rows.squared_distances, axis=1))] = 1
    for _ in range(_CLIP_ITERATIONS):
        distances = _distances(gram, centre)
        radius = np.median(distances)
        factors = np.divide(radius, distances, out=np.ones(n), where=distances > radius)
        centre = (1 - factors.mean()) * centre + factors / n
    return Verdict(rows, centre / centre.max(), None, _distances(gram, centre))
