"""The exchange between driver and tasks, with tasks in threads of this process, well-behaved ones and others."""

import contextlib
import struct
import threading
import time

import numpy as np
import pyarrow as pa
import pytest
from driving import HELLO, ROWS, D, Driver, RawTask, Trainer, answers, rows, trained, wait_until
from pyarrow import flight

from neurogrid.backends.certificate import certificate_for
from neurogrid.backends.exchange import Exchange
from neurogrid.backends.resident import Invitation
from neurogrid.backends.server import ExchangeServer, Stream, peer_address
from neurogrid.backends.wire import MAX_METADATA, Hello, rows_of, up_schema
from neurogrid.errors import RunError
from neurogrid.fl import lost
from neurogrid.fl.claims import Claims
from neurogrid.fl.collect import Inbox, score
from neurogrid.fl.order import Order


@pytest.fixture
def driver():
    with Driver() as driver:
        yield driver


@contextlib.contextmanager
def training(driver, *args, **kwargs):
    """A round under way; what it gave is in the list afterwards."""
    results = []
    thread = threading.Thread(target=lambda: results.append(driver.train(*args, **kwargs)))
    thread.start()
    yield results
    thread.join()


@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize("tasks", [1, 2])
def test_weights_go_down_and_deltas_come_back_bit_by_bit(encrypted, tasks):
    with Driver(encrypted) as driver:
        driver.invite(tasks)
        assert driver.exchange.wait_ready(tasks, 5.0) == tasks
        for round_number in (1, 2, 3):
            result = driver.train(round_number=round_number)
            assert [update.agent for update in result.updates] == ["A", "BB", "CCC", "D", "E"]
            assert (result.deltas == np.arange(D, dtype=np.float32) * round_number).all()
            assert [update.windows for update in result.updates] == [1, 2, 3, 1, 1]
            assert result.updates[0].metrics == {"loss": 0.1 + 0.2}
            assert result.bytes_up == 5 * D * 4
        found = score(Inbox(driver.exchange), ("A", "B"), 3, np.ones(D, np.float32), 10.0)
        assert found == dict.fromkeys(("A", "B"), Claims(1, {"loss": 4.0}))


def test_weights_that_a_task_has_are_not_sent_again(driver):
    driver.invite()
    assert driver.train(round_number=1).bytes_down == 4 * D
    score(Inbox(driver.exchange), ("A", "B"), 1, np.ones(D, np.float32), 10.0)
    driver.exchange.traffic()
    assert driver.train(round_number=1).bytes_down == 4 * D  # other weights under the same number
    driver.exchange.publish(0, np.arange(D, dtype=np.float32))
    assert driver.train(round_number=1).bytes_down == 0


def test_rows_survive_the_round_trip_of_a_slice():
    batch = rows(3).slice(1)
    assert rows_of(batch, D, 2).tolist() == [[9.0] * D] * 2
    with pytest.raises(ValueError, match="width"):
        rows_of(batch, D + 1, 2)
    with pytest.raises(ValueError, match="at most 1"):
        rows_of(batch, D, 1)


@pytest.mark.parametrize("token", ["another", "", "token"])
def test_a_wrong_token_is_refused(driver, token):
    with (
        pytest.raises(flight.FlightUnauthenticatedError, match="not a task"),
        RawTask(driver, token=token or " ", ready=False) as task,
    ):
        task.hear()


def test_a_client_without_tls_or_with_another_certificate_gets_nowhere():
    with Driver(encrypted=True) as driver:
        plain = flight.FlightClient(driver.location.replace("grpc+tls", "grpc"))
        with pytest.raises((pa.ArrowException, OSError)):
            list(plain.list_flights(options=flight.FlightCallOptions(timeout=3)))
        plain.close()
        other = certificate_for(["127.0.0.1"]).pem
        with pytest.raises(flight.FlightUnavailableError), RawTask(driver, certificate=other, ready=False) as task:
            task.hear()


def test_an_exchange_without_tls_listens_on_the_loopback_interface_only():
    with pytest.raises(ValueError, match="needs TLS"):
        ExchangeServer(("0.0.0.0", 0), None, D, Exchange(D, 3, 1.0, 1.0, print))


REFUSED = [
    b"{}",
    b"[]",
    b"not json",
    b"[" * 100_000,
    HELLO.to_json().replace(b'"protocol": 3', b'"protocol": 1'),
    Hello(0, -1, "host").to_json(),
    Hello(0, 1, "x/../../services/api").to_json(),
    Hello(0, 1, "x" * 300).to_json(),
    Hello(10**400, 1, "host").to_json(),
]


@pytest.mark.parametrize("command", REFUSED)
def test_a_task_that_does_not_speak_the_protocol_is_refused_and_told_nothing_of_the_driver(driver, command):
    with pytest.raises(flight.FlightServerError) as refusal, RawTask(driver, command=command) as task:
        task.hear()
    assert "refused: not a task of this run" in str(refusal.value)
    assert "Traceback" not in str(refusal.value)
    assert "neurogrid/" not in str(refusal.value)


def test_a_task_with_deltas_of_another_width_is_refused(driver):
    with pytest.raises(flight.FlightServerError, match="refused"), RawTask(driver, schema=up_schema(D + 1)) as task:
        task.hear()


def lying(lengths):
    """A batch of one row that says it has `lengths`: the row is there, the rest is other people's memory."""
    good = rows(1)
    raw = bytearray(good.serialize().to_pybytes())
    nodes = struct.pack("<4q", 1, 0, D, 0)  # of the list and of its values: length, nulls
    at = raw.find(nodes)
    assert at > 0
    raw[at : at + len(nodes)] = struct.pack("<4q", lengths, 0, lengths * D, 0)
    own = next(i for i in range(8, at) if raw[i : i + 8] == struct.pack("<q", 1))  # the batch's own length
    raw[own : own + 8] = struct.pack("<q", lengths)
    return pa.ipc.read_record_batch(pa.py_buffer(bytes(raw)), up_schema(D))


HOSTILE = [
    (b"not json", None),
    (b"[]", None),
    (b"[" * 100_000, None),
    (b'{"say": "' + b"x" * MAX_METADATA + b'"}', None),
    ({"say": "nonsense"}, None),
    ({"say": "ready"}, None),
    (answers(trained(1, 2)), rows(1)),
    (answers(trained(1)), rows(2)),
    (answers(trained(1)), None),
    (answers(trained(*range(1, ROWS + 2))), rows(ROWS + 1)),
    (answers([[number, "dropped"] for number in range(ROWS + 1)]), None),
    (answers([[1, "answered"]]), None),
    (answers([{"id": 1}]), None),
    ({"say": "answers", "answers": None}, None),
    (answers(trained("1")), rows(1)),
    (answers(trained(1, took_s="long")), rows(1)),
    (answers(trained(1, took_s=1.7e308)), rows(1)),
    (answers(trained(1, took_s=-1.0)), rows(1)),
    (answers(trained(1, age_s=float("nan"))), rows(1)),
    (answers([[10**400, "dropped"]]), None),
    (answers(trained(1)), lying(2)),
    (answers(trained(1)), lying(1000)),
    (answers(trained(1, 2, 3)), lying(3)),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_task_that_sends_what_it_should_not_is_lost_and_its_agents_are_trained_by_another(driver, number):
    message, batch = HOSTILE[number]
    with RawTask(driver) as bad:
        with training(driver) as results:
            bad.orders()
            bad.say(message, batch)
            driver.invite()
        assert bad.is_refused()
    assert len(results[0].updates) == 5
    assert (results[0].deltas == np.arange(D) * 2).all()


def test_an_answer_to_another_question_is_no_answer(driver):
    with RawTask(driver) as bad:
        with training(driver) as results:
            ((first, *_),) = bad.orders()
            bad.say(answers([[first, "scored", 0.0, 0.0, True, 1, {"loss": 0.0}]]))
            driver.invite()
        assert bad.is_refused()
    assert len(results[0].updates) == 5


def test_answers_of_agents_that_a_task_was_not_given_change_nothing_and_claims_cost_their_own_agent_only(driver):
    with RawTask(driver) as task, training(driver, agents=("A", "B", "C"), timeout_s=1.0) as results:
        ((first, *_),) = task.orders()
        task.say(answers(trained(first + 1, first + 1000)), rows(2))
        task.say(answers(trained(first, metrics={"loss": "low"})), rows(1))
        (second, *_), *_ = task.orders()
        # One message: the first of it counts, though the claims of the next are refused.
        task.say(answers(trained(second), trained(second + 1, windows=10**400)), rows(2, value=5.0))
    assert [update.agent for update in results[0].updates] == ["B"]
    assert (results[0].deltas == 5.0).all()
    assert results[0].missing["A"] == "wrong shape: metric loss is str, not a number"
    assert results[0].missing["C"].startswith("claims 1000")


def test_a_task_answers_for_an_agent_once(driver):
    with RawTask(driver) as task:
        with training(driver, agents=("A", "B"), timeout_s=1.0) as results:
            ((first, *_),) = task.orders()
            task.say(answers(trained(first), trained(first)), rows(2, value=1.0))
            task.say(answers(trained(first)), rows(1, value=2.0))
        assert [update.delta[0] for update in results[0].updates] == [1.0]


def test_a_token_is_good_for_one_stream_the_newest_and_for_no_older_attempt(driver):
    driver.invite()
    driver.exchange.wait_ready(1, 5.0)
    token = driver.tokens[next(driver.numbers)]
    with RawTask(driver, token=token, command=Hello(1, 1, "a").to_json(), ready=False) as first:
        wait_until(lambda: len(driver.exchange._tasks) == 2)
        with RawTask(driver, token=token, command=Hello(2, 1, "a").to_json(), ready=False) as second:
            assert first.is_refused()
            with RawTask(driver, token=token, command=Hello(1, 1, "a").to_json(), ready=False) as old:
                assert old.is_refused()
            second.say({"say": "ready"})
            wait_until(lambda: driver.exchange.ready == 2)


def test_tokens_of_a_job_that_is_over_are_refused(driver):
    before = driver.tokens[0]
    driver.server.admit({"new": 0})
    with pytest.raises(flight.FlightUnauthenticatedError), RawTask(driver, token=before, ready=False) as task:
        task.hear()


def test_one_hostile_task_answers_for_no_more_than_twice_its_share():
    class Slowly(Trainer):
        def train(self, agent, round_number, weights):
            time.sleep(0.01)
            return super().train(agent, round_number, weights)

    with Driver(trainer=Slowly) as driver:
        driver.invite(4)
        driver.exchange.wait_ready(4, 5.0)
        with RawTask(driver) as quick:

            def answer_at_once():
                with contextlib.suppress(pa.ArrowException, OSError, StopIteration):  # until the end
                    while True:
                        ids = [order[0] for order in quick.orders()]
                        for part in (ids[first : first + ROWS] for first in range(0, len(ids), ROWS)):
                            quick.say(answers(trained(*part)), rows(len(part), value=666.0))

            hostile = threading.Thread(target=answer_at_once)
            hostile.start()
            result = driver.train(agents=[f"A{i}" for i in range(100)])
            quick.reader.cancel()
            hostile.join()
    ours = int((result.deltas[:, 0] == 666.0).sum())
    assert len(result.updates) == 100
    assert 0 < ours <= 40


def test_a_task_that_goes_between_its_hello_and_the_drivers_answer_is_gone(driver):
    arrived = driver.exchange.arrived

    def slowly(stream):
        time.sleep(0.05)
        arrived(stream)

    driver.exchange.arrived = slowly
    for _ in range(20):
        with RawTask(driver, ready=False):
            pass
    wait_until(lambda: not driver.server._streams)
    assert driver.exchange.wait_empty(1.0)


def test_a_call_that_never_says_who_it_is_is_cut(driver, monkeypatch):
    monkeypatch.setattr("neurogrid.backends.server._HELLO_S", 0.2)
    with RawTask(driver, schema=False, ready=False) as silent:
        assert silent.is_refused()
    wait_until(lambda: not driver.server._streams)


@pytest.mark.parametrize("state", ["half open", "greeted", "ready", "in a round", "deaf"])
def test_the_exchange_closes_in_any_state(state):
    with Driver() as driver:
        schema = False if state == "half open" else None
        with RawTask(driver, schema=schema, ready=state not in {"half open", "greeted"}) as task:
            if state in {"in a round", "deaf"}:
                weights = np.ones(D, np.float32)
                driver.exchange.publish(0, weights)
                driver.exchange.submit([Order(10**6, "A", "train", 1, 0)], 60.0)
                if state == "in a round":
                    task.orders()
            else:
                time.sleep(0.1)
            began = time.monotonic()
            driver.server.close()
            assert time.monotonic() - began < 5


def test_a_task_that_falls_silent_is_replaced_and_refused_when_it_comes_back(driver):
    with RawTask(driver) as task:
        with training(driver) as results:
            task.orders()
            driver.invite()
        assert len(results[0].updates) == 5
        wait_until(lambda: driver.replaced == [0])
        with pytest.raises(ValueError, match="given up"):  # what it had sent before its stream was cut
            driver.exchange.received(Stream("", 0, 0), {"say": "ready"}, None)
        assert task.is_refused()
        wait_until(lambda: driver.exchange.ready == 2)


def test_an_agent_that_hangs_for_ever_costs_its_own_update_in_each_of_100_rounds_and_nothing_else():
    with Driver(lease_s=0.2) as driver:
        driver.invite(2)
        driver.exchange.wait_ready(2, 5.0)
        agents, slot = ("A", "BB", "hangs", "D", "E", "F"), {}
        for number in range(1, 101):
            plan = {"attempts": lost.attempts(slot), "left_alone": lost.left_alone(slot, number)}
            result = driver.train(agents, timeout_s=1.0, round_number=number, **plan)
            slot = lost.after_round(slot, result, number)
            assert set(result.missing) == {"hangs"}, number
            assert (result.deltas == np.arange(D) * np.float32(number)).all()
        assert len(slot["hangs"]) == 2


def test_what_was_finished_before_an_agent_hangs_is_handed_in(driver):
    class Hangs(Trainer):
        def train(self, agent, round_number, weights):
            if agent == "hangs":
                self.released.wait()
            return super().train(agent, round_number, weights)

    driver.trainer = Hangs
    driver.invite()
    driver.train(agents=("A", "B", "C"))  # it is known that they are quick
    result = driver.train(agents=("A", "B", "hangs"), timeout_s=0.4)
    assert [update.agent for update in result.updates] == ["A", "B"]


def test_a_round_without_any_task_ends_with_words(driver):
    with pytest.raises(RunError, match="no Spark task is left"):
        driver.train(timeout_s=30.0)


def test_a_caller_that_does_not_read_gets_no_more_than_a_few_messages_of_each_task(driver):
    driver.invite()
    driver.exchange.publish(0, np.ones(D, np.float32))
    driver.exchange.submit([Order(10**6 + i, f"A{i}", "train", 1, 0) for i in range(200)], 60.0)
    time.sleep(0.3)
    assert len(driver.exchange._answers) <= 6 * ROWS
    assert len(list(driver.exchange.answers(10.0))) == 200


def test_a_certificate_says_nothing_of_its_key():
    assert "PRIVATE" not in repr(certificate_for(["localhost", "10.0.0.1"]))
    assert "pem" not in repr(Invitation("grpc://x", b"pem", D, 1, 1.0))


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.1:5000", ("10.0.0.1", 5000)),
        ("ipv4:10.0.0.12:5000", ("10.0.0.12", 5000)),
        ("ipv6:%5B::1%5D:5000", ("::1", 5000)),
        ("ipv6:[::ffff:10.0.0.1]:5000", ("10.0.0.1", 5000)),
        ("unix:/tmp/x", None),
        ("", None),
    ],
)
def test_a_peer_is_one_address(peer, address):
    assert peer_address(peer) == address


def test_a_proxy_of_the_environment_does_not_stand_between_a_task_and_its_driver(driver, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    driver.invite()
    assert driver.exchange.wait_ready(1, 5.0) == 1
