"""Results of Spark tasks: what comes back is what was made, and what a hostile task sends runs nothing here."""

import base64
import json
import os
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import AwareDatetime, TypeAdapter
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from neurogrid import tasks
from neurogrid.errors import RunError
from neurogrid.tasks import array_of, plain, run_tasks

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file


class Kind(StrEnum):
    """Of an example."""

    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True)
class Example:
    """Something of everything that results are made of."""

    name: str
    kind: Kind
    share: float
    when: AwareDatetime
    sums: Annotated[npt.NDArray[np.float64], array_of(np.float64)]
    few: Annotated[npt.NDArray[np.int32], array_of(np.int32)]
    counts: Counter[str] = field(default_factory=Counter)
    by_number: dict[int, tuple[int, ...]] = field(default_factory=dict)


def same(one: Example, other: Example) -> bool:
    lists = [{**vars(each), "sums": each.sums.tobytes(), "few": each.few.tobytes()} for each in (one, other)]
    shapes = [(each.sums.shape, each.sums.dtype, each.few.shape, each.few.dtype) for each in (one, other)]
    return repr(lists[0]) == repr(lists[1]).replace("TzInfo(0)", "datetime.timezone.utc") and shapes[0] == shapes[1]


EXAMPLES = st.builds(
    Example,
    name=st.text(st.characters(exclude_categories=["Cs"])),
    kind=st.sampled_from(Kind),
    share=st.floats(),
    when=st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0)),
    sums=arrays.arrays(np.float64, arrays.array_shapes(min_dims=0, min_side=0)),
    few=arrays.arrays(np.int32, arrays.array_shapes(min_side=0)),
    counts=st.builds(Counter, st.dictionaries(st.text("abc"), st.integers(0, 10**17))),
    by_number=st.dictionaries(st.integers(0, 99), st.lists(st.integers(-9, 9)).map(tuple)),
)


@given(EXAMPLES)
def test_every_bit_of_a_result_comes_back(example: Example) -> None:
    raw = json.loads(json.dumps(example, default=plain))
    assert same(example, TypeAdapter(Example).validate_python(raw))


def doubled(number: int) -> dict[str, int]:
    return {"double": 2 * number}


def is_double(number: int, result: dict[str, int]) -> bool:
    return result == {"double": 2 * number}


def run(spark: SparkSession, work: Callable[[int], Any], count: int = 5, parts: int = 2) -> list[dict[str, int]]:
    return run_tasks(spark.sparkContext, range(count), work, TypeAdapter(dict[str, int]), is_double, parts)


@pytest.mark.parametrize("parts", [0, 1, 2])
def test_results_come_in_the_order_of_the_items(spark: SparkSession, parts: int) -> None:
    assert run(spark, doubled, 5, parts) == [{"double": 2 * number} for number in range(5)]


def says(answers: dict[int, list[bytes]]) -> Callable[[int], Any]:
    """Work of a task that writes these bytes where it should have written an item's result."""

    def work(number: int) -> Any:
        from pyspark.serializers import FramedSerializer, NoOpSerializer

        def write(self: Any, answer: bytes, stream: Any) -> None:
            for each in answers.get(number, [answer]):
                FramedSerializer._write_with_length(self, each, stream)

        NoOpSerializer._write_with_length = write  # type: ignore[method-assign]
        return doubled(number)

    return work


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({0: [b"\x80\x04N."]}, "utf"),
        ({0: [b'[0, {"double": 0}']}, "delimiter"),
        ({0: [b"[" * 100_000]}, "recursion"),
        ({0: [b'[0, {"double": 1' + b"0" * 18 + b"}]"]}, "an integer of 19 digits"),
        ({0: [b'[0, {"double": "x"}]']}, "valid integer"),
        ({0: [b'[0, {"double": 1e300}]']}, "integer"),
        ({0: [b'[0, {"double": 1}]']}, "cannot be of item 0"),
        ({0: [b'[9, {"double": 18}]']}, "item 9, which was not the task's"),
        ({0: [b'[-1, {"double": 8}]']}, "item -1"),
        ({0: [b'[1, {"double": 2}]']}, "item 1, which was not the task's"),
        ({0: [b'{"double": 0}']}, "not the number of an item"),
        ({0: []}, "4 results of 5 items"),
        ({0: [b'[0, {"double": 0}]'] * 2}, "item 0"),
        ({0: [b'[0, {"double": 0}]' + b" " * 200_000]}, "more than 200,000"),
    ],
)
def test_what_is_no_result_of_its_item_is_refused_in_words(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, answers: dict[int, list[bytes]], words: str
) -> None:
    monkeypatch.setattr(tasks, "MOST_BYTES", 200_000)
    with pytest.raises(RunError, match="something else than it was asked for") as refusal:
        run(spark, says(answers), 5, 1)
    assert words in str(refusal.value)


def packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [1.0],
        {"shape": [1], "zlib": packed(bytes(7))},
        {"shape": [1], "zlib": packed(bytes(9))},
        {"shape": [1], "zlib": packed(bytes(1 << 24))},
        {"shape": [1], "zlib": packed(bytes(8))[:-4]},
        {"shape": [1], "zlib": packed(bytes(8))[:-1]},
        {"shape": [-1], "zlib": packed(b"")},
        {"shape": [1 << 40, 1 << 40], "zlib": packed(b"")},
        {"shape": [0], "zlib": packed(b""), "dtype": "O"},
        {"shape": ["1"], "zlib": packed(bytes(8))},
        {"shape": [1], "zlib": "AAAA"},
        {"shape": [1], "zlib": 7},
    ],
)
def test_what_is_no_array_is_refused(raw: object) -> None:
    read = TypeAdapter(Annotated[npt.NDArray[np.float64], array_of(np.float64)])
    assert read.validate_python({"shape": [2], "zlib": packed(bytes(16))}).tolist() == [0.0, 0.0]
    with pytest.raises((ValueError, TypeError)):
        read.validate_python(raw)


def taken_over(mark: Path) -> Callable[[int], Any]:
    """Work of a task after which all that its worker sends is a pickle that leaves a mark where it is opened."""

    def work(number: int) -> Any:
        from pyspark import accumulators, serializers

        code = f"import os; open({str(mark)!r}, 'a').write(str(os.getpid()) + ' ')"
        evil = f"cbuiltins\nexec\n(V{code}\ntR.".encode()

        class Evil:
            _value = 0

        for kind in (serializers.CPickleSerializer, serializers.CloudPickleSerializer, serializers.NoOpSerializer):
            kind.dumps = lambda self, obj: evil
        accumulators._accumulatorRegistry[1] = Evil()
        threading.Timer(0.5, os._exit, [0]).start()  # no other test is to meet it
        return doubled(number)

    return work


def test_a_task_that_is_taken_over_runs_nothing_in_the_driver(spark: SparkSession, tmp_path: Path) -> None:
    mark = tmp_path / "opened"
    with pytest.raises(RunError, match="something else"):
        run(spark, taken_over(mark), 1, 1)
    # A job whose results nobody reads, as the one of resident tasks: its updates of accumulators come all the same.
    spark.sparkContext.parallelize([1], 1).map(taken_over(mark))._jrdd.count()
    time.sleep(1)
    assert run(spark, doubled, 3, 1) == [{"double": 2 * number} for number in range(3)]
    assert not mark.exists(), f"a task's code ran in {mark.read_text()}; this is {os.getpid()}"
