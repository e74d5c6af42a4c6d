"""What the evaluation says: errors alongside cheaper baselines, by distance into the future, and surges."""

import math
from collections.abc import Sequence
from typing import Any

from neurogrid.plural import plural
from neurogrid.report.charts import Dot, Line, intervals, lines
from neurogrid.report.facts import RunFacts
from neurogrid.report.table import Cell, Chart, Column, Section, Table, Tile, figure, number, percent

METHODS = {
    "federated": "federated (this run)",
    "pooled": "same model, readings pooled",
    "alone": "same model, each alone",
    "gbm_pooled": "gradient boosting, readings pooled",
    "gbm_alone": "gradient boosting, each alone",
    "ridge_federated": "ridge, federated",
    "ridge_local": "ridge, each alone",
    "median_28_days": "median of the slot, 28 days",
    "mean_28_days": "mean of the slot, 28 days",
    "yesterday": "same slot yesterday",
    "last_week": "same slot last week",
    "persistence": "last value repeated",
}
SURGES = METHODS | {
    "usual_share": "share of the slot’s surges, 28 days",
    "persistence": "a surge now, so a surge ahead",
    "always": "always predicts a surge",
    "never": "never predicts a surge",
}
GROUPS = {"trained": "Trained households, held-out time", "held_out": "Households that never trained"}
_BY_SLOT = (("federated", "ours", False), ("median_28_days", "warn", False), ("pooled", "good", True))
_BY_SLOT_MORE = (("alone", "violet", True), ("persistence", "grey", True))

Group = dict[str, Any]


def forecasts(facts: RunFacts) -> Section:
    """Errors on the test part."""
    title = "How good are the forecasts?"
    groups = _groups(facts)
    if not groups:
        return Section("forecasts", title, missing=_unevaluated(facts))
    evaluation = facts.evaluation or {}
    ahead = _ahead(evaluation)
    lead = (
        f"Errors of forecasts of the next {ahead} in the test period, on which nothing was trained or tuned. Each "
        "figure is the mean over households with its 95% interval over households. The baseline to beat is "
        "the median of the same slot over the last 28 days."
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


def surges(facts: RunFacts) -> Section:
    """How well surges are predicted."""
    title = "Can it predict surges?"
    groups = [(key, group) for key, group in _groups(facts) if group.get("surges")]
    if not groups:
        missing = "The evaluation has no surges." if _groups(facts) else _unevaluated(facts)
        return Section("surges", title, missing=missing)
    ahead = _ahead(facts.evaluation or {})
    lead = (
        "A surge is a slot above the household’s own 95th percentile of the training period. A separate output "
        "predicts them; its threshold was tuned on the validation period. Surges are rare, so accuracy says little: a "
        "model that never predicts one is right most of the time. Compare F1 with that of always predicting a surge. "
        "Figures are of all households’ windows together, so a household with many surges counts more."
    )
    tables = []
    for key, group in groups:
        found = group["surges"][-1]
        rows: list[list[str | Cell]] = []
        names = _ordered(found["methods"], SURGES)
        for name in names:
            method = found["methods"][name]
            columns = ("precision", "recall", "f1", "household_f1", "average_precision", "accuracy")
            rows.append([SURGES.get(name, name), *(figure(method.get(column), 3) for column in columns)])
        share = percent((found.get("prevalence") or {}).get("value"), 1)
        heads = ("Precision", "Recall", "F1", "F1, mean of households", "Average precision", "Accuracy")
        tables.append(
            Table(
                f"{GROUPS[key]}: any surge in the next {ahead}",
                (Column("Method", numeric=False), *(Column(head) for head in heads)),
                rows,
                frozenset(i for i, name in enumerate(names) if name == "federated"),
                note=f"{share} of the windows have a surge (prevalence).",
            )
        )
    return Section("surges", title, lead, tables=tuple(tables))


def error_tile(facts: RunFacts, key: str) -> Tile:
    """MAE against the 28-day median, for a group of households."""
    title = {"trained": "MAE against the 28-day median", "held_out": "… on households never trained on"}[key]
    group = dict(_groups(facts)).get(key)
    ours = (group or {}).get("methods", {}).get("federated")
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
    detail += f"; 95% interval {_interval(low, high)}" if low is not None and high is not None else ""
    tone = "good" if low is not None and low > 0 else "warn" if value < 0 else ""
    return Tile(title, _below(value), detail, tone)


def _below(percent_below: float) -> str:
    """`6.3% below`, or for a negative figure `0.3% above`."""
    return f"{number(abs(percent_below), 1)}% {'below' if percent_below >= 0 else 'above'}"


def _interval(low: float, high: float) -> str:
    """Of percents below: `5.8% to 6.9% below`, or where the ends are on both sides, `0.4% above to 0.1% below`."""
    if low >= 0:
        return f"{number(low, 1)}% to {_below(high)}"
    if high < 0:
        return f"{number(-high, 1)}% to {_below(low)}"
    return f"{_below(low)} to {_below(high)}"


def better_tile(facts: RunFacts) -> Tile:
    """Share of households that are better off."""
    ours = dict(_groups(facts)).get("trained", {}).get("methods", {}).get("federated")
    if not ours:
        return Tile("Households better off", "–", "not evaluated yet")
    alone, median = ours.get("better_than_alone_share"), ours.get("better_than_median_share") or {}
    detail = f"better than the 28-day median: {percent(median.get('value'))}"
    if not alone or alone.get("value") is None:
        return Tile("Households better off", percent(median.get("value")), "federated against the 28-day median")
    return Tile("Households better off than alone", percent(alone["value"]), detail)


def verdict(facts: RunFacts) -> str:
    """The outcome in one sentence."""
    tile = error_tile(facts, "trained")
    if tile.value == "–" or not facts.evaluation:
        return ""
    group = dict(_groups(facts))["trained"]
    count = len(group["households"])
    mae = {name: _value(method["mae"], "value") for name, method in group["methods"].items()}
    # Said as plainly as the success: whoever does better in the same test.
    better = sorted((name for name in mae if mae[name] < mae["federated"]), key=lambda name: mae[name])
    named = [f"{METHODS.get(name, name)} ({number(mae[name], 4)})" for name in better[:3]]
    rest = f" and {len(better) - 3} more" if len(better) > 3 else ""
    but = f" Better than its {number(mae['federated'], 4)} kWh a slot: {', '.join(named)}{rest}." if named else ""
    return (
        f"Looking {_ahead(facts.evaluation)} ahead, the federated model’s mean absolute error is {tile.value} that of "
        f"the 28-day median, on held-out time of {plural(count, 'household')}.{but}"
    )


def _groups(facts: RunFacts) -> list[tuple[str, Group]]:
    test = ((facts.evaluation or {}).get("parts") or {}).get("test") or {}
    return [(key, test[key]) for key in GROUPS if test.get(key, {}).get("households")]


def _unevaluated(facts: RunFacts) -> str:
    if facts.evaluation:
        return "The evaluation found no household with windows in the test part."
    return f"Not evaluated yet. Run `neurogrid evaluate {facts.run_id}`, then `neurogrid report {facts.run_id}` again."


def _ahead(evaluation: dict[str, Any]) -> str:
    minutes = int(evaluation.get("cadence_minutes", 0)) * int(evaluation.get("horizon_slots", 0))
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"


def _ordered(found: dict[str, Any], titles: dict[str, str]) -> list[str]:
    return [name for name in titles if name in found] + sorted(name for name in found if name not in titles)


def _value(found: dict[str, Any], key: str) -> float:
    value = found.get(key)
    return math.nan if value is None else float(value)


def _errors_chart(key: str, group: Group) -> Chart:
    dots = []
    for name in _ordered(group["methods"], METHODS):
        value, low, high = (_value(group["methods"][name]["mae"], part) for part in ("value", "low", "high"))
        dots.append(Dot(METHODS.get(name, name), value, low, high, ours=name == "federated"))
    return intervals(f"errors {key}", f"{GROUPS[key]}: mean absolute error", dots, "MAE (kWh a slot)")


def _by_slot_chart(key: str, group: Group, evaluation: dict[str, Any]) -> Chart:
    series = []
    slots = 1
    for name, colour, dashed in (*_BY_SLOT, *_BY_SLOT_MORE):
        by_slot: Sequence[dict[str, Any]] = group["methods"].get(name, {}).get("mae_by_slot") or ()
        if not by_slot:
            continue
        slots = len(by_slot)
        columns = {part: [_value(found, part) for found in by_slot] for part in ("value", "low", "high")}
        band = name == "federated"
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
    names = _ordered(group["methods"], METHODS)
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
    ours = frozenset(i for i, name in enumerate(names) if name == "federated")
    title = f"{GROUPS[key]}: {plural(len(group['households']), 'household')}, {plural(group['windows'], 'window')}"
    note = (
        "A negative figure in “Below the median” means an error above the median’s. The bias is that of the sum over "
        "households: a model trained for the smallest absolute error forecasts the sum too low, see local.loss."
    )
    return Table(title, columns, rows, ours, note)
