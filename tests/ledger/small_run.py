"""A small deterministic federation run into a folder: what the ledger's tests kill, resume and tamper with."""

import sys
import time
from pathlib import Path

import numpy as np

from neurogrid.backends.inline import InlineBackend
from neurogrid.errors import UsageError
from neurogrid.fl.attack import Attacked, Attackers, AttackSettings
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.pipeline import AggregationSettings
from neurogrid.fl.rounds import Federation, RoundSettings, federate
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.state import State
from neurogrid.fl.update import Update
from neurogrid.ledger import Genesis, Ledger
from neurogrid.randomness import generator
from neurogrid.storage import place

SPEC = Spec((Span("lstm.weight", (10, 5), 0, 50), Span("head.bias", (7,), 50, 57)))
D, SEED, ROUNDS = SPEC.size, 11, 8
AGENTS = tuple(f"A{i:02}" for i in range(9))
START = generator(SEED, "start").standard_normal(D).astype(np.float32)
FEDERATION = Federation(AGENTS, {a: i % 3 for i, a in enumerate(AGENTS)}, SPEC, START, SEED)
SETTINGS = RoundSettings(
    rounds=ROUNDS,
    agents_per_round=7,
    timeout_s=60.0,
    panel_agents=2,
    patience_rounds=0,
    min_improvement=0.0,
    converged_update=0.0,
    aggregation=AggregationSettings("trimmed_mean", 0.15, 3.0, 3, ClipSettings("median", "tensor", 1.0), 0.9, 0.5),
)
ATTACKERS = Attackers(AGENTS, SEED, AttackSettings("noise", 0.2, "fixed", 10.0, 0.5))
GENESIS = Genesis(
    run_id="r1",
    manifest_id="m1",
    manifest_sha256="0" * 64,
    neurogrid_version="0",
    seed=SEED,
    model="small",
    n_weights=D,
    n_agents=len(AGENTS),
    rounds=ROUNDS,
    rule="trimmed_mean",
    attack="noise",
    started="2026-01-01T00:00:00Z",
)
CONFIG = "seed: 11\n"


class Trainer:
    """Goes a third of the way to the agent's own goal, after `pause_s` of what would be training."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s

    def train(self, agent, round_number, weights):
        time.sleep(self.pause_s)
        delta = (generator(SEED, agent).standard_normal(D) - weights) / 3
        delta = (delta + 0.1 * generator(SEED, agent, round_number).standard_normal(D)).astype(np.float32)
        loss = float("nan") if agent == AGENTS[0] else float(np.square(delta).mean())
        return Update(agent, delta, 100, {"loss": loss, "train_s": self.pause_s})

    def evaluate(self, agent, weights):
        return {"loss": float(np.square(weights).mean()), "windows": 5}

    def holds(self, agent):
        return True


def begin_or_resume(run):
    if not (run / "run.json").exists():
        state = State.start(START)
        return Ledger.create(run, GENESIS, CONFIG, SPEC, state), state
    ledger, resumed = Ledger.resume(run, SPEC)
    assert (resumed.start == START).all()
    return ledger, resumed.state


def attacked() -> Attacked:
    """Where the small run's agents train, some of whom attack."""
    return Attacked(InlineBackend(Trainer), ATTACKERS)


def train(folder: Path, *, pause_s: float = 0.0, settings: RoundSettings = SETTINGS, observers=(), attackers=ATTACKERS):
    """Runs to the end, from wherever the folder stands."""
    run = place(str(folder))
    ledger, state = begin_or_resume(run)
    with ledger, Attacked(InlineBackend(lambda: Trainer(pause_s)), attackers) as backend:
        finish = federate(state, FEDERATION, settings, backend, [ledger, *observers], attackers)
        ledger.finish(finish.state, finish.reason, {"fact": 1})
    return finish.state


def train_slowly(folder: Path) -> None:
    """What a process of its own runs: slow enough to be killed in the midst of it; exits as the command does."""
    try:
        train(folder, pause_s=0.003)
    except UsageError as error:
        sys.exit(error.exit_code)
