"""A small trainer, for tests of where agents run: its delta depends on agent, round and weights alone."""

import math
import os
import signal
import sys
import time
from dataclasses import dataclass

import numpy as np
from pyspark import cloudpickle

from neurogrid.backends.inline import InlineBackend
from neurogrid.backends.spark import ExchangeSettings
from neurogrid.fl.collect import Inbox, Rows, run_round
from neurogrid.fl.update import RoundPlan, Update
from neurogrid.randomness import generator

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file

D = 1000
SETTINGS = ExchangeSettings(
    tasks=2,
    driver_host="",
    bind_address="",
    port=0,
    loopback_tls=True,
    lost_after_s=1.5,
    join_timeout_s=30.0,
    stop_grace_s=1.0,
    batch_bytes=1 << 20,
)
AGENTS = tuple(f"A{i:04d}" for i in range(15))


@dataclass(frozen=True)
class Numpy:
    """Makes a trainer whose delta depends on agent, round and weights. Some names make it misbehave."""

    train_s: float = 0.0

    def __call__(self):
        return NumpyTrainer(self.train_s)


class NumpyTrainer:
    def __init__(self, train_s):
        self.train_s = train_s
        self.held = set()

    def train(self, agent, round_number, weights):
        if agent == "raises":
            raise ValueError("no readings")
        if agent == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        if agent == "slow" and round_number == 1:
            time.sleep(3.0)
        if agent == "hangs":
            time.sleep(60)
        if agent == "exits":
            sys.exit(3)
        time.sleep(1.0 if agent == "dozes" else self.train_s)
        self.held.add(agent)
        delta = generator(7, round_number, agent).normal(size=weights.size).astype(np.float32) - weights / 3
        if agent == "short":
            delta = delta[:3]
        if agent == "nan":
            delta[1] = np.nan
        return Update(agent, delta, len(agent), {"loss": 10**400 if agent == "huge" else float(delta[0])})

    def evaluate(self, agent, weights):
        if agent == "raises":
            raise ValueError("no readings")
        return {"loss": float(generator(7, agent).normal() + weights.sum()), "windows": 4}

    def vote(self, agent, round_number, candidates):
        if agent == "raises":
            raise ValueError("no readings")
        if agent == "hangs":
            time.sleep(60)
        return [math.nan if agent == "nan" else float(weights.sum()) + round_number for weights in candidates]

    def adapt(self, agent, weights):
        if agent == "raises":
            raise ValueError("no readings")
        if agent == "hangs":
            time.sleep(60)
        return {"loss": float(weights.sum()), "share_personal": 0.75, "windows": len(agent), "secret": 1.0}

    def holds(self, agent):
        return agent in self.held


@dataclass(frozen=True)
class Unfit:
    def __call__(self):
        raise FileNotFoundError("no warehouse here")


def plan(round_number, agents=AGENTS, timeout_s=30.0):
    return RoundPlan(
        round_number, tuple(agents), generator(1, round_number).normal(size=D).astype(np.float32), timeout_s
    )


def run(backend, each):
    return run_round(Inbox(backend), each, Rows())


def expected(*plans):
    with InlineBackend(Numpy()) as backend:
        return [run(backend, each) for each in plans]


def assert_same(result, reference):
    assert [u.agent for u in result.updates] == [u.agent for u in reference.updates]
    assert result.deltas.tobytes() == reference.deltas.tobytes()
    assert [(u.windows, u.metrics) for u in result.updates] == [(u.windows, u.metrics) for u in reference.updates]
    assert all(np.shares_memory(u.delta, result.deltas[i]) for i, u in enumerate(result.updates))
    assert list(map(sorted, (result.worked, reference.worked))) == [sorted(u.agent for u in result.updates)] * 2
    assert all(0 <= worked.ended_s < 60 and worked.task >= 0 for worked in result.worked.values())


def wait_for(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
