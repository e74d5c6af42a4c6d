"""The task's side of the exchange: runs in a Spark task for the whole training, carries out what the driver hands it.

The protocol is described in wire.py. A task reads in one thread, hands in what is finished in another, and trains in
its main thread: whatever an agent does there, what was finished before it gets to the driver. When its stream breaks
(the driver gave it up, or the network did) it comes back as a new arrival with the shards it has in memory; when it
cannot, it fails, and Spark tries the task again elsewhere.
"""

import contextlib
import json
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import flight
from pyspark import TaskContext

from neurogrid.backends.memory import keep_freed_memory, return_freed_memory
from neurogrid.backends.wire import Hello, Message, down_schema, parse, rows_batch, rows_of, up_schema
from neurogrid.fl.claims import MOST_CANDIDATES, Claims, reason
from neurogrid.fl.perform import Done, perform
from neurogrid.fl.update import Matrix, Trainer, TrainerFactory, Vector
from neurogrid.fl.uplink import Uplink

_LINGER_S = 0.1
"""What is finished is handed in after so long at the latest, though others could share its message."""
_DRAIN_S = 10.0  # for what is finished to be sent, when a task leaves
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
        n_weights: d.
        rows: most answers in a message.
        return_s: how long a task whose stream broke tries to come back.
        leaving: a file that is there when the executor is to leave: the task hands in what it has done, and ends.
            Empty is none.
        uplink: how updates travel; None is as float32.
    """

    location: str
    certificate: bytes | None = field(repr=False)
    n_weights: int
    rows: int
    return_s: float
    leaving: str = ""
    uplink: Uplink | None = None


class StreamBroken(Exception):  # noqa: N818 - not an error of the user's
    """The stream to the driver has ended without a word."""


class Leaving(Exception):  # noqa: N818 - not an error of the user's
    """The executor has been told to leave; Spark tries the task again on another."""


def reside(invitation: Invitation, factory: TrainerFactory, _: int, tokens: Iterator[str]) -> Iterator[int]:
    """The body of a resident task: `functools.partial` of it goes to mapPartitionsWithIndex; the token is its own."""
    keep_freed_memory()
    context = TaskContext.get()
    hello = Hello(context.attemptNumber() if context is not None else 0, os.getpid(), socket.gethostname())
    token = next(tokens)
    trainer: Trainer | None = None
    broken_since: float | None = None
    while True:
        try:
            with TaskStream(invitation, token, hello) as stream:
                if trainer is None:
                    try:
                        trainer = factory()
                    except Exception as error:
                        # The driver says it; failing here would only have Spark try the same three times more.
                        stream.say({"say": "unfit", "reason": reason(f"{type(error).__name__}: {error}")})
                        return iter(())
                stream.say({"say": "ready"})
                broken_since = None
                stream.work(trainer)
            return_freed_memory()  # Spark keeps this process for other tasks
            return iter(())
        except (StreamBroken, pa.ArrowException, OSError) as error:
            broken_since = broken_since or time.monotonic()
            if time.monotonic() - broken_since > invitation.return_s:
                raise RuntimeError(f"the driver at {invitation.location} is not there any more") from error
            time.sleep(0.1)


class TaskStream:
    """A task's end of its stream, from hello to stop. A context manager."""

    def __init__(self, invitation: Invitation, token: str, hello: Hello) -> None:
        self._invitation = invitation
        self._token = token
        self._hello = hello
        self._changed = threading.Condition()
        self._orders: deque[list[Any]] = deque()  # id, agent, kind, round, version, remembers
        self._dropped: set[int] = set()
        self._weights: dict[int, Vector | Matrix] = {}
        self._finished: list[tuple[int, Done | None]] = []  # None is dropped
        self._ended: Exception | str = ""  # why no more is to be done: stop, leave, or what failed
        self._closing = False
        self._write_lock = threading.Lock()

    def __enter__(self) -> "TaskStream":
        invitation = self._invitation
        trust = {"tls_root_certs": invitation.certificate} if invitation.certificate else {}
        self._client = flight.FlightClient(invitation.location, generic_options=_CLIENT_OPTIONS, **trust)
        try:
            options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {self._token}".encode())])
            descriptor = flight.FlightDescriptor.for_command(self._hello.to_json())
            self._writer, self._reader = self._client.do_exchange(descriptor, options)
            self._writer.begin(up_schema(invitation.n_weights, coded=invitation.uplink is not None))
        except BaseException:
            self._client.close()
            raise
        self._read_thread = threading.Thread(target=self._read, name="exchange-read", daemon=True)
        self._send_thread = threading.Thread(target=self._send, name="exchange-send", daemon=True)
        self._read_thread.start()
        self._send_thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        # All threads end before the reader and the writer go: they must not be used after that.
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._send_thread.join(_DRAIN_S)
        if self._send_thread.is_alive():
            self._reader.cancel()  # ends a write to a driver that does not read
            self._send_thread.join()
        with contextlib.suppress(pa.ArrowException, OSError), self._write_lock:
            self._writer.done_writing()
        self._read_thread.join(timeout=2.0)
        if self._read_thread.is_alive():
            self._reader.cancel()
            self._read_thread.join()
        with contextlib.suppress(pa.ArrowException, OSError):
            self._writer.close()
        self._client.close()

    def say(self, message: Message, batch: pa.RecordBatch | None = None) -> None:
        """Sends a message; raises when the stream is broken."""
        metadata = json.dumps(message).encode()
        with self._write_lock:
            if batch is None:
                self._writer.write_metadata(metadata)
            else:
                self._writer.write_with_metadata(batch, metadata)

    def work(self, trainer: Trainer) -> None:
        """Does what the driver says until it says stop. Raises StreamBroken when the driver says nothing more."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._orders or self._ended)
                if self._ended:
                    break
                number, agent, kind, round_number, version, remembers = self._orders.popleft()
                weights = self._weights.get(version)
                if number in self._dropped:
                    self._dropped.discard(number)
                    weights = None
                # Nothing behind it: while it is trained, the driver hears what is finished, and hands us more.
                self._ripen()
            done = None
            if weights is not None:
                done = perform(trainer, kind, agent, round_number, weights, self._invitation.uplink, remembers)
            with self._changed:
                self._finished.append((number, done))
                self._ripen()
        if isinstance(self._ended, Exception):
            raise self._ended
        if self._ended == "leave":
            raise Leaving("the executor is leaving; the driver hands what is left to others")

    def _is_ripe(self) -> bool:
        return bool(self._finished) and (not self._orders or len(self._finished) >= self._invitation.rows)

    def _ripen(self) -> None:
        if self._is_ripe():
            self._changed.notify_all()

    def _end(self, why: Exception | str) -> None:
        with self._changed:
            self._ended = self._ended or why
            self._changed.notify_all()

    def _read(self) -> None:
        n_weights = self._invitation.n_weights
        try:
            if self._reader.schema != down_schema(n_weights):
                raise ValueError("the driver sends another schema")
            while True:
                chunk = self._reader.read_chunk()
                message = parse(chunk.app_metadata)
                with self._changed:
                    if message["do"] == "work":
                        self._orders.extend(message["orders"])
                        self._changed.notify_all()
                    elif message["do"] == "drop":
                        self._dropped = {order[0] for order in self._orders} & self._dropped.union(message["orders"])
                    elif message["do"] == "publish":
                        kept = {version: self._weights[version] for version in message["keep"]}
                        # A copy: the trainer may want to wrap it in a tensor, and what Arrow owns is read-only.
                        rows = rows_of(chunk.data, n_weights, MOST_CANDIDATES).copy()
                        self._weights = {**kept, message["version"]: rows[0] if len(rows) == 1 else rows}
                    else:
                        break
            self._end("stop")
        except (StopIteration, pa.ArrowException, OSError, ValueError):
            self._end(StreamBroken())

    def _send(self) -> None:
        rows = self._invitation.rows
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._closing or self._is_ripe(), _LINGER_S)
                    batch, self._finished = self._finished[:rows], self._finished[rows:]
                    if self._closing and not batch:
                        return
                if batch:
                    self.say(*_message(batch, self._invitation.n_weights))
                if self._invitation.leaving and Path(self._invitation.leaving).exists():
                    self._end("leave")
        except (pa.ArrowException, OSError):
            self._end(StreamBroken())
        except Exception as error:  # raised in the main thread: a task that cannot send is of no use
            self._end(error)


def _message(finished: list[tuple[int, Done | None]], n_weights: int) -> tuple[Message, pa.RecordBatch | None]:
    """What came of orders, as one message, which says how old each answer is by now; deltas in one column."""
    now = time.perf_counter()
    answers: list[list[Any]] = []
    deltas: list[Vector | bytes] = []
    for number, done in finished:
        if done is None:
            answers.append([number, "dropped"])
        elif isinstance(done.outcome, Claims) and done.outcome.losses:
            losses = [loss if math.isfinite(loss) else None for loss in done.outcome.losses]
            answers.append([number, "voted", done.took_s, now - done.ended_s, done.held, losses])
        elif isinstance(done.outcome, Claims):
            word = "scored" if done.delta is None else "trained"
            deltas += [] if done.delta is None else [done.delta]
            claims = done.outcome
            answers.append(
                [number, word, done.took_s, now - done.ended_s, done.held, claims.windows, dict(claims.metrics)]
            )
        else:
            answers.append([number, "failed", done.took_s, done.outcome.reason, done.retry])
    message: Message = {"say": "answers", "answers": answers}
    if not deltas:
        return message, None
    if isinstance(deltas[0], bytes):
        schema = up_schema(n_weights, coded=True)
        return message, pa.RecordBatch.from_arrays([pa.array(deltas, pa.binary())], schema=schema)
    # Fresh memory for each message: gRPC may still read the last one's.
    rows = np.empty((len(deltas), n_weights), np.float32)
    for row, delta in zip(rows, deltas, strict=True):
        np.copyto(row, delta)
    return message, rows_batch(rows, up_schema(n_weights))
