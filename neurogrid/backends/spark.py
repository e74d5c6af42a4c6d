"""Agents in resident tasks of one Spark job that lasts for the whole training: Spark places, hosts and retries the
tasks, exchange.py carries weights and deltas between them and the driver.

The job is started in a thread when the backend is entered. If it fails as a whole (one of its tasks has failed too
often) after it has been of use, it is submitted again.
"""

import contextlib
import os
import secrets
import signal
import socket
import threading
import time
import uuid
from functools import partial
from typing import Any

import numpy as np
import psutil
from pyspark import InheritableThread
from pyspark.sql import SparkSession

from neurogrid import job_errors
from neurogrid.backends.certificate import certificate_for
from neurogrid.backends.dispatch import Dispatcher
from neurogrid.backends.exchange import ExchangeServer, ExchangeSettings, Hello, Stream
from neurogrid.backends.memory import keep_freed_memory, return_freed_memory
from neurogrid.backends.pods import LEAVING, LostPods
from neurogrid.backends.resident import Invitation, reside
from neurogrid.errors import RunError, UsageError
from neurogrid.fl.update import AgentId, Matrix, Phases, RoundPlan, RoundResult, TrainerFactory, Update, Vector
from neurogrid.plural import plural

_BEATS = 6  # signs of life within lost_after_s
_MAX_ROWS = 50
_PAUSE_S = 0.5  # before a job is submitted again; Ctrl-C cancels Spark's jobs just before it reaches us
_PODS_S = 2.0  # between two looks at pods that have lost their tasks
_END_S = 10.0  # for what has been cancelled and killed to be gone


class SparkBackend:
    """Trains a round's agents in resident Spark tasks.

    Args:
        spark: the session; its free slots are all taken while the backend is entered.
        factory: makes the trainer in each task.
        n_weights: d.
        settings: how driver and tasks work together.
        pods: on Kubernetes, what replaces executors that are lost for good.
    """

    def __init__(
        self,
        spark: SparkSession,
        factory: TrainerFactory,
        n_weights: int,
        settings: ExchangeSettings,
        pods: LostPods | None = None,
    ) -> None:
        self._context = spark.sparkContext
        self._factory = factory
        self._n_weights = n_weights
        self._settings = settings
        self._pods = pods
        self._buffer: Matrix = np.empty((0, n_weights), np.float32)
        self._group = f"neurogrid-{uuid.uuid4().hex}"
        self._closing = threading.Event()
        self._processes: dict[tuple[str, int], Hello] = {}
        self._dispatcher: Dispatcher | None = None
        self._server: ExchangeServer | None = None
        self._threads: list[threading.Thread] = []
        self._job_error = ""

    def __enter__(self) -> "SparkBackend":
        """Starts the tasks and waits until they are ready, or some are when `join_timeout_s` has passed.

        Raises:
            UsageError: more tasks are asked for than there are free slots.
            RunError: the trainer cannot be made, or no task became ready in time.
        """
        keep_freed_memory()
        settings = self._settings
        tasks = self._tasks()
        self._closing.clear()
        rows = int(max(1, min(_MAX_ROWS, settings.batch_bytes // (4 * self._n_weights))))
        dispatcher = Dispatcher(self._n_weights, rows, settings.lost_after_s, settings.join_timeout_s)
        self._dispatcher = dispatcher
        try:
            invitation = self._listen(dispatcher, rows)
            self._start("neurogrid-job", partial(self._job, tasks, invitation))
            self._start("neurogrid-watch", self._watch)
            if self._pods is not None:
                self._start("neurogrid-pods", partial(self._watch_pods, self._pods))
            if not dispatcher.wait_ready(tasks, settings.join_timeout_s):
                raise RunError(
                    "no Spark task became ready to train agents",
                    found=self._job_error or f"waited {settings.join_timeout_s:g} s for {plural(tasks, 'task')}",
                    fix="look at the executors' logs, or give them more time with backend.join_timeout_s",
                )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def tasks(self) -> int:
        """How many tasks are ready."""
        return self._entered().ready

    def worker_pids(self) -> list[int]:
        """Process ids of the tasks on this machine."""
        return sorted(hello.pid for hello in list(self._processes.values()) if _process(hello) is not None)

    def run(self, plan: RoundPlan) -> RoundResult:
        """Trains the plan's agents. The result's deltas stay valid until the next call.

        Raises:
            RunError: no task is alive, and none comes back within `join_timeout_s`.
        """
        dispatcher = self._entered()
        if plan.weights.shape != (self._n_weights,):
            raise ValueError(f"weights are {plan.weights.shape}, the backend was made for ({self._n_weights},)")
        deltas = self._rows(len(plan.agents))
        began = time.perf_counter()
        ticket = dispatcher.run("train", plan.round, plan.agents, plan.weights, plan.timeout_s, deltas)
        updates: list[Update] = []
        for index in sorted(ticket.answers):
            row = len(updates)
            if row != index:  # somebody before it is missing: close the gap
                deltas[row] = deltas[index]
            answer = ticket.answers[index]
            updates.append(Update(plan.agents[index], deltas[row], answer.windows, answer.metrics))
        # What is sent while another task trains already is no part of the round's length.
        beyond_s = max(0.0, time.perf_counter() - began - ticket.train_s)
        send_s = min(ticket.send_s, beyond_s)
        return RoundResult(
            updates=tuple(updates),
            deltas=deltas[: len(updates)],
            missing={plan.agents[index]: reason for index, reason in sorted(ticket.queue.missing.items())},
            phases=Phases(send_s, ticket.train_s, beyond_s - send_s),
            bytes_down=ticket.bytes_down,
            bytes_up=ticket.bytes_up,
            executors=ticket.executors,
            reassigned=ticket.queue.reassigned,
            worked={plan.agents[index]: answer.worked for index, answer in ticket.answers.items()},
        )

    def evaluate(
        self, agents: tuple[AgentId, ...], weights: Vector, timeout_s: float
    ) -> dict[AgentId, dict[str, float]]:
        """`Trainer.evaluate` of each of `agents`, in their order; agents that failed or were late are left out."""
        ticket = self._entered().run("evaluate", 0, agents, weights, timeout_s, None)
        return {agents[index]: ticket.answers[index].metrics for index in sorted(ticket.answers)}

    def close(self) -> None:
        """Ends the tasks, the job and the server. Leaves no process of the training and no port; safe to call twice."""
        self._closing.set()
        if self._dispatcher is not None:
            self._dispatcher.stop()
            ended = self._dispatcher.wait_empty(self._settings.stop_grace_s)
            job = next((t for t in self._threads if t.name == "neurogrid-job"), None)
            if job is not None:
                if ended:
                    job.join(self._settings.stop_grace_s)
                if job.is_alive():
                    self._cancel()
        if self._server is not None:
            self._server.close()
            self._server = None
        for thread in self._threads:
            thread.join(_END_S)
        self._threads.clear()
        self._processes.clear()
        self._dispatcher = None
        self._buffer = np.empty((0, self._n_weights), np.float32)
        return_freed_memory()

    # The exchange.

    def _listen(self, dispatcher: Dispatcher, rows: int) -> Invitation:
        settings, local = self._settings, self._is_local()
        host = settings.driver_host or ("127.0.0.1" if local else self._context.getConf().get("spark.driver.host"))
        bind = settings.bind_address or ("127.0.0.1" if local else "0.0.0.0")  # noqa: S104 - guarded by TLS and token
        encrypted = settings.loopback_tls or not (local and bind == "127.0.0.1")
        certificate = certificate_for([host, "127.0.0.1", "localhost"]) if encrypted else None
        token = secrets.token_urlsafe(32)
        watched = _Watched(dispatcher, self._processes, self._pods)
        try:
            self._server = ExchangeServer((bind, settings.port), certificate, token, self._n_weights, watched)
        except OSError as error:
            raise RunError(
                f"cannot listen on {bind}:{settings.port} for the training's tasks",
                found=str(error),
                fix="choose another bind_address, or port 0 for any free one",
            ) from error
        return Invitation(
            location=f"{'grpc+tls' if encrypted else 'grpc'}://{host}:{self._server.port}",
            certificate=certificate.pem if certificate else None,
            token=token,
            n_weights=self._n_weights,
            heartbeat_s=settings.lost_after_s / _BEATS,
            rows=rows,
            return_s=settings.join_timeout_s,
            leaving="" if self._pods is None else LEAVING,
        )

    def _watch(self) -> None:
        dispatcher = self._entered()
        while not self._closing.wait(self._settings.lost_after_s / _BEATS):
            for stream in dispatcher.look():
                stream.cut()

    def _watch_pods(self, pods: LostPods) -> None:
        while not self._closing.wait(_PODS_S):
            pods.look()

    # The Spark job.

    def _job(self, tasks: int, invitation: Invitation) -> None:
        dispatcher = self._entered()
        body = partial(reside, invitation, self._factory)
        while not self._closing.is_set():
            before = dispatcher.joined
            try:
                self._context.setJobGroup(self._group, "NeuroGrid: agents of a training", interruptOnCancel=True)
                self._context.parallelize(range(tasks), tasks).mapPartitionsWithIndex(body).collect()
                reason = "the Spark job ended before the training"
            except Exception as error:  # py4j's errors have no common base that is worth naming
                reason = job_errors.reason(error)
            self._job_error = reason
            if dispatcher.joined == before:
                break  # nobody came: it would be the same again
            self._closing.wait(_PAUSE_S)
        dispatcher.job_ended(self._job_error)

    def _start(self, name: str, target: Any) -> None:
        thread = InheritableThread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _cancel(self) -> None:
        """Ends a job whose tasks do not end by themselves: cancelled in Spark, and killed where we can reach them."""
        with contextlib.suppress(Exception):  # a Spark that is gone already has ended the job
            self._context.cancelJobGroup(self._group)
        for hello in list(self._processes.values()):
            process = _process(hello)
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)  # also ends one that is stopped, which nothing else does

    def _tasks(self) -> int:
        """How many tasks to start; raises UsageError when there are fewer free slots.

        Executors that were asked for and are still on their way count: a task waits for its slot in Spark, and joins.
        """
        jsc = self._context._jsc.sc()
        profile = jsc.resourceProfileManager().defaultResourceProfile()
        tracker = self._context.statusTracker()
        deadline = time.monotonic() + (0 if self._is_local() else self._settings.join_timeout_s)
        while True:
            slots = jsc.maxNumConcurrentTasks(profile)
            stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
            busy = sum(stage.numActiveTasks for stage in stages if stage is not None)
            free = slots - busy
            wanted = self._settings.tasks or max(1, free, self._expected_slots() - busy)
            if wanted <= free:
                return int(wanted)
            if time.monotonic() >= deadline:
                if free > 0 and not self._settings.tasks:
                    return int(wanted)
                raise UsageError(
                    f"{plural(wanted, 'resident task')}, but not as many free Spark slots",
                    found=f"{free} free of {slots} on {self._context.master}",
                    fix=f"set backend.tasks to at most {free}, or give Spark more cores"
                    if free > 0
                    else "give Spark more cores",
                )
            time.sleep(0.5)

    def _expected_slots(self) -> int:
        """Slots of all executors that Spark was asked for, whether they are there yet or not."""
        conf = self._context.getConf()
        if self._is_local() or conf.get("spark.dynamicAllocation.enabled", "false") == "true":
            return 0
        each = int(conf.get("spark.executor.cores", "1")) // int(conf.get("spark.task.cpus", "1"))
        return each * int(conf.get("spark.executor.instances", "0"))

    def _is_local(self) -> bool:
        return bool(self._context.master.startswith("local"))

    def _entered(self) -> Dispatcher:
        if self._dispatcher is None:
            raise RunError("the Spark backend runs rounds only inside its `with` block")
        return self._dispatcher

    def _rows(self, agents: int) -> Matrix:
        # Kept from round to round: touching fresh memory costs more than the copies into it.
        if self._buffer.shape[0] < agents:
            self._buffer = np.empty((agents, self._n_weights), np.float32)
        return self._buffer[:agents]


class _Watched:
    """Passes the streams on to the dispatcher and remembers whose processes they are, to end them at the end."""

    def __init__(self, dispatcher: Dispatcher, processes: dict[tuple[str, int], Hello], pods: LostPods | None) -> None:
        self._processes = processes
        self._pods = pods
        self._dispatcher = dispatcher
        self.received = dispatcher.received

    def arrived(self, stream: Stream) -> None:
        if self._pods is not None:
            self._pods.arrived(stream.hello.host)
        self._dispatcher.arrived(stream)
        self._processes[stream.hello.host, stream.hello.pid] = stream.hello

    def left(self, stream: Stream) -> None:
        if self._dispatcher.stopping and not stream.was_cut:
            # Ended as it was told to: its process is Spark's again, and stays in Spark's pool of workers.
            self._processes.pop((stream.hello.host, stream.hello.pid), None)
        self._dispatcher.left(stream)
        if self._pods is not None:
            self._pods.left(stream.hello.host)


def _process(hello: Hello) -> psutil.Process | None:
    """The process that said hello, if it runs on this machine and is still the same one."""
    if hello.host != socket.gethostname():
        return None
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(hello.pid)
        if abs(process.create_time() - hello.started) < 0.1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None
