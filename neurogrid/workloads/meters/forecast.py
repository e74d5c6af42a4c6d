"""One household's readings to its forecast: the slots from a moment on, whether anybody has measured them or not.

Called for the households of a warehouse by pipeline/forecasting.py, and for readings from anywhere by serving/. A
forecast depends on the readings before its first slot, and on the household's scales; on no other household.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch

from neurogrid.data.cleaning import Cleaning
from neurogrid.data.continued import continued
from neurogrid.data.household import Household
from neurogrid.fl.update import Vector
from neurogrid.fl.weights import load
from neurogrid.plural import plural
from neurogrid.tasks import array_of
from neurogrid.workloads.meters.distribution import quantiles_kwh
from neurogrid.workloads.meters.models import Forecaster, point
from neurogrid.workloads.meters.personal import blended, usual
from neurogrid.workloads.meters.tensors import run_model
from neurogrid.workloads.meters.windows import (
    Batch,
    Indices,
    Shard,
    WindowSettings,
    gather,
    reach_slots,
    shard_at,
)

Floats = Annotated[npt.NDArray[np.float32], array_of(np.float32)]
Array = npt.NDArray[np.float32]
_LAST_YEAR = 9990
"""In a later one the slots of a forecast may lie after the last moment that a datetime can have."""
FEDERATED, PERSONAL, USUAL = "federated", "personal", "usual"
"""What a forecast comes from: the run's own model; what the household has made of it for itself; what is usual."""


class NoForecastError(Exception):
    """A household that no forecast can be made for; its text says why, in words for a list."""


@dataclass(frozen=True)
class Candidates:
    """What a household's forecast is made of.

    Attributes:
        weights: (d,) of the whole model, by name of a candidate; see `personal.CANDIDATES`.
        shares: of candidates in the forecast; they add up to 1. `usual` needs no weights.
    """

    weights: Mapping[str, Vector]
    shares: Mapping[str, float]

    @property
    def source(self) -> str:
        """`federated` where the run's own model has all shares, else `personal`."""
        return FEDERATED if self.shares.keys() == {FEDERATED} else PERSONAL


@dataclass(frozen=True)
class Forecast:
    """One household's coming slots. h slots, Q quantiles.

    Attributes:
        household_id: whose.
        start: of the first slot, UTC.
        cadence_minutes: length of a slot.
        forecast_kwh: (h,) energy of each slot, kWh.
        surge_probability: (h,) that the slot lies above the household's surge threshold, from 0 to 1.
        quantiles_kwh: (h, Q) of each slot's energy, kWh, ascending, as `WindowSettings.quantiles` names them.
        model: what it comes from, see `Candidates.source`.
        filled_slots: slots of the model's history that were not measured, so that a filled value stood in.
    """

    household_id: str
    start: datetime
    cadence_minutes: int
    forecast_kwh: Floats
    surge_probability: Floats
    quantiles_kwh: Floats
    model: str
    filled_slots: int

    @property
    def starts(self) -> list[datetime]:
        """Of each slot, UTC."""
        return [self.start + slot * timedelta(minutes=self.cadence_minutes) for slot in range(len(self.forecast_kwh))]

    def first(self, slots: int) -> "Forecast":
        """The first slots of it."""
        return replace(
            self,
            forecast_kwh=self.forecast_kwh[:slots],
            surge_probability=self.surge_probability[:slots],
            quantiles_kwh=self.quantiles_kwh[:slots],
        )


def forecast(
    household: Household,
    model: Forecaster,
    candidates: Candidates,
    settings: WindowSettings,
    cleaning: Cleaning,
    at: datetime | None = None,
) -> Forecast:
    """The household's forecast of `settings.horizon_slots` slots.

    Args:
        household: its table, as it was cleaned.
        model: whatever weights it has are overwritten.
        candidates: what the forecast is made of.
        settings: how windows are cut.
        cleaning: how the table was made, by which it is continued.
        at: start of the first slot; None is the slot after the last one of the table.

    Raises:
        NoForecastError: there is too little before `at`, nothing of the model's history was measured, or `at` is not
            the start of a slot.
    """
    origin = _origin(household, settings, at)
    whole = continued(household, origin + settings.horizon_slots - len(household.kwh), cleaning)
    shard, row = shard_at(whole, origin, settings)
    batch = gather(shard, row)
    scaled, logits, quantiles = outputs(model, candidates, shard, row, batch)
    history, meta = whole.observed[origin - settings.history_slots : origin], household.meta
    return Forecast(
        household_id=meta.household_id,
        start=meta.first.astimezone(UTC) + origin * timedelta(minutes=meta.cadence_minutes),
        cadence_minutes=meta.cadence_minutes,
        forecast_kwh=(batch.base_kwh + batch.scale * scaled)[0],
        surge_probability=torch.sigmoid(torch.from_numpy(logits[0, :-1])).numpy(),
        quantiles_kwh=quantiles[0],
        model=candidates.source,
        filled_slots=int((~history).sum()),
    )


def outputs(
    model: Forecaster, candidates: Candidates, shard: Shard, rows: Indices, batch: Batch
) -> tuple[Array, Array, Array]:
    """Of a batch of windows, blended: forecast (B, h), scaled; surge logits (B, h + 1); quantiles (B, h, Q), kWh."""
    levels = shard.settings.quantiles
    forecasts, logits, quantiles = {}, {}, {}
    for name in candidates.shares:
        if name == USUAL:
            forecasts[name], logits[name] = usual(shard, rows, batch)
            usual_kwh = batch.base_kwh[..., None] + batch.scale[..., None] * batch.usual_quantiles
            quantiles[name] = np.maximum(usual_kwh, np.float32(0))
            continue
        load(model, candidates.weights[name])
        output, logits[name] = run_model(model, batch)
        forecasts[name] = point(output)
        quantiles[name] = quantiles_kwh(output, batch, levels) if levels else batch.usual_quantiles
    found = forecasts, logits, quantiles
    forecast_, logits_, quantiles_ = (blended(candidates.shares, each) for each in found)
    return forecast_, logits_, quantiles_


def _origin(household: Household, settings: WindowSettings, at: datetime | None) -> int:
    """Row of the first slot to forecast, which may be the one after the last or a later one."""
    meta, rows = household.meta, len(household.kwh)
    minutes = meta.cadence_minutes
    if at is not None and at.year > _LAST_YEAR:
        raise NoForecastError(f"the forecast would begin in the year {at.year}")
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
