"""The stages that the config names, made from its settings and run one after another on what came back from a round."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neurogrid.fl.aggregate import Aggregate
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.privacy import Noise, PrivacyPlan, PrivateMean
from neurogrid.fl.record import Figures
from neurogrid.fl.registry import RULES, STAGES, count
from neurogrid.fl.stages import Admit, Asked, Batch, Clip, Judge, Mean, Scope, ServerStep, Stage, Weigh
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


@dataclass(frozen=True)
class Outcome:
    """What came of a round's updates.

    Attributes:
        slots: of the state that changed.
        mean: None in a void round.
        void: why the round changes nothing; empty where it does.
        reports: each stage's figures.
        findings: what the stages found of each agent, by field of `AgentRecord`; of a field, the last stage's.
    """

    slots: Mapping[str, Slot]
    mean: Aggregate | None
    void: str
    reports: Mapping[str, Figures]
    findings: Mapping[str, Mapping[AgentId, Any]]


def make_stages(settings: AggregationSettings, privacy: PrivacyPlan | None = None) -> tuple[Stage, ...]:
    """The stages by their names; where the server makes the model private, those that its accounting knows."""
    if privacy and privacy.mode == "central":
        # A round of few or no answers is none the less one: whether it was void would say who answered.
        step = ServerStep(settings.server_momentum, settings.server_step)
        return Admit(0), PrivateMean(privacy), Noise(privacy), step
    last = RULES.find(settings.rule)
    plain: dict[str, Stage] = {
        "admit": Admit(settings.min_agents),
        "clip": Clip(settings.clip),
        "weigh": Weigh(settings.weight_cap),
        "mean": Mean(last),
        "server_step": ServerStep(settings.server_momentum, settings.server_step),
    }
    rules = [name for name in settings.stages if name not in plain]

    def judge(name: str) -> Judge:
        rule = last if name == "rule" else RULES.find(name.removeprefix("rule:"))
        return Judge(rule, settings.byzantine_share, settings.scope, name == rules[0], name == "rule", name)

    return tuple(plain[name] if name in plain else judge(name) for name in settings.stages)


def assumed_f(settings: AggregationSettings, asked: Asked) -> int:
    """How many malicious agents the rules are told of: where districts are judged alone, the sum over districts."""
    if settings.scope == "all":
        return count(settings.byzantine_share, asked.among)
    sizes = Counter(asked.districts[agent] for agent in asked.agents).values()
    return sum(count(settings.byzantine_share, size) for size in sizes)


def run_stages(stages: Sequence[Stage], result: RoundResult, asked: Asked, state: State) -> Outcome:
    """Runs the stages until one makes the round void. Changes `result.deltas` in place."""
    batch, void = Batch.of(result, asked.spec), ""
    slots: dict[str, Slot] = {}
    reports: dict[str, Figures] = {}
    findings: dict[str, dict[AgentId, Any]] = {}
    for stage in stages:
        passed = stage(batch, asked, state)
        batch, void = passed.batch, passed.void
        slots |= passed.slots
        reports[stage.name] = passed.figures
        for name, found in passed.findings.items():
            findings.setdefault(name, {}).update(found)
        if void:
            break
    return Outcome({} if void else slots, batch.mean, void, reports, findings)
