"""Who is asked in a round: agents drawn at random, or by how useful, how available and how reliable they were.

Both draw from (seed, round) and from what the ledger has on record of the rounds before. How fast an agent answers is
no part of it, since a result must not depend on wall time; that it did not answer at all is a recorded fact, and is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from neurogrid.fl.record import AgentRecord, Figures, reason_kind
from neurogrid.fl.registry import count
from neurogrid.fl.state import Slot, State
from neurogrid.fl.update import AgentId, Floats
from neurogrid.randomness import generator

HISTORY = "select/history"
QUALITY_KEPT, CONDUCT_KEPT = 0.5, 0.8
"""What is left of an agent's figure when another round adds to it."""
_NEW = (1.0, 1.0, 1.0)  # whoever was never asked is taken to be as useful as the most useful, so that it is tried
_UNRELIABLE = frozenset({"wrong_shape", "not_finite", "bad_windows", "negative_variance", "filtered"})
_UNAVAILABLE = frozenset({"late", "lost", "failed", "stale"})


@dataclass(frozen=True)
class SelectSettings:
    """How agents are chosen.

    Attributes:
        kind: `random` or `adaptive`.
        floor: of `adaptive`, the part of each agent's chance that does not depend on its history, as a share of the
            chance that it has at random.
    """

    kind: Literal["random", "adaptive"] = "random"
    floor: float = 0.2


@dataclass(frozen=True)
class Chosen:
    """The agents chosen, in the order of the candidates, and figures for the round's record."""

    agents: tuple[AgentId, ...]
    figures: Figures


class Select(Protocol):
    """Chooses the agents of a round."""

    def choose(self, candidates: Sequence[AgentId], wanted: int, state: State) -> Chosen:
        """`wanted` of the candidates, or all where there are not more, for the round after `state`."""
        ...

    def after_round(self, state: State, agents: Sequence[AgentRecord], at_work: int) -> Mapping[str, Slot]:
        """The slots that it keeps.

        Args:
            state: before the round.
            agents: what became of each agent of the round.
            at_work: how many agents were at work, of whom a share may be malicious.
        """
        ...


@dataclass(frozen=True)
class Random:
    """Each candidate with the same chance, wanted / candidates."""

    seed: int

    def choose(self, candidates: Sequence[AgentId], wanted: int, state: State) -> Chosen:
        """See Select."""
        if wanted >= len(candidates):
            return Chosen(tuple(candidates), {})
        drawn = generator(self.seed, "agents", state.round + 1).choice(len(candidates), wanted, replace=False)
        return Chosen(tuple(candidates[i] for i in sorted(drawn.tolist())), {})

    def after_round(self, state: State, agents: Sequence[AgentRecord], at_work: int) -> Mapping[str, Slot]:
        """See Select: it keeps nothing."""
        return {}


@dataclass(frozen=True)
class Adaptive:
    """Agents whose training promises more, and who answer with updates that are accepted, are asked more often.

    The idea of how useful an agent is, its windows times its loss, is Oort's (Lai et al. 2021, arXiv:2010.06081);
    Oort's penalty for slow agents is left out. An agent says its windows and loss itself, so no claim counts for more
    than the (f+1)-th highest of its round: f liars have no advantage over the most useful honest agent.

    The slot `select/history` holds, by agent, three numbers from 0 to 1, each a running mean: quality (the claim as a
    share of that limit), availability (whether an answer came) and reliability (whether the answer was fit to use).

    Attributes:
        seed: of the run.
        floor: see `SelectSettings`.
        byzantine_share: share of agents that may be malicious.
    """

    seed: int
    floor: float
    byzantine_share: float

    def choose(self, candidates: Sequence[AgentId], wanted: int, state: State) -> Chosen:
        """See Select; each agent is chosen with exactly the chance that `chances` says."""
        if wanted >= len(candidates):
            return Chosen(tuple(candidates), {})
        history = _history(state)
        weights = np.array([np.prod(history.get(agent, _NEW)) for agent in candidates], np.float64)
        each = chances(weights, wanted, self.floor)
        rows = systematic(each, wanted, generator(self.seed, "adaptive agents", state.round + 1))
        figures = {
            "least_chance": float(each.min(initial=1.0)),
            "greatest_chance": float(each.max(initial=0.0)),
            "untried_agents": sum(agent not in history for agent in candidates),
        }
        return Chosen(tuple(candidates[row] for row in rows), figures)

    def after_round(self, state: State, agents: Sequence[AgentRecord], at_work: int) -> Mapping[str, Slot]:
        """See Select."""
        history = {agent: list(known) for agent, known in _history(state).items()}
        claims = {a.agent_id: a.windows * max(a.train_loss, 0.0) for a in agents if a.accepted}
        claims = {agent: claim for agent, claim in claims.items() if np.isfinite(claim)}
        highest = sorted(claims.values(), reverse=True)
        limit = highest[min(count(self.byzantine_share, at_work), len(highest) - 1)] if highest else 0.0
        for agent in agents:
            quality, availability, reliability = history.get(agent.agent_id, _NEW)
            if agent.agent_id in claims:
                claim = min(claims[agent.agent_id] / limit, 1.0) if limit > 0 else 1.0
                quality = QUALITY_KEPT * quality + (1 - QUALITY_KEPT) * claim
            kind = "" if agent.accepted else reason_kind(agent.reason)
            if agent.answered or kind in _UNAVAILABLE:
                availability = CONDUCT_KEPT * availability + (1 - CONDUCT_KEPT) * agent.answered
            if agent.accepted or kind in _UNRELIABLE:
                reliability = CONDUCT_KEPT * reliability + (1 - CONDUCT_KEPT) * agent.accepted
            history[agent.agent_id] = [quality, availability, reliability]
        return {HISTORY: history}


def make_select(settings: SelectSettings, seed: int, byzantine_share: float) -> Select:
    """What the settings name."""
    return Random(seed) if settings.kind == "random" else Adaptive(seed, settings.floor, byzantine_share)


def chances(weights: Floats, wanted: int, floor: float) -> Floats:
    """Each agent's chance to be among those chosen: wanted x (floor / n + (1 - floor) x weight / sum of weights).

    Where that is more than 1 it is 1, and what is over goes to the others in proportion. So the chances add up to
    `wanted`, and none is below `floor` times wanted / n.

    Args:
        weights: (n,) not negative; where all are 0 everybody has the same chance.
        wanted: less than n.
        floor: more than 0, at most 1.
    """
    n, total = len(weights), _sum(weights)
    shares = weights / total if total > 0 else np.full(n, 1 / n)
    each: Floats = floor / n + (1 - floor) * shares
    sure = np.zeros(n, bool)
    while True:
        rest = ~sure
        found = np.where(sure, 1.0, each * ((wanted - sure.sum()) / _sum(each[rest])))
        if not (found[rest] > 1).any():
            return found
        sure |= found >= 1


def systematic(each: Floats, wanted: int, rng: np.random.Generator) -> list[int]:
    """Rows drawn so that row i is among them with chance each[i] exactly: systematic sampling (Madow 1949) in an order
    that is drawn anew, so that who is chosen together is not fixed.

    Args:
        each: (n,) from 0 to 1, adding up to `wanted`.
        wanted: how many.
        rng: where the order and the start come from.
    """
    order = rng.permutation(len(each))
    ends = np.cumsum(each[order])
    ends[-1] = wanted  # its sum, but for rounding
    rows = order[np.searchsorted(ends, rng.random() + np.arange(wanted), side="right")]
    return sorted(set(rows.tolist()))


def _history(state: State) -> Mapping[AgentId, Sequence[float]]:
    return state.json(HISTORY) if HISTORY in state.slots else {}


def _sum(values: Floats) -> float:
    """From the first to the last, so that the bits do not depend on how a processor adds."""
    return float(np.cumsum(values)[-1]) if len(values) else 0.0
