"""Green Button downloads: energy readings as the Energy Services Provider Interface (ESPI) of NAESB writes them in XML.

Read about the format: the schema espiDerived.xsd of NAESB REQ.21 as open-source projects publish it, UtilityAPI's page
"Green Button XML Format", and the codes as IEEE 2030.5 words them. In short, an Atom feed of entries that link to each
other:

    UsagePoint          a connection; its id is taken as the household
    MeterReading        one quantity of a usage point
    ReadingType         what the quantity is: unit, power of ten, direction, whether values are differences
    IntervalBlock       a series of readings of one MeterReading: start (seconds since 1970, UTC), duration, value

An entry belongs to the one whose `related` link is its `up` link. Files of one usage point or one reading type often
have no such links, and then everything belongs to the only one.

The parser is expat, of Python's own library, with document type declarations refused: entities can only be declared
there, so none are expanded and nothing outside the file is read. Unlike an `iterparse` it tells the line of a reading.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import text
from neurogrid.data.layouts.atom import ESTIMATED, NOT_MEASURED, UNSAID, Entry, Feed, FeedParser, Series
from neurogrid.data.layouts.blocks import SECOND_US, Floats, Given, Ints, tables
from neurogrid.data.readings import UnusableFileError

NAME = "espi"
ENDS = False
LABELS = "utc"
REGISTER = False
MINUTES = 60

WATT_HOURS = "72"
ELECTRICITY = frozenset({"", "0", "1", "2"})
"""Commodities: not said, none, electricity metered at secondary or at primary voltage."""
DIFFERENCES = frozenset({"", "0", "4"})
"""Accumulation behaviours: not said, none, delta data. Others, e.g. 3 (cumulative), are registers or powers."""
FORWARD, NET, REVERSE = "1", "4", "19"
UNSAID_WAY = frozenset({"", "0"})
DAY_S = 86_400
HELD_READINGS = 1_000_000
"""Readings in memory, some 40 bytes each; beyond that, whole usage points are given away."""
LONGEST_NAME = 200
MOST_HELD = 8 * HELD_READINGS
_CHUNK = 1 << 16


def is_it(beginning: bytes, name: str) -> str:
    """Why a file is a Green Button download; empty where it is not."""
    if b"<" in beginning[:200] and b"http://naesb.org/espi" in beginning:
        return "it is XML and names http://naesb.org/espi"
    return ""


def rows(stream: BinaryIO, name: str, faults: FaultLog) -> Iterator[pa.Table]:
    """The file's readings as tables of ROWS.

    Raises:
        UnusableFileError: not XML, with a document type declaration, or without electrical energy in differences.
    """
    feed = Feed(faults)
    parser, reader = FeedParser(feed), _Reader(feed, text.stem(name), faults)
    wait = HELD_READINGS
    while parser.read(stream, _CHUNK, name):
        if feed.held >= MOST_HELD:
            raise UnusableFileError(
                Fault.UNREADABLE_FILE,
                f"{feed.held:,} readings of one usage point, or before their reading types; wanted is at most "
                f"{MOST_HELD:,}: split the file by usage point",
            )
        if feed.held >= wait:
            yield from reader.given_away(last=False)
            wait = feed.held + HELD_READINGS
    yield from reader.given_away(last=True)
    if not reader.any_given:
        kinds = sorted({entry.kind for entry in feed.entries if entry.kind})
        raise UnusableFileError(
            Fault.NO_READINGS,
            f"no electrical energy in differences in {name}; wanted is a ReadingType with uom 72 (Wh), flowDirection "
            "1, 4 or 19 and accumulationBehaviour 4, and IntervalReadings of it; found: "
            + (", ".join(kinds) or "no entries")
            + "".join(f"; {reason}" for reason in sorted(reader.reasons)[:5] or [text.cause(faults)]),
        )


@dataclass
class Energy:
    """Readings of one direction of one usage point, in rising order: (n,) each."""

    starts_s: Ints
    durations_s: Ints
    kwh: Floats
    estimated: npt.NDArray[np.bool_]
    lines: Ints

    def only(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Energy":
        """Those that are kept."""
        starts, durations, kwh = self.starts_s[keep], self.durations_s[keep], self.kwh[keep]
        return Energy(starts, durations, kwh, self.estimated[keep], self.lines[keep])


@dataclass
class _Reader:
    feed: Feed
    stem: str
    faults: FaultLog
    given: Given = field(default_factory=Given)
    any_given: bool = False
    named: dict[str, str] = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)

    def given_away(self, last: bool) -> Iterator[pa.Table]:
        """Rows of usage points that are read: all at the end of the file, before it those whose links are all known."""
        points: dict[str, list[tuple[Entry | None, Series]]] = {}
        for key in list(self.feed.series):
            found = self._belongs(key, last)
            if found is not None:
                household, kind = found
                points.setdefault(household, []).append((kind, self.feed.series[key]))
        if not last:
            latest = self._belongs(self.feed.latest, last)
            points = {name: parts for name, parts in points.items() if latest is None or name != latest[0]}
        for household, parts in sorted(points.items()):
            for _, series in parts:
                del self.feed.series[series.up]
            yield from self._rows_of(household, parts)

    def _belongs(self, up: str, last: bool) -> tuple[str, Entry | None] | None:
        """Household and reading type of the blocks with an `up` link; None where they are not known yet."""
        meter = self.feed.parent("MeterReading", up, last)
        links = meter.related if meter else []
        types = self.feed.of_kind("ReadingType")
        kind = next((entry for entry in types if entry.own and entry.own in links), None)
        kind = kind or (types[0] if last and len(types) == 1 else None)
        point = self.feed.parent("UsagePoint", meter.up if meter else "", last)
        if kind is None and not last:
            return None
        if point is not None and point.leaves.get("kind", "0") != "0":
            return self._household(point, up), Entry(point.line, "UsagePoint", leaves={"service": point.leaves["kind"]})
        return self._household(point, f"{up} {meter.own if meter else ''}"), kind

    def _household(self, point: Entry | None, links: str) -> str:
        """The last part of the usage point's link; all of it where another customer's has the same last part."""
        own = point.own if point else ""
        found = re.search(r"\S*?UsagePoint/[^/\s]+", links)
        link = own or (found[0] if found else "")
        name = (link.rpartition("/")[2] or self.stem)[:LONGEST_NAME]
        return name if self.named.setdefault(name, link) == link else link.strip("/")[-LONGEST_NAME:]

    def _rows_of(self, household: str, parts: Sequence[tuple[Entry | None, Series]]) -> Iterator[pa.Table]:
        ways: dict[str, list[Energy]] = {FORWARD: [], NET: [], REVERSE: []}
        for kind, series in parts:
            lines, reason = np.array(series.lines), _why_not(kind)
            if reason or kind is None:
                self._pass_over(lines, f"{household}: {reason}")
                continue
            way = kind.leaves.get("flowDirection", "")
            if way in UNSAID_WAY:
                self.faults.add(Fault.ASSUMED, f"{household}: no flowDirection; taken as energy drawn", kind.line)
                way = FORWARD
            ways[way].append(_energy(kind, series))
        if ways[FORWARD]:
            for part in ways[NET]:
                self._pass_over(part.lines, f"{household}: net energy (flowDirection 4) beside energy drawn")
            ways[NET] = []
        drawn = self._one(household, ways[FORWARD] or ways[NET], signed=bool(ways[NET]))
        fed_in = self._one(household, ways[REVERSE], signed=False)
        if not len(drawn.lines) + len(fed_in.lines):
            return
        given = [name for name, found in ways.items() if found]
        first, last = (int(each(np.concatenate([drawn.starts_s, fed_in.starts_s]))) for each in (np.min, np.max))
        self.given.add(household, given, first, last)
        self.any_given = True
        yield from self._joined(household, drawn, fed_in)

    def _joined(self, household: str, drawn: Energy, fed_in: Energy) -> Iterator[pa.Table]:
        """One row a start, with what was drawn and what was fed in."""
        starts = np.union1d(drawn.starts_s, fed_in.starts_s)
        count = len(starts)
        at, to = np.searchsorted(starts, drawn.starts_s), np.searchsorted(starts, fed_in.starts_s)
        kwh, exports, estimated = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count, bool)
        durations, lines = np.zeros(count, np.int64), np.zeros(count, np.int64)
        durations[to], lines[to] = fed_in.durations_s, fed_in.lines
        exports[to], estimated[to] = fed_in.kwh, fed_in.estimated
        other = at[np.isin(drawn.starts_s, fed_in.starts_s) & (durations[at] != drawn.durations_s)]
        exports[other] = np.nan
        self._pass_over(lines[other], f"{household}: energy fed in, of another duration than the energy drawn")
        durations[at], lines[at] = drawn.durations_s, drawn.lines
        kwh[at], estimated[at] = drawn.kwh, estimated[at] | drawn.estimated
        yield from tables(household, starts * SECOND_US, kwh, exports, estimated, durations // 60, lines)

    def _pass_over(self, lines: Ints, reason: str) -> None:
        self.reasons.add(reason)
        self.faults.add_rows(Fault.PASSED_OVER, lines.astype(np.int32), (reason for _ in lines))

    def _one(self, household: str, parts: list[Energy], signed: bool) -> Energy:
        """Readings of one direction: of series of the same time the finest, without those that cannot be used."""
        kept: list[Energy] = []
        for part in sorted(parts, key=lambda part: float(np.median(part.durations_s))):
            if any(
                _overlap(part, other) for other in kept if np.median(other.durations_s) < np.median(part.durations_s)
            ):
                self._pass_over(part.lines, f"{household}: the same energy in longer intervals")
            else:
                kept.append(part)
        columns = [(p.starts_s, p.durations_s, p.kwh, p.estimated, p.lines) for p in kept]
        if not columns:
            return Energy(*(np.empty(0, kind) for kind in (np.int64, np.int64, np.float64, bool, np.int64)))
        found = Energy(*(np.concatenate(column) for column in zip(*columns, strict=True)))
        long = found.durations_s > DAY_S
        self._pass_over(found.lines[long], f"{household}: longer than a day")
        uneven = ~long & ((found.durations_s % 60 != 0) | (found.durations_s < 0))
        self._count(Fault.OFF_GRID, found.only(uneven), "duration is no whole number of minutes")
        found = found.only(~long & ~uneven)
        found = found.only(np.argsort(found.starts_s, kind="stable"))
        again = np.diff(found.starts_s, prepend=-1) == 0
        self._count(Fault.DUPLICATE, found.only(again), "a start that occurs twice")
        found = found.only(~again)
        below = (found.kwh < 0) & (not signed)
        self._count(Fault.NEGATIVE, found.only(below), "energy below zero")
        over = np.isinf(found.kwh)
        self._count(Fault.NOT_FINITE, found.only(over), "energy without an end")
        found.kwh[below | over] = np.nan
        return found

    def _count(self, kind: Fault, rows: Energy, note: str) -> None:
        self.faults.add_rows(kind, rows.lines.astype(np.int32), (f"{note}: {value:g} kWh" for value in rows.kwh))


def _overlap(one: Energy, other: Energy) -> bool:
    ends = [int((part.starts_s + part.durations_s).max()) for part in (one, other)]
    return int(one.starts_s.min()) < ends[1] and int(other.starts_s.min()) < ends[0]


def _why_not(kind: Entry | None) -> str:
    """Why readings of a type are no electrical energy in differences; empty where they are."""
    if kind is None:
        return "no ReadingType"
    if service := kind.leaves.get("service"):
        return f"ServiceCategory {service[:20]}, where 0 is electricity"
    said = {name: kind.leaves.get(name, "") for name in ("uom", "commodity", "accumulationBehaviour", "flowDirection")}
    wanted = {
        "uom": frozenset({WATT_HOURS}),
        "commodity": ELECTRICITY,
        "accumulationBehaviour": DIFFERENCES,
        "flowDirection": UNSAID_WAY | {FORWARD, NET, REVERSE},
    }
    wrong = [f"{name} {value[:20] or 'not said'}" for name, value in said.items() if value not in wanted[name]]
    power = kind.leaves.get("powerOfTenMultiplier") or "0"
    if not re.fullmatch(r"[+-]?\d{1,2}", power, re.ASCII):
        wrong.append(f"powerOfTenMultiplier {power[:20]}")
    return ", ".join(wrong)


def _energy(kind: Entry, series: Series) -> Energy:
    """A series in kWh; what a reading does not say of itself its type says."""
    power = int(kind.leaves.get("powerOfTenMultiplier") or "0") - 3
    values = np.array(series.values)
    length = kind.leaves.get("intervalLength", "")
    durations = np.array(series.durations)
    if re.fullmatch(r"\d{1,9}", length, re.ASCII):
        durations[durations == 0] = int(length)
    quality = np.frombuffer(bytes(series.qualities), np.uint8)
    doubtful = kind.leaves.get("defaultQuality", "") in NOT_MEASURED
    estimated = (quality == ESTIMATED) | ((quality == UNSAID) & doubtful)
    with np.errstate(over="ignore"):
        kwh = values * 10.0**power if power > 0 else values / 10.0**-power
    return Energy(np.array(series.starts), durations, kwh, estimated, np.array(series.lines))
