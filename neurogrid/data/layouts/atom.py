"""Atom feeds with ESPI content, parsed as they come: entries with their links and few leaves, readings in arrays."""

import re
from array import array
from dataclasses import dataclass, field
from typing import BinaryIO
from xml.parsers import expat

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import text
from neurogrid.data.readings import UnusableFileError

MEASURED, ESTIMATED, UNSAID = 0, 1, 2
NOT_MEASURED = frozenset({"7", "8", "9", "10", "12", "13", "15"})
"""Qualities: edited, estimated (8, 9), questionable, forecast, mixed, weather-normalised."""

LATEST_S = 4_102_444_800
"""The year 2100."""
_LONGEST_TOKEN = 1 << 20
_LONGEST_TEXT = 1_000
_DEEPEST = 60
_MOST_ENTRIES = 200_000
_BROKEN = (expat.ExpatError, ValueError, LookupError, OSError, EOFError)


@dataclass
class Entry:
    """An Atom entry without its readings: links, and the text of the leaves that its content has."""

    line: int
    kind: str = ""
    own: str = ""
    up: str = ""
    related: list[str] = field(default_factory=list)
    leaves: dict[str, str] = field(default_factory=dict)


@dataclass
class Series:
    """Readings of all blocks with one `up` link, in the file's order.

    Attributes:
        up: that link.
        starts: seconds since 1970.
        durations: seconds; 0 where the reading does not say.
        values: in the unit of the reading type; NaN where refused.
        qualities: MEASURED, ESTIMATED or UNSAID.
        lines: in the file.
    """

    up: str
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    durations: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    qualities: bytearray = field(default_factory=bytearray)
    lines: "array[int]" = field(default_factory=lambda: array("q"))

    def extend(self, other: "Series") -> None:
        """Takes another's readings after its own."""
        self.starts.extend(other.starts)
        self.durations.extend(other.durations)
        self.values.extend(other.values)
        self.qualities.extend(other.qualities)
        self.lines.extend(other.lines)


@dataclass
class Feed:
    """What is read of a feed so far.

    Attributes:
        faults: takes readings that cannot be used.
        entries: those without readings.
        series: readings by the `up` link of their blocks.
        latest: the `up` link of the block that came last.
    """

    faults: FaultLog
    entries: list[Entry] = field(default_factory=list)
    series: dict[str, Series] = field(default_factory=dict)
    latest: str = ""

    @property
    def held(self) -> int:
        """Readings in memory."""
        return sum(len(series.lines) for series in self.series.values())

    def of_kind(self, kind: str) -> list[Entry]:
        """Entries whose content is of a kind."""
        return [entry for entry in self.entries if entry.kind == kind]

    def parent(self, kind: str, up: str, last: bool) -> Entry | None:
        """The entry of a kind to which another with this `up` link belongs; the only one where links do not tell."""
        entries = self.of_kind(kind)
        for entry in entries:
            if up and (up in entry.related or (entry.own and up.rpartition("/")[0] == entry.own)):
                return entry
        return entries[0] if last and len(entries) == 1 else None

    def take(self, entry: Entry, readings: Series | None) -> None:
        """Takes an entry that has ended."""
        if readings is None or entry.kind != "IntervalBlock":
            self.entries.append(entry)
            if len(self.entries) > _MOST_ENTRIES:
                raise UnusableFileError(
                    Fault.UNREADABLE_FILE, f"more than {_MOST_ENTRIES:,} entries that are no readings"
                )
        if readings is not None and len(readings.lines):
            self.latest = entry.up or entry.own.rpartition("/")[0]
            self.series.setdefault(self.latest, Series(self.latest)).extend(readings)


class FeedParser:
    """Feeds expat and keeps what it finds in a Feed."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._fed = 0
        self._path: list[str] = []
        self._text = ""
        self._entry: Entry | None = None
        self._readings: Series | None = None
        self._reading: dict[str, str] | None = None
        self._expat = expat.ParserCreate(namespace_separator=" ")
        self._expat.buffer_text = True
        self._expat.StartDoctypeDeclHandler = self._refuse_doctype
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._data

    def read(self, stream: BinaryIO, size: int, name: str) -> bool:
        """Parses the next bytes; False at the file's end, also where it comes too early, which is counted.

        Raises:
            UnusableFileError: not XML, or XML that no feed needs (a document type, endless depth, text or tags).
        """
        try:
            chunk = stream.read(size)
            self._expat.Parse(chunk, not chunk)
        except _BROKEN as error:
            if not self._feed.series:
                raise UnusableFileError(Fault.UNREADABLE_FILE, f"no XML that can be read: {error}") from None
            self._feed.faults.add(Fault.CUT_SHORT, f"{name}: {error}", self._expat.CurrentLineNumber)
            if self._readings is not None:
                self._feed.take(self._entry or Entry(0, "IntervalBlock"), self._readings)
            return False
        self._fed += len(chunk)
        if chunk and self._fed - self._expat.CurrentByteIndex > _LONGEST_TOKEN:
            self._refuse(f"one piece of XML is longer than {_LONGEST_TOKEN:,} bytes")
        return bool(chunk)

    def _refuse(self, why: str) -> None:
        raise UnusableFileError(Fault.UNREADABLE_FILE, f"line {self._expat.CurrentLineNumber}: {why}")

    def _refuse_doctype(self, *_: object) -> None:
        self._refuse("a document type declaration (DOCTYPE), which Green Button has no use for and which is not read")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        element = name.rpartition(" ")[2]
        above = self._path[-1] if self._path else ""
        self._path.append(element)
        self._text = ""
        if len(self._path) > _DEEPEST:
            self._refuse(f"elements {_DEEPEST} deep")
        line = self._expat.CurrentLineNumber
        if element == "entry":
            self._entry, self._readings = Entry(line), None
        elif element == "link" and above == "entry" and self._entry is not None:
            self._link(self._entry, attributes)
        elif element == "IntervalReading":
            self._reading = {"line": str(line)}
        elif element == "IntervalBlock" and self._readings is None:
            self._readings = Series("")
        if above == "content" and self._entry is not None and not self._entry.kind:
            self._entry.kind = element[:50]

    def _link(self, entry: Entry, attributes: dict[str, str]) -> None:
        link = attributes.get("href", "").strip().rstrip("/")[:_LONGEST_TEXT]
        match attributes.get("rel", "").lower():
            case "self":
                entry.own = link
            case "up":
                entry.up = link
            case "related" if len(entry.related) < 100:
                entry.related.append(link)

    def _data(self, data: str) -> None:
        self._text = (self._text + data[:_LONGEST_TEXT])[:_LONGEST_TEXT]

    def _end(self, name: str) -> None:
        element = self._path.pop()
        above = self._path[-1] if self._path else ""
        said, self._text = self._text.strip(), ""
        if self._reading is not None:
            if element == "IntervalReading":
                self._take_reading(self._reading)
                self._reading = None
            elif above in {"timePeriod", "IntervalReading"}:
                self._reading.setdefault(element, said)
            elif above == "ReadingQuality" and element == "quality":
                worse = said in NOT_MEASURED or self._reading.get("quality") in NOT_MEASURED
                self._reading["quality"] = "8" if worse else said
        elif self._entry is not None and above in {"ReadingType", "ServiceCategory"}:
            self._entry.leaves.setdefault(element[:50], said)
        if element == "entry" and self._entry is not None:
            self._feed.take(self._entry, self._readings)
            self._entry = self._readings = None
        elif element == "IntervalBlock" and self._entry is None and self._readings is not None:
            self._feed.take(Entry(0, "IntervalBlock"), self._readings)
            self._readings = None

    def _take_reading(self, said: dict[str, str]) -> None:
        readings, faults, line = self._readings, self._feed.faults, int(said["line"])
        start, length = said.get("start", ""), said.get("duration", "")
        if readings is None:
            faults.add(Fault.BROKEN_ROW, "an IntervalReading outside an IntervalBlock", line)
        elif not re.fullmatch(r"\d{1,10}", start, re.ASCII) or int(start) > LATEST_S:
            faults.add(Fault.BAD_TIMESTAMP, f"start = {start!r:.{text.SHOWN}}; wanted is seconds since 1970", line)
        elif length and not re.fullmatch(r"\d{1,9}", length, re.ASCII):
            faults.add(Fault.BAD_TIMESTAMP, f"duration = {length!r:.{text.SHOWN}}; wanted is seconds", line)
        else:
            quality = said.get("quality", "")
            readings.starts.append(int(start))
            readings.durations.append(int(length or 0))
            readings.values.append(text.energy(said.get("value", ""), "value", line, faults, signed=True))
            readings.qualities.append(UNSAID if not quality else ESTIMATED if quality in NOT_MEASURED else MEASURED)
            readings.lines.append(line)
