"""The stages that the config names, made from its settings and run one after another on what came back from a round."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from neurogrid.fl.aggregate import Aggregate
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.groups import Judging, Scope
from neurogrid.fl.polling import Poll
from neurogrid.fl.prepare import Arc, Bucketing, NearestNeighbours
from neurogrid.fl.privacy import Noise, PrivacyPlan, PrivateMean
from neurogrid.fl.record import Figures
from neurogrid.fl.registry import RULES, STAGES, count
from neurogrid.fl.stages import Admit, Asked, Batch, Clip, Judge, Mean, ServerStep, Stage, Weigh
from neurogrid.fl.state import Slot, State
from neurogrid.fl.update import AgentId, RoundResult


@dataclass(frozen=True)
class AggregationSettings:
    """How updates become one change of the model.

    Attributes:
        rule: name of the rule whose verdict the mean is made of, see registry.py.
        byzantine_share: share of a round's agents that the rule has to bear as malicious; f is its whole part.
        weight_cap: no agent weighs more than this many times the median agent.
        min_agents: with fewer usable updates the round is void and the model stays as it is.
        clip: see there.
        server_momentum, server_step: see `ServerStep`.
        scope: whom a rule judges at once: all agents, or each district's by themselves.
        stages: their names, in order; see `registry.STAGES`.
        bucket_size: agents in a bucket of the stage `bucketing`.
        trusted: agents whose updates others are compared with; asked in each round. See trust.py.
    """

    rule: str
    byzantine_share: float
    weight_cap: float
    min_agents: int
    clip: ClipSettings
    server_momentum: float
    server_step: float
    scope: Scope = "all"
    stages: tuple[str, ...] = STAGES
    bucket_size: int = 2
    trusted: frozenset[AgentId] = frozenset()


Ask = Callable[[Batch], Poll]
"""Has the agents of a batch vote on its updates."""


@dataclass(frozen=True)
class Outcome:
    """What came of a round's updates.

    Attributes:
        slots: of the state that changed.
        mean: None in a void round.
        void: why the round changes nothing; empty where it does.
        reports: each stage's figures.
        findings: what the stages found of each agent, by field of `AgentRecord`; of a field, the last stage's.
        risky: who took down its task by a vote, or held it up until it was late.
    """

    slots: Mapping[str, Slot]
    mean: Aggregate | None
    void: str
    reports: Mapping[str, Figures]
    findings: Mapping[str, Mapping[AgentId, Any]]
    risky: frozenset[AgentId] = frozenset()


def make_stages(settings: AggregationSettings, seed: int, privacy: PrivacyPlan | None = None) -> tuple[Stage, ...]:
    """The stages by their names, and where the server makes the model private those that its accounting knows.

    Args:
        settings: see there.
        seed: of the run.
        privacy: what the run promises.
    """
    if privacy and privacy.mode == "central":
        # A round of few or no answers is none the less one: whether it was void would say who answered.
        step = ServerStep(settings.server_momentum, settings.server_step)
        return Admit(0), PrivateMean(privacy), Noise(privacy), step
    last = RULES.find(settings.rule)
    judging = Judging(settings.byzantine_share, settings.scope)
    # A rule that is no defence stays one: before the mean nothing is cut.
    before = judging if last.tolerates else Judging(0.0, settings.scope)
    plain: dict[str, Stage] = {
        "admit": Admit(settings.min_agents),
        "clip": Clip(settings.clip),
        "weigh": Weigh(settings.weight_cap),
        "arc": Arc(before),
        "bucketing": Bucketing(before, settings.bucket_size, seed),
        "nnm": NearestNeighbours(before),
        "mean": Mean(last),
        "server_step": ServerStep(settings.server_momentum, settings.server_step),
    }
    rules = [name for name in settings.stages if name not in plain]

    def judge(name: str) -> Judge:
        rule = last if name == "rule" else RULES.find(name.removeprefix("rule:"))
        return Judge(rule, judging, name == rules[0], name == "rule", name)

    return tuple(plain[name] if name in plain else judge(name) for name in settings.stages)


def assumed_f(settings: AggregationSettings, asked: Asked) -> int:
    """How many malicious agents the rules are told of: where districts are judged alone, the sum over districts."""
    if settings.scope == "all":
        return count(settings.byzantine_share, asked.among)
    sizes = Counter(asked.districts[agent] for agent in asked.agents).values()
    return sum(count(settings.byzantine_share, size) for size in sizes)


def run_stages(
    stages: Sequence[Stage], result: RoundResult, asked: Asked, state: State, ask: Ask | None = None
) -> Outcome:
    """Runs the stages until one makes the round void. Changes `result.deltas` in place.

    Stages ask nobody: where the next one is a rule that judges by votes, `ask` gets them for it.
    """
    batch, void = Batch.of(result, asked.spec), ""
    risky: frozenset[AgentId] = frozenset()
    slots: dict[str, Slot] = {}
    reports: dict[str, Figures] = {}
    findings: dict[str, dict[AgentId, Any]] = {}
    for stage in stages:
        if ask is not None and isinstance(stage, Judge) and stage.rule.by == "votes":
            poll = ask(batch)
            batch, risky, reports["vote"] = replace(batch, votes=poll.votes), risky | poll.risky, poll.figures
            findings["voted"] = {agent: agent in poll.voted for agent in batch.agents}
        passed = stage(batch, asked, state)
        batch, void = passed.batch, passed.void
        slots |= passed.slots
        reports[stage.name] = passed.figures
        for name, found in passed.findings.items():
            findings.setdefault(name, {}).update(found)
        if void:
            break
    return Outcome({} if void else slots, batch.mean, void, reports, findings, risky)
