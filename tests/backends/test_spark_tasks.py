"""Resident Spark tasks come and go: workers that die or fall silent, refusals at the start, the end."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from numpy_trainer import AGENTS, SETTINGS, D, Numpy, Unfit, assert_same, expected, plan, run, wait_for

from neurogrid.backends.pods import LostPods
from neurogrid.backends.spark import SparkBackend
from neurogrid.errors import RunError, UsageError
from neurogrid.fl.order import orders


@contextlib.contextmanager
def after(seconds, action, *args):
    timer = threading.Timer(seconds, action, args)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_updates_are_the_same_bits_inline_and_on_spark_and_with_one_or_two_tasks(spark):
    plans = [plan(1), plan(2, reversed(AGENTS)), plan(3, AGENTS[:1])]
    references = expected(*plans)
    for tasks, encrypted in ((1, False), (2, True)):
        with SparkBackend(spark, Numpy(), D, replace(SETTINGS, tasks=tasks, loopback_tls=encrypted)) as backend:
            assert backend.tasks == tasks
            for each, reference in zip(plans, references, strict=True):
                result = run(backend, each)
                assert_same(result, reference)
                assert result.executors == tasks
                assert result.bytes_up >= 4 * D * len(each.agents)


def test_a_worker_that_is_killed_in_mid_round_has_its_agents_trained_by_another(spark):
    plans = [plan(1), plan(2)]
    references = expected(*plans)
    with SparkBackend(spark, Numpy(train_s=0.05), D, SETTINGS) as backend:
        assert_same(run(backend, plans[0]), references[0])
        began = time.monotonic()
        with after(0.15, os.kill, backend.worker_pids()[0], signal.SIGKILL):
            result = run(backend, plans[1])
        assert time.monotonic() - began < 5
        assert_same(result, references[1])
        assert result.reassigned >= 1
        wait_for(lambda: backend.tasks == 2)  # the task that Spark retries joins in
        assert_same(run(backend, plans[1]), references[1])


def test_a_worker_that_falls_silent_has_its_agents_trained_by_another_and_is_refused_when_it_comes_back(spark):
    plans = [plan(1), plan(2), plan(3)]
    references = expected(*plans)
    with SparkBackend(spark, Numpy(train_s=0.05), D, SETTINGS) as backend:
        assert_same(run(backend, plans[0]), references[0])
        pid = backend.worker_pids()[0]
        began = time.monotonic()
        with after(0.15, os.kill, pid, signal.SIGSTOP):
            result = run(backend, plans[1])
        assert time.monotonic() - began < 6
        assert_same(result, references[1])
        assert result.reassigned >= 1
        assert result.executors == 1
        with after(0.1, os.kill, pid, signal.SIGCONT):
            assert_same(run(backend, plans[2]), references[2])
        wait_for(lambda: backend.tasks == 2)  # its old stream is refused, so it comes back as a new arrival
        assert_same(run(backend, plans[2]), references[2])


@pytest.mark.slow
def test_an_executor_that_is_asked_to_leave_hands_in_what_it_has_done_and_the_round_is_the_same(
    spark, tmp_path, monkeypatch
):
    asked = tmp_path / "decommissioned"
    monkeypatch.setattr("neurogrid.backends.spark.LEAVING", str(asked))
    plans = [plan(1), plan(2)]
    references = expected(*plans)
    with SparkBackend(spark, Numpy(train_s=0.3), D, SETTINGS, LostPods(Nobody(), 60)) as backend:
        assert_same(run(backend, plans[0]), references[0])

        def ask_for_a_moment() -> None:
            asked.touch()
            wait_for(lambda: backend.tasks < 2)
            asked.unlink()

        with after(0.1, ask_for_a_moment):
            result = run(backend, plans[1])
        assert_same(result, references[1])
        wait_for(lambda: backend.tasks == 2)  # Spark tries the tasks that left again
        assert_same(run(backend, plans[1]), references[1])


class Nobody:
    """A cluster that is never asked anything."""

    def state(self, name, application):
        raise AssertionError(name)

    def remove(self, name):
        raise AssertionError(name)


def test_an_agent_that_kills_its_worker_each_time_is_lost_and_the_others_are_not(spark):
    (reference,) = expected(plan(1))
    with SparkBackend(spark, Numpy(), D, SETTINGS) as backend:
        for _ in range(3):
            result = run(backend, plan(1, ("poison", *AGENTS)))
            assert result.missing == {"poison": "lost"}
            assert_same(result, reference)


def test_more_tasks_than_free_slots_are_refused_with_the_numbers(spark):
    with pytest.raises(UsageError, match="3 resident tasks") as refusal:
        SparkBackend(spark, Numpy(), D, replace(SETTINGS, tasks=3)).__enter__()
    assert "2 free of 2" in str(refusal.value)


def test_a_trainer_that_cannot_be_made_ends_the_run_with_its_own_words(spark):
    with pytest.raises(RunError, match="no warehouse here"):
        SparkBackend(spark, Unfit(), D, SETTINGS).__enter__()


@pytest.mark.slow
def test_an_agent_that_hangs_is_late_and_the_backend_closes_within_seconds_all_the_same(spark):
    (reference,) = expected(plan(1))
    with SparkBackend(spark, Numpy(), D, replace(SETTINGS, lost_after_s=1.0)) as backend:
        result = run(backend, plan(1, (*AGENTS[:7], "hangs", *AGENTS[7:]), timeout_s=4.0))
        assert result.missing == {"hangs": "late"}
        assert result.risky == {"hangs"}
        assert_same(result, reference)
        assert_same(run(backend, plan(1)), reference)  # once what hangs has been replaced
        wait_for(lambda: backend.tasks == 2)
        backend.publish(5, reference.deltas[0])
        backend.submit(orders(["hangs", *AGENTS], "train", 1, 5, {}), 60.0)
        next(iter(backend.answers(10.0)))
        began = time.monotonic()
    assert time.monotonic() - began < 8


def test_ctrl_c_in_a_round_ends_the_tasks_within_seconds(spark):
    backend = SparkBackend(spark, Numpy(train_s=0.5), D, SETTINGS)
    with backend:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt), after(0.5, os.kill, os.getpid(), signal.SIGINT):
            run(backend, plan(1))
    assert time.monotonic() - began < 8
    assert not [t.name for t in threading.enumerate() if t.name.startswith("neurogrid")]
    assert not spark.sparkContext.statusTracker().getActiveStageIds()


SCRIPT = """
import os, signal, sys, time
sys.path.insert(0, {here!r})
from numpy_trainer import D, SETTINGS, Numpy, plan, run
from neurogrid.backends.pods import LostPods
from neurogrid.backends.spark import SparkBackend
from neurogrid.session import spark_session
with spark_session("exit", "local[2]", {{}}) as spark:
    with SparkBackend(spark, Numpy(), D, SETTINGS) as backend:
        run(backend, plan(1))
        pids = backend.worker_pids()
        print("port", backend._server.port, flush=True)
        os.kill(pids[0], signal.SIGSTOP)
        began = time.monotonic()
    print("closed_s", time.monotonic() - began, flush=True)
print("pids", *pids, flush=True)
"""


@pytest.mark.slow
def test_no_process_and_no_port_is_left_after_the_end_even_with_a_stopped_worker():
    script = SCRIPT.format(here=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert float(said["closed_s"]) < 6
    for pid in said["pids"].split():
        assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    assert not [c for c in psutil.net_connections("tcp") if c.laddr.port == int(said["port"]) and c.status == "LISTEN"]
