"""Evaluations of runs whose households have models of their own, as evaluation.json has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from records import evaluation_of

Figure = dict[str, float | None]


def figure(value: float, low: float | None, high: float | None) -> Figure:
    return {"value": value, "low": low, "high": high}


def pair(method: str, rival: str, shown: str, p_value: float | None, change: Figure, better: Figure) -> dict[str, Any]:
    return {
        "method": method,
        "rival": rival,
        "households": 40,
        "mae_change_percent": change,
        "better_share": better,
        "worst_tenth_percent": 3.25,
        "p_value": p_value,
        "corrected_p_value": p_value,
        "shown": shown,
    }


PAIRS = [
    pair("served", "alone", "lower", 0.0302, figure(-2.5, -4.1, -0.6), figure(0.725, 0.56, 0.85)),
    pair("served", "median_28_days", "", 0.21, figure(1.25, -3.0, 6.0), figure(0.025, 0.0, 0.2)),
    pair("federated", "alone", "higher", 0.0002, figure(6.5, 1.5, 9.0), figure(0.25, 0.1, 0.4)),
]
PARITY = [
    {
        "days": days,
        "households": 4,
        "below_median_percent": {
            "alone": figure(alone, -70.5, 98.0),
            "federated": figure(4.0, -25.0, 13.9),
            "personal": figure(10.2, -20.0, 78.0),
        },
        "federated_better_share": figure(federated, 0.19, 0.99),
        "personal_better_share": figure(1.0, 0.4, 1.0),
    }
    for days, alone, federated in ((7, 1.2, 0.75), (28, 9.4, 0.25))
]
RELIABILITY = {
    name: [{"windows": 100 * (i + 1), "said": (i + 0.5) / 10, "observed": figure(i / 10, 0, 1)} for i in range(10)]
    for name in ("served", "usual_share")
}


def maes(households: Sequence[str]) -> dict[str, dict[str, float]]:
    """By household and method; one of them is ten times worse off by joining."""
    random = np.random.default_rng(3)
    found = {}
    for household in households:
        alone = float(random.uniform(0.02, 0.3))
        ratio = dict(
            zip(("served", "personal", "federated", "median_28_days"), random.uniform(0.7, 1.2, 4), strict=True)
        )
        found[household] = {"alone": alone, **{name: alone * float(factor) for name, factor in ratio.items()}}
    found[households[0]]["served"] = 11 * found[households[0]]["alone"]
    return found


def stretch(slots: int) -> dict[str, Any]:
    """A week of a household; a third of it lies above its interval."""
    wave = [round(0.2 + 0.1 * (slot % 3), 4) for slot in range(slots)]
    return {
        "start": "2024-03-01T23:00:00+00:00",
        "measured_kwh": wave,
        "forecast_kwh": [0.3] * slots,
        "usual_kwh": [0.25] * slots,
        "low_kwh": [0.1] * slots,
        "high_kwh": [0.35] * slots,
    }


def joined_evaluation(households: int = 40, *, slots: int = 672) -> dict[str, Any]:
    """With everything that the page can show."""
    found = evaluation_of()
    for key, group in found["parts"]["test"].items():
        group["households"] = [f"{key}{number}" for number in range(households)]
        group["mae_by_household"] = maes(group["households"])
        group["methods"]["served"] = {**group["methods"]["federated"], "mae": figure(0.11, 0.1, 0.12)}
        group["methods"]["personal"] = {**group["methods"]["federated"], "mae": figure(0.115, 0.1, 0.12)}
        group["paired"] = PAIRS if key == "trained" else []
        surges = group["surges"][-1]
        group["surges"] = [{**surges, "reliability": RELIABILITY}]
        surges["methods"]["served"] = {**surges["methods"]["federated"], "brier": figure(0.0321, 0.02, 0.05)}
    shown = {"group": "held_out", "mae_kwh": 0.1, "mase": 0.7, "stretch": stretch(slots)}
    ranks = ("best", "median", "worst")
    examples = [shown | {"rank": rank, "household_id": f"h{i}"} for i, rank in enumerate(ranks)]
    days = [{"cluster": 0, "households": 5, "kw_by_hour": [0.1] * 24}]
    found["examples"] = {"method": "served", "interval": 0.8, "forecasts": examples, "days": days}
    return found | {"parity": PARITY}
