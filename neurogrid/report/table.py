"""What sections are made of: headline figures, tables, pictures, and how numbers are written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

NOTHING = "–"
_FAR = 200  # times the value itself


@dataclass(frozen=True)
class Cell:
    """A number, with its interval or unit in small beside it; `share` (0 to 1) draws a bar under it."""

    text: str
    small: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Column:
    """A heading; `unit` stands under it, and numbers are set flush right."""

    title: str
    unit: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of text and cells; `marked` rows are ours and stand out."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[str | Cell]]
    marked: frozenset[int] = frozenset()
    note: str = ""


@dataclass(frozen=True)
class Key:
    """One entry of a legend: words, colour, and `bar`, `line`, `dash`, `ring` or `cross`."""

    label: str
    colour: str
    shape: str = "bar"


@dataclass(frozen=True)
class Chart:
    """A picture with its legend; a screen reader says its title and the figures in it."""

    title: str
    svg: Markup
    keys: tuple[Key, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Tile:
    """A headline figure; `tone` is `good`, `warn` or plain."""

    title: str
    value: str
    detail: str
    tone: str = ""


@dataclass(frozen=True)
class Link:
    """To another page: the words that lead there, where they lead, and where that page lies, in words."""

    words: str
    address: str
    place: str


@dataclass(frozen=True)
class Section:
    """A part of the page: words, sentences, pictures side by side, wide pictures, tables. Empty parts are left out.

    A single picture has `beside` on its right.

    `missing` says plainly why there is nothing to show.
    """

    anchor: str
    title: str
    lead: str = ""
    points: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    beside: tuple[Table, ...] = ()
    wide: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    link: Link | None = None
    missing: str = ""


def number(value: Any, digits: int = 0) -> str:
    """With a true minus sign and thousands set apart; a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def percent(value: Any, digits: int = 0) -> str:
    """Of a share, 0 to 1."""
    return NOTHING if value is None or not math.isfinite(value) else f"{number(100 * value, digits)}%"


def figure(found: dict[str, Any] | None, digits: int, *, factor: float = 1) -> Cell:
    """A figure of the evaluation ({value, low, high}) with its interval.

    With few households an end may lie so far off that it says nothing; then only the other one is written.
    """
    if not found or found.get("value") is None:
        return Cell(NOTHING)
    low, high = found.get("low"), found.get("high")
    value = number(factor * found["value"], digits)
    if low is None or high is None:
        return Cell(value)
    least, most = (number(factor * end, digits) for end in (low, high))
    far = _FAR * abs(found["value"])
    if high > far > 0 and low >= -far:
        return Cell(value, f"{least} or more")
    if low < -far < 0 and high <= far:
        return Cell(value, f"{most} or less")
    return Cell(value, f"{least} to {most}")


def seconds(value: float) -> str:
    """A duration in words that fit its size."""
    if value < 1:
        return f"{number(1000 * value)} ms"
    if value < 120:
        return f"{number(value, 1)} s"
    return f"{int(value) // 60} min {int(value) % 60} s"
