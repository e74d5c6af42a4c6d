"""Independent tasks as one Spark job, whose results the driver reads as JSON of a declared type.

PySpark unpickles what tasks return, and so would run the code of whoever has taken one over. Here a task writes JSON,
the driver gets its bytes as they are, and takes a result only if its size, its type and what it is about are right.
"""

import base64
import json
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import PlainValidator, TypeAdapter

from neurogrid.errors import RunError

if TYPE_CHECKING:
    from pyspark import SparkContext

T = TypeVar("T")
R = TypeVar("R")
MOST_BYTES = 256 << 20
"""Of a result, and of an array in it. All of a job together are bounded by Spark: `spark.driver.maxResultSize`."""
_MOST_DIGITS = 18  # of an integer, so that it fits into 64 bits
_MOST_SAID = 200


def run_tasks(
    context: "SparkContext",
    items: Sequence[T],
    work: Callable[[T], R],
    result: TypeAdapter[R],
    belongs: Callable[[T, R], bool],
    tasks: int = 0,
) -> list[R]:
    """Applies `work` to each item in Spark and returns the results in the order of the items.

    Args:
        context: of an open session.
        items: at least one; they are pickled on their way to the tasks.
        work: runs in a task. Its result is a dataclass, or lists, tuples and dicts of dataclasses, numbers, strings,
            moments and arrays.
        result: its type; fields with arrays are declared with `array_of`.
        belongs: whether a result is one of this item, as far as the driver can tell.
        tasks: how many there are, each with items that follow one another; 0 is one an item.

    Raises:
        RunError: a task has returned something else.
    """
    job = context.parallelize(list(enumerate(items)), tasks or len(items)).map(partial(_answered, work))
    # PySpark's own sign that what tasks return are bytes already: nothing of it is unpickled here.
    job._bypass_serializer = True
    answers = job.collect()
    found: dict[int, R] = {}
    try:
        for at, answer in enumerate(answers):
            answers[at] = b""
            number, value = _read(answer, result)
            if number in found or not 0 <= number < len(items):
                raise ValueError(f"a result of item {number}, which was not the task's")
            if not belongs(items[number], value):
                raise ValueError(f"a result that cannot be of item {number}")
            found[number] = value
        if len(found) < len(items):
            raise ValueError(f"{len(found)} results of {len(items)} items")
    except (ValueError, TypeError, RecursionError) as error:  # pydantic's errors are ValueErrors
        raise RunError(
            "a Spark task has returned something else than it was asked for",
            found=" ".join(str(error).split())[:_MOST_SAID],
            fix="look at the executors' logs: another version runs there, or somebody has changed a task",
        ) from error
    return [found[number] for number in range(len(items))]


def _answered(work: Callable[[T], R], item: tuple[int, T]) -> bytes:
    number, own = item
    return json.dumps([number, work(own)], default=plain).encode()


def _read(answer: bytes, result: TypeAdapter[R]) -> tuple[int, R]:
    if len(answer) > MOST_BYTES:
        raise ValueError(f"a result of {len(answer):,} bytes, more than {MOST_BYTES:,}")
    raw = json.loads(answer, parse_int=_integer)
    if not isinstance(raw, list) or len(raw) != 2 or not isinstance(raw[0], int):
        raise ValueError("not the number of an item and its result")
    return raw[0], result.validate_python(raw[1])


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def plain(value: object) -> Any:
    """What JSON lacks, for `json.dumps`: dataclasses, moments, numpy's numbers and arrays."""
    if is_dataclass(value):
        return vars(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, np.ndarray):
        # Counts are zeros for the most part, and Spark bounds what a job may return.
        content = zlib.compress(value.astype(value.dtype.newbyteorder("<")).tobytes(), 1)
        return {"shape": value.shape, "zlib": base64.b64encode(content).decode()}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def array_of(dtype: npt.DTypeLike) -> PlainValidator:
    """For `Annotated`: arrays of this type, as `plain` writes them."""
    return PlainValidator(partial(_array, np.dtype(dtype).newbyteorder("<")))


def _array(dtype: "np.dtype[Any]", value: Any) -> npt.NDArray[Any]:
    if not isinstance(value, dict) or value.keys() != {"shape", "zlib"}:
        raise ValueError("not an array")
    shape = value["shape"]
    if not isinstance(shape, list) or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"an array of shape {shape!r:.80}")
    size = math.prod(shape) * dtype.itemsize
    if size > MOST_BYTES:
        raise ValueError(f"an array of shape {shape!r:.80}")
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(base64.b64decode(value["zlib"], validate=True), size + 1)
    except zlib.error as error:
        raise ValueError(f"an array that cannot be unpacked: {error}") from error
    if len(content) != size or not unpacking.eof:
        raise ValueError(f"an array of shape {shape!r:.80} of another size")
    found: npt.NDArray[Any] = np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    return found
