"""From the agents' deltas and what a robust rule made of them to one change of the model: one weighted mean.

A mean over districts of their means, each weighted by what its agents weigh together, is the
weighted mean over all agents, so districts are only what the report counts by. Every sum is made in agent order, so the
result has the same bits however updates arrived.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import numpy.typing as npt

from neurogrid.fl.rules import Verdict
from neurogrid.fl.threads import over_cores
from neurogrid.fl.update import Floats, Matrix, Vector

BLOCK_ENTRIES = 2**18
"""Entries that are judged at once, all rows of some columns: they and what is made of them stay in the cache."""
SUMMED_ROWS, SUMMED_COLUMNS = 16, 2**13
"""Rows and columns made float64 at once where whole rows are summed."""

Members = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Aggregate:
    """What came of a round's deltas.

    Attributes:
        delta: (d,) float32, the weighted mean of what the rule kept.
        share: (n,), each agent's share in `delta`, averaged over coordinates; sums to 1.
        accepted: (n,) bool, whether at least half as much of the agent was let in as of an average one: of its
            coordinates, of the whole of it, or of the rows that it was mixed into.
        scores: (n,), the rule's score, or the share of coordinates that was cut; higher is further out.
        district_norms: L2 norm of the weighted mean of each district's agents alone, by district; 0 where none of them
            was accepted.
    """

    delta: Vector
    share: Floats
    accepted: npt.NDArray[np.bool_]
    scores: Floats
    district_norms: Mapping[int, float]


def capped_weights(windows: npt.NDArray[np.int64], cap: float) -> Floats:
    """Sample weights of which none exceeds `cap` times the median, so that claiming samples buys no influence.

    Args:
        windows: (n,) numbers of training windows that the agents say they hold, all positive.
        cap: at least 1; 1 makes weights above the median all equal.
    """
    claimed = windows.astype(np.float64)
    capped: Floats = np.minimum(claimed, cap * np.median(claimed))
    return capped


def average(verdict: Verdict, weights: Floats, districts: npt.NDArray[np.int64]) -> Aggregate:
    """The weighted mean of what a rule kept.

    Args:
        verdict: on (n, d) deltas, finite and already clipped.
        weights: (n,) positive, see `capped_weights`.
        districts: (n,), any number for each agent's district; nothing but `district_norms` depends on them.
    """
    weights = weights if verdict.trust is None else weights * verdict.trust
    labels = np.unique(districts).tolist()
    members = np.array([districts == label for label in labels], np.float64)
    delta, share, kept, squares = (_rows if verdict.coordinates is None else _entries)(verdict, weights, members)
    norms = dict(zip(labels, np.sqrt(squares).tolist(), strict=True))
    let_in = verdict.rows.of_agents(kept)
    accepted = (let_in > 0) & (let_in >= let_in.mean() / 2)
    scores = verdict.scores if verdict.coordinates is None else 1 - kept
    return Aggregate(delta, share, accepted, verdict.rows.seen_by_agents(scores), norms)


def joined(parts: Sequence[tuple[Members, Aggregate]], weights: Floats) -> Aggregate:
    """The mean of means of several groups of agents, each weighted by what its agents weigh together.

    Args:
        parts: each group's agents, which are in no other one, and what came of them.
        weights: (n,) of all agents; those in no group have no share.
    """
    if len(parts) == 1 and len(parts[0][0]) == len(weights):
        return parts[0][1]
    n, d = len(weights), len(parts[0][1].delta)
    groups = np.array([weights[members].sum() for members, _ in parts])
    delta, share, accepted, scores = np.zeros(d), np.zeros(n), np.zeros(n, bool), np.full(n, np.nan)
    for (members, part), weight in zip(parts, groups / groups.sum(), strict=True):
        delta += weight * part.delta
        share[members] = weight * part.share
        accepted[members] = part.accepted
        scores[members] = part.scores
    norms = {label: norm for _, part in parts for label, norm in part.district_norms.items()}
    return Aggregate(delta.astype(np.float32), share, accepted, scores, norms)


def length(vector: npt.NDArray[np.floating]) -> float:
    """L2 norm, not by BLAS: it splits long vectors over the cores, whose number would then show in the last bits."""
    return float(np.sqrt(np.square(vector, dtype=np.float64).sum()))


_Means = tuple[Vector, Floats, Floats, Floats]
"""(d,) the mean; (n,) each agent's share in it; (m,) how much of each row was kept; (districts,) squared norms."""


def _rows(verdict: Verdict, weights: Floats, members: Floats) -> _Means:
    """The weighted mean of rows, of each as much as was kept; made of the deltas, whatever was mixed."""
    rows, kept = verdict.rows, verdict.kept.astype(np.float64)
    chosen = np.flatnonzero(kept)
    of_rows, of_kept = np.zeros(len(rows)), rows.of_rows(weights)[chosen] * kept[chosen]
    of_rows[chosen] = of_kept / of_kept.sum()
    share = rows.of_agents(of_rows)
    chosen = np.flatnonzero(share)
    own = members * share
    sums = own.sum(axis=1, keepdims=True)
    shares = np.divide(own, sums, out=np.zeros_like(own), where=sums > 0)[:, chosen]
    factors = share[chosen]
    if rows.scale is not None:
        factors, shares = factors * rows.scale[chosen], shares * rows.scale[chosen]

    def block(start: int) -> tuple[Vector, Floats]:
        columns = rows.deltas[:, start : start + SUMMED_COLUMNS]
        mean, means = _weighted_sums(columns, chosen, factors, shares)
        return mean.astype(np.float32), np.square(means).sum(axis=1)

    blocks = over_cores(block, range(0, rows.deltas.shape[1], SUMMED_COLUMNS), len(rows.deltas))
    squares = sum_in_order(squares for _, squares in blocks)
    return np.concatenate([mean for mean, _ in blocks]), share, kept, squares


def _weighted_sums(columns: Matrix, chosen: Members, weights: Floats, own: Floats) -> tuple[Floats, Floats]:
    """(columns,) sum of the `chosen` rows, each times its weight, in float64 and in order; and (districts, columns)."""
    total, parts = np.zeros(columns.shape[1]), np.zeros((len(own), columns.shape[1]))
    room = np.empty((SUMMED_ROWS, columns.shape[1]))
    everyone = len(chosen) == len(columns)
    for start in range(0, len(chosen), SUMMED_ROWS):
        some = slice(start, start + SUMMED_ROWS)
        rows = columns[some] if everyone else columns[chosen[some]]
        part = room[: len(rows)]
        part[:] = rows
        total += np.einsum("i,ij->j", weights[some], part)
        parts += own[:, some] @ part
    return total, parts


def _entries(verdict: Verdict, weights: Floats, members: Floats) -> _Means:
    """The same for rules that keep or cut each entry: the mean of a coordinate is over the entries kept."""
    rows = verdict.rows
    n, d = len(rows), rows.deltas.shape[1]
    of_rows = rows.of_rows(weights)
    own = rows.of_rows(members) * of_rows
    width = max(1, BLOCK_ENTRIES // len(rows.deltas))
    blocks = over_cores(partial(_block, verdict, of_rows, own, width), range(0, d, width), n)
    delta = np.concatenate([block.delta for block in blocks])
    share = rows.of_agents(of_rows * sum_in_order(block.share for block in blocks) / d)
    kept = sum_in_order(block.kept for block in blocks) / d
    return delta, share, kept, sum_in_order(block.squares for block in blocks)


@dataclass(frozen=True)
class _Block:
    """What came of some columns; the sums are over these columns alone, `share` is still without the row's weight."""

    delta: Vector
    share: Floats
    kept: Floats
    squares: Floats


def _block(verdict: Verdict, weights: Floats, own: Floats, width: int, start: int) -> _Block:
    assert verdict.coordinates is not None
    rows = verdict.rows.block(slice(start, start + width))
    kept = verdict.coordinates(rows)
    entries = kept.astype(np.float64)
    values = rows.astype(np.float64)
    values *= entries
    everyone = np.einsum("i,ij->j", weights, entries)
    delta = np.einsum("i,ij->j", weights, values) / everyone
    below = own @ entries
    means = np.divide(own @ values, below, out=np.zeros_like(below), where=below > 0)
    share = np.einsum("ij,j->i", entries, 1 / everyone)
    # A product of whole numbers is exact, however its sums are split.
    counted = entries @ np.ones(len(delta)) if kept.dtype == np.bool_ else np.einsum("ij->i", entries)
    return _Block(delta.astype(np.float32), share, counted, np.square(means).sum(axis=1))


def sum_in_order(parts: Iterable[Floats]) -> Floats:
    """Their sum, made from the first to the last."""
    return reduce(np.add, parts)
