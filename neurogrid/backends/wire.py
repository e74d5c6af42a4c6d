"""What the driver and its tasks say to each other, and the strict reading of what a task says.

A task opens one Arrow Flight DoExchange stream, over TLS with the driver's certificate pinned, with a bearer token of
its own in the `authorization` header. The command of the stream's descriptor is the hello, a JSON object: `protocol`,
`attempt`, `pid`, `host`. After it, each message is a JSON object in app_metadata (at most 1 MiB), some with a record
batch beside it. Nothing on the wire is pickled.

Driver to task, schema {weights: fixed_size_list<float32>[d]}:

    {"do": "publish", "version", "keep": [version, ...]}
                        a batch of one row, the weights of this version, or of one for each candidate to vote on;
                        forget all others that are not to be kept
    {"do": "work", "orders": [[id, agent, kind, round, version, remembers], ...]}
                        carry these out, in this order, after those before
    {"do": "drop", "orders": [id, ...]}    nobody needs these any more: leave them out, and say so
    {"do": "stop"}      end the task, the training is over

Task to driver, schema {delta: fixed_size_list<float32>[d]}, or {payload: binary} where updates travel in a codec:

    {"say": "ready"}    the trainer is made, work may come
    {"say": "unfit", "reason"}  the trainer cannot be made here
    {"say": "answers", "answers": [...]}   what came of orders, each a list that begins with its id and a word:
        [id, "trained", took_s, age_s, held, windows, {name: number}]   its delta is the next row of the batch
        [id, "scored", took_s, age_s, held, windows, {name: number}]
        [id, "voted", took_s, age_s, held, [loss, ...]]   of each candidate; null is none that is a finite number
        [id, "failed", took_s, reason, retry]
        [id, "dropped"]
                        `took_s` is how long it took, `age_s` how long ago it ended
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from neurogrid.fl.claims import Claims, Refusal, ballot, claims, count, host, reason, seconds
from neurogrid.fl.order import Order
from neurogrid.fl.update import Matrix, Vector

PROTOCOL = 3
MAX_METADATA = 1 << 20
"""Most bytes of a message's JSON."""
_MOST_ID = 2**53
_FAILURES = ("failed: ", "wrong shape: ", "claims ")

Message = dict[str, Any]


@dataclass(frozen=True)
class Hello:
    """Who opened a stream, as it says itself."""

    attempt: int
    pid: int
    host: str

    def to_json(self) -> bytes:
        """The command of the stream's descriptor."""
        return json.dumps({"protocol": PROTOCOL, **self.__dict__}).encode()

    @classmethod
    def from_json(cls, command: bytes) -> "Hello":
        """Inverse of `to_json`; raises ValueError on anything else."""
        raw = parse(command)
        if raw.get("protocol") != PROTOCOL:
            raise ValueError(f"the task does not speak protocol {PROTOCOL}")
        attempt, pid, name = count(raw.get("attempt"), 2**31), count(raw.get("pid"), 2**31), host(raw.get("host"))
        if attempt is None or not pid or name is None:
            raise ValueError("not a hello")
        return cls(attempt, pid, name)


@dataclass(frozen=True, slots=True)
class Said:
    """What a task says came of one order.

    Attributes:
        order_id: of the order.
        outcome: what the agent claims, or why there is no answer; None when the order was dropped.
        delta: of an agent that trained.
        took_s, age_s: how long it took, and how long before the message it ended.
        held: whether the agent's shard is in the task's memory.
        retry: whether another task should try.
    """

    order_id: int
    outcome: Claims | Refusal | None
    delta: Vector | bytes | None = None
    took_s: float = 0.0
    age_s: float = 0.0
    held: bool = False
    retry: bool = False


def parse(metadata: Any) -> Message:
    """A message's JSON object; raises ValueError on anything else, and on one that is too large."""
    if metadata is None or len(metadata) > MAX_METADATA:
        raise ValueError("a message without metadata, or with more than 1 MiB of it")
    try:
        message = json.loads(bytes(metadata))
    except RecursionError:
        raise ValueError("a message of too many brackets") from None
    if not isinstance(message, dict):
        raise ValueError("a message that is not a JSON object")
    return message


def down_schema(n_weights: int) -> pa.Schema:
    """Schema of what the driver sends."""
    return pa.schema([("weights", pa.list_(pa.float32(), n_weights))])


def up_schema(n_weights: int, *, coded: bool = False) -> pa.Schema:
    """Schema of what a task sends."""
    if coded:
        return pa.schema([("payload", pa.binary())])
    return pa.schema([("delta", pa.list_(pa.float32(), n_weights))])


def rows_batch(rows: Matrix, schema: pa.Schema) -> pa.RecordBatch:
    """(n, d) float32 as a batch of one of the two schemas, without a copy."""
    # pa.array and to_numpy would load pandas first, which takes a second and much memory.
    values = pa.Array.from_buffers(pa.float32(), rows.size, [None, pa.py_buffer(rows)])
    column = pa.FixedSizeListArray.from_arrays(values, rows.shape[1])
    return pa.RecordBatch.from_arrays([column], schema=schema)


def rows_of(batch: pa.RecordBatch | None, n_weights: int, most: int) -> Matrix:
    """Inverse of `rows_batch`: a read-only view of at most `most` rows. Raises ValueError on any other batch.

    The lengths in a batch are its sender's; Arrow believes them until it is asked to check them.
    """
    if batch is None:
        return np.empty((0, n_weights), np.float32)
    if batch.num_columns != 1 or not 0 <= batch.num_rows <= most:
        raise ValueError(f"a batch of {batch.num_rows} rows, at most {most} are taken")
    batch.validate(full=True)
    column = batch.column(0)
    values = column.flatten()
    if column.null_count or values.null_count or len(values) != len(column) * n_weights:
        raise ValueError("vectors with nulls or of another width")
    flat = np.frombuffer(values.buffers()[1] or b"", np.float32, len(values), 4 * values.offset)
    return flat.reshape(len(column), n_weights)


def payloads_of(batch: pa.RecordBatch | None, most: int) -> list[bytes]:
    """Inverse of a batch of payloads: at most `most` of them, whatever is in them. Raises ValueError on any other."""
    if batch is None:
        return []
    if batch.num_columns != 1 or not 0 <= batch.num_rows <= most:
        raise ValueError(f"a batch of {batch.num_rows} rows, at most {most} are taken")
    batch.validate(full=True)
    column = batch.column(0)
    if column.null_count or not pa.types.is_binary(column.type):
        raise ValueError("payloads with nulls or of another type")
    return [value.as_py() for value in column]


def work(orders: Iterable[Order], serials: Mapping[int, int]) -> Message:
    """The message that hands out orders; `serials` says what versions are called on the wire."""
    return {"do": "work", "orders": [[o.id, o.agent, o.kind, o.round, serials[o.version], o.remembers] for o in orders]}


def answers(
    message: Mapping[str, Any], batch: pa.RecordBatch | None, n_weights: int, most: int, *, coded: bool = False
) -> list[Said]:
    """What a message of answers says, at most `most` of them. Raises ValueError when it is not one, as a whole."""
    raw = message.get("answers")
    if not isinstance(raw, list) or len(raw) > most:
        raise ValueError(f"answers that are not a list of at most {most}")
    rows: Iterator[Any] = iter(payloads_of(batch, most) if coded else rows_of(batch, n_weights, most))
    said = [_said(item, rows) for item in raw]
    if next(rows, None) is not None:
        raise ValueError("a batch of more rows than agents that trained")
    return said


def _said(item: Any, rows: Any) -> Said:
    match item:
        case [number, "trained" | "scored" as what, took, age, held, windows, metrics]:
            delta = next(rows, None) if what == "trained" else None
            if what == "trained" and delta is None:
                raise ValueError("a batch of fewer rows than agents that trained")
            return Said(_id(number), claims(windows, metrics), delta, _seconds(took), _seconds(age), held is True)
        case [number, "voted", took, age, held, losses]:
            return Said(_id(number), ballot(losses), None, _seconds(took), _seconds(age), held is True)
        case [number, "failed", took, why, retry]:
            words = reason(why)
            if not words.startswith(_FAILURES):  # other reasons are the driver's to give
                words = f"failed: {words}"
            return Said(_id(number), Refusal(words), took_s=_seconds(took), retry=retry is True)
        case [number, "dropped"]:
            return Said(_id(number), None)
    raise ValueError("an answer of an unknown form")


def _id(value: object) -> int:
    number = count(value, _MOST_ID)
    if number is None:
        raise ValueError("an order's id that is not a whole number")
    return number


def _seconds(value: object) -> float:
    found = seconds(value)
    if found is None:
        raise ValueError("a duration that is not a number of seconds")
    return found
