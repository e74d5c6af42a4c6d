"""How updates travel from agents to the server: a codec on both sides, and what an agent remembers of what it left out.

With error feedback an agent adds to its update what it did not send before, sends what the codec keeps of the sum, and
remembers the rest (Karimireddy et al. 2019, arXiv:1901.09847). What it remembers stays where the agent is. An order
names the last round of which the server took the agent's update, and the agent starts from what it remembered then: so
whoever trains it, and however often, sends the same bits, and an update that came too late is as if it had not been.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from neurogrid.fl.codecs import Codec
from neurogrid.fl.payload import HEADER_BYTES, PayloadError, pack, unpack
from neurogrid.fl.spec import Spec
from neurogrid.fl.state import Slot, State
from neurogrid.fl.update import AgentId, RoundResult, Vector
from neurogrid.randomness import generator

MEMORY = "uplink/memory"
"""Slot of the state: of each agent, the round of its last update that the server took."""


def remembered(state: State) -> dict[AgentId, int]:
    """See `MEMORY`; nobody where agents remember nothing."""
    return dict(state.json(MEMORY)) if MEMORY in state.slots else {}


class Memory(Protocol):
    """What agents remember, each by itself; a run may ask for that of the last few rounds again."""

    def read(self, agent: AgentId, round_number: int, n: int) -> Vector:
        """(n,) float32, as it was after this round; raises where it is not there or damaged."""
        ...

    def write(self, agent: AgentId, round_number: int, before: int, rest: Vector) -> None:
        """Keeps it, made of what was remembered after the round `before`; older ones may be forgotten."""
        ...


@dataclass
class MemoryHere:
    """In this process: for a replay, which starts from the first round."""

    kept: dict[AgentId, dict[int, Vector]] = field(default_factory=dict)

    def read(self, agent: AgentId, round_number: int, n: int) -> Vector:
        """See Memory."""
        return self.kept[agent][round_number]

    def write(self, agent: AgentId, round_number: int, before: int, rest: Vector) -> None:
        """See Memory."""
        own = self.kept.get(agent, {})
        self.kept[agent] = {**{r: v for r, v in own.items() if r == before}, round_number: rest}


@dataclass(frozen=True)
class Uplink:
    """How updates travel; picklable where its memory is.

    Attributes:
        codec: of parameters. Statistics of a model (BatchNorm's) travel as float32.
        spec: what the vector holds.
        seed: of the run.
        memory: None where agents remember nothing.
        remember: share of what was not sent that they remember. 1 is error feedback as published.
    """

    codec: Codec
    spec: Spec
    seed: int
    memory: Memory | None = None
    remember: float = 1.0

    @property
    def payload_bytes(self) -> int:
        """Length of every payload."""
        return HEADER_BYTES + self.codec.length(self._sizes) + 4 * self._n_buffers

    def send(self, agent: AgentId, round_number: int, remembers: int, delta: Vector) -> bytes:
        """The agent's side: the payload of its (d,) finite update; remembers what is not in it.

        Args:
            agent: whose.
            round_number: of the order.
            remembers: the last round of which the server took its update; 0 is none.
            delta: what it has learnt.
        """
        shared = self.spec.columns("shared")
        whole = delta[shared]
        if self.memory and remembers:
            whole = whole + self.memory.read(agent, remembers, whole.size)
        body = self.codec.encode(whole, self._sizes, generator(self.seed, "uplink", round_number, agent))
        if self.memory:
            rest = np.float32(self.remember) * (whole - self.codec.decode(body, self._sizes))
            self.memory.write(agent, round_number, remembers, rest)
        return self._packed(body, delta)

    def without_memory(self, agent: AgentId, round_number: int, delta: Vector) -> bytes:
        """What somebody sends who follows the codec, but no rule of what to send: an attacker of an experiment."""
        rng = generator(self.seed, "uplink", round_number, agent, "attack")
        return self._packed(self.codec.encode(delta[self.spec.columns("shared")], self._sizes, rng), delta)

    def received(self, payload: bytes) -> Vector:
        """The server's side: (d,) finite float32 of a payload; raises PayloadError where it is none."""
        body = unpack(payload, self.codec.name, self.payload_bytes - HEADER_BYTES)
        cut = len(body) - 4 * self._n_buffers
        buffers = np.frombuffer(body, "<f4", offset=cut)
        if not np.isfinite(buffers).all():
            raise PayloadError("values that are not finite")
        return np.concatenate([self.codec.decode(body[:cut], self._sizes), buffers]).astype(np.float32, copy=False)

    def after_round(self, state: State, result: RoundResult, round_number: int) -> dict[str, Slot]:
        """The slots that change: what was taken was asked for in the round after that of its weights."""
        if self.memory is None:
            return {}
        taken = {u.agent: round_number - result.staleness.get(u.agent, 0) for u in result.updates}
        return {MEMORY: dict(sorted({**remembered(state), **taken}.items()))}

    @property
    def _sizes(self) -> list[int]:
        return [span.stop - span.start for span in self.spec.spans if span.role == "shared"]

    @property
    def _n_buffers(self) -> int:
        return sum(span.stop - span.start for span in self.spec.buffers)

    def _packed(self, body: bytes, delta: Vector) -> bytes:
        return pack(self.codec.name, body + delta[self.spec.columns("buffer")].astype("<f4").tobytes())
