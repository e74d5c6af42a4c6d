"""Pictures of readings over time: what was measured week by week, a household's load, a usual day, single forecasts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from neurogrid.plural import plural
from neurogrid.report import alt_text
from neurogrid.report.drawing import HALF, WIDE, Axes, Sheet, round_ticks, shortened, time_ticks
from neurogrid.report.palette import LEVELS
from neurogrid.report.table import Chart, Key, percent

Floats = npt.NDArray[np.float64]
_LEVEL_FLOORS = (0.99, 0.9, 0.5, 0.0)
"""Least shares of the levels; the first of them that a share reaches is its level, but 0 is the last one."""
_LEVEL_WORDS = ("99% or more", "90% to 99%", "50% to 90%", "under 50%", "nothing")
_MOST_BINS = 360
_BIN_HOURS = (1, 2, 3, 6, 12, 24, 48, 168, 336, 672)


@dataclass(frozen=True)
class Row:
    """A row of a coverage map: (W,) shares from 0 to 1, NaN in weeks that are not of its time."""

    label: str
    shares: Floats
    whole: float

    @property
    def words(self) -> str:
        """As a tooltip says it."""
        return f"{self.label}: {percent(self.whole, 2)}"


@dataclass(frozen=True)
class Forecasts:
    """Consecutive forecasts of one household beside what was measured. S slots.

    Attributes:
        start: of the first slot, UTC.
        cadence_minutes: length of a slot.
        horizon_slots: after how many slots the next forecast begins.
        measured, forecast, usual: (S,) kWh a slot; `usual` is the 28-day median of the slot.
        low, high: (S,) ends of the forecasts' intervals, kWh a slot; empty where there are none.
        interval: share of slots that these ought to cover.
    """

    start: datetime
    cadence_minutes: int
    horizon_slots: int
    measured: Sequence[float]
    forecast: Sequence[float]
    usual: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    interval: float = 0.0

    @property
    def covered(self) -> float:
        """Share of slots whose load lies within the interval; NaN without one."""
        within = [low <= kwh <= high for low, kwh, high in zip(self.low, self.measured, self.high, strict=False)]
        return sum(within) / len(within) if within else math.nan


def coverage_map(title: str, first_week: datetime, rows: Sequence[Row], what: str, note: str = "") -> Chart:
    """Rows down, weeks across; the colour is the share that is `what`. The first row is of all, and stands apart."""
    pitch, size = (20, 12.0) if len(rows) <= 31 else (14, 10.5) if len(rows) <= 81 else (10, 9.0)
    labels = [shortened(row.label) for row in rows]
    left = 12 + max(len(label) for label in labels) * size * 0.6
    below = 8  # between the row of all and the others
    sheet = Sheet(WIDE, pitch * len(rows) + below + 30)
    weeks = max(len(row.shares) for row in rows)
    week_px = (WIDE - 12 - left) / weeks
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y = number * pitch + (below if number else 0)
        sheet.text(left - 8, y + pitch / 2 + size * 0.35, label, "end", size=size)
        for level, boxes in _stretches(row.shares).items():
            across = [(left + a * week_px, y + 0.5, (b - a) * week_px, pitch - 1) for a, b in boxes]
            sheet.rectangles(across, LEVELS[level], row.words)
    last = first_week + timedelta(weeks=weeks)
    for moment, words in time_ticks(first_week, last, 12):
        x = left + (moment - first_week) / timedelta(weeks=1) * week_px
        sheet.line([(x, sheet.height - 26), (x, sheet.height - 21)], "grey")
        sheet.tick(x, words)
    says = f"{title}: {plural(len(rows) - 1, 'row')}, {plural(weeks, 'week')}. {_shares_in_words(rows, what)}"
    return Chart(title, sheet.svg(says), _level_keys(what), note)


def _shares_in_words(rows: Sequence[Row], what: str) -> str:
    every, *others = rows
    least = sorted(others, key=lambda row: (row.whole, row.label))[:3]
    return f"{every.label}: {percent(every.whole, 2)} {what}. Least: " + ", ".join(row.words for row in least) + "."


def load_over_time(
    title: str, first: datetime, cadence_minutes: int, kwh: npt.NDArray[np.float32], measured: npt.NDArray[np.bool_]
) -> Chart:
    """Mean measured power as a line that gaps break, and under it how much was measured."""
    hours = len(kwh) * cadence_minutes / 60
    bin_hours = next((each for each in _BIN_HOURS if hours <= each * _MOST_BINS), _BIN_HOURS[-1])
    slots = max(bin_hours * 60 // cadence_minutes, 1)
    each_hours = slots * cadence_minutes / 60
    starts = np.arange(0, len(kwh), slots)
    sizes = np.diff(starts, append=len(kwh))
    counts = np.add.reduceat(measured.astype(np.int64), starts)
    sums = np.add.reduceat(np.where(measured, kwh, 0).astype(np.float64), starts)
    power = np.full(len(starts), np.nan)
    np.divide(sums * (60 / cadence_minutes), counts, out=power, where=counts > 0)
    ticks = round_ticks(float(np.nanmax(power, initial=0.0)), 4)
    last = first + timedelta(hours=hours)
    sheet = Sheet(HALF, 190)
    axes = Axes(sheet, (0, hours), ticks, bottom=40)
    across = [(_hours(moment - first), words) for moment, words in time_ticks(first, last, 6)]
    edges = np.append(starts * cadence_minutes / 60, hours)
    for level, boxes in _stretches(counts / sizes).items():
        spans = [(axes.x(edges[a]), axes.x(edges[b])) for a, b in boxes]
        sheet.rectangles([(a, axes.lower + 5, b - a, 8) for a, b in spans], LEVELS[level])
        if level == len(LEVELS) - 1:
            sheet.rectangles([(a, axes.upper, b - a, axes.lower - axes.upper) for a, b in spans], "none")
    axes.rule("kW", across)
    axes.plot([float(x) for x in (edges[:-1] + edges[1:]) / 2], power.tolist(), "ours", 1.4)
    gaps = sum(b - a for a, b in _stretches(counts / sizes).get(len(LEVELS) - 1, []))
    each = f"{each_hours:g} h" if each_hours < 48 else f"{each_hours / 24:g} days"
    says = f"{title}: mean measured power over each {each}, {first:%Y-%m-%d} to {last:%Y-%m-%d}. "
    says += alt_text.series("kW", power.tolist()) + f". {percent(measured.mean(), 2)} of slots measured, "
    says += f"nothing in {gaps} of {len(starts)} stretches."
    return Chart(title, sheet.svg(says), note=f"Mean of each {each}.")


def daily_shapes(title: str, shapes: Sequence[tuple[str, Sequence[float]]]) -> Chart:
    """Mean power by hour of the local day, a line each; at most as many as there are colours and dashes."""
    colours = ("ours", "warn", "violet", "good", "attack", "grey")
    top = max((value for _, values in shapes for value in values if math.isfinite(value)), default=0.0)
    ticks = round_ticks(top)
    sheet = Sheet(HALF, 230)
    axes = Axes(sheet, (0, 24), ticks)
    axes.rule("kW", [(hour, f"{hour}:00") for hour in range(0, 25, 3)])
    keys = []
    for number, (label, values) in enumerate(shapes):
        colour, dashed = colours[number % len(colours)], number >= len(colours)
        axes.plot([hour + 0.5 for hour in range(24)], values, colour, 2.2, dashed=dashed)
        keys.append(Key(label, colour, "dash" if dashed else "line"))
    parts = (_peak(label, values) for label, values in shapes)
    return Chart(title, sheet.svg(f"{title}: {alt_text.sentence('kW by hour of the day', parts)}"), tuple(keys))


def _peak(label: str, values: Sequence[float]) -> str:
    known = [(value, hour) for hour, value in enumerate(values) if math.isfinite(value)]
    if not known:
        return f"{label}: no values"
    (low, low_hour), (high, high_hour) = min(known), max(known)
    return f"{label}: lowest {alt_text.value(low)} at {low_hour}:00, highest {alt_text.value(high)} at {high_hour}:00"


def forecast_days(title: str, shown: Forecasts, note: str) -> Chart:
    """What was measured, and beside it each forecast as it was made at its start; mean power in kW."""
    per_kwh, step = 60 / shown.cadence_minutes, shown.cadence_minutes / 60
    measured, forecast, usual, low, high = (
        [value * per_kwh for value in series]
        for series in (shown.measured, shown.forecast, shown.usual, shown.low, shown.high)
    )
    hours = len(measured) * step
    sheet = Sheet(WIDE, 250)
    ticks = round_ticks(max([*measured, *forecast, *usual, *high]), 5)
    # A forecast may fall below zero.
    axes = Axes(sheet, (0, hours), ticks, floor=min(forecast))
    middles = [(slot + 0.5) * step for slot in range(len(measured))]
    pieces = [slice(at, at + shown.horizon_slots) for at in range(0, len(forecast), shown.horizon_slots)]
    if low:
        axes.bands([(middles[piece], low[piece], high[piece]) for piece in pieces], step / 2, "ours")
    last = shown.start + timedelta(hours=hours)
    axes.rule("kW", [(_hours(m - shown.start), words) for m, words in time_ticks(shown.start, last, 8)])
    axes.plot(middles, usual, "warn", 1.3, dashed=True)
    axes.plot(middles, measured, "grey", 2.2)
    for piece in pieces:  # a line each: nothing joins one forecast to the next
        axes.plot(middles[piece], forecast[piece], "ours", 2)
    keys = [Key("measured", "grey", "line"), Key("forecast", "ours", "line"), Key("28-day median", "warn", "dash")]
    if low:
        keys.insert(2, Key(f"its {percent(shown.interval)} interval", "ours-soft"))
    parts = [
        alt_text.series(name, values)
        for name, values in (("measured", measured), ("forecast", forecast), ("28-day median", usual))
    ]
    error = sum(abs(a - b) for a, b in zip(measured, forecast, strict=True)) / len(measured)
    says = f"{title}: {alt_text.sentence(f'kW over {hours:g} h from {shown.start:%Y-%m-%d %H:%M} UTC', parts)}"
    says += f"; mean absolute error here {alt_text.value(error)} kW"
    if low:
        says += f"; {percent(shown.covered)} of slots within the {percent(shown.interval)} interval"
    return Chart(title, sheet.svg(says), tuple(keys), note)


def _level_keys(what: str) -> tuple[Key, ...]:
    """The legend of the levels: shares that are `what`."""
    return tuple(
        Key(f"{words} {what}" if number == 0 else words, colour)
        for number, (words, colour) in enumerate(zip(_LEVEL_WORDS, LEVELS, strict=True))
    )


def _stretches(shares: Floats) -> dict[int, list[tuple[int, int]]]:
    """Longest runs of the same level as (start, stop), by level; NaN is none."""
    levels = np.full(len(shares), -1)
    for level in reversed(range(len(_LEVEL_FLOORS))):
        levels[shares >= _LEVEL_FLOORS[level]] = level
    levels[shares == 0] = len(_LEVEL_WORDS) - 1
    changes = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), len(levels)]
    found: dict[int, list[tuple[int, int]]] = {}
    for start, stop in pairwise(changes):
        if stop > start and levels[start] >= 0:
            found.setdefault(int(levels[start]), []).append((start, stop))
    return found


def _hours(span: timedelta) -> float:
    return span / timedelta(hours=1)
