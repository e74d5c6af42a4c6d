"""Rounds on the Spark that is there, however many executors it has: what a cluster's size gives."""

from collections.abc import Sequence

from pyspark.sql import SparkSession

from neurogrid.backends.spark import ExchangeSettings, SparkBackend
from neurogrid.bench.agents import IdleFactory, LstmFactory, start
from neurogrid.bench.rounds import COLUMNS, Case, _row, medians
from neurogrid.bench.table import Cell, ResultTable
from neurogrid.plural import plural


def bench_spark(spark: SparkSession, exchange: ExchangeSettings, agents: Sequence[int], rounds: int) -> ResultTable:
    """Measures `rounds` rounds of each number of agents; the bare peers run in the driver's own container."""
    weights, _ = start()
    rows: list[tuple[Cell, ...]] = []
    tasks = 0
    for training, factory in (("LSTM", LstmFactory()), ("none", IdleFactory(weights.size))):
        with SparkBackend(spark, factory, weights.size, exchange) as backend:
            tasks = backend.tasks
            case = Case("spark", training, factory, tasks, exchange)
            rows += [_row(case, backend, number, rounds) for number in agents]
    notes = (
        f"{plural(tasks, 'resident task')} on {spark.sparkContext.master}",
        f"{weights.size:,} weights; {medians(rounds)}",
    )
    return ResultTable("Rounds on a cluster", COLUMNS, tuple(rows), notes)
