"""Made-up runs of a measurement, which meet all goals but for what a test changes."""

import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neurogrid.cli.results_figures import Measured, Scored

sys.path[:0] = [str(Path(__file__).parents[1] / "report")]
from records import evaluation_of  # noqa: E402 - another folder's


def ends(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def pair(
    method: str,
    rival: str,
    change: Sequence[float | None],
    *,
    better: Sequence[float] = (0.95, 0.87, 0.99),
    **more: Any,
) -> dict[str, Any]:
    own = {"p_value": 0.0001, "corrected_p_value": 0.001, "shown": "lower", "worst_tenth_percent": 0.3, **more}
    figures = {"mae_change_percent": ends(*change), "better_share": ends(*better)}
    return {"method": method, "rival": rival, "households": 61, **figures, **own}


def pairs(group: str) -> list[dict[str, Any]]:
    """All that a good run has."""
    found = [
        *(pair(method, "gbm_pooled", (-2.5, -3.5, -1.5)) for method in ("personal", "served", "federated")),
        *(pair(method, "pooled", (-2.0, -3.0, -1.0)) for method in ("personal", "served", "federated")),
        *(pair(method, "median_28_days", (-9.9, -10.8, -9.1)) for method in ("personal", "served", "federated")),
    ]
    if group == "trained":
        found += [pair(method, "alone", (-4.9, -5.8, -4.1)) for method in ("personal", "served", "federated")]
    return found


def surges(group: dict[str, Any]) -> dict[str, Any]:
    methods: dict[str, Any] = group["surges"][-1]["methods"]
    return methods


def run(*changes: dict[str, Any]) -> Scored:
    """A run that meets all goals, with pairs replaced where `changes` names the same methods."""
    evaluation = copy.deepcopy(evaluation_of(slots=4))
    for name, group in evaluation["parts"]["test"].items():
        methods = group["methods"]
        federated = methods["federated"]
        federated["rmse_below_mean_percent"] = ends(5.0, 4.0, 6.0)
        federated["mae_below_median_percent"] = ends(8.0, 6.0, 9.0)
        for own in ("personal", "served"):
            methods[own] = copy.deepcopy(federated)
        group["surges"] = copy.deepcopy(group["surges"])  # the two groups share them
        found = surges(group)
        found["federated"]["f1"] = ends(0.4, 0.37, 0.43)
        found["usual_share"] = copy.deepcopy(found["persistence"])
        for own in ("federated", "personal", "served"):
            found[own] = {**found["federated"], "household_f1_above_usual": ends(0.03, 0.01, 0.05)}
        by_name = {(one["method"], one["rival"]): one for one in (*pairs(name), *changes)}
        group["paired"] = list(by_name.values()) if name == "trained" else pairs(name)
    row = {"days": 14, "households": 60, "federated_better_share": ends(0.8, 0.7, 0.9)}
    below = {"alone": ends(-1.8, -4.0, 0.4), "federated": ends(4.8, 3.9, 5.6), "personal": ends(5.8, 5.1, 6.5)}
    evaluation["parity"] = [{**row, "below_median_percent": below, "personal_better_share": ends(1.0, 0.94, 1.0)}]
    covered = [
        {
            "nominal": n,
            "coverage": ends(n - 0.03, n - 0.04, n - 0.02),
            "corrected_coverage": ends(n, n - 0.015, n + 0.01),
        }
        for n in (0.9, 0.8, 0.5)
    ]
    quantiles = {
        "crps": ends(0.08, 0.07, 0.09),
        "crps_below_usual_percent": ends(12.0, 10.5, 13.0),
        "intervals": covered,
    }
    methods = {"federated": quantiles, "quantiles_28_days": quantiles}
    evaluation["quantiles"] = {group: {"test": copy.deepcopy(methods)} for group in ("trained", "held_out")}
    error = {"nmae": ends(0.16, 0.15, 0.17), "nmae_below_mean_percent": ends(12.0, 10.1, 14.0)}
    sums = {"quantile_mean": {**error, "bias_percent": ends(0.5, -1.0, 1.9)}}
    sums["mean_28_days"] = {**error, "bias_percent": ends(-1.6, -3.0, 0.5)}
    evaluation["sums"] = {
        name: {"households": 20, "methods": copy.deepcopy(sums)} for name in ("district 1", "held_out")
    }
    return Scored({"wallclock_s": 60.0, "rounds": 60, "rejection_recall": 1.0}, evaluation)


def measured(
    main: Sequence[Scored] = (), *, day: Scored | None = None, quantiles: Scored | None = None, **more: Any
) -> Measured:
    own: dict[str, Any] = {
        "minutes": 84.0,
        "made": 9,
        "runs": 9,
        "attacked": {"scale": run()},
        "squared": run(),
        **more,
    }
    main = main or [run(), run()]
    seeds = list(range(11, 11 + len(main)))
    return Measured(seeds, main, day or run(), quantiles=quantiles or run(), **own)
