"""What can be wrong with meter and weather data, and the log that counts and lists it.

Nothing wrong is passed over in silence: each fault is counted, and the first of each kind are listed with their line.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field


class Fault(StrEnum):
    """Kinds of faults; the value is the name in reports."""

    # A whole file cannot be used.
    UNREADABLE_FILE = "unreadable_file"
    EMPTY_FILE = "empty_file"
    MISSING_COLUMN = "missing_column"
    AMBIGUOUS_COLUMN = "ambiguous_column"
    UNUSABLE_STEP = "unusable_step"
    MOSTLY_REFUSED = "mostly_refused"
    NO_READINGS = "no_readings"
    NO_TRAINING_READINGS = "no_training_readings"
    # The household list is at odds with the folder or with itself.
    NO_FILE = "no_file"
    SECOND_FILE = "second_file"
    NOT_LISTED = "not_listed"
    NO_HOUSEHOLD = "no_household"
    LISTED_TWICE = "listed_twice"
    CONFLICTING_ROWS = "conflicting_rows"
    NO_WEATHER_STATION = "no_weather_station"
    UNUSABLE_NAME = "unusable_name"
    TRIMMED_NAME = "trimmed_name"
    # A row or a cell cannot be used.
    BROKEN_ROW = "broken_row"
    REPEATED_HEADER = "repeated_header"
    BAD_TIMESTAMP = "bad_timestamp"
    BAD_NUMBER = "bad_number"
    NULL_VALUE = "null_value"
    NOT_FINITE = "not_finite"
    NEGATIVE = "negative"
    ABSURD = "absurd"
    WRONG_HOUSEHOLD = "wrong_household"
    WRONG_STATION = "wrong_station"
    OFF_GRID = "off_grid"
    FAR_FROM_THE_REST = "far_from_the_rest"
    DUPLICATE = "duplicate"
    NO_SUCH_TIME = "no_such_time"
    # Part of a file was left, or read with something that it does not say.
    PASSED_OVER = "passed_over"
    CUT_SHORT = "cut_short"
    ASSUMED = "assumed"
    # A row was used, elsewhere or otherwise than its layout says.
    MOVED_DUPLICATE = "moved_duplicate"
    HOUR_24 = "hour_24"
    SNAPPED = "snapped"
    OTHER_STEP = "other_step"
    AMBIGUOUS_TIME = "ambiguous_time"
    ESTIMATED = "estimated"
    CATCH_UP = "catch_up"
    # The file as a whole is of another kind than its layout says; used as the config says.
    REGISTER = "register"
    REGISTER_RESET = "register_reset"
    NET_METER = "net_meter"
    LOCAL_AS_UTC = "local_as_utc"
    UNIT_CHANGE = "unit_change"
    POWER = "power"


MEANINGS = {
    Fault.UNREADABLE_FILE: "not a CSV file, a broken packed file, or a file that cannot be opened; not used",
    Fault.EMPTY_FILE: "no bytes, or a header and no rows; not used",
    Fault.MISSING_COLUMN: "a required column is not in the header; not used",
    Fault.AMBIGUOUS_COLUMN: "a required column is in the header more than once; not used",
    Fault.UNUSABLE_STEP: "readings so far apart, or so unevenly, that they fill no slots; not used",
    Fault.MOSTLY_REFUSED: "most rows of the file cannot be used; not used",
    Fault.NO_READINGS: "not one usable reading; not used",
    Fault.NO_TRAINING_READINGS: "not one usable reading in the training period; not used",
    Fault.NO_FILE: "households.csv promises 15-minute data and there is no file",
    Fault.SECOND_FILE: "a second file of the same household; the first by name is used",
    Fault.NOT_LISTED: "the household is not in households.csv; used without weather",
    Fault.NO_HOUSEHOLD: "a row of households.csv without a household; dropped",
    Fault.LISTED_TWICE: "a household that occurs again in households.csv, with the same facts; the first row is used",
    Fault.CONFLICTING_ROWS: "a household that occurs again in households.csv, with other facts; the first row is used",
    Fault.NO_WEATHER_STATION: "the station's file is missing or unusable; used, weather marked as missing",
    Fault.UNUSABLE_NAME: "a household whose name cannot be that of a folder; not used",
    Fault.TRIMMED_NAME: "a row whose household or station has spaces around its name; taken without them",
    Fault.BROKEN_ROW: "a row with too few or too many cells; dropped",
    Fault.REPEATED_HEADER: "the header once more, as in files that were put together; row dropped",
    Fault.BAD_TIMESTAMP: "a timestamp that is missing or cannot be read; row dropped",
    Fault.BAD_NUMBER: "a value that is not a number; taken as missing",
    Fault.NULL_VALUE: "a row without a value; taken as missing",
    Fault.NOT_FINITE: "an infinite value; taken as missing",
    Fault.NEGATIVE: "an energy below zero; taken as missing",
    Fault.ABSURD: "a mean power above the limit; taken as missing",
    Fault.WRONG_HOUSEHOLD: "a row of another household than the file's; dropped",
    Fault.WRONG_STATION: "a row of another weather station than the file's; dropped",
    Fault.OFF_GRID: "a timestamp between the slots of the grid; row dropped",
    Fault.FAR_FROM_THE_REST: "readings after a longer gap than allowed, or not of 1990 to 2100; dropped",
    Fault.DUPLICATE: "a timestamp that occurs twice; the first usable row is kept",
    Fault.NO_SUCH_TIME: "a local time that clocks skip when they go forward; row dropped",
    Fault.PASSED_OVER: "a record of something else than energy that is drawn or fed in, or between slots; left out",
    Fault.CUT_SHORT: "the file ends, or cannot be read any further, before its end; what came before is used",
    Fault.ASSUMED: "something that the file does not say, and that was assumed",
    Fault.MOVED_DUPLICATE: "the second row of a timestamp where clocks went forward, moved an hour later",
    Fault.HOUR_24: "a timestamp of 24:00, taken as 00:00 of the next day",
    Fault.SNAPPED: "a timestamp some seconds beside a slot, or up to one beside a minute; taken as that",
    Fault.OTHER_STEP: "a reading of another length than the layout's, spread over the slots that it covers",
    Fault.AMBIGUOUS_TIME: "a local time that clocks repeat, and the file has once; taken as the first, or halved",
    Fault.ESTIMATED: "a reading that its file marks as estimated; used, or taken as missing (etl.estimated)",
    Fault.CATCH_UP: "a reading that holds the energy of the gap before it; spread, or taken as missing (etl.catch_up)",
    Fault.REGISTER: "values are a meter's register; not used, or its differences taken (etl.registers)",
    Fault.REGISTER_RESET: "the register falls: misread or rolled over (made good), or begun anew (a slot is missing)",
    Fault.NET_METER: "a meter of net energy; not used, or one direction taken (etl.net_meters)",
    Fault.UNIT_CHANGE: "readings become those of another unit, by their size or by what divides them; used",
    Fault.POWER: "readings are multiples of several watt-hours, as kW made from energies are: is the unit kW? used",
    Fault.LOCAL_AS_UTC: "labels look like local time with the offset of UTC; used, an hour or more too late",
}

ROW_FAULTS = frozenset(
    {
        *(Fault.BROKEN_ROW, Fault.BAD_TIMESTAMP, Fault.BAD_NUMBER, Fault.NULL_VALUE, Fault.NOT_FINITE, Fault.NEGATIVE),
        *(Fault.ABSURD, Fault.WRONG_HOUSEHOLD, Fault.WRONG_STATION, Fault.OFF_GRID, Fault.FAR_FROM_THE_REST),
        Fault.NO_SUCH_TIME,
    }
)
"""Those that take a row."""

NO_ROWS = (Fault.BROKEN_ROW, Fault.REPEATED_HEADER)
"""Lines that are no row of a table."""

_HINTS = {Fault.ABSURD: "; is the unit kWh a slot? etl.max_power_kw is the limit"}
"""What may be the reason, said where a kind took most rows."""


Line = Annotated[int, Field(ge=0, lt=1 << 31)]


@dataclass(frozen=True)
class FaultNote:
    """One listed fault. `line` counts from 1 with the header, blank lines left out; None where a line means nothing."""

    kind: Fault
    line: Line | None
    text: str


@dataclass
class FaultLog:
    """Counts every fault, and lists the first `listed_per_kind` of each kind."""

    listed_per_kind: int
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[FaultNote] = field(default_factory=list)

    def add(self, kind: Fault, text: str, line: int | None = None) -> None:
        """Counts one fault."""
        if self.counts[kind] < self.listed_per_kind:
            self.notes.append(FaultNote(kind, line, text))
        self.counts[kind] += 1

    def add_rows(self, kind: Fault, lines: npt.NDArray[np.int32], texts: Iterable[object]) -> None:
        """Counts one fault a line; `texts` gives what stood there, and is read no further than it is listed."""
        room = max(self.listed_per_kind - self.counts[kind], 0)
        if room and len(lines):
            self.notes += [
                FaultNote(kind, int(line), str(text)) for line, text in zip(lines[:room], texts, strict=False)
            ]
        if len(lines):
            self.counts[kind] += len(lines)

    def cause(self) -> str:
        """The kind of row fault that took most rows, with an example; empty where none did."""
        rows = [(count, kind) for kind, count in self.counts.items() if kind in ROW_FAULTS and count]
        if not rows:
            return ""
        count, kind = max(rows)
        example = next((note for note in self.notes if note.kind == kind), None)
        said = f", e.g. line {example.line}: {example.text}" if example else ""
        return f"{kind} {count:,}{said}{_HINTS.get(Fault(kind), '')}"

    def extend(self, other: "FaultLog") -> None:
        """Adds another log's counts and notes."""
        self.counts.update(other.counts)
        self.notes += other.notes
