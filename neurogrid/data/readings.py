"""A CSV to typed columns, with every row and cell that cannot be used counted and listed.

Called for meters by layouts/table.py, block by block, and for whole small files by weather.py and households.py.
Columns are chosen by name in whatever case, never by position. A clean block takes Arrow's typed reader; only one with
a cell that it refuses is read again as text, cell by cell.
"""

import codecs
import csv as text_csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts.times import DAY_US
from neurogrid.data.packed import PackedError, plain
from neurogrid.plural import plural
from neurogrid.storage import Place

NULLS = ("", "NULL", "Null", "null", "NA", "N/A", "NaN", "nan", "None")
UTC_TIME = pa.timestamp("us", tz="UTC")
NAIVE_TIME = pa.timestamp("us")
IDENTIFIER = pa.dictionary(pa.int32(), pa.string())
HOUR_24 = re.compile(r"^(?P<before>.*[ T]|)24:00(?P<zeros>(:00([.]0+)?)?)(?P<after>\D.*|)$")
_NANOSECONDS = re.compile(rb"\d:\d\d\.\d{7,9}\D")
_LOOKED_AT = 4096


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


@dataclass(frozen=True)
class Writing:
    """How a table is written: what separates its cells, its decimal mark, and words for nothing beside NULLS."""

    separator: str
    decimal: str = "."
    nulls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Header:
    """A table's columns.

    Attributes:
        names: of all columns, as they stand there, without quotes and the spaces around them.
        line: number of the header's line, or 0 where there is none.
        text: of the line, for messages.
    """

    names: tuple[str, ...]
    line: int
    text: str

    def position(self, name: str, separator: str) -> int:
        """Where a column is; exports differ in case.

        Raises:
            UnusableFileError: it is not there, or several are.
        """
        found = [at for at, own in enumerate(self.names) if own.casefold() == name.strip().casefold()]
        where = f'in "{self.text[:200]}" (line {self.line}, separator "{separator}")'
        if not found:
            raise UnusableFileError(Fault.MISSING_COLUMN, f'no column "{name}" {where}')
        if len(found) > 1:
            raise UnusableFileError(Fault.AMBIGUOUS_COLUMN, f'{len(found)} columns "{name}" {where}')
        return found[0]


def cells_of(line: str, separator: str) -> tuple[str, ...]:
    """A line's cells, without quotes and the spaces around them; none where it is no line of a table."""
    try:
        return tuple(cell.strip() for cell in next(text_csv.reader([line], delimiter=separator), []))
    except text_csv.Error:
        return ()


def header_of(content: bytes, separator: str) -> Header:
    """The columns that the first line names.

    Raises:
        UnusableFileError: it is no text.
    """
    end = content.find(b"\n") % (len(content) + 1)  # all of it, if there is no end of line
    text = content[:end].decode("utf-8-sig", "replace").strip("\r")
    if "\r" in text:
        text = text.split("\r")[0]
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = "text in UTF-16: save it in UTF-8, or declare source.generic.encoding: utf-16"
        raise UnusableFileError(Fault.UNREADABLE_FILE, text)
    if "\ufffd" in text or "\0" in text:
        raise UnusableFileError(Fault.UNREADABLE_FILE, "not a text file")
    return Header(cells_of(text, separator), 1, text)


def read_columns(file: Place, types: Mapping[str, pa.DataType], separator: str, faults: FaultLog) -> Columns:
    """Reads the named columns of a whole file; cells that cannot be read are counted and null.

    Raises:
        UnusableFileError: the file cannot be read, has no rows, or lacks a column.
    """
    content = _content(file)
    header = header_of(content, separator)
    if not header.text or not content[len(header.text) :].strip():
        raise UnusableFileError(Fault.EMPTY_FILE, f"{len(content)} bytes, no rows")
    rows = memoryview(content)[content.find(header.text.encode()) + len(header.text.encode()) :]
    columns = parse(rows, header, types, Writing(separator), faults, before=1)
    if not len(columns.line):
        broken = plural(faults.counts[Fault.BROKEN_ROW], "row")
        raise UnusableFileError(Fault.EMPTY_FILE, f"a header and {broken} that cannot be used")
    return columns


def parse(
    content: bytes | memoryview,
    header: Header,
    types: Mapping[str, pa.DataType],
    writing: Writing,
    faults: FaultLog,
    before: int,
) -> Columns:
    """Reads the named columns of a piece of a file.

    Args:
        content: whole lines in UTF-8.
        header: of the file.
        types: of the columns that are wanted, by name.
        writing: of the cells.
        faults: what cannot be used is counted here.
        before: how many lines of the file are before `content`.

    Raises:
        UnusableFileError: a column is missing, or the content is no table.
    """
    at = [header.position(name, writing.separator) for name in types]
    piece = _Piece(_marked(content), header, at, types, writing, before)
    try:
        return _typed(piece, faults)
    except pa.ArrowInvalid:
        return _cell_by_cell(piece, faults)


def _marked(content: bytes | memoryview) -> bytes | memoryview:
    """The content with bytes that are no UTF-8 replaced: Arrow gives up at a row of them that it should only skip."""
    if np.frombuffer(content, np.uint8).max(initial=0) < 128:
        return content
    try:
        codecs.utf_8_decode(content, "strict", True)
    except UnicodeDecodeError:
        return codecs.utf_8_decode(content, "replace", True)[0].encode()
    return content


@dataclass(frozen=True)
class _Piece:
    """What `parse` is asked for; `at` are the positions of the wanted columns."""

    content: bytes | memoryview
    header: Header
    at: list[int]
    types: Mapping[str, pa.DataType]
    writing: Writing
    before: int


def _content(file: Place) -> bytes:
    try:
        with file.filesystem.open_input_stream(file.path, compression=None) as stream:
            return plain(bytes(stream.read()))
    except (PackedError, OSError) as error:
        raise UnusableFileError(Fault.UNREADABLE_FILE, str(error)) from None


def _read(piece: _Piece, types: Sequence[pa.DataType], broken: FaultLog) -> tuple[pa.Table, list[int]]:
    skipped: list[int] = []

    def skip(row: csv.InvalidRow) -> str:
        skipped.append(row.number + piece.before)
        text = f"{row.actual_columns} cells for {row.expected_columns}: {row.text[:120]}"
        broken.add(Fault.BROKEN_ROW, text, row.number + piece.before)
        return "skip"

    wanted = [str(at) for at in piece.at]
    table = csv.read_csv(
        pa.BufferReader(piece.content),
        # One block: one chunk a column, which numpy then takes without a copy. A task has one core.
        csv.ReadOptions(
            use_threads=False,
            block_size=len(piece.content) + 1,
            column_names=[str(at) for at in range(len(piece.header.names))],
        ),
        csv.ParseOptions(delimiter=piece.writing.separator, invalid_row_handler=skip),
        csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict(zip(wanted, types, strict=True)),
            null_values=[*NULLS, *piece.writing.nulls],
            strings_can_be_null=True,
            decimal_point=piece.writing.decimal,
        ),
    )
    return table.rename_columns(list(piece.types)), skipped


def _lines(rows: int, skipped: list[int], piece: _Piece) -> npt.NDArray[np.int32]:
    first = piece.before + 1
    if not skipped:
        return np.arange(first, first + rows, dtype=np.int32)
    kept = np.ones(rows + len(skipped), bool)
    kept[np.asarray(skipped) - first] = False
    return np.flatnonzero(kept).astype(np.int32) + np.int32(first)


def _typed(piece: _Piece, faults: FaultLog) -> Columns:
    broken = FaultLog(faults.listed_per_kind)
    types = list(piece.types.values())
    fine = NAIVE_TIME in types and _NANOSECONDS.search(piece.content[:_LOOKED_AT])
    table, skipped = _read(piece, [pa.timestamp("ns") if fine and t == NAIVE_TIME else t for t in types], broken)
    faults.extend(broken)
    if fine:
        table = table.cast(pa.schema(list(piece.types.items())), safe=False)
    return Columns(table, _lines(table.num_rows, skipped, piece), {})


def _cell_by_cell(piece: _Piece, faults: FaultLog) -> Columns:
    try:
        table, skipped = _read(piece, [pa.binary()] * len(piece.types), faults)
    except pa.ArrowInvalid as error:
        raise UnusableFileError(Fault.UNREADABLE_FILE, str(error)) from None
    lines = _lines(table.num_rows, skipped, piece)
    nothing = {*NULLS, *piece.writing.nulls}
    texts = {name: pa.array([_text(cell, nothing) for cell in table.column(name)], pa.string()) for name in piece.types}
    again = _header_again(texts, lines, piece, faults)
    if again.any():
        texts, lines = {name: cells.filter(pa.array(~again)) for name, cells in texts.items()}, lines[~again]
    columns, refused = {}, {}
    for name, wanted in piece.types.items():
        cells = texts[name]
        if pa.types.is_timestamp(wanted):
            columns[name], bad = _times(cells, wanted, lines, faults)
        elif pa.types.is_floating(wanted):
            columns[name], bad = _column(_with_point(cells, piece.writing.decimal), wanted)
        else:
            columns[name], bad = cells.cast(wanted), np.empty(0, np.int64)
        if len(bad):
            kind = Fault.BAD_NUMBER if pa.types.is_floating(wanted) else Fault.BAD_TIMESTAMP
            form = _form(wanted, piece.writing.decimal)
            said = (f"{name} = {cells[row].as_py()!r:.80}; wanted is {form}" for row in bad)
            faults.add_rows(kind, lines[bad], said)
            refused[name] = np.isin(np.arange(len(lines)), bad)
    return Columns(pa.table(columns), lines, refused)


def _header_again(
    texts: Mapping[str, pa.Array], lines: npt.NDArray[np.int32], piece: _Piece, faults: FaultLog
) -> npt.NDArray[np.bool_]:
    """Rows that are the header once more, as in files that were put together; raises where columns change places."""
    again = np.full(len(lines), piece.header.line > 0)
    names = pa.array([name.casefold() for name in piece.header.names])
    lowered = {name: pc.utf8_lower(pc.utf8_trim_whitespace(cells)) for name, cells in texts.items()}
    for cells in lowered.values():
        again &= np.asarray(pc.is_in(cells, value_set=names).to_numpy(zero_copy_only=False), bool)
    for row in np.flatnonzero(again):
        found = {name: cells[row].as_py() for name, cells in lowered.items()}
        if any(cell != name.strip().casefold() for name, cell in found.items()):
            moved = ", ".join(found)
            text = f"line {lines[row]} has the header again, with other columns in the places of {moved}; cut it there"
            raise UnusableFileError(Fault.AMBIGUOUS_COLUMN, text)
    faults.add_rows(Fault.REPEATED_HEADER, lines[again], (piece.header.text[:120] for _ in lines))
    return again


def _form(wanted: pa.DataType, decimal: str) -> str:
    """An example of a cell of a type."""
    if pa.types.is_floating(wanted):
        return f"0{decimal}25, with a decimal {'point' if decimal == '.' else 'comma'} and no other marks"
    return "2025-02-01 00:15:00" + ("+00:00, with its offset from UTC" if wanted == UTC_TIME else ", without an offset")


def _text(cell: pa.Scalar, nothing: set[str]) -> str | None:
    """A cell's text; None for a word for nothing, also with spaces around it."""
    raw = cell.as_py()
    text = None if raw is None else raw.decode("utf-8", "replace")
    return None if text is None or text.strip() in nothing else text


def _with_point(cells: pa.Array, decimal: str) -> pa.Array:
    """Numbers with a decimal point; one that has a point where commas are decimal stays no number."""
    if decimal == ".":
        return cells
    return pc.replace_substring(pc.replace_substring(cells, ".", "?"), decimal, ".")


def _times(
    cells: pa.Array, wanted: pa.DataType, lines: npt.NDArray[np.int32], faults: FaultLog
) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Timestamps; 24:00, the end of a day in many exports, is 00:00 of the next day."""
    cells = pc.replace_substring_regex(pc.utf8_trim_whitespace(cells), r"(\.\d{6})\d{1,3}", r"\1")
    late = np.asarray(pc.match_substring_regex(cells, HOUR_24.pattern).fill_null(False).to_numpy(False), bool)
    if not late.any():
        return _column(cells, wanted)
    midnight = pc.replace_substring_regex(cells, HOUR_24.pattern, r"\100:00\2\5")
    times, bad = _column(pc.if_else(pa.array(late), midnight, cells), wanted)
    late[bad] = False
    us = np.asarray(times.cast(pa.int64()).fill_null(0).to_numpy(), np.int64)
    good = np.asarray(times.is_valid().to_numpy(zero_copy_only=False), bool)
    times = pa.array(np.where(late, us + DAY_US, us), mask=~good).cast(wanted)
    faults.add_rows(Fault.HOUR_24, lines[late], (f"taken as {times[row]}" for row in np.flatnonzero(late)))
    return times, bad


def _column(texts: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The cells as the wanted type, and the rows that were refused (null in the result)."""
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
