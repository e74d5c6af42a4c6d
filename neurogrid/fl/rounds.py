"""The loop of federated learning: choose agents, let the backend train them, defend, average, step, evaluate, record.

`federate` is the whole of it; resuming a run is this same loop from a state that was loaded. It reads no clock but for
the durations it reports, no config and no environment, and writes nothing: observers do.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from neurogrid.fl.aggregate import length
from neurogrid.fl.attack import AttackSettings, attack, count, malicious
from neurogrid.fl.defence import DefenceSettings, defend
from neurogrid.fl.record import Round, summarise
from neurogrid.fl.state import State
from neurogrid.fl.update import AgentId, Backend, Layout, RoundPlan, Vector
from neurogrid.randomness import generator

VOID_ROUNDS_IN_A_ROW = 3


class VoidRoundsError(RuntimeError):
    """Several rounds in a row changed nothing, so going on is pointless."""


@dataclass(frozen=True)
class RoundSettings:
    """How rounds are run; see the config's sections `rounds` and `aggregation` for each key."""

    rounds: int
    agents_per_round: int
    timeout_s: float
    server_momentum: float
    server_step: float
    panel_agents: int
    patience_rounds: int
    min_improvement: float
    converged_update: float
    defence: DefenceSettings
    attack: AttackSettings


@dataclass(frozen=True)
class Federation:
    """Who takes part, and with what.

    Attributes:
        agents: in the order of the manifest, which is the order of every sum.
        districts: each agent's district.
        layout: of the model's tensors.
        start: (d,) the weights before round 1, from which drift is measured.
        seed: of everything drawn in the run.
    """

    agents: tuple[AgentId, ...]
    districts: dict[AgentId, int]
    layout: Layout
    start: Vector
    seed: int


class Observer(Protocol):
    """Watches a run: the ledger, a live table, a trace."""

    def after_round(self, record: Round, state: State) -> None:
        """Called once a round, in order, with what happened and the state to go on from."""
        ...


@dataclass(frozen=True)
class Finish:
    """How a run ended: `all rounds done`, `no improvement` or `converged`."""

    state: State
    reason: str


def federate(
    state: State, federation: Federation, settings: RoundSettings, backend: Backend, observers: Iterable[Observer]
) -> Finish:
    """Runs rounds from `state` until all are done or the run stops early.

    Raises:
        VoidRoundsError: three rounds in a row gave too few usable updates, or all rounds did.
        NothingToTrimError: the rule asks for f > 0 and there is none.
    """
    watchers = tuple(observers)
    panel = choose_panel(federation, settings)
    last_void = ""
    while state.round < settings.rounds and not stop_reason(state, settings):
        state, record = _one_round(state, federation, settings, backend, panel)
        for watcher in watchers:
            watcher.after_round(record, state)
        void = state.progress.void_in_a_row
        last_void = f"; the last: {record.void_reason}"
        if void >= VOID_ROUNDS_IN_A_ROW:
            raise VoidRoundsError(f"{void} rounds in a row changed nothing{last_void}")
    if 0 < state.round == state.progress.void_in_a_row:
        raise VoidRoundsError(f"no round changed anything, so the weights are those of the start{last_void}")
    return Finish(state, stop_reason(state, settings) or "all rounds done")


def choose_agents(federation: Federation, settings: RoundSettings, round_number: int) -> tuple[AgentId, ...]:
    """The round's agents, drawn without replacement by (seed, round), in the manifest's order."""
    total, wanted = len(federation.agents), settings.agents_per_round
    if wanted >= total:
        return federation.agents
    drawn = generator(federation.seed, "agents", round_number).choice(total, wanted, replace=False)
    return tuple(federation.agents[i] for i in sorted(drawn.tolist()))


def choose_panel(federation: Federation, settings: RoundSettings) -> tuple[AgentId, ...]:
    """The agents on whose validation windows every round's model is judged: the same throughout."""
    total = len(federation.agents)
    drawn = generator(federation.seed, "panel").choice(total, min(settings.panel_agents, total), replace=False)
    return tuple(federation.agents[i] for i in sorted(drawn.tolist()))


def stop_reason(state: State, settings: RoundSettings) -> str:
    """Why the run should stop after `state`, or an empty string."""
    progress = state.progress
    updates = progress.relative_updates[-max(1, settings.patience_rounds) :]
    patient = len(updates) >= max(1, settings.patience_rounds)
    if settings.converged_update > 0 and patient and all(0 < u < settings.converged_update for u in updates):
        return "converged"
    if settings.patience_rounds > 0:
        losses = progress.held_out
        recent, before = losses[-settings.patience_rounds :], losses[: -settings.patience_rounds]
        # A round without a measured loss says nothing, for or against going on.
        lately, once = [x for x in recent if math.isfinite(x)], [x for x in before if math.isfinite(x)]
        if lately and once and min(lately) > min(once) * (1 - settings.min_improvement):
            return "no improvement"
    return ""


def _one_round(
    state: State, federation: Federation, settings: RoundSettings, backend: Backend, panel: tuple[AgentId, ...]
) -> tuple[State, Round]:
    began = time.perf_counter()
    number = state.round + 1
    plan = RoundPlan(number, choose_agents(federation, settings, number), state.weights, settings.timeout_s)
    result = backend.run(plan)
    returned = time.perf_counter()
    attackers = malicious(federation.agents, plan.agents, number, federation.seed, settings.attack)
    sent = dict(zip(plan.agents, attackers.tolist(), strict=True))
    answered = [update.agent for update in result.updates]
    lying = np.array([sent[agent] for agent in answered], bool)
    attack(result.deltas, answered, lying, number, federation.seed, settings.attack)
    outcome = defend(result, plan, federation.districts, federation.layout, settings.defence)
    weights, momentum = state.weights, state.array("server/momentum")
    if outcome.aggregate is not None:
        momentum = (settings.server_momentum * momentum + outcome.aggregate.delta).astype(np.float32)
        weights = (weights + settings.server_step * momentum).astype(np.float32)
    aggregated = time.perf_counter()
    held_out = _held_out_loss(backend, panel, weights, settings.timeout_s)
    ended = time.perf_counter()

    change = length(weights.astype(np.float64) - state.weights)
    relative = change / max(length(state.weights), 1e-12)
    progress = state.progress.after(held_out, relative, void=outcome.aggregate is None)
    after = state.with_({"model": weights, "server/momentum": momentum, "progress": progress.to_json()}, round=number)
    record = summarise(
        number=number,
        agents=tuple(replace(agent, malicious=sent[agent.agent_id]) for agent in outcome.agents),
        result=result,
        f=count(settings.defence.byzantine_share, len(plan.agents)),
        attack=settings.attack.kind,
        void_reason=outcome.void_reason,
        district_norms={} if outcome.aggregate is None else outcome.aggregate.district_norms,
        weights=weights,
        update_norm=change,
        relative_update=relative,
        drift=length(weights.astype(np.float64) - federation.start),
        held_out_loss=held_out,
        converged=stop_reason(after, settings) == "converged",
        aggregate_s=aggregated - returned,
        evaluate_s=ended - aggregated,
        wallclock_s=ended - began,
    )
    return after, record


def _held_out_loss(backend: Backend, panel: tuple[AgentId, ...], weights: Vector, timeout_s: float) -> float:
    """Mean over the panel of each agent's validation loss, in the panel's order; NaN if nobody answered.

    An agent that has no validation windows (`windows` 0) has no loss either, and is left out.
    NaN also where the mean is infinite: the record on disk has one word for both, and a resumed run must see the same.
    """
    if not panel:
        return float("nan")
    answers = backend.evaluate(panel, weights, timeout_s).values()
    losses = [metrics["loss"] for metrics in answers if metrics.get("windows", 1.0) > 0]
    loss = sum(losses) / len(losses) if losses else math.nan
    return loss if math.isfinite(loss) else math.nan
