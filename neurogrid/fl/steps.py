"""Steps before a rule: what shortens or mixes updates, so that any rule that follows bears attacks better.

Each takes rows, or plain deltas, and gives rows for the next step or the rule. None of them makes a copy of the deltas.
"""

import numpy as np

from neurogrid.fl.rows import Judged, Rows
from neurogrid.fl.update import Floats


def arc(deltas: Judged, f: int) -> Rows:
    """Shortens the floor(2 f (n - f) / n) longest rows to the longest of the others: adaptive robust clipping.

    Allouah et al. 2025 (arXiv:2405.14432). One pass over the deltas, O(n d). With f = 0 it changes nothing.
    """
    rows = Rows.of(deltas)
    n, norms = len(rows), np.sqrt(rows.squares)
    limit = np.sort(norms)[n - 2 * f * (n - f) // n - 1]
    factors = np.divide(limit, norms, out=np.ones(n), where=norms > limit)
    return rows.shortened(factors) if (factors < 1).any() else rows


def bucketing(deltas: Judged, size: int, rng: np.random.Generator) -> Rows:
    """Means of buckets of `size` rows that are drawn at random; the last one may have fewer.

    Karimireddy et al. 2022 (arXiv:2006.09365). f malicious rows spoil f buckets at most. Nothing is read but n.
    """
    rows = Rows.of(deltas)
    n = len(rows)
    bucket = np.empty(n, np.int64)
    bucket[rng.permutation(n)] = np.arange(n) // size
    mixing = (bucket == np.arange(bucket.max() + 1)[:, None]).astype(np.float64)
    return rows.mixed(mixing / mixing.sum(axis=1, keepdims=True))


def nnm(deltas: Judged, f: int) -> Rows:
    """Makes each row the mean of its n - f nearest, itself among them: nearest-neighbour mixing.

    Allouah et al. 2023 (arXiv:2302.01772). O(n^2 d) for the Gram matrix.
    """
    rows = Rows.of(deltas)
    n = len(rows)
    order = np.argsort(rows.squared_distances, axis=1, kind="stable")[:, : n - f]
    mixing: Floats = np.zeros((n, n))
    np.put_along_axis(mixing, order, 1 / (n - f), axis=1)
    return rows.mixed(mixing)
