"""The exchange between driver and tasks, with tasks in threads of this process, well-behaved ones and others."""

import contextlib
import json
import threading
import time

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import flight

from neurogrid.backends.certificate import certificate_for
from neurogrid.backends.dispatch import Dispatcher
from neurogrid.backends.exchange import (
    MAX_METADATA,
    ExchangeServer,
    Hello,
    down_schema,
    up_schema,
    vectors,
    vectors_array,
    weights_batch,
)
from neurogrid.backends.resident import Invitation, TaskStream, _Done, _Updates, reside
from neurogrid.errors import RunError
from neurogrid.fl.update import Update

D = 4
HELLO = Hello(0, 0, 1, "elsewhere", 0.0)
TOKEN = "a token"


class Trainer:
    def train(self, agent, round_number, weights):
        return Update(agent, weights * round_number, len(agent), {"loss": 0.1 + 0.2, "nan": float("nan")})

    def evaluate(self, agent, weights):
        return {"loss": float(weights.sum()), "windows": 1}

    def holds(self, agent):
        return True


class Driver:
    def __init__(self, encrypted=True):
        self.dispatcher = Dispatcher(D, max_rows=3, lost_after_s=0.5, empty_after_s=0.5)
        self.certificate = certificate_for(["127.0.0.1"]) if encrypted else None
        self.server = ExchangeServer(("127.0.0.1", 0), self.certificate, TOKEN, D, self.dispatcher)
        scheme = "grpc+tls" if encrypted else "grpc"
        self.location = f"{scheme}://127.0.0.1:{self.server.port}"
        self.tasks = []

    def invite(self):
        pem = self.certificate.pem if self.certificate else None
        invitation = Invitation(self.location, pem, TOKEN, D, heartbeat_s=0.1, rows=3, return_s=0.5)
        task = threading.Thread(target=reside, args=(invitation, Trainer, 0, iter(())))
        task.start()
        self.tasks.append(task)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.dispatcher.stop()
        self.dispatcher.wait_empty(2.0)
        self.server.close()
        for task in self.tasks:
            task.join()

    def train(self, agents=("A", "BB", "CCC", "D", "E"), timeout_s=10.0, round_number=2):
        deltas = np.zeros((len(agents), D), np.float32)
        weights = np.arange(D, dtype=np.float32)
        return self.dispatcher.run("train", round_number, agents, weights, timeout_s, deltas)


@pytest.fixture
def driver():
    with Driver() as driver:
        yield driver


class RawTask:
    """A task that says what the test wants it to."""

    def __init__(self, driver, token=TOKEN, certificate=None, schema=None, command=None):
        pem = certificate or driver.certificate.pem
        self.client = flight.FlightClient(
            driver.location, tls_root_certs=pem, generic_options=[("grpc.use_local_subchannel_pool", 1)]
        )
        options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())], timeout=10)
        descriptor = flight.FlightDescriptor.for_command(command or HELLO.to_json())
        self.writer, self.reader = self.client.do_exchange(descriptor, options)
        self.writer.begin(schema or up_schema(D))

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

    def is_refused(self):
        try:
            while True:
                self.hear()
        except (StopIteration, pa.ArrowException, OSError):
            return True


def rows(agents, value=9.0, windows=1):
    deltas = np.full((len(agents), D), value, np.float32)
    columns = [pa.array(agents, pa.int32()), pa.array([windows] * len(agents), pa.int64()), vectors_array(deltas)]
    return pa.RecordBatch.from_arrays(columns, schema=up_schema(D))


def updates(ticket, count, **other):
    message = {"say": "updates", "ticket": ticket, "began_s": 0.1, "busy_s": 0.1, "metrics": [{}] * count}
    return {**message, "held": [True] * count, "ages_s": [0.0] * count, "failed": [], **other}


def wait_until(condition, timeout_s=5.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize("tasks", [1, 2])
def test_weights_go_down_and_deltas_come_back_bit_by_bit(encrypted, tasks):
    with Driver(encrypted) as driver:
        for _ in range(tasks):
            driver.invite()
        assert driver.dispatcher.wait_ready(tasks, 5.0) == tasks
        for round_number in (1, 2, 3):
            ticket = driver.train(round_number=round_number)
            assert sorted(ticket.answers) == [0, 1, 2, 3, 4]
            assert (ticket.deltas == np.arange(D, dtype=np.float32) * round_number).all()
            assert [ticket.answers[i].windows for i in range(5)] == [1, 2, 3, 1, 1]
            assert ticket.answers[0].metrics["loss"] == 0.1 + 0.2
            assert np.isnan(ticket.answers[0].metrics["nan"])
        losses = driver.dispatcher.run("evaluate", 0, ("A", "B"), np.ones(D, np.float32), 10.0, None)
        assert {i: a.metrics for i, a in losses.answers.items()} == {i: {"loss": 4.0, "windows": 1.0} for i in range(2)}


def test_vectors_survive_the_round_trip_of_a_slice():
    batch = rows([1, 2, 3]).slice(1)
    assert vectors(batch.column(2), D).shape == (2, D)
    with pytest.raises(ValueError, match="width"):
        vectors(batch.column(2), D + 1)


def test_a_wrong_token_is_refused(driver):
    with pytest.raises(flight.FlightUnauthenticatedError, match="not a task"), RawTask(driver, token="other") as task:
        task.hear()


def test_a_client_without_tls_or_with_another_certificate_gets_nowhere(driver):
    plain = flight.FlightClient(driver.location.replace("grpc+tls", "grpc"))
    with pytest.raises((pa.ArrowException, OSError)):
        list(plain.list_flights(options=flight.FlightCallOptions(timeout=3)))
    plain.close()
    other = certificate_for(["127.0.0.1"]).pem
    with pytest.raises(flight.FlightUnavailableError), RawTask(driver, certificate=other) as task:
        task.hear()


def test_an_exchange_without_tls_listens_on_the_loopback_interface_only():
    with pytest.raises(ValueError, match="needs TLS"):
        ExchangeServer(("0.0.0.0", 0), None, TOKEN, D, Dispatcher(D, 3, 1.0, 1.0))


@pytest.mark.parametrize(
    "command", [b"{}", b"[]", b"not json", HELLO.to_json().replace(b'"protocol": 1', b'"protocol": 2')]
)
def test_a_task_that_does_not_speak_the_protocol_is_refused(driver, command):
    with pytest.raises(flight.FlightServerError, match="refused"), RawTask(driver, command=command) as task:
        task.hear()


def test_a_task_with_deltas_of_another_width_is_refused(driver):
    with pytest.raises(flight.FlightServerError, match="refused"), RawTask(driver, schema=up_schema(D + 1)) as task:
        task.hear()


@pytest.mark.parametrize(
    ("message", "batch"),
    [
        (b"not json", None),
        (b"[]", None),
        (b'{"say": "' + b"x" * MAX_METADATA + b'"}', None),
        ({"say": "nonsense"}, None),
        (updates(1, 2), rows([0])),
        (updates(1, 0, held=None), None),
        (updates(1, 0, failed=[[1]]), None),
        (updates(1, 0, busy_s="long"), None),
        (updates(1, 0, began_s=-1.0), None),
        (updates(1, 1, ages_s=["young"]), rows([0])),
        (updates(1, 1, ages_s=[]), rows([0])),
    ],
)
def test_a_task_that_sends_what_it_should_not_is_lost_and_its_agents_are_trained_by_another(driver, message, batch):
    with RawTask(driver) as bad:
        bad.say({"say": "ready"})
        wait_until(lambda: driver.dispatcher.ready == 1)

        def misbehave():
            bad.hear()
            bad.say(message, batch)

        other = threading.Thread(target=misbehave)
        other.start()
        threading.Timer(0.3, driver.invite).start()
        ticket = driver.train()
        other.join()
        assert bad.is_refused()
    assert sorted(ticket.answers) == [0, 1, 2, 3, 4]
    assert (ticket.deltas == np.arange(D) * 2).all()


def test_updates_of_agents_that_a_task_was_not_given_and_of_other_rounds_change_nothing(driver):
    with RawTask(driver) as task:
        task.say({"say": "ready"})
        wait_until(lambda: driver.dispatcher.ready == 1)
        result = []
        trains = threading.Thread(target=lambda: result.append(driver.train(agents=("A", "B", "C"), timeout_s=1.0)))
        trains.start()
        message, batch = task.hear()
        assert batch.schema == down_schema(D)
        ticket, (index, _) = message["ticket"], message["work"][0]
        task.say(updates(ticket + 1, 1), rows([index]))
        task.say({"say": "losses", "ticket": ticket, "busy_s": 0.0, "losses": [[index, {"loss": 0.0}]]})
        task.say(updates(ticket, 3), rows([index + 2, -1, 1000]))
        task.say(updates(ticket, 1, metrics=[{"loss": "low"}]), rows([index]))
        trains.join()
    assert result[0].answers == {}
    assert not result[0].deltas.any()
    assert result[0].queue.missing == {0: "wrong shape: metric loss is str, not a number", 1: "late", 2: "late"}


@pytest.mark.parametrize(("agent_s", "behind"), [(0.01, True), (0.5, False)])
def test_the_last_agent_is_handed_out_behind_another_only_if_they_are_quick(driver, agent_s, behind):
    with RawTask(driver) as task:
        task.say({"say": "ready"})
        wait_until(lambda: driver.dispatcher.ready == 1)
        trains = threading.Thread(target=driver.train, kwargs={"agents": ("A", "B", "C", "D")})
        trains.start()
        answered = []

        def answer(index):
            answered.append(index)
            task.say(updates(1, 1, busy_s=agent_s), rows([index]))

        task.hear(), task.hear()  # one, and one behind it
        answer(0)
        assert task.hear()[0] == {"do": "train", "ticket": 1, "round": 2, "work": [[2, "C"]]}
        answer(1)
        later = threading.Timer(1.0, answer, [2])
        later.start()
        assert task.hear()[0]["work"] == [[3, "D"]]
        assert (2 not in answered) == behind
        later.join()
        answer(3)
        trains.join()


def test_a_task_that_falls_silent_is_given_up_and_refused_when_it_comes_back(driver):
    with RawTask(driver) as task:
        task.say({"say": "ready"})
        wait_until(lambda: driver.dispatcher.ready == 1)
        assert driver.dispatcher.look() == []
        silent = []
        deadline = time.monotonic() + 5
        while not silent and time.monotonic() < deadline:  # it has no work in hand, and is missed all the same
            silent = driver.dispatcher.look()
            time.sleep(0.05)
        assert driver.dispatcher.ready == 0
        silent[0].cut()
        assert task.is_refused()


def test_nobody_is_silent_while_the_driver_itself_stands_still(driver):
    with RawTask(driver) as task:
        task.say({"say": "ready"})
        wait_until(lambda: driver.dispatcher.ready == 1)
        driver.dispatcher.look()
        time.sleep(0.7)
        assert driver.dispatcher.look() == []


def test_a_round_without_any_task_ends_with_words(driver):
    with pytest.raises(RunError, match="no Spark task is left"):
        driver.train(timeout_s=30.0)


def test_a_certificate_says_nothing_of_its_key():
    assert "PRIVATE" not in repr(certificate_for(["localhost", "10.0.0.1"]))
    assert TOKEN not in repr(Invitation("grpc://x", b"pem", TOKEN, D, 1.0, 1, 1.0))


LARGE = 4 << 20  # weights, whose 16 MiB are far more than the channel holds


class DeafDriver(flight.FlightServerBase):
    """Takes streams and reads nothing from them."""

    def __init__(self):
        self.may_end = threading.Event()
        super().__init__("grpc://127.0.0.1:0")

    def do_exchange(self, context, descriptor, reader, writer):
        writer.begin(down_schema(LARGE))
        self.may_end.wait()


class ScriptedDriver(flight.FlightServerBase):
    """Hands out three agents and notes what comes back."""

    def __init__(self):
        super().__init__("grpc://127.0.0.1:0")
        self.trained = []
        self.handed_in = []

    def do_exchange(self, context, descriptor, reader, writer):
        writer.begin(down_schema(D))
        work = {"do": "train", "ticket": 1, "round": 1, "work": [[0, "A"], [1, "B"], [2, "C"]]}
        writer.write_with_metadata(weights_batch(np.ones(D, np.float32)), json.dumps(work).encode())
        while sum(count for count, _ in self.handed_in) < 3:
            chunk = reader.read_chunk()
            if json.loads(bytes(chunk.app_metadata))["say"] == "updates":
                self.handed_in.append((chunk.data.num_rows, len(self.trained)))
        writer.write_metadata(b'{"do": "stop"}')

    def make_trainer(self):
        trainer = Trainer()
        train = trainer.train

        def slowly(agent, round_number, weights):
            time.sleep(0.01)
            if agent == "C":
                wait_until(lambda: self.handed_in)
            self.trained.append(agent)
            return train(agent, round_number, weights)

        trainer.train = slowly
        return trainer


def test_a_task_hands_in_what_it_has_when_it_begins_the_last_agent_that_it_was_given():
    driver = ScriptedDriver()
    invitation = Invitation(f"grpc://127.0.0.1:{driver.port}", None, TOKEN, D, heartbeat_s=60, rows=9, return_s=0.5)
    try:
        assert list(reside(invitation, driver.make_trainer, 0, iter(()))) == [0]
    finally:
        driver.shutdown()
    assert driver.handed_in == [(2, 2), (1, 3)]  # rows of a message, agents trained when it came


def test_a_task_trains_on_while_the_driver_does_not_read_and_ends_all_the_same(monkeypatch):
    monkeypatch.setattr("neurogrid.backends.resident._DRAIN_S", 0.2)
    server = DeafDriver()
    invitation = Invitation(f"grpc://127.0.0.1:{server.port}", None, TOKEN, LARGE, heartbeat_s=60, rows=3, return_s=0.5)
    done = [_Done(0, Update("A", np.zeros(LARGE, np.float32), 1, {}), True, 0.0)]
    try:
        with TaskStream(invitation, HELLO) as stream:
            began = time.monotonic()
            for _ in range(3):  # one is being sent and does not get there, two wait
                stream.hand_in(_Updates(1, 0.0, done=done))
            assert time.monotonic() - began < 5
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("exchange-")]
    finally:
        server.may_end.set()
        server.shutdown()


def test_a_task_that_cannot_make_a_message_ends_with_the_reason(driver):
    invitation = Invitation(driver.location, driver.certificate.pem, TOKEN, D, heartbeat_s=60, rows=3, return_s=0.5)
    wrong = Update("A", np.zeros(D + 1, np.float32), 1, {})
    with TaskStream(invitation, HELLO) as stream:
        stream.hand_in(_Updates(1, 0.0, done=[_Done(0, wrong, True, 0.0)]))
        with pytest.raises(ValueError, match="broadcast"):
            stream.work(Trainer())
