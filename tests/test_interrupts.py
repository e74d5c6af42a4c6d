"""Ctrl-C stops a session's work wherever it comes."""

import logging
import signal
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import SparkSession

from neurogrid import session
from neurogrid.session import _no_interrupt_lost
from neurogrid.teacher import distribute


class Ended:
    """Takes a signal while it is ended, as an object of py4j does whose end is told to the JVM."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)  # the interrupt is raised here at the latest


def _end(what: list[Ended]) -> None:
    what.clear()
    time.sleep(2)


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals are the main thread's")
def test_a_ctrl_c_that_comes_while_an_object_is_ended_is_not_lost() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    ended = [Ended()]
    try:
        with _no_interrupt_lost(), pytest.raises(KeyboardInterrupt):
            _end(ended)
    finally:
        signal.signal(signal.SIGINT, before)


def test_calls_to_the_jvm_take_no_lock_that_an_interrupted_one_may_have_left(spark: SparkSession) -> None:
    taken, done = threading.Event(), threading.Event()

    def interrupted() -> None:
        with logging._lock:  # type: ignore[attr-defined]
            taken.set()
            done.wait(60)

    counted: list[int] = []

    def work() -> None:
        numbers = spark.sparkContext.parallelize(range(3), 1)
        counted.append(numbers.count())
        del numbers

    holder, worker = (threading.Thread(target=each, daemon=True) for each in (interrupted, work))
    for name in list(logging.root.manager.loggerDict):  # as if each were asked for the first time
        getattr(logging.getLogger(name), "_cache", {}).clear()
    holder.start()
    taken.wait(10)
    worker.start()
    worker.join(30)
    done.set()
    holder.join()
    assert counted == [3]


def test_an_error_of_a_job_that_ctrl_c_cut_off_is_no_lost_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: Any) -> None:
        session._INTERRUPTED.set()
        raise RuntimeError("Job 3 cancelled")

    monkeypatch.setattr(distribute, "_start", cut_off)
    monkeypatch.setattr(session, "_INTERRUPTED", threading.Event())
    task: Any = SimpleNamespace(settings=SimpleNamespace(tries=3))
    nothing: Any = None
    with pytest.raises(KeyboardInterrupt):
        distribute.distribute(nothing, task, nothing, nothing)
