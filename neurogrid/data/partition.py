"""Who gets which readings: whole households (natural), or their weeks dealt evenly (IID) or unevenly (Dirichlet).

Called by sampling.py. All of it is arithmetic on counts and seeded draws; nothing here reads a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from neurogrid.errors import UsageError
from neurogrid.plural import plural
from neurogrid.randomness import Purpose, generator

Kind = Literal["natural", "iid", "dirichlet"]
Stage = Literal["train", "validation", "test"]
STAGES: tuple[Stage, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Week:
    """Seven days of one household.

    Attributes:
        household: index of the household in the caller's list.
        block: number of the week from the household's first slot, from 0.
        kind: label whose mix a Dirichlet partition makes uneven: the household's cluster.
        stage: `train` if it ends in the training period, `validation` if it touches the validation period, else `test`.
    """

    household: int
    block: int
    kind: int
    stage: Stage


def largest_remainder(total: int, weights: Sequence[float], capacity: Sequence[int]) -> tuple[int, ...]:
    """Splits `total` in proportion to `weights`, in whole numbers, none above its capacity (Hamilton's method).

    Without a binding capacity every share is within one of its quota `total * weight / sum(weights)`; what a capped one
    cannot take goes to the others in proportion. Ties go to the lower index. Exact: no floating-point sums.

    Raises:
        ValueError: `total` is negative or more than the capacities together.
    """
    if total < 0 or total > sum(capacity):
        raise ValueError(f"cannot place {total} in capacities {list(capacity)}")
    shares = [0] * len(weights)
    exact = [Fraction(weight) for weight in weights]
    open_ = [i for i, room in enumerate(capacity) if room > 0]
    left = total
    while left:
        whole = sum((exact[i] for i in open_), Fraction(0))
        # Only the weightless have room left: then they count alike.
        quota = {i: left * exact[i] / whole if whole else Fraction(left, len(open_)) for i in open_}
        full = [i for i in open_ if quota[i] >= capacity[i]]
        if not full:
            for i in open_:
                shares[i] = int(quota[i])
            spare = left - sum(shares[i] for i in open_)
            for i in sorted(open_, key=lambda i: (shares[i] - quota[i], i))[:spare]:
                shares[i] += 1
            break
        for i in full:
            shares[i] = capacity[i]
            left -= capacity[i]
        open_ = [i for i in open_ if i not in full]
    return tuple(shares)


def draw(members: Mapping[int, Sequence[str]], count: int, seed: int, purpose: Purpose) -> list[str]:
    """`count` of the members, from each stratum in proportion to its size, by seed. Sorted.

    Args:
        members: ids by stratum.
        count: how many to draw in all.
        seed, purpose: name the random draw.
    """
    strata = sorted(members)
    sizes = [len(members[stratum]) for stratum in strata]
    drawn: list[str] = []
    for stratum, take in zip(strata, largest_remainder(count, sizes, sizes), strict=True):
        order = generator(seed, purpose, stratum).permutation(len(members[stratum]))
        drawn += [members[stratum][int(i)] for i in order[:take]]
    return sorted(drawn)


def deal_districts(clusters: Sequence[int], districts: int, seed: int) -> tuple[int, ...]:
    """A district for each agent: sizes differ by at most one, and so do the counts of each cluster in the districts.

    Agents are dealt like cards, cluster after cluster, in an order drawn by seed inside a cluster.
    """
    order = generator(seed, "districts").permutation(len(clusters))
    ranked = sorted(order.tolist(), key=lambda agent: clusters[agent])  # stable: keeps the drawn order inside a cluster
    district = [0] * len(clusters)
    for place, agent in enumerate(ranked):
        district[agent] = place % districts
    return tuple(district)


def deal_weeks(weeks: Sequence[Week], agents: int, kind: Kind, alpha: float, seed: int) -> list[list[Week]]:
    """Deals weeks to agents, each week to exactly one.

    `iid`: shuffled, then one each in turn, stage by stage, so that agents hold equally many, of all households.
    `dirichlet`: for each cluster the agents' shares are drawn from Dirichlet(alpha), as Yurochkin et al. 2019
    (arXiv:1905.12022) do, and its weeks dealt out by them; the smaller alpha, the more an agent sees of few clusters
    only, and the more agents differ in size. An agent that would get no training week is given one by the agent that
    then has most.

    Raises:
        UsageError: there are fewer training weeks than agents.
    """
    training = sum(week.stage == "train" for week in weeks)
    if training < agents:
        raise UsageError(
            f"there are too few training weeks for {plural(agents, 'agent')}",
            found=f"{plural(training, 'whole training week')} in the chosen households",
            fix=f"choose at most {plural(training, 'agent')}, or sampling.partition natural",
        )
    hands: list[list[Week]] = [[] for _ in range(agents)]
    if kind == "iid":
        _deal_in_turn(weeks, hands, seed)
    else:
        _deal_by_shares(weeks, hands, alpha, seed)
        _give_each_a_training_week(hands)
    for hand in hands:
        hand.sort(key=lambda week: (week.household, week.block))
    return hands


def _deal_in_turn(weeks: Sequence[Week], hands: list[list[Week]], seed: int) -> None:
    turn = 0
    for stage in STAGES:
        of_stage = [week for week in weeks if week.stage == stage]
        for i in generator(seed, "iid", stage).permutation(len(of_stage)).tolist():
            hands[turn % len(hands)].append(of_stage[i])
            turn += 1


def _deal_by_shares(weeks: Sequence[Week], hands: list[list[Week]], alpha: float, seed: int) -> None:
    agents = len(hands)
    for kind in sorted({week.kind for week in weeks}):
        shares = generator(seed, "dirichlet", kind).dirichlet([alpha] * agents)
        # With a tiny alpha all gamma draws may underflow; then one agent takes the cluster, which is the limit.
        if not np.isfinite(shares).all():
            shares = np.eye(agents)[int(generator(seed, "dirichlet", kind, "one").integers(agents))]
        for stage in STAGES:
            pile = [week for week in weeks if week.kind == kind and week.stage == stage]
            order = iter(generator(seed, "dirichlet", kind, stage).permutation(len(pile)).tolist())
            counts = largest_remainder(len(pile), shares.tolist(), [len(pile)] * agents)
            for hand, count in zip(hands, counts, strict=True):
                hand += [pile[next(order)] for _ in range(count)]


def _give_each_a_training_week(hands: list[list[Week]]) -> None:
    counts = [sum(week.stage == "train" for week in hand) for hand in hands]
    for agent, count in enumerate(counts):
        if count == 0:
            richest = counts.index(max(counts))
            last = max(i for i, week in enumerate(hands[richest]) if week.stage == "train")
            hands[agent].append(hands[richest].pop(last))
            counts[agent], counts[richest] = 1, counts[richest] - 1
