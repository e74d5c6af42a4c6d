"""NEM12, the interval data of Australia's electricity market: several meters and streams in one CSV file.

Read about the format: AEMO, "Meter Data File Format Specification NEM12 & NEM13" (versions 1.02 and 2.x). In short:

    100 the file's head, 900 its end
    200 a stream of a meter: its NMI (the connection), suffix (E1 drawn, B1 fed in, K1 reactive), unit, interval length
    300 one day of it: date, one value an interval, quality, and when it was last updated
    400 the quality of some intervals of that day, where the 300 record says V
    500 who read the meter, which is not needed here

Days are those of Australian Eastern Standard Time (UTC+10, no summer time) in every state. The first value of a day is
what flowed from 00:00 to the end of the first interval. Streams with the suffixes E1, E2 (e.g. a controlled load) of
one NMI are summed, and so are B1, B2; where a stream lacks an interval, the sum is missing. Of a day that is there
twice the later update counts, else the first. NEM13 files hold a basic meter's state every few months and are refused:
there are no intervals in them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import text
from neurogrid.data.layouts.blocks import MINUTE_US, SECOND_US, Floats, Given, tables
from neurogrid.data.readings import UnusableFileError

NAME = "nem12"
ENDS = False
LABELS = "utc"
"""Starts of intervals: the module turns the format's days, which are UTC+10, to UTC."""
REGISTER = False
MINUTES = 30

INTERVALS = (1, 5, 10, 15, 30)
KWH = {"kwh": 1.0, "wh": 0.001, "mwh": 1000.0}
DAY_MINUTES = 24 * 60
AEST_US = 10 * 60 * MINUTE_US
MEASURED, ESTIMATED, MISSING, BY_INTERVAL = "A", frozenset("SFE"), "N", "V"
LONGEST_NAME = 50
"""Of an NMI; real ones have 10 characters, or 11 with their check digit, but published data has other names."""


@dataclass
class Day:
    """One day of one stream: (n,) energies in kWh, NaN where missing, and which of them were not measured."""

    values: Floats
    estimated: npt.NDArray[np.bool_]
    by_interval: bool
    minutes: int
    updated: str
    line: int


@dataclass
class Stream:
    """What a 200 record says of the 300 records under it. `why_not` tells why they are passed over."""

    nmi: str
    suffix: str
    factor: float
    minutes: int
    why_not: str = ""


def is_it(beginning: bytes, name: str) -> str:
    """Why a file is NEM12 or NEM13; empty where it is not."""
    first, second = [*text.first_lines(beginning)[:2], "", ""][:2]
    record = [cell.upper() for cell in text.cells(first, ",")[:2]]
    if record in (["100", "NEM12"], ["100", "NEM13"]):
        return f"its first record is 100,{record[1]}"
    if first.startswith("200,") and second.startswith("300,"):
        return "it begins with a 200 and a 300 record, as NEM12 files without a head do"
    return ""


def rows(stream: BinaryIO, name: str, faults: FaultLog) -> Iterator[pa.Table]:
    """The file's intervals as tables of ROWS; an NMI is held in memory until the next one begins.

    Raises:
        UnusableFileError: not NEM12, a NEM13 file, no intervals of energy, or streams of one NMI that lie apart.
    """
    reader = _Reader(faults)
    for line, record in text.lines(stream):
        cells = text.cells(record, ",")
        if reader.kind == "":
            reader.begin(cells, line, record)
        match cells[0]:
            case "100":
                reader.end(name)
                reader.ended = False
            case "200":
                wanted = reader.stream_of(cells, line)
                if reader.nmi and wanted.nmi != reader.nmi:
                    yield from reader.given_away()
                reader.enter(wanted)
            case "300":
                reader.day(cells, line)
            case "400":
                reader.quality(cells, line)
            case "500":
                pass
            case "900":
                reader.ended = True
            case other:
                faults.add(Fault.BROKEN_ROW, f"no record of NEM12: {other!r:.{text.SHOWN}}", line)
    if reader.kind == "":
        raise UnusableFileError(Fault.EMPTY_FILE, f"{name} has no records")
    reader.end(name)
    yield from reader.given_away()
    if not reader.any_given:
        raise UnusableFileError(
            Fault.NO_READINGS, f"no interval of energy drawn (E) or fed in (B) in {name}; {text.cause(faults)}"
        )


@dataclass
class _Reader:
    faults: FaultLog
    kind: str = ""
    ended: bool = True
    nmi: str = ""
    stream: Stream | None = None
    latest: Day | None = None
    days: dict[str, dict[int, Day]] = field(default_factory=dict)
    given: Given = field(default_factory=Given)
    any_given: bool = False

    def begin(self, cells: list[str], line: int, record: str) -> None:
        """Checks that the first record is one of NEM12."""
        head = [cell.upper() for cell in cells[:2]]
        if head == ["100", "NEM13"]:
            raise UnusableFileError(
                Fault.UNREADABLE_FILE,
                "a NEM13 file: states of basic meters, months apart, from which no load in intervals can be had; "
                "ask for NEM12 (interval data) of a smart meter",
            )
        if head != ["100", "NEM12"] and cells[0] != "200":
            raise UnusableFileError(
                Fault.UNREADABLE_FILE, f"not NEM12: line {line} is {record!r:.{text.SHOWN}}; wanted is 100,NEM12,..."
            )
        self.kind = "nem12"

    def end(self, name: str) -> None:
        """Counts a file, or one of several that were put together, that has no end."""
        if not self.ended:
            self.faults.add(Fault.CUT_SHORT, f"{name} has no 900 record, which ends a NEM12 file")

    def stream_of(self, cells: list[str], line: int) -> Stream:
        """What a 200 record says; where it cannot be read, the days under it are broken too."""
        if len(cells) > 10 and cells[2].isdigit() and len(cells[2]) == 1:
            cells = [*cells[:2], *cells[3:]]  # some portals give the NMI's check digit a cell of its own
        if len(cells) < 9 or not 0 < len(cells[1]) <= LONGEST_NAME or not cells[4] or len(cells[4]) > 4:
            self.faults.add(
                Fault.BROKEN_ROW, f"a 200 record without NMI, suffix or interval: {','.join(cells)[:80]}", line
            )
            return Stream(self.nmi, "", 0.0, 0, "broken")
        _, nmi, _, _, suffix, _, _, unit, length = cells[:9]
        suffix = suffix.upper()
        if not suffix.startswith(("E", "B")):
            return Stream(nmi, suffix, 0.0, 0, f"stream {suffix} is neither energy drawn (E) nor fed in (B)")
        if unit.casefold() not in KWH:
            return Stream(nmi, suffix, 0.0, 0, f"stream {suffix} is in {unit[:20]}; wanted is kWh, Wh or MWh")
        if not (length.isascii() and length.isdigit() and len(length) < 4 and int(length) in INTERVALS):
            allowed = ", ".join(map(str, INTERVALS))
            self.faults.add(Fault.BROKEN_ROW, f"interval length {length[:20]!r}; wanted is {allowed} minutes", line)
            return Stream(nmi, suffix, 0.0, 0, "broken")
        return Stream(nmi, suffix, KWH[unit.casefold()], int(length))

    def enter(self, stream: Stream) -> None:
        """Takes the stream whose days follow."""
        self.nmi, self.stream, self.latest = stream.nmi, stream, None
        if not stream.why_not:
            self.days.setdefault(stream.suffix, {})

    def day(self, cells: list[str], line: int) -> None:
        """Takes a 300 record."""
        self.latest, stream = None, self.stream
        if stream is None or stream.why_not == "broken":
            self.faults.add(Fault.BROKEN_ROW, "a 300 record without a 200 record that can be used before it", line)
            return
        if stream.why_not:
            self.faults.add(Fault.PASSED_OVER, f"NMI {stream.nmi}: {stream.why_not}", line)
            return
        count = DAY_MINUTES // stream.minutes
        start = _start_us(cells[1]) if len(cells) > 1 else None
        if start is None:
            self.faults.add(
                Fault.BAD_TIMESTAMP, f"date = {','.join(cells[1:2])!r:.{text.SHOWN}}; wanted is 20250131", line
            )
            return
        quality = cells[2 + count][:1].upper() if len(cells) > 2 + count else ""
        if quality not in {MEASURED, MISSING, BY_INTERVAL, *ESTIMATED}:
            self.faults.add(
                Fault.BROKEN_ROW,
                f"no quality (A, E, F, S, N or V) after {count} values of {stream.minutes} min; "
                f"the record has {len(cells)} cells",
                line,
            )
            return
        updated = cells[5 + count] if len(cells) > 5 + count else ""
        self._keep(start, self._values(cells[2 : 2 + count], quality, stream, updated, line))

    def _values(self, cells: list[str], quality: str, stream: Stream, updated: str, line: int) -> Day:
        count = len(cells)
        if quality == MISSING:
            self.faults.add_rows(Fault.NULL_VALUE, np.full(count, line, np.int32), ("quality N" for _ in cells))
            values = np.full(count, np.nan)
        else:
            values = np.array(text.energies(cells, [stream.suffix] * count, line, self.faults, stream.factor))
        # Of quality V, what no 400 record calls measured is not taken for it.
        return Day(values, np.full(count, quality != MEASURED), quality == BY_INTERVAL, stream.minutes, updated, line)

    def _keep(self, start: int, day: Day) -> None:
        assert self.stream is not None
        days = self.days[self.stream.suffix]
        before = days.get(start)
        newer = before is not None and day.updated.isdigit() and day.updated > before.updated
        if before is not None:
            kept = "the later update" if newer else "the first"
            text_ = f"{self.stream.suffix} of the day is in line {before.line} too; {kept} is kept"
            self.faults.add(Fault.DUPLICATE, text_, day.line)
        if before is None or newer:
            days[start] = self.latest = day

    def quality(self, cells: list[str], line: int) -> None:
        """Takes a 400 record: the quality of a range of intervals of the day before it."""
        if self.stream is not None and self.stream.why_not:
            return  # its day was counted
        day = self.latest
        ends = [int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 5 else 0 for cell in cells[1:3]]
        flag = cells[3][:1].upper() if len(cells) > 3 else ""
        if day is None or not day.by_interval:
            self.faults.add(Fault.BROKEN_ROW, "a 400 record without a day of quality V before it", line)
        elif len(ends) < 2 or not 0 < ends[0] <= ends[1] <= len(day.values):
            self.faults.add(Fault.BROKEN_ROW, f"a 400 record for intervals {','.join(cells[1:3])[:80]}", line)
        elif flag not in {MEASURED, MISSING, *ESTIMATED}:
            self.faults.add(Fault.BROKEN_ROW, f"a 400 record of quality {flag!r}", line)
        else:
            part = slice(ends[0] - 1, ends[1])
            day.estimated[part] = flag != MEASURED
            if flag == MISSING:
                gone = np.isfinite(day.values[part]).sum()
                self.faults.add_rows(
                    Fault.NULL_VALUE, np.full(gone, line, np.int32), ("quality N" for _ in range(gone))
                )
                day.values[part] = np.nan

    def given_away(self) -> Iterator[pa.Table]:
        """The rows of the NMI so far, which the reader then no longer holds."""
        streams, self.days, self.latest = self.days, {}, None
        starts = sorted({start for days in streams.values() for start in days})
        if not starts:
            return
        self.any_given = True
        self.given.add(self.nmi, sorted(streams), starts[0], starts[-1])
        drawn = {suffix: days for suffix, days in streams.items() if suffix.startswith("E")}
        fed_in = {suffix: days for suffix, days in streams.items() if suffix.startswith("B")}
        step = max(1, 100_000 // (DAY_MINUTES // min(d.minutes for days in streams.values() for d in days.values())))
        for first in range(0, len(starts), step):
            parts = [self._joined(start, drawn, fed_in) for start in starts[first : first + step]]
            labels, values, exports, estimated, minutes, lines = map(np.concatenate, zip(*parts, strict=True))
            yield from tables(self.nmi, labels, values, exports, estimated, minutes, lines)

    def _joined(
        self, start: int, drawn: dict[str, dict[int, Day]], fed_in: dict[str, dict[int, Day]]
    ) -> tuple[npt.NDArray[Any], ...]:
        """One day's columns from all streams, in the shortest intervals into which all of theirs go."""
        found = [days[start] for days in (*drawn.values(), *fed_in.values()) if start in days]
        minutes, line = math.lcm(*(day.minutes for day in found)), min(day.line for day in found)
        count = DAY_MINUTES // minutes
        estimated = np.zeros(count, bool)
        for day in found:
            estimated |= day.estimated.reshape(count, -1).any(axis=1)
        labels = start + np.arange(count) * minutes * MINUTE_US
        values, exports = (self._sum(start, streams, count, line) for streams in (drawn, fed_in))
        return labels, values, exports, estimated, np.full(count, minutes), np.full(count, line)

    def _sum(self, start: int, streams: dict[str, dict[int, Day]], count: int, line: int) -> Floats:
        missing = [suffix for suffix, days in streams.items() if start not in days]
        if missing and len(missing) < len(streams):
            note = f"NMI {self.nmi}: no {', '.join(missing)} for the day, so no sum"
            self.faults.add_rows(Fault.NULL_VALUE, np.full(count, line, np.int32), (note for _ in range(count)))
        if missing or not streams:
            return np.full(count, np.nan)
        total = sum((days[start].values.reshape(count, -1).sum(axis=1) for days in streams.values()), np.zeros(count))
        over = ~np.isfinite(total) & ~np.isnan(total)
        self.faults.add_rows(
            Fault.NOT_FINITE, np.full(over.sum(), line, np.int32), (f"NMI {self.nmi}: sum" for _ in range(count))
        )
        return np.where(over, np.nan, total)


def _start_us(date: str) -> int | None:
    """Start of a day of AEST, in microseconds UTC; None where the text is no date from 1970 on."""
    if len(date) != 8 or not (date.isascii() and date.isdigit()):
        return None
    try:
        day = datetime(int(date[:4]), int(date[4:6]), int(date[6:]), tzinfo=UTC)
    except ValueError:
        return None
    return int(day.timestamp()) * SECOND_US - AEST_US if 1970 < day.year < 2100 else None
