"""What can be wrong with meter and weather data, and the log that counts and lists it.

Nothing wrong is passed over in silence: each fault is counted, and the first of each kind are listed with their line.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt


class Fault(StrEnum):
    """Kinds of faults; the value is the name in reports."""

    # A whole file cannot be used.
    UNREADABLE_FILE = "unreadable_file"
    EMPTY_FILE = "empty_file"
    MISSING_COLUMN = "missing_column"
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
    # A row or a cell cannot be used.
    BROKEN_ROW = "broken_row"
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
    # A row was used, elsewhere than its label says.
    MOVED_DUPLICATE = "moved_duplicate"


MEANINGS = {
    Fault.UNREADABLE_FILE: "not a CSV file, a broken gzip stream, or a file that cannot be opened; not used",
    Fault.EMPTY_FILE: "no bytes, or a header and no rows; not used",
    Fault.MISSING_COLUMN: "a required column is not in the header; not used",
    Fault.NO_READINGS: "not one usable reading; not used",
    Fault.NO_TRAINING_READINGS: "not one usable reading in the training period; not used",
    Fault.NO_FILE: "households.csv promises 15-minute data and there is no file",
    Fault.SECOND_FILE: "a second file of the same household; the first by name is used",
    Fault.NOT_LISTED: "the household is not in households.csv; used without weather",
    Fault.NO_HOUSEHOLD: "a row of households.csv without a household; dropped",
    Fault.LISTED_TWICE: "a household that stands again in households.csv, with the same facts; the first row is used",
    Fault.CONFLICTING_ROWS: "a household that stands again in households.csv, with other facts; the first row is used",
    Fault.NO_WEATHER_STATION: "the station's file is missing or unusable; used, weather marked as missing",
    Fault.BROKEN_ROW: "a row with too few or too many cells; dropped",
    Fault.BAD_TIMESTAMP: "a timestamp that is missing or cannot be read; row dropped",
    Fault.BAD_NUMBER: "a value that is not a number; taken as missing",
    Fault.NULL_VALUE: "a row without a value; taken as missing",
    Fault.NOT_FINITE: "an infinite value; taken as missing",
    Fault.NEGATIVE: "an energy below zero; taken as missing",
    Fault.ABSURD: "a mean power above the limit; taken as missing",
    Fault.WRONG_HOUSEHOLD: "a row of another household than the file's; dropped",
    Fault.WRONG_STATION: "a row of another weather station than the file's; dropped",
    Fault.OFF_GRID: "a timestamp between the slots of the grid; row dropped",
    Fault.FAR_FROM_THE_REST: "readings separated from most others by a longer gap than allowed; dropped",
    Fault.DUPLICATE: "a timestamp that stands twice; the first usable row is kept",
    Fault.MOVED_DUPLICATE: "the second row of a timestamp, moved an hour later into a slot that was missing",
}


@dataclass(frozen=True)
class FaultNote:
    """One listed fault. `line` counts from 1 with the header, blank lines left out; None where a line means nothing."""

    kind: Fault
    line: int | None
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

    def extend(self, other: "FaultLog") -> None:
        """Adds another log's counts and notes."""
        self.counts.update(other.counts)
        self.notes += other.notes
