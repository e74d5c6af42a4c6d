"""One household's readings to its forecast: the slots from a moment on, whether anybody has measured them or not.

Called for the households of a warehouse by pipeline/forecasting.py, and for readings from anywhere by serving/. A
forecast depends on the readings before its first slot, and on the household's scales; on no other household.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch

from neurogrid.data.cleaning import Cleaning
from neurogrid.data.continued import continued
from neurogrid.data.household import Household
from neurogrid.plural import plural
from neurogrid.tasks import array_of
from neurogrid.workloads.meters.models import Forecaster
from neurogrid.workloads.meters.windows import Batch, WindowSettings, gather, reach_slots, shard_at

Floats = Annotated[npt.NDArray[np.float32], array_of(np.float32)]
FEDERATED = "federated"
"""What a forecast comes from: the run's own model."""


class NoForecastError(Exception):
    """A household that no forecast can be made for; its text says why, in words for a list."""


@dataclass(frozen=True)
class Forecast:
    """One household's coming slots. h slots.

    Attributes:
        household_id: whose.
        start: of the first slot, UTC.
        cadence_minutes: length of a slot.
        forecast_kwh: (h,) energy of each slot, kWh.
        surge_probability: (h,) that the slot lies above the household's surge threshold, from 0 to 1.
        model: what it comes from: `federated`, the run's own model.
        filled_slots: slots of the model's history that were not measured, so that a filled value stood in.
    """

    household_id: str
    start: datetime
    cadence_minutes: int
    forecast_kwh: Floats
    surge_probability: Floats
    model: str
    filled_slots: int

    @property
    def starts(self) -> list[datetime]:
        """Of each slot, UTC."""
        return [self.start + slot * timedelta(minutes=self.cadence_minutes) for slot in range(len(self.forecast_kwh))]

    def first(self, slots: int) -> "Forecast":
        """The first slots of it."""
        kwh, probability = self.forecast_kwh[:slots], self.surge_probability[:slots]
        return replace(self, forecast_kwh=kwh, surge_probability=probability)


def forecast(
    household: Household, model: Forecaster, settings: WindowSettings, cleaning: Cleaning, at: datetime | None = None
) -> Forecast:
    """The household's forecast of `settings.horizon_slots` slots.

    Args:
        household: its table, as it was cleaned.
        model: with its weights.
        settings: how its windows are cut.
        cleaning: how the table was made, by which it is continued.
        at: start of the first slot; None is the slot after the last one of the table.

    Raises:
        NoForecastError: there is too little before `at`, nothing of the model's history was measured, or `at` is not
            the start of a slot.
    """
    origin = _origin(household, settings, at)
    whole = continued(household, origin + settings.horizon_slots - len(household.kwh), cleaning)
    shard, row = shard_at(whole, origin, settings)
    forecast_kwh, probability = run(model, gather(shard, row))
    meta = household.meta
    history = whole.observed[origin - settings.history_slots : origin]
    return Forecast(
        household_id=meta.household_id,
        start=meta.first.astimezone(UTC) + origin * timedelta(minutes=meta.cadence_minutes),
        cadence_minutes=meta.cadence_minutes,
        forecast_kwh=forecast_kwh[0],
        surge_probability=probability[0],
        model=FEDERATED,
        filled_slots=int((~history).sum()),
    )


def run(model: Forecaster, batch: Batch) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The model's forecasts of windows: (B, h) kWh, and (B, h) probabilities of a surge in each slot."""
    model.eval()
    with torch.inference_mode():
        scaled, logits = model(torch.from_numpy(batch.history), torch.from_numpy(batch.known))
        probability = torch.sigmoid(logits + torch.from_numpy(batch.surge_base)).numpy()[:, :-1]
    forecast_kwh: npt.NDArray[np.float32] = batch.base_kwh + batch.scale * scaled.numpy()
    return forecast_kwh, probability


def _origin(household: Household, settings: WindowSettings, at: datetime | None) -> int:
    """Row of the first slot to forecast, which may be the one after the last or a later one."""
    meta, rows = household.meta, len(household.kwh)
    minutes = meta.cadence_minutes
    origin = rows if at is None else household.slot(at)
    if at is not None and meta.first + origin * timedelta(minutes=minutes) != at:
        raise NoForecastError(f"{at.isoformat()} is not the start of a slot of {minutes} min")
    reach = reach_slots(settings, 1440 // minutes)
    if origin < reach:
        before = plural(max(origin, 0), "slot")
        raise NoForecastError(f"{before} of readings before the forecast, the model needs {reach}")
    unmeasured = not household.observed[origin - settings.history_slots : origin].any()
    if origin - rows >= settings.history_slots or unmeasured:
        last = np.flatnonzero(household.observed[:origin])
        ended = meta.first + int(last[-1] + 1) * timedelta(minutes=minutes) if len(last) else meta.first
        raise NoForecastError(
            f"nothing was measured in the {plural(settings.history_slots, 'slot')} before the forecast; "
            f"the last reading before it ends at {ended.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        )
    return origin
