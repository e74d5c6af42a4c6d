"""Robust rules: which updates, or which coordinates of them, may enter a mean when up to f of n agents are malicious.

A rule looks at all agents' deltas at once and answers with a `Verdict`; aggregate.py makes the means. What each needs
stands in registry.py, whose `RuleSpec.refuse` is asked first. Rules see no weights: what an agent claims about itself
must not buy it a better verdict.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from neurogrid.fl.update import Floats, Matrix

BLOCK_COLUMNS = 4096
"""Columns handled at once, so that no copy of the deltas larger than n x 4096 is ever made."""


Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Verdict:
    """What a rule decided.

    Attributes:
        rows: (n, d) float32 to average: the deltas themselves, or mixtures of them.
        kept: (n,) bool, rows that may enter at all.
        coordinates: for a block of `rows` (n, b), how much of each entry may enter, (n, b), 0 to 1; None is all of it.
        kept_share: share of coordinates that an average row keeps, to compare a row's own share with.
        mixing: (n, n), row i of `rows` is `mixing[i] @ deltas`; None where rows are the deltas.
        scores: (n,), how far out the rule found each agent (higher is further); NaN where the rule has no such figure
            before the means are made (coordinate-wise rules: the share of the agent's coordinates that was cut).
        trust: (n,) factors from 0 to 1 of the rows' weights, above 0 for each that is kept; None is 1 for all.
    """

    rows: Matrix
    kept: Mask
    coordinates: Callable[[Matrix], Mask | Floats] | None
    kept_share: float
    mixing: Floats | None
    scores: Floats
    trust: Floats | None = None


Rule = Callable[[Matrix, int], Verdict]
InformedRule = Callable[[Matrix, int, npt.NDArray[Any]], Verdict]
"""A rule that judges by something beside the updates, see `RuleSpec.by`."""


def _everything(deltas: Matrix, kept: Mask, scores: Floats) -> Verdict:
    return Verdict(rows=deltas, kept=kept, coordinates=None, kept_share=1.0, mixing=None, scores=scores)


def mean(deltas: Matrix, f: int) -> Verdict:
    """Keeps everything: federated averaging (McMahan et al. 2017, arXiv:1602.05629). No defence of its own."""
    n = len(deltas)
    return _everything(deltas, np.ones(n, bool), np.zeros(n))


def _between(block: Matrix, lowest: int) -> Mask | Floats:
    """Entries whose rank in their column is from `lowest` to n - 1 - lowest.

    Equal values at an edge share the places that are left, so that neither the order of agents nor a coordinate that
    everybody left alone speaks for one agent or against another.
    """
    n = len(block)
    if lowest == 0:
        return np.ones(block.shape, np.bool_)
    columns = np.array(block.T, order="C")  # a copy even of a single column, since it is sorted in place
    columns.sort(axis=1)
    # Contiguous, since every row is compared with them.
    low, high = columns[:, lowest].copy(), columns[:, n - 1 - lowest].copy()
    inside: Mask = (block >= low) & (block <= high)
    tied = np.flatnonzero((columns[:, lowest - 1] == low) | (columns[:, n - lowest] == high))
    if tied.size == 0:
        return inside
    entries = inside.astype(np.float64)
    part = block[:, tied]
    for edge in (low[tied], high[tied]):
        equal = part == edge
        first = np.count_nonzero(part < edge, axis=0)
        end = first + np.count_nonzero(equal, axis=0)
        places = np.minimum(end, n - lowest) - np.maximum(first, lowest)
        entries[:, tied] = np.where(equal, places / (end - first), entries[:, tied])
    return entries


def median(deltas: Matrix, f: int) -> Verdict:
    """Keeps the middle one (n odd) or two (n even) of each coordinate (Yin et al. 2018, arXiv:1803.01498)."""
    n = len(deltas)
    lowest = (n - 1) // 2
    return Verdict(
        rows=deltas,
        kept=np.ones(n, bool),
        coordinates=lambda block: _between(block, lowest),
        kept_share=(n - 2 * lowest) / n,
        mixing=None,
        scores=np.full(n, np.nan),
    )


def trimmed_mean(deltas: Matrix, f: int) -> Verdict:
    """Drops the f largest and f smallest values of each coordinate (Yin et al. 2018, arXiv:1803.01498)."""
    n = len(deltas)
    return Verdict(
        rows=deltas,
        kept=np.ones(n, bool),
        coordinates=lambda block: _between(block, f),
        kept_share=(n - 2 * f) / n,
        mixing=None,
        scores=np.full(n, np.nan),
    )


def squared_distances(deltas: Matrix) -> Floats:
    """(n, n) float64, squared Euclidean distances between rows; time O(n^2 d), copies one block of columns at once."""
    n, d = deltas.shape
    gram = np.zeros((n, n))
    # One BLAS thread: a sum split over threads may change in its last bits with the number of cores.
    with threadpool_limits(1, user_api="blas"):
        for start in range(0, d, BLOCK_COLUMNS):
            block = deltas[:, start : start + BLOCK_COLUMNS].astype(np.float64)
            gram += block @ block.T
    squares = np.diag(gram)
    distances: Floats = np.maximum(squares[:, None] + squares[None, :] - 2 * gram, 0)
    np.fill_diagonal(distances, 0)
    return distances


def krum_scores(deltas: Matrix, f: int) -> Floats:
    """(n,) sum of squared distances of each row to its n - f - 1 nearest others.

    The form of Allouah et al. 2023 (arXiv:2302.01772); Blanchard et al. 2017 counted one neighbour fewer.
    """
    n = len(deltas)
    nearest = np.sort(squared_distances(deltas), axis=1)
    scores: Floats = nearest[:, 1 : n - f].sum(axis=1)
    return scores


def _lowest(scores: Floats, count: int) -> Mask:
    kept = np.zeros(len(scores), bool)
    kept[np.argsort(scores, kind="stable")[:count]] = True
    return kept


def krum(deltas: Matrix, f: int) -> Verdict:
    """Keeps the one update with the lowest Krum score (Blanchard et al. 2017, NeurIPS)."""
    scores = krum_scores(deltas, f)
    return _everything(deltas, _lowest(scores, 1), scores)


def multi_krum(deltas: Matrix, f: int) -> Verdict:
    """Keeps the n - f updates with the lowest Krum scores (Blanchard et al. 2017)."""
    scores = krum_scores(deltas, f)
    return _everything(deltas, _lowest(scores, len(deltas) - f), scores)


def nnm_trimmed_mean(deltas: Matrix, f: int) -> Verdict:
    """Nearest-neighbour mixing, then the trimmed mean of the mixtures (Allouah et al. 2023, arXiv:2302.01772).

    Each row becomes the mean of its n - f nearest rows, itself among them: a mask times the deltas, so memory stays at
    one more (n, d).
    """
    n = len(deltas)
    order = np.argsort(squared_distances(deltas), axis=1, kind="stable")[:, : n - f]
    mixing = np.zeros((n, n))
    np.put_along_axis(mixing, order, 1 / (n - f), axis=1)
    # Rows with the same neighbours are mixed once: BLAS sums the rows of a product in different ways, and mixtures that
    # differ in their last bits alone would not share the places of the trimmed mean, but win or lose them by chance.
    different, mixture_of = np.unique(mixing, axis=0, return_inverse=True)
    mixed = np.empty_like(deltas)
    with threadpool_limits(1, user_api="blas"):
        for start in range(0, deltas.shape[1], BLOCK_COLUMNS):
            columns = slice(start, start + BLOCK_COLUMNS)
            mixed[:, columns] = (different @ deltas[:, columns].astype(np.float64))[mixture_of]
    trimmed = trimmed_mean(mixed, f)
    return Verdict(mixed, trimmed.kept, trimmed.coordinates, trimmed.kept_share, mixing, trimmed.scores)


RULES: dict[str, Rule] = {
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "krum": krum,
    "multi_krum": multi_krum,
    "nnm_trimmed_mean": nnm_trimmed_mean,
}
"""What the registry's own specs load."""
