"""What people look for first on a run's page: forecasts beside what was measured, and each cluster's usual day."""

import math
from datetime import datetime
from typing import Any

from neurogrid.data.manifest import Manifest
from neurogrid.plural import plural
from neurogrid.report.facts import RunFacts
from neurogrid.report.table import Chart, Section, number
from neurogrid.report.time_charts import Forecasts, daily_shapes, forecast_days

_RANKS = {"best": "Smallest error", "median": "Median error", "worst": "Largest error", "only": "The only one"}
_GROUPS = {"held_out": "households that never trained", "trained": "households that trained, in time held out"}


def glance(facts: RunFacts) -> Section:
    """A few forecasts, and the usual day of each kind of household."""
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
    charts = [_forecast(example, evaluation) for example in shown]
    ahead = int(evaluation["cadence_minutes"]) * int(evaluation["horizon_slots"]) / 60
    lead = "No forecast of a single household is shown."
    if shown:
        group = _GROUPS.get(shown[0]["group"], "households")
        lead = (
            f"Of the {group}, those with the smallest, the median and the largest error by MASE: the error over the "
            "mean change of a household’s load from one day to the next. Each blue piece is one forecast of the next "
            f"{number(ahead, 0 if ahead == int(ahead) else 2)} h, made at its start from earlier readings alone. The "
            "days lie in the middle of the household’s test period and were measured whole; nothing was chosen by how "
            "well it went. The pictures show readings of single households: give this page only to those who may see "
            "them."
        )
    days = _days(examples, facts.manifest)
    return Section("glance", title, lead, charts=(*charts, *days))


def _forecast(example: dict[str, Any], evaluation: dict[str, Any]) -> Chart:
    kept, cadence = example["stretch"], int(evaluation["cadence_minutes"])
    rank = _RANKS.get(example["rank"], example["rank"])
    shown = Forecasts(
        start=datetime.fromisoformat(kept["start"]),
        cadence_minutes=cadence,
        horizon_slots=int(evaluation["horizon_slots"]),
        measured=kept["measured_kwh"],
        forecast=kept["forecast_kwh"],
        usual=kept["usual_kwh"],
    )
    note = (
        f"Times are UTC. Over its whole test period: MASE {number(example['mase'], 3)}, "
        f"MAE {number(example['mae_kwh'], 4)} kWh a slot."
    )
    return forecast_days(f"{rank}: household {example['household_id']}", shown, note)


def _days(examples: dict[str, Any], manifest: Manifest | None) -> tuple[Chart, ...]:
    words = {cluster.number: cluster.description for cluster in manifest.clusters} if manifest else {}
    lines = []
    for day in examples.get("days") or ():
        households = plural(day["households"], "household")
        label = f"{day['cluster'] + 1}. {words.get(day['cluster'], 'kind of household')} ({households})"
        lines.append((label, [math.nan if value is None else float(value) for value in day["kw_by_hour"]]))
    return (daily_shapes("A usual day of each kind of household, by local time", lines),) if lines else ()
