"""The driver's side with tasks in threads of this process, well-behaved ones and others; it does what Spark does."""

import contextlib
import itertools
import json
import threading
import time

import numpy as np
import pyarrow as pa
from pyarrow import flight

from neurogrid.backends.certificate import certificate_for
from neurogrid.backends.exchange import Exchange
from neurogrid.backends.resident import Invitation, reside
from neurogrid.backends.server import ExchangeServer
from neurogrid.backends.wire import Hello, rows_batch, up_schema
from neurogrid.fl.collect import Inbox, Rows, run_round
from neurogrid.fl.update import RoundPlan, Update

D = 4
HELLO = Hello(0, 1, "elsewhere")
ROWS = 3


class Trainer:
    """An agent called "hangs" never comes back, until `released` is set."""

    released = threading.Event()

    def train(self, agent, round_number, weights):
        if agent == "hangs":
            self.released.wait()
        return Update(agent, weights * round_number, len(agent), {"loss": 0.1 + 0.2, "other": 1.0})

    def evaluate(self, agent, weights):
        return {"loss": float(weights.sum()), "windows": 1}

    def holds(self, agent):
        return True


class Driver:
    """An exchange; a context manager. It starts a task again when it is replaced, as Spark does."""

    def __init__(self, encrypted=False, lease_s=0.5, rows=ROWS, trainer=Trainer):
        self.exchange = Exchange(D, rows, lease_s, 0.5, self._replace)
        self.certificate = certificate_for(["127.0.0.1"]) if encrypted else None
        self.server = ExchangeServer(("127.0.0.1", 0), self.certificate, D, self.exchange)
        self.location = f"{'grpc+tls' if encrypted else 'grpc'}://127.0.0.1:{self.server.port}"
        self.tokens = [f"token {number}" for number in range(40)]
        self.server.admit({token: number for number, token in enumerate(self.tokens)})
        self.trainer, self.rows, self.numbers = trainer, rows, itertools.count()
        self.tasks, self.replaced = [], []
        self.over = threading.Event()
        self.watch = threading.Thread(target=self._watch, args=(lease_s / 6,), daemon=True)
        self.watch.start()

    def invitation(self, **other):
        pem = self.certificate.pem if self.certificate else None
        return Invitation(self.location, pem, D, **{"rows": self.rows, "return_s": 0.5, **other})

    def invite(self, count=1):
        for _ in range(count):
            self._start(next(self.numbers))

    def _start(self, partition):
        task = threading.Thread(target=self._reside, args=(self.tokens[partition],), name="task", daemon=True)
        task.start()
        self.tasks.append(task)

    def _reside(self, token):
        with contextlib.suppress(RuntimeError):  # the driver is gone before one that hung
            reside(self.invitation(), self.trainer, 0, iter([token]))

    def _replace(self, stream):
        self.replaced.append(stream.partition)
        stream.cut()
        self._start(stream.partition)

    def _watch(self, every_s):
        while not self.over.wait(every_s):
            self.exchange.look()
            self.server.look()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.exchange.stop()
        Trainer.released.set()
        self.exchange.wait_empty(2.0)
        self.over.set()
        self.watch.join()
        self.server.close()
        for task in self.tasks:
            task.join()
        Trainer.released.clear()

    def train(self, agents=("A", "BB", "CCC", "D", "E"), timeout_s=10.0, round_number=2, **other):
        weights = np.arange(D, dtype=np.float32)
        return run_round(
            Inbox(self.exchange), RoundPlan(round_number, tuple(agents), weights, timeout_s, **other), Rows()
        )


class RawTask:
    """A task that says what the test wants it to. It says that it is ready, where it isn't told otherwise."""

    def __init__(self, driver, token=None, certificate=None, schema=None, command=None, ready=True):
        pem = certificate or (driver.certificate.pem if driver.certificate else None)
        trust = {"tls_root_certs": pem} if pem else {}
        self.client = flight.FlightClient(
            driver.location, generic_options=[("grpc.use_local_subchannel_pool", 1)], **trust
        )
        token = token or driver.tokens[next(driver.numbers)]
        options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())], timeout=30)
        descriptor = flight.FlightDescriptor.for_command(command or HELLO.to_json())
        self.writer, self.reader = self.client.do_exchange(descriptor, options)
        if schema is not False:
            self.writer.begin(schema or up_schema(D))
        if ready and schema is None and command is None:
            before = driver.exchange.joined
            self.say({"say": "ready"})
            wait_until(lambda: driver.exchange.joined > before)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.reader.cancel()
        with contextlib.suppress(pa.ArrowException, OSError):
            self.writer.close()
        self.client.close()

    def say(self, message, batch=None):
        metadata = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.writer.write_with_metadata(batch, metadata) if batch else self.writer.write_metadata(metadata)

    def hear(self):
        chunk = self.reader.read_chunk()
        return json.loads(bytes(chunk.app_metadata)), chunk.data

    def orders(self):
        """The next orders that it is handed."""
        while (message := self.hear()[0])["do"] != "work":
            pass
        return message["orders"]

    def is_refused(self):
        try:
            while True:
                self.hear()
        except (StopIteration, pa.ArrowException, OSError):
            return True


def rows(count, value=9.0):
    return rows_batch(np.full((count, D), value, np.float32), up_schema(D))


def trained(*ids, took_s=0.001, age_s=0.0, windows=1, metrics=None):
    return [[number, "trained", took_s, age_s, True, windows, metrics or {}] for number in ids]


def answers(*entries):
    return {"say": "answers", "answers": [each for entry in entries for each in entry]}


def wait_until(condition, timeout_s=5.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
