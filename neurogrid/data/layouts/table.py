"""A block of a table to rows, by its declaration: labels as moments of the declared clock, values in kWh or kW.

The same for a household's own file, read in its task, and for a piece of a file of many households in staging.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from neurogrid.data.columns import rows_of, rows_with_time, trimmed
from neurogrid.data.faults import NO_ROWS, Fault, FaultLog
from neurogrid.data.layouts.declaration import KWH, Declaration
from neurogrid.data.layouts.pieces import Piece, blocks
from neurogrid.data.layouts.times import Moments, by_pattern, unix
from neurogrid.data.readings import (
    IDENTIFIER,
    NAIVE_TIME,
    UTC_TIME,
    Columns,
    Header,
    UnusableFileError,
    Writing,
    header_of,
    parse,
)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """Rows of a table that have a time.

    Attributes:
        household: (n,) as a dictionary; None in a household's own file.
        labels: (n,) microseconds since 1970 by the clock that the declaration names.
        value, export: (n,) kWh or kW; NaN where there is no number.
        empty: (n,) where a cell of the value is empty, or marked as missing, and not one that could not be read.
        estimated: (n,) whether the row is marked as estimated.
        line: (n,) in the file.
        file_rows: rows read, with those that are not here.
        minutes: that each row covers, where the file says so, else 0.
        read: line and household of all rows read; None where the rows have no household of their own.
    """

    household: pa.DictionaryArray | None
    labels: npt.NDArray[np.int64]
    value: Floats
    export: Floats
    empty: Bools
    estimated: Bools
    line: npt.NDArray[np.int32]
    file_rows: int
    minutes: int = 0
    read: tuple[npt.NDArray[np.int32], pa.DictionaryArray] | None = None


def writing_of(declaration: Declaration) -> Writing:
    """How the layout's tables are written."""
    return Writing(declaration.separator, declaration.decimal, declaration.nulls)


def header(beginning: bytes, declaration: Declaration) -> Header:
    """A table's columns, from its first bytes in UTF-8.

    Raises:
        UnusableFileError: there is no such line, or it is no text.
    """
    at, number = 0, 0
    while at < len(beginning):
        end = _line_end(beginning, at)
        line = beginning[at:end]
        if number >= declaration.skip_lines and line.strip():
            found = header_of(line, declaration.separator)
            if declaration.header:
                return Header(found.names, number + 1, found.text)
            return Header(tuple(str(column + 1) for column in range(len(found.names))), number, found.text)
        at, number = end, number + 1
    raise UnusableFileError(Fault.EMPTY_FILE, f"{len(beginning):,} bytes, no rows")


def _line_end(content: bytes, at: int) -> int:
    """Where the line that begins at `at` ends, its line end included."""
    found = content.find(b"\n", at)
    if found < 0:
        found = content.find(b"\r", at)
    return found + 1 if found >= 0 else len(content)


def check_columns(found: Header, declaration: Declaration) -> None:
    """Raises UnusableFileError where a declared column is missing or there twice, or a wide table has no household."""
    for name in declaration.columns:
        found.position(name, declaration.separator)
    if declaration.shape == "wide" and not households_across(found, declaration):
        text = f'no column of a household in "{found.text[:200]}" (line {found.line})'
        raise UnusableFileError(Fault.MISSING_COLUMN, text)


def read_piece(
    piece: Piece, head: Header | None, declaration: Declaration, owner: str | None, faults: FaultLog, block_bytes: int
) -> Iterator[Rows]:
    """A piece's rows, block by block.

    Args:
        piece: what to read.
        head: the file's columns; None where the piece begins with the file, and says so itself.
        declaration: of the layout.
        owner: the household that the file is of; None where its rows say so.
        faults: what cannot be used is counted here. Lines count from the piece's first, without blank ones.
        block_bytes: of text that is held at a time.

    Raises:
        UnusableFileError: the piece is no such table.
    """
    before, at = 0, 0
    for block in blocks(piece, declaration.encoding, block_bytes):
        if before == 0 and piece.begin == 0:
            head = header(block, declaration)
            check_columns(head, declaration)
            before = head.line
            for _ in range(head.line):
                at = _line_end(block, at)
        assert head is not None
        content = memoryview(block)[at:] if at else block
        at = 0
        if not (bytes(content[:_SOME]).strip() or bytes(content).strip()):
            continue
        dropped = sum(faults.counts[kind] for kind in NO_ROWS)
        columns = parse(content, head, _types(head, declaration), writing_of(declaration), faults, before)
        read = len(columns.line) + sum(faults.counts[kind] for kind in NO_ROWS) - dropped
        before += read
        del block, content
        yield from _rows(columns, head, declaration, owner, read, faults)


_SOME = 200
"""So many bytes tell that a block is not blank, but for one that begins with blank lines."""


def _types(head: Header, declaration: Declaration) -> dict[str, pa.DataType]:
    types: dict[str, pa.DataType] = {}
    if declaration.household:
        types[declaration.household] = IDENTIFIER
    if declaration.time_format == "iso" and len(declaration.time) == 1:
        types[declaration.time[0]] = NAIVE_TIME if declaration.zone else UTC_TIME
    else:
        types |= dict.fromkeys(declaration.time, pa.string())
    if declaration.shape == "wide":
        types |= dict.fromkeys(households_across(head, declaration), pa.float64())
    types |= dict.fromkeys(declaration.values, pa.float64())
    if declaration.quality:
        types[declaration.quality.column] = IDENTIFIER
    return types


def households_across(head: Header, declaration: Declaration) -> list[str]:
    """The columns of a wide table that are households."""
    others = {name.strip().casefold() for name in (*declaration.time, *declaration.not_households)}
    return [name for name in head.names if name.casefold() not in others]


def _rows(
    columns: Columns, head: Header, declaration: Declaration, owner: str | None, file_rows: int, faults: FaultLog
) -> Iterator[Rows]:
    if declaration.household:
        columns = trimmed(columns, declaration.household, faults)
    if declaration.household and owner is not None:
        columns = rows_of(columns, declaration.household, owner, Fault.WRONG_HOUSEHOLD, faults)
    read = None
    if declaration.household and owner is None:
        columns = _with_household(columns, declaration.household, faults)
        read = columns.line, columns.table.column(declaration.household).combine_chunks()
    labels, columns = _labels(columns, declaration, faults)
    if declaration.shape == "wide":
        yield _across(columns, labels, households_across(head, declaration), declaration, file_rows)
        return
    value, empty = _sum(columns, declaration.energy, declaration.optional_energy)
    export = _sum(columns, declaration.export, ())[0] if declaration.export else np.broadcast_to(np.nan, len(labels))
    estimated = np.zeros(len(labels), bool)
    if declaration.quality:
        value, empty, estimated = _by_quality(columns, declaration, value, empty, faults)
    factor = KWH[declaration.unit]
    if factor != 1.0:
        value = value * factor
        export = export * factor if declaration.export else export
    ids = columns.table.column(declaration.household).combine_chunks() if read else None
    yield Rows(ids, labels, value, export, empty, estimated, columns.line, file_rows, read=read)


def _with_household(columns: Columns, name: str, faults: FaultLog) -> Columns:
    """The rows that say whose they are."""
    ids = columns.table.column(name).combine_chunks()
    if not ids.null_count:
        return columns
    nameless = np.asarray(ids.is_null().to_numpy(zero_copy_only=False), bool)
    texts = (f"{name} is empty, or a word for nothing, as NULL or NA" for _ in range(nameless.sum()))
    faults.add_rows(Fault.WRONG_HOUSEHOLD, columns.line[nameless], texts)
    return columns.rows(~nameless)


def _sum(columns: Columns, all_of: tuple[str, ...], optional: tuple[str, ...]) -> tuple[Floats, Bools]:
    value, empty = columns.numbers(all_of[0]), columns.empty(all_of[0])
    for name in all_of[1:]:
        value, empty = value + columns.numbers(name), empty | columns.empty(name)
    for name in optional:
        value = value + np.where(columns.empty(name), 0.0, columns.numbers(name))
    return value, empty


def _across(
    columns: Columns,
    labels: npt.NDArray[np.int64],
    households: list[str],
    declaration: Declaration,
    file_rows: int,
) -> Rows:
    """A wide table as a long one, household after household."""
    n, m = len(labels), len(households)
    ids = pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(np.arange(m, dtype=np.int32), n)), pa.array(households, pa.string())
    )
    value = np.concatenate([columns.numbers(name) for name in households]) * KWH[declaration.unit]
    empty = np.concatenate([columns.empty(name) for name in households])
    nothing, no_row = np.broadcast_to(np.nan, n * m), np.zeros(n * m, bool)
    return Rows(ids, np.tile(labels, m), value, nothing, empty, no_row, np.tile(columns.line, m), file_rows)


def _by_quality(
    columns: Columns, declaration: Declaration, value: Floats, empty: Bools, faults: FaultLog
) -> tuple[Floats, Bools, Bools]:
    """Values without those whose code says that they mean nothing, and which of them are estimated."""
    quality = declaration.quality
    assert quality is not None
    codes = columns.table.column(quality.column).combine_chunks()
    texts = [(code or "").strip() for code in codes.dictionary.to_pylist()]
    meaning: Mapping[str, int] = {
        **dict.fromkeys(quality.good, 0),
        **dict.fromkeys(quality.estimated, 1),
        **dict.fromkeys(quality.missing, 2),
    }
    none = meaning.get("", 3)
    by_code = np.array([meaning.get(text, 3) for text in texts] + [none], np.int64)
    found = by_code[np.asarray(codes.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False), np.int64)]
    unknown = np.flatnonzero(found == 3)
    said = (f"{quality.column} = {codes[row].as_py()!r:.40}, a code that is not declared" for row in unknown)
    faults.add_rows(Fault.BAD_NUMBER, columns.line[unknown], said)
    missing = found == 2
    return np.where(found >= 2, np.nan, value), (empty | missing) & (found != 3), found == 1


def _labels(columns: Columns, declaration: Declaration, faults: FaultLog) -> tuple[npt.NDArray[np.int64], Columns]:
    """Labels of the rows that have one, and those rows."""
    if declaration.time_format == "iso" and len(declaration.time) == 1:
        columns = rows_with_time(columns, declaration.time[0], faults)
        return columns.times(declaration.time[0]), columns
    name = " and ".join(declaration.time)
    texts = [columns.table.column(part).combine_chunks() for part in declaration.time]
    text = texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, " ")
    moments = _moments(text, declaration)
    bad = np.flatnonzero(~moments.good)
    form = time_form(declaration)
    said = (
        f"{name} = {text[row].as_py()!r:.80}; wanted is {form}" if text[row].is_valid else f"{name} is empty"
        for row in bad
    )
    faults.add_rows(Fault.BAD_TIMESTAMP, columns.line[bad], said)
    faults.add_rows(Fault.HOUR_24, columns.line[moments.hour_24], ("taken as 00:00 of the next day",) * len(bad))
    if not len(bad):
        return moments.us, columns
    return moments.us[moments.good], columns.rows(moments.good)


def time_form(declaration: Declaration) -> str:
    """An example of a time as the declaration says that times are written."""
    example = datetime(2025, 2, 1, 0, 15, tzinfo=UTC)
    match declaration.time_format:
        case "unix":
            return f"seconds since 1970, like {example.timestamp():.0f}"
        case "unix_ms":
            return f"milliseconds since 1970, like {example.timestamp():.0f}000"
        case "iso":
            offset = ", without an offset" if declaration.zone else "+00:00, with its offset from UTC"
            return f"{' and '.join(example.strftime('%Y-%m-%d %H:%M:%S').split())}{offset}"
        case pattern:
            return f"{example.strftime(pattern)}, as {pattern} says"


def _moments(text: pa.Array, declaration: Declaration) -> Moments:
    match declaration.time_format:
        case "unix":
            return unix(text, us=1_000_000)
        case "unix_ms":
            return unix(text, us=1_000)
        case "iso":
            return _iso(text, with_offset=not declaration.zone)
        case pattern:
            return by_pattern(text, pattern)


def _iso(text: pa.Array, *, with_offset: bool) -> Moments:
    """ISO times put together of a date and a time of day, which may lack seconds and their fraction."""
    text = pc.utf8_trim_whitespace(text)
    for lacking, added in ((r"\d{1,2}:\d{2}", ":00"), (r"\d{1,2}:\d{2}:\d{2}", ".0")):
        text = pc.replace_substring_regex(text, rf"^(\S+ +{lacking})(Z|[+-].*|)$", rf"\1{added}\2")
    return by_pattern(text, "%Y-%m-%d %H:%M:%S.%f" + ("%z" if with_offset else ""))
