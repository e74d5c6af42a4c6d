"""The driver's Arrow Flight server: who may open a stream, what becomes of it, and its end at any moment.

A call is known from its first moment on, before anything is read from it, and one that doesn't say what it should in
time is cut. A stream is ended for good by closing its TCP connection, since Flight has no other way from the server's
side to end a call whose task says nothing.
"""

import contextlib
import hashlib
import ipaddress
import json
import queue
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import unquote

import psutil
import pyarrow as pa
from pyarrow import flight

from neurogrid.backends.certificate import Certificate
from neurogrid.backends.wire import Hello, Message, down_schema, parse, up_schema
from neurogrid.errors import UsageError

_HELLO_S = 10.0
"""A call that has not said who it is, in its schema, for so long is cut."""
_CUT_S = 0.2  # between two looks for connections that are left at the end
_NOT_OURS = "refused: not a task of this run, or one that was given up"


class Stream:
    """The driver's end of one task's stream. Messages are queued here and written by a thread of the stream's own."""

    def __init__(self, peer: str, port: int, partition: int) -> None:
        self.peer = peer
        self.partition = partition
        self.hello = Hello(0, 0, "")
        self.opened_s = time.monotonic()
        self.greeted = False
        self.was_cut = False
        self._port = port
        self._outbox: queue.SimpleQueue[tuple[Mapping[str, Any], pa.RecordBatch | None] | None] = queue.SimpleQueue()

    def send(self, message: Mapping[str, Any], batch: pa.RecordBatch | None = None) -> None:
        """Queues a message; never blocks."""
        self._outbox.put((message, batch))

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
        address = peer_address(self.peer)
        if address is not None:
            _close_connections(self._port, address)


def peer_address(peer: str) -> tuple[str, int] | None:
    """The address and port of a gRPC peer like `ipv4:10.0.0.1:5000` or `ipv6:%5B::1%5D:5000`; None of any other."""
    _, _, rest = unquote(peer).partition(":")
    name, _, port = rest.rpartition(":")
    try:
        return _plain(name.strip("[]")), int(port)
    except ValueError:
        return None


def _plain(ip: str) -> str:
    """One way of writing an address; an IPv4 one is that, though a socket shows it as IPv6."""
    address = ipaddress.ip_address(ip)
    return str(getattr(address, "ipv4_mapped", None) or address)


def _close_connections(port: int, remote: tuple[str, int] | None = None) -> int:
    """Shuts this process's connections on a port, all or the one to `remote`; returns how many there were."""
    found = 0
    for connection in psutil.Process().net_connections("tcp"):
        if not connection.raddr or connection.laddr.port != port or connection.fd < 0:
            continue
        if remote is None or (_plain(connection.raddr.ip), connection.raddr.port) == remote:
            found += 1
            with contextlib.suppress(OSError), socket.fromfd(connection.fd, connection.family, connection.type) as s:
                s.shutdown(socket.SHUT_RDWR)
    return found


class Host(Protocol):
    """What the server calls, from the threads of the streams."""

    def arrived(self, stream: Stream) -> None:
        """A task has said hello. Raises ValueError to refuse it."""
        ...

    def received(self, stream: Stream, message: Message, batch: pa.RecordBatch | None) -> None:
        """A message has come. Raises ValueError to end the stream."""
        ...

    def left(self, stream: Stream) -> None:
        """A stream that had arrived has ended, for whatever reason."""
        ...


class _Identity(flight.ServerMiddleware):  # type: ignore[misc]
    def __init__(self, partition: int) -> None:
        super().__init__()
        self.partition = partition


class _TokenCheck(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Knows tokens by their hashes, so that looking one up tells nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.partitions: Mapping[bytes, int] = {}

    def start_call(self, info: Any, headers: Mapping[str, list[str]]) -> _Identity:
        given = [value for name, values in headers.items() if name.lower() == "authorization" for value in values]
        partition = self.partitions.get(_digest(given[0].removeprefix("Bearer "))) if len(given) == 1 else None
        if partition is None:
            raise flight.FlightUnauthenticatedError("not a task of this run")
        return _Identity(partition)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class ExchangeServer(flight.FlightServerBase):  # type: ignore[misc]
    """Listens as soon as it is made; `close` ends it. Nobody has a token before `admit`.

    Args:
        address: where to listen; port 0 takes a free port, see `port`.
        certificate: its names are those under which tasks reach it; None is no TLS, for the loopback interface only.
        n_weights: d.
        host: what to do with the streams.
        coded: whether updates travel as payloads of a codec.
    """

    def __init__(
        self,
        address: tuple[str, int],
        certificate: Certificate | None,
        n_weights: int,
        host: Host,
        *,
        coded: bool = False,
    ) -> None:
        self._host = host
        self._schema = up_schema(n_weights, coded=coded)
        self._n_weights = n_weights
        self._streams: set[Stream] = set()
        self._lock = threading.Lock()
        self._tokens = _TokenCheck()
        self._closing = False
        if certificate is None and not ipaddress.ip_address(address[0]).is_loopback:
            raise ValueError(f"an exchange that listens on {address[0]} needs TLS")
        try:
            super().__init__(
                f"{'grpc+tls' if certificate else 'grpc'}://{address[0]}:{address[1]}",
                tls_certificates=[(certificate.pem, certificate.key_pem)] if certificate else None,
                middleware={"token": self._tokens},
            )
        except (pa.ArrowException, OSError) as error:
            raise UsageError(
                f"the exchange cannot listen on {address[0]}, port {address[1] or 'any'}",
                found=str(error),
                fix="backend.bind_address must be an address of this machine, and backend.port one that is free there; "
                "leave both out to find them",
            ) from error

    def admit(self, tokens: Mapping[str, int]) -> None:
        """From now on these tokens are taken, each that of a partition of the Spark job, and no others."""
        self._tokens.partitions = {_digest(token): partition for token, partition in tokens.items()}

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """One task's stream, from its first moment to its end. Reads here, writes in a thread that it joins."""
        stream = Stream(context.peer(), self.port, context.get_middleware("token").partition)
        sender = threading.Thread(target=stream.write_all, args=(writer,), name="exchange-send", daemon=True)
        arrived = refused = False
        with self._lock:
            self._streams.add(stream)
        try:
            stream.hello = Hello.from_json(descriptor.command)
            if self._closing or reader.schema != self._schema:
                raise ValueError("another schema")
            stream.greeted = True
            self._host.arrived(stream)
            arrived = True
            writer.begin(down_schema(self._n_weights))
            sender.start()
            self._read(stream, reader)
        except Exception:  # whatever is wrong with what a task sends is its end, and nothing of ours goes back to it
            refused = not arrived
            if arrived:
                stream.cut()
        finally:
            if arrived:
                self._host.left(stream)
            stream.finish()
            if sender.ident is not None:
                sender.join(timeout=1.0)
                if sender.is_alive():
                    stream.cut()
                    sender.join()
            with self._lock:
                self._streams.discard(stream)
        if refused:
            raise flight.FlightServerError(_NOT_OURS)

    def _read(self, stream: Stream, reader: Any) -> None:
        with contextlib.suppress(StopIteration):
            while True:
                chunk = reader.read_chunk()
                self._host.received(stream, parse(chunk.app_metadata), chunk.data)

    def look(self) -> None:
        """Cuts calls that have said nothing for too long."""
        with self._lock:
            silent = [s for s in self._streams if not s.greeted and time.monotonic() - s.opened_s > _HELLO_S]
        for stream in silent:
            stream.cut()

    def close(self) -> None:
        """Cuts all connections and ends the server. Returns when no thread of it runs any more."""
        self._closing = True
        ended = threading.Thread(target=self.shutdown, name="exchange-end", daemon=True)
        ended.start()
        while ended.is_alive():
            _close_connections(self.port)
            ended.join(_CUT_S)
        self.wait()
