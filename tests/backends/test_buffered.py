"""Rounds that close early on real Spark tasks, whose agents take as long as chance will have it, are made again."""

import os
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy_trainer import SETTINGS, D, Numpy, NumpyTrainer
from pyspark import cloudpickle

from neurogrid.backends.inline import InlineBackend
from neurogrid.backends.spark import SparkBackend
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.pipeline import AggregationSettings
from neurogrid.fl.replay import Entry, Recorded, Replayed, remake
from neurogrid.fl.rounds import Federation, RoundSettings, federate
from neurogrid.fl.schedule import FLIGHT, ScheduleSettings
from neurogrid.fl.select import SelectSettings
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.state import State

cloudpickle.register_pickle_by_value(sys.modules[__name__])

AGENTS = (*(f"A{i:02}" for i in range(20)), "raises", "exits")
START = np.linspace(-1, 1, D).astype(np.float32)
FEDERATION = Federation(AGENTS, dict.fromkeys(AGENTS, 0), Spec((Span("w", (D,), 0, D),)), START, 3)
ROUNDS = RoundSettings(
    rounds=6,
    agents_per_round=14,
    timeout_s=60.0,
    panel_agents=8,
    patience_rounds=0,
    min_improvement=0.0,
    converged_update=0.0,
    aggregation=AggregationSettings("trimmed_mean", 0.1, 2.0, 1, ClipSettings("median", "tensor", 1.0), 0.5, 0.5),
    select=SelectSettings("adaptive", 0.3),
)
SCHEDULES = {"buffered": ScheduleSettings("buffered", 1.0, 6, 3), "quorum": ScheduleSettings("sync", 0.6)}


@dataclass(frozen=True)
class Dawdling:
    """Makes a trainer that takes up to 60 ms, as chance will have it."""

    def __call__(self):
        return DawdlingTrainer(0.0)


class DawdlingTrainer(NumpyTrainer):
    def train(self, agent, round_number, weights):
        time.sleep(os.urandom(1)[0] / 255 * 0.06)
        return super().train(agent, round_number, weights)


class Watch:
    def __init__(self):
        self.records, self.states = [], []

    def after_round(self, record, state):
        self.records.append(record)
        self.states.append(state)


@pytest.mark.parametrize("kind", sorted(SCHEDULES))
def test_rounds_that_close_early_on_spark_are_made_again_bit_by_bit_also_when_they_were_stopped_between(spark, kind):
    settings, watch = replace(ROUNDS, schedule=SCHEDULES[kind]), Watch()
    for rounds in (3, 6):  # the first backend is left while agents train
        state = watch.states[-1] if watch.states else State.start(START)
        with SparkBackend(spark, Dawdling(), D, SETTINGS) as backend:
            federate(state, FEDERATION, replace(settings, rounds=rounds), backend, [watch])
    if kind == "buffered":
        assert watch.states[2].json(FLIGHT)["agents"]
        assert all(sum(a.answered for a in r.agents) == 6 for r in watch.records)
        assert max(a.staleness for r in watch.records for a in r.agents) >= 1
    assert all(np.isfinite(r.held_out_loss) for r in watch.records)
    record = {
        r.round_id: Recorded(
            tuple(Entry(a.agent_id, a.answered, a.reason, a.staleness, a.risky) for a in r.agents), r.w_global_sha256
        )
        for r in watch.records
    }
    with Replayed(InlineBackend(Numpy()), record) as backend:
        again = remake(backend, FEDERATION, settings, record)
    assert again.weights.tobytes() == watch.states[-1].weights.tobytes()
    for slot in ("select/history", "lost/agents"):
        assert again.json(slot) == watch.states[-1].json(slot)
