"""Personal models for households that have none yet; the step takes a plan and reads no config."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pyspark.sql import SparkSession

from neurogrid.config import Config
from neurogrid.data.manifest import few
from neurogrid.data.optout import refuse_opted_out, tables_to_use
from neurogrid.data.tables import CurrentTable
from neurogrid.errors import RunError, UsageError
from neurogrid.ledger import read_final
from neurogrid.ledger.records import read_end
from neurogrid.pipeline import runs, settings
from neurogrid.pipeline.events import SILENT, Observer, Personalising
from neurogrid.pipeline.forecast_plan import chosen, own_manifest
from neurogrid.pipeline.plan import personal_files, spec
from neurogrid.plural import plural
from neurogrid.storage import Place, place
from neurogrid.workloads.meters.newcomers import Made, NewcomerSettings, personalise_all
from neurogrid.workloads.meters.personal_files import owners

SPARK_FROM_HOUSEHOLDS = 30
"""Below this they are made in this process, at some 0.6 s each, sooner than Spark starts and ends."""


@dataclass(frozen=True)
class PersonalPlan:
    """All that making personal models takes: the run's folder, the warehouse, tables of households, the settings."""

    run: Place
    warehouse: Place
    tables: tuple[CurrentTable, ...]
    settings: NewcomerSettings

    @property
    def on_spark(self) -> bool:
        """Whether there are so many that Spark is worth its start."""
        return len(self.tables) >= SPARK_FROM_HOUSEHOLDS


def plan_personal(config: Config, run_id: str, households: Sequence[str]) -> PersonalPlan:
    """See PersonalPlan.

    Args:
        config: the run's own.
        run_id: the run, which has ended.
        households: ids; none are all of the warehouse's current ones.

    Raises:
        UsageError: the run has not ended, it makes no personal models, or there is no such household, or it opted out.
        InputError: there are no current tables.
        RunError: the run is not what was written.
    """
    warehouse, run, training = place(config.warehouse), runs.folder(config, run_id), settings.training(config)
    weights = read_final(run, read_end(run), spec(training))
    files = personal_files(config, run)
    if files is None:
        raise UsageError(
            f"run {run_id} makes no personal models",
            found="personal.steps is 0 in its config",
            fix="train a run with personal.steps above 0, for instance from this one's weights: --from",
        )
    manifest = own_manifest(config, run_id)
    refuse_opted_out(warehouse, households)
    tables = chosen(tables_to_use(warehouse), households)
    own = NewcomerSettings(training, weights, manifest.cadence_minutes, files, owners(manifest.agents))
    return PersonalPlan(run, warehouse, tables, own)


def personalise(plan: PersonalPlan, spark: SparkSession | None, observer: Observer = SILENT) -> dict[str, Any]:
    """Makes those that are missing, and says what came of each household; without a session, in this process.

    Raises:
        RunError: not one household has a personal model.
    """
    with observer.during(Personalising(plan.run.name)) as progress:
        found = personalise_all(spark, plan.warehouse, plan.tables, plan.settings, progress)
    refused = {each.household_id: each.reason for each in found if each.state == "none"}
    if len(refused) == len(found):
        raise RunError(
            f"no personal model could be made of {plural(len(found), 'household')}",
            found=few([f"{name}: {reason}" for name, reason in refused.items()]),
            fix="look at the readings of these households",
        )
    states = Counter(each.state for each in found)
    return {
        "run": plan.run.name,
        "made": states["made"],
        "kept": states["kept"],
        "refused": refused,
        "shares": _shares([each for each in found if each.state != "none"]),
        "path": str(plan.run / "personal"),
    }


def _shares(found: Sequence[Made]) -> dict[str, float]:
    """Of each candidate, the mean over households."""
    names = sorted({name for each in found for name in each.shares})
    return {name: fmean(each.shares.get(name, 0.0) for each in found) for name in names}
