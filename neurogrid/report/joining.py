"""What households have by joining: their errors against what each could do alone, and after how many days."""

import math
from collections.abc import Sequence
from typing import Any

from neurogrid.plural import plural
from neurogrid.report import evaluated
from neurogrid.report.evaluated import GROUPS, METHODS, OWN, Group
from neurogrid.report.facts import RunFacts
from neurogrid.report.household_charts import ByDays, Gains, by_days, gains
from neurogrid.report.table import NOTHING, Cell, Chart, Column, Section, Table, figure, number, percent

_RIVALS = {"alone": "the same model trained alone", "median_28_days": "the 28-day median"}
_NAMES = {
    "served": "what a household uses",
    "personal": "the federated model fine-tuned at home",
    "federated": "the federated model",
}
_LINES = {"federated": "ours", "personal": "ink"}
_PARITY = {"alone": "violet", "federated": "ours", "personal": "ink"}
"""Colours: of what joining gives, and beside it alone, as in the other pictures."""
_PARITY_NAMES = {"alone": "alone", "federated": "federated, as it is", "personal": "federated, fine-tuned at home"}


def joining(facts: RunFacts) -> Section:
    """Against alone and against the 28-day median, household by household; then days to parity."""
    title = "What joining gave"
    groups = evaluated.groups(facts)
    if not groups:
        return Section("joining", title, missing=evaluated.unevaluated(facts))
    charts = [chart for key, group in groups for rival in _RIVALS for chart in _gains(key, group, rival)]
    tables = [table for key, group in groups if (table := _table(key, group)).rows]
    claims = [claim for key, group in groups for claim in _claims(key, group)]
    found: list[dict[str, Any]] = (facts.evaluation or {}).get("parity") or []
    if found:
        charts.append(_parity_chart(found))
        tables.append(_parity_table(found))
        claims += _parity_claims(found)
    if not charts and not tables:
        missing = "An older version made this evaluation, without comparisons household by household."
        return Section("joining", title, missing=missing)
    lead = (
        "Each household’s error beside what it would have without the others: the same model trained on its own "
        "readings alone, and the median of the same slot over its last 28 days, which costs nothing. An error is "
        "called lower or higher only where a signed-rank test says so after correction for the number of comparisons."
    )
    if not any("alone" in group["methods"] for _, group in groups):
        lead += " This evaluation has no model trained alone; the comparison `alone` makes one."
    return Section("joining", title, lead, points=tuple(claims), charts=tuple(charts), tables=tuple(tables))


def percent_below(group: Group, method: str, rival: str) -> list[float]:
    """How far each counted household's MAE lies below the rival's; without households that lack one of them."""
    found = []
    for household in group["households"]:
        mae = (group.get("mae_by_household") or {}).get(household, {})
        ours, theirs = evaluated.part(mae, method), evaluated.part(mae, rival)
        if math.isfinite(ours) and theirs > 0:
            found.append(100 * (1 - ours / theirs))
    return found


def _gains(key: str, group: Group, rival: str) -> list[Chart]:
    ours = evaluated.used(group)
    found = Gains(METHODS[ours], "good", percent_below(group, ours, rival))
    if not found.percent:
        return []
    others = [
        Gains(METHODS[name], colour, own)
        for name, colour in _LINES.items()
        if name != ours and (own := percent_below(group, name, rival))
    ]
    return [gains(f"{GROUPS[key]}: against {_RIVALS[rival]}", found, others, _RIVALS[rival])]


def _pairs(group: Group) -> list[dict[str, Any]]:
    """Comparisons of what joining gives with what a household has without it, in order."""
    found = {(pair["method"], pair["rival"]): pair for pair in group.get("paired") or ()}
    return [found[method, rival] for method in OWN for rival in _RIVALS if (method, rival) in found]


def _claims(key: str, group: Group) -> list[str]:
    return [f"{GROUPS[key]}: {claim(pair)}" for pair in _pairs(group) if pair["method"] == evaluated.used(group)]


def claim(pair: dict[str, Any]) -> str:
    """What a comparison bears, in a sentence or two."""
    ours, rival = _NAMES[pair["method"]], _RIVALS[pair["rival"]]
    if pair["shown"]:
        said = f"{ours} has a {pair['shown']} error than {rival}"
    else:
        said = f"it is not shown that errors of {ours} and of {rival} differ"
    change, share = pair["mae_change_percent"], pair["better_share"]
    better = round(evaluated.part(share, "value") * pair["households"])
    said += f": the mean MAE is {_below_the_other(change)}{_p_value(pair['corrected_p_value'])}. Better off "
    said += "is" if better == 1 else "are"
    said += f" {better} of {plural(pair['households'], 'household')}, {_share(share)}."
    return said


def _turned(change: dict[str, Any]) -> dict[str, Any]:
    """A figure of percents above as one of percents below, as all other tables have it."""
    ends = {"value": "value", "low": "high", "high": "low"}
    return {end: None if change.get(other) is None else -change[other] for end, other in ends.items()}


def _below_the_other(change: dict[str, Any]) -> str:
    """Of percents above: `2.5% below the other’s (95% interval 0.6% to 4.1% below)`."""
    value, low, high = (evaluated.part(_turned(change), end) for end in ("value", "low", "high"))
    if not math.isfinite(value):
        return "not defined"
    said = f"{evaluated.below(value)} the other’s"
    if math.isfinite(low) and math.isfinite(high):
        said += f" (95% interval {evaluated.interval(low, high)})"
    return said


def _share(found: dict[str, Any]) -> str:
    value, low, high = (evaluated.part(found, end) for end in ("value", "low", "high"))
    ends = f" (95% interval {percent(low)} to {percent(high)})" if math.isfinite(low) and math.isfinite(high) else ""
    return percent(value) + ends


def _p_value(value: float | None) -> str:
    return "" if value is None else ", corrected p < 0.001" if value < 0.001 else f", corrected p = {number(value, 3)}"


def _table(key: str, group: Group) -> Table:
    rows: list[list[str | Cell]] = []
    pairs = _pairs(group)
    for pair in pairs:
        p_value = pair["corrected_p_value"]
        rows.append(
            [
                METHODS[pair["method"]],
                METHODS[pair["rival"]],
                Cell(number(pair["households"])),
                figure(_turned(pair["mae_change_percent"]), 1),
                figure(pair["better_share"], 0, factor=100),
                figure(_turned({"value": pair["worst_tenth_percent"]}), 1),
                Cell(NOTHING if p_value is None else "< 0.001" if p_value < 0.001 else number(p_value, 3)),
                pair["shown"] or "not shown to differ",
            ]
        )
    columns = (
        Column("Method", numeric=False),
        Column("Against", numeric=False),
        Column("Households"),
        Column("Mean MAE", "% below the other’s"),
        Column("Better for", "% of households"),
        Column("Worst tenth", "% below the other’s"),
        Column("p", "corrected"),
        Column("The error is", numeric=False),
    )
    note = (
        "A negative figure means an error above the other’s. The worst tenth are the households that fare worst with "
        "the method: the mean of their own figures. Comparisons with all other methods are in evaluation.md."
    )
    marked = frozenset(i for i, pair in enumerate(pairs) if pair["method"] == evaluated.used(group))
    return Table(f"{GROUPS[key]}: household by household", columns, rows, marked, note)


def _parity_chart(found: Sequence[dict[str, Any]]) -> Chart:
    series = []
    for name, colour in _PARITY.items():
        own = [row["below_median_percent"].get(name) or {} for row in found]
        values, low, high = ([evaluated.part(one, end) for one in own] for end in ("value", "low", "high"))
        series.append(ByDays(_PARITY_NAMES[name], colour, values, low, high, dashed=name == "alone"))
    days = [row["days"] for row in found]
    return by_days("Days to parity: households that join late", days, series, "% below the median")


def _parity_table(found: Sequence[dict[str, Any]]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            plural(row["days"], "day"),
            Cell(number(row["households"])),
            *(figure(row["below_median_percent"].get(name), 1) for name in _PARITY),
            *(figure(row[f"{name}_better_share"], 0, factor=100) for name in ("federated", "personal")),
        ]
        for row in found
    ]
    columns = (
        Column("Own readings", numeric=False),
        Column("Households"),
        *(Column(words[0].upper() + words[1:], "% below the median") for words in _PARITY_NAMES.values()),
        Column("Federated better than alone", "% of households"),
        Column("Fine-tuned better than alone", "% of households"),
    )
    note = (
        "Held-out households, cut to their last days before the test part, as if their meter had been put in then; a "
        "fifth of these days is for validation. A negative figure means an error above the 28-day median’s."
    )
    return Table("Days to parity: households that join late", columns, rows, note=note)


def _parity_claims(found: Sequence[dict[str, Any]]) -> list[str]:
    said = []
    for row in (found[0], found[-1])[: len(found)]:
        federated, personal = row["federated_better_share"], row["personal_better_share"]
        said.append(
            f"With {plural(row['days'], 'day')} of own readings ({plural(row['households'], 'household')} that never "
            f"trained), better off than alone are {_share(federated)} with the federated model as it is, and "
            f"{_share(personal)} with it fine-tuned at home."
        )
    for name, words in (("federated", "the federated model as it is"), ("personal", "the fine-tuned one")):
        level = [row["days"] for row in found if _below(row, "alone") >= _below(row, name)]
        first = f"with {level[0]} days" if level else f"with none of these numbers of days, up to {found[-1]['days']}"
        said.append(
            f"A model of one’s own first has a mean error as low as that of {words} {first}. This compares means; the "
            "table has their intervals."
        )
    return said


def _below(row: dict[str, Any], name: str) -> float:
    return evaluated.part(row["below_median_percent"].get(name) or {}, "value")
