"""What the evaluation says of errors: alongside cheaper baselines, and by distance into the future."""

from collections.abc import Sequence
from typing import Any

from neurogrid.plural import plural
from neurogrid.report import evaluated
from neurogrid.report.charts import Dot, Line, intervals, lines
from neurogrid.report.evaluated import GROUPS, METHODS, Group
from neurogrid.report.facts import RunFacts
from neurogrid.report.table import Cell, Chart, Column, Section, Table, Tile, figure, number, percent

_BY_SLOT = (
    ("median_28_days", "warn", False),
    ("pooled", "good", True),
    ("alone", "violet", True),
    ("persistence", "grey", True),
)


def forecasts(facts: RunFacts) -> Section:
    """Errors on the test part."""
    title = "How good are the forecasts?"
    groups = evaluated.groups(facts)
    if not groups:
        return Section("forecasts", title, missing=evaluated.unevaluated(facts))
    evaluation = facts.evaluation or {}
    lead = (
        f"Errors of forecasts of the next {evaluated.ahead(evaluation)} in the test period, on which nothing was "
        "trained or tuned. Each figure is the mean over households with its 95% interval over households. The baseline "
        "to beat is the median of the same slot over the last 28 days."
    )
    charts: list[Chart] = []
    tables: list[Table] = []
    notes: list[str] = []
    for key, group in groups:
        charts += [_errors_chart(key, group), _by_slot_chart(key, group, evaluation)]
        tables.append(_errors_table(key, group))
        left = [*group.get("quiet", ()), *group.get("without_windows", ())]
        if left:
            notes.append(
                f"{GROUPS[key]}: {plural(len(left), 'household')} left out, without load or without windows: "
                + ", ".join(left)
            )
    return Section("forecasts", title, lead, charts=tuple(charts), tables=tuple(tables), notes=tuple(notes))


def error_tile(facts: RunFacts, key: str) -> Tile:
    """MAE against the 28-day median of what a household uses, for a group of households."""
    title = {"trained": "MAE against the 28-day median", "held_out": "… on households never trained on"}[key]
    group = dict(evaluated.groups(facts)).get(key)
    ours = group["methods"].get(evaluated.used(group)) if group else None
    if not group or not ours:
        return Tile(title, "–", "not evaluated yet" if not facts.evaluation else "no such households")
    found = ours["mae_below_median_percent"]
    value, low, high = found["value"], found.get("low"), found.get("high")
    if value is None:
        return Tile(title, "–", "not defined")
    median = group["methods"].get("median_28_days", {}).get("mae")
    detail = f"{number(ours['mae']['value'], 4)} kWh a slot"
    if median:
        detail += f", the median {number(median['value'], 4)}"
    if low is not None and high is not None:
        detail += f"; 95% interval {evaluated.interval(low, high)}"
    tone = "good" if low is not None and low > 0 else "warn" if value < 0 else ""
    return Tile(title, evaluated.below(value), detail, tone)


def better_tile(facts: RunFacts) -> Tile:
    """Share of households that are better off with what they use."""
    group = dict(evaluated.groups(facts)).get("trained")
    ours = group["methods"].get(evaluated.used(group)) if group else None
    if not ours:
        return Tile("Households better off", "–", "not evaluated yet")
    alone, median = ours.get("better_than_alone_share"), ours.get("better_than_median_share") or {}
    if not alone or alone.get("value") is None:
        detail = "than with the 28-day median" + _share_interval(median)
        return Tile("Households better off", percent(median.get("value")), detail)
    detail = f"of those that trained{_share_interval(alone)}. Better than the 28-day median: "
    return Tile("Households better off than alone", percent(alone["value"]), detail + percent(median.get("value")))


def _share_interval(found: dict[str, Any]) -> str:
    low, high = found.get("low"), found.get("high")
    return "" if low is None or high is None else f"; 95% interval {percent(low)} to {percent(high)}"


def verdict(facts: RunFacts) -> str:
    """The outcome in one sentence."""
    tile = error_tile(facts, "trained")
    if tile.value == "–" or not facts.evaluation:
        return ""
    group = dict(evaluated.groups(facts))["trained"]
    count, ours = len(group["households"]), evaluated.used(group)
    mae = {name: evaluated.part(method["mae"], "value") for name, method in group["methods"].items()}
    # Said as plainly as the success: whoever does better in the same test.
    better = sorted((name for name in mae if mae[name] < mae[ours]), key=lambda name: mae[name])
    named = [f"{METHODS.get(name, name)} ({number(mae[name], 4)})" for name in better[:3]]
    rest = f" and {len(better) - 3} more" if len(better) > 3 else ""
    but = f" Better than its {number(mae[ours], 4)} kWh a slot: {', '.join(named)}{rest}." if named else ""
    whose = "the federated model’s mean absolute error"
    if ours != "federated":
        whose = "the mean absolute error of the model that each household has made of the federated one for itself"
    return (
        f"Looking {evaluated.ahead(facts.evaluation)} ahead, {whose} is {tile.value} that of the 28-day median, on "
        f"held-out time of {plural(count, 'household')}.{but}"
    )


def _errors_chart(key: str, group: Group) -> Chart:
    dots = []
    for name in evaluated.ordered(group["methods"], METHODS):
        value, low, high = (evaluated.part(group["methods"][name]["mae"], part) for part in ("value", "low", "high"))
        dots.append(Dot(METHODS.get(name, name), value, low, high, ours=name == evaluated.used(group)))
    return intervals(f"errors {key}", f"{GROUPS[key]}: mean absolute error", dots, "MAE (kWh a slot)")


def _by_slot_chart(key: str, group: Group, evaluation: dict[str, Any]) -> Chart:
    series = []
    slots = 1
    ours = evaluated.used(group)
    for name, colour, dashed in ((ours, "ours", False), *_BY_SLOT):
        by_slot: Sequence[dict[str, Any]] = group["methods"].get(name, {}).get("mae_by_slot") or ()
        if not by_slot:
            continue
        slots = len(by_slot)
        columns = {part: [evaluated.part(found, part) for found in by_slot] for part in ("value", "low", "high")}
        band = name == ours
        series.append(
            Line(
                METHODS[name],
                colour,
                columns["value"],
                columns["low"] if band else (),
                columns["high"] if band else (),
                dashed,
            )
        )
    minutes = int(evaluation.get("cadence_minutes", 1))
    x = [minutes * (slot + 1) / 60 for slot in range(slots)]
    return lines(f"slots {key}", f"{GROUPS[key]}: error by how far ahead", x, series, "hours ahead", "MAE (kWh a slot)")


def _errors_table(key: str, group: Group) -> Table:
    rows: list[list[str | Cell]] = []
    names = evaluated.ordered(group["methods"], METHODS)
    for name in names:
        method = group["methods"][name]
        rows.append(
            [
                METHODS.get(name, name),
                figure(method.get("mae"), 4),
                figure(method.get("mae_below_median_percent"), 1),
                figure(method.get("bias_percent"), 1),
                figure(method.get("rmse"), 4),
                figure(method.get("mase"), 3),
                figure(method.get("mase_median"), 3),
                figure(method.get("better_than_median_share"), 0, factor=100),
            ]
        )
    columns = (
        Column("Method", numeric=False),
        Column("MAE", "kWh a slot"),
        Column("Below the median", "% of its MAE"),
        Column("Bias of the sum", "% of the load"),
        Column("RMSE", "kWh a slot"),
        Column("MASE"),
        Column("Median MASE"),
        Column("Better than the median", "% of households"),
    )
    ours = frozenset(i for i, name in enumerate(names) if name == evaluated.used(group))
    title = f"{GROUPS[key]}: {plural(len(group['households']), 'household')}, {plural(group['windows'], 'window')}"
    note = (
        "A negative figure in “Below the median” means an error above the median’s. The bias is that of the sum over "
        "households: a model trained for the smallest absolute error forecasts the sum too low, see local.loss."
    )
    return Table(title, columns, rows, ours, note)
