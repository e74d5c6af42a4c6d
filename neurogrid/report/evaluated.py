"""What the evaluation holds, by name, and how its percents are said: for all sections that show figures of it."""

import math
from typing import Any

from neurogrid.report.facts import RunFacts
from neurogrid.report.table import number

METHODS = {
    "served": "what a household uses",
    "personal": "federated, fine-tuned at home",
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
GROUPS = {"trained": "Trained households, held-out time", "held_out": "Households that never trained"}
OWN = ("served", "personal", "federated")
"""What a household has by joining. The first of them that an evaluation has is what it uses."""

Group = dict[str, Any]


def groups(facts: RunFacts) -> list[tuple[str, Group]]:
    """The groups of households with figures of the test part, by their key in GROUPS."""
    test = ((facts.evaluation or {}).get("parts") or {}).get("test") or {}
    return [(key, test[key]) for key in GROUPS if test.get(key, {}).get("households")]


def unevaluated(facts: RunFacts) -> str:
    """Why there is no group."""
    if facts.evaluation:
        return "The evaluation found no household with windows in the test part."
    return f"Not evaluated yet. Run `neurogrid evaluate {facts.run_id}`, then `neurogrid report {facts.run_id}` again."


def used(group: Group) -> str:
    """The method that a household of the group uses: its own choice where the run has personal models."""
    return next((name for name in OWN if name in group["methods"]), "federated")


def ahead(evaluation: dict[str, Any]) -> str:
    """How far forecasts look."""
    minutes = int(evaluation.get("cadence_minutes", 0)) * int(evaluation.get("horizon_slots", 0))
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"


def ordered(found: dict[str, Any], titles: dict[str, str]) -> list[str]:
    """Names in the order of the titles; those without a title last."""
    return [name for name in titles if name in found] + sorted(name for name in found if name not in titles)


def part(found: dict[str, Any], key: str) -> float:
    """A figure's value or end of its interval; NaN where there is none."""
    value = found.get(key)
    return math.nan if value is None else float(value)


def below(percent_below: float) -> str:
    """`6.3% below`, or for a negative figure `0.3% above`."""
    return f"{number(abs(percent_below), 1)}% {'below' if percent_below >= 0 else 'above'}"


def interval(low: float, high: float) -> str:
    """Of percents below: `5.8% to 6.9% below`, or where the ends are on both sides, `0.4% above to 0.1% below`."""
    if low >= 0:
        return f"{number(low, 1)}% to {below(high)}"
    if high < 0:
        return f"{number(-high, 1)}% to {below(low)}"
    return f"{below(low)} to {below(high)}"
