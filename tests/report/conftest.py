"""Runs to report on: made by the real round loop and the real ledger, with agents that only pretend to train."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from records import evaluation_of, manifest_of, write_evaluation

from neurogrid.fl.attack import Attacked, Attackers, AttackSettings
from neurogrid.fl.claims import Claims
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.order import Missing, Scores, Traffic, Update
from neurogrid.fl.pipeline import AggregationSettings
from neurogrid.fl.rounds import Federation, RoundSettings, federate
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.state import State
from neurogrid.fl.update import Worked
from neurogrid.ledger import Genesis, Ledger
from neurogrid.randomness import generator
from neurogrid.report.page import render_report
from neurogrid.storage import Place, place

SPEC = Spec((Span("encoder.weight", (40, 10), 0, 400), Span("head.bias", (8,), 400, 408)))


QUALITY = {
    "files": 24,
    "households": 22,
    "slots": 63_360,
    "load_tiers": {"observed": 62_000, "trailing_mean": 1_000, "slot_mean": 300, "zero": 60},
    "weather_tiers": {"observed": 63_360, "trailing_mean": 0, "slot_mean": 0, "zero": 0},
    "faults": {"duplicate": 12, "null_value": 340},
    "unusable": {"1417.csv": "unreadable_file: not <CSV>"},
    "worst": [{"household_id": "1406", "rows": 2880, "missing_share": 0.21, "faults": 3, "energy_kwh": 512.5}],
    "energy_read_kwh": 1000.0,
    "energy_dropped_kwh": 2.0,
    "energy_imputed_kwh": 5.5,
    "energy_written_kwh": 1003.5,
    "energy_balanced": True,
}


class Pretend:
    """A backend whose agents move halfway to a common goal, each with noise of its own; some do not answer."""

    def __init__(self, goal: np.ndarray, late: frozenset[tuple[int, str]]) -> None:
        self.goal, self.late = goal, late

    def publish(self, version, weights):
        self.weights = weights

    def submit(self, orders, deadline_s):
        self.orders = orders

    def answers(self, until_s):
        distance = float(np.abs(self.goal - self.weights).mean())
        for order in self.orders:
            if order.kind == "score":
                yield Scores(order, Claims(64, {"loss": distance}))
            elif (order.round, order.agent) in self.late:
                yield Missing(order, "late")
            else:
                noise = generator(1, order.round, order.agent).normal(0, 0.1, len(self.goal))
                delta = (0.3 * (self.goal - self.weights) + noise).astype(np.float32)
                yield Update(order, delta, Claims(900, {"loss": distance * 0.9, "train_s": 0.02}), Worked(0, 0.1))

    def traffic(self):
        first = 9.0 if self.orders[0].round == 1 else 1.0
        return Traffic(0.004, first * 0.21 + 0.01 * (self.orders[0].round % 3), 320_000, 640_000, 2)


MakeRun = Callable[..., tuple[Place, Place]]


def runs_under(folder: Path) -> MakeRun:
    """Makes runs of pretending agents there, and gives each one's folder and its warehouse."""

    def make(
        *,
        rounds: int = 10,
        agents: int = 15,
        done: int | None = None,
        attack: str = "sign_flip",
        rule: str = "trimmed_mean",
        evaluated: bool = True,
        known: bool = True,
        run_id: str = "2026-demo",
    ) -> tuple[Place, Place]:
        warehouse = place(str(folder / "warehouse"))
        run = warehouse / "runs" / run_id
        manifest = manifest_of(agents, 3)
        names = tuple(agent.agent_id for agent in manifest.agents)
        goal = generator(3, "goal").normal(0, 1, SPEC.size).astype(np.float32)
        start = np.zeros(SPEC.size, np.float32)
        settings = RoundSettings(
            rounds=rounds if done is None else done,
            agents_per_round=min(agents, 15),
            timeout_s=10,
            panel_agents=5,
            patience_rounds=0,
            min_improvement=0,
            converged_update=0,
            aggregation=AggregationSettings(rule, 0.2, 3, 3, ClipSettings("median", "tensor", 1.0), 0.5, 0.7),
        )
        districts = {agent.agent_id: agent.district for agent in manifest.agents}
        federation = Federation(names, districts, SPEC, start, 7)
        genesis = Genesis(
            run_id=run_id,
            manifest_id=manifest.sha256[:12],
            manifest_sha256=manifest.sha256,
            neurogrid_version="0.1.0",
            seed=7,
            model="city_lstm",
            n_weights=SPEC.size,
            n_agents=agents,
            rounds=rounds,
            rule=rule,
            attack=attack,
            started="2026-11-23T10:00:00+00:00",
        )
        config = {"seed": 7, "rounds": {"count": rounds, "timeout_s": 10}, "attack": {"kind": attack, "fraction": 0.2}}
        late = frozenset({(4, names[1]), (4, names[6])})
        state = State.start(start)
        with Ledger.create(run, genesis, yaml.safe_dump(config), SPEC, state) as ledger:
            honest = Pretend(goal, late)
            attackers = Attackers(names, 7, AttackSettings(attack, 0.2, "fixed", 10, 1.0))
            if attack == "none":
                finish = federate(state, federation, settings, honest, [ledger])
            else:
                finish = federate(state, federation, settings, Attacked(honest, attackers), [ledger], attackers)
            if done is None:
                ledger.finish(finish.state, finish.reason, {})
        if known:
            (warehouse / "manifests" / manifest.sha256[:12] / "manifest.json").write(manifest.to_json())
            (warehouse / "quality" / "report.json").write(json.dumps(QUALITY))
        if evaluated:
            write_evaluation(run, evaluation_of())
        return run, warehouse

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Runs of a test's own, to change."""
    return runs_under(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Place]:
    """A run with everything, to read only."""
    return runs_under(tmp_path_factory.mktemp("finished"))()


@pytest.fixture(scope="session")
def finished_html(finished: tuple[Place, Place]) -> str:
    """Its report."""
    return render_report(*finished)
