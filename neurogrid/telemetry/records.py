"""Reading records that others write: JSON and Parquet from any storage, strictly; what cannot be read is counted.

A record that is not there is no error. One that is there and cannot be read is tried again at every look, and never
ends the exporter.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.storage import Place

KINDS = ("warehouse", "run", "round", "end", "audit", "quality", "manifest", "teacher", "job", "kubernetes")
Record = dict[str, Any]
T = TypeVar("T")


class UnreadableError(Exception):
    """A record is there and cannot be read now; it has been counted. `broken` is for what storage gave us whole."""

    def __init__(self, broken: bool) -> None:
        super().__init__()
        self.broken = broken


class Reads:
    """How reading went since the exporter started, and what cannot be read now.

    Args:
        alive: called before each read, by which others see that a long look goes on, and one whose reads fail slowly.
    """

    def __init__(self, alive: Callable[[], None]) -> None:
        self._alive = alive
        self.done: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._unreadable: dict[str, set[str]] = {kind: set() for kind in KINDS}

    def unreadable(self, kind: str) -> int:
        """How many records of a kind are there and cannot be read."""
        return len(self._unreadable[kind])

    def fail(self, kind: str, path: str) -> None:
        """Counts a failed read."""
        self.errors[kind] += 1
        self._unreadable[kind].add(path)

    def succeed(self, kind: str, path: str) -> None:
        """Counts a record that was read."""
        self.done[kind] += 1
        self._unreadable[kind].discard(path)

    def forget(self, folder: str) -> None:
        """Whatever was under a folder that is gone, or is not looked at any more, is no longer unreadable."""
        for paths in self._unreadable.values():
            paths -= {path for path in paths if path.startswith(f"{folder}/")}

    def keep(self, kind: str, paths: set[str]) -> None:
        """Of a kind, only what is among `paths` is there to be unreadable."""
        self._unreadable[kind] &= paths

    def json(self, kind: str, file: Place, parse: Callable[[Record], T]) -> T | None:
        """A JSON record, parsed; None where there is none.

        Raises:
            UnreadableError: it is there and cannot be read, or says what it cannot say.
        """
        return self._read(kind, file, lambda content: parse(_record(content)))

    def table(self, kind: str, file: Place, wanted: Callable[[str], bool]) -> list[Record] | None:
        """The rows of a Parquet file, with its columns that are wanted; None where there is none.

        Raises:
            UnreadableError: see `json`.
        """
        return self._read(kind, file, lambda content: _rows(content, wanted))

    def _read(self, kind: str, file: Place, parse: Callable[[bytes], T]) -> T | None:
        self._alive()
        try:
            content = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self._unreadable[kind].discard(str(file))
            return None
        except (OSError, pa.ArrowException) as error:
            self.fail(kind, str(file))
            raise UnreadableError(broken=False) from error
        try:
            parsed = parse(content)
        # Whatever a record says that is not so shows in one of these.
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, pa.ArrowException) as error:
            self.fail(kind, str(file))
            raise UnreadableError(broken=True) from error
        self.succeed(kind, str(file))
        return parsed


def _record(content: bytes) -> Record:
    record = json.loads(content)
    if not isinstance(record, dict):
        raise TypeError("a record is an object")
    return record


def _rows(content: bytes, wanted: Callable[[str], bool]) -> list[Record]:
    file = pq.ParquetFile(pa.BufferReader(content))
    rows: list[Record] = file.read([name for name in file.schema_arrow.names if wanted(name)]).to_pylist()
    return rows


def count(record: Mapping[str, Any], name: str) -> int:
    """A whole number that is at least 0; raises ValueError or KeyError."""
    value = record[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is no count")
    return value


def number(record: Mapping[str, Any], name: str) -> float | None:
    """A number; None where the record says that there is none. Raises ValueError or KeyError."""
    value = record[name]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is no number")
    return float(value) if math.isfinite(value) else None


def text(record: Mapping[str, Any], name: str) -> str:
    """A string; raises ValueError or KeyError."""
    value = record[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value
