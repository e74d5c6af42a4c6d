"""The task's side of the exchange: runs in a Spark task for the whole training, trains what the driver hands it.

The protocol is described in exchange.py. A task reads in one thread, tells that it lives in another, sends its deltas
in a third, so that it need not wait for a driver that is busy, and trains in its main thread. When its stream breaks
(the driver gave it up, or the network did) it comes back as a new arrival with the shards it has in memory; when it
cannot, it fails, and Spark tries the task again elsewhere.
"""

import contextlib
import itertools
import json
import queue
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from pyarrow import flight
from pyspark import TaskContext

from neurogrid.backends.answers import failure, figures, misnamed, misshapen
from neurogrid.backends.exchange import Hello, down_schema, parse, up_schema, vectors, vectors_array
from neurogrid.backends.memory import keep_freed_memory, return_freed_memory
from neurogrid.fl.update import AgentId, Trainer, TrainerFactory, Update, Vector

_FLUSH_S = 0.4
"""Deltas of so much work are handed in, though others could share their message."""
_ASK_S = 0.005
"""Deltas of so much work are handed in when the last agent in hand is begun."""
_QUEUED = 2  # messages of deltas that may wait to be sent; each holds up to batch_bytes of memory
_DRAIN_S = 10.0  # for what is queued to be sent, when a task leaves
_CLIENT_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own, so that it can be cut alone
    ("grpc.enable_http_proxy", 0),  # a proxy for the world outside knows nothing of the driver
]


@dataclass(frozen=True)
class Invitation:
    """What a task needs to join its driver. Travels in the Spark job's closure, never on the exchange.

    Attributes:
        location: `grpc+tls://host:port`, or `grpc://` on the loopback interface.
        certificate: PEM of the driver's certificate, the only one that is trusted; None is no TLS.
        token: shown to the driver.
        n_weights: d.
        heartbeat_s: seconds between two signs of life.
        rows: most deltas in a message.
        return_s: how long a task whose stream broke tries to come back.
        leaving: a file that is there when the executor is to leave: the task hands in what it has done, and ends.
            Empty is none.
    """

    location: str
    certificate: bytes | None = field(repr=False)
    token: str = field(repr=False)
    n_weights: int
    heartbeat_s: float
    rows: int
    return_s: float
    leaving: str = ""


class StreamBroken(Exception):  # noqa: N818 - not an error of the user's
    """The stream to the driver has ended without a word."""


class Leaving(Exception):  # noqa: N818 - not an error of the user's
    """The executor has been told to leave; Spark tries the task again on another."""


def reside(invitation: Invitation, factory: TrainerFactory, partition: int, _: Iterator[Any]) -> Iterator[int]:
    """The body of a resident task: `functools.partial` of it goes to mapPartitionsWithIndex."""
    keep_freed_memory()
    context = TaskContext.get()
    attempt = context.attemptNumber() if context is not None else 0
    process = psutil.Process()
    hello = Hello(partition, attempt, process.pid, socket.gethostname(), process.create_time())
    trainer: Trainer | None = None
    broken_since: float | None = None
    while True:
        try:
            with TaskStream(invitation, hello) as stream:
                if trainer is None:
                    try:
                        trainer = factory()
                    except Exception as error:
                        # The driver says it; failing here would only have Spark try the same three times more.
                        stream.say({"say": "unfit", "reason": failure(error)})
                        return iter(())
                stream.say({"say": "ready"})
                broken_since = None
                stream.work(trainer)
            return_freed_memory()  # Spark keeps this process for other tasks
            return iter([partition])
        except (StreamBroken, pa.ArrowException, OSError) as error:
            broken_since = broken_since or time.monotonic()
            if time.monotonic() - broken_since > invitation.return_s:
                raise RuntimeError(f"the driver at {invitation.location} is not there any more") from error
            time.sleep(0.1)


class TaskStream:
    """A task's end of its stream, from hello to stop. A context manager."""

    def __init__(self, invitation: Invitation, hello: Hello) -> None:
        self._invitation = invitation
        self._hello = hello
        self._inbox: queue.SimpleQueue[tuple[dict[str, Any], pa.RecordBatch | None] | None] = queue.SimpleQueue()
        self._outbox: queue.Queue[_Updates | None] = queue.Queue(_QUEUED)
        self._write_lock = threading.Lock()
        self._closed = threading.Event()
        self._failure: Exception | None = None  # of the thread that sends
        self._dropped = 0  # the newest ticket that the driver has closed
        self._stopping = False
        self._leaving = False
        self._returned: dict[tuple[int, int], int] = {}  # (ticket, index) of agents left to others: said in message ...
        self._at: tuple[int, int | None] = (0, None)  # the agent under way
        self._updates = _Updates(0, 0.0)  # what is to be handed in

    def __enter__(self) -> "TaskStream":
        invitation = self._invitation
        trust = {"tls_root_certs": invitation.certificate} if invitation.certificate else {}
        self._client = flight.FlightClient(invitation.location, generic_options=_CLIENT_OPTIONS, **trust)
        try:
            options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {invitation.token}".encode())])
            descriptor = flight.FlightDescriptor.for_command(self._hello.to_json())
            self._writer, self._reader = self._client.do_exchange(descriptor, options)
            self._writer.begin(up_schema(invitation.n_weights))
        except BaseException:
            self._client.close()
            raise
        self._threads = [
            threading.Thread(target=self._read, name="exchange-read", daemon=True),
            threading.Thread(target=self._beat, name="exchange-beat", daemon=True),
            threading.Thread(target=self._send, name="exchange-send", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        # All threads end before the reader and the writer go: they must not be used after that.
        self._drain()
        self._closed.set()
        with contextlib.suppress(pa.ArrowException, OSError), self._write_lock:
            self._writer.done_writing()
        self._threads[0].join(timeout=2.0)
        if self._threads[0].is_alive():
            self._reader.cancel()
        for thread in self._threads:
            thread.join()
        with contextlib.suppress(pa.ArrowException, OSError):
            self._writer.close()
        self._client.close()

    def say(self, message: dict[str, Any], batch: pa.RecordBatch | None = None) -> None:
        """Sends a message; raises when the stream is broken."""
        metadata = json.dumps(message).encode()
        with self._write_lock:
            if batch is None:
                self._writer.write_metadata(metadata)
            else:
                self._writer.write_with_metadata(batch, metadata)

    def hand_in(self, updates: "_Updates") -> None:
        """Queues updates; waits only while as many are before them as may wait. What cannot be sent is lost."""
        self._outbox.put(updates)

    def work(self, trainer: Trainer) -> None:
        """Does what the driver says until it says stop. Raises StreamBroken when the driver says nothing more."""
        weights: Vector | None = None
        while True:
            item = self._inbox.get()
            if self._leaving:
                self._flush()
                raise Leaving("the executor is leaving; the driver hands what is left to others")
            if item is None:
                raise self._failure or StreamBroken
            message, batch = item
            if batch is not None:
                # A copy: the trainer may want to wrap it in a tensor, and what Arrow owns is read-only.
                self._returned.clear()
                weights = vectors(batch.column(0), self._invitation.n_weights)[0].copy()
                self._updates = _Updates(message["ticket"], time.perf_counter())
            if message["do"] == "stop":
                return
            if message["do"] == "drop":
                self.say({"say": "dropped", "ticket": message["ticket"]})
            elif weights is not None:
                {"train": self._train, "evaluate": self._evaluate}[message["do"]](trainer, message, weights)
                self._at = (0, None)

    def _train(self, trainer: Trainer, message: dict[str, Any], weights: Vector) -> None:
        ticket, round_number = message["ticket"], message["round"]
        for place, (index, agent) in enumerate(message["work"], start=1):
            if self._over(ticket) or self._leaving:
                return
            if self._returned.get((ticket, index), 0) > message["number"]:
                continue  # left to others after it was handed to us
            self._at = (ticket, index)
            if place == len(message["work"]) and self._inbox.empty():
                # There is no other behind it here: while it is trained, the driver hears that and hands us more.
                self._flush(after_s=_ASK_S)
            began = time.perf_counter()
            update, held, reason, retry = _train_one(trainer, agent, round_number, weights)
            ended = time.perf_counter()
            self._updates.busy_s += ended - began
            if update is None:
                self._updates.failed.append([index, reason, retry])
            else:
                self._updates.done.append(_Done(index, update, held, ended))
            if len(self._updates.done) == self._invitation.rows:
                self._flush()
            else:
                self._flush(after_s=_FLUSH_S)
        if self._inbox.empty():
            self._flush()

    def _flush(self, after_s: float = 0.0) -> None:
        """Hands in what there is, if it took `after_s` of work."""
        updates = self._updates
        if (updates.done or updates.failed) and updates.busy_s >= after_s:
            self._updates = _Updates(updates.ticket, updates.began_s)
            self.hand_in(updates)

    def _evaluate(self, trainer: Trainer, message: dict[str, Any], weights: Vector) -> None:
        ticket = message["ticket"]
        losses: list[list[Any]] = []
        began = time.perf_counter()
        for index, agent in message["work"]:
            if self._over(ticket):
                return
            if self._returned.get((ticket, index), 0) > message["number"]:
                continue  # left to others after it was handed to us
            self._at = (ticket, index)
            try:
                metrics = trainer.evaluate(agent, weights)
            except Exception:
                metrics = None
            losses.append([index, None if misnamed(metrics) else figures(metrics or {})])
        busy_s = time.perf_counter() - began
        self.say({"say": "losses", "ticket": ticket, "busy_s": busy_s, "losses": losses})

    def _over(self, ticket: int) -> bool:
        return self._stopping or self._closed.is_set() or ticket <= self._dropped

    def _read(self) -> None:
        try:
            if self._reader.schema != down_schema(self._invitation.n_weights):
                raise ValueError("the driver sends another schema")
            for number in itertools.count(1):
                chunk = self._reader.read_chunk()
                message = parse(chunk.app_metadata) | {"number": number}
                if message["do"] == "drop":
                    self._dropped = message["ticket"]
                elif message["do"] == "return":
                    self._returned.update({(message["ticket"], index): number for index in message["agents"]})
                    continue
                elif message["do"] == "stop":
                    self._stopping = True
                self._inbox.put((message, chunk.data))
        except (StopIteration, pa.ArrowException, OSError, ValueError):
            self._closed.set()
            self._inbox.put(None)

    def _drain(self) -> None:
        sender = self._threads[-1]
        try:
            self._outbox.put(None, timeout=_DRAIN_S)
            sender.join(_DRAIN_S)
        except queue.Full:
            pass
        if sender.is_alive():
            self._reader.cancel()  # ends a write to a driver that does not read
            self._outbox.put(None)

    def _send(self) -> None:
        while (item := self._outbox.get()) is not None:
            if self._closed.is_set():
                continue  # nobody hears it, but who fills the queue must not wait
            try:
                self.say(*item.message(self._invitation.n_weights))
            except Exception as error:  # raised in the main thread: a task that cannot send must not go on beating
                self._failure = error
                self._closed.set()
                self._inbox.put(None)

    def _beat(self) -> None:
        with contextlib.suppress(pa.ArrowException, OSError):
            while not self._closed.wait(self._invitation.heartbeat_s):
                ticket, index = self._at
                self.say({"say": "beat", "ticket": ticket, "at": index})
                if self._invitation.leaving and not self._leaving and Path(self._invitation.leaving).exists():
                    self._leaving = True
                    self._inbox.put(None)


@dataclass(frozen=True)
class _Done:
    """What an agent gave; `ended_s` is when its training ended."""

    index: int
    update: Update
    held: bool
    ended_s: float


@dataclass
class _Updates:
    """What agents gave, on its way into one message; `began_s` is when the ticket's weights were here."""

    ticket: int
    began_s: float
    busy_s: float = 0.0
    done: list[_Done] = field(default_factory=list)
    failed: list[list[Any]] = field(default_factory=list)

    def message(self, n_weights: int) -> tuple[dict[str, Any], pa.RecordBatch | None]:
        """The message, which says how old each delta is by now. The deltas are copied into one column."""
        now = time.perf_counter()
        message = {
            "say": "updates",
            "ticket": self.ticket,
            "began_s": now - self.began_s,
            "busy_s": self.busy_s,
            "metrics": [figures(done.update.metrics) for done in self.done],
            "held": [done.held for done in self.done],
            "ages_s": [now - done.ended_s for done in self.done],
            "failed": self.failed,
        }
        if not self.done:
            return message, None
        # Fresh memory for each message: gRPC may still read the last one's.
        deltas = np.empty((len(self.done), n_weights), np.float32)
        for row, done in zip(deltas, self.done, strict=True):
            np.copyto(row, done.update.delta)
        columns = [
            pa.array([done.index for done in self.done], pa.int32()),
            pa.array([int(done.update.windows) for done in self.done], pa.int64()),
            vectors_array(deltas),
        ]
        return message, pa.RecordBatch.from_arrays(columns, schema=up_schema(n_weights))


def _train_one(
    trainer: Trainer, agent: AgentId, round_number: int, weights: Vector
) -> tuple[Update | None, bool, str, bool]:
    """The update and whether the shard is held; or None, with the reason and whether another task should try."""
    try:
        update = trainer.train(agent, round_number, weights)
        held = bool(trainer.holds(agent))
    except Exception as error:  # whatever an agent's code raises costs its update, not the round
        return None, False, failure(error), True
    reason = misshapen(update, agent, weights.size)
    return (update, held, "", False) if reason is None else (None, False, reason, False)
