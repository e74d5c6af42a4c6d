"""Plain SVG without matplotlib, which takes half a second to load: a sheet to draw on, and round numbers for its axes.

Colours are the palette's CSS variables, and words stay words, as in charts.py.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from markupsafe import Markup

WIDE, HALF = 1040, 500
"""Widths of a picture in CSS pixels, as on a wide screen."""
FONT_PX = 12.5
_LETTER_PX = 7.6  # of a wide font
_STEPS = (timedelta(hours=1), timedelta(hours=3), timedelta(hours=6), timedelta(hours=12), timedelta(days=1))
_DAYS = (2, 7, 14)
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
Point = tuple[float, float]


class Sheet:
    """An SVG picture that is drawn on piece by piece. Coordinates are CSS pixels from its top left."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[Markup] = []

    def text(
        self, x: float, y: float, words: str, anchor: str = "start", colour: str = "muted", size: float = FONT_PX
    ) -> None:
        """Words on the base line `y`; anchor is start, middle or end."""
        self._parts.append(
            Markup('<text x="{}" y="{}" text-anchor="{}" fill="var(--{})" font-size="{}">{}</text>').format(
                short(x), short(y), anchor, colour, short(size), words
            )
        )

    def tick(self, x: float, words: str) -> None:
        """Words at the lower edge with their middle at x, or as near to it as they are whole."""
        half = len(words) * _LETTER_PX / 2 + 1
        self.text(min(max(x, half), self.width - half), self.height - 8, words, "middle")

    def turned_text(self, x: float, y: float, words: str) -> None:
        """Words that read upwards, with their middle at (x, y)."""
        self._parts.append(
            Markup(
                '<text transform="translate({} {}) rotate(-90)" text-anchor="middle" fill="var(--muted)" '
                'font-size="{}">{}</text>'
            ).format(short(x), short(y), short(FONT_PX), words)
        )

    def line(self, points: Sequence[Point], colour: str, width: float = 1.0, *, dashed: bool = False) -> None:
        """A line through the points; one that is not finite breaks it, and a point alone between breaks is a dot."""
        path = _line_path(points)
        if path:
            dashes = Markup(' stroke-dasharray="5 3.5"') if dashed else ""
            self._parts.append(
                Markup(
                    '<path d="{}" fill="none" stroke="var(--{})" stroke-width="{}" stroke-linejoin="round" '
                    'stroke-linecap="round"{}/>'
                ).format(path, colour, short(width), dashes)
            )

    def rectangles(self, boxes: Sequence[tuple[float, float, float, float]], colour: str, title: str = "") -> None:
        """Boxes (x, y, width, height) of one colour as one path; `title` is shown where the mouse rests on them."""
        if boxes:
            path = "".join(f"M{short(x)} {short(y)}h{short(w)}v{short(h)}h{short(-w)}z" for x, y, w, h in boxes)
            words = Markup("<title>{}</title>").format(title) if title else ""
            self._parts.append(Markup('<path d="{}" fill="var(--{})">{}</path>').format(path, colour, words))

    def bands(self, outlines: Sequence[Sequence[Point]], colour: str) -> None:
        """Closed shapes of one light colour, which lines and words over them can be read through, as one path."""
        if outlines:
            path = "".join("M" + "L".join(f"{short(x)} {short(y)}" for x, y in outline) + "z" for outline in outlines)
            shape = Markup('<path d="{}" fill="var(--{})" fill-opacity="0.22"/>').format(path, colour)
            self._parts.append(shape)

    def svg(self, says: str) -> Markup:
        """The picture; a screen reader says `says`."""
        head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            short(self.width), short(self.height), says
        )
        return head + Markup("\n").join(self._parts) + Markup("</svg>")


class Axes:
    """A rectangle of a sheet whose inside is measured in data units.

    It is as high as the ticks of y go, and down to `floor` where that lies below them.
    """

    def __init__(
        self,
        sheet: Sheet,
        x: tuple[float, float],
        y_ticks: Sequence[float],
        *,
        bottom: float = 26,
        floor: float = math.inf,
    ) -> None:
        self.sheet, self._x, self._y_ticks = sheet, x, y_ticks
        self._low = min(y_ticks[0], floor)
        self._labels = [f"{value:,.6g}".replace("-", "−") for value in y_ticks]
        self.left, self.right = 27 + _LETTER_PX * max(len(label) for label in self._labels), sheet.width - 12
        self.upper, self.lower = 8.0, sheet.height - bottom

    def x(self, value: float) -> float:
        """From data to pixels."""
        low, high = self._x
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """From data to pixels."""
        low, high = self._low, self._y_ticks[-1]
        return self.lower - (value - low) / (high - low) * (self.lower - self.upper)

    def rule(self, y_label: str, x_ticks: Sequence[tuple[float, str]]) -> None:
        """Thin lines across at each tick of y, ticks of x at the lower edge, and what y is."""
        for value, label in zip(self._y_ticks, self._labels, strict=True):
            self.sheet.line([(self.left, self.y(value)), (self.right, self.y(value))], "line")
            self.sheet.text(self.left - 7, self.y(value) + 4, label, "end")
        for value, words in x_ticks:
            self.sheet.tick(self.x(value), words)
        self.sheet.turned_text(11, (self.upper + self.lower) / 2, y_label)

    def plot(
        self, x: Sequence[float], y: Sequence[float], colour: str, width: float = 1.8, *, dashed: bool = False
    ) -> None:
        """A line through (x, y); a value that is not finite breaks it."""
        points = [(self.x(a), self.y(b)) for a, b in zip(x, y, strict=True)]
        self.sheet.line(points, colour, width, dashed=dashed)

    def bands(
        self, pieces: Sequence[tuple[Sequence[float], Sequence[float], Sequence[float]]], half: float, colour: str
    ) -> None:
        """Between low and high over x, as (x, low, high); each reaches `half` beyond its first and its last x."""
        outlines = []
        for x, low, high in pieces:
            wide = [x[0] - half, *x, x[-1] + half]
            upper, lower = ([y[0], *y, y[-1]] for y in (high, low))
            corners = [*zip(wide, upper, strict=True), *reversed(list(zip(wide, lower, strict=True)))]
            outlines.append([(self.x(a), self.y(b)) for a, b in corners])
        self.sheet.bands(outlines, colour)


def short(value: float) -> str:
    """A coordinate to a tenth of a pixel, without zeros that say nothing."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def round_ticks(top: float, at_most: int = 5) -> list[float]:
    """Round numbers from 0 to at least `top`, `at_most` steps of 1, 2 or 5 times a power of ten."""
    if not math.isfinite(top) or top <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(top / at_most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if top <= power * factor * at_most * (1 + 1e-9))
    return [float(f"{step * i:.6g}") for i in range(math.ceil(top / step - 1e-9) + 1)]


def time_ticks(first: datetime, last: datetime, at_most: int = 6) -> list[tuple[datetime, str]]:
    """At most so many moments from `first` to `last` at round hours, days or months, each with its words."""
    span = last - first
    for step in (*_STEPS, *(timedelta(days=days) for days in _DAYS)):
        if span <= step * at_most:
            return _even_ticks(first, last, step)
    months = (last.year - first.year) * 12 + last.month - first.month
    step_months = next((step for step in _MONTHS if months <= step * at_most), _MONTHS[-1])
    start = first.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    numbers = range(start.year * 12 + start.month - 1, last.year * 12 + last.month)
    moments = [start.replace(year=n // 12, month=n % 12 + 1) for n in numbers if n % step_months == 0]
    words = "%Y" if step_months >= 12 else "%b %Y"
    return [(moment, moment.strftime(words)) for moment in moments if first <= moment <= last]


def _even_ticks(first: datetime, last: datetime, step: timedelta) -> list[tuple[datetime, str]]:
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    moment = midnight + step * math.ceil((first - midnight) / step)
    found = []
    while moment <= last:
        words = f"{moment.day} {moment:%b}" if moment.hour == 0 and moment.minute == 0 else f"{moment:%H:%M}"
        found.append((moment, words))
        moment += step
    return found


def shortened(words: str, most: int = 20) -> str:
    """Words of at most so many letters; longer ones keep both ends."""
    return words if len(words) <= most else f"{words[: most // 2 - 1]}…{words[-(most - most // 2) :]}"


def _line_path(points: Sequence[Point]) -> str:
    parts: list[str] = []
    run: list[str] = []
    for x, y in [*points, (math.nan, math.nan)]:
        if math.isfinite(x) and math.isfinite(y):
            run.append(f"{short(x)} {short(y)}")
        elif run:
            parts.append(f"M{run[0]}" + ("L" + " ".join(run[1:]) if run[1:] else "h0"))
            run = []
    return "".join(parts)
