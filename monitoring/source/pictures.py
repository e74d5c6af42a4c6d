"""Draws what the dashboards' queries answer, panel by panel where Grafana would put them: pictures for docs/monitoring.md.

This is no Grafana: the figures are the real ones of a real Prometheus, the drawing is ours. `make panel-pictures`.
"""

import json
import math
import re
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from stage import MONITORING, RUN_ID, Prometheus, run_with_attackers, stage

INCH_A_COLUMN, INCH_A_ROW = 0.72, 0.36
BACK, PAPER, INK, FAINT = "#f4f5f5", "#ffffff", "#24292e", "#6e7680"
COLOURS = ("#3274d9", "#e0752d", "#37872d", "#c4162a", "#8f3bb8", "#e0b400", "#1f9bcf", "#7c4dff", "#806eb7", "#5e5e5e")
MOST_BARS = 9


def said(value: float, unit: str) -> str:
    """A figure as Grafana would write it."""
    if not math.isfinite(value):
        return "–"
    if unit == "dateTimeFromNow":
        return f"{(time.time() - value / 1000) / 60:.0f} min ago"
    if unit == "percentunit":
        return f"{100 * value:.3g}%"
    if unit == "s":
        return (
            f"{1000 * value:.3g} ms"
            if 0 < abs(value) < 1
            else f"{value:.3g} s"
            if abs(value) < 120
            else f"{value / 60:.3g} min"
        )
    steps = {"bytes": ("B", "kB", "MB", "GB"), "Bps": ("B/s", "kB/s", "MB/s", "GB/s"), "joule": ("J", "kJ", "MJ", "GJ")}
    if unit in steps:
        power = min(3, int(math.log10(abs(value)) // 3)) if abs(value) >= 1 else 0
        return f"{value / 1000**power:.3g} {steps[unit][power]}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


class Painter:
    """One dashboard's panels on one figure."""

    def __init__(
        self, prometheus: Prometheus, board: dict[str, Any], start: float, end: float, run: str, namespace: str
    ) -> None:
        self._prometheus, self._board, self._start, self._end = prometheus, board, start, end
        self._variables = {"namespace": namespace or ".*", "application": ".*", "run": run, "window": "30s"}
        self._on_a_cluster = bool(namespace)

    def paint(self) -> Figure:
        """All panels that have room in the picture."""
        panels = [p for p in self._board["panels"] if self._on_a_cluster or not self._only_on_a_cluster(p)]
        lows = sorted({p["gridPos"]["y"] for p in panels})
        heights = {y: max(p["gridPos"]["h"] for p in panels if p["gridPos"]["y"] == y) for y in lows}
        tops, total = {}, 0
        for y in lows:  # what a cluster alone has is left out, and leaves no gap
            tops[y], total = total, total + heights[y]
        width, height = 24 * INCH_A_COLUMN, (total + 2) * INCH_A_ROW
        figure = Figure((width, height), facecolor=BACK, dpi=80)
        figure.text(0.008, 1 - 1 / (total + 2), self._board["title"], color=INK, size=15, weight="bold", va="center")
        for panel in panels:
            at = panel["gridPos"]
            left, right = at["x"] / 24, (at["x"] + at["w"]) / 24
            top = 1 - (2 + tops[at["y"]]) / (total + 2)
            low = top - at["h"] / (total + 2)
            if panel["type"] == "row":
                figure.text(
                    left + 0.008, (top + low) / 2, panel["title"], color=INK, size=12, weight="bold", va="center"
                )
                continue
            self._panel(figure, panel, left, low, right - left, top - low, total + 2)
        return figure

    def _panel(
        self, figure: Figure, panel: dict[str, Any], x: float, y: float, w: float, h: float, rows: float
    ) -> None:
        gap_x, gap_y = 0.003, 0.15 / rows
        frame = mpl.patches.Rectangle(
            (x + gap_x, y + gap_y),
            w - 2 * gap_x,
            h - 2 * gap_y,
            transform=figure.transFigure,
            facecolor=PAPER,
            edgecolor="#dfe1e3",
            zorder=-1,
        )
        figure.add_artist(frame)
        figure.text(x + 0.008, y + h - 0.75 / rows, panel["title"], color=INK, size=9.5, weight="bold", va="center")
        draw = {"timeseries": self._lines, "stat": self._number, "bargauge": self._bars, "table": self._table}
        if panel["type"] == "timeseries":
            series = self._series_count(panel)
            legend = (series if series <= 3 else (min(series, 10) + 1) // 2) * 0.44 + 0.5
            box = (x + 0.042, y + (0.75 + legend) / rows, w - 0.05, h - (2.2 + legend) / rows)
        elif panel["type"] == "bargauge":
            box = (x + 0.115, y + 0.5 / rows, w - 0.17, h - 1.9 / rows)
        else:
            box = (x + 0.008, y + 0.3 / rows, w - 0.016, h - 1.6 / rows)
        draw[panel["type"]](figure.add_axes(box), panel)

    def _only_on_a_cluster(self, panel: dict[str, Any]) -> bool:
        asked = " ".join(target["expr"] for target in panel.get("targets") or [])
        names = ("neurogrid_sparkapplication_", "neurogrid_job_", "container_")
        return any(name in asked for name in names) or panel["title"] in {"Applications", "Pods (kubelet)"}

    def _asked(self, expr: str) -> str:
        for name, value in self._variables.items():
            expr = expr.replace(f"${name}", value)
        return expr

    def _ranges(self, panel: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
        """Legend and (moments, values) of every series of a panel."""
        found = []
        for target in panel["targets"]:
            for series in self._prometheus.between(self._asked(target["expr"]), self._start, self._end, 1):
                values = np.array([[float(moment), float(value)] for moment, value in series["values"]]).T
                found.append((_legend(target.get("legendFormat", ""), series["metric"]), values))
        return found

    def _series_count(self, panel: dict[str, Any]) -> int:
        return max(1, len(self._ranges(panel)))

    def _now(self, panel: dict[str, Any]) -> list[tuple[str, dict[str, str], float]]:
        found = []
        for target in panel["targets"]:
            for series in self._prometheus.ask("query", query=self._asked(target["expr"]), time=f"{self._end}")[
                "result"
            ]:
                legend = _legend(target.get("legendFormat", ""), series["metric"])
                found.append((legend, series["metric"], float(series["value"][1])))
        return found

    def _lines(self, axes: Axes, panel: dict[str, Any]) -> None:
        unit, custom = panel["fieldConfig"]["defaults"]["unit"], panel["fieldConfig"]["defaults"]["custom"]
        stacked = (custom.get("stacking") or {}).get("mode") == "normal"
        found = self._ranges(panel)
        if not found:
            return _nothing(axes, panel)
        moments = np.arange(self._start, self._end, 1.0)
        below = np.zeros_like(moments)
        for number, (legend, (at, values)) in enumerate(found):
            colour, last = COLOURS[number % len(COLOURS)], values[np.isfinite(values)]
            label = f"{legend[:34]}  {said(last[-1], unit) if len(last) else '–'}"
            if stacked:
                own = np.nan_to_num(np.interp(moments, at, values, left=0, right=0))
                axes.fill_between(moments, below, below + own, color=colour, alpha=0.55, linewidth=0, label=label)
                below += own
            else:
                axes.plot(at, values, color=colour, linewidth=1.6, label=label)
        axes.set_ylabel(custom["axisLabel"], color=FAINT, size=8)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: said(round(value, 6), unit)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{datetime.fromtimestamp(value):%H:%M:%S}"))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlim(self._start, self._end)
        if panel["fieldConfig"]["defaults"].get("min") == 0:
            axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="#e4e7e7")
        axes.tick_params(colors=FAINT, labelsize=7.5, length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            handles[:10], labels[:10], loc="upper left", bbox_to_anchor=(-0.1, -0.13), frameon=False, fontsize=7.5,
            labelcolor=INK, ncols=1 if len(labels) <= 3 else 2, handlelength=1.2, borderpad=0, labelspacing=0.25,
        )  # fmt: skip
        return None

    def _number(self, axes: Axes, panel: dict[str, Any]) -> None:
        axes.axis("off")
        found = self._now(panel)
        if not found:
            return _nothing(axes, panel)
        value, defaults = found[0][2], panel["fieldConfig"]["defaults"]
        words = {key: one["text"] for m in defaults.get("mappings") or [] for key, one in m["options"].items()}
        text = words.get(f"{value:g}", said(value, defaults["unit"]))
        colour = INK
        steps = (defaults.get("thresholds") or {}).get("steps") or []
        for step in steps:
            if step["value"] is None or value >= step["value"]:
                colour = {"green": "#37872d", "red": "#c4162a"}.get(step["color"], INK)
        axes.text(0.5, 0.45, text, ha="center", va="center", size=22, color=colour, transform=axes.transAxes)
        return None

    def _bars(self, axes: Axes, panel: dict[str, Any]) -> None:
        unit = panel["fieldConfig"]["defaults"]["unit"]
        found = sorted(self._now(panel), key=lambda one: -one[2])[:MOST_BARS]
        if not found:
            return _nothing(axes, panel)
        names, values = [one[0] for one in found][::-1], [one[2] for one in found][::-1]
        axes.barh([name[-30:] for name in names], values, color=COLOURS[0], height=0.62)
        for row, value in enumerate(values):
            axes.text(value, row, f" {said(value, unit)}", va="center", size=8, color=INK)
        axes.tick_params(colors=INK, labelsize=8, length=0)
        axes.xaxis.set_visible(False)
        axes.set_ylim(min(-0.6, len(names) - 5.4), len(names) - 0.4)
        for side in axes.spines.values():
            side.set_visible(False)
        return None

    def _table(self, axes: Axes, panel: dict[str, Any]) -> None:
        axes.axis("off")
        how = panel["transformations"][1]["options"]
        shown = sorted(how["renameByName"], key=how["indexByName"].__getitem__)
        units = {o["matcher"]["options"]: o["properties"][0]["value"] for o in panel["fieldConfig"]["overrides"]}
        rows: dict[str, dict[str, str]] = {}
        for number, target in enumerate(panel["targets"]):
            value = "Value" if len(panel["targets"]) == 1 else f"Value #{chr(ord('A') + number)}"
            for series in self._prometheus.ask("query", query=self._asked(target["expr"]), time=f"{self._end}")[
                "result"
            ]:
                row = rows.setdefault(series["metric"].get(shown[0], ""), {})
                row |= {name: series["metric"][name] for name in shown if name in series["metric"]}
                row[value] = said(float(series["value"][1]), units.get(how["renameByName"].get(value, ""), "none"))
        if not rows:
            return _nothing(axes, panel)
        titles = [how["renameByName"][name] for name in shown]
        cells = [[row.get(name, "") for name in shown] for row in rows.values()]
        table = axes.table(
            cells,
            colLabels=titles,
            loc="upper left",
            cellLoc="left",
            edges="horizontal",
        )
        table.auto_set_font_size(False)
        table.set_fontsize(8.5)
        for cell in table.get_celld().values():
            cell.set_edgecolor("#e4e7e7")
        return None


def _nothing(axes: Axes, panel: dict[str, Any]) -> None:
    axes.axis("off")
    axes.text(
        0.5,
        0.5,
        panel["fieldConfig"]["defaults"]["noValue"],
        ha="center",
        va="center",
        color=FAINT,
        transform=axes.transAxes,
    )


def _legend(template: str, labels: dict[str, str]) -> str:
    named = re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template)
    return " ".join(named.split())


def draw(prometheus: Prometheus, start: float, end: float, folder: Path) -> list[Path]:
    """One PNG a dashboard; those of runs from the beginning of the run."""
    labels = f'{{run="{RUN_ID}"}}'
    began = prometheus.value(f"neurogrid_run_started_timestamp_seconds{labels}") - 5
    ended = prometheus.value(f"neurogrid_run_ended_timestamp_seconds{labels}") + 10
    made = []
    for path in sorted((MONITORING / "dashboards").glob("*.json")):
        span = (began, ended) if path.stem in ("neurogrid-run", "neurogrid-runs") else (start, end)
        figure = Painter(prometheus, json.loads(path.read_text()), *span, run=RUN_ID, namespace="").paint()
        made.append(folder / f"{path.stem.replace('neurogrid', 'monitoring')}.png")
        figure.savefig(made[-1], facecolor=BACK)
    return made


def draw_cluster(prometheus: Prometheus, namespace: str, last_s: float, folder: Path) -> Path:
    """What a release's jobs used of a cluster in the last seconds."""
    board = json.loads((MONITORING / "dashboards" / "neurogrid-resources.json").read_text())
    now, made = time.time(), folder / "monitoring-cluster.png"
    Painter(prometheus, board, now - last_s, now, run=".*", namespace=namespace).paint().savefig(made, facecolor=BACK)
    return made


if __name__ == "__main__":
    if len(sys.argv) > 2:  # folder, Prometheus' address, namespace, seconds
        print(draw_cluster(Prometheus(sys.argv[2]), sys.argv[3], float(sys.argv[4]), Path(sys.argv[1])))
        sys.exit()
    with tempfile.TemporaryDirectory() as made, stage(Path(made)) as stood:
        run_with_attackers(stood, {})
        print(*draw(stood.prometheus, stood.began, time.time(), Path(sys.argv[1])), sep="\n")
