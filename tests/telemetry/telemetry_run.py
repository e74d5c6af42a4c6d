"""A small real federation with attackers, run into a warehouse: what the tests here export and trace."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from neurogrid.backends.inline import InlineBackend
from neurogrid.data.quality import TIERS
from neurogrid.fl.attack import Attacked, Attackers, AttackSettings
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.pipeline import AggregationSettings
from neurogrid.fl.rounds import Federation, RoundSettings, federate
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.state import State
from neurogrid.fl.update import Update
from neurogrid.ledger import Genesis, Ledger
from neurogrid.randomness import generator
from neurogrid.storage import Place, place
from neurogrid.telemetry.exporter import Exporter, ExporterSettings
from neurogrid.telemetry.page import Format

SPEC = Spec((Span("lstm.weight", (8, 5), 0, 40),))
D, SEED = SPEC.size, 5
AGENTS = tuple(f"A{i:02}" for i in range(15))
START = generator(SEED, "start").standard_normal(D).astype(np.float32)
FEDERATION = Federation(AGENTS, {agent: i // 5 for i, agent in enumerate(AGENTS)}, SPEC, START, SEED)
SETTINGS = RoundSettings(
    rounds=6,
    agents_per_round=15,
    timeout_s=60.0,
    panel_agents=3,
    patience_rounds=0,
    min_improvement=0.0,
    converged_update=0.0,
    aggregation=AggregationSettings("multi_krum", 0.2, 3.0, 3, ClipSettings("median", "tensor", 1.0), 0.0, 1.0),
)
ATTACKERS = Attackers(AGENTS, SEED, AttackSettings("noise", 0.2, "fixed", 10.0, 50.0))
EXPORTER = ExporterSettings(every_s=0.1, stuck_after_s=60.0, runs=20, per_agent=False, namespace="")

REPORT = {
    "files": 2, "unusable": {}, "excluded": [], "file_rows": 99, "households": 2,
    "load_tiers": dict.fromkeys(TIERS, 1), "weather_tiers": dict.fromkeys(TIERS, 1), "faults": {}, "weather_faults": {},
    "energy_read_kwh": 1.0, "energy_dropped_kwh": 0.0, "energy_imputed_kwh": 0.0, "energy_written_kwh": 1.0,
    "energy_balanced": True, "zero_readings": 0,
}  # fmt: skip
RECORDS = {
    "quality/report.json": REPORT,
    "manifests/m1/manifest.json": {"silhouette": 0.2, "agents": [{}], "districts": 1, "held_out": [], "unused": [],
                                   "clusters": [{"number": 0, "households": 1}]},
    "jobs/prod/etl.json": {"job": "etl", "state": "completed", "started": "2026-01-01T00:00:00+00:00",
                           "ended": "2026-01-01T00:01:00+00:00"},
    "teachers/t1/teacher.json": {"version": 1},
    "teachers/t1/epochs/epoch=0001.json": {"train_loss": 0.5, "held_out_loss": 0.6,
                                           "recorded": "2026-01-01T00:00:00+00:00"},
}  # fmt: skip
"""A record of each kind that is not a run's."""


def write_records(warehouse: Path) -> None:
    for path, content in RECORDS.items():
        (warehouse / path).parent.mkdir(parents=True, exist_ok=True)
        (warehouse / path).write_text(json.dumps(content))


def genesis(run_id: str, started: str = "2026-01-01T00:00:00+00:00", attack: str = "noise") -> Genesis:
    return Genesis(
        run_id, "m1", "0" * 64, "0.1", SEED, "small", D, len(AGENTS), SETTINGS.rounds, "multi_krum", attack, started
    )


class Trainer:
    """Goes a third of the way to the agent's own goal; one agent sends NaN, one fails, from round 3 on."""

    def __init__(self, train_s: float = 0.002) -> None:
        self.train_s = train_s

    def train(self, agent, round_number, weights):
        if agent == "A13" and round_number >= 3:
            raise ValueError("no readings")
        delta = ((generator(SEED, "goal").standard_normal(D) - weights) / 3).astype(np.float32)
        delta += 0.01 * generator(SEED, agent, round_number).standard_normal(D).astype(np.float32)
        if agent == "A14" and round_number >= 3:
            delta[0] = np.nan
        return Update(agent, delta, 100, {"loss": float(np.square(weights).mean()), "train_s": self.train_s})

    def evaluate(self, agent, weights):
        return {"loss": float(np.square(weights - generator(SEED, "goal").standard_normal(D)).mean()), "windows": 5}

    def holds(self, agent):
        return True


def begin(run: Place, **given: str) -> tuple[Ledger, State]:
    if (run / "run.json").exists():
        ledger, resumed = Ledger.resume(run, SPEC)
        return ledger, resumed.state
    state = State.start(START)
    return Ledger.create(run, genesis(run.name, **given), "seed: 5\n", SPEC, state), state


def train(
    warehouse: Path, run_id: str = "r1", *, rounds: int = 6, end: bool = True, trace=None, trainer=Trainer, **given: str
) -> State:
    """Runs `rounds` rounds in all, from wherever the run stands; `end` closes it."""
    run = place(str(warehouse)) / "runs" / run_id
    settings = replace(SETTINGS, rounds=rounds)
    attackers = None if given.get("attack") == "none" else ATTACKERS
    ledger, state = begin(run, **given)
    inline = InlineBackend(trainer)
    with ledger, Attacked(inline, attackers) if attackers else inline as backend:
        ledger.traced_by(trace)
        finish = federate(state, FEDERATION, settings, backend, [*filter(None, [trace]), ledger], attackers)
        if end:
            ledger.finish(finish.state, finish.reason, {})
    return finish.state


def exporter(warehouse: Path, **settings) -> Exporter:
    return Exporter(place(str(warehouse)), "0.1", replace(EXPORTER, **settings))


def scraped(work: Exporter) -> dict[tuple[str, frozenset], float]:
    """Values by name and labels, as prometheus_client's own parser reads them."""
    from prometheus_client.parser import text_string_to_metric_families

    text = work.page(Format.TEXT, compressed=False).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def looked(warehouse: Path, **settings) -> dict[tuple[str, frozenset], float]:
    work = exporter(warehouse, **settings)
    work.look()
    return scraped(work)


def value(values, name, **labels):
    return values.get((f"neurogrid_{name}", frozenset(labels.items())))


if __name__ == "__main__":
    train(Path(sys.argv[1]))
