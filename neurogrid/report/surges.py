"""What the evaluation says of surges: how well they are told, and whether they come as often as is said."""

from typing import Any

from neurogrid.report import evaluated
from neurogrid.report.evaluated import GROUPS, METHODS, Group
from neurogrid.report.facts import RunFacts
from neurogrid.report.household_charts import Chance, chances
from neurogrid.report.table import Cell, Chart, Column, Section, Table, figure, number, percent

SURGES = METHODS | {
    "usual_share": "share of the slot’s surges, 28 days",
    "persistence": "a surge now, so a surge ahead",
    "always": "always predicts a surge",
    "never": "never predicts a surge",
}
_COLUMNS = {
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "household_f1": "F1, mean of households",
    "average_precision": "Average precision",
    "brier": "Brier score",
    "accuracy": "Accuracy",
}


def surges(facts: RunFacts) -> Section:
    """How well surges are predicted."""
    title = "Can it predict surges?"
    groups = [(key, group) for key, group in evaluated.groups(facts) if group.get("surges")]
    if not groups:
        missing = "The evaluation has no surges." if evaluated.groups(facts) else evaluated.unevaluated(facts)
        return Section("surges", title, missing=missing)
    ahead = evaluated.ahead(facts.evaluation or {})
    lead = (
        "A surge is a slot above the household’s own 95th percentile of the training period. A separate output "
        "predicts them; its threshold was tuned on the validation period. Surges are rare, so accuracy says little: a "
        "model that never predicts one is right most of the time. Compare F1 with that of always predicting a surge. "
        "Figures are of all households’ windows together, so a household with many surges counts more."
    )
    charts = [chart for key, group in groups if (chart := _reliability(key, group, ahead))]
    if charts:
        lead += (
            " Where probabilities can be relied on, surges come as often as they say: the dots lie on the dashed line. "
            "The Brier score is the mean squared distance of the probability from what came, 0 or 1; less is better."
        )
    tables = tuple(_table(key, group, ahead) for key, group in groups)
    return Section("surges", title, lead, charts=tuple(charts), tables=tables)


def _table(key: str, group: Group, ahead: str) -> Table:
    found = group["surges"][-1]
    names = evaluated.ordered(found["methods"], SURGES)
    columns = [column for column in _COLUMNS if any(column in method for method in found["methods"].values())]
    rows: list[list[str | Cell]] = [
        [SURGES.get(name, name), *(figure(found["methods"][name].get(column), 3) for column in columns)]
        for name in names
    ]
    share = (found.get("prevalence") or {}).get("value")
    note = f"{percent(share, 1)} of the windows have a surge (prevalence)."
    if "brier" in columns and share is not None:
        note += f" Always giving that as the probability has a Brier score of {number(share * (1 - share), 3)}."
    return Table(
        f"{GROUPS[key]}: any surge in the next {ahead}",
        (Column("Method", numeric=False), *(Column(_COLUMNS[column]) for column in columns)),
        rows,
        frozenset(i for i, name in enumerate(names) if name == evaluated.used(group)),
        note=note,
    )


def _reliability(key: str, group: Group, ahead: str) -> Chart | None:
    found: dict[str, list[dict[str, Any]]] = group["surges"][-1].get("reliability") or {}
    series = []
    for name, colour in ((evaluated.used(group), "ours"), ("usual_share", "warn")):
        dots = [_chance(one) for one in found.get(name) or []]
        if dots:
            series.append((SURGES.get(name, name), colour, dots))
    title = f"{GROUPS[key]}: how often a surge came, by how likely it was said to be"
    return chances(title, series, f"any surge in the next {ahead}") if series else None


def _chance(found: dict[str, Any]) -> Chance:
    came, low, high = (evaluated.part(found["observed"], end) for end in ("value", "low", "high"))
    return Chance(found["said"], came, low, high, found["windows"])
