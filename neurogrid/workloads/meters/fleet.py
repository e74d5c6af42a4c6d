"""Forecasts of many households: a job over their current tables, on Spark or in this process, and the table of them.

Each household is forecast by itself, so the figures are the same wherever the job runs. What cannot be forecast is
named with its reason, and costs no other household anything.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv
from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from neurogrid.data.cleaning import Cleaning
from neurogrid.data.household import Household, unusable_name
from neurogrid.data.tables import CurrentTable, read_current
from neurogrid.errors import RunError
from neurogrid.fl.record import weights_sha256
from neurogrid.fl.update import AgentId, Vector
from neurogrid.storage import Place
from neurogrid.workloads.meters.agent import TrainingSettings, completed, new_model
from neurogrid.workloads.meters.forecast import (
    FEDERATED,
    PERSONAL,
    Candidates,
    Forecast,
    NoForecastError,
    forecast,
)
from neurogrid.workloads.meters.jobs import run_job
from neurogrid.workloads.meters.personal_files import PersonalFiles, newcomer

HOUSEHOLDS_A_TASK = 32
"""At least, where there are more households than cores: a task starts in some 10 ms."""
_LONGEST_REASON = 400
SCHEMA = pa.schema(
    [
        pa.field("household_id", pa.string(), nullable=False),
        pa.field("start", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("forecast_kwh", pa.float32(), nullable=False),
        pa.field("surge_probability", pa.float32(), nullable=False),
        pa.field("run", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
    ]
)
"""One row a household and slot, in this order. After these stand the quantiles, where the run's model has any. Later
versions may add columns after them."""


@dataclass(frozen=True)
class FleetSettings:
    """What forecasts are made with.

    Attributes:
        training: of the run: its model, its windows, and how its private layers are fitted.
        weights: (d,) the run's final weights.
        cleaning: how the tables were made.
        cadence_minutes: of the run's slots.
        at: start of the first slot; None is the slot after each household's last one.
        horizon_slots: how many slots to give, at most the model's.
        personal: the personal models of the run; None where it has none.
        agents: the agent that a household is, by household, under whose name its personal model is; others may have
            one under their own.
    """

    training: TrainingSettings
    weights: Vector
    cleaning: Cleaning
    cadence_minutes: int
    at: datetime | None
    horizon_slots: int
    personal: PersonalFiles | None
    agents: Mapping[str, AgentId]

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Which ones the run's model forecasts."""
        return self.training.windows.quantiles


@dataclass(frozen=True)
class Answer:
    """What came of one household: its forecast, or why there is none."""

    household_id: str
    forecast: Forecast | None
    refused: str

    def is_of(self, table: CurrentTable, settings: FleetSettings) -> bool:
        """Whether it can be that household's, as far as can be told without its readings."""
        found = self.forecast
        if self.household_id != table.household_id or len(self.refused) > _LONGEST_REASON:
            return False
        if found is None:
            return bool(self.refused)
        shape, probability = (settings.horizon_slots,), found.surge_probability
        return (
            not self.refused
            and found.household_id == table.household_id
            and found.forecast_kwh.shape == probability.shape == shape
            and found.quantiles_kwh.shape == (*shape, len(settings.quantiles))
            and bool(np.isfinite(found.forecast_kwh).all() and np.isfinite(found.quantiles_kwh).all())
            and bool(((probability >= 0) & (probability <= 1)).all())
            and found.start.utcoffset() is not None
            and settings.at in (None, found.start)
            and found.cadence_minutes == settings.cadence_minutes
            and found.model in (FEDERATED, PERSONAL)
            and 0 <= found.filled_slots <= settings.training.windows.history_slots
        )


def forecast_all(
    spark: SparkSession | None,
    warehouse: Place,
    tables: Sequence[CurrentTable],
    settings: FleetSettings,
    progress: Callable[[int, int], None],
) -> list[Answer]:
    """An answer for each table, in their order.

    Args:
        spark: where the job runs; None is this process.
        warehouse: root of the tables.
        tables: of the households.
        settings: see there.
        progress: told how many are done, of how many.

    Raises:
        RunError: a Spark task has returned something else than answers.
    """
    work = partial(_answer, warehouse=warehouse, settings=settings)
    cores = spark.sparkContext.defaultParallelism if spark else 1
    tasks = min(max(len(tables) // HOUSEHOLDS_A_TASK, cores), len(tables))
    is_of = partial(_is_of, settings)
    return run_job(spark, "forecasts", work, tables, TypeAdapter(Answer), is_of, progress, tasks)


def _is_of(settings: FleetSettings, table: CurrentTable, answer: Answer) -> bool:
    return answer.is_of(table, settings)


def _answer(table: CurrentTable, *, warehouse: Place, settings: FleetSettings) -> Answer:
    try:
        return Answer(table.household_id, _forecast(table, warehouse, settings), "")
    except NoForecastError as error:
        reason = str(error)
    except RunError as error:
        reason = f"{error.what}: {error.found}; {error.fix}"
    except (OSError, ValueError, KeyError) as error:
        reason = f"its table cannot be read: {warehouse / table.path}: {error}"
    return Answer(table.household_id, None, reason[:_LONGEST_REASON])


def _forecast(table: CurrentTable, warehouse: Place, settings: FleetSettings) -> Forecast:
    training, household = settings.training, read_current(warehouse, table)
    if household.meta.cadence_minutes != settings.cadence_minutes:
        found = f"its table has slots of {household.meta.cadence_minutes} min"
        raise NoForecastError(f"{found}, the run was trained on {settings.cadence_minutes} min")
    candidates = _candidates(household, settings)
    made = forecast(household, new_model(training), candidates, training.windows, settings.cleaning, settings.at)
    return made.first(settings.horizon_slots)


def _candidates(household: Household, settings: FleetSettings) -> Candidates:
    """The run's own model, or what the household's agent chose; raises RunError where that is damaged."""
    training, name = settings.training, household.meta.household_id
    owner = settings.agents.get(name, newcomer(name))
    federated = settings.weights
    if training.private:
        federated = completed(federated, household, training, settings.agents.get(name, name))
    found = None
    if settings.personal is not None and not unusable_name(owner):
        found = settings.personal.find(owner, weights_sha256(settings.weights), len(federated))
    own, shares = (found.weights, found.shares) if found else ({}, {FEDERATED: 1.0})
    return Candidates({FEDERATED: federated, **own}, {name: share for name, share in shares.items() if share})


def table_of(forecasts: Sequence[Forecast], run_id: str, quantiles: Sequence[float]) -> pa.Table:
    """All forecasts as one table, with a column for each quantile; see SCHEMA."""
    lengths = [len(each.forecast_kwh) for each in forecasts]

    def repeated(values: Sequence[str]) -> pa.Array:
        return pa.array(np.repeat(np.array(values, object), lengths), pa.string())

    columns = [
        repeated([each.household_id for each in forecasts]),
        pa.array([start.astimezone(UTC) for each in forecasts for start in each.starts], SCHEMA.field("start").type),
        pa.array(np.concatenate([np.empty(0, np.float32), *(each.forecast_kwh for each in forecasts)])),
        pa.array(np.concatenate([np.empty(0, np.float32), *(each.surge_probability for each in forecasts)])),
        repeated([run_id] * len(forecasts)),
        repeated([each.model for each in forecasts]),
    ]
    table = pa.table(columns, SCHEMA)
    for number, level in enumerate(quantiles):
        own = np.concatenate([np.empty(0, np.float32), *(each.quantiles_kwh[:, number] for each in forecasts)])
        table = table.append_column(pa.field(f"quantile_{level:g}_kwh", pa.float32(), nullable=False), pa.array(own))
    return table


def rows_of(forecasts: Sequence[Forecast], run_id: str, quantiles: Sequence[float]) -> list[dict[str, Any]]:
    """The table's rows, times in ISO 8601."""
    return [{**row, "start": row["start"].isoformat()} for row in table_of(forecasts, run_id, quantiles).to_pylist()]


def to_parquet(forecasts: Sequence[Forecast], run_id: str, quantiles: Sequence[float]) -> bytes:
    """The table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table_of(forecasts, run_id, quantiles), sink, compression="zstd")
    return sink.getvalue()


def to_csv(forecasts: Sequence[Forecast], run_id: str, quantiles: Sequence[float]) -> bytes:
    """The table as CSV with a header; times as 2024-02-29T13:30:00Z."""
    sink, table = io.BytesIO(), table_of(forecasts, run_id, quantiles)
    text = pc.strftime(table.column("start"), format="%Y-%m-%dT%H:%M:%SZ")
    whole = pc.replace_substring_regex(text, r"\.\d+Z$", "Z")  # Arrow prints a fraction of a second
    csv.write_csv(table.set_column(table.schema.get_field_index("start"), "start", whole), sink)
    return sink.getvalue()
