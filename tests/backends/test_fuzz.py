"""Anything that a holder of a token may send: only a refusal ever leaves, and nothing is taken that was not asked for.

Each case alters a message that would be right: bytes of the Arrow batch, values in the JSON, or both. By hand, with
more of them: NEUROGRID_FUZZ=100000 pytest tests/backends/test_fuzz.py
"""

import json
import os

import numpy as np
import pyarrow as pa
from driving import D, answers, trained

from neurogrid.backends.exchange import Exchange
from neurogrid.backends.server import Stream
from neurogrid.backends.wire import Hello, parse, rows_batch, up_schema
from neurogrid.fl.order import Missing, Order, Update
from neurogrid.randomness import generator

CASES = int(os.environ.get("NEUROGRID_FUZZ", "3000"))
ODD = [
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x" * 500,
    [],
    {},
    [[1]],
    {"a": 1},
]


def altered_json(random, message):
    """The message with one value somewhere in it replaced by an odd one, or left out."""
    message = json.loads(json.dumps(message))
    node = message
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return message
        key = keys[random.integers(len(keys))]
        if isinstance(node[key], list | dict) and random.random() < 0.8:
            node = node[key]
            continue
        if random.random() < 0.2:
            del node[key]
        else:
            node[key] = ODD[random.integers(len(ODD))]
        return message


def altered_batch(random, batch):
    """The batch with bytes of its message altered; None when Arrow itself no longer takes it for one."""
    raw = bytearray(batch.serialize().to_pybytes())
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(8, len(raw)))
        size = min(int(random.choice([1, 4, 8])), len(raw) - at)
        raw[at : at + size] = int(random.choice([0, 1, 255, 2**15, 2**31 - 1])).to_bytes(8, "little")[:size]
    try:
        return pa.ipc.read_record_batch(pa.py_buffer(bytes(raw)), up_schema(D))
    except Exception:
        return None


def written(ids):
    """A batch whose rows say for which order they were written."""
    return rows_batch(np.repeat(np.array(ids, np.float32)[:, None], D, axis=1), up_schema(D))


class Deaf(Stream):
    """A stream whose messages are looked at, not sent."""

    def __init__(self):
        super().__init__("", 0, 0)
        self.hello, self.sent = Hello(0, 1, "a"), []

    def send(self, message, batch=None):
        self.sent.append(message)

    def ids(self):
        return [order[0] for message in self.sent if message["do"] == "work" for order in message["orders"]]


def one_case(random):
    exchange = Exchange(D, 3, 60.0, 60.0, print)
    stream = Deaf()
    exchange.arrived(stream)
    exchange.received(stream, {"say": "ready"}, None)
    exchange.publish(0, np.ones(D, np.float32))
    exchange.submit([Order(number, f"A{number}", "train", 1, 0) for number in range(1, 7)], 60.0)
    sent, whole = 0, True
    for _ in range(3):
        fresh = stream.ids()[sent : sent + 3]
        sent += len(fresh)
        message, batch = answers(trained(*fresh)), written(fresh) if fresh else None
        if random.random() < 0.7:
            message = altered_json(random, message)
        if batch is not None and random.random() < 0.5:
            batch, whole = altered_batch(random, batch), False
        try:
            exchange.received(stream, parse(json.dumps(message).encode()), batch)
        except (ValueError, pa.ArrowException):
            exchange.left(stream)
            break
    exchange.left(stream)
    with exchange._changed:
        exchange._leases.expire(exchange._leases.next_deadline)
        exchange._settle()
    given = stream.ids()
    heard = list(exchange.answers(0.0))
    assert sorted(answer.order.id for answer in heard) == [1, 2, 3, 4, 5, 6]
    assert all(isinstance(answer, Missing) or answer.order.id in given for answer in heard)
    for answer in heard:
        if isinstance(answer, Update):
            assert answer.delta.shape == (D,)
            assert answer.delta.dtype == np.float32
            assert not whole or (answer.delta == answer.order.id).all()
            answer.delta.tobytes()  # readable, all of it
    return sum(isinstance(answer, Update) for answer in heard)


def test_only_a_refusal_leaves_and_each_agent_is_answered_or_missing_and_never_both():
    random = generator(int(os.environ.get("NEUROGRID_FUZZ_SEED", "1")), "fuzz")
    taken = sum(one_case(random) for _ in range(CASES))
    assert taken > CASES / 5  # enough messages are right, or right enough
