"""The rule `vote`: a round's agents score one another's updates by their own loss, and the f worst are dropped.

Zeno (Xie et al. 2019, arXiv:1805.10032) scores an update by how far it lowers the loss on readings that the server
holds. Here the server holds none, so the round's agents are asked (see polling.py), and of what they say only the
median counts.
"""

import numpy as np

from neurogrid.fl.registry import TooFewAgentsError
from neurogrid.fl.rows import Judged, Rows
from neurogrid.fl.rules import Verdict
from neurogrid.fl.update import Floats
from neurogrid.plural import plural


class TooFewVotesError(TooFewAgentsError):
    """So few have voted that f who lie could decide."""


def vote(deltas: Judged, f: int, votes: Floats) -> Verdict:
    """Drops the f updates of which most voters say the worst.

    A voter's loss is high where its readings are hard, so each vote is the loss less that voter's median over the
    updates. An update's score is the median of its votes. As long as more than 2f voters are heard, of whom at most f
    lie, it lies between the lowest and the highest honest vote: whatever liars say of an update that all honest voters
    find worse than others, it stays behind these. Liars can be silent too; where more than 2f honest voters are heard,
    that changes nothing.

    Args:
        deltas: (n, d) float32, or rows that are each an agent's.
        f: how many of the voters may lie, and how many updates may be malicious.
        votes: (voters, n), each voter's loss under each update alone. Infinite where the weights give no finite loss.
            A row of NaN is of one that has not voted.

    Returns:
        What is kept: at least one update, and none whose score is not finite, so it may be fewer than n - f.

    Raises:
        TooFewVotesError: no more than 2f voters are heard.
    """
    middle = np.median(votes, axis=1, keepdims=True)
    # Somebody under whose readings half of all updates give no loss says nothing of single ones.
    heard = np.isfinite(middle[:, 0])
    if heard.sum() <= 2 * f:
        raise TooFewVotesError(
            f"a vote with f = {plural(f, 'malicious voter')} needs more than {2 * f} voters, got {int(heard.sum())}"
        )
    scores: Floats = np.median(votes[heard] - middle[heard], axis=0)
    kept = np.zeros(len(scores), bool)
    kept[np.argsort(scores, kind="stable")[: len(scores) - f]] = True
    return Verdict(Rows.of(deltas), kept & np.isfinite(scores), None, scores)
