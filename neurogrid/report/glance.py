"""What people look for first on a run's page: forecasts beside what was measured."""

from datetime import datetime
from typing import Any

from neurogrid.report.facts import RunFacts
from neurogrid.report.table import Chart, Section, number, percent
from neurogrid.report.time_charts import Forecasts, forecast_days

_RANKS = {"best": "Smallest error", "median": "Median error", "worst": "Largest error", "only": "The only one"}
_GROUPS = {"held_out": "households that never trained", "trained": "households that trained, in time held out"}
_MADE_BY = {
    "served": "by what the household chose by its validation part",
    "federated": "by the federated model",
}


def glance(facts: RunFacts) -> Section:
    """A few forecasts."""
    title = "Forecasts beside what was measured"
    evaluation = facts.evaluation or {}
    examples: dict[str, Any] | None = evaluation.get("examples")
    if examples is None:
        again = f"Run `neurogrid evaluate {facts.run_id}`, then `neurogrid report {facts.run_id}` again."
        missing = (
            "Not evaluated yet. " if not evaluation else "An older version made this evaluation, without examples. "
        )
        return Section("glance", title, missing=missing + again)
    shown = examples.get("forecasts") or ()
    lead = "No forecast of a single household is shown."
    if shown:
        lead = _lead(examples, evaluation)
    return Section("glance", title, lead, wide=tuple(_forecast(example, examples, evaluation) for example in shown))


def _lead(examples: dict[str, Any], evaluation: dict[str, Any]) -> str:
    group = _GROUPS.get(examples["forecasts"][0]["group"], "households")
    made_by = _MADE_BY.get(examples.get("method", "federated"), "")
    hours = int(evaluation["cadence_minutes"]) * int(evaluation["horizon_slots"]) / 60
    band = examples.get("interval")
    return (
        f"Of the {group}, those with the smallest, the median and the largest error by MASE: the error over the "
        "mean change of a household’s load from one day to the next. Each blue piece is one forecast of the next "
        f"{number(hours, 0 if hours == int(hours) else 2)} h, made at its start from earlier readings alone, "
        f"{made_by}. "
        + (f"The load should lie within the band in {percent(band)} of slots. " if band else "")
        + "The days lie in the middle of the household’s test period and were measured whole; nothing was chosen by "
        "how well it went. The pictures show readings of single households: give this page only to those who may see "
        "them."
    )


def _forecast(example: dict[str, Any], examples: dict[str, Any], evaluation: dict[str, Any]) -> Chart:
    kept, cadence = example["stretch"], int(evaluation["cadence_minutes"])
    rank = _RANKS.get(example["rank"], example["rank"])
    shown = Forecasts(
        start=datetime.fromisoformat(kept["start"]),
        cadence_minutes=cadence,
        horizon_slots=int(evaluation["horizon_slots"]),
        measured=kept["measured_kwh"],
        forecast=kept["forecast_kwh"],
        usual=kept["usual_kwh"],
        low=kept.get("low_kwh") or (),
        high=kept.get("high_kwh") or (),
        interval=examples.get("interval") or 0.0,
    )
    note = (
        f"Times are UTC. Over its whole test period: MASE {number(example['mase'], 3)}, "
        f"MAE {number(example['mae_kwh'], 4)} kWh a slot."
    )
    if shown.low:
        note += f" The band covers {percent(shown.covered)} of the slots shown."
    return forecast_days(f"{rank}: household {example['household_id']}", shown, note)
