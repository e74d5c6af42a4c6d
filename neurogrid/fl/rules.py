"""Robust rules: which updates, or which coordinates of them, may enter a mean when up to f of n agents are malicious.

A rule looks at all agents' deltas at once, plain or as the `Rows` that steps made of them, and answers with a
`Verdict`; aggregate.py makes the means. What each needs stands in registry.py, whose `RuleSpec.refuse` is asked first.
Rules see no weights: what an agent claims about itself must not buy it a better verdict.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neurogrid.fl.rows import Judged, Rows
from neurogrid.fl.update import Floats, Matrix

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Verdict:
    """What a rule decided about m rows.

    Attributes:
        rows: what to average.
        kept: (m,) bool, or how much of each row may enter, 0 to 1.
        coordinates: for a block of `rows` (m, b), how much of each entry may enter, (m, b), 0 to 1; None is all of it.
        scores: (m,), how far out the rule found each row (higher is further); NaN where the rule has no such figure
            before the means are made (coordinate-wise rules: the share of the row's coordinates that was cut).
        trust: (m,) factors from 0 to 1 of the rows' weights, above 0 for each that is kept; None is 1 for all.
    """

    rows: Rows
    kept: Mask | Floats
    coordinates: Callable[[Matrix], Mask | Floats] | None
    scores: Floats
    trust: Floats | None = None


Rule = Callable[[Judged, int], Verdict]
InformedRule = Callable[[Judged, int, npt.NDArray[Any]], Verdict]
"""A rule that judges by something beside the updates, see `RuleSpec.by`."""


def _entries(deltas: Judged, coordinates: Callable[[Matrix], Mask | Floats]) -> Verdict:
    rows = Rows.of(deltas)
    return Verdict(rows, np.ones(len(rows), bool), coordinates, np.full(len(rows), np.nan))


def mean(deltas: Judged, f: int) -> Verdict:
    """Keeps everything: federated averaging (McMahan et al. 2017, arXiv:1602.05629). No defence of its own."""
    rows = Rows.of(deltas)
    return Verdict(rows, np.ones(len(rows), bool), None, np.zeros(len(rows)))


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


def median(deltas: Judged, f: int) -> Verdict:
    """Keeps the middle one (n odd) or two (n even) of each coordinate (Yin et al. 2018, arXiv:1803.01498)."""
    return _entries(deltas, lambda block: _between(block, (len(block) - 1) // 2))


def trimmed_mean(deltas: Judged, f: int) -> Verdict:
    """Drops the f largest and f smallest values of each coordinate (Yin et al. 2018, arXiv:1803.01498)."""
    return _entries(deltas, lambda block: _between(block, f))


def krum_scores(rows: Rows, f: int) -> Floats:
    """(n,) sum of squared distances of each row to its n - f - 1 nearest others.

    The form of Allouah et al. 2023 (arXiv:2302.01772); Blanchard et al. 2017 counted one neighbour fewer.
    """
    nearest = np.sort(rows.squared_distances, axis=1)
    scores: Floats = nearest[:, 1 : len(rows) - f].sum(axis=1)
    return scores


def _lowest(scores: Floats, count: int) -> Mask:
    kept = np.zeros(len(scores), bool)
    kept[np.argsort(scores, kind="stable")[:count]] = True
    return kept


def krum(deltas: Judged, f: int) -> Verdict:
    """Keeps the one update with the lowest Krum score (Blanchard et al. 2017, NeurIPS)."""
    rows = Rows.of(deltas)
    scores = krum_scores(rows, f)
    return Verdict(rows, _lowest(scores, 1), None, scores)


def multi_krum(deltas: Judged, f: int) -> Verdict:
    """Keeps the n - f updates with the lowest Krum scores (Blanchard et al. 2017)."""
    rows = Rows.of(deltas)
    scores = krum_scores(rows, f)
    return Verdict(rows, _lowest(scores, len(rows) - f), None, scores)


def bulyan(deltas: Judged, f: int) -> Verdict:
    """Of the n - 2f rows with the lowest Krum scores, the n - 4f values of each coordinate nearest to its median.

    El Mhamdi et al. 2018 (arXiv:1802.07927). The paper takes the rows one by one, with scores among those that are
    left; here they are taken at once, as Multi-Krum does. Needs n >= 4f + 3.
    """
    rows = Rows.of(deltas)
    scores = krum_scores(rows, f)
    chosen = _lowest(scores, len(rows) - 2 * f)
    return Verdict(rows, chosen, lambda block: _nearest(block, chosen, len(rows) - 4 * f), scores)


def _nearest(block: Matrix, chosen: Mask, count: int) -> Floats:
    """Of each column's `chosen` entries the `count` nearest to their median; equally far ones share what is left."""
    part = block[chosen].astype(np.float64)
    away = np.abs(part - np.median(part, axis=0))
    last = np.partition(away, count - 1, axis=0)[count - 1]
    nearer, equal = away < last, away == last
    entries = np.zeros(block.shape)
    entries[chosen] = nearer + equal * ((count - nearer.sum(axis=0)) / equal.sum(axis=0))
    return entries
