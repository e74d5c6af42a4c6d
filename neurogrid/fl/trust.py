"""The rule `fltrust`: updates count as far as they point where those of trusted agents do, and have their length.

FLTrust (Cao et al. 2021, arXiv:2012.13995) compares with an update that the server trains itself, on readings that it
holds. Here the server holds none: the config names households that are trusted, and these are agents like all others,
asked in every round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neurogrid.fl.record import AgentRecord
from neurogrid.fl.registry import TooFewAgentsError
from neurogrid.fl.rows import BLOCK_COLUMNS, Judged, Rows
from neurogrid.fl.rules import Mask, Verdict
from neurogrid.fl.select import Chosen, Select
from neurogrid.fl.state import Slot, State
from neurogrid.fl.update import AgentId, Floats


class NoReferenceError(TooFewAgentsError):
    """No trusted agent has given an update to compare with."""


def fltrust(deltas: Judged, f: int, trusted: Mask) -> Verdict:
    """Scales each update to the reference's length, and weighs it by the cosine between the two; 0 where that is below.

    The reference is the mean of the trusted agents' updates. They are in the mean as all others are. It bears any
    number of malicious agents of whom none is trusted; f has no effect.

    Args:
        deltas: (n, d) float32, or rows that are each an agent's.
        f: see there.
        trusted: (n,) whose updates make the reference.

    Raises:
        NoReferenceError: there is no trusted update, or their mean is 0.
    """
    rows = Rows.of(deltas)
    squares, products = np.zeros(len(rows)), np.zeros(len(rows))
    square = 0.0
    for start in range(0, rows.deltas.shape[1] if trusted.any() else 0, BLOCK_COLUMNS):
        block = rows.block(slice(start, start + BLOCK_COLUMNS)).astype(np.float64)
        reference = block[trusted].mean(axis=0)
        # Not by BLAS, whose sums may change in their last bits with the number of cores.
        square += float(np.square(reference).sum())
        squares += np.square(block).sum(axis=1)
        products += (block * reference).sum(axis=1)
    if not square > 0:
        raise NoReferenceError("no trusted agent has given an update that others could be compared with")
    norms, length = np.sqrt(squares), np.sqrt(square)
    cosines: Floats = np.divide(products, norms * length, out=np.zeros_like(norms), where=norms > 0)
    scales = np.divide(length, norms, out=np.zeros_like(norms), where=norms > 0)
    return Verdict(
        rows=rows.shortened(scales),
        kept=cosines > 0,
        coordinates=None,
        scores=1 - cosines,
        trust=np.maximum(cosines, 0),
    )


@dataclass(frozen=True)
class Always:
    """Chooses these agents in every round, and the others of it as `own` does."""

    own: Select
    agents: frozenset[AgentId]

    def choose(self, candidates: Sequence[AgentId], wanted: int, state: State) -> Chosen:
        """See Select."""
        others = [agent for agent in candidates if agent not in self.agents]
        chosen = self.own.choose(others, max(0, wanted - (len(candidates) - len(others))), state)
        of_round = self.agents | set(chosen.agents)
        return Chosen(tuple(agent for agent in candidates if agent in of_round), chosen.figures)

    def after_round(self, state: State, agents: Sequence[AgentRecord], at_work: int) -> Mapping[str, Slot]:
        """See Select."""
        return self.own.after_round(state, agents, at_work)
