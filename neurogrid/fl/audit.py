"""A round's reports and audits, made from what came back, what the stages made of it and, in experiments, the truth."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from neurogrid.fl.pipeline import Outcome
from neurogrid.fl.record import AgentRecord, DistrictRecord, Figures, precision, reason_kind
from neurogrid.fl.stages import Asked
from neurogrid.fl.update import AgentId, RoundResult, Worked

_NAN = math.nan
_NOWHERE = Worked(task=-1, ended_s=_NAN)


class Truth(Protocol):
    """Who was malicious: known in experiments only, and to nobody but the record."""

    @property
    def attack(self) -> str:
        """What they did, by name."""
        ...

    def malicious(self, round_number: int, agents: tuple[AgentId, ...]) -> Mapping[AgentId, bool]:
        """Of each of a round's agents, whether it was."""
        ...


def audit_agents(
    number: int, asked: Asked, result: RoundResult, outcome: Outcome, malicious: Mapping[AgentId, bool]
) -> tuple[AgentRecord, ...]:
    """One row an agent, in the order of the plan; `malicious` is empty where the truth is not known."""
    answers = {update.agent: update for update in result.updates}
    reasons = {**result.missing, **outcome.findings.get("reason", {})}
    void = f"round void: {outcome.void}"

    def of(agent: AgentId) -> AgentRecord:
        def found(name: str, default: Any) -> Any:
            return outcome.findings.get(name, {}).get(agent, default)

        update, worked = answers.get(agent), result.worked.get(agent, _NOWHERE)
        metrics = update.metrics if update else {}
        accepted = outcome.mean is not None and found("accepted", False)
        return AgentRecord(
            round_id=number,
            agent_id=agent,
            district=asked.districts[agent],
            answered=update is not None,
            accepted=accepted,
            share=found("share", 0.0),
            norm=found("norm", _NAN),
            clip_factor=found("clip_factor", _NAN),
            score=found("score", _NAN),
            reason="" if accepted else reasons.get(agent, void),
            malicious=malicious.get(agent, False) if malicious else None,
            windows=update.windows if update else 0,
            train_loss=float(metrics.get("loss", _NAN)),
            train_s=float(metrics.get("train_s", _NAN)),
            task=worked.task,
            ended_s=worked.ended_s,
            staleness=result.staleness.get(agent, 0),
            risky=agent in result.risky,
            voted=found("voted", None),
        )

    return tuple(of(agent) for agent in asked.agents)


def audit_districts(agents: tuple[AgentRecord, ...], norms: Mapping[int, float]) -> tuple[DistrictRecord, ...]:
    """One row a district, of those that have agents in the round."""
    records = []
    for number in sorted({a.district for a in agents}):
        own = [a for a in agents if a.district == number]
        records.append(
            DistrictRecord(
                round_id=own[0].round_id,
                district=number,
                asked=len(own),
                answered=sum(a.answered for a in own),
                accepted=sum(a.accepted for a in own),
                malicious=sum(a.malicious is True for a in own),
                share=sum(a.share for a in own),
                norm=norms.get(number, 0.0),
            )
        )
    return tuple(records)


def exchange_report(result: RoundResult) -> Figures:
    """What the backend says of the round."""
    missing = list(result.missing.values())
    return {
        "send_s": result.phases.send_s,
        "train_s": result.phases.train_s,
        "collect_s": result.phases.collect_s,
        "n_answered_agents": len(result.updates),
        "n_late_agents": missing.count("late"),
        "n_lost_agents": missing.count("lost"),
        "bytes_down": result.bytes_down,
        "bytes_up": result.bytes_up,
        "executors": result.executors,
        "reassigned_agents": result.reassigned,
    }


def audit_report(agents: tuple[AgentRecord, ...]) -> Figures:
    """Sums over the agents."""
    accepted = [a for a in agents if a.accepted]
    losses = [a.train_loss for a in accepted if math.isfinite(a.train_loss)]
    missing = sum(a.reason in ("late", "lost") for a in agents)
    return {
        "n_accepted_agents": len(accepted),
        "n_refused_agents": len(agents) - len(accepted) - missing,
        "acceptance_rate": _share(len(accepted), len(agents)),
        "loss_mean": sum(losses) / len(losses) if losses else _NAN,
        "loss_std": float(np.std(losses)) if losses else _NAN,
    }


def truth_report(agents: tuple[AgentRecord, ...], truth: Truth) -> Figures:
    """How the rule's decisions compare with the truth."""
    rejected = [a for a in agents if not a.accepted]
    caught, attackers = sum(a.malicious is True for a in rejected), sum(a.malicious is True for a in agents)
    return {
        "byzantine_agents_n": attackers,
        "byzantine_attack": truth.attack,
        "rejection_recall": _share(caught, attackers),
        "rejection_precision": precision((reason_kind(a.reason), a.malicious is True, 1) for a in rejected),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else _NAN
