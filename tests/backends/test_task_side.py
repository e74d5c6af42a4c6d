"""A task's own side of the exchange, with drivers that are not ours."""

import json
import threading
import time

import numpy as np
import pytest
from driving import HELLO, D, Driver, Trainer, wait_until
from pyarrow import flight

from neurogrid.backends.resident import Invitation, TaskStream, reside
from neurogrid.backends.wire import down_schema, rows_batch
from neurogrid.fl.claims import Claims
from neurogrid.fl.perform import Done
from neurogrid.fl.update import Update


@pytest.fixture
def driver():
    with Driver() as driver:
        yield driver


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
        publish = {"do": "publish", "version": 1, "keep": []}
        writer.write_with_metadata(
            rows_batch(np.ones((1, D), np.float32), down_schema(D)), json.dumps(publish).encode()
        )
        agents = (("A", 1), ("B", 1), ("C", 1), ("E", 0))
        orders = [[i, agent, "train", 1, version, 0] for i, (agent, version) in enumerate(agents)]
        writer.write_metadata(json.dumps({"do": "work", "orders": orders}).encode())
        while sum(count for count, _ in self.handed_in) < 3:
            chunk = reader.read_chunk()
            if json.loads(bytes(chunk.app_metadata))["say"] == "answers":
                self.handed_in.append((chunk.data.num_rows if chunk.data else 0, len(self.trained)))
        writer.write_metadata(b'{"do": "stop"}')

    def make_trainer(self):
        trainer = Trainer()
        train = trainer.train

        def slowly(agent, round_number, weights):
            if agent == "C":
                wait_until(lambda: self.handed_in)
            self.trained.append(agent)
            return train(agent, round_number, weights)

        trainer.train = slowly
        return trainer


def test_a_task_hands_in_what_it_has_while_the_next_agent_is_under_way():
    driver = ScriptedDriver()
    invitation = Invitation(f"grpc://127.0.0.1:{driver.port}", None, D, rows=9, return_s=0.5)
    try:
        assert list(reside(invitation, driver.make_trainer, 0, iter(["token"]))) == []
    finally:
        driver.shutdown()
    assert driver.handed_in == [(2, 2), (1, 3)]  # rows of a message, agents trained when it came


def test_a_task_trains_on_while_the_driver_does_not_read_and_ends_all_the_same(monkeypatch):
    monkeypatch.setattr("neurogrid.backends.resident._DRAIN_S", 0.2)
    server = DeafDriver()
    invitation = Invitation(f"grpc://127.0.0.1:{server.port}", None, LARGE, rows=1, return_s=0.5)
    done = Done(np.zeros(LARGE, np.float32), Claims(1, {}), True, False, 0.0, 0.0)
    try:
        with TaskStream(invitation, "token", HELLO) as stream:
            began = time.monotonic()
            stream._finished = [(number, done) for number in range(3)]
        assert time.monotonic() - began < 5
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("exchange-")]
    finally:
        server.may_end.set()
        server.shutdown()


def test_a_task_that_cannot_make_a_message_ends_with_the_reason(driver):
    done = Done(np.zeros(D + 1, np.float32), Claims(1, {}), True, False, 0.0, 0.0)
    with TaskStream(driver.invitation(), driver.tokens[0], HELLO) as stream:
        stream._finished = [(1, done)]
        with pytest.raises(ValueError, match="broadcast"):
            stream.work(Trainer())


def test_an_update_that_is_not_the_agents_own_is_none(driver):
    class Liar(Trainer):
        def train(self, agent, round_number, weights):
            update = super().train(agent, round_number, weights)
            return {"A": update, "BB": Update("A", update.delta, 1, {})}.get(agent, "no update")

    driver.trainer = Liar
    driver.invite()
    result = driver.train()
    assert [update.agent for update in result.updates] == ["A"]
    assert result.missing["BB"] == "wrong shape: the update is of agent A"
    assert result.missing["CCC"] == "wrong shape: the trainer returned str, not an Update"
