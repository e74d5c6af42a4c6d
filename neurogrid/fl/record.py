"""The durable record of what happened in a round: one row of round metrics and one row an agent in the audit."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from neurogrid.fl.registry import known_rule
from neurogrid.fl.update import AgentId, RoundResult, Vector

TRAIN_S_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds, in whose steps agents' training times are counted."""

_REASONS = (
    ("late", "late"),
    ("lost", "lost"),
    ("failed", "failed"),
    ("wrong shape", "wrong_shape"),
    ("not finite", "not_finite"),
    ("claims ", "bad_windows"),
    ("filtered by ", "filtered"),
    ("round void", "void"),
)
REASON_KINDS = (*(kind for _, kind in _REASONS), "other")


def reason_kind(reason: str) -> str:
    """The kind of an `AgentRecord.reason`, of which there are few: one of `REASON_KINDS`."""
    return next((kind for start, kind in _REASONS if reason.startswith(start)), "other")


_JUDGED = ("filtered", "not_finite", "bad_windows")


def suspected(rule: str, rejections: Iterable[tuple[str, int]]) -> int:
    """How many of a round's rejections count against f, the attackers that its rule tolerates.

    An update that the rule filtered, that is not finite or claims the impossible. One that failed, came late, was lost
    or fell with a void round is nobody's attack.

    Args:
        rule: its name; what one filters that drops as many whoever attacks does not say how many do.
        rejections: kinds of reasons (`REASON_KINDS`), each with a number of agents.
    """
    spec = known_rule(rule)
    fixed = spec is not None and spec.fixed_rejections
    counted = [kind for kind in _JUDGED if kind != "filtered" or not fixed]
    return sum(agents for kind, agents in rejections if kind in counted)


@dataclass(frozen=True)
class AgentRecord:
    """What became of one agent in one round.

    Attributes:
        round_id, agent_id, district: which.
        answered: whether an update came.
        accepted: whether the rule let it in (see `Aggregate.accepted`).
        share: its share in the city mean, averaged over coordinates.
        norm: L2 norm of what it sent, before clipping.
        clip_factor: what clipping left of that length; 1 is all.
        score: how far out the rule found it.
        reason: why it was not accepted; empty where it was.
        malicious: whether it really is an attacker (known in experiments only).
        windows: training windows that it claims.
        train_loss, train_s: mean loss over its steps, and the seconds they took.
        task, ended_s: which task trained it (-1 is none), and seconds into the round when it was done.
    """

    round_id: int
    agent_id: AgentId
    district: int
    answered: bool
    accepted: bool
    share: float
    norm: float
    clip_factor: float
    score: float
    reason: str
    malicious: bool
    windows: int
    train_loss: float
    train_s: float
    task: int
    ended_s: float


@dataclass(frozen=True)
class DistrictRecord:
    """What became of one district in one round; `norm` is the L2 norm of its mean."""

    round_id: int
    district: int
    asked: int
    answered: int
    accepted: int
    malicious: int
    share: float
    norm: float


@dataclass(frozen=True)
class Round:
    """One row of round_metrics, with the audit's rows.

    `acceptance_rate` is accepted over asked. `rejection_recall` is the share of attackers that were not accepted,
    `rejection_precision` the share of attackers among those not accepted; NaN where there is nothing to divide by.
    `loss_mean` and `loss_std` are over the training losses of accepted agents; `held_out_loss` is the new model's, on
    the panel's validation windows. `assumed_f` is what the rule was told, `byzantine_agents_n` the truth.
    """

    round_id: int
    wallclock_s: float
    send_s: float
    train_s: float
    collect_s: float
    aggregate_s: float
    evaluate_s: float
    n_total_agents: int
    n_answered_agents: int
    n_accepted_agents: int
    n_late_agents: int
    n_lost_agents: int
    n_refused_agents: int
    acceptance_rate: float
    assumed_f: int
    byzantine_agents_n: int
    byzantine_attack: str
    rejection_recall: float
    rejection_precision: float
    aggregated: bool
    void_reason: str
    loss_mean: float
    loss_std: float
    held_out_loss: float
    update_norm: float
    relative_update: float
    w_drift: float
    median_norm: float
    converged: bool
    bytes_down: int
    bytes_up: int
    executors: int
    reassigned_agents: int
    w_global_sha256: str
    agents: tuple[AgentRecord, ...]
    districts: tuple[DistrictRecord, ...]


def weights_sha256(weights: Vector) -> str:
    """SHA-256 of the weights' little-endian float32 bytes."""
    return hashlib.sha256(np.ascontiguousarray(weights, "<f4").tobytes()).hexdigest()


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _nan_mean(values: list[float]) -> float:
    finite = [v for v in values if np.isfinite(v)]
    return sum(finite) / len(finite) if finite else float("nan")


def _districts(agents: tuple[AgentRecord, ...], norms: Mapping[int, float]) -> tuple[DistrictRecord, ...]:
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
                malicious=sum(a.malicious for a in own),
                share=sum(a.share for a in own),
                norm=norms.get(number, 0.0),
            )
        )
    return tuple(records)


def summarise(
    *,
    number: int,
    agents: tuple[AgentRecord, ...],
    result: RoundResult,
    f: int,
    attack: str,
    void_reason: str,
    district_norms: Mapping[int, float],
    weights: Vector,
    update_norm: float,
    relative_update: float,
    drift: float,
    held_out_loss: float,
    converged: bool,
    aggregate_s: float,
    evaluate_s: float,
    wallclock_s: float,
) -> Round:
    """Counts the agents' records into the round's row."""
    accepted = [a for a in agents if a.accepted]
    rejected = [a for a in agents if not a.accepted]
    caught = sum(a.malicious for a in rejected)
    attackers = sum(a.malicious for a in agents)
    losses = [a.train_loss for a in accepted if np.isfinite(a.train_loss)]
    missing = list(result.missing.values())
    norms = [a.norm for a in agents if np.isfinite(a.norm)]
    return Round(
        round_id=number,
        wallclock_s=wallclock_s,
        send_s=result.phases.send_s,
        train_s=result.phases.train_s,
        collect_s=result.phases.collect_s,
        aggregate_s=aggregate_s,
        evaluate_s=evaluate_s,
        n_total_agents=len(agents),
        n_answered_agents=len(result.updates),
        n_accepted_agents=len(accepted),
        n_late_agents=sum(reason == "late" for reason in missing),
        n_lost_agents=sum(reason == "lost" for reason in missing),
        n_refused_agents=len(rejected) - sum(reason in ("late", "lost") for reason in missing),
        acceptance_rate=_share(len(accepted), len(agents)),
        assumed_f=f,
        byzantine_agents_n=attackers,
        byzantine_attack=attack,
        rejection_recall=_share(caught, attackers),
        rejection_precision=_share(caught, len(rejected)),
        aggregated=not void_reason,
        void_reason=void_reason,
        loss_mean=_nan_mean(losses),
        loss_std=float(np.std(losses)) if losses else float("nan"),
        held_out_loss=held_out_loss,
        update_norm=update_norm,
        relative_update=relative_update,
        w_drift=drift,
        median_norm=float(np.median(norms)) if norms else float("nan"),
        converged=converged,
        bytes_down=result.bytes_down,
        bytes_up=result.bytes_up,
        executors=result.executors,
        reassigned_agents=result.reassigned,
        w_global_sha256=weights_sha256(weights),
        agents=agents,
        districts=_districts(agents, district_norms),
    )
