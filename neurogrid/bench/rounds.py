"""Where a round's time goes, on each backend, beside a bare torch loop and a bare socket exchange in the same run.

Rounds are those of `federate` with the run's own ledger, so that nothing is measured that a run does not do; after
each round of the backend come one of the bare loop and one of the bare exchange, so that all meet the same machine.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from neurogrid.backends.inline import InlineBackend
from neurogrid.backends.spark import ExchangeSettings, SparkBackend
from neurogrid.bench.agents import IdleFactory, LstmFactory, start
from neurogrid.bench.bare import BareExchange, BareTraining
from neurogrid.bench.goals import verdicts
from neurogrid.bench.memory import PeakMemory, peak_memory
from neurogrid.bench.table import Cell, ResultTable
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.order import Backend
from neurogrid.fl.pipeline import AggregationSettings
from neurogrid.fl.record import Round
from neurogrid.fl.rounds import Federation, RoundSettings, federate
from neurogrid.fl.state import State
from neurogrid.fl.update import TrainerFactory
from neurogrid.ledger.journal import Genesis, Ledger
from neurogrid.plural import plural
from neurogrid.session import spark_session
from neurogrid.storage import place

CORES = 2
SPARK_LOG = Path("build/bench/spark.log")
WARM_UP_ROUNDS = 2
_FEW_AGENTS, _MANY = 100, 10
DISTRICTS = 3
EXCHANGE = ExchangeSettings(
    tasks=CORES,
    driver_host="",
    bind_address="",
    port=0,
    loopback_tls=False,
    lost_after_s=10.0,
    join_timeout_s=120.0,
    stop_grace_s=5.0,
    batch_bytes=8_000_000,
)
COLUMNS = (
    "backend",
    "training",
    "agents",
    "send_ms",
    "train_ms",
    "collect_ms",
    "aggregate_ms",
    "persist_ms",
    "overhead_ms",
    "bare_exchange_ms",
    "overhead_ratio",
    "agents_per_s",
    "bare_agents_per_s",
    "throughput_share",
    "peak_memory_mb",
)


@dataclass(frozen=True)
class Case:
    """A backend with a trainer; `tasks` of them train at once."""

    backend: str
    training: str
    factory: TrainerFactory
    tasks: int
    exchange: ExchangeSettings = EXCHANGE


def bench_rounds(agents: Sequence[int], backends: Sequence[str], rounds: int) -> ResultTable:
    """Measures rounds of each number of agents on each backend (`inline`, `spark`), after warm-up.

    Args:
        agents: numbers of agents.
        backends: of `inline` and `spark`.
        rounds: measured of each number; up to 100 agents ten times as many.
    """
    rows: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    weights, _ = start()
    if "inline" in backends:
        rows += [
            _row(Case("inline", "LSTM", LstmFactory(), 1), InlineBackend(LstmFactory()), n, rounds) for n in agents
        ]
    if "spark" in backends:
        idle = IdleFactory(weights.size)
        began = time.perf_counter()
        with spark_session("bench-rounds", f"local[{CORES}]", {}, SPARK_LOG) as spark:
            notes.append(f"Spark's own start took {time.perf_counter() - began:.1f} s")
            for case in (
                Case("spark", "LSTM", LstmFactory(), CORES),
                Case("spark", "none", idle, CORES),
                Case("spark, loopback_tls: true", "none", idle, CORES, replace(EXCHANGE, loopback_tls=True)),
            ):
                began = time.perf_counter()
                with SparkBackend(spark, case.factory, weights.size, case.exchange) as backend:
                    seconds = time.perf_counter() - began
                    notes.append(
                        f"{case.backend}, {case.training}: {plural(case.tasks, 'task')} ready after {seconds:.1f} s"
                    )
                    rows += [_row(case, backend, n, rounds) for n in agents]
    notes += [
        f"{weights.size:,} weights; {medians(rounds)}",
        "overhead: the backend's part of a round less the longest sum of training seconds of one task",
        "overhead_ratio: to the bare exchange of the same bytes, without TLS, in turn with the rounds",
        "throughput_share: agents a second of the backend over those of as many bare processes, in turn",
        "peak_memory: driver, JVM and workers summed, pages they share counted once (proportional set size)",
    ]
    return ResultTable("Rounds", COLUMNS, tuple(rows), (*verdicts(COLUMNS, rows), *notes))


def medians(rounds: int) -> str:
    """How many rounds a row is the median of, in words."""
    many = f"of {_MANY} times as many up to {_FEW_AGENTS} agents"
    return f"medians of {plural(rounds, 'round')} after {WARM_UP_ROUNDS} of warm-up, {many}"


def _row(case: Case, backend: Backend, agents: int, rounds: int) -> tuple[Cell, ...]:
    names = tuple(f"A{number:04d}" for number in range(1, agents + 1))
    weights, spec = start()
    districts = {name: index % DISTRICTS for index, name in enumerate(names)}
    federation = Federation(names, districts, spec, weights, seed=1)
    with ExitStack() as stack:
        if isinstance(backend, InlineBackend):
            stack.enter_context(backend)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        run = place(str(Path(folder) / "run"))
        state = State.start(weights)
        ledger = stack.enter_context(Ledger.create(run, _genesis(weights.size, agents), "", spec, state))
        exchange = stack.enter_context(BareExchange(agents, weights.size, case.tasks))
        training = stack.enter_context(BareTraining(case.factory, names, case.tasks))
        memory = stack.enter_context(peak_memory(psutil.Process(), {*exchange.pids, *training.pids}))
        turns = _Turns(ledger, training, exchange, memory)
        # A short round is little of a sample.
        measured = rounds * (_MANY if agents <= _FEW_AGENTS else 1)
        federate(state, federation, _round_settings(agents, WARM_UP_ROUNDS + measured), backend, [turns])
    return (case.backend, case.training, agents, *turns.cells(agents, trains=case.training != "none"))


@dataclass
class _Turns:
    """Observer: makes the round durable, then gives the bare ones their turn."""

    ledger: Ledger
    training: BareTraining
    exchange: BareExchange
    memory: PeakMemory
    figures: list[dict[str, Any]] = field(default_factory=list)
    persist_s: list[float] = field(default_factory=list)
    exchange_s: list[float] = field(default_factory=list)
    training_s: list[float] = field(default_factory=list)

    def after_round(self, record: Round, state: State) -> None:
        began = time.perf_counter()
        self.ledger.after_round(record, state)
        self.ledger.flush()
        persisted = time.perf_counter()
        self.memory.look()
        exchange_s, training_s = self.exchange.round(), self.training.round(record.round_id, state.weights)
        if record.round_id == WARM_UP_ROUNDS:
            self.memory.stop.set()
        if record.round_id > WARM_UP_ROUNDS:
            self.figures.append(record.figures)
            self.persist_s.append(persisted - began)
            self.exchange_s.append(exchange_s)
            self.training_s.append(training_s)

    def cells(self, agents: int, *, trains: bool) -> tuple[Cell, ...]:
        """The row's figures, medians in ms, from send_ms on."""

        def median_ms(values: Sequence[float]) -> float:
            return 1e3 * statistics.median(values)

        run_s = [r["send_s"] + r["train_s"] + r["collect_s"] for r in self.figures]
        overhead_ms = median_ms([r["send_s"] + r["collect_s"] for r in self.figures])
        exchange_ms = median_ms(self.exchange_s)
        rates: tuple[Cell, ...] = (None, None, None)
        if trains:
            share = statistics.median(b / r for b, r in zip(self.training_s, run_s, strict=True))
            rates = (agents / statistics.median(run_s), agents / statistics.median(self.training_s), share)
        return (
            median_ms([r["send_s"] for r in self.figures]),
            median_ms([r["train_s"] for r in self.figures]),
            median_ms([r["collect_s"] for r in self.figures]),
            median_ms([r["aggregate_s"] for r in self.figures]),
            median_ms(self.persist_s),
            overhead_ms,
            exchange_ms,
            overhead_ms / exchange_ms,
            *rates,
            self.memory.peak / 1e6,
        )


def _round_settings(agents: int, rounds: int) -> RoundSettings:
    return RoundSettings(
        rounds=rounds,
        agents_per_round=1_000_000,
        timeout_s=600.0,
        panel_agents=0,
        patience_rounds=0,
        min_improvement=0.0,
        converged_update=0.0,
        aggregation=AggregationSettings(
            rule="trimmed_mean" if agents >= 5 else "mean",  # with fewer there is nobody to trim
            byzantine_share=0.2,
            weight_cap=2.0,
            min_agents=1,
            clip=ClipSettings(to="median", per="tensor", norm=1.0),
            server_momentum=0.9,
            server_step=1.0,
        ),
    )


def _genesis(n_weights: int, agents: int) -> Genesis:
    return Genesis(
        run_id="bench",
        manifest_id="",
        manifest_sha256="",
        neurogrid_version="",
        seed=1,
        model="city_lstm",
        n_weights=n_weights,
        n_agents=agents,
        rounds=0,
        rule="trimmed_mean",
        attack="none",
        started="",
    )
