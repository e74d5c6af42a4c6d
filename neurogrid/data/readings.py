"""One CSV file to typed columns, with every row and cell that cannot be used counted and listed.

Called by sources.py and weather.py inside a task. Columns are chosen by name, never by position. A clean file takes
Arrow's typed reader; only a file with a cell that it refuses is read again as text, cell by cell.
"""

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.storage import Place

NULLS = ["", "NULL", "Null", "null", "NA", "N/A", "NaN", "nan", "None"]
UTC_TIME = pa.timestamp("us", tz="UTC")
NAIVE_TIME = pa.timestamp("us")
IDENTIFIER = pa.dictionary(pa.int32(), pa.string())


class UnusableFileError(Exception):
    """A file that gives no table at all; `fault` says of which kind."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault, self.text = fault, text

    def __reduce__(self) -> tuple[type["UnusableFileError"], tuple[Fault, str]]:
        return type(self), (self.fault, self.text)


@dataclass(frozen=True)
class Columns:
    """A file's columns by name.

    Attributes:
        table: the columns that were asked for.
        line: each row's line in the file.
        refused: rows whose cell could not be read (and is null for that reason), by column; no entry where none was.
    """

    table: pa.Table
    line: npt.NDArray[np.int32]
    refused: Mapping[str, npt.NDArray[np.bool_]]

    def empty(self, name: str) -> npt.NDArray[np.bool_]:
        """Rows where the column has no value, other than for one that could not be read."""
        column = self.table.column(name)
        if column.null_count == 0:
            return np.zeros(len(self.line), bool)
        empty = np.asarray(column.is_null().to_numpy(), bool)
        return empty & ~self.refused[name] if name in self.refused else empty

    def rows(self, keep: npt.NDArray[np.bool_]) -> "Columns":
        """The rows that are kept."""
        refused = {name: mask[keep] for name, mask in self.refused.items()}
        return Columns(self.table.filter(pa.array(keep)).combine_chunks(), self.line[keep], refused)

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """A float column; NaN where there is no value."""
        column = self.table.column(name)
        return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)

    def times(self, name: str) -> npt.NDArray[np.int64]:
        """A timestamp column as microseconds since 1970; every row must have one."""
        return np.asarray(self.table.column(name).cast(pa.int64()).to_numpy(), np.int64)


def read_columns(file: Place, types: Mapping[str, pa.DataType], separator: str, faults: FaultLog) -> Columns:
    """Reads the named columns; cells that cannot be read are counted and null.

    Raises:
        UnusableFileError: the file cannot be read, has no rows, or lacks a column.
    """
    content = _content(file)
    end = content.find(b"\n") % (len(content) + 1)  # all of it, if there is no end of line
    header = content[:end].decode("utf-8-sig", "replace").strip("\r")
    if "\ufffd" in header or "\0" in header:
        raise UnusableFileError(Fault.UNREADABLE_FILE, "not a text file")
    # The first bytes tell; only a file that begins with blank lines is looked at whole.
    if not (content[end : end + 200].strip() or content[end:].strip()):
        raise UnusableFileError(Fault.EMPTY_FILE, f"{len(content)} bytes, no rows")
    missing = [name for name in types if name not in [cell.strip('"') for cell in header.split(separator)]]
    if missing:
        text = f'no column "{missing[0]}" in "{header[:200]}" (line 1, separator "{separator}")'
        raise UnusableFileError(Fault.MISSING_COLUMN, text)
    try:
        return _typed(content, types, separator, faults)
    except pa.ArrowInvalid:
        return _cell_by_cell(content, types, separator, faults)


def rows_of(columns: Columns, name: str, owner: str, kind: Fault, faults: FaultLog) -> Columns:
    """The rows whose identifier is the file's own; each other one is a fault of this kind."""
    ids = columns.table.column(name).combine_chunks()
    if ids.null_count == 0 and ids.dictionary.to_pylist() == [owner]:
        return columns
    good = np.asarray(ids.dictionary_decode().fill_null("").to_numpy(zero_copy_only=False) == owner, bool)
    faults.add_rows(kind, columns.line[~good], (f"{name} = {ids[row]}" for row in np.flatnonzero(~good)))
    return columns.rows(good)


def rows_with_time(columns: Columns, name: str, faults: FaultLog) -> Columns:
    """The rows that have a timestamp; an empty one is a fault, one that could not be read is already logged."""
    column = columns.table.column(name)
    if column.null_count == 0:
        return columns
    empty = columns.line[columns.empty(name)]
    faults.add_rows(Fault.BAD_TIMESTAMP, empty, (f"{name} is empty" for _ in empty))
    return columns.rows(np.asarray(column.is_valid().to_numpy(), bool))


def _content(file: Place) -> bytes:
    try:
        # Inflated by content rather than by name, and by zlib, which tells a cut stream from a short file.
        with file.filesystem.open_input_stream(file.path, compression=None) as stream:
            raw = bytes(stream.read())
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except EOFError:
        raise UnusableFileError(Fault.UNREADABLE_FILE, "the gzip stream is cut off before its end") from None
    except zlib.error as error:
        raise UnusableFileError(Fault.UNREADABLE_FILE, f"the gzip stream is broken: {error}") from None
    except OSError as error:
        raise UnusableFileError(Fault.UNREADABLE_FILE, str(error)) from None


def _read(
    content: bytes, types: Mapping[str, pa.DataType], separator: str, nulls: Sequence[str], broken: FaultLog
) -> tuple[pa.Table, list[int]]:
    skipped: list[int] = []

    def skip(row: csv.InvalidRow) -> str:
        skipped.append(row.number)
        broken.add(
            Fault.BROKEN_ROW, f"{row.actual_columns} cells for {row.expected_columns}: {row.text[:120]}", row.number
        )
        return "skip"

    table = csv.read_csv(
        pa.BufferReader(content),
        # One block: one chunk a column, which numpy then takes without a copy. A task has one core.
        csv.ReadOptions(use_threads=False, block_size=len(content) + 1),
        csv.ParseOptions(delimiter=separator, invalid_row_handler=skip),
        csv.ConvertOptions(
            include_columns=list(types),
            column_types=dict(types),
            null_values=list(nulls),
            strings_can_be_null=True,
        ),
    )
    if table.num_rows == 0:
        raise UnusableFileError(Fault.EMPTY_FILE, f"a header and {len(skipped)} rows that cannot be used")
    return table, skipped


def _lines(rows: int, skipped: list[int]) -> npt.NDArray[np.int32]:
    if not skipped:
        return np.arange(2, rows + 2, dtype=np.int32)
    kept = np.ones(rows + len(skipped), bool)
    kept[np.asarray(skipped) - 2] = False
    return np.flatnonzero(kept).astype(np.int32) + 2


def _typed(content: bytes, types: Mapping[str, pa.DataType], separator: str, faults: FaultLog) -> Columns:
    broken = FaultLog(faults.listed_per_kind)
    table, skipped = _read(content, types, separator, NULLS, broken)
    faults.extend(broken)
    return Columns(table, _lines(table.num_rows, skipped), {})


def _cell_by_cell(content: bytes, types: Mapping[str, pa.DataType], separator: str, faults: FaultLog) -> Columns:
    try:
        table, skipped = _read(content, dict.fromkeys(types, pa.binary()), separator, NULLS, faults)
    except pa.ArrowInvalid as error:
        raise UnusableFileError(Fault.UNREADABLE_FILE, str(error)) from None
    lines = _lines(table.num_rows, skipped)
    columns, refused = {}, {}
    for name, wanted in types.items():
        columns[name], bad = _column(table.column(name), wanted)
        if len(bad):
            kind = Fault.BAD_NUMBER if pa.types.is_floating(wanted) else Fault.BAD_TIMESTAMP
            texts = (f"{name} = {_text(table.column(name)[row])!r:.80}" for row in bad)
            faults.add_rows(kind, lines[bad], texts)
            refused[name] = np.isin(np.arange(len(lines)), bad)
    return Columns(pa.table(columns), lines, refused)


def _text(cell: pa.Scalar) -> str | None:
    raw = cell.as_py()
    return None if raw is None else raw.decode("utf-8", "replace")


def _column(cells: pa.ChunkedArray, wanted: pa.DataType) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The cells as the wanted type, and the rows that were refused (null in the result)."""
    texts = pa.array([_text(cell) for cell in cells], pa.string())
    if wanted.equals(IDENTIFIER) or pa.types.is_string(wanted):
        return texts.cast(wanted), np.empty(0, np.int64)
    strings = pc.utf8_trim_whitespace(texts)
    bad = np.array(list(_refused(strings, wanted, 0)), np.int64)
    keep = np.ones(len(strings), bool)
    keep[bad] = False
    return pc.if_else(pa.array(keep), strings, pa.scalar(None, pa.string())).cast(wanted), bad


def _refused(strings: pa.Array, wanted: pa.DataType, offset: int) -> Iterator[int]:
    """Positions that Arrow's own parser refuses, found by halving: both ways of reading agree on every cell."""
    try:
        strings.cast(wanted)
    except pa.ArrowInvalid:
        half = len(strings) // 2
        if half == 0:
            yield offset
        else:
            yield from _refused(strings[:half], wanted, offset)
            yield from _refused(strings[half:], wanted, offset + half)
