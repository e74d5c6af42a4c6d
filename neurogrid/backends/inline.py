"""Agents one after another in this process: for small federations, tests and debugging. Same results as on Spark."""

import time

import numpy as np

from neurogrid.backends.answers import failure, figures, misnamed, misshapen
from neurogrid.errors import RunError
from neurogrid.fl.update import (
    AgentId,
    Matrix,
    Phases,
    RoundPlan,
    RoundResult,
    Trainer,
    TrainerFactory,
    Update,
    Vector,
    Worked,
)


class InlineBackend:
    """Trains a round's agents in this process, in the order of the plan."""

    def __init__(self, factory: TrainerFactory) -> None:
        self._factory = factory
        self._trainer: Trainer | None = None
        self._buffer: Matrix = np.empty((0, 0), np.float32)

    def __enter__(self) -> "InlineBackend":
        self._trainer = self._factory()
        return self

    def __exit__(self, *exc: object) -> None:
        self._trainer = None
        self._buffer = np.empty((0, 0), np.float32)

    def run(self, plan: RoundPlan) -> RoundResult:
        """Trains the plan's agents. The result's deltas stay valid until the next call.

        An agent that is not yet begun when `plan.timeout_s` has passed, or ends after it, is late.

        Raises:
            RunError: the backend has not been entered.
        """
        trainer = self._entered()
        deltas = self._rows(len(plan.agents), plan.weights.size)
        began = time.perf_counter()
        train_s = 0.0
        updates: list[Update] = []
        missing: dict[AgentId, str] = {}
        worked: dict[AgentId, Worked] = {}
        for agent in plan.agents:
            before = time.perf_counter()
            if before - began >= plan.timeout_s:
                missing[agent] = "late"
                continue
            try:
                update = trainer.train(agent, plan.round, plan.weights)
                reason = misshapen(update, agent, plan.weights.size)
            except Exception as error:  # whatever an agent's code raises costs its update, not the round
                reason = failure(error)
            after = time.perf_counter()
            train_s += after - before
            if reason is None and after - began > plan.timeout_s:
                reason = "late"
            if reason is not None:
                missing[agent] = reason
                continue
            row = deltas[len(updates)]
            row[:] = update.delta
            updates.append(Update(agent, row, int(update.windows), figures(update.metrics)))
            worked[agent] = Worked(0, after - began)
        wall_s = time.perf_counter() - began
        return RoundResult(
            updates=tuple(updates),
            deltas=deltas[: len(updates)],
            missing=missing,
            phases=Phases(send_s=0.0, train_s=train_s, collect_s=max(0.0, wall_s - train_s)),
            worked=worked,
        )

    def evaluate(
        self, agents: tuple[AgentId, ...], weights: Vector, timeout_s: float
    ) -> dict[AgentId, dict[str, float]]:
        """`Trainer.evaluate` of each of `agents`, in their order; agents that failed or were late are left out."""
        trainer = self._entered()
        began = time.perf_counter()
        losses: dict[AgentId, dict[str, float]] = {}
        for agent in agents:
            try:
                metrics = trainer.evaluate(agent, weights)
            except Exception:  # noqa: S112 - left out, as the contract says
                continue
            if time.perf_counter() - began > timeout_s:
                break
            if misnamed(metrics) is None:
                losses[agent] = figures(metrics)
        return losses

    def _entered(self) -> Trainer:
        if self._trainer is None:
            raise RunError("the inline backend runs rounds only inside its `with` block")
        return self._trainer

    def _rows(self, agents: int, n_weights: int) -> Matrix:
        # Kept from round to round: touching fresh memory costs more than the copies into it.
        if self._buffer.shape[0] < agents or self._buffer.shape[1] != n_weights:
            self._buffer = np.empty((agents, n_weights), np.float32)
        return self._buffer[:agents]
