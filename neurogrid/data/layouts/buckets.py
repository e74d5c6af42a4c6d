"""Where the rows of files of many households lie after they were split, and how a task reads one household's.

parts.py writes them. A part file has one record batch for each of its buckets; a bucket holds all rows of its
households.
"""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog, FaultNote
from neurogrid.data.layouts.table import Rows
from neurogrid.storage import Place

IDS = pa.dictionary(pa.int32(), pa.string())
STAGED = pa.schema(
    [
        ("household", IDS),
        ("label", pa.int64()),
        ("value", pa.float64()),
        ("export", pa.float64()),
        ("empty", pa.bool_()),
        ("estimated", pa.bool_()),
        ("minutes", pa.int32()),
        ("line", pa.int32()),
        ("piece", pa.int32()),
    ]
)
"""Rows as in layouts/rows.py; `line` counts from the first of its piece, and `piece` is the number of that."""

NOTES = pa.schema(
    [
        ("household", IDS),
        ("kind", pa.string()),
        ("line", pa.int32()),
        ("text", pa.string()),
        ("count", pa.int64()),
        ("piece", pa.int32()),
    ]
)
"""Faults of rows of a household: of each kind and part some with a line and text, and how many more (`count`)."""

DROPPED = frozenset({Fault.BAD_TIMESTAMP})
"""Faults whose row is not among the rows."""


@dataclass(frozen=True)
class Batch:
    """One record batch of a file."""

    file: str
    number: int


@dataclass(frozen=True)
class Bucket:
    """All rows of some households.

    Attributes:
        number: of the bucket.
        folder: of the part files.
        rows, notes: where in them its rows and its faults are, in the order of the source.
        lines_before: lines before each piece in its source file, by the piece's number.
        sources: name of each piece's source file.
    """

    number: int
    folder: Place
    rows: tuple[Batch, ...]
    notes: tuple[Batch, ...]
    lines_before: Mapping[int, int]
    sources: Mapping[int, str]


def bucket_of(households: Sequence[str], buckets: int) -> npt.NDArray[np.int64]:
    """The bucket of each household, the same on every machine."""
    return np.array([zlib.crc32(name.encode()) % buckets for name in households], np.int64)


@dataclass(frozen=True)
class _Loaded:
    """A bucket in memory: its columns sorted by household, and where each household begins and ends."""

    columns: Mapping[str, npt.NDArray[Any]]
    ranges: Mapping[str, tuple[int, int]]
    notes: Mapping[str, list[dict[str, Any]]]


_LOADED: dict[tuple[str, int], _Loaded] = {}
"""The bucket that this process read last: a task cleans its households one after another."""


def read_household(bucket: Bucket, household: str, faults: FaultLog) -> Rows:
    """A household's rows in the order of the source; the faults found when they were split are logged."""
    key = (str(bucket.folder), bucket.number)
    if key not in _LOADED:
        _LOADED.clear()
        _LOADED[key] = _load(bucket)
    loaded = _LOADED[key]
    first, last = loaded.ranges.get(household, (0, 0))
    arrays = {name: column[first:last] for name, column in loaded.columns.items()}
    before = np.array([bucket.lines_before[piece] for piece in sorted(bucket.lines_before)], np.int64)
    at = np.searchsorted(sorted(bucket.lines_before), arrays["piece"])
    minutes = arrays["minutes"][arrays["minutes"] > 0]
    dropped = _log(loaded.notes.get(household, []), bucket, faults)
    return Rows(
        None,
        arrays["label"],
        arrays["value"],
        arrays["export"],
        arrays["empty"],
        arrays["estimated"],
        (arrays["line"] + before[at]).astype(np.int32),
        last - first + dropped,
        int(np.bincount(minutes).argmax()) if len(minutes) else 0,
    )


def forget() -> None:
    """Leaves no bucket in memory."""
    _LOADED.clear()


def _load(bucket: Bucket) -> _Loaded:
    table = _read(bucket.folder, bucket.rows, STAGED)
    ids = table.column("household")
    names = ids.chunk(0).dictionary.to_pylist() if ids.num_chunks else []
    codes = np.concatenate([np.empty(0, np.int32), *(chunk.indices.to_numpy() for chunk in ids.chunks)])
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    ranges = {name: (int(bounds[at]), int(bounds[at + 1])) for at, name in enumerate(names)}
    columns = {}
    for name in STAGED.names[1:]:  # one after another, so that rows are held twice for one column only
        columns[name] = table.column(name).to_numpy()[order]
        table = table.drop_columns([name])
    notes: dict[str, list[dict[str, Any]]] = {}
    for note in _read(bucket.folder, bucket.notes, NOTES).to_pylist():
        notes.setdefault(note["household"], []).append(note)
    return _Loaded(columns, ranges, notes)


def _read(folder: Place, batches: Sequence[Batch], schema: pa.Schema) -> pa.Table:
    found = []
    for batch in batches:
        with folder.filesystem.open_input_file((folder / batch.file).path) as file:
            found.append(pa.ipc.open_file(file).get_batch(batch.number))
    table = pa.Table.from_batches(found, schema) if found else schema.empty_table()
    return table.unify_dictionaries()


def _log(notes: Sequence[Mapping[str, Any]], bucket: Bucket, faults: FaultLog) -> int:
    """Logs a household's faults; returns of how many rows nothing else is left."""
    sources = {bucket.sources[note["piece"]] for note in notes}
    dropped = 0
    for note in notes:
        kind, piece = Fault(note["kind"]), note["piece"]
        if note["line"] is None:
            faults.counts[kind] += note["count"]
        else:
            text = note["text"] if len(sources) == 1 else f"{bucket.sources[piece]}: {note['text']}"
            faults.add(kind, text, note["line"] + bucket.lines_before[piece])
        dropped += note["count"] if kind in DROPPED else 0
    return dropped


def notes_of(log: FaultLog, household: str, piece: int, listed_per_kind: int) -> list[dict[str, Any]]:
    """A household's faults in a part as rows of NOTES."""
    rows: list[dict[str, Any]] = []
    listed: Counter[str] = Counter()
    for note in log.notes:
        if listed[note.kind] < listed_per_kind:
            listed[note.kind] += 1
            rows.append(_note(household, note, piece))
    for kind, count in log.counts.items():
        if count > listed[kind]:
            more = FaultNote(Fault(kind), None, "")
            rows.append({**_note(household, more, piece), "count": count - listed[kind]})
    return rows


def _note(household: str, note: FaultNote, piece: int) -> dict[str, Any]:
    return {
        "household": household,
        "kind": str(note.kind),
        "line": note.line,
        "text": note.text,
        "count": 1,
        "piece": piece,
    }
