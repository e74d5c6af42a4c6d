"""Lines, cells and numbers of text files that are read as a stream: whatever the bytes, a cell is read or counted."""

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import BinaryIO

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.packed import ENDINGS
from neurogrid.data.readings import UnusableFileError

LONGEST_LINE = 1 << 20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_FAR_FROM_INFINITE = 1e300
_EMPTY = frozenset({"", "null", "none", "nan", "na", "n/a"})
_TIME = re.compile(
    r"((?P<year>\d{4})-(?P<month>\d\d?)-(?P<day>\d\d?)|(?P<day2>\d\d?)\.(?P<month2>\d\d?)\.(?P<year2>\d{4}))"
    r"[ T](?P<hour>\d\d?):(?P<minute>\d\d)(:(?P<second>\d\d)([.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?P<utc>Z)?((?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?)?",
    re.ASCII,
)
SHOWN = 80
"""Characters of a cell or a line that a note shows."""


def lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, without their ends, with their number from 1.

    Raises:
        UnusableFileError: a line is longer than LONGEST_LINE bytes, or the stream cannot be read.
    """
    number = 0
    while raw := _line(stream, number + 1):
        number += 1
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8", "replace").strip("\r\n")
        if text.strip():
            yield number, text


def _line(stream: BinaryIO, number: int) -> bytes:
    try:
        raw = stream.readline(LONGEST_LINE + 1)
    except (OSError, EOFError, ValueError) as error:
        raise UnusableFileError(Fault.UNREADABLE_FILE, f"line {number}: {error}") from None
    if len(raw) > LONGEST_LINE:
        raise UnusableFileError(Fault.UNREADABLE_FILE, f"line {number} is longer than {LONGEST_LINE:,} bytes; not text")
    return bytes(raw)


def cells(line: str, separator: str) -> list[str]:
    """A line's cells, bare of quotes and of spaces around them."""
    if '"' not in line:
        return [cell.strip() for cell in line.split(separator)]
    try:
        return [cell.strip() for row in csv.reader([line], delimiter=separator) for cell in row]
    except csv.Error:
        return [cell.strip() for cell in line.split(separator)]


@dataclass(frozen=True)
class Header:
    """The first line of a table: its separator, the place of each column by name in lower case, and how many cells."""

    separator: str
    columns: Mapping[str, int]
    width: int

    def named(self, text: str) -> list[str]:
        """Columns whose name has a part."""
        return [name for name in self.columns if text in name]


def header(numbered: Iterator[tuple[int, str]], required: Sequence[str], name: str) -> Header:
    """The header of a table, from its first line.

    Raises:
        UnusableFileError: no line, or a required column is missing, or a column is there twice.
    """
    number, line = next(numbered, (0, ""))
    if not number:
        raise UnusableFileError(Fault.EMPTY_FILE, f"{name} has no lines")
    separator = max(",;\t|", key=lambda each: len(cells(line, each)))
    names = [cell.casefold() for cell in cells(line, separator)]
    where = f"in {line!r:.200} (line {number}, separator {separator!r})"
    for wanted in required:
        if names.count(wanted) != 1:
            kind = Fault.AMBIGUOUS_COLUMN if wanted in names else Fault.MISSING_COLUMN
            raise UnusableFileError(kind, f"{names.count(wanted)} columns {wanted!r} {where}; wanted is one")
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise UnusableFileError(Fault.AMBIGUOUS_COLUMN, f"column {twice[0]!r} is there more than once {where}")
    return Header(separator, {name: place for place, name in enumerate(names)}, len(names))


def table(numbered: Iterator[tuple[int, str]], head: Header, faults: FaultLog) -> Iterator[tuple[int, list[str]]]:
    """Rows of a table with as many cells as its header, with their line; others are counted."""
    for number, line in numbered:
        row = cells(line, head.separator)
        if len(row) == head.width:
            yield number, row
        else:
            faults.add(Fault.BROKEN_ROW, f"{len(row)} cells for {head.width}: {line[:SHOWN]}", number)


def clock_us(text: str) -> tuple[int, bool] | None:
    """Microseconds since 1970 of a time, and whether it has an offset, so that they are of UTC; None where it is none.

    Times are 2025-01-31 00:15, with T, seconds and an offset (or Z) where they are there, or 31.01.2025 00:15.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    year, month, day = (int(part[name] or part[f"{name}2"]) for name in ("year", "month", "day"))
    try:
        clock = datetime(year, month, day, int(part["hour"]), int(part["minute"]), int(part["second"] or 0), tzinfo=UTC)
        fraction = int((part["fraction"] or "").ljust(6, "0")[:6])
        offset = timedelta(0)
        if part["sign"]:
            offset = timedelta(hours=int(part["hours"]), minutes=int(part["minutes"] or 0))
            offset = -offset if part["sign"] == "-" else offset
    except ValueError:
        return None
    if not 1970 < clock.year < 2100:
        return None
    micros = (clock - offset - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) + fraction
    return micros, bool(part["sign"] or part["utc"])


def number(text: str) -> float | None:
    """A number with a decimal point; None where the text is none. Infinite where it is too large."""
    return float(text) if _NUMBER.fullmatch(text) else None


def energy(text: str, what: str, line: int, faults: FaultLog, factor: float = 1.0, signed: bool = False) -> float:
    """A cell as energy; NaN where it is empty or refused, which is counted.

    Args:
        text: the cell, with a decimal point, or a comma where there are no thousands.
        what: the column, for the note.
        line: in the file.
        faults: takes what is wrong.
        factor: to kWh.
        signed: whether it may be below zero.
    """
    value = number(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    if value is None:
        kind = Fault.NULL_VALUE if text.casefold() in _EMPTY else Fault.BAD_NUMBER
    elif not math.isfinite(value * factor):
        kind = Fault.NOT_FINITE
    elif value < 0 and not signed:
        kind = Fault.NEGATIVE
    else:
        return value * factor
    faults.add(kind, f"{what} = {text!r:.{SHOWN}}", line)
    return math.nan


def energies(row: Sequence[str], names: Sequence[str], line: int, faults: FaultLog, factor: float = 1.0) -> list[float]:
    """Cells of one line as energies in kWh, as `energy` reads each; faster for lines of numbers throughout."""
    whole = ",".join(row)
    if whole.isascii() and "_" not in whole:
        try:
            values = [float(cell) for cell in row]
        except ValueError:
            values = [math.nan]
        if all(0.0 <= value < _FAR_FROM_INFINITE for value in values):
            return [value * factor for value in values]
    return [energy(cell, name, line, faults, factor) for cell, name in zip(row, names, strict=True)]


def total(row: Sequence[str], names: Sequence[str], head: Header, line: int, faults: FaultLog) -> float:
    """The sum of a row's cells of some columns, in kWh; NaN where one is empty or refused, or there are no columns."""
    if not names:
        return math.nan
    kwh = sum(energy(row[head.columns[name]], name, line, faults) for name in names)
    if math.isinf(kwh):
        faults.add(Fault.NOT_FINITE, f"the sum of {', '.join(names)}", line)
        return math.nan
    return kwh


def cause(faults: FaultLog) -> str:
    """Why a file gives no rows, as far as its log tells: what took most rows, or else the first note."""
    return faults.cause() or next((f"{note.kind}: {note.text}" for note in faults.notes), "no rows")


def stem(name: str) -> str:
    """The name of a file without its folder, its packing and its ending; the whole name where nothing else is left."""
    bare = PurePosixPath(name).name
    for ending in ENDINGS:
        if bare.lower().endswith(ending):
            bare = bare[: -len(ending)]
            break
    return bare.rpartition(".")[0] or bare or name


def first_line(beginning: bytes) -> str:
    """The first line of a file's beginning that is not blank, as text."""
    return next(iter(first_lines(beginning)), "")


def first_lines(beginning: bytes) -> list[str]:
    """Lines of a file's beginning that are not blank, as text; the last may be cut."""
    text = beginning.decode("utf-8-sig", "replace")
    return [line.strip() for line in text.splitlines() if line.strip()]
