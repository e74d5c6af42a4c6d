"""What a column of texts can be: numbers, names, times of a pattern. Used by survey.py alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neurogrid.data.layouts.times import FIRST_US, LAST_US, by_pattern, unix
from neurogrid.data.readings import NAIVE_TIME, NULLS, UTC_TIME

_DATES = "%d.%m.%Y %d/%m/%Y %m/%d/%Y %d-%m-%Y %Y/%m/%d %Y.%m.%d %Y%m%d %d.%m.%y %d/%m/%y %m/%d/%y %d-%b-%Y %d-%b-%y"
_DAYS = (*_DATES.split(), "%d %b %Y", "%Y-%m-%d")
_TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p", "%H%M")
PATTERNS = (*(f"{day} {time}" for day in _DAYS for time in _TIMES), "%Y%m%d%H%M", "%Y%m%d%H%M%S")
_GOOD = 0.9
"""Of a column of times so many cells are times of its pattern."""
_SAMPLE = 40


@dataclass(frozen=True)
class Column:
    """A column of a file's beginning; `decimal` is its decimal mark, empty where there is none."""

    name: str
    texts: list[str]
    numbers: npt.NDArray[np.float64]
    decimal: str

    @property
    def is_number(self) -> bool:
        """Whether nearly all cells that are not empty are numbers."""
        filled = [text not in NULLS for text in self.texts]
        return any(filled) and float(np.isfinite(self.numbers[filled]).mean()) >= _GOOD

    @cached_property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return len(set(self.texts)) > 1

    @property
    def is_repeated(self) -> bool:
        """Whether values stand many times, as ids do."""
        return len(set(self.texts)) <= max(len(self.texts) // 2, 1)


def column_of(name: str, texts: list[str]) -> Column:
    """A column from its cells."""
    commas = sum("," in text for text in texts)
    points = sum("." in text for text in texts)
    decimal = "," if commas > points else "." if points else ""
    return Column(name, texts, np.array([_number(text, decimal) for text in texts]), decimal)


def _number(text: str, decimal: str) -> float:
    try:
        return float(text.replace(",", ".") if decimal == "," else text) if "_" not in text else float("nan")
    except ValueError:
        return float("nan")


@dataclass(frozen=True)
class Times:
    """The columns of the time.

    Attributes:
        columns: their names.
        pattern: `iso`, `unix`, `unix_ms`, or of strptime.
        has_offset: whether each time says its offset from UTC.
        us: (n,) microseconds since 1970.
        note: what is to be checked.
    """

    columns: tuple[str, ...]
    pattern: str
    has_offset: bool
    us: npt.NDArray[np.int64]
    note: str


def times_of(columns: Sequence[Column]) -> Times | None:
    """The first column, or the first two beside each other, that are times; None where none are.

    Where a day and a month cannot be told apart, the pattern is taken by which times are more evenly apart.
    """
    pairs = [(column,) for column in columns]
    for names in (*pairs, *pairwise(columns)):
        texts = [" ".join(parts) for parts in zip(*(column.texts for column in names), strict=True)]
        found = sorted(_readings(tuple(column.name for column in names), texts), key=_evenness, reverse=True)
        if found:
            other = [times.pattern for times in found[1:] if _evenness(times) == _evenness(found[0])]
            note = f"please check: {other[0]} fits as well" if other else ""
            first = found[0]
            return Times(first.columns, first.pattern, first.has_offset, first.us, note)
    return None


def _readings(names: tuple[str, ...], texts: list[str]) -> Iterator[Times]:
    """Every way to read the texts as times."""
    array = pa.array(texts, pa.string())
    sample = pa.array(texts[:: max(len(texts) // _SAMPLE, 1)], pa.string())
    if len(names) == 1:
        for kind, has_offset in ((UTC_TIME, True), (NAIVE_TIME, False)):
            us, good = _iso(texts, kind)
            if good.mean() >= _GOOD and _is_recent(us[good]):
                yield Times(names, "iso", has_offset, us, "")
                return
        for pattern, each in (("unix", 1_000_000), ("unix_ms", 1_000)):
            read = unix(array, us=each)
            if read.good.mean() >= _GOOD and _is_recent(read.us[read.good]) and len(texts[0]) >= 10:
                yield Times(names, pattern, True, read.us, "")
                return
    for pattern in PATTERNS:
        if by_pattern(sample, pattern).good.mean() >= _GOOD:
            read = by_pattern(array, pattern)
            if read.good.mean() >= _GOOD and _is_recent(read.us[read.good]):
                yield Times(names, pattern, False, read.us, "")


def _iso(texts: list[str], kind: pa.DataType) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    us, good = np.zeros(len(texts), np.int64), np.zeros(len(texts), bool)
    nanoseconds = pa.timestamp("ns", tz=kind.tz)
    for at, text in enumerate(texts):
        if len(text) < 16:  # a date alone is no time
            continue
        try:
            us[at] = pa.scalar(text).cast(nanoseconds).cast(pa.int64()).as_py() // 1000
            good[at] = True
        except pa.ArrowInvalid:
            if not good.any() and at >= _SAMPLE:
                break
    return us, good


def _is_recent(us: npt.NDArray[np.int64]) -> bool:
    return bool(len(us)) and bool(us.min() >= FIRST_US and us.max() <= LAST_US)


def _evenness(times: Times) -> float:
    """How many of the steps from one row to the next are the most frequent one."""
    steps = np.diff(times.us)
    _, counts = np.unique(steps, return_counts=True)
    return round(float(counts.max() / len(steps)), 2) if len(steps) else 0.0
