"""What it is to carry out an order: the same in a Spark task and in this process, so that both give the same answer."""

import time
from dataclasses import dataclass

import numpy as np

from neurogrid.fl.claims import Claims, Refusal, ballot, claims, reason
from neurogrid.fl.order import Kind
from neurogrid.fl.update import Adapting, AgentId, Matrix, Trainer, Update, Vector, Voting
from neurogrid.fl.uplink import Uplink


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an order, and how long it took.

    Attributes:
        delta: (d,) float32 of an agent that trained, or its payload; None of one that scored, or failed.
        outcome: what the agent claims, or why there is no answer.
        held: whether its shard is in memory now.
        retry: whether somebody else should try.
        took_s, ended_s: how long it took and when it ended, by time.perf_counter.
    """

    delta: Vector | bytes | None
    outcome: Claims | Refusal
    held: bool
    retry: bool
    took_s: float
    ended_s: float


def perform(
    trainer: Trainer,
    kind: Kind,
    agent: AgentId,
    round_number: int,
    weights: Vector | Matrix,
    uplink: Uplink | None = None,
    remembers: int = 0,
) -> Done:
    """Trains, scores, votes or adapts; whatever the agent's code raises or returns is an answer.

    Where there is an `uplink`, an update is what it makes of it; `remembers` is that of the order.
    """
    began = time.perf_counter()
    delta: Vector | bytes | None = None
    held = retry = False
    outcome: Claims | Refusal
    try:
        if kind == "train":
            update = trainer.train(agent, round_number, weights)
            outcome = _refused(update, agent, weights.size) or claims(update.windows, update.metrics)
            if uplink and isinstance(outcome, Claims) and not np.isfinite(update.delta).all():
                outcome = Refusal("failed: the update is not finite, so no codec can hold it")
            if isinstance(outcome, Claims):
                delta = uplink.send(agent, round_number, remembers, update.delta) if uplink else update.delta
        elif kind == "vote":
            outcome = ballot(list(_voting(trainer).vote(agent, round_number, np.atleast_2d(weights))))
        else:
            figures = trainer.evaluate(agent, weights) if kind == "score" else _adapting(trainer).adapt(agent, weights)
            outcome = claims(figures.get("windows", 1), figures)
        held = bool(trainer.holds(agent))
    except (Exception, SystemExit) as error:  # it costs this answer, not the round
        delta, outcome, retry = None, Refusal(reason(f"failed: {type(error).__name__}: {reason(error)}")), True
    ended = time.perf_counter()
    return Done(delta, outcome, held, retry, ended - began, ended)


def _adapting(trainer: Trainer) -> Adapting:
    if not isinstance(trainer, Adapting):
        raise TypeError("this workload makes no personal models")
    return trainer


def _voting(trainer: Trainer) -> Voting:
    if not isinstance(trainer, Voting):
        raise TypeError("agents of this workload do not vote")
    return trainer


def _refused(update: object, agent: AgentId, n_weights: int) -> Refusal | None:
    """Only shapes are judged: values that are not finite pass, and are refused where updates are judged."""
    if not isinstance(update, Update):
        return Refusal(f"wrong shape: the trainer returned {type(update).__name__}, not an Update")
    if update.agent != agent:
        return Refusal(f"wrong shape: the update is of agent {reason(update.agent)[:64]}")
    delta: object = update.delta
    if not isinstance(delta, np.ndarray):
        return Refusal(f"wrong shape: delta is {type(delta).__name__}, not ({n_weights},) float32")
    if delta.shape != (n_weights,) or delta.dtype != np.float32:
        return Refusal(f"wrong shape: delta is {delta.shape} {delta.dtype}, not ({n_weights},) float32")
    return None
