"""From the agents' deltas to one change of the model: robust filter over all agents, district means, city mean.

The filter comes first and sees everybody: applied inside districts of five with f = 1 it breaks as soon as two
malicious agents share a district. Every sum is made in agent order, so the result has the same bits however updates
arrived.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import numpy.typing as npt

from neurogrid.fl.rules import BLOCK_COLUMNS, Rule, Verdict
from neurogrid.fl.update import Floats, Matrix, Vector

BLOCK_ROWS = 8
"""Rows made float64 at once where whole rows are summed."""


AGENTS_WORTH_THREADS = 50
"""With fewer, threads wait for each other longer than they work."""


@dataclass(frozen=True)
class Aggregate:
    """What came of a round's deltas.

    Attributes:
        delta: (d,) float32, the city mean.
        share: (n,), each agent's share in `delta`, averaged over coordinates; sums to 1.
        accepted: (n,) bool. Rules that judge whole updates: kept or not. Coordinate-wise rules: whether the agent kept
            at least half as many of its coordinates as an average agent does.
        scores: (n,), the rule's score, or the share of coordinates that was cut; higher is further out.
        district_norms: (districts,), L2 norm of each district's mean; 0 where a district has no accepted agent.
    """

    delta: Vector
    share: Floats
    accepted: npt.NDArray[np.bool_]
    scores: Floats
    district_norms: Floats


def capped_weights(windows: npt.NDArray[np.int64], cap: float) -> Floats:
    """Sample weights of which none exceeds `cap` times the median, so that claiming samples buys no influence.

    Args:
        windows: (n,) numbers of training windows that the agents say they hold, all positive.
        cap: at least 1; 1 makes weights above the median all equal.
    """
    claimed = windows.astype(np.float64)
    capped: Floats = np.minimum(claimed, cap * np.median(claimed))
    return capped


def aggregate(deltas: Matrix, weights: Floats, districts: npt.NDArray[np.int64], f: int, rule: Rule) -> Aggregate:
    """Filters, then averages within districts and over the city.

    Args:
        deltas: (n, d) float32, finite, already clipped.
        weights: (n,) positive, see `capped_weights`.
        districts: (n,) number of each agent's district, from 0.
        f: how many agents may be malicious.
        rule: of rules.RULES.

    Raises:
        TooFewAgentsError, NothingToTrimError: see the rule.
    """
    verdict = rule(deltas, f)
    members = [np.flatnonzero((districts == k) & verdict.kept) for k in range(int(districts.max()) + 1)]
    if verdict.coordinates is None:
        delta, share, norms = _whole_rows(verdict.rows, weights, members)
        return Aggregate(delta, share, verdict.kept, verdict.scores, norms)
    return _by_coordinate(verdict, weights, members)


def length(vector: npt.NDArray[np.floating]) -> float:
    """L2 norm, not by BLAS: it splits long vectors over the cores, whose number would then show in the last bits."""
    return float(np.sqrt(np.square(vector, dtype=np.float64).sum()))


def _whole_rows(rows: Matrix, weights: Floats, members: list[npt.NDArray[np.int64]]) -> tuple[Vector, Floats, Floats]:
    """District means of whole rows, and their mean weighted by what each district's agents weigh together."""
    d = rows.shape[1]
    total = np.zeros(d)
    norms = np.zeros(len(members))
    share = np.zeros(len(rows))
    everyone = float(sum(weights[i] for m in members for i in m))
    for k, district in enumerate(members):
        if district.size == 0:
            continue
        weight = float(sum(weights[i] for i in district))
        mean = _weighted_sum(rows, district, weights[district] / weight)
        share[district] = weights[district] / everyone
        norms[k] = length(mean)
        total += mean * (weight / everyone)
    return total.astype(np.float32), share, norms


def _weighted_sum(rows: Matrix, chosen: npt.NDArray[np.int64], weights: Floats) -> Floats:
    """(d,) sum of `chosen` rows, each times its weight, in float64 and in order; a few rows at once stay in cache."""
    total = np.zeros(rows.shape[1])
    for start in range(0, len(chosen), BLOCK_ROWS):
        part = rows[chosen[start : start + BLOCK_ROWS]].astype(np.float64)
        total += np.einsum("i,ij->j", weights[start : start + BLOCK_ROWS], part)
    return total


@dataclass(frozen=True)
class _Block:
    """What came of some columns; the sums are over these columns alone."""

    delta: Vector
    kept_entries: Floats
    share: Floats
    squares: Floats


def _by_coordinate(verdict: Verdict, weights: Floats, members: list[npt.NDArray[np.int64]]) -> Aggregate:
    """The same for rules that keep or cut each entry: a district's mean of a coordinate is over the entries kept."""
    d = verdict.rows.shape[1]
    starts = range(0, d, BLOCK_COLUMNS)
    work = partial(_block, verdict, weights, members)
    if len(weights) < AGENTS_WORTH_THREADS:
        blocks = list(map(work, starts))
    else:
        # Blocks know nothing of each other and are summed in their order, so threads change no bit.
        with ThreadPoolExecutor() as threads:
            blocks = list(threads.map(work, starts))
    row_share = sum_in_order(block.share for block in blocks) / d
    share = row_share if verdict.mixing is None else row_share @ verdict.mixing
    kept = sum_in_order(block.kept_entries for block in blocks) / d
    squares = sum_in_order(block.squares for block in blocks)
    delta = np.concatenate([block.delta for block in blocks])
    return Aggregate(delta, share, kept >= verdict.kept_share / 2, 1 - kept, np.sqrt(squares))


def _block(verdict: Verdict, weights: Floats, members: list[npt.NDArray[np.int64]], start: int) -> _Block:
    assert verdict.coordinates is not None
    block = verdict.rows[:, start : start + BLOCK_COLUMNS]
    inside = verdict.coordinates(block)
    entry_weights = inside * weights[:, None]
    everyone = entry_weights.sum(axis=0)
    total = np.zeros(block.shape[1])
    squares = np.zeros(len(members))
    for k, district in enumerate(members):
        weight = entry_weights[district].sum(axis=0)
        weighted = (entry_weights[district] * block[district]).sum(axis=0)
        mean = np.divide(weighted, weight, out=np.zeros_like(weight), where=weight > 0)
        squares[k] = np.square(mean).sum()
        total += mean * (weight / everyone)
    share = np.einsum("ij,j->i", entry_weights, 1 / everyone)
    return _Block(total.astype(np.float32), inside.sum(axis=1).astype(np.float64), share, squares)


def sum_in_order(parts: Iterable[Floats]) -> Floats:
    """Their sum, made from the first to the last."""
    return reduce(np.add, parts)
