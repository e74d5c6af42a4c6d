"""What malicious agents do, for experiments: an attack turns their honest deltas into what they send.

Attacks run in the round loop, on what the agents computed, so that every backend sees the same ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from neurogrid.fl.update import AgentId, Matrix
from neurogrid.randomness import generator


@dataclass(frozen=True)
class AttackSettings:
    """Who attacks, and how.

    Attributes:
        kind: of ATTACKS, or `none`.
        fraction: share of agents that are malicious.
        placement: `fixed` makes the same agents malicious throughout; since a round draws some of all agents, their
            number in a round varies. `per_round` draws that share of each round's agents anew: always as many.
        scale: factor of the `scale` attack.
        noise_std: standard deviation of the `noise` attack, in the weights' own unit.
    """

    kind: str
    fraction: float
    placement: Literal["fixed", "per_round"]
    scale: float
    noise_std: float


Attack = Callable[[Matrix, AttackSettings, Sequence[np.random.Generator]], Matrix]
"""(m, d) honest deltas of the malicious agents, and a generator for each, to (m, d) what they send."""


def scale(honest: Matrix, settings: AttackSettings, rngs: Sequence[np.random.Generator]) -> Matrix:
    """Sends a multiple of the honest delta, to dominate the mean."""
    return honest * np.float32(settings.scale)


def sign_flip(honest: Matrix, settings: AttackSettings, rngs: Sequence[np.random.Generator]) -> Matrix:
    """Sends the honest delta with its sign turned, to climb where others descend (Li et al. 2019, arXiv:1811.03761)."""
    return -honest


def noise(honest: Matrix, settings: AttackSettings, rngs: Sequence[np.random.Generator]) -> Matrix:
    """Adds Gaussian noise to the honest delta."""
    drawn = [rng.normal(0, settings.noise_std, honest.shape[1]) for rng in rngs]
    return honest + np.array(drawn, np.float32)


ATTACKS: dict[str, Attack] = {"scale": scale, "sign_flip": sign_flip, "noise": noise}


def count(fraction: float, agents: int) -> int:
    """How many of `agents` a share of them is; exact for shares like 0.2 that binary cannot hold."""
    return int(fraction * agents + 1e-9)


def malicious(
    everyone: tuple[AgentId, ...], chosen: tuple[AgentId, ...], round_number: int, seed: int, settings: AttackSettings
) -> npt.NDArray[np.bool_]:
    """(chosen,) bool, which of a round's agents are malicious; see `AttackSettings.placement`."""
    if settings.kind == "none":
        return np.zeros(len(chosen), bool)
    if settings.placement == "fixed":
        pool, rng = everyone, generator(seed, "attackers")
    else:
        pool, rng = chosen, generator(seed, "attackers", round_number)
    attackers = set(rng.choice(np.array(pool), count(settings.fraction, len(pool)), replace=False).tolist())
    return np.array([agent in attackers for agent in chosen], bool)


def attack(
    deltas: Matrix,
    agents: Sequence[AgentId],
    attackers: npt.NDArray[np.bool_],
    round_number: int,
    seed: int,
    settings: AttackSettings,
) -> None:
    """Replaces the rows of malicious agents in place; what one draws does not depend on who else has answered.

    Args:
        deltas: (n, d), honest.
        agents, attackers: (n,) whose rows they are, and which of them are malicious.
        round_number, seed: name what is drawn.
        settings: see there.
    """
    rows = np.flatnonzero(attackers)
    if rows.size:
        rngs = [generator(seed, "attack", round_number, agents[row]) for row in rows.tolist()]
        with np.errstate(over="ignore", invalid="ignore"):
            deltas[rows] = ATTACKS[settings.kind](deltas[rows], settings, rngs)
