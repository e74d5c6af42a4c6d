"""Runs side by side: the settings in which they differ, what came of each, and both as a page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neurogrid.plural import plural
from neurogrid.report.charts import Line, lines
from neurogrid.report.table import NOTHING, Cell, Chart, Column, Section, Table, number, percent
from neurogrid.report.template import fill

_COLOURS = ("ours", "attack", "good", "violet", "warn", "grey")
LABELS = {
    "state": "state",
    "rounds": "rounds done",
    "held_out_loss_first": "held-out loss after the first round",
    "held_out_loss_last": "held-out loss after the last round",
    "accepted_share": "updates accepted",
    "late_or_lost": "updates late or lost",
    "rejection_recall": "attackers’ updates rejected",
    "rejection_precision": "rejected updates that were attackers’",
    "rounds_s": "time of the rounds, s",
    "trained_mae_kwh": "MAE of households that trained, kWh",
    "trained_below_median_share": "the same, below the 28-day median",
    "trained_surge_f1": "F1 of any surge ahead, households that trained",
    "held_out_mae_kwh": "MAE of households that never trained, kWh",
    "held_out_below_median_share": "the same, below the 28-day median",
    "held_out_surge_f1": "F1 of any surge ahead, households that never trained",
}
"""What each figure is called, in the order in which they are shown."""
_SHARES = {name for name in LABELS if name.endswith(("_share", "_recall", "_precision"))}
_DIGITS = {"rounds": 0, "late_or_lost": 0, "rounds_s": 1}


@dataclass(frozen=True)
class Comparison:
    """What is compared; each sequence has one entry a run.

    Attributes:
        runs: their names.
        settings: values of the keys of the config in which they differ.
        figures: by the names of LABELS; None where a run has none.
        held_out_loss: after each round.
        notes: what a reader has to know to compare them.
    """

    runs: Sequence[str]
    settings: Mapping[str, Sequence[Any]]
    figures: Mapping[str, Sequence[Any]]
    held_out_loss: Sequence[Sequence[float | None]]
    notes: Sequence[str]


def words(name: str, value: Any) -> str:
    """A figure as it is shown."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    return percent(value, 1) if name in _SHARES else number(value, _DIGITS.get(name, 4))


def render_comparison(found: Comparison) -> str:
    """The comparison as HTML that needs no network, no script and no other file."""
    figures = Table(
        "What came of each run",
        (Column("", numeric=False), *map(Column, found.runs)),
        [[LABELS[name], *(Cell(words(name, v)) for v in values)] for name, values in found.figures.items()],
    )
    settings = Table(
        "Settings that differ",
        tuple(Column(title, numeric=False) for title in ("", *found.runs)),
        [[key, *map(str, values)] for key, values in found.settings.items()],
    )
    same = "" if found.settings else "All settings are the same."
    ended = set(found.figures["state"]) == {"ended"}
    return fill(
        "comparison.html",
        title=" and ".join(found.runs),
        summary=plural(len(found.runs), "run"),
        verdict="",
        status=("all have ended", "good") if ended else ("not all have ended", "warn"),
        tiles=[],
        sections=[
            Section("figures", "Figures", charts=_losses(found), tables=(figures,), notes=tuple(found.notes)),
            Section("settings", "Settings", tables=(settings,) if found.settings else (), missing=same),
        ],
    )


def _losses(found: Comparison) -> tuple[Chart, ...]:
    """Held-out loss by round; nothing where there are more runs than colours, or no round at all."""
    longest = max(map(len, found.held_out_loss))
    if not longest or len(found.runs) > len(_COLOURS):
        return ()
    series = []
    for run, colour, losses in zip(found.runs, _COLOURS, found.held_out_loss, strict=False):
        known = [math.nan if loss is None else loss for loss in losses]
        series.append(Line(run, colour, [*known, *[math.nan] * (longest - len(known))]))
    rounds = list(range(1, longest + 1))
    return (lines("losses", "Held-out loss by round", rounds, series, "round", "held-out loss"),)
