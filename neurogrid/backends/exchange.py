"""The Arrow Flight channel between the driver and its resident tasks: the messages, and the driver's end.

A task opens one DoExchange stream: over TLS with the driver's certificate pinned, with a bearer token in the
`authorization` header, checked in middleware. The command of the stream's descriptor is the hello, a JSON object:
`protocol`, `task` (partition), `attempt`, `pid`, `host`, `started` (when the process started, seconds since the epoch).
After it, each message is a JSON object in app_metadata (at most 1 MiB), some with a record batch beside it. Nothing on
the wire is pickled.

Driver to task, schema {weights: fixed_size_list<float32>[d]}:

    {"do": "train" | "evaluate", "ticket", "round", "work": [[index, agent], ...]}
                        train these agents, in this order. A batch of one row with the weights comes with the first
                        message of a ticket. A ticket is one call of `run` or `evaluate` and never used again.
    {"do": "return", "ticket", "agents": [index, ...]}  leave these to others, if they are still to be done
    {"do": "drop", "ticket"}    forget what is still to be done of this ticket: it has closed
    {"do": "stop"}      end the task, the training is over

Task to driver, schema {agent: int32, windows: int64, delta: fixed_size_list<float32>[d]}:

    {"say": "ready"}    the trainer is made, work may come
    {"say": "unfit", "reason"}  the trainer cannot be made here
    {"say": "beat", "ticket", "at": index | null}
                        still here, sent every `heartbeat_s` whatever the task does; `at` is the agent it is busy with
    {"say": "updates", "ticket", "began_s", "busy_s", "metrics": [{name: number}, ...], "held": [bool, ...],
     "ages_s": [seconds, ...], "failed": [[index, reason, retry], ...]}
                        a batch of deltas, one row an agent, and who gave none; `busy_s` is what all of them took,
                        `began_s` how long ago the ticket's weights were there, `ages_s` how long ago each one's
                        training ended
    {"say": "losses", "ticket", "busy_s", "losses": [[index, {name: number}], ...]}    the answer to "evaluate"
    {"say": "dropped", "ticket"}    the task is free again after a "drop"

The driver ends a stream for good by closing its TCP connection, because a stream whose task has fallen silent cannot
be ended in any other way from the server's side.
"""

import contextlib
import hmac
import ipaddress
import json
import queue
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import psutil
import pyarrow as pa
from pyarrow import flight

from neurogrid.backends.certificate import Certificate
from neurogrid.errors import UsageError
from neurogrid.fl.update import Matrix, Vector

PROTOCOL = 1
MAX_METADATA = 1 << 20
"""Most bytes of a message's JSON."""


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
        lost_after_s: a task that says nothing for so long is lost.
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


@dataclass(frozen=True)
class Hello:
    """Who opened a stream."""

    task: int
    attempt: int
    pid: int
    host: str
    started: float

    def to_json(self) -> bytes:
        """The command of the stream's descriptor."""
        return json.dumps({"protocol": PROTOCOL, **self.__dict__}).encode()

    @classmethod
    def from_json(cls, command: bytes) -> "Hello":
        """Inverse of `to_json`; raises ValueError on anything else."""
        raw = parse(command)
        if raw.pop("protocol", None) != PROTOCOL:
            raise ValueError(f"the task does not speak protocol {PROTOCOL}")
        try:
            return cls(int(raw["task"]), int(raw["attempt"]), int(raw["pid"]), str(raw["host"]), float(raw["started"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a hello: {error}") from None


def parse(metadata: Any) -> dict[str, Any]:
    """A message's JSON object; raises ValueError on anything else, and on one that is too large."""
    if metadata is None or len(metadata) > MAX_METADATA:
        raise ValueError("a message without metadata, or with more than 1 MiB of it")
    message = json.loads(bytes(metadata))
    if not isinstance(message, dict):
        raise ValueError("a message that is not a JSON object")
    return message


def down_schema(n_weights: int) -> pa.Schema:
    """Schema of what the driver sends."""
    return pa.schema([("weights", pa.list_(pa.float32(), n_weights))])


def up_schema(n_weights: int) -> pa.Schema:
    """Schema of what a task sends."""
    return pa.schema([("agent", pa.int32()), ("windows", pa.int64()), ("delta", pa.list_(pa.float32(), n_weights))])


def vectors_array(rows: Matrix) -> pa.Array:
    """(n, d) float32 as a fixed-size list column, without a copy."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def vectors(column: pa.Array, n_weights: int) -> Matrix:
    """Inverse of `vectors_array`: a read-only view. Raises ValueError when there are nulls or the width is another."""
    values = column.flatten()
    if column.null_count or values.null_count or len(values) != len(column) * n_weights:
        raise ValueError("vectors with nulls or of another width")
    rows: Matrix = values.to_numpy(zero_copy_only=True).reshape(len(column), n_weights)
    return rows


def weights_batch(weights: Vector) -> pa.RecordBatch:
    """The batch that brings a ticket's weights to a task."""
    schema = down_schema(weights.size)
    return pa.RecordBatch.from_arrays([vectors_array(weights.reshape(1, -1))], schema=schema)


class Stream:
    """The driver's end of one task's stream. Messages are queued here and written by a thread of the stream's own."""

    def __init__(self, hello: Hello, peer: str, port: int) -> None:
        self.hello = hello
        self.peer = peer
        self.was_cut = False
        self._port = port
        self._outbox: queue.SimpleQueue[tuple[dict[str, Any], pa.RecordBatch | None] | None] = queue.SimpleQueue()

    def send(self, message: Mapping[str, Any], batch: pa.RecordBatch | None = None) -> None:
        """Queues a message; never blocks."""
        self._outbox.put((dict(message), batch))

    def write_all(self, writer: Any) -> None:
        """Writes what is queued until `finish`; runs in a thread of its own. Ends silently when the stream breaks."""
        with contextlib.suppress(pa.ArrowException, OSError):
            while (item := self._outbox.get()) is not None:
                message, batch = item
                metadata = json.dumps(message).encode()
                if batch is None:
                    writer.write_metadata(metadata)
                else:
                    writer.write_with_metadata(batch, metadata)

    def finish(self) -> None:
        """Lets `write_all` end after what is queued."""
        self._outbox.put(None)

    def cut(self) -> None:
        """Closes the TCP connection under the stream, so that reads and writes on it end at once."""
        self.was_cut = True
        for connection in psutil.Process().net_connections("tcp"):
            if not connection.raddr or connection.laddr.port != self._port:
                continue
            if connection.raddr.port == _peer_port(self.peer) and _same_host(connection.raddr.ip, self.peer):
                with (
                    contextlib.suppress(OSError),
                    socket.fromfd(connection.fd, connection.family, connection.type) as s,
                ):
                    s.shutdown(socket.SHUT_RDWR)


def _peer_port(peer: str) -> int:
    tail = peer.rsplit(":", 1)[-1]
    return int(tail) if tail.isdigit() else -1


def _same_host(ip: str, peer: str) -> bool:
    return ip.removeprefix("::ffff:") in peer.replace("%5B", "").replace("%5D", "")


class Host(Protocol):
    """What the server calls, from the threads of the streams."""

    def arrived(self, stream: Stream) -> None:
        """A task has said hello. Raises ValueError to refuse it."""
        ...

    def received(self, stream: Stream, message: dict[str, Any], batch: pa.RecordBatch | None) -> None:
        """A message has come. Raises ValueError to end the stream."""
        ...

    def left(self, stream: Stream) -> None:
        """The stream has ended, for whatever reason."""
        ...


class _TokenCheck(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    def __init__(self, token: str) -> None:
        super().__init__()
        self._expected = f"Bearer {token}".encode()

    def start_call(self, info: Any, headers: Mapping[str, list[str]]) -> None:
        given = [value for name, values in headers.items() if name.lower() == "authorization" for value in values]
        if len(given) != 1 or not hmac.compare_digest(given[0].encode(), self._expected):
            raise flight.FlightUnauthenticatedError("not a task of this run")


class ExchangeServer(flight.FlightServerBase):  # type: ignore[misc]
    """The driver's Flight server. It listens as soon as it is made; `close` ends it.

    Args:
        address: where to listen; port 0 takes a free port, see `port`.
        certificate: its names are those under which tasks reach it; None is no TLS, for the loopback interface only.
        token: what tasks must show.
        n_weights: d.
        host: what to do with the streams.
    """

    def __init__(
        self, address: tuple[str, int], certificate: Certificate | None, token: str, n_weights: int, host: Host
    ) -> None:
        self._host = host
        self._n_weights = n_weights
        self._streams: set[Stream] = set()
        self._lock = threading.Lock()
        if certificate is None and not ipaddress.ip_address(address[0]).is_loopback:
            raise ValueError(f"an exchange that listens on {address[0]} needs TLS")
        try:
            super().__init__(
                f"{'grpc+tls' if certificate else 'grpc'}://{address[0]}:{address[1]}",
                tls_certificates=[(certificate.pem, certificate.key_pem)] if certificate else None,
                middleware={"token": _TokenCheck(token)},
            )
        except (pa.ArrowException, OSError) as error:
            raise UsageError(
                f"the exchange cannot listen on {address[0]}, port {address[1] or 'any'}",
                found=str(error),
                fix="backend.bind_address must be an address of this machine; leave it out to find one",
            ) from error

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """One task's stream, from its hello to its end. Reads here, writes in a thread that it joins."""
        try:
            stream = Stream(Hello.from_json(descriptor.command), context.peer(), self.port)
            if reader.schema != up_schema(self._n_weights):
                raise ValueError(f"the task sends {reader.schema}")
            self._host.arrived(stream)
        except ValueError as error:
            raise flight.FlightServerError(f"refused: {error}") from None
        with self._lock:
            self._streams.add(stream)
        writer.begin(down_schema(self._n_weights))
        sender = threading.Thread(target=stream.write_all, args=(writer,), name="exchange-send", daemon=True)
        sender.start()
        try:
            self._read(stream, reader)
        except (pa.ArrowException, OSError, ValueError):
            stream.cut()  # a broken stream, or one that sends what it should not
        finally:
            self._host.left(stream)
            stream.finish()
            sender.join(timeout=1.0)
            if sender.is_alive():
                stream.cut()
                sender.join()
            with self._lock:
                self._streams.discard(stream)

    def _read(self, stream: Stream, reader: Any) -> None:
        with contextlib.suppress(StopIteration):
            while True:
                chunk = reader.read_chunk()
                self._host.received(stream, parse(chunk.app_metadata), chunk.data)

    def close(self) -> None:
        """Cuts the streams that are left and ends the server. Returns when no thread of it runs any more."""
        with self._lock:
            left = list(self._streams)
        for stream in left:
            stream.cut()
        self.shutdown()
        self.wait()


def copy_rows(target: Matrix, rows: list[int], source: Matrix, picked: list[int]) -> None:
    """Copies `source[picked]` to `target[rows]`: the only copy that is made of a delta on the driver."""
    for row, index in zip(rows, picked, strict=True):
        np.copyto(target[row], source[index])
