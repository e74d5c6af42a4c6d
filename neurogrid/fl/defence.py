"""What the server makes of a round's updates: refuse what is no update, clip, filter, average, account for each agent.

Knows nothing of who is malicious: that is the experiment's knowledge, added to the record by the loop.
"""

from dataclasses import dataclass

import numpy as np

from neurogrid.fl.aggregate import Aggregate, aggregate, capped_weights
from neurogrid.fl.attack import count
from neurogrid.fl.clip import ClipSettings, clip, tensor_norms
from neurogrid.fl.record import AgentRecord
from neurogrid.fl.registry import TooFewAgentsError, find_rule
from neurogrid.fl.update import AgentId, Floats, Layout, RoundPlan, RoundResult, Worked
from neurogrid.plural import plural

MOST_WINDOWS = 2**31
NAN = float("nan")
NOWHERE = Worked(task=-1, ended_s=NAN)


@dataclass(frozen=True)
class DefenceSettings:
    """How updates become one change of the model.

    Attributes:
        rule: name of one, see registry.py.
        byzantine_share: share of a round's agents that the rule has to bear as malicious; f is its whole part.
        weight_cap: no agent weighs more than this many times the median agent.
        min_agents: with fewer usable updates the round is void and the model stays as it is.
        clip: see there.
    """

    rule: str
    byzantine_share: float
    weight_cap: float
    min_agents: int
    clip: ClipSettings


@dataclass(frozen=True)
class Outcome:
    """What came of the updates, agents in the plan's order. `aggregate` is None in a void round, with the reason."""

    agents: tuple[AgentRecord, ...]
    aggregate: Aggregate | None
    void_reason: str


@dataclass(frozen=True)
class _Judged:
    accepted: bool = False
    share: float = 0.0
    clip_factor: float = NAN
    score: float = NAN


def refusal(windows: int, norms: Floats) -> str:
    """Why an update may reach no rule, or an empty string. `norms` are those of its tensors, (tensors,)."""
    if not np.isfinite(norms).all():
        return "not finite"
    if not 0 < windows < MOST_WINDOWS:
        return f"claims {windows} windows"
    return ""


def defend(
    result: RoundResult, plan: RoundPlan, districts: dict[AgentId, int], layout: Layout, settings: DefenceSettings
) -> Outcome:
    """Receives, clips, filters and averages. Changes `result.deltas` in place."""
    norms = tensor_norms(result.deltas, layout)
    reasons = dict(result.missing)
    usable = []
    for row, update in enumerate(result.updates):
        reason = refusal(update.windows, norms[row])
        if reason:
            reasons[update.agent] = reason
        else:
            usable.append(row)
    void, combined, judged = "", None, {}
    if len(usable) < settings.min_agents:
        void = (
            f"{plural(len(usable), 'usable update')} of {len(plan.agents)} requested, "
            f"rounds.min_agents is {settings.min_agents}"
        )
    else:
        # Only a round with refused updates pays for a copy.
        deltas = result.deltas if len(usable) == len(result.deltas) else result.deltas[usable]
        factors = clip(deltas, norms[usable], layout, settings.clip)
        agents = [result.updates[row].agent for row in usable]
        weights = capped_weights(np.array([result.updates[row].windows for row in usable]), settings.weight_cap)
        own = np.array([districts[agent] for agent in agents])
        rule, f = find_rule(settings.rule), count(settings.byzantine_share, len(plan.agents))
        try:
            rule.refuse(len(agents), f)
            combined = aggregate(deltas, weights, own, f, rule.load())
        except TooFewAgentsError as error:
            void = str(error)
        else:
            judged = _judge(agents, combined, factors)
    return Outcome(_audit(plan, result, districts, norms, reasons, judged, void or settings.rule), combined, void)


def _judge(agents: list[AgentId], combined: Aggregate, factors: Floats) -> dict[AgentId, _Judged]:
    columns = (combined.accepted, combined.share, factors, combined.scores)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return {agent: _Judged(*row) for agent, row in zip(agents, rows, strict=True)}


def _audit(
    plan: RoundPlan,
    result: RoundResult,
    districts: dict[AgentId, int],
    norms: Floats,
    reasons: dict[AgentId, str],
    judged: dict[AgentId, _Judged],
    rule_or_void: str,
) -> tuple[AgentRecord, ...]:
    """One line an agent, in the plan's order."""
    answered = {update.agent: row for row, update in enumerate(result.updates)}
    whole = np.sqrt(np.square(norms).sum(axis=1)).tolist()
    records = []
    for agent in plan.agents:
        row, verdict = answered.get(agent), judged.get(agent, _Judged())
        metrics = {} if row is None else result.updates[row].metrics
        worked = result.worked.get(agent, NOWHERE)
        why = f"filtered by {rule_or_void}" if judged else f"round void: {rule_or_void}"
        records.append(
            AgentRecord(
                round_id=plan.round,
                agent_id=agent,
                district=districts[agent],
                answered=row is not None,
                accepted=verdict.accepted,
                share=verdict.share,
                norm=NAN if row is None else whole[row],
                clip_factor=verdict.clip_factor,
                score=verdict.score,
                reason="" if verdict.accepted else reasons.get(agent, why),
                malicious=False,
                windows=0 if row is None else result.updates[row].windows,
                train_loss=float(metrics.get("loss", NAN)),
                train_s=float(metrics.get("train_s", NAN)),
                task=worked.task,
                ended_s=worked.ended_s,
            )
        )
    return tuple(records)
