"""The config's section on raw readings, with the user's own declaration of a layout."""

import codecs
import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from neurogrid.config.section import Section, name_of
from neurogrid.data.layouts.registry import SOURCES

_OFFSET = re.compile(r"[+-](0\d|1[0-4]):[0-5]\d")
_PATTERN_PARTS = ("%Y", "%y", "%m", "%d", "%b", "%H", "%I", "%M", "%S", "%f", "%p", "%z", "%%")


def _timezone(value: str) -> str:
    """An IANA name, or empty."""
    if value:
        try:
            ZoneInfo(value)
        except (ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
            raise ValueError("not a time zone such as Europe/Zurich") from error
        except KeyError as error:
            raise ValueError("not a time zone such as Europe/Zurich") from error
    return value


def _zone(value: str) -> str:
    if value == "UTC" or _OFFSET.fullmatch(value):
        return value
    try:
        return _timezone(value)
    except ValueError as error:
        raise ValueError("not UTC, an offset like +10:00, or a time zone such as Europe/Zurich") from error


def _time_format(value: str) -> str:
    if value in ("iso", "unix", "unix_ms"):
        return value
    parts = re.findall(r"%.", value)
    unknown = [part for part in parts if part not in _PATTERN_PARTS]
    if unknown:
        raise ValueError(f"{unknown[0]} is not known; known are {' '.join(_PATTERN_PARTS)}")
    named = [part for part in parts if part != "%%"]
    if len(set(named)) < len(named):
        raise ValueError("a part stands twice")
    for one, other in (("%Y", "%y"), ("%m", "%b"), ("%d", "%d"), ("%H", "%I")):
        if len({one, other} & set(named)) != 1:
            raise ValueError(
                f"neither iso, unix, unix_ms nor a pattern like %d.%m.%Y %H:%M: it needs {one}"
                + (f" or {other}, not both" if other != one else "")
            )
    if ("%I" in named) != ("%p" in named):
        raise ValueError("%I and %p need each other")
    return value


def _encoding(value: str) -> str:
    try:
        "a\n".encode(value)
        codecs.getincrementaldecoder(value)
    except (LookupError, TypeError, UnicodeError) as error:
        raise ValueError("not an encoding such as utf-8, utf-16, latin-1 or cp1252") from error
    return value


def _separator(value: str) -> str:
    value = "\t" if value in ("tab", "\\t") else value
    if len(value) != 1 or value in '"\r\n' or value.isalnum():
        raise ValueError("a separator is one character such as , or ; or the word tab")
    return value


def _text(value: object) -> object:
    """Codes and names of digits, which YAML takes for numbers."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_text)]
Timezone = Annotated[str, AfterValidator(_timezone)]
SourceName = Annotated[str, name_of(SOURCES, "auto", "generic")]


class GenericSection(Section):
    """The layout of tables of your own (source.kind: generic); `neurogrid source new` writes one from a folder."""

    files: str = Field("*", min_length=1, description="pattern of the files' names in source.path, e.g. export-*.csv")
    shape: Literal["household", "long", "wide"] = Field(
        "household",
        description="household: a file each; long: rows of many households, in one file or more; wide: a column each",
    )
    separator: Annotated[str, AfterValidator(_separator)] = Field(",", description="between cells: , or ; or tab")
    encoding: Annotated[str, AfterValidator(_encoding)] = Field("utf-8", description="of the text")
    decimal: Literal[".", ","] = Field(
        ".", description="decimal mark; a mark between thousands is not read, and such cells are counted as faults"
    )
    nulls: list[Text] = Field([], description="words for no value, beside NULL, NA, NaN, None and an empty cell")
    header: bool = Field(True, description="whether a line names the columns; if not, they are called 1, 2, 3, ...")
    skip_lines: int = Field(0, ge=0, le=1000, description="lines before the header, or before the first row")
    household: Text = Field(
        "", description="column with the household's id; empty takes the file's name, and for wide files the columns'"
    )
    time: list[Text] = Field(
        [], max_length=2, description="column of the time; or two, with the date and the time of day"
    )
    time_format: Annotated[str, AfterValidator(_time_format)] = Field(
        "iso", description="iso, unix or unix_ms (seconds or milliseconds since 1970), or a pattern: %d.%m.%Y %H:%M"
    )
    energy: list[Text] = Field([], description="columns with energy or power; several are summed")
    optional_energy: list[Text] = Field([], description="columns to add to these, which are 0 where they are empty")
    export: list[Text] = Field(
        [], description="columns with what is given to the grid; etl.net_meters says what is used"
    )
    not_households: list[Text] = Field([], description="columns of wide files that are no household")
    unit: Literal["Wh", "kWh", "MWh", "W", "kW", "MW"] = Field(
        "kWh", description="of energy, or of mean power, which is converted by the time that each row covers"
    )
    holds: Literal["energy", "register"] = Field(
        "energy", description="the energy of each slot (or its mean power), or a meter's counter, which is differenced"
    )
    label: Literal["start", "end"] = Field("start", description="what a time names: the start or the end of its slot")
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        "", description="of times without an offset: UTC, +10:00, or Europe/Zurich; empty: each time has its offset"
    )
    repeated_hour: Literal["twice", "summed"] = Field(
        "twice", description="where clocks go back, an hour's times stand twice, or once with the sum of both hours"
    )
    copied_hour: Timezone = Field(
        "", description="time zone in which the hour after clocks went forward repeats the times of the hour before"
    )
    cadence_minutes: int = Field(15, ge=1, le=60, description="usual length of a slot, minutes")
    quality: Text = Field("", description="column with a code that says how the reading came about")
    quality_good: list[Text] = Field([], description="codes of measured readings")
    quality_estimated: list[Text] = Field([], description="codes of estimated readings; see etl.estimated")
    quality_missing: list[Text] = Field([], description="codes of readings without meaning, taken as missing")
    leading_zeros: Literal["measured", "missing"] = Field(
        "measured", description="zeros before a household's first other value: measured, or missing"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "GenericSection":
        """Refuses keys that contradict each other."""
        if self.separator == self.decimal:
            raise ValueError(f'separator and decimal are both "{self.separator}"')
        for name in ("time", "energy", "optional_energy", "export"):
            own = [column.strip().casefold() for column in getattr(self, name)]
            if len(set(own)) < len(own):
                raise ValueError(f"{name} names a column twice")
        if self.shape == "wide" and (self.household or self.values):
            raise ValueError("a wide file has a column for each household: leave household, energy and export empty")
        if self.shape == "long" and self.time and not self.household:
            raise ValueError("household must name a column where shape is long")
        if self.quality and self.shape == "wide":
            raise ValueError("a wide file has no column of quality codes")
        if bool(self.quality) != bool(self.quality_good):
            raise ValueError("quality and quality_good need each other: a column and the codes of measured readings")
        codes = [*self.quality_good, *self.quality_estimated, *self.quality_missing]
        if len(set(codes)) < len(codes):
            raise ValueError("a quality code stands twice")
        if self.holds == "register" and self.unit in ("W", "kW", "MW"):
            raise ValueError(f"a register counts energy, and {self.unit} is power")
        if self.time_format.startswith("unix") and self.time_zone not in ("", "UTC"):
            raise ValueError("unix times count from 1970 in UTC, so time_zone must be empty")
        if "%z" in self.time_format and self.time_zone:
            raise ValueError("time_format reads an offset (%z), so time_zone must be empty")
        is_pattern = self.time_format not in ("iso", "unix", "unix_ms")
        if self.time and is_pattern and "%z" not in self.time_format and not self.time_zone:
            raise ValueError("time_format reads no offset, so time_zone must say what its times mean")
        return self

    @property
    def values(self) -> list[str]:
        """All columns of numbers."""
        return [*self.energy, *self.optional_energy, *self.export]


class SourceSection(Section):
    """The raw readings."""

    kind: SourceName = Field(
        "auto",
        description="layout of the files; auto detects one that is built in; generic is declared in source.generic",
        examples=["auto", "generic", *SOURCES.names()],
    )
    path: str = Field("data", min_length=1, description="folder with the raw readings (--data-dir)")
    exclude: list[str] = Field([], description="names or patterns of files or households to leave out, e.g. 1408.csv")
    limit_households: int = Field(0, ge=0, description="number of households to use, first by name; 0 uses all")
    timezone: Timezone = Field(
        "", description="time zone of the households, for hours and weekdays, e.g. Europe/Zurich; empty: the layout's"
    )
    generic: GenericSection = Field(GenericSection(), description="the layout of tables of your own")

    @model_validator(mode="after")
    def _generic_says_what_it_is(self) -> "SourceSection":
        if self.kind == "generic":
            own = self.generic
            if not own.time:
                raise ValueError("source.generic.time must name the column of the time")
            if own.shape != "wide" and not own.energy:
                raise ValueError("source.generic.energy must name the columns of the energy")
        return self
