"""What `neurogrid.load` gives: a run's model with an interface for notebooks that is meant to last (docs/python.md)."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurogrid.data.household import Household
from neurogrid.errors import InputError
from neurogrid.fl.weights import flatten
from neurogrid.serving.folder import About, read_folder
from neurogrid.serving.readings import households, moment_of, with_timezone
from neurogrid.storage import place
from neurogrid.workloads.meters.evaluation.score import score_household
from neurogrid.workloads.meters.fleet import table_of
from neurogrid.workloads.meters.forecast import FEDERATED, Candidates, NoForecastError, forecast
from neurogrid.workloads.meters.models import Forecaster
from neurogrid.workloads.meters.windows import PROFILE_DAYS

_MEDIAN = "median_28_days"


class Model:
    """A run's model, away from its warehouse. `neurogrid.load` makes it.

    Attributes:
        about: everything that neurogrid.json says.
    """

    def __init__(self, about: About, forecaster: Forecaster) -> None:
        self.about = about
        self._forecaster = forecaster

    @property
    def run(self) -> str:
        """The run that trained it."""
        return self.about.run

    @property
    def cadence_minutes(self) -> int:
        """Length of a slot of its forecasts."""
        return self.about.cadence_minutes

    @property
    def history_slots(self) -> int:
        """Slots before the forecast that it sees one by one."""
        return self.about.windows.history_slots

    @property
    def horizon_slots(self) -> int:
        """Slots that it forecasts."""
        return self.about.windows.horizon_slots

    def __repr__(self) -> str:
        return (
            f"<neurogrid model of run {self.run}: {self.horizon_slots} slots of {self.cadence_minutes} min ahead, from "
            f"{self.history_slots} before>"
        )

    def forecast(
        self,
        readings: Any,
        *,
        at: datetime | None = None,
        horizon: int | None = None,
        start: datetime | None = None,
        timezone: str | None = None,
        weather: Any = None,
    ) -> pd.DataFrame:
        """Forecasts the coming slots.

        Args:
            readings: kWh a slot: a Series by the start of each slot (an index with a time zone), a DataFrame with a
                column for each household, or numbers with `start`. NaN and missing rows are gaps. The slots may be
                longer or shorter than the model's, if one length divides the other.
            at: start of the first slot of the forecast; None is the slot after each household's last reading.
            horizon: number of slots, at most `horizon_slots`, which is the default.
            start: start of the first slot, where readings are numbers without an index.
            timezone: IANA name of the households' local time; None is that of the run's households.
            weather: a DataFrame of hours, see docs/python.md; None is none, as of households without a station.

        Returns:
            A row a household and slot: household_id, start (UTC), forecast_kwh, surge_probability, run, model. Later
            versions may add columns.

        Raises:
            InputError: the readings, or one of the other arguments, cannot be used; says why and what to do.
        """
        slots = self.horizon_slots if horizon is None else horizon
        if not isinstance(slots, int | np.integer) or not 1 <= slots <= self.horizon_slots:
            raise InputError(f"horizon has to be from 1 to {self.horizon_slots}", found=f"{horizon!r:.80}")
        moment = None if at is None else moment_of(at, "at")
        cleaning = with_timezone(self.about.cleaning, timezone)
        forecasts, own = [], Candidates({FEDERATED: flatten(self._forecaster)}, {FEDERATED: 1.0})
        for household in self._households(readings, start, timezone, weather):
            name = household.meta.household_id
            try:
                made = forecast(household, self._forecaster, own, self.about.windows, cleaning, moment)
            except NoForecastError as error:
                raise InputError(f"no forecast can be made of {name}", found=str(error)) from error
            forecasts.append(made.first(slots))
        return table_of(forecasts, self.run, self.about.windows.quantiles).to_pandas()

    def score(
        self, readings: Any, *, start: datetime | None = None, timezone: str | None = None, weather: Any = None
    ) -> pd.DataFrame:
        """Compares the model's forecasts with what was measured, beside the naive forecast to beat.

        Every window of the last part of the readings is forecast, as an evaluation does with the test part: scales and
        surge thresholds come from the time before it.

        Args:
            readings, start, timezone, weather: as in `forecast`.

        Returns:
            A row a household: household_id, windows, load_kwh (mean), mae_kwh, rmse_kwh, bias_kwh (forecast less
            measured), median_28_days_mae_kwh (of the median of the same slot over the past 28 days), and
            below_median_percent: how much lower the model's MAE is. Later versions may add columns.

        Raises:
            InputError: the readings cannot be used, or are too few to hold one forecast against.
        """
        rows = [self._score(each) for each in self._households(readings, start, timezone, weather)]
        return pd.DataFrame(rows)

    def _households(
        self, readings: Any, start: datetime | None, timezone: str | None, weather: Any
    ) -> Iterator[Household]:
        cleaning = with_timezone(self.about.cleaning, timezone)
        return households(readings, start, weather, cleaning, self.cadence_minutes)

    def _score(self, household: Household) -> dict[str, Any]:
        name, weights = household.meta.household_id, flatten(self._forecaster)
        found = score_household(household, self.about.windows, self._forecaster, {FEDERATED: weights}, {})
        if "test" not in found.parts:
            raise InputError(
                f"readings of {name} are too few to hold a forecast against",
                found=f"{len(household.kwh)} slots of {self.cadence_minutes} min, the last of them to test on",
                fix=f"give some months; {PROFILE_DAYS} days before the part that is tested make a whole profile",
            )
        part = found.parts["test"]
        mae, naive = float(part.absolute[FEDERATED].mean()), float(part.absolute[_MEDIAN].mean())
        return {
            "household_id": name,
            "windows": part.windows,
            "load_kwh": float(part.load.mean()),
            "mae_kwh": mae,
            "rmse_kwh": float(np.sqrt(part.squared[FEDERATED].mean())),
            "bias_kwh": float(part.signed[FEDERATED].mean()),
            "median_28_days_mae_kwh": naive,
            "below_median_percent": 100 * (1 - mae / naive) if naive else float("nan"),
        }


def load(folder: str | Path) -> Model:
    """See `neurogrid.load`."""
    return Model(*read_folder(place(str(folder))))
