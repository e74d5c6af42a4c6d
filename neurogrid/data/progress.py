"""How far a Spark job of independent tasks is, told while it runs."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOOK_EVERY_S = 0.2
_LONGEST_LOOK_S = 10.0
"""Nobody waits longer for a look that is under way: a call to a JVM that is being stopped may not return."""


def unseen(_done: int, _total: int) -> None:
    """Progress that nobody is told of."""


@contextmanager
def watched(
    spark: "SparkSession", name: str, tasks: int, items: int, progress: Callable[[int, int], None]
) -> Iterator[None]:
    """Tells of the jobs started inside, from another thread, how much of the work is done.

    Args:
        spark: an open session.
        name: of the work, for Spark's own pages.
        tasks: how many tasks they have in all.
        items: what the tasks work through together.
        progress: called with items done, by the share of tasks that are, and items in all.
    """
    from py4j.protocol import Py4JError  # noqa: PLC0415 - where there is a session it is loaded already

    context = spark.sparkContext
    tracker, group = context.statusTracker(), f"neurogrid-{time.monotonic_ns()}"
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(LOOK_EVERY_S):
            try:
                jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
                stages = [tracker.getStageInfo(stage) for job in jobs if job for stage in job.stageIds]
            except (Py4JError, OSError):  # the JVM is gone; whoever waits for the job's result says so
                return
            done = sum(stage.numCompletedTasks for stage in stages if stage)
            progress(items * done // tasks, items)

    thread = threading.Thread(target=watch, name="spark-progress", daemon=True)
    context.setJobGroup(group, name, interruptOnCancel=True)
    progress(0, items)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join(_LONGEST_LOOK_S)
        context.setLocalProperty("spark.jobGroup.id", None)
    progress(items, items)
