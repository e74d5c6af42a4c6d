"""The driver's side: are there slots, start the ranks with TorchDistributor, watch the epochs, try again.

The ranks are a barrier stage, on every kind of master: TorchDistributor's own local mode would start them beside Spark,
uncounted. Progress is read from the durable records, so what is shown has happened.
"""

import contextlib
import io
import logging
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from pyspark.sql import SparkSession

from neurogrid import job_errors
from neurogrid.errors import NeuroGridError, RunError, UsageError
from neurogrid.ledger.chain import Record
from neurogrid.plural import plural
from neurogrid.session import refuse_if_interrupted
from neurogrid.teacher import records, schedule
from neurogrid.teacher.rank import DONE, GAVE_UP, RankTask, train_rank
from neurogrid.teacher.settings import Device
from neurogrid.teacher.stage import RankStage

_LOOK_S = 0.5
_GOODBYE_S = 10.0
_WORDS_KEPT = 400
_CAUSE = re.compile(r"Signal \d+ \(\w+\)|\b[\w.]*(?:Error|Exception)\b: ")


def device_for(spark: SparkSession, wanted: str) -> Device:
    """`auto` is a GPU where Spark gives each task one.

    Raises:
        UsageError: GPUs are asked for and Spark gives tasks none, or several.
    """
    amount = spark.sparkContext.getConf().get("spark.task.resource.gpu.amount", "0")
    if wanted == "cpu" or (wanted == "auto" and amount == "0"):
        return "cpu"
    if amount != "1":
        raise UsageError(
            "teacher.device is gpu, and Spark does not give each task one GPU",
            found=f"spark.task.resource.gpu.amount is {amount}",
            fix="set it to 1 in spark.options, with spark.executor.resource.gpu.amount; or set teacher.device to cpu",
        )
    return "gpu"


def refuse_without_slots(spark: SparkSession, ranks: int, timeout_s: float) -> None:
    """A barrier stage starts all its tasks at once or waits without a word: make sure beforehand that it can.

    Raises:
        UsageError: fewer slots are free than there are ranks (on a cluster, after `timeout_s` of waiting for
            executors), or executors may come and go.
    """
    context = spark.sparkContext
    if context.getConf().get("spark.dynamicAllocation.enabled", "false") == "true":
        raise UsageError(
            "a teacher's ranks start together, which Spark refuses where executors come and go",
            found="spark.dynamicAllocation.enabled is true",
            fix="set it to false in spark.options, and ask for as many executors as there are ranks",
        )
    jsc, tracker = context._jsc.sc(), context.statusTracker()
    profile = jsc.resourceProfileManager().defaultResourceProfile()
    local = context.master == "local" or context.master.startswith("local[")
    deadline = time.monotonic() + (0 if local else timeout_s)
    while True:
        slots = jsc.maxNumConcurrentTasks(profile)
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        free = slots - sum(stage.numActiveTasks for stage in stages if stage is not None)
        if ranks <= free:
            return
        if time.monotonic() >= deadline:
            raise UsageError(
                f"{plural(ranks, 'rank')} at once, but not as many free Spark slots",
                found=f"{free} free of {slots} on {context.master}",
                fix=f"set teacher.ranks to at most {free}, or give Spark more cores"
                if free > 0
                else "give Spark cores",
            )
        time.sleep(_LOOK_S)


def distribute(
    spark: SparkSession, task: RankTask, watch: Callable[[Record], None], note: Callable[[str], None]
) -> records.Records:
    """Trains until an epoch is the last one; each new durable epoch is shown to `watch`, each failed try to `note`.

    Raises:
        RunError: the ranks refused their work, or were lost as often as they may be.
    """
    settings = task.settings
    words = _Words()
    for _ in range(settings.tries):
        try:
            status = _start(spark, task, words, watch)
        except Exception as error:  # py4j's errors have no common base that is worth naming
            refuse_if_interrupted()
            known = records.read(task.folder)
            if schedule.stop_reason(known.held_out, settings):
                return known  # nothing was left to do for whoever was lost
            note(f"a rank was lost: {words.cause() or job_errors.reason(error)}")
            continue
        if status["status"] == DONE:
            return records.read(task.folder)
        if status["status"] == GAVE_UP:
            break
        raise RunError(status["what"], found=status["found"], fix=status["fix"])
    done = len(records.read(task.folder).epochs)
    raise RunError(
        f"the teacher's ranks were lost {plural(settings.tries, 'time')}; {plural(done, 'epoch')} finished",
        found=words.cause(),
        fix=f"find out what ends them, then: neurogrid teach --resume {task.folder.name}",
    )


def _start(spark: SparkSession, task: RankTask, words: "_Words", watch: Callable[[Record], None]) -> dict[str, str]:
    context = spark.sparkContext
    group = f"teacher-{task.folder.name}-{time.monotonic_ns()}"
    with _silent(words), _watching(task, watch, lambda: context.cancelJobGroup(group)):
        context.setJobGroup(group, "NeuroGrid: ranks of a teacher", interruptOnCancel=True)
        try:
            use_gpu = task.settings.device == "gpu"
            ranks = RankStage(num_processes=task.settings.ranks, local_mode=False, use_gpu=use_gpu)
            status: dict[str, str] = ranks.run(train_rank, task)
        except BaseException:
            with contextlib.suppress(Exception):  # a Spark that is gone already has ended the job
                context.cancelJobGroup(group)
            raise
        finally:
            with contextlib.suppress(Exception):
                context.setLocalProperty("spark.jobGroup.id", None)
    return status


@contextlib.contextmanager
def _watching(task: RankTask, watch: Callable[[Record], None], let_go: Callable[[], None]) -> Iterator[None]:
    """Shows `watch` every epoch that becomes durable inside, in order; calls `let_go` when ranks outstay the last one.

    torchrun's agents wait five minutes for each other's ranks at the end, also for one that was killed there.
    """
    ended = threading.Event()
    known = records.read(task.folder)

    def look() -> None:
        nonlocal known
        with contextlib.suppress(NeuroGridError, OSError):  # whoever trains will say what is wrong
            while (newer := records.extended(task.folder, known)) is not known:
                known = newer
                watch(known.epochs[-1])

    def keep_looking() -> None:
        goodbye = math.inf
        while not ended.wait(_LOOK_S):
            look()
            if goodbye == math.inf and schedule.stop_reason(known.held_out, task.settings):
                goodbye = time.monotonic() + _GOODBYE_S
            if time.monotonic() > goodbye:
                let_go()
                return

    thread = threading.Thread(target=keep_looking, name="neurogrid-epochs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()


class _Words(io.TextIOBase):
    """Takes what ranks and torchrun say, which TorchDistributor writes to the driver's stderr; keeps the newest."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_WORDS_KEPT)

    def write(self, text: str) -> int:
        """See io.TextIOBase."""
        self._lines.extend(line.strip() for line in text.splitlines() if line.strip())
        return len(text)

    def cause(self) -> str:
        """The line that says best why a rank was lost: a signal, else the first error."""
        found = [line for line in self._lines if _CAUSE.search(line)]
        signals = [line for line in found if "Signal" in line]
        return (signals or found or [""])[0][:300]


@contextlib.contextmanager
def _silent(words: _Words) -> Iterator[None]:
    """The ranks' words go to `words`; the caller's own console must hold the true stderr."""
    logger = logging.getLogger(RankStage.__name__)
    handler: logging.Handler = logging.StreamHandler(words)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with contextlib.redirect_stderr(words):
            yield
    finally:
        logger.removeHandler(handler)
