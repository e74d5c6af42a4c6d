"""Personal models of households that were no agents when a run was trained: a job over a warehouse's current tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Literal

from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from neurogrid.data.tables import CurrentTable, read_current
from neurogrid.errors import RunError
from neurogrid.fl.record import weights_sha256
from neurogrid.fl.update import AgentId, Vector
from neurogrid.storage import Place
from neurogrid.workloads.meters.agent import TrainingSettings, completed
from neurogrid.workloads.meters.jobs import run_job
from neurogrid.workloads.meters.personal import CANDIDATES, personalise
from neurogrid.workloads.meters.personal_files import PersonalFiles, newcomer
from neurogrid.workloads.meters.windows import build_shard

_LONGEST_REASON = 400


@dataclass(frozen=True)
class NewcomerSettings:
    """What personal models are made with.

    Attributes:
        training: of the run.
        weights: (d,) the run's final weights.
        cadence_minutes: of the run's slots.
        personal: where and how they are kept.
        agents: the agent that a household is, by household; its model is kept under that name.
    """

    training: TrainingSettings
    weights: Vector
    cadence_minutes: int
    personal: PersonalFiles
    agents: Mapping[str, AgentId]


@dataclass(frozen=True)
class Made:
    """What came of one household.

    Attributes:
        household_id: whose.
        state: `made` now, `kept` from before, or `none`.
        reason: why there is none; else empty.
        shares: of each candidate in what the household uses.
        windows: how many it was tuned on.
    """

    household_id: str
    state: Literal["made", "kept", "none"]
    reason: str
    shares: dict[str, float]
    windows: int

    def is_of(self, table: CurrentTable) -> bool:
        """Whether it can be that household's."""
        return (
            self.household_id == table.household_id
            and bool(self.reason) == (self.state == "none")
            and len(self.reason) <= _LONGEST_REASON
            and self.shares.keys() <= set(CANDIDATES)
            and all(0 <= share <= 1 for share in self.shares.values())
            and self.windows >= 0
        )


def personalise_all(
    spark: SparkSession | None,
    warehouse: Place,
    tables: Sequence[CurrentTable],
    settings: NewcomerSettings,
    progress: Callable[[int, int], None],
) -> list[Made]:
    """What came of each household, in the order of their tables; the models are written where they are made.

    Args:
        spark: where the job runs; None is this process.
        warehouse: root of the tables.
        tables: of the households.
        settings: see there.
        progress: told how many are done, of how many.

    Raises:
        RunError: a Spark task has returned something else than it was asked for.
    """
    work = partial(_made, warehouse=warehouse, settings=settings)
    return run_job(spark, "personal models", work, tables, TypeAdapter(Made), _is_of, progress)


def _is_of(table: CurrentTable, made: Made) -> bool:
    return made.is_of(table)


def _made(table: CurrentTable, *, warehouse: Place, settings: NewcomerSettings) -> Made:
    try:
        return _make(table, warehouse, settings)
    except RunError as error:
        reason = f"{error.what}: {error.found}" + (f"; {error.fix}" if error.fix else "")
    except OSError as error:
        reason = f"its personal model cannot be written under {settings.personal.run}/personal: {error}"
    return Made(table.household_id, "none", reason[:_LONGEST_REASON], {}, 0)


def _make(table: CurrentTable, warehouse: Place, settings: NewcomerSettings) -> Made:
    name, training = table.household_id, settings.training
    try:
        household, readings = read_current(warehouse, table), sha256((warehouse / table.path).read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError) as error:
        raise RunError("its table cannot be read", found=f"{warehouse / table.path}: {error}") from error
    minutes = household.meta.cadence_minutes
    if minutes != settings.cadence_minutes:
        reason = f"its table has slots of {minutes} min, the run was trained on {settings.cadence_minutes} min"
        return Made(name, "none", reason, {}, 0)
    shard = build_shard([(household, None)], training.windows, ("train", "validation"))
    windows = len(shard.origins["train"])
    if not windows:
        return Made(name, "none", "its readings are too few, or have too many gaps, for a training window", {}, 0)
    owner, of = settings.agents.get(name, newcomer(name)), weights_sha256(settings.weights)
    federated = settings.weights
    if training.private:
        federated = completed(federated, household, training, settings.agents.get(name, name))
    found = settings.personal.find(owner, of, len(federated))
    if found is not None:
        return Made(name, "kept", "", dict(found.shares), windows)
    made = personalise(shard, federated, settings.personal.settings, owner)
    settings.personal.write(owner, of, readings, made)
    return Made(name, "made", "", dict(made.shares), windows)
