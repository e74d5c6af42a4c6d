"""What malicious agents do, for experiments: a backend whose malicious agents send something else than they computed.

It wraps a backend of any kind, so that every kind sees the same attacks. The round loop knows nothing of it; who was
malicious is the `Truth` that the record compares the rule's decisions with.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from neurogrid.fl.claims import MOST_FIGURE
from neurogrid.fl.collusion import COLLUSIONS
from neurogrid.fl.order import Answer, Backend, Order, Scores, Traffic, Update
from neurogrid.fl.payload import PayloadError
from neurogrid.fl.registry import count
from neurogrid.fl.update import AgentId, Matrix, Vector
from neurogrid.fl.uplink import Uplink
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


def free_rider(honest: Vector, settings: AttackSettings, rng: np.random.Generator) -> Vector:
    """Sends no change, to have the model without the work (Lin et al. 2019, arXiv:1911.12560)."""
    return np.zeros_like(honest)


ATTACKS: dict[str, Attack] = {"scale": scale, "sign_flip": sign_flip, "noise": noise, "free_rider": free_rider}


@dataclass(frozen=True)
class Attackers:
    """Who is malicious: the `Truth` of an experiment.

    Attributes:
        everyone: all agents, in the manifest's order.
        seed: of the run.
        settings: see there; an attack of the kind `none` has no attackers.
        trusted: agents that are never malicious.
    """

    everyone: tuple[AgentId, ...]
    seed: int
    settings: AttackSettings
    trusted: frozenset[AgentId] = frozenset()

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
        wanted, able = count(self.settings.fraction, len(pool)), [a for a in pool if a not in self.trusted]
        drawn = set(rng.choice(np.array(able), min(wanted, len(able)), replace=False).tolist())
        return {agent: agent in drawn for agent in agents}

    def spoilt(self, round_number: int, agent: AgentId, honest: Vector) -> Vector:
        """What a malicious agent sends for its honest delta; it depends on nobody else's answer."""
        with np.errstate(over="ignore", invalid="ignore"):
            rng = generator(self.seed, "attack", round_number, agent)
            return ATTACKS[self.settings.kind](honest, self.settings, rng)


class Attacked:
    """A backend some of whose agents are malicious: they send spoilt updates, and vote for what is worst.

    With an `uplink` they send what its codec can say.
    """

    def __init__(self, backend: Backend, attackers: Attackers, uplink: Uplink | None = None) -> None:
        self._backend, self._attackers, self._uplink = backend, attackers, uplink
        self._malicious: set[int] = set()
        self._drawn: dict[AgentId, bool] = {}  # of the last who were asked to train together
        self._colluding = attackers.settings.kind in COLLUSIONS
        self._open: set[int] = set()
        self._seen: dict[AgentId, Vector] = {}
        self._held: list[Update] = []

    def publish(self, version: int, weights: Vector | Matrix) -> None:
        """See Backend."""
        self._backend.publish(version, weights)

    def submit(self, orders: Sequence[Order], deadline_s: float) -> None:
        """See Backend. Orders to train that are submitted together are those of one round; who trained in it votes."""
        training = [order for order in orders if order.kind == "train"]
        if training:
            asked = tuple(order.agent for order in training)
            self._drawn = self._attackers.malicious(training[0].round, asked)
            self._malicious |= {order.id for order in training if self._drawn[order.agent]}
            if self._colluding:
                self._open, self._seen, self._held = {order.id for order in training}, {}, []
        if self._attackers.settings.placement == "fixed":
            self._drawn = self._attackers.malicious(0, tuple(order.agent for order in orders))
        self._malicious |= {order.id for order in orders if order.kind == "vote" and self._drawn.get(order.agent)}
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
                    yield replace(answer, delta=self._spoilt(answer.order, answer.delta))
                    continue
                if isinstance(answer, Scores):
                    yield self._voted(answer)
                    continue
            yield answer

    def _clear(self, sent: Vector | bytes) -> Vector | None:
        """An update as the server will see it; None of one that it will not take."""
        if not isinstance(sent, bytes):
            return sent
        try:
            return self._uplink.received(sent) if self._uplink else None
        except PayloadError:
            return None

    def _spoilt(self, order: Order, sent: Vector | bytes) -> Vector | bytes:
        honest = self._clear(sent)
        return sent if honest is None else self._said(order, self._attackers.spoilt(order.round, order.agent, honest))

    def _said(self, order: Order, delta: Vector) -> Vector | bytes:
        """An attacker's update as it travels."""
        return self._uplink.without_memory(order.agent, order.round, delta) if self._uplink else delta

    def _together(self, until_s: float) -> Iterator[Answer]:
        yield from self._sent()
        for answer in self._backend.answers(until_s):
            self._open.discard(answer.order.id)
            malicious = answer.order.id in self._malicious
            self._malicious.discard(answer.order.id)
            if isinstance(answer, Update):
                clear = self._clear(answer.delta)
                if malicious and clear is not None:
                    # What the backend shows is its own memory, and held only until the next answer.
                    own = answer.delta if isinstance(answer.delta, bytes) else answer.delta.copy()
                    self._held.append(replace(answer, delta=own))
                    yield from self._sent()
                    continue
                if clear is not None and np.isfinite(clear).all():
                    self._seen[answer.order.agent] = clear.copy()
            yield self._voted(answer) if malicious and isinstance(answer, Scores) else answer
            yield from self._sent()

    def _voted(self, answer: Scores) -> Scores:
        turned = tuple(-min(loss, MOST_FIGURE) for loss in answer.claims.losses)
        return replace(answer, claims=replace(answer.claims, losses=turned))

    def _sent(self) -> Iterator[Update]:
        """What attackers send, once nobody of the round is waited for. Sums are in the order of names."""
        if self._open or not self._held:
            return
        held, self._held = self._held, []
        honest = [self._seen[agent] for agent in sorted(self._seen)]
        if honest:  # with nobody to look at they send what they computed
            with np.errstate(over="ignore", invalid="ignore"):
                delta = COLLUSIONS[self._attackers.settings.kind](np.stack(honest), len(held))
            held = [replace(answer, delta=self._said(answer.order, delta)) for answer in held]
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
