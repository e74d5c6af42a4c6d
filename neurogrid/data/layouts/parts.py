"""A piece of a file of many households to part files, whose rows are sorted into buckets. Runs inside a Spark task.

It imports no Spark. staging.py says which pieces there are, and buckets.py reads what is written here.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts.buckets import NOTES, STAGED, Batch, bucket_of, notes_of
from neurogrid.data.layouts.declaration import Declaration
from neurogrid.data.layouts.formats import FORMATS
from neurogrid.data.layouts.pieces import Piece, content_of
from neurogrid.data.layouts.table import Rows, read_piece
from neurogrid.data.readings import Header, UnusableFileError
from neurogrid.storage import Place

BLOCK_BYTES = 4 << 20
PART_ROWS = 600_000
"""Rows that a task holds before it writes them: some 35 MB, and as much again while they are sorted."""
_ALL_NOTES = 1 << 30
_FILE = re.compile(r"piece=\d+-part=\d+(-faults)?\.arrow")


@dataclass(frozen=True)
class Work:
    """What a task is given: a piece with its number, and all that it needs to read it."""

    number: int
    piece: Piece
    head: Header | None
    declaration: Declaration
    folder: Place
    buckets: int
    listed_per_kind: int


@dataclass
class Done:
    """What a task returns of a piece: counts, and where its rows are; `unusable` says why its file cannot be used."""

    number: int
    faults: FaultLog
    lines: int = 0
    households: Counter[str] = field(default_factory=Counter)
    rows: dict[int, list[Batch]] = field(default_factory=dict)
    notes: dict[int, list[Batch]] = field(default_factory=dict)
    unusable: tuple[Fault, str] | None = None


def stage_piece(work: Work) -> Done:
    """Reads a piece and writes its rows by bucket; runs in a task."""
    done = Done(work.number, FaultLog(work.listed_per_kind))
    part = _Part(work, done)
    try:
        if work.declaration.format == "csv":
            log = FaultLog(_ALL_NOTES)
            for rows in read_piece(work.piece, work.head, work.declaration, None, log, BLOCK_BYTES):
                assert rows.household is not None
                part.log(rows, log)
                part.add(_table(rows, rows.household, work.number))
                done.lines += rows.file_rows
                log.notes.clear()
                log.counts.clear()
            done.lines += work.head.line if work.head and work.piece.begin == 0 else 0
        else:
            module, name = FORMATS[work.declaration.format], work.piece.file.name
            with content_of(work.piece.file) as stream:
                for table in module.rows(stream, name, done.faults):
                    part.add(_of_format(table, work.number))
        part.write()
    except UnusableFileError as error:
        done.unusable = error.fault, error.text
    return done


def is_of(work: Work, done: Done) -> bool:
    """Whether a result can be of this piece: it names the piece, buckets that there are, and files of its own."""
    batches = [batch for where in (done.rows, done.notes) for own in where.values() for batch in own]
    return (
        done.number == work.number
        and {*done.rows, *done.notes} <= set(range(work.buckets))
        and all(_FILE.fullmatch(batch.file) and batch.file.startswith(_prefix(work.number)) for batch in batches)
        and all(batch.number >= 0 for batch in batches)
        and done.faults.counts.keys() <= set(Fault)
    )


def _prefix(piece: int) -> str:
    return f"piece={piece:05}-part="


class _Part:
    """The rows of a piece that are not written yet, and the faults of their households."""

    def __init__(self, work: Work, done: Done) -> None:
        self._work, self._done = work, done
        self._tables: list[pa.Table] = []
        self._rows, self._written = 0, 0
        self._faults: dict[str, FaultLog] = {}

    def add(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._rows += table.num_rows
        if self._rows >= PART_ROWS:
            self.write()

    def log(self, rows: Rows, log: FaultLog) -> None:
        """Faults of rows whose household is known go with it; the others are the file's, and how names are written."""
        lines, ids = rows.read if rows.read is not None else (np.empty(0, np.int32), None)
        across = set(rows.household.dictionary.to_pylist()) if rows.household is not None and ids is None else ()
        for note in log.notes:
            household = note.text.partition(" = ")[0] if across else ""
            at = int(np.searchsorted(lines, note.line)) if note.line is not None else len(lines)
            if note.kind == Fault.TRIMMED_NAME:
                self._done.faults.add(note.kind, note.text, note.line)
                continue
            if ids is not None and at < len(lines) and lines[at] == note.line:
                household = str(ids[at].as_py())
            elif household not in across:
                self._done.faults.add(note.kind, note.text, note.line)
                continue
            self._faults.setdefault(household, FaultLog(self._work.listed_per_kind)).add(
                note.kind, note.text, note.line
            )
        for kind, count in (log.counts - Counter(note.kind for note in log.notes)).items():
            self._done.faults.counts[kind] += count

    def write(self) -> None:
        """Writes what there is, a record batch for each bucket."""
        name = f"{_prefix(self._work.number)}{self._written:04}"
        self._written += 1
        if self._tables:
            table = pa.concat_tables(self._tables).unify_dictionaries().combine_chunks()
            self._tables, self._rows = [], 0
            ids = table.column("household").combine_chunks()
            names = ids.dictionary.to_pylist()
            counts = np.bincount(ids.indices.to_numpy(), minlength=len(names))
            self._done.households.update({name: int(count) for name, count in zip(names, counts, strict=True) if count})
            self._put(table, f"{name}.arrow", self._done.rows)
        notes = [
            note
            for household, log in self._faults.items()
            for note in notes_of(log, household, self._work.number, self._work.listed_per_kind)
        ]
        self._done.households.update(dict.fromkeys(self._faults, 0))
        self._faults = {}
        if notes:
            self._put(pa.Table.from_pylist(notes, NOTES).unify_dictionaries(), f"{name}-faults.arrow", self._done.notes)

    def _put(self, table: pa.Table, name: str, where: dict[int, list[Batch]]) -> None:
        ids = table.column("household").combine_chunks()
        buckets = bucket_of(ids.dictionary.to_pylist(), self._work.buckets)[ids.indices.to_numpy()]
        order = np.argsort(buckets, kind="stable")
        numbers, begins = np.unique(buckets[order], return_index=True)
        ends = [*begins[1:].tolist(), len(order)]
        place = self._work.folder / name
        place.filesystem.create_dir(self._work.folder.path, recursive=True)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            place.filesystem.open_output_stream(place.path) as file,
            pa.ipc.new_file(file, table.schema, options=options) as writer,
        ):
            for at, (number, begin, end) in enumerate(zip(numbers.tolist(), begins.tolist(), ends, strict=True)):
                own = table.take(pa.array(order[begin:end])).combine_chunks()
                writer.write_batch(own.to_batches()[0])
                where.setdefault(number, []).append(Batch(name, at))


def _table(rows: Rows, ids: pa.DictionaryArray, piece: int) -> pa.Table:
    n = len(rows.labels)
    columns = (rows.labels, rows.value, rows.export, rows.empty, rows.estimated)
    constant = (np.full(n, rows.minutes, np.int32), rows.line, np.full(n, piece, np.int32))
    return pa.table([ids.cast(STAGED.field(0).type), *map(pa.array, (*columns, *constant))], schema=STAGED)


def _of_format(table: pa.Table, piece: int) -> pa.Table:
    value = table.column("value").combine_chunks()
    columns = {
        "household": table.column("household").combine_chunks().dictionary_encode(),
        "label": table.column("label"),
        "value": value,
        "export": table.column("export"),
        "empty": pa.array(np.isnan(value.to_numpy())),
        "estimated": table.column("estimated"),
        "minutes": table.column("minutes"),
        "line": table.column("line").cast(pa.int32()),
        "piece": pa.array(np.full(table.num_rows, piece, np.int32)),
    }
    return pa.table(columns, schema=STAGED)
