"""Everything that a layout of meter data is: where its files lie, and what their columns, numbers and times mean.

A new source is a new declaration and no code. Those that are built in stand in builtin.py; `source.kind: generic` takes
one from the config, whose section checks it. sources.py reads by it.
"""

from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

Shape = Literal["household", "long", "wide"]
Repeated = Literal["twice", "summed"]

KWH = {"Wh": 1e-3, "kWh": 1.0, "MWh": 1e3, "W": 1e-3, "kW": 1.0, "MW": 1e3}
"""What one of a unit is in kWh, or in kW."""
POWERS = frozenset({"W", "kW", "MW"})


@dataclass(frozen=True)
class HouseholdList:
    """A CSV of all households, with the weather station of each.

    Attributes:
        path: under the data set's folder.
        household, weather: names of its columns.
        available: column that says whether a file is to be there; it may be absent.
    """

    path: str
    household: str
    weather: str
    available: str


@dataclass(frozen=True)
class Quality:
    """A column of codes that say how each reading came about; any other code makes its reading unusable."""

    column: str
    good: tuple[str, ...]
    estimated: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Declaration:
    """A layout of files.

    Attributes:
        name: of the layout.
        about: what it is, in a few words.
        folder: of the files, under the data set's folder; empty for that folder itself.
        files: pattern of their names.
        endings: of their names, before an ending for how they are packed.
        format: `csv`, or the name of a module in FORMATS, which then says all the rest but names and time zone.
        shape: `household`: a file each, whose name is the household; `long`: rows of many households, in one file or
            several; `wide`: a column for each household.
        separator, encoding, decimal, nulls: how a table is written; nulls beside the usual words.
        header: whether there is a line with the columns' names; otherwise they are called 1, 2, 3 and so on.
        skip_lines: lines before the header, or before the first row.
        household: column with the household's name; empty in wide files, and where the file's name says all.
        time: one column, or a date and a time of day.
        time_format: `iso`, `unix` and `unix_ms` (seconds and milliseconds since 1970), or a pattern like
            `%d.%m.%Y %H:%M`.
        energy: columns that are summed; a row that lacks one has no value.
        optional_energy: columns that are added, and are nothing where they are empty.
        export: columns with the energy given to the grid, summed.
        not_households: columns of a wide file that are no household.
        names_like: regular expression that the households' names fit where a wide layout is to be recognised.
        unit: of all these columns; a power is the mean over the time that its row covers.
        register: values are the meter's counter, not the energy of a slot.
        ends: a label names the end of what its row covers, instead of the start.
        zone: what a time without an offset means: `UTC`, an offset like `+10:00`, an IANA zone, or `local` for
            `timezone`. Empty: each time has its own offset.
        repeated: labels of the hour that clocks repeat stand `twice`, or once with both hours `summed`; then the hour
            that clocks skip may have labels, too, which mean nothing.
        copied_hour: IANA zone in which the hour after clocks went forward has the labels of the hour before once more;
            empty for none.
        timezone: IANA zone of the households' local time, for hours and weekdays.
        cadence_minutes: length of a slot.
        quality: see Quality; None where there is no such column.
        leading_zeros: whether zeros before a household's first other value are `measured`, or `missing` since the meter
            was not there yet.
        households: list of the households; None where there is none.
        weather_folder: of the stations' files; empty where there are none.
    """

    name: str
    about: str = ""
    folder: str = ""
    files: str = "*"
    endings: tuple[str, ...] = (".csv", ".txt")
    format: str = "csv"
    shape: Shape = "household"
    separator: str = ","
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    nulls: tuple[str, ...] = ()
    header: bool = True
    skip_lines: int = 0
    household: str = ""
    time: tuple[str, ...] = ()
    time_format: str = "iso"
    energy: tuple[str, ...] = ()
    optional_energy: tuple[str, ...] = ()
    export: tuple[str, ...] = ()
    not_households: tuple[str, ...] = ()
    names_like: str = ""
    unit: str = "kWh"
    register: bool = False
    ends: bool = False
    zone: str = ""
    repeated: Repeated = "twice"
    copied_hour: str = ""
    timezone: str = "UTC"
    cadence_minutes: int = 15
    quality: Quality | None = None
    leading_zeros: Literal["measured", "missing"] = "measured"
    households: HouseholdList | None = None
    weather_folder: str = ""

    @property
    def staged(self) -> bool:
        """Whether a file may hold many households, and has to be split first."""
        return self.format != "csv" or self.shape != "household"

    @property
    def values(self) -> tuple[str, ...]:
        """All columns of numbers."""
        return (*self.energy, *self.optional_energy, *self.export)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that a table has to have, the household's first."""
        quality = (self.quality.column,) if self.quality else ()
        named = (*((self.household,) if self.household else ()), *self.time, *self.values, *quality)
        return tuple(dict.fromkeys(named))

    @property
    def is_power(self) -> bool:
        """Whether values are powers, not energies."""
        return self.unit in POWERS

    @property
    def offset_us(self) -> int | None:
        """Microseconds from UTC to the labels' clock where that never changes; None in a zone with changes."""
        return offset_us(self.zone)


def offset_us(zone: str) -> int | None:
    """Microseconds that a fixed zone (`UTC`, `+10:00`, or empty for moments) is ahead of UTC; None for an IANA zone.

    Raises:
        ValueError: it is no zone.
    """
    if zone in ("", "UTC", "Z"):
        return 0
    if zone[0] in "+-":
        hours, colon, minutes = zone[1:].partition(":")
        if not (colon and hours.isdecimal() and minutes.isdecimal() and int(hours) < 15 and int(minutes) < 60):
            raise ValueError(f'"{zone}" is no offset like +10:00')
        return (1 if zone[0] == "+" else -1) * (int(hours) * 60 + int(minutes)) * 60_000_000
    ZoneInfo(zone)
    return None
