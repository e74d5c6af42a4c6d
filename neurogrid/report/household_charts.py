"""Pictures of households' figures without matplotlib: their own gains, figures by days, what came of chances."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from neurogrid.plural import plural
from neurogrid.report import alt_text
from neurogrid.report.drawing import HALF, Axes, Sheet, round_ticks
from neurogrid.report.table import Chart, Key, number, percent

_MOST_BARS = 150
_MOST_PERCENT = 100.0  # what lies farther off is cut: one household would flatten all others


@dataclass(frozen=True)
class Gains:
    """How far each household's MAE with a method lies below a rival's, in percent of that; negative is worse."""

    label: str
    colour: str
    percent: Sequence[float]


@dataclass(frozen=True)
class ByDays:
    """A method's figure for each number of days, with its interval; what one has without the others is dashed."""

    label: str
    colour: str
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    dashed: bool


@dataclass(frozen=True)
class Chance:
    """How likely something was `said` to be, how often it came with its interval, and how many times it was said."""

    said: float
    came: float
    low: float
    high: float
    count: int


def gains(title: str, ours: Gains, others: Sequence[Gains], rival: str) -> Chart:
    """Households side by side, from the one that gained most to the one that lost most: bars, and lines for others."""
    households = len(ours.percent)
    bars = _sorted_means(ours.percent, min(households, _MOST_BARS))
    lines = [(other, _sorted_means(other.percent, min(len(other.percent), _MOST_BARS))) for other in others]
    every = [_within(value) for values in (bars, *(found for _, found in lines)) for value in values]
    sheet = Sheet(HALF, 240)
    axes = Axes(sheet, (0, len(bars)), _signed_ticks(min(every), max(every)))
    axes.rule("% below", [(len(bars) / 2, _caption(households))])
    width = axes.x(0.86) - axes.x(0.0)
    for colour, better in (("good", True), ("warn", False)):
        boxes = []
        for place, value in enumerate(bars):
            if (value > 0) == better and value != 0:
                ends = sorted((axes.y(0), axes.y(_within(value))))
                boxes.append((axes.x(place + 0.07), ends[0], width, ends[1] - ends[0]))
        sheet.rectangles(boxes, colour)
    sheet.line([(axes.left, axes.y(0)), (axes.right, axes.y(0))], "muted", 1.4)
    for place, (other, values) in enumerate(lines):
        across = [(number_ + 0.5) * len(bars) / len(values) for number_ in range(len(values))]
        axes.plot(across, [_within(value) for value in values], other.colour, 1.8, dashed=place > 0)
    keys = [Key(f"{ours.label}: better", "good"), Key("worse", "warn")]
    keys += [Key(other.label, other.colour, "dash" if place else "line") for place, (other, _) in enumerate(lines)]
    says = f"{title}: how far the MAE lies below that of {rival}, {plural(households, 'household')}. "
    says += "; ".join(_in_words(found) for found in (ours, *others)) + "."
    return Chart(title, sheet.svg(says), tuple(keys), _gain_note(ours, others, len(bars)))


def _caption(households: int) -> str:
    return f"{plural(households, 'household')}, sorted" if households > 1 else "1 household"


def _gain_note(ours: Gains, others: Sequence[Gains], bars: int) -> str:
    note = "How far a household’s MAE lies below the other’s; under zero it lies above."
    if len(ours.percent) > bars:
        note += f" Each bar is the mean of {number(len(ours.percent) / bars, 1)} neighbours on average."
    if others:
        note += " Each line has the households in its own order."
    far = [value for found in (ours, *others) for value in found.percent if value < -_MOST_PERCENT]
    return note + (f" More than {_MOST_PERCENT:g}% above is cut; the most is {number(-min(far))}%." if far else "")


def _in_words(found: Gains) -> str:
    lower = sum(value > 0 for value in found.percent)
    ends = f"{alt_text.value(max(found.percent))}% to {alt_text.value(min(found.percent))}%"
    return f"{found.label}: better for {lower} of {len(found.percent)}, from {ends}"


def _sorted_means(values: Sequence[float], parts: int) -> list[float]:
    """The values from the greatest to the least, as means of so many parts of nearly the same size."""
    order = sorted(values, reverse=True)
    ends = [len(order) * part // parts for part in range(parts + 1)]
    return [fmean(order[low:high]) for low, high in pairwise(ends)]


def _within(value: float) -> float:
    return max(value, -_MOST_PERCENT)


def _signed_ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`, 0 among them."""
    step = round_ticks(max(high, 0.0) - min(low, 0.0))[1]
    first, last = math.floor(min(low, 0.0) / step + 1e-9), math.ceil(max(high, 0.0) / step - 1e-9)
    return [float(f"{step * place:.6g}") for place in range(first, max(last, first + 1) + 1)]


def by_days(title: str, days: Sequence[int], series: Sequence[ByDays], y_label: str) -> Chart:
    """A line for each method over the numbers of days, side by side, with intervals as far as the picture goes."""
    known = [value for one in series for value in one.values if math.isfinite(value)] or [0.0]
    spread = max(max(known) - min(known), 5.0)
    bottom, top = min(known) - spread, max(known) + spread
    ends = [end for one in series for end in (*one.low, *one.high) if math.isfinite(end)]
    ticks = _signed_ticks(max(bottom, min([*ends, *known])), min(top, max([*ends, *known])))
    sheet = Sheet(HALF, 240)
    axes = Axes(sheet, (-0.5, len(days) - 0.5), ticks)
    axes.rule(y_label, [(place, str(count)) for place, count in enumerate(days)])
    sheet.line([(axes.left, axes.y(0)), (axes.right, axes.y(0))], "muted", 1.4)
    for number_, one in enumerate(series):
        across = [place + 0.13 * (number_ - (len(series) - 1) / 2) for place in range(len(days))]
        for x, low, high in zip(across, one.low, one.high, strict=True):
            axes.plot([x, x], [min(max(end, ticks[0]), ticks[-1]) for end in (low, high)], one.colour, 1.2)
        axes.plot(across, one.values, one.colour, 2.2, dashed=one.dashed)
        for x, value in zip(across, one.values, strict=True):
            axes.plot([x], [value], one.colour, 7)
    cut = any(end < ticks[0] or end > ticks[-1] for end in ends)
    keys = tuple(Key(one.label, one.colour, "dash" if one.dashed else "line") for one in series)
    says = "; ".join(
        f"{one.label}: "
        + ", ".join(f"{alt_text.value(v)} with {d} days" for d, v in zip(days, one.values, strict=True))
        for one in series
    )
    note = "Across: days of own readings. Thin lines are 95% intervals over households"
    note += "; some are cut, the table has them whole." if cut else "."
    return Chart(title, sheet.svg(f"{title}: {y_label}. {says}"), keys, note)


def chances(title: str, series: Sequence[tuple[str, str, Sequence[Chance]]], what: str) -> Chart:
    """How often something came over how likely it was said to be, beside the line where both agree."""
    sheet = Sheet(HALF, 300)
    axes = Axes(sheet, (0, 100), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0])
    axes.rule("it came (%)", [(at, f"{at}%") for at in range(0, 101, 20)])
    axes.plot([0, 100], [0, 100], "grey", 1.4, dashed=True)
    for _, colour, dots in series:
        for dot in dots:
            axes.plot([100 * dot.said] * 2, [100 * dot.low, 100 * dot.high], colour, 1.2)
        axes.plot([100 * dot.said for dot in dots], [100 * dot.came for dot in dots], colour, 1.8)
        for dot in dots:
            axes.plot([100 * dot.said], [100 * dot.came], colour, 7)
    keys = [Key(label, colour, "line") for label, colour, _ in series]
    says = "; ".join(
        f"{label}: " + ", ".join(f"said {percent(d.said)}, came {percent(d.came)} of {d.count:,}" for d in dots)
        for label, _, dots in series
    )
    note = f"Across: the probability of {what}, in tenths. Thin lines are 95% intervals over households."
    keys.append(Key("as often as said", "grey", "dash"))
    return Chart(title, sheet.svg(f"{title}: {says}"), tuple(keys), note)
