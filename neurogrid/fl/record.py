"""The durable record of what happened in a round: a small core, a report of each stage, one row an agent in the audit.

A figure of a report has one name wherever it is read: its own where that is one of `COLUMNS`, else `stage.figure`.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from neurogrid.fl.registry import known_rule
from neurogrid.fl.update import AgentId, Vector

Figures = Mapping[str, int | float | str | bool | None]
"""Of a round, by name: what is in its record as `stage.name`."""

TRAIN_S_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds, in whose steps agents' training times are counted."""

_REASONS = (
    ("late", "late"),
    ("lost", "lost"),
    ("failed", "failed"),
    ("wrong shape", "wrong_shape"),
    ("not finite", "not_finite"),
    ("claims ", "bad_windows"),
    ("stale", "stale"),
    ("negative variance", "negative_variance"),
    ("filtered by ", "filtered"),
    ("round void", "void"),
)
REASON_KINDS = (*(kind for _, kind in _REASONS), "other")


def reason_kind(reason: str) -> str:
    """The kind of an `AgentRecord.reason`, of which there are few: one of `REASON_KINDS`."""
    return next((kind for start, kind in _REASONS if reason.startswith(start)), "other")


_JUDGED = ("filtered", "not_finite", "bad_windows", "negative_variance")
"""Kinds of reasons for which an update that came was not let in."""


def precision(rejections: Iterable[tuple[str, bool, int]]) -> float:
    """Attackers' updates among those that came and were not let in; NaN where there are none.

    Args:
        rejections: kinds of reasons (`REASON_KINDS`), each with whether agents attacked, and how many of them.
    """
    judged = [(attacked, agents) for kind, attacked, agents in rejections if kind in _JUDGED]
    every = sum(agents for _, agents in judged)
    return sum(agents for attacked, agents in judged if attacked) / every if every else math.nan


def suspected(rule: str, rejections: Iterable[tuple[str, int]]) -> int:
    """How many of a round's rejections count against f, the attackers that its rule tolerates.

    An update that the rule filtered, that is not finite, or says what cannot be. One that failed, came late, was lost,
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
        norm: L2 norm of what it sent of shared tensors, before clipping.
        clip_factor: what clipping left of that length; 1 is all.
        score: how far out the rule found it.
        reason: why it was not accepted; empty where it was.
        malicious: whether it really is an attacker; None where nobody knows, which is outside of experiments.
        windows: training windows that it claims.
        train_loss, train_s: mean loss over its steps, and the seconds they took.
        task, ended_s: which task trained it (-1 is none), and seconds into the round when it was done;
            before 0 where a buffered round began later.
        staleness: by how many rounds the weights that it trained from were older than the model.
        risky: whether it took down its tasks, or held one up until it was late.
        voted: whether its votes on the round's updates came; None where it was not asked.
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
    malicious: bool | None
    windows: int
    train_loss: float
    train_s: float
    task: int
    ended_s: float
    staleness: int = 0
    risky: bool = False
    voted: bool | None = None


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


COLUMNS: dict[str, type] = {
    "round_id": int,
    "wallclock_s": float,
    "send_s": float,
    "train_s": float,
    "collect_s": float,
    "aggregate_s": float,
    "evaluate_s": float,
    "n_total_agents": int,
    "n_answered_agents": int,
    "n_accepted_agents": int,
    "n_late_agents": int,
    "n_lost_agents": int,
    "n_refused_agents": int,
    "acceptance_rate": float,
    "assumed_f": int,
    "byzantine_agents_n": int,
    "byzantine_attack": str,
    "rejection_recall": float,
    "rejection_precision": float,
    "aggregated": bool,
    "void_reason": str,
    "loss_mean": float,
    "loss_std": float,
    "held_out_loss": float,
    "update_norm": float,
    "relative_update": float,
    "w_drift": float,
    "median_norm": float,
    "converged": bool,
    "bytes_down": int,
    "bytes_up": int,
    "executors": int,
    "reassigned_agents": int,
    "w_global_sha256": str,
}
"""Figures that every round has, whatever its stages, and their types.

`acceptance_rate` is accepted over asked. `rejection_recall` is the share of attackers that were not accepted,
`rejection_precision` the share of attackers among those not accepted; NaN where there is nothing to divide by.
`loss_mean` and `loss_std` are over the training losses of accepted agents; `held_out_loss` is the new model's, on the
panel's validation windows. `assumed_f` is what the rule was told, `byzantine_agents_n` the truth.
"""
_NO_TRUTH = {
    "byzantine_agents_n": 0,
    "byzantine_attack": "none",
    "rejection_recall": None,
    "rejection_precision": None,
}
_AUDITS = ("agents", "districts")


@dataclass(frozen=True)
class Round:
    """What happened in a round.

    Attributes:
        round_id: its number, from 1.
        wallclock_s: how long it took.
        aggregated, void_reason: whether the model changed, and why not.
        held_out_loss, update_norm, relative_update, w_drift, w_global_sha256: of the model after it, see `COLUMNS`;
            lengths are those of shared tensors.
        converged: whether it is the last, since the model hardly changed any more.
        reports: by stage, its figures. Beside the stages' own there are `asked`, `exchange`, `server` (seconds),
            `audit` (sums over agents), and `truth` where it is known.
        agents, districts: the audits' rows.
    """

    round_id: int
    wallclock_s: float
    aggregated: bool
    void_reason: str
    held_out_loss: float
    update_norm: float
    relative_update: float
    w_drift: float
    converged: bool
    w_global_sha256: str
    reports: Mapping[str, Figures]
    agents: tuple[AgentRecord, ...]
    districts: tuple[DistrictRecord, ...]

    @property
    def core(self) -> dict[str, Any]:
        """All but the audits, JSON-able but for NaN: what the ledger seals."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _AUDITS}

    @cached_property
    def figures(self) -> dict[str, Any]:
        """Every figure by the one name that it has outside of the record."""
        return flat(self.core)


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A round's record with the figures of its reports beside its own. A record of before there were reports stays."""
    if "reports" not in record:
        return dict(record)
    found: dict[str, Any] = dict(_NO_TRUTH)
    for stage, figures in record["reports"].items():
        found |= {name if name in COLUMNS else f"{stage}.{name}": value for name, value in figures.items()}
    return found | {name: value for name, value in record.items() if name != "reports"}


def weights_sha256(weights: Vector) -> str:
    """SHA-256 of the weights' little-endian float32 bytes."""
    return hashlib.sha256(np.ascontiguousarray(weights, "<f4").tobytes()).hexdigest()
