"""What a round is measured against: the same training in a bare loop, the same bytes over a bare loopback socket.

As many bare processes as the backend has tasks. They wait between their rounds, so that they can be measured in turn
with the backend's.
"""

import multiprocessing
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from types import TracebackType

import numpy as np

from neurogrid.fl.update import AgentId, TrainerFactory, Vector

_CONTEXT = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang


class BareTraining:
    """The agents' training without a backend: a loop in each of `processes` processes, nothing sent back."""

    def __init__(self, factory: TrainerFactory, agents: Sequence[AgentId], processes: int) -> None:
        self._processes, self._pipes = [], []
        for first in range(processes):
            ours, theirs = _CONTEXT.Pipe()
            process = _CONTEXT.Process(target=_train, args=(theirs, factory, tuple(agents[first::processes])))
            process.start()
            self._processes.append(process)
            self._pipes.append(ours)
        for pipe in self._pipes:
            pipe.recv()

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self._processes if process.pid is not None]

    def round(self, number: int, weights: Vector) -> float:
        """Seconds that the slowest process took for its agents."""
        for pipe in self._pipes:
            pipe.send((number, weights))
        return max(float(pipe.recv()) for pipe in self._pipes)

    def __enter__(self) -> "BareTraining":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()


def _train(pipe: Connection, factory: TrainerFactory, agents: Sequence[AgentId]) -> None:
    trainer = factory()
    pipe.send(None)
    while True:
        try:
            number, weights = pipe.recv()
        except EOFError:
            return
        began = time.perf_counter()
        for agent in agents:
            trainer.train(agent, number, weights)
        pipe.send(time.perf_counter() - began)


class BareExchange:
    """The bytes of a round over bare TCP sockets: weights down, deltas back into one matrix; no TLS, no framing."""

    def __init__(self, agents: int, n_weights: int, processes: int) -> None:
        self._weights = np.ones(n_weights, np.float32)
        self._deltas = np.zeros((agents, n_weights), np.float32)
        shares = [len(range(first, agents, processes)) for first in range(processes)]
        self._bounds = np.cumsum([0, *shares]).tolist()
        self._processes, self._sockets = [], []
        with socket.create_server(("127.0.0.1", 0)) as server:
            for share in shares:
                process = _CONTEXT.Process(target=_answer, args=(server.getsockname()[1], share, n_weights))
                process.start()
                self._processes.append(process)
                connection, _ = server.accept()  # one after another, so that each has its own share
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(connection)

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self._processes if process.pid is not None]

    def round(self) -> float:
        """Seconds from the first byte down to the last byte back, both ways with one thread a socket."""
        with ThreadPoolExecutor(len(self._sockets)) as pool:
            began = time.perf_counter()
            list(pool.map(self._exchange, range(len(self._sockets))))
            return time.perf_counter() - began

    def _exchange(self, index: int) -> None:
        connection = self._sockets[index]
        connection.sendall(self._weights.data.cast("B"))
        _fill(connection, self._deltas[self._bounds[index] : self._bounds[index + 1]])

    def __enter__(self) -> "BareExchange":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._sockets:
            connection.close()
        for process in self._processes:
            process.join()


def _fill(connection: socket.socket, rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bool:
    view = rows.reshape(-1).data.cast("B")
    filled = 0
    while filled < len(view):
        count = connection.recv_into(view[filled:])
        if count == 0:
            return False
        filled += count
    return True


def _answer(port: int, agents: int, n_weights: int) -> None:
    weights, delta = np.zeros(n_weights, np.float32), np.ones(n_weights, np.float32)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while _fill(connection, weights):
            for _ in range(agents):
                connection.sendall(delta.data.cast("B"))
