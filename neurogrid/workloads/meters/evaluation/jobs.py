"""How an evaluation's work gets to households' tables: as Spark jobs, or in this process, with the same results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from neurogrid.data.household import Household, read_household
from neurogrid.data.manifest import Agent, Manifest
from neurogrid.errors import RunError
from neurogrid.storage import Place
from neurogrid.workloads.meters.jobs import run_job
from neurogrid.workloads.meters.personal_files import owners

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class HouseholdFile:
    """One household's table, `path` under the warehouse's root; the agent that holds all of it, empty if none does."""

    household_id: str
    path: str
    sha256: str
    agent: str


def files_of(manifest: Manifest, agents: Sequence[Agent]) -> list[HouseholdFile]:
    """Each household once, in the order of the agents; whole, also where its weeks were dealt out."""
    parts = {part.household_id: part for agent in agents for part in agent.parts}
    whose = owners(agents)
    prints = manifest.fingerprints
    return [
        HouseholdFile(part.household_id, part.path, prints.get(part.path, ""), whose.get(part.household_id, ""))
        for part in parts.values()
    ]


class Jobs:
    """Applies a function to items, in order: as one Spark job with a task an item, or here."""

    def __init__(
        self,
        spark: SparkSession | None,
        warehouse: Place,
        announce: Callable[[str, int], None],
        progress: Callable[[int, int], None],
    ) -> None:
        self._spark, self._warehouse, self._announce, self._progress = spark, warehouse, announce, progress

    def __call__(
        self,
        step: str,
        work: Callable[[T, "Reader"], R],
        items: Sequence[T],
        result: TypeAdapter[R],
        belongs: Callable[[T, R], bool],
    ) -> list[R]:
        """Results in the order of the items; for `result` and `belongs` see `neurogrid.tasks.run_tasks`.

        Raises:
            RunError: an item's work failed, or a task has returned something else than it was asked for.
        """
        self._announce(step, len(items))
        read = partial(_reading, work, Reader(self._warehouse))
        return run_job(self._spark, f"evaluation: {step}", read, items, result, belongs, self._progress)


@dataclass(frozen=True)
class Reader:
    """Reads households from the warehouse, as the manifest names them."""

    warehouse: Place

    def __call__(self, file: HouseholdFile) -> Household:
        """Raises RunError where the table cannot be read; names it."""
        try:
            return read_household(self.warehouse / file.path, file.sha256)
        except (OSError, ValueError, KeyError) as error:
            raise RunError(
                f"cannot read household {file.household_id}",
                found=f"{self.warehouse / file.path}: {error}",
                fix="restore the file; or run `neurogrid etl` and `neurogrid sample` again, and train anew",
            ) from error


def _reading(work: Callable[[T, Reader], R], read: Reader, item: T) -> R:
    return work(item, read)
