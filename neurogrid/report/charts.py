"""The report's pictures: plain figures in, inline SVG out. Nothing here reads a file or a clock.

Words in a chart stay words (they can be selected, searched and read aloud) and colours are CSS variables.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from neurogrid.plural import plural
from neurogrid.report import alt_text
from neurogrid.report.palette import stand_in, themed
from neurogrid.report.table import Chart, Key

mpl.rcParams["text.parse_math"] = False  # names from data are words: a $ in one is no formula
WIDE, HALF = 1040, 500
_LOG_ABOVE = 100  # how many times the least value the greatest is where a scale of powers reads better
_SIZE = 12.5
Rect = tuple[float, float, float, float]
"""x, y, width, height."""


@dataclass(frozen=True)
class Line:
    """A series over x; `low` and `high` make a band around it."""

    label: str
    colour: str
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Dot:
    """A value with its interval, on a line of its own."""

    label: str
    value: float
    low: float
    high: float
    ours: bool


@dataclass(frozen=True)
class Cell:
    """One agent in one round: `share` is its share of the city mean over an equal share; None where not accepted."""

    row: int
    column: int
    share: float | None
    answered: bool
    malicious: bool


def lines(
    name: str,
    title: str,
    x: Sequence[float],
    series: Sequence[Line],
    x_label: str,
    y_label: str,
    *,
    percent: bool = False,
    note: str = "",
) -> Chart:
    """Lines over x, each with a band where it has one; those in percent of a whole stand on an axis from 0 to 100."""
    figure, axes = _figure(HALF, 300)
    for one in series:
        colour = stand_in(one.colour)
        if one.low:
            axes.fill_between(x, one.low, one.high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(
            x,
            one.y,
            color=colour,
            linewidth=2.2,
            linestyle=(0, (4, 2.5)) if one.dashed else "-",
            marker="o" if len(x) <= 16 else "",
            markersize=4.5,
            solid_capstyle="round",
            clip_on=not percent,  # a line at 100% is drawn whole
        )
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    known = [value for one in series for value in one.y if math.isfinite(value) and value > 0]
    if percent:
        axes.set_ylim(0, 100)
    elif known and max(known) > _LOG_ABOVE * min(known):
        _log_scale(axes, max(known) / min(known))
    if x_label == "round":
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    keys = tuple(Key(one.label, one.colour, "dash" if one.dashed else "line") for one in series)
    says = alt_text.sentence(f"{y_label}, by {x_label}", (alt_text.series(one.label, one.y) for one in series))
    return Chart(title, _svg(figure, name, f"{title}: {says}"), keys, note)


def stacked_bars(
    name: str, title: str, series: Sequence[tuple[str, str, Sequence[float]]], x_label: str, y_label: str
) -> Chart:
    """One bar a round, 1 and on; a bar that towers over the others is cut, and says how high it is."""
    figure, axes = _figure(HALF, 300)
    totals = np.sum([values for _, _, values in series], axis=0)
    usual = float(np.median(totals))
    top = float(totals.max())
    cut = top > 4 * usual > 0
    limit = 2.6 * usual if cut else top * 1.04
    width = 0.82 if len(totals) <= 120 else 1.0
    floor = np.zeros(len(totals))
    for _, colour, values in series:
        rects = [
            (i + 1 - width / 2, low, width, min(low + v, limit) - low)
            for i, (low, v) in enumerate(zip(floor, values, strict=True))
            if v > 0 and low < limit
        ]
        _rectangles(axes, rects, colour)
        floor = floor + np.asarray(values)
    tall = [i for i, total in enumerate(totals) if total > limit]
    for i in tall[:3]:
        # The name of the cut bar's true height, inside the picture at the top.
        axes.text(i + 1, limit, f" {totals[i]:,.0f}", va="bottom", ha="center", color=stand_in("ink"), size=11)
    axes.set_xlim(0.3, len(totals) + 0.7)
    axes.set_ylim(0, limit * (1.08 if tall else 1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    keys = tuple(Key(label, colour) for label, colour, _ in series)
    note = f"{plural(len(tall), 'bar')} cut off at the top, with the true height written above." if tall else ""
    parts = (alt_text.series(label, values) for label, _, values in series)
    says = alt_text.sentence(f"{y_label}, by {x_label}", [alt_text.series("whole bar", totals.tolist()), *parts])
    return Chart(title, _svg(figure, name, f"{title}: {says}"), keys, note)


def heat_map(
    name: str, title: str, rows: Sequence[str], groups: Sequence[tuple[str, int]], rounds: int, cells: Sequence[Cell]
) -> Chart:
    """Agents down, rounds across. Groups are districts with their number of rows, in order."""
    height = 74 + (20 if len(rows) <= 30 else 15) * len(rows)
    figure, axes = _figure(WIDE, height, grid=False)
    cell_px = 900 / max(rounds, 1)
    across_gap, gap = (min(0.08, 1.2 / cell_px) if rounds <= 300 else 0.0), 0.07
    found: dict[str, list[Rect]] = {"ours": [], "ours-soft": [], "attack": [], "grey": []}
    attackers: list[tuple[float, float]] = []
    for cell in cells:
        if cell.share is not None:
            kind = "ours" if cell.share >= 0.5 else "ours-soft"
        else:
            kind = "attack" if cell.answered else "grey"
        found[kind].append((cell.column + across_gap, cell.row + gap, 1 - 2 * across_gap, 1 - 2 * gap))
        if cell.malicious:
            attackers.append((cell.column + 0.5, cell.row + 0.5))
    _rectangles(axes, [(0, row + gap, rounds, 1 - 2 * gap) for row in range(len(rows))], "none")
    for colour, rects in found.items():
        _rectangles(axes, rects, colour)
    size = min(8.5 if len(rows) <= 30 else 7.5, max(2.5, 0.55 * cell_px))
    if attackers:
        across, down = zip(*attackers, strict=True)
        axes.plot(across, down, "o", color=stand_in("paper"), markersize=size, markeredgewidth=0)
        axes.plot(across, down, "o", color=stand_in("ink"), markersize=size * 0.6, markeredgewidth=0)
    axes.set_xlim(0, rounds)
    axes.set_ylim(len(rows), 0)
    axes.set_yticks([row + 0.5 for row in range(len(rows))], rows)
    attacking = {cell.row for cell in cells if cell.malicious}
    for row, tick in enumerate(axes.get_yticklabels()):
        tick.set_color(stand_in("attack" if row in attacking else "muted"))
    step = max(1, math.ceil(rounds / 20))
    ticks = [1, *range(step, rounds + 1, step)] if step > 1 else list(range(1, rounds + 1))
    axes.set_xticks([tick - 0.5 for tick in ticks], [str(tick) for tick in ticks])
    axes.set_xlabel("round")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    start = 0
    for label, count in groups:
        if start:
            axes.axhline(start, color=stand_in("ink"), linewidth=1)
        axes.text(
            1.005,
            start + count / 2,
            label,
            transform=axes.get_yaxis_transform(),
            va="center",
            rotation=-90,
            color=stand_in("muted"),
            size=_SIZE,
        )
        start += count
    keys = (
        Key("accepted, with at least half of an equal share of the mean", "ours"),
        Key("accepted, with less than half", "ours-soft"),
        Key("rejected", "attack"),
        Key("no answer", "grey"),
        Key("not selected", "none"),
        *([Key("an attacker (known in experiments)", "ink", "ring")] if attackers else []),
    )
    return Chart(title, _svg(figure, name, f"{title}: {_map_in_words(len(rows), rounds, cells)}"), keys)


def _map_in_words(agents: int, rounds: int, cells: Sequence[Cell]) -> str:
    accepted = sum(cell.share is not None for cell in cells)
    silent = sum(not cell.answered for cell in cells)
    said = f"{plural(agents, 'agent')}, {plural(rounds, 'round')}. {plural(len(cells), 'update')} requested: "
    said += f"{accepted:,} accepted, {len(cells) - accepted - silent:,} rejected, {silent:,} without an answer."
    attacks = [cell for cell in cells if cell.malicious]
    if not attacks:
        return said
    return f"{said} {len(attacks):,} from attackers, of which {sum(c.share is not None for c in attacks):,} accepted."


def norms(
    name: str,
    title: str,
    rounds: Sequence[int],
    others: Sequence[tuple[float, float, float]],
    attackers: Sequence[tuple[int, float]],
    whose: str,
) -> Chart:
    """Lengths of updates before clipping: each attacker as a cross, `whose` are the others as median and range."""
    figure, axes = _figure(HALF, 300)
    low, middle, high = (np.array(values) for values in zip(*others, strict=True))
    axes.fill_between(rounds, low, high, color=stand_in("ours"), alpha=0.18, linewidth=0)
    axes.plot(rounds, middle, color=stand_in("ours"), linewidth=2.2, marker="o" if len(rounds) <= 16 else "", ms=4.5)
    if attackers:
        x, y = zip(*attackers, strict=True)
        axes.plot(x, y, "x", color=stand_in("attack"), markersize=6, markeredgewidth=1.7)
    every = [v for v in (*low, *high, *(norm for _, norm in attackers)) if np.isfinite(v) and v > 0]
    if every and max(every) > 12 * min(every):  # an attacker that scales, beside honest agents
        _log_scale(axes, max(every) / min(every))
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel("round")
    axes.set_ylabel("norm of the update (L2)")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    keys = (Key(f"{whose}: median and range", "ours", "line"), Key("an attacker", "attack", "cross"))
    parts = [alt_text.series(f"{whose}' median", middle.tolist())]
    parts += [alt_text.series("attackers", [norm for _, norm in attackers])] if attackers else []
    says = alt_text.sentence("L2 norm, by round", parts)
    return Chart(title, _svg(figure, name, f"{title}: {says}"), keys if attackers else keys[:1])


def intervals(name: str, title: str, dots: Sequence[Dot], x_label: str) -> Chart:
    """A dot with its interval on each line; our own stands out, with a thin vertical line through it."""
    figure, axes = _figure(HALF, 62 + 27 * len(dots))
    for place, dot in enumerate(dots):
        colour = stand_in("ours" if dot.ours else "grey")
        if math.isfinite(dot.low) and math.isfinite(dot.high):
            axes.plot(
                [dot.low, dot.high], [place, place], color=colour, linewidth=3, alpha=0.55, solid_capstyle="round"
            )
        axes.plot([dot.value], [place], "o", color=colour, markersize=9 if dot.ours else 7)
        if dot.ours:
            axes.axvline(dot.value, color=colour, linewidth=1, linestyle=(0, (2, 3)))
    axes.set_yticks(range(len(dots)), [dot.label for dot in dots])
    axes.set_ylim(len(dots) - 0.4, -0.6)
    axes.set_xlabel(x_label)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True, color=stand_in("line"), linewidth=1)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    for tick, dot in zip(axes.get_yticklabels(), dots, strict=True):
        tick.set_color(stand_in("ours" if dot.ours else "ink"))
    parts = (f"{d.label} {alt_text.value(d.value)} ({alt_text.value(d.low)} to {alt_text.value(d.high)})" for d in dots)
    return Chart(title, _svg(figure, name, f"{title}: {alt_text.sentence(x_label, parts)}"))


def _figure(width: int, height: int, *, grid: bool = True) -> tuple[Figure, Axes]:
    """A figure of that many CSS pixels (SVG user units are points here)."""
    figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(stand_in("line"))
    axes.tick_params(colors=stand_in("muted"), labelsize=_SIZE, length=0, pad=6)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(stand_in("muted"))
        label.set_fontsize(_SIZE)
    if grid:
        axes.grid(axis="y", color=stand_in("line"), linewidth=1)
        axes.set_axisbelow(True)
    return figure, axes


def _log_scale(axes: Axes, span: float) -> None:
    """Plain numbers at 1, 2, 5, 10, ... or, over many powers, at those only."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if span < 2000 else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _rectangles(axes: Axes, rects: Sequence[Rect], colour: str) -> None:
    """All in one path, so that thousands of them stay small."""
    if not rects:
        return
    corners = np.array([[(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)] for x, y, w, h in rects])
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(rects)
    axes.add_patch(PathPatch(Path(corners.reshape(-1, 2), codes), facecolor=stand_in(colour), linewidth=0))


def _svg(figure: Figure, name: str, says: str) -> Markup:
    text = io.StringIO()
    settings = {"svg.hashsalt": name, "svg.fonttype": "none", "font.size": _SIZE, "axes.unicode_minus": True}
    with mpl.rc_context(settings):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Ids of groups are the same in every chart and nobody refers to them; those of clips and markers are salted.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: (\d+(?:\.\d+)?)px [^;\"]*", r"font-size: \1px", svg)
    box = re.search(r'viewBox="([^"]*)"', svg)
    label = Markup.escape(says)
    # matplotlib says how its lines end for the whole page; here it is said of its own picture alone.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    ends = 'stroke-linejoin="round" stroke-linecap="butt"'
    opening = f'<svg viewBox="{box[1] if box else ""}" {ends} role="img" aria-label="{label}">'
    svg = re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1)
    # matplotlib's SVG is text that we made from our own numbers and from labels it has escaped.
    return Markup(themed(svg))  # noqa: S704
