"""The loop of federated learning: choose agents, let the backend train them, defend, average, step, evaluate, record.

`federate` is the whole of it; resuming a run is this same loop from a state that was loaded. It reads no clock but for
the durations it reports, no config and no environment, and writes nothing: observers do.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from neurogrid.fl import lost, roster
from neurogrid.fl.aggregate import length
from neurogrid.fl.audit import (
    Truth,
    audit_agents,
    audit_districts,
    audit_report,
    exchange_report,
    truth_report,
)
from neurogrid.fl.collect import Inbox, score
from neurogrid.fl.order import Backend
from neurogrid.fl.panel import held_out_loss
from neurogrid.fl.pipeline import AggregationSettings, assumed_f, make_stages, run_stages
from neurogrid.fl.polling import Poll, poll
from neurogrid.fl.privacy import Drawn, PrivacyPlan, Spending
from neurogrid.fl.record import Figures, Round, weights_sha256
from neurogrid.fl.roster import Leaving, nobody
from neurogrid.fl.schedule import Pool, Schedule, ScheduleSettings, make_schedule
from neurogrid.fl.select import Select, SelectSettings, make_select
from neurogrid.fl.spec import Spec
from neurogrid.fl.stages import Asked, Batch, Stage
from neurogrid.fl.state import State
from neurogrid.fl.trust import Always
from neurogrid.fl.update import AgentId, Vector
from neurogrid.fl.uplink import Uplink
from neurogrid.fl.void import VoidRoundsError
from neurogrid.randomness import generator

VOID_ROUNDS_IN_A_ROW = 3


@dataclass(frozen=True)
class RoundSettings:
    """How rounds are run; see the config's sections `rounds` and `aggregation` for each key."""

    rounds: int
    agents_per_round: int
    timeout_s: float
    panel_agents: int
    patience_rounds: int
    min_improvement: float
    converged_update: float
    aggregation: AggregationSettings
    select: SelectSettings = field(default_factory=SelectSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    privacy: PrivacyPlan | None = None


@dataclass(frozen=True)
class Federation:
    """Who takes part, and with what.

    Attributes:
        agents: in the order of the manifest, which is the order of every sum.
        districts: each agent's district.
        spec: what the model's vector holds.
        start: (d,) the weights before round 1, from which drift is measured.
        seed: of everything drawn in the run.
        uplink: how updates travel; None is as float32.
    """

    agents: tuple[AgentId, ...]
    districts: dict[AgentId, int]
    spec: Spec
    start: Vector
    seed: int
    uplink: Uplink | None = None


class Observer(Protocol):
    """Watches a run: the ledger, a live table, a trace."""

    def after_round(self, record: Round, state: State) -> None:
        """Called once a round, in order, with what happened and the state to go on from."""
        ...


@dataclass(frozen=True)
class Finish:
    """How a run ended: `all rounds done`, `no improvement`, `converged` or `privacy budget spent`."""

    state: State
    reason: str


@dataclass(frozen=True)
class _Run:
    """What is the same in every round of a run."""

    federation: Federation
    settings: RoundSettings
    stages: tuple[Stage, ...]
    select: Select
    schedule: Schedule
    inbox: Inbox
    panel: tuple[AgentId, ...]
    truth: Truth | None
    spending: Spending | None
    leaving: Leaving


def _prepared(
    federation: Federation,
    settings: RoundSettings,
    backend: Backend,
    truth: Truth | None,
    spending: Spending | None,
    leaving: Leaving,
) -> _Run:
    privacy = settings.privacy
    if privacy and privacy.mode == "central" and privacy.sampling == "poisson":
        select: Select = Drawn(privacy)
    else:
        select = make_select(settings.select, federation.seed, settings.aggregation.byzantine_share)
    if settings.aggregation.trusted:
        select = Always(select, settings.aggregation.trusted)
    inbox = Inbox(backend, federation.uplink)
    pool = Pool(
        federation.agents, settings.agents_per_round, settings.timeout_s, select, federation.spec.columns("buffer")
    )
    return _Run(
        federation,
        settings,
        make_stages(settings.aggregation, federation.seed, privacy),
        select,
        make_schedule(settings.schedule, pool, inbox),
        inbox,
        choose_panel(federation, settings),
        truth,
        spending,
        leaving,
    )


def federate(
    state: State,
    federation: Federation,
    settings: RoundSettings,
    backend: Backend,
    observers: Iterable[Observer],
    truth: Truth | None = None,
    spending: Spending | None = None,
    leaving: Leaving = nobody,
) -> Finish:
    """Runs rounds from `state` until all are done or the run stops early.

    Args:
        state: after the last round done.
        federation: who takes part.
        settings: see there.
        backend: entered.
        observers: told after each round, in this order.
        truth: who is malicious, where that is known; no weight depends on it.
        spending: counts what rounds give away, and ends the run before its budget is crossed; None counts nothing.
        leaving: which agents are asked for nothing from a round on; it is on record.

    Raises:
        VoidRoundsError: three rounds in a row gave too few usable updates, or all rounds did.
        NothingToTrimError: the rule asks for f > 0 and there is none.
    """
    watchers = tuple(observers)
    run = _prepared(federation, settings, backend, truth, spending, leaving)
    record: Round | None = None
    while state.round < settings.rounds and not _stop(state, run):
        state, record = _one_round(state, run)
        for watcher in watchers:
            watcher.after_round(record, state)
        void = state.progress.void_in_a_row
        if void >= VOID_ROUNDS_IN_A_ROW:
            raise VoidRoundsError(f"{void} rounds in a row changed nothing", record)
    run.inbox.close()
    if 0 < state.round == state.progress.void_in_a_row:
        raise VoidRoundsError("no round changed anything, so the weights are those of the start", record)
    return Finish(state, _stop(state, run) or "all rounds done")


def choose_panel(federation: Federation, settings: RoundSettings) -> tuple[AgentId, ...]:
    """The agents on whose validation windows every round's model is judged: the same throughout."""
    total = len(federation.agents)
    drawn = generator(federation.seed, "panel").choice(total, min(settings.panel_agents, total), replace=False)
    return tuple(federation.agents[i] for i in sorted(drawn.tolist()))


def stop_reason(state: State, settings: RoundSettings) -> str:
    """Why the run should stop after `state`, or an empty string."""
    progress, patience = state.progress, max(1, settings.patience_rounds)
    updates = progress.relative_updates[-patience:]
    small = all(0 < update < settings.converged_update for update in updates)
    if settings.converged_update > 0 and len(updates) >= patience and small:
        return "converged"
    if settings.patience_rounds > 0:
        # A round without a measured loss says nothing, for or against going on.
        lately = [loss for loss in progress.held_out[-patience:] if math.isfinite(loss)]
        if lately and min(lately) > progress.best_before(patience) * (1 - settings.min_improvement):
            return "no improvement"
    return ""


def _stop(state: State, run: _Run) -> str:
    """Why no round follows, or an empty string; a budget that pays for the last round ends nothing early."""
    if run.spending is not None and state.round < run.settings.rounds and run.spending.exhausted():
        return "privacy budget spent"
    return stop_reason(state, run.settings)


def _server_adds_noise(settings: RoundSettings) -> bool:
    return settings.privacy is not None and settings.privacy.mode == "central"


def _one_round(state: State, run: "_Run") -> tuple[State, Round]:
    began = time.perf_counter()
    federation, settings, number = run.federation, run.settings, state.round + 1
    state = roster.with_left(state, run.leaving(number))
    panel = roster.staying(run.panel, state)
    # What agents make noisy themselves leaves them as they answer; the server's noise is of use only once it is added.
    spent = run.spending.release() if run.spending and not _server_adds_noise(settings) else {}
    gathered = run.schedule.gather(state)
    result = gathered.result
    returned = time.perf_counter()
    if run.spending and _server_adds_noise(settings):
        spent = run.spending.release()
    asked = Asked(
        gathered.agents, federation.districts, federation.spec, gathered.at_work, settings.aggregation.trusted
    )

    def ask(batch: Batch) -> Poll:
        return poll(run.inbox, number, state.weights, batch.agents, batch.deltas, settings.timeout_s)

    outcome = run_stages(run.stages, result, asked, state, ask)
    result = replace(result, risky=result.risky | outcome.risky)
    after = state.with_({**outcome.slots, **gathered.slots}, round=number)
    aggregated = time.perf_counter()
    held_out = held_out_loss(score(run.inbox, panel, number, after.weights, settings.timeout_s), len(panel))
    ended = time.perf_counter()

    shared = federation.spec.columns("shared")
    change = length(after.weights[shared].astype(np.float64) - state.weights[shared])
    whole = length(state.weights[shared])
    relative = change / whole if whole > 0 else math.nan  # weights that are all zero have no share that changed
    progress = state.progress.after(
        held_out, relative, void=bool(outcome.void), patience=max(1, settings.patience_rounds)
    )
    malicious = run.truth.malicious(number, gathered.asked) if run.truth else {}
    agents = audit_agents(number, asked, result, outcome, malicious)
    after = after.with_(
        {
            "progress": progress.to_json(),
            "lost/agents": lost.after_round(state.json("lost/agents"), result, number),
            **run.select.after_round(state, agents, asked.among),
            **(federation.uplink.after_round(state, result, number) if federation.uplink else {}),
        }
    )
    reports: dict[str, Figures] = {
        "asked": {"n_total_agents": len(asked.agents), "assumed_f": assumed_f(settings.aggregation, asked)},
        **roster.report(state),
        **gathered.reports,
        "exchange": exchange_report(result),
        **({"uplink": {"update_bytes": federation.uplink.payload_bytes}} if federation.uplink else {}),
        **outcome.reports,
        "server": {"aggregate_s": aggregated - returned, "evaluate_s": ended - aggregated},
        "audit": audit_report(agents),
    }
    if spent:
        reports["privacy"] = spent
    if run.truth:
        reports["truth"] = truth_report(agents, run.truth)
    record = Round(
        round_id=number,
        wallclock_s=ended - began,
        aggregated=not outcome.void,
        void_reason=outcome.void,
        held_out_loss=held_out,
        update_norm=change,
        relative_update=relative,
        w_drift=length(after.weights[shared].astype(np.float64) - federation.start[shared]),
        converged=stop_reason(after, settings) == "converged",
        w_global_sha256=weights_sha256(after.weights),
        reports=reports,
        agents=agents,
        districts=audit_districts(agents, outcome.mean.district_norms if outcome.mean else {}),
    )
    return after, record
