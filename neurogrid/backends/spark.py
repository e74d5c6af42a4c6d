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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
from pyspark import InheritableThread
from pyspark.sql import SparkSession

from neurogrid import job_errors
from neurogrid.backends.certificate import certificate_for
from neurogrid.backends.exchange import Exchange
from neurogrid.backends.memory import keep_freed_memory, return_freed_memory
from neurogrid.backends.pods import LEAVING, LostPods
from neurogrid.backends.resident import Invitation, reside
from neurogrid.backends.server import ExchangeServer, Stream
from neurogrid.errors import RunError, UsageError
from neurogrid.fl.order import Answer, Order, Traffic
from neurogrid.fl.update import Matrix, TrainerFactory, Vector
from neurogrid.fl.uplink import Uplink
from neurogrid.plural import plural

_LOOKS = 6  # within lost_after_s
_MAX_ROWS = 50
_PAUSE_S = 0.5  # before a job is submitted again; Ctrl-C cancels Spark's jobs just before it reaches us
_PODS_S = 2.0  # between two looks at pods that have lost their tasks
_END_S = 2.0  # for what has been cancelled and killed to be gone


@dataclass(frozen=True)
class ExchangeSettings:
    """How the driver and its resident tasks work together.

    Attributes:
        tasks: resident tasks; 0 is one for each free slot.
        driver_host: name or address under which tasks reach the driver; empty is 127.0.0.1 on a local master and
            Spark's own `spark.driver.host` elsewhere.
        bind_address: address on which the driver listens; empty is 127.0.0.1 on a local master, 0.0.0.0 elsewhere.
        port: TCP port on which the driver listens; 0 is any free one.
        loopback_tls: whether to encrypt on a local master too, where the exchange never leaves this machine and TLS
            takes more time than all the rest of it; anywhere else it is always encrypted.
        lost_after_s: the shortest time without an answer after which what a task holds is offered to others too.
        join_timeout_s: at the start, how long to wait for all tasks (one is enough after that); later, how long a
            training goes on waiting when no task is alive.
        stop_grace_s: how long a task may take to end at the end, before it is killed.
        batch_bytes: most bytes of deltas in one message; at least one delta is sent.
    """

    tasks: int
    driver_host: str
    bind_address: str
    port: int
    loopback_tls: bool
    lost_after_s: float
    join_timeout_s: float
    stop_grace_s: float
    batch_bytes: int


class SparkBackend:
    """Trains a round's agents in resident Spark tasks.

    Args:
        spark: the session; its free slots are all taken while the backend is entered.
        factory: makes the trainer in each task.
        n_weights: d.
        settings: how driver and tasks work together.
        pods: on Kubernetes, what replaces executors that are lost for good.
        uplink: how updates travel; None is as float32.
    """

    def __init__(
        self,
        spark: SparkSession,
        factory: TrainerFactory,
        n_weights: int,
        settings: ExchangeSettings,
        pods: LostPods | None = None,
        uplink: Uplink | None = None,
    ) -> None:
        self._uplink = uplink
        self._context = spark.sparkContext
        self._factory = factory
        self._n_weights = n_weights
        self._settings = settings
        self._pods = pods
        self._group = f"neurogrid-{uuid.uuid4().hex}"
        self._closing = threading.Event()
        self._streams: set[Stream] = set()
        self._exchange: Exchange | None = None
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
        exchange = Exchange(
            self._n_weights,
            rows,
            settings.lost_after_s,
            settings.join_timeout_s,
            self._replace,
            coded=self._uplink is not None,
        )
        self._exchange = exchange
        try:
            self._server, invitation = self._listen(exchange, rows)
            self._start("neurogrid-job", partial(self._job, tasks, invitation, self._server))
            self._start("neurogrid-watch", partial(self._watch, exchange, self._server))
            if self._pods is not None:
                self._start("neurogrid-pods", partial(self._watch_pods, self._pods))
            if not exchange.wait_ready(tasks, settings.join_timeout_s):
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
        return sorted(process.pid for process in self._workers())

    def publish(self, version: int, weights: Vector | Matrix) -> None:
        """See `Backend`."""
        if weights.shape[-1:] != (self._n_weights,) or weights.ndim > 2:
            raise ValueError(f"weights are {weights.shape}, the backend was made for ({self._n_weights},)")
        self._entered().publish(version, weights)

    def submit(self, orders: Sequence[Order], deadline_s: float) -> None:
        """See `Backend`."""
        self._entered().submit(orders, deadline_s)

    def answers(self, until_s: float) -> Iterator[Answer]:
        """See `Backend`.

        Raises:
            RunError: no task is alive, and none comes back within `join_timeout_s`.
        """
        return self._entered().answers(until_s)

    def cancel(self, order_ids: Iterable[int]) -> None:
        """See `Backend`."""
        self._entered().cancel(order_ids)

    def traffic(self) -> Traffic:
        """See `Backend`."""
        return self._entered().traffic()

    def close(self) -> None:
        """Ends the tasks, the job and the server. Leaves no process of the training and no port; safe to call twice."""
        self._closing.set()
        if self._exchange is not None:
            self._exchange.stop()
            ended = self._exchange.wait_empty(self._settings.stop_grace_s)
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
        self._streams.clear()
        self._exchange = None
        return_freed_memory()

    # The exchange.

    def _listen(self, exchange: Exchange, rows: int) -> tuple[ExchangeServer, Invitation]:
        settings, local = self._settings, self._is_local()
        host = settings.driver_host or ("127.0.0.1" if local else self._context.getConf().get("spark.driver.host"))
        bind = settings.bind_address or ("127.0.0.1" if local else "0.0.0.0")  # noqa: S104 - guarded by TLS and token
        encrypted = settings.loopback_tls or not (local and bind == "127.0.0.1")
        certificate = certificate_for([host, "127.0.0.1", "localhost"]) if encrypted else None
        watched = _Watched(exchange, self._streams, self._pods)
        server = ExchangeServer(
            (bind, settings.port), certificate, self._n_weights, watched, coded=self._uplink is not None
        )
        return server, Invitation(
            location=f"{'grpc+tls' if encrypted else 'grpc'}://{host}:{server.port}",
            certificate=certificate.pem if certificate else None,
            n_weights=self._n_weights,
            rows=rows,
            return_s=settings.join_timeout_s,
            leaving="" if self._pods is None else LEAVING,
            uplink=self._uplink,
        )

    def _watch(self, exchange: Exchange, server: ExchangeServer) -> None:
        while not self._closing.wait(self._settings.lost_after_s / _LOOKS):
            exchange.look()
            server.look()

    def _watch_pods(self, pods: LostPods) -> None:
        while not self._closing.wait(_PODS_S):
            pods.look(self._context.applicationId)

    # The Spark job.

    def _job(self, tasks: int, invitation: Invitation, server: ExchangeServer) -> None:
        exchange = self._entered()
        body = partial(reside, invitation, self._factory)
        while not self._closing.is_set():
            before = exchange.joined
            # A token for each task, so that a stream answers for one task and no other.
            tokens = [secrets.token_urlsafe(32) for _ in range(tasks)]
            server.admit({token: partition for partition, token in enumerate(tokens)})
            try:
                self._context.setJobGroup(self._group, "NeuroGrid: agents of a training", interruptOnCancel=True)
                job = self._context.parallelize(tokens, tasks).mapPartitionsWithIndex(body)
                job._jrdd.count()  # counted by the JVM: what tasks return would be unpickled here
                reason = "the Spark job ended before the training"
            except Exception as error:  # py4j's errors have no common base that is worth naming
                reason = job_errors.reason(error)
            self._job_error = reason
            if exchange.joined == before:
                break  # nobody came: it would be the same again
            self._closing.wait(_PAUSE_S)
        exchange.job_ended(self._job_error)

    def _replace(self, stream: Stream) -> None:
        """Ends a task that is of no use any more; Spark ends its process and starts the task again."""
        stream.cut()
        with contextlib.suppress(Exception):  # it has ended by itself, or the job has
            for task in self._running_tasks():
                if task.index() == stream.partition:
                    # A task that was killed, unlike one that failed, doesn't count against the job.
                    self._context._jsc.sc().killTaskAttempt(task.taskId(), True, "it has answered nothing for too long")

    def _running_tasks(self) -> Iterator[Any]:
        """Tasks of the job that run, by Spark's own books."""
        tracker, store = self._context.statusTracker(), self._context._jsc.sc().statusStore()
        for job in tracker.getJobIdsForGroup(self._group):
            info = tracker.getJobInfo(job)
            for stage in [] if info is None or info.status != "RUNNING" else info.stageIds:
                attempt = store.lastStageAttempt(stage).attemptId()
                tasks = store.taskList(stage, attempt, 1 << 20)
                yield from (t for t in map(tasks.apply, range(tasks.size())) if t.status() == "RUNNING")

    def _start(self, name: str, target: Any) -> None:
        thread = InheritableThread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _cancel(self) -> None:
        """Ends a job whose tasks do not end by themselves: cancelled in Spark, and killed where we can reach them."""
        with contextlib.suppress(Exception):  # a Spark that is gone already has ended the job
            self._context.cancelJobGroup(self._group)
        for process in self._workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)  # also ends one that is stopped, which nothing else does

    def _workers(self) -> list[psutil.Process]:
        """The tasks' processes on this machine: those that a hello named, if Spark started them for us."""
        here = socket.gethostname()
        named = {stream.hello.pid for stream in list(self._streams) if stream.hello.host == here}
        return [process for process in psutil.Process().children(recursive=True) if process.pid in named]

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

    def _entered(self) -> Exchange:
        if self._exchange is None:
            raise RunError("the Spark backend runs agents only inside its `with` block")
        return self._exchange


class _Watched:
    """Passes the streams on to the exchange and remembers whose processes they are, to end them at the end."""

    def __init__(self, exchange: Exchange, streams: set[Stream], pods: LostPods | None) -> None:
        self._exchange, self._streams, self._pods = exchange, streams, pods
        self.received = exchange.received

    def arrived(self, stream: Stream) -> None:
        if self._pods is not None:
            self._pods.arrived(stream.hello.host)
        try:
            self._exchange.arrived(stream)
        except ValueError:
            if self._pods is not None:
                self._pods.left(stream.hello.host)
            raise
        self._streams.add(stream)

    def left(self, stream: Stream) -> None:
        if self._exchange.stopping and not stream.was_cut:
            # Ended as it was told to: its process is Spark's again, and stays in Spark's pool of workers.
            self._streams.discard(stream)
        self._exchange.left(stream)
        if self._pods is not None:
            self._pods.left(stream.hello.host)
