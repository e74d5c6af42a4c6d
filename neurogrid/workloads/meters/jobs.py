"""Work on households one by one: as a Spark job, or in this process, with the same results."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from neurogrid.data.progress import watched
from neurogrid.tasks import run_tasks

T = TypeVar("T")
R = TypeVar("R")


def run_job(
    spark: SparkSession | None,
    name: str,
    work: Callable[[T], R],
    items: Sequence[T],
    result: TypeAdapter[R],
    belongs: Callable[[T, R], bool],
    progress: Callable[[int, int], None],
    tasks: int = 0,
) -> list[R]:
    """Results in the order of the items.

    Args:
        spark: where the job runs; None is this process.
        name: of the job, in Spark's own page.
        work: done on each item.
        items: picklable, where Spark runs them.
        result, belongs: see `neurogrid.tasks.run_tasks`.
        progress: told how many items are done, of how many.
        tasks: how many there are; 0 is one an item.

    Raises:
        RunError: an item's work failed, or a task has returned something else than it was asked for.
    """
    apply, count = partial(_in_one_thread, work), len(items)
    if spark is None or not items:
        found = []
        for number, item in enumerate(items, 1):
            found.append(apply(item))
            progress(number, count)
        return found
    with watched(spark, name, tasks or count, count, progress):
        return run_tasks(spark.sparkContext, items, apply, result, belongs, tasks)


def _in_one_thread(work: Callable[[T], R], item: T) -> R:
    torch.set_num_threads(1)  # a task has one core, and sums must not depend on how many there are
    return work(item)
