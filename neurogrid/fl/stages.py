"""What happens to a round's updates on their way to the model, one stage after another; pipeline.py runs them.

A stage takes a batch of updates and passes one on, with figures for the round's record, with what it found of each
agent, and with the slots of the state that it changes. It knows nothing of who is malicious.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from neurogrid.fl.aggregate import Aggregate, average, capped_weights, joined
from neurogrid.fl.clip import ClipSettings, clip, tensor_norms, whole_norms
from neurogrid.fl.groups import Group, Ints, Judging, districts_of, left, with_groups
from neurogrid.fl.record import Figures
from neurogrid.fl.registry import NothingToTrimError, RuleSpec, TooFewAgentsError
from neurogrid.fl.rules import InformedRule, Rule, Verdict
from neurogrid.fl.spec import Spec
from neurogrid.fl.state import Slot, State
from neurogrid.fl.update import AgentId, Floats, Matrix, RoundResult, Vector
from neurogrid.plural import plural

MOST_WINDOWS = 2**31
Findings = Mapping[str, Mapping[AgentId, Any]]
"""By field of `AgentRecord`, what was found of each agent."""


@dataclass(frozen=True)
class Asked:
    """Who a round is about.

    Attributes:
        agents: who was asked, in the order of every sum.
        districts: each agent's district.
        spec: what the vector holds.
        at_work: how many agents were at work, where that is more than `agents`: a buffer is filled by the fastest,
            and these may be the malicious ones among them all.
        trusted: agents whose updates others are compared with, see trust.py.
    """

    agents: tuple[AgentId, ...]
    districts: Mapping[AgentId, int]
    spec: Spec
    at_work: int = 0
    trusted: frozenset[AgentId] = frozenset()

    @property
    def among(self) -> int:
        """Of how many agents a share may be malicious."""
        return max(self.at_work, len(self.agents))


@dataclass(frozen=True)
class Judged:
    """What a rule made of some of a batch's updates: all of them, or a district's.

    Attributes:
        members: rows of the batch.
        verdict: on their shared tensors.
        buffers: on their buffers; None where the model has none, or another rule follows.
    """

    members: Ints
    verdict: Verdict
    buffers: Verdict | None = None


@dataclass(frozen=True)
class Batch:
    """Updates on their way: `agents[i]` sent row i of `deltas`.

    Attributes:
        agents: whose updates are left, in the order of the plan.
        deltas: (n, d) float32; stages may change it in place.
        norms: (n, tensors), L2 norms of each tensor as it was sent.
        windows: (n,) training windows that the agents claim.
        staleness: (n,) by how many rounds the weights that they trained from were older than the model.
        weights: (n,) of each agent in the mean; 1 until they are weighed.
        groups: whose updates are judged at once, and what is judged of them; empty until a stage needs them.
        judged: what the last rule decided; empty before it.
        mean: what came of them all; None before the mean.
        votes: (n, n) losses, row i is what agent i says of each of these updates; None where nobody was asked.
    """

    agents: tuple[AgentId, ...]
    deltas: Matrix
    norms: Floats
    windows: Ints
    staleness: Ints
    weights: Floats
    groups: tuple[Group, ...] = ()
    judged: tuple[Judged, ...] = ()
    mean: Aggregate | None = None
    votes: Floats | None = None

    @classmethod
    def of(cls, result: RoundResult, spec: Spec) -> Self:
        """All that came back from a round, the same memory."""
        return cls(
            agents=tuple(update.agent for update in result.updates),
            deltas=result.deltas,
            norms=tensor_norms(result.deltas, spec),
            windows=np.array([update.windows for update in result.updates], np.int64),
            staleness=np.array([result.staleness.get(update.agent, 0) for update in result.updates], np.int64),
            weights=np.ones(len(result.updates)),
        )

    def only(self, rows: Ints) -> Self:
        """These rows of it; a copy of the deltas only where some are left out."""
        if len(rows) == len(self.agents):
            return self
        return replace(
            self,
            agents=tuple(self.agents[row] for row in rows.tolist()),
            deltas=self.deltas[rows],
            norms=self.norms[rows],
            windows=self.windows[rows],
            staleness=self.staleness[rows],
            weights=self.weights[rows],
            groups=(),
            votes=None if self.votes is None else self.votes[np.ix_(rows, rows)],
        )

    def by_agent(self, values: npt.NDArray[Any]) -> dict[AgentId, Any]:
        """(n,) values, each agent's."""
        return dict(zip(self.agents, values.tolist(), strict=True))


@dataclass(frozen=True)
class Passed:
    """What a stage passes on. `void` is why the round changes nothing; no stage follows then."""

    batch: Batch
    figures: Figures = field(default_factory=dict)
    findings: Findings = field(default_factory=dict)
    slots: Mapping[str, Slot] = field(default_factory=dict)
    void: str = ""


class Stage(Protocol):
    """One step of what the server does with a round's updates."""

    @property
    def name(self) -> str:
        """As in the config, and in the record's `reports`."""
        ...

    def __call__(self, batch: Batch, asked: Asked, state: State) -> Passed:
        """Depends on its arguments only; `state` is the one before the round."""
        ...


@dataclass(frozen=True)
class Admit:
    """Refuses what is no update: not finite, impossible claims, or a variance that would be below 0.

    With fewer than `min_agents` the round is void.
    """

    min_agents: int
    name: str = "admit"

    def __call__(self, batch: Batch, asked: Asked, state: State) -> Passed:
        """See Stage."""
        reasons = {
            agent: reason
            for agent, windows, norms in zip(batch.agents, batch.windows.tolist(), batch.norms, strict=True)
            if (reason := refusal(windows, norms))
        }
        reasons = below_zero(batch, asked.spec, state.weights) | reasons
        whole = whole_norms(batch.norms, asked.spec)
        finite = whole[np.isfinite(whole)]
        usable = batch.only(np.flatnonzero([agent not in reasons for agent in batch.agents]))
        void = ""
        if len(usable.agents) < self.min_agents:
            void = (
                f"{plural(len(usable.agents), 'usable update')} of {len(asked.agents)} requested, "
                f"rounds.min_agents is {self.min_agents}"
            )
        return Passed(
            usable,
            {"median_norm": float(np.median(finite)) if finite.size else np.nan, "refused_agents": len(reasons)},
            {"norm": batch.by_agent(whole), "reason": reasons},
            void=void,
        )


def refusal(windows: int, norms: Floats) -> str:
    """Why an update may reach no rule, or an empty string. `norms` are those of its tensors, (tensors,)."""
    if not np.isfinite(norms).all():
        return "not finite"
    if not 0 < windows < MOST_WINDOWS:
        return f"claims {windows} windows"
    return ""


def below_zero(batch: Batch, spec: Spec, weights: Vector) -> dict[AgentId, str]:
    """Why an update may reach no rule that would make a variance negative, by agent.

    What is left stays at 0 or above in every mean: a mean of entries that are at least -v is at least -v.
    """
    reasons: dict[AgentId, str] = {}
    for span in spec.buffers:
        if span.nonnegative:
            with np.errstate(over="ignore", invalid="ignore"):
                after = weights[span.start : span.stop] + batch.deltas[:, span.start : span.stop]
            below = np.flatnonzero((after < 0).any(axis=1)).tolist()
            reasons |= {batch.agents[row]: f"negative variance in {span.name}" for row in below}
    return reasons


@dataclass(frozen=True)
class Clip:
    """Clips each update, see clip.py."""

    settings: ClipSettings
    name: str = "clip"

    def __call__(self, batch: Batch, asked: Asked, state: State) -> Passed:
        """See Stage."""
        factors = clip(batch.deltas, batch.norms, asked.spec, self.settings)
        return Passed(batch, {"clipped_agents": int((factors < 1).sum())}, {"clip_factor": batch.by_agent(factors)})


@dataclass(frozen=True)
class Weigh:
    """Weighs each agent by its windows, none more than `cap` times the median agent, and stale ones less.

    An update that trained from weights of s rounds before weighs 1 / sqrt(1 + s) as much as a fresh one (FedBuff,
    Nguyen et al. 2022, arXiv:2106.06639).
    """

    cap: float
    name: str = "weigh"

    def __call__(self, batch: Batch, asked: Asked, state: State) -> Passed:
        """See Stage."""
        capped = capped_weights(batch.windows, self.cap)
        weights = capped / np.sqrt(1.0 + batch.staleness)
        figures = {
            "capped_agents": int((capped < batch.windows).sum()),
            "stale_agents": int((batch.staleness > 0).sum()),
            "greatest_staleness": int(batch.staleness.max(initial=0)),
        }
        return Passed(replace(batch, weights=weights), figures)


@dataclass(frozen=True)
class Judge:
    """A robust rule over all updates, or over those of each district with an f of its own.

    It judges shared tensors and, where the mean is made of what it keeps, buffers by themselves: weights that are as
    others' must not carry buffers in, and statistics in a large unit must not decide about weights.

    Attributes:
        rule: see registry.py.
        judging: whom it judges at once, and how many of them may be malicious.
        last: whether the mean is made of what it keeps; what another one drops is gone, and it has to judge rows.
        first: whether it is the first rule; a later one judges what is left, and needs more than 2f of them.
        name: `rule`, or `rule:` and the rule's name where others follow.
    """

    rule: RuleSpec
    judging: Judging
    first: bool = True
    last: bool = True
    name: str = "rule"

    def __call__(self, batch: Batch, asked: Asked, state: State) -> Passed:
        """See Stage."""
        judged: list[Judged] = []
        why: dict[int, str] = {}
        batch = with_groups(batch, asked, self.judging)
        for group in batch.groups:
            f = self.judging.f(asked, group.label)
            try:
                self._refuse(len(group.shared), f)
                judged.append(self._judged(group, batch, asked, f))
            except (TooFewAgentsError, NothingToTrimError) as error:
                if self.judging.scope == "all" and isinstance(error, NothingToTrimError):
                    raise
                why[group.label] = str(error)
        scores: dict[AgentId, float] = {}
        reasons: dict[AgentId, str] = {}
        for own in judged:
            found = own.verdict.rows.seen_by_agents(own.verdict.scores).tolist()
            scores |= {batch.agents[i]: s for i, s in zip(own.members, found, strict=True)}
        figures = {"judged_groups": len(judged), "groups_too_small": len(why)}
        if self.judging.scope == "district":
            of = asked.districts
            reasons = {a: f"round void in district {of[a]}: {why[of[a]]}" for a in batch.agents if of[a] in why}
        if not judged:
            return Passed(batch, figures, {"reason": reasons}, void="; ".join(dict.fromkeys(why.values())))
        if self.last:
            return Passed(replace(batch, judged=tuple(judged)), figures, {"score": scores, "reason": reasons})
        kept = np.sort(np.concatenate([own.members[own.verdict.kept] for own in judged]))
        after = left(batch, kept)
        dropped = set(batch.agents) - set(after.agents) - set(reasons)
        reasons |= dict.fromkeys(dropped, f"filtered by {self.rule.name}")
        return Passed(after, {**figures, "dropped_agents": len(dropped)}, {"score": scores, "reason": reasons})

    def _judged(self, group: Group, batch: Batch, asked: Asked, f: int) -> Judged:
        rule = self._informed(batch, group.members, asked)
        buffers = rule(group.buffers, f) if group.buffers is not None and self.last else None
        return Judged(group.members, rule(group.shared, f), buffers)

    def _informed(self, batch: Batch, members: Ints, asked: Asked) -> Rule:
        """The rule, with what it judges by beside the updates."""
        rule = self.rule.load()
        if not self.rule.by:
            return cast("Rule", rule)
        if self.rule.by == "votes":
            assert batch.votes is not None
            known: npt.NDArray[Any] = batch.votes[np.ix_(members, members)]
        else:
            known = np.array([batch.agents[row] in asked.trusted for row in members])
        return lambda deltas, f: cast("InformedRule", rule)(deltas, f, known)

    def _refuse(self, n: int, f: int) -> None:
        self.rule.refuse(n if self.first else max(n, self.rule.least(f)), f)
        if n <= 2 * f:
            raise TooFewAgentsError(
                f"{self.rule.words} with f = {f} after another rule needs more than 2f agents, got {n}"
            )


@dataclass(frozen=True)
class Mean:
    """The weighted mean of what the rule kept; where districts were judged by themselves, of their means."""

    rule: RuleSpec
    name: str = "mean"

    def __call__(self, batch: Batch, asked: Asked, state: State) -> Passed:
        """See Stage."""
        districts = districts_of(batch, asked.districts)
        parts = [
            (own.members, averaged(own, batch.weights[own.members], districts[own.members])) for own in batch.judged
        ]
        mean = joined(parts, batch.weights)
        accepted = batch.by_agent(mean.accepted)
        in_judgement = {batch.agents[i] for own in batch.judged for i in own.members}
        return Passed(
            replace(batch, mean=mean),
            {"effective_agents": float(1 / np.square(mean.share).sum())},
            {
                "accepted": accepted,
                "share": batch.by_agent(mean.share),
                "score": batch.by_agent(mean.scores),
                "reason": {a: f"filtered by {self.rule.name}" for a in in_judgement if not accepted[a]},
            },
        )


def averaged(judged: Judged, weights: Floats, districts: Ints) -> Aggregate:
    """The mean of what the rule kept: its `delta` is of shared tensors and buffers, all else of shared tensors."""
    mean = average(judged.verdict, weights, districts)
    if judged.buffers is None:
        return mean
    return replace(mean, delta=np.concatenate([mean.delta, average(judged.buffers, weights, districts).delta]))


@dataclass(frozen=True)
class ServerStep:
    """Adds to shared tensors `step` times the running sum of changes, of which `momentum` is kept each round.

    Buffers become their mean: a step beyond it would give statistics of nobody's inputs, and variances below 0.
    """

    momentum: float
    step: float
    name: str = "server_step"

    def __call__(self, batch: Batch, asked: Asked, state: State) -> Passed:
        """See Stage."""
        assert batch.mean is not None
        momentum = (self.momentum * state.array("server/momentum") + batch.mean.delta).astype(np.float32)
        weights = (state.weights + self.step * momentum).astype(np.float32)
        buffers = asked.spec.columns("buffer")
        weights[buffers] = state.weights[buffers] + batch.mean.delta[buffers]
        momentum[buffers] = 0
        return Passed(batch, slots={"model": weights, "server/momentum": momentum})
