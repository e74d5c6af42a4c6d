"""What malicious agents do, for experiments: a backend whose malicious agents send something else than they computed.

It wraps a backend of any kind, so that every kind sees the same attacks. The round loop knows nothing of it; who was
malicious is the `Truth` that the record compares the rule's decisions with.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from neurogrid.fl.collusion import COLLUSIONS
from neurogrid.fl.order import Answer, Backend, Order, Traffic, Update
from neurogrid.fl.registry import count
from neurogrid.fl.update import AgentId, Vector
from neurogrid.randomness import generator


@dataclass(frozen=True)
class AttackSettings:
    """Who attacks, and how.

    Attributes:
        kind: of ATTACKS or COLLUSIONS, or `none`.
        fraction: share of agents that are malicious.
        placement: `fixed` makes the same agents malicious throughout; since a round draws some of all agents, their
            number in a round varies. `per_round` draws that share of each round's agents anew: always as many; so all
            agents of a round have to be asked at once.
        scale: factor of the `scale` attack.
        noise_std: standard deviation of the `noise` attack, in the weights' own unit.
    """

    kind: str
    fraction: float
    placement: Literal["fixed", "per_round"]
    scale: float
    noise_std: float


Attack = Callable[[Vector, AttackSettings, np.random.Generator], Vector]
"""(d,) what a malicious agent has computed, and a generator of its own, to (d,) what it sends."""


def scale(honest: Vector, settings: AttackSettings, rng: np.random.Generator) -> Vector:
    """Sends a multiple of the honest delta, to dominate the mean."""
    return honest * np.float32(settings.scale)


def sign_flip(honest: Vector, settings: AttackSettings, rng: np.random.Generator) -> Vector:
    """Sends the honest delta with its sign turned, to climb where others descend (Li et al. 2019, arXiv:1811.03761)."""
    return -honest


def noise(honest: Vector, settings: AttackSettings, rng: np.random.Generator) -> Vector:
    """Adds Gaussian noise to the honest delta."""
    return honest + rng.normal(0, settings.noise_std, len(honest)).astype(np.float32)


ATTACKS: dict[str, Attack] = {"scale": scale, "sign_flip": sign_flip, "noise": noise}


@dataclass(frozen=True)
class Attackers:
    """Who is malicious: the `Truth` of an experiment.

    Attributes:
        everyone: all agents, in the manifest's order.
        seed: of the run.
        settings: see there; an attack of the kind `none` has no attackers.
    """

    everyone: tuple[AgentId, ...]
    seed: int
    settings: AttackSettings

    @property
    def attack(self) -> str:
        """What they do, by name."""
        return self.settings.kind

    def malicious(self, round_number: int, agents: tuple[AgentId, ...]) -> dict[AgentId, bool]:
        """Of each of a round's agents, whether it is; see `AttackSettings.placement`."""
        if self.settings.placement == "fixed":
            pool, rng = self.everyone, generator(self.seed, "attackers")
        else:
            pool, rng = agents, generator(self.seed, "attackers", round_number)
        drawn = set(rng.choice(np.array(pool), count(self.settings.fraction, len(pool)), replace=False).tolist())
        return {agent: agent in drawn for agent in agents}

    def spoilt(self, round_number: int, agent: AgentId, honest: Vector) -> Vector:
        """What a malicious agent sends for its honest delta; it depends on nobody else's answer."""
        with np.errstate(over="ignore", invalid="ignore"):
            rng = generator(self.seed, "attack", round_number, agent)
            return ATTACKS[self.settings.kind](honest, self.settings, rng)


class Attacked:
    """A backend some of whose agents are malicious."""

    def __init__(self, backend: Backend, attackers: Attackers) -> None:
        self._backend, self._attackers = backend, attackers
        self._malicious: set[int] = set()
        self._colluding = attackers.settings.kind in COLLUSIONS
        self._open: set[int] = set()
        self._seen: dict[AgentId, Vector] = {}
        self._held: list[Update] = []

    def publish(self, version: int, weights: Vector) -> None:
        """See Backend."""
        self._backend.publish(version, weights)

    def submit(self, orders: Sequence[Order], deadline_s: float) -> None:
        """See Backend. Orders to train that are submitted together are those of one round."""
        training = [order for order in orders if order.kind == "train"]
        if training:
            asked = tuple(order.agent for order in training)
            malicious = self._attackers.malicious(training[0].round, asked)
            self._malicious |= {order.id for order in training if malicious[order.agent]}
            if self._colluding:
                self._open, self._seen, self._held = {order.id for order in training}, {}, []
        self._backend.submit(orders, deadline_s)

    def answers(self, until_s: float) -> Iterator[Answer]:
        """See Backend. Those who collude answer when all others of their round have."""
        if self._colluding:
            yield from self._together(until_s)
            return
        for answer in self._backend.answers(until_s):
            if answer.order.id in self._malicious:
                self._malicious.discard(answer.order.id)
                if isinstance(answer, Update):
                    delta = self._attackers.spoilt(answer.order.round, answer.order.agent, answer.delta)
                    yield replace(answer, delta=delta)
                    continue
            yield answer

    def _together(self, until_s: float) -> Iterator[Answer]:
        yield from self._sent()
        for answer in self._backend.answers(until_s):
            self._open.discard(answer.order.id)
            malicious = answer.order.id in self._malicious
            self._malicious.discard(answer.order.id)
            if isinstance(answer, Update) and malicious:
                self._held.append(replace(answer, delta=answer.delta.copy()))
            else:
                if isinstance(answer, Update) and np.isfinite(answer.delta).all():
                    self._seen[answer.order.agent] = answer.delta.copy()
                yield answer
            yield from self._sent()

    def _sent(self) -> Iterator[Update]:
        """What attackers send, once nobody of the round is waited for. Sums are in the order of names."""
        if self._open or not self._held:
            return
        held, self._held = self._held, []
        honest = [self._seen[agent] for agent in sorted(self._seen)]
        if honest:  # with nobody to look at they send what they computed
            with np.errstate(over="ignore", invalid="ignore"):
                delta = COLLUSIONS[self._attackers.settings.kind](np.stack(honest), len(held))
            held = [replace(answer, delta=delta) for answer in held]
        yield from held

    def cancel(self, order_ids: Iterable[int]) -> None:
        """See Backend."""
        order_ids = set(order_ids)
        self._open -= order_ids
        self._held = [answer for answer in self._held if answer.order.id not in order_ids]
        self._backend.cancel(order_ids)

    def traffic(self) -> Traffic:
        """See Backend."""
        return self._backend.traffic()

    def __enter__(self) -> "Attacked":
        self._backend.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._backend.__exit__(*exc)
