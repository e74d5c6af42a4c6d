"""Differential privacy in the rounds: one plan that sampling, clip, noise and accounting all read, and its stages.

The unit is an agent, which is a household. Who trusts the server asks for `central`: the server clips what it
received and adds noise to the mean (DP-FedAvg, McMahan et al. 2018, arXiv:1710.06963). Who does not asks for `local`:
each agent clips and adds noise before its update leaves. `example` protects single windows of an agent (DP-SGD, Abadi
et al. 2016, arXiv:1607.00133). What a plan spends is counted by `neurogrid.privacy`, which knows nothing but the plan.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np

from neurogrid.fl.aggregate import Aggregate, length
from neurogrid.fl.record import AgentRecord, Figures
from neurogrid.fl.select import Chosen
from neurogrid.fl.stages import Asked, Batch, Passed
from neurogrid.fl.state import Slot, State
from neurogrid.fl.update import AgentId, Floats, Vector
from neurogrid.randomness import generator, system_generator

CLIP_NORM = "privacy/clip_norm"
CLIP_RATE = 0.2
"""How fast an adaptive clip follows its quantile; the value that Andrew et al. use throughout."""
_CLIP_RANGE = (1e-6, 1e6)

Mode = Literal["central", "local", "example"]
Sampling = Literal["poisson", "fixed"]


@dataclass(frozen=True)
class PrivacyPlan:
    """All that the noise and its accounting depend on. Whoever clips, draws, adds noise or counts reads it here.

    Attributes:
        mode: who adds the noise, and what it hides: see the module.
        clip_norm: L2 norm to which the whole update is clipped; of `example`, each window's gradient.
        noise_multiplier: standard deviation of the noise on a sum, as a multiple of the norm to which its terms are
            clipped.
        sampling: `poisson`: each agent by itself with the chance `rate`; `fixed`: always `agents_per_round` of them.
        agents, agents_per_round: n, and how many are asked in a round on average.
        epsilon, delta: the budget of the run.
        releases: how many rounds the budget pays for; one that was begun twice, after a kill, counts twice.
        accountant: `pld` (privacy loss distributions) or `rdp` (Renyi).
        clip_quantile: of the updates' norms that the clip follows; 0 keeps it where it is.
        clip_share: part of the budget that following takes.
        example_rate, steps: of `example`, the chance of each window to be in a step, and steps a round.
        test_seed: the noise is drawn from it, so that anybody can take it away again: there is no privacy. None
            draws from the system.
        level: what the budget is called.
    """

    mode: Mode
    clip_norm: float
    noise_multiplier: float
    sampling: Sampling
    agents: int
    agents_per_round: int
    epsilon: float
    delta: float
    releases: int
    accountant: Literal["pld", "rdp"] = "pld"
    clip_quantile: float = 0.0
    clip_share: float = 0.0
    example_rate: float = 0.0
    steps: int = 0
    test_seed: int | None = None
    level: str = "custom"

    @property
    def rate(self) -> float:
        """The chance of an agent to be asked in a round."""
        return min(1.0, self.agents_per_round / self.agents)

    @property
    def divisor(self) -> float:
        """By which a round's sum is divided, whoever answers: the expected number of agents."""
        return self.rate * self.agents

    @property
    def sensitivity(self) -> float:
        """By how much one unit moves a sum, as a multiple of the clip: an agent that is replaced moves it twice."""
        return 1.0 if self.mode == "example" or (self.mode == "central" and self.sampling == "poisson") else 2.0

    @property
    def update_noise(self) -> float:
        """Noise multiplier of the updates, where a part of the budget goes to the clip."""
        return self.noise_multiplier / math.sqrt(1 - self.clip_share) if self.clip_quantile else self.noise_multiplier

    @property
    def count_noise(self) -> float:
        """Standard deviation on the number of updates below the clip, each of which counts as +-1/2.

        With `update_noise` it makes one Gaussian of `noise_multiplier`: 1/z^2 = 1/z_update^2 + (1/2)^2/z_count^2.
        """
        return self.noise_multiplier / (2 * math.sqrt(self.clip_share))

    @property
    def guarantee(self) -> str:
        """What is promised, to whom, and which two worlds can hardly be told apart."""
        if self.test_seed is not None:
            return "none: the noise comes from privacy.test_seed"
        if self.mode == "example":
            return "each window of an agent, added or removed"
        if self.mode == "central" and self.sampling == "poisson":
            return "each agent, added or removed"
        return "each agent, its updates replaced by any others"


@dataclass(frozen=True)
class AgentNoise:
    """What an agent needs that adds the noise itself, in the modes `local` and `example`.

    Attributes:
        plan: see there.
        key: of the process that runs the rounds, drawn from the system when it begins and never written down. An agent
            that two tasks are asked for in one round thereby answers both with the same noise: two answers with
            different noise would say more than one. After a kill the key is another, and the round counts again.
    """

    plan: PrivacyPlan
    key: int = field(repr=False)

    def stream(self, agent: AgentId, number: int) -> np.random.Generator:
        """Of the agent's noise in a round."""
        key = self.key if self.plan.test_seed is None else self.plan.test_seed
        return generator(key, "agent noise", number, agent)


class Spending(Protocol):
    """Counts the rounds that a run has given away, durably."""

    def exhausted(self) -> bool:
        """Whether one more round would cross the run's budget."""
        ...

    def release(self) -> Figures:
        """Counts one, before anything of it leaves; figures for its record, `epsilon` so far among them."""
        ...


def draws(plan: PrivacyPlan, number: int, what: Literal["agents", "model", "clip"]) -> np.random.Generator:
    """A round's stream: from the system, never the same again, unless the plan has a test's seed."""
    if plan.test_seed is None:
        return system_generator()
    return generator(plan.test_seed, "central noise", what, number)


def clip_factors(norms: Floats, limit: float) -> Floats:
    """(n,) by how much each of these lengths has to shrink to be `limit` at most."""
    return np.divide(limit, norms, out=np.ones_like(norms), where=norms > limit)


def privatise(delta: Vector, clip_norm: float, noise_multiplier: float, random: np.random.Generator) -> Vector:
    """(d,) one agent's update as it may leave: clipped to `clip_norm` and with noise. What is not finite becomes 0."""
    norm = length(delta)
    clipped = delta * min(1.0, clip_norm / norm) if 0 < norm < math.inf else np.zeros_like(delta)
    noisy: Vector = (clipped + random.normal(0, noise_multiplier * clip_norm, delta.size)).astype(np.float32)
    return noisy


@dataclass(frozen=True)
class Drawn:
    """Poisson sampling: each agent by itself, so that the number varies and may be 0.

    Who was drawn has to be unknown to whoever sees the model: that is where part of the privacy comes from. So it is
    drawn from the system and not from the run's seed, which is in its config.
    """

    plan: PrivacyPlan

    def choose(self, candidates: Sequence[AgentId], wanted: int, state: State) -> Chosen:
        """See Select. `wanted` is what the plan has on average."""
        each = draws(self.plan, state.round + 1, "agents").random(len(candidates)) < self.plan.rate
        return Chosen(tuple(a for a, drawn in zip(candidates, each.tolist(), strict=True) if drawn), {})

    def after_round(self, state: State, agents: Sequence[AgentRecord], at_work: int) -> Mapping[str, Slot]:
        """See Select: it keeps nothing."""
        return {}


def _clip_norm(plan: PrivacyPlan, state: State) -> float:
    return float(state.json(CLIP_NORM)) if CLIP_NORM in state.slots else plan.clip_norm


@dataclass(frozen=True)
class PrivateMean:
    """Clips each whole update, sums, and divides by the expected number of agents, whoever has answered.

    Every update counts the same: what an agent says of itself (windows, loss) moves nothing. So one agent moves the sum
    by the clip at most, and who is missing only makes it smaller. A round without a single answer is a round like any
    other: that nobody answered is not to be seen either.
    """

    plan: PrivacyPlan
    name: str = "mean"

    def __call__(self, batch: Batch, asked: Asked, state: State) -> Passed:
        """See Stage."""
        limit, divisor = _clip_norm(self.plan, state), self.plan.divisor
        norms = np.sqrt(np.square(batch.norms).sum(axis=1))
        factors = clip_factors(norms, limit)
        sums: dict[int, Floats] = {}
        for agent, row, factor in zip(batch.agents, batch.deltas, factors.tolist(), strict=True):
            own = sums.setdefault(asked.districts[agent], np.zeros(asked.spec.size))
            own += factor * row.astype(np.float64)
        total = sum((sums[label] for label in sorted(sums)), np.zeros(asked.spec.size))
        share = np.full(len(batch.agents), 1 / divisor)
        accepted = np.ones(len(batch.agents), bool)
        mean = Aggregate(
            (total / divisor).astype(np.float32),
            share,
            accepted,
            np.zeros(len(batch.agents)),
            {label: length(own) / divisor for label, own in sorted(sums.items())},
        )
        below, slots = int((norms <= limit).sum()), dict[str, Slot]()
        if self.plan.clip_quantile:
            slots[CLIP_NORM] = self._next_clip(limit, below, len(batch.agents), state.round + 1)
        return Passed(
            replace(batch, mean=mean),
            {"clip_norm": limit, "clipped_agents": len(batch.agents) - below, "expected_agents": divisor},
            {
                "accepted": batch.by_agent(accepted),
                "share": batch.by_agent(share),
                "clip_factor": batch.by_agent(factors),
            },
            slots,
        )

    def _next_clip(self, limit: float, below: int, answered: int, number: int) -> float:
        """The clip of the next round, a step towards the quantile (Andrew et al. 2021, arXiv:1905.03871)."""
        noise = draws(self.plan, number, "clip").standard_normal()
        noisy = (below - answered / 2 + self.plan.count_noise * noise) / self.plan.divisor + 0.5
        least, most = _CLIP_RANGE
        return float(np.clip(limit * math.exp(-CLIP_RATE * (noisy - self.plan.clip_quantile)), least, most))


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on the mean: `update_noise` times the clip on the sum. Once for all agents, by the server."""

    plan: PrivacyPlan
    name: str = "noise"

    def __call__(self, batch: Batch, asked: Asked, state: State) -> Passed:
        """See Stage."""
        assert batch.mean is not None
        std = self.plan.update_noise * _clip_norm(self.plan, state) / self.plan.divisor
        noise = draws(self.plan, state.round + 1, "model").normal(0, std, asked.spec.size)
        mean = replace(batch.mean, delta=(batch.mean.delta + noise).astype(np.float32))
        return Passed(replace(batch, mean=mean), {"std": std})
