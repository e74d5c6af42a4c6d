"""Forecasts of a warehouse's households by a finished run, as one table; the step takes a plan and reads no config."""

from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from neurogrid.data.manifest import few
from neurogrid.errors import RunError
from neurogrid.pipeline.events import SILENT, Forecasting, Observer
from neurogrid.pipeline.forecast_plan import ForecastPlan
from neurogrid.plural import plural
from neurogrid.workloads.meters.fleet import Answer, forecast_all, rows_of, to_csv, to_parquet
from neurogrid.workloads.meters.forecast import PERSONAL, Forecast


@dataclass(frozen=True)
class Forecasts:
    """What came of it.

    Attributes:
        plan: what was asked for.
        answers: by household, in the order of their names.
    """

    plan: ForecastPlan
    answers: list[Answer]

    @property
    def made(self) -> list[Forecast]:
        """The forecasts, in the same order."""
        return [answer.forecast for answer in self.answers if answer.forecast is not None]

    @property
    def refused(self) -> dict[str, str]:
        """Households without a forecast, and why."""
        return {answer.household_id: answer.refused for answer in self.answers if answer.forecast is None}

    @property
    def filled(self) -> dict[str, int]:
        """Households whose history has slots that were not measured, and how many."""
        return {each.household_id: each.filled_slots for each in self.made if each.filled_slots}

    def to_dict(self) -> dict[str, Any]:
        """As JSON; with the forecasts where they are written nowhere else."""
        plan = self.plan
        own = {
            "run": plan.run.name,
            "households": len(self.made),
            "personal": sum(each.model == PERSONAL for each in self.made),
            "horizon_slots": plan.settings.horizon_slots,
            "cadence_minutes": plan.settings.cadence_minutes,
            "history_slots": plan.settings.training.windows.history_slots,
            "filled_slots": self.filled,
            "refused": self.refused,
            "out": None if plan.out is None else str(plan.out),
        }
        return own if plan.out is not None else {**own, "forecasts": self.rows()}

    def rows(self, households: int | None = None) -> list[dict[str, Any]]:
        """The forecasts of all, or of the first households; one row a household and slot, times in ISO 8601."""
        return rows_of(self.made[:households], self.plan.run.name, self.plan.settings.quantiles)


def forecast(plan: ForecastPlan, spark: SparkSession | None, observer: Observer = SILENT) -> Forecasts:
    """Forecasts all households of the plan, and writes the table as a whole; without a session, in this process.

    Raises:
        RunError: there is not one forecast, so nothing is written.
    """
    with observer.during(Forecasting(plan.run.name)) as progress:
        answers = forecast_all(spark, plan.warehouse, plan.tables, plan.settings, progress)
    found = Forecasts(plan, answers)
    if not found.made:
        raise RunError(
            f"no forecast could be made of {plural(len(answers), 'household')}",
            found=few([f"{name}: {reason}" for name, reason in found.refused.items()]),
            fix="look at the readings of these households, or give another moment with --at",
        )
    if plan.out is not None:
        make = to_csv if plan.out_kind == "csv" else to_parquet
        plan.out.write(make(found.made, plan.run.name, plan.settings.quantiles))
    return found
