"""A run's metrics, added up round by round from its durable records: the same sums whenever one begins to read.

At first the run's table of rounds is read in one go, then a small record for each round that comes after it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client.samples import Exemplar

from neurogrid.fl.record import REASON_KINDS, TRAIN_S_BOUNDS, flat, suspected
from neurogrid.telemetry.catalogue import PHASES
from neurogrid.telemetry.readings import Histogram, Readings, Values
from neurogrid.telemetry.records import Record, count, number, text

ROUND_S_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
MOST_DISTRICTS = 50
"""Districts of a run that have series of their own; what has a higher number is `OTHER` together."""
OTHER = "other"
_COUNTS = ("n_total_agents", "n_answered_agents", "n_accepted_agents", "n_late_agents", "n_lost_agents",
           "n_refused_agents", "reassigned_agents", "byzantine_agents_n", "assumed_f", "bytes_down", "bytes_up",
           "executors")  # fmt: skip
_NUMBERS = ("acceptance_rate", "rejection_recall", "rejection_precision", "loss_mean", "loss_std", "held_out_loss",
            "update_norm", "relative_update", "w_drift", "median_norm")  # fmt: skip
_SECONDS = ("wallclock_s", *(f"{phase}_s" for phase in PHASES))
_NO_COUNTS = (0,) * (len(TRAIN_S_BOUNDS) + 1)
_TALLIES = ("rejections", "districts", "agent_train_counts", "agent_train_s")
_COLUMNS = frozenset(("round_id", "aggregated", "byzantine_attack", *_COUNTS, *_NUMBERS, *_SECONDS, *_TALLIES,
                      "recorded", "trace_id"))  # fmt: skip
_STAGE_FIGURE = re.compile(r"([a-z0-9_:]{1,40})\.([a-z0-9_]{1,40})")
_MOST_STAGE_FIGURES = 40

_GAUGES = {
    "round_assumed_byzantine_agents": "assumed_f",
    "round_malicious_agents": "byzantine_agents_n",
    "round_executors": "executors",
}
_FIGURES = {
    "round_last_duration_seconds": "wallclock_s",
    "round_acceptance_ratio": "acceptance_rate",
    "round_held_out_loss": "held_out_loss",
    "round_training_loss": "loss_mean",
    "round_training_loss_stddev": "loss_std",
    "round_update_norm": "update_norm",
    "round_update_relative_ratio": "relative_update",
    "round_weights_drift_norm": "w_drift",
    "round_median_agent_norm": "median_norm",
}
_TOTALS = {
    "agents_asked_total": "n_total_agents",
    "agents_answered_total": "n_answered_agents",
    "agents_accepted_total": "n_accepted_agents",
    "agents_late_total": "n_late_agents",
    "agents_lost_total": "n_lost_agents",
    "agents_reassigned_total": "reassigned_agents",
}
_OUTCOMES = {
    "asked": "n_total_agents",
    "answered": "n_answered_agents",
    "accepted": "n_accepted_agents",
    "late": "n_late_agents",
    "lost": "n_lost_agents",
    "refused": "n_refused_agents",
}


def is_read(name: str) -> bool:
    """Whether a figure of a round's record, or the column of that name in the table, is read here."""
    return name in _COLUMNS or _STAGE_FIGURE.fullmatch(name) is not None


def seconds(moment: str) -> float:
    """Unix seconds of an ISO moment; raises ValueError on one without a zone."""
    at = datetime.fromisoformat(moment)
    if at.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return at.timestamp()


def _moment(record: Mapping[str, Any], name: str) -> float | None:
    """Unix seconds; None in records of runs that were made before these said when."""
    return seconds(text(record, name)) if record.get(name) is not None else None


@dataclass(frozen=True)
class Genesis:
    """What is read of a run's first record; `counts` are rounds, n_agents and n_weights."""

    labels: dict[str, str]
    attack: str
    started_s: float
    counts: dict[str, int]

    @classmethod
    def parse(cls, record: Record) -> "Genesis":
        """Raises ValueError, KeyError or TypeError on what is no first record."""
        return cls(
            labels={
                "manifest": text(record, "manifest_id"),
                "model": text(record, "model"),
                "rule": text(record, "rule"),
                "attack": text(record, "attack"),
                "seed": str(count(record, "seed")),
                "version": text(record, "neurogrid_version"),
            },
            attack=text(record, "attack"),
            started_s=seconds(text(record, "started")),
            counts={name: count(record, name) for name in ("rounds", "n_agents", "n_weights")},
        )


@dataclass(frozen=True)
class End:
    """What is read of a run's last record."""

    reason: str
    rounds: int
    ended_s: float | None

    @classmethod
    def parse(cls, record: Record) -> "End":
        """Raises ValueError, KeyError or TypeError on what is no last record."""
        return cls(text(record, "reason"), count(record, "rounds"), _moment(record, "ended"))


@dataclass(frozen=True)
class RoundFigures:
    """What is read of one round, checked whole before any of it counts.

    Records of runs that were made before records held sums over their agents lack these, and have none of them here.
    """

    number: int
    aggregated: bool
    attack: str
    counts: dict[str, int]
    numbers: dict[str, float | None]
    rejections: tuple[tuple[str, bool, int], ...]
    districts: tuple[tuple[str, int, int], ...]
    train_counts: tuple[int, ...]
    train_s: float
    stages: tuple[tuple[str, str, float], ...]
    recorded_s: float | None
    trace_id: str

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> "RoundFigures":
        """Raises ValueError, KeyError or TypeError on what is no round's record."""
        record = flat(record)
        train_counts = tuple(record.get("agent_train_counts") or _NO_COUNTS)
        if len(train_counts) != len(TRAIN_S_BOUNDS) + 1 or not all(isinstance(n, int) for n in train_counts):
            raise ValueError("agents' training times are counted by other bounds")
        return cls(
            number=count(record, "round_id"),
            aggregated=record["aggregated"] is True,
            attack=text(record, "byzantine_attack"),
            counts={name: count(record, name) for name in _COUNTS},
            numbers={name: number(record, name) for name in (*_NUMBERS, *_SECONDS)},
            rejections=tuple(
                (_kind(r), r["malicious"] is True, count(r, "agents")) for r in record.get("rejections") or ()
            ),
            districts=_districts(record.get("districts") or ()),
            train_counts=train_counts,
            train_s=number({"agent_train_s": 0.0, **record}, "agent_train_s") or 0.0,
            stages=_stages(record),
            recorded_s=_moment(record, "recorded"),
            trace_id=text(record, "trace_id") if record.get("trace_id") is not None else "",
        )


def _kind(rejection: Mapping[str, Any]) -> str:
    kind = text(rejection, "reason")
    return kind if kind in REASON_KINDS else OTHER


def _stages(record: Mapping[str, Any]) -> tuple[tuple[str, str, float], ...]:
    """Figures that stages have of their own, with the stage's name; what is no number is none."""
    named = [(found, record[name]) for name in sorted(record) if (found := _STAGE_FIGURE.fullmatch(name))]
    numbers = [(f[1], f[2], float(value)) for f, value in named if isinstance(value, int | float)]
    return tuple(numbers[:_MOST_STAGE_FIGURES])


def _districts(records: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, int, int], ...]:
    """Each district's label, updates asked for and accepted."""
    asked, accepted = Counter[str](), Counter[str]()
    for record in records:
        number = count(record, "district")
        label = str(number) if number < MOST_DISTRICTS else OTHER
        asked[label] += count(record, "asked")
        accepted[label] += count(record, "accepted")
    return tuple((label, asked[label], accepted[label]) for label in asked)


@dataclass
class RunFigures:
    """A run's sums so far. Its size depends on districts and reasons, not on rounds."""

    run_id: str
    genesis: Genesis
    end: End | None = None
    last: RoundFigures | None = None
    best_loss: float | None = None
    suspected: int = 0
    rounds: Counter[bool] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    malicious: Counter[str] = field(default_factory=Counter)
    districts: dict[str, tuple[int, int]] = field(default_factory=dict)
    durations: Histogram = field(default_factory=lambda: Histogram(ROUND_S_BOUNDS))
    phases: dict[str, Histogram] = field(default_factory=lambda: {p: Histogram(ROUND_S_BOUNDS) for p in PHASES})
    training: Histogram = field(default_factory=lambda: Histogram(TRAIN_S_BOUNDS))
    exemplars: dict[bool, Exemplar] = field(default_factory=dict)

    def add(self, figures: RoundFigures) -> None:
        """Counts a round in."""
        if self.last is None or figures.number > self.last.number:
            self.last = figures
        trace, at_s = figures.trace_id, figures.recorded_s
        self.rounds[figures.aggregated] += 1
        if trace:
            self.exemplars[figures.aggregated] = Exemplar({"trace_id": trace}, 1.0, at_s)
        self.totals.update({name: figures.counts[name] for name in (*_TOTALS.values(), "bytes_down", "bytes_up")})
        self.suspected += self._suspected(figures)
        attack = figures.attack if figures.attack == self.genesis.attack else OTHER
        for reason, malicious, agents in figures.rejections:
            self.rejected[reason, attack if malicious else "none"] += agents
        if figures.counts["byzantine_agents_n"]:
            self.malicious[attack] += figures.counts["byzantine_agents_n"]
        for district, asked, accepted in figures.districts:
            before = self.districts.get(district, (0, 0))
            self.districts[district] = (before[0] + asked, before[1] + accepted)
        self.durations.observe(figures.numbers["wallclock_s"], trace, at_s)
        for phase, histogram in self.phases.items():
            histogram.observe(figures.numbers[f"{phase}_s"], trace, at_s)
        self.training.add(figures.train_counts, figures.train_s)
        loss = figures.numbers["held_out_loss"]
        if loss is not None:
            self.best_loss = loss if self.best_loss is None else min(self.best_loss, loss)

    def _suspected(self, figures: RoundFigures) -> int:
        """Rejections of a round that count against f."""
        return suspected(self.genesis.labels["rule"], ((reason, n) for reason, _, n in figures.rejections))

    def readings(self) -> Readings:
        """All samples of the run."""
        values = Values(run=self.run_id)
        self._state(values)
        self._sums(values)
        if self.last is not None:
            self._last(values, self.last)
        return values.readings

    def _state(self, values: Values) -> None:
        genesis, last, end = self.genesis, self.last, self.end
        values.put("neurogrid_run_info", 1, **genesis.labels)
        state = "ended" if end else "running" if last else "begun"
        values.state("neurogrid_run_state", ("begun", "running", "ended"), state)
        values.put("neurogrid_run_started_timestamp_seconds", genesis.started_s)
        newest_s = last.recorded_s if last and last.recorded_s is not None else genesis.started_s
        values.put("neurogrid_run_last_round_timestamp_seconds", newest_s)
        if end:
            values.put("neurogrid_run_end_info", 1, reason=end.reason)
            values.put("neurogrid_run_ended_timestamp_seconds", end.ended_s)
        values.put("neurogrid_run_planned_rounds", genesis.counts["rounds"])
        values.put("neurogrid_run_last_round", last.number if last else 0)
        values.put("neurogrid_run_agents", genesis.counts["n_agents"])
        values.put("neurogrid_run_weights", genesis.counts["n_weights"])
        values.put("neurogrid_run_best_held_out_loss", self.best_loss)

    def _sums(self, values: Values) -> None:
        for aggregated, result in ((True, "aggregated"), (False, "void")):
            exemplar = self.exemplars.get(aggregated)
            values.put("neurogrid_rounds_total", self.rounds[aggregated], exemplar, result=result)
        values.histogram("neurogrid_round_duration_seconds", self.durations)
        for phase, histogram in self.phases.items():
            values.histogram("neurogrid_round_phase_duration_seconds", histogram, phase=phase)
        values.histogram("neurogrid_agent_training_duration_seconds", self.training)
        for name, figure in _TOTALS.items():
            values.put(f"neurogrid_{name}", self.totals[figure])
        values.put("neurogrid_agents_suspected_total", self.suspected)
        for direction in ("down", "up"):
            values.put("neurogrid_exchange_bytes_total", self.totals[f"bytes_{direction}"], direction=direction)
        # These are there from the first round on, so that a rate sees the first NaN update rise from 0.
        for reason in ("filtered", "not_finite"):
            for attack in {"none", self.genesis.attack}:
                self.rejected.setdefault((reason, attack), 0)
        for (reason, attack), agents in sorted(self.rejected.items()):
            values.put("neurogrid_agents_rejected_total", agents, reason=reason, attack=attack)
        for attack, agents in self.malicious.items():
            values.put("neurogrid_agents_malicious_total", agents, attack=attack)
        for district, (asked, accepted) in sorted(self.districts.items()):
            values.put("neurogrid_district_agents_asked_total", asked, district=district)
            values.put("neurogrid_district_agents_accepted_total", accepted, district=district)

    def _last(self, values: Values, last: RoundFigures) -> None:
        for name, figure in _GAUGES.items():
            values.put(f"neurogrid_{name}", last.counts[figure])
        for name, figure in _FIGURES.items():
            values.put(f"neurogrid_{name}", last.numbers[figure])
        if self.genesis.attack != "none":
            values.put("neurogrid_round_rejection_precision_ratio", last.numbers["rejection_precision"])
            values.put("neurogrid_round_rejection_recall_ratio", last.numbers["rejection_recall"])
        for stage, figure, value in last.stages:
            values.put("neurogrid_round_stage_figure", value, stage=stage, figure=figure)
        for outcome, figure in _OUTCOMES.items():
            values.put("neurogrid_round_agents", last.counts[figure], outcome=outcome)
        values.put("neurogrid_round_suspected_agents", self._suspected(last))
        for kind in ("filtered", "not_finite"):
            agents = sum(n for reason, _, n in last.rejections if reason == kind)
            values.put("neurogrid_round_agents", agents, outcome=kind)
        for district, asked, accepted in last.districts:
            if asked:
                values.put("neurogrid_district_acceptance_ratio", accepted / asked, district=district)
