"""Asks the agents of a round what they think of its updates: each one's loss under the model with each update alone.

The candidates (the model plus one update each, as the stages before the rule left it) are published as one version, of
a number that no round has. Each agent whose update is among them gets one order for them all, so one that hangs or
fails costs no more than in training.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neurogrid.fl.collect import Inbox
from neurogrid.fl.order import Missing, Scores, orders
from neurogrid.fl.record import Figures
from neurogrid.fl.update import AgentId, Floats, Matrix, Vector


@dataclass(frozen=True)
class Poll:
    """What came of it.

    Attributes:
        votes: (n, n) losses, row i is what agent i says of each update; NaN where it has not voted.
        voted: whose votes came.
        risky: who took down its task, or held it up until it was late.
        figures: for the round's record.
    """

    votes: Floats
    voted: frozenset[AgentId]
    risky: frozenset[AgentId]
    figures: Figures


def poll(
    inbox: Inbox, round_number: int, weights: Vector, agents: Sequence[AgentId], deltas: Matrix, deadline_s: float
) -> Poll:
    """Has `agents` vote on their updates.

    Args:
        inbox: of an entered backend.
        round_number: of the round.
        weights: (d,) float32, the model before it.
        agents: those whose updates these are, in their order.
        deltas: (n, d) float32.
        deadline_s: whoever has not answered by then has not voted.

    Raises:
        RunError: nobody is left to vote.
    """
    began = time.perf_counter()
    votes = np.full((len(agents), len(agents)), np.nan)
    row = {agent: row for row, agent in enumerate(agents)}
    voted: set[AgentId] = set()
    risky: set[AgentId] = set()
    asked = orders(agents, "vote", round_number, ballot_version(round_number), {})
    with np.errstate(over="ignore"):
        inbox.backend.publish(ballot_version(round_number), weights + deltas)
    inbox.submit(asked, deadline_s)
    for answer in inbox.answers(asked):
        agent = answer.order.agent
        if isinstance(answer, Scores) and len(answer.claims.losses) == len(agents):
            votes[row[agent]] = answer.claims.losses
            voted.add(agent)
        elif isinstance(answer, Missing) and answer.risky:
            risky.add(agent)
    traffic = inbox.backend.traffic()
    figures = {
        "voters": len(voted),
        "missing_voters": len(agents) - len(voted),
        "asked_s": time.perf_counter() - began,
        "bytes_down": traffic.bytes_down,
        "bytes_up": traffic.bytes_up,
    }
    return Poll(votes, frozenset(voted), frozenset(risky), figures)


def ballot_version(round_number: int) -> int:
    """Of a round's candidates: below 0, where versions of the model are numbers of rounds."""
    return -round_number
