"""One household's errors and surge counts under every method: the work of one Spark task, small enough to send back."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Annotated

import numpy as np
import numpy.typing as npt

from neurogrid.data.household import Household
from neurogrid.data.summary import HOURS
from neurogrid.fl.update import Vector
from neurogrid.fl.weights import load
from neurogrid.tasks import array_of
from neurogrid.workloads.meters.evaluation import naive, ridge
from neurogrid.workloads.meters.evaluation.boosting import Forecast
from neurogrid.workloads.meters.evaluation.examples import usual_day
from neurogrid.workloads.meters.evaluation.metrics import (
    SCORE_BINS,
    Counts,
    Floats,
    average_precisions,
    confusion,
    count_scores,
    mase_scale_kwh,
)
from neurogrid.workloads.meters.models import Forecaster, point
from neurogrid.workloads.meters.personal import blended, usual
from neurogrid.workloads.meters.tensors import in_chunks, run_model
from neurogrid.workloads.meters.windows import (
    Batch,
    Indices,
    Period,
    Shard,
    WindowSettings,
    build_shard,
    gather,
)

Names = AbstractSet[str]
NarrowCounts = Annotated[npt.NDArray[np.int32], array_of(np.int32)]
QUIET_SHARE = 0.93
"""A household whose training part is this share of zeros or more is listed, not counted: there is nothing to forecast.

By training time alone, so that nobody is left out for what is tested on."""


@dataclass(frozen=True)
class PartScore:
    """Sums over one household's windows of one period.

    Attributes:
        windows: how many.
        load: (h,) mean of what was measured in each slot of the horizon, kWh.
        absolute, squared, signed: by method, (h,) mean absolute and mean squared error of each slot of the horizon, and
            mean of forecast less measured, kWh.
        scores: by surge method with scores, (h + 1, 2, SCORE_BINS) counts: see metrics.count_scores.
        average_precision: by the same methods, (h + 2,): see metrics.average_precisions.
        persistence: (h + 1, 4) confusion of saying that surges go on.
    """

    windows: int
    load: Floats
    absolute: dict[str, Floats]
    squared: dict[str, Floats]
    signed: dict[str, Floats]
    scores: dict[str, NarrowCounts]
    average_precision: dict[str, Floats]
    persistence: Counts

    def has(self, horizon: int, forecasting: Names, telling: Names) -> bool:
        """Whether it has windows, and sums of these methods in the shapes above, with finite errors."""
        errors = (self.load, *self.absolute.values(), *self.squared.values(), *self.signed.values())
        return (
            self.windows > 0
            and self.absolute.keys() == self.squared.keys() == self.signed.keys() == forecasting
            and self.scores.keys() == self.average_precision.keys() == telling
            and all(found.shape == (horizon + 2,) for found in self.average_precision.values())
            and all(error.shape == (horizon,) and bool(np.isfinite(error).all()) for error in errors)
            and all(counts.shape == (horizon + 1, 2, SCORE_BINS) for counts in self.scores.values())
            and self.persistence.shape == (horizon + 1, 4)
        )


@dataclass(frozen=True)
class HouseholdScore:
    """One household's sums, and what its figures are read against.

    Attributes:
        household_id: whose.
        zero_share: share of the measured training slots that are exactly 0 (1 where there are none).
        mase_scale_kwh: see metrics.mase_scale_kwh.
        parts: by period; periods without windows are missing.
        usual_day: see examples.usual_day.
    """

    household_id: str
    zero_share: float
    mase_scale_kwh: float
    parts: dict[Period, PartScore]
    usual_day: Floats

    @property
    def quiet(self) -> bool:
        """Whether it falls under the rule of QUIET_SHARE."""
        return self.zero_share >= QUIET_SHARE

    def is_of(self, household_id: str, horizon: int, forecasting: Names, telling: Names) -> bool:
        """Whether it can be that household's, with these methods of forecasting, and of telling surges."""
        return (
            self.household_id == household_id
            and self.usual_day.shape == (HOURS,)
            and self.parts.keys() <= {"validation", "test"}
            and all(part.has(horizon, forecasting, telling) for part in self.parts.values())
        )


def score_household(
    household: Household,
    windows: WindowSettings,
    model: Forecaster,
    weights: Mapping[str, Vector],
    coefficients: Mapping[str, Floats],
    forecasters: Mapping[str, Forecast] = MappingProxyType({}),
    blends: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> HouseholdScore:
    """Scores every method on the household's validation and test windows.

    Args:
        household: its readings.
        windows: how windows are cut.
        model: whatever weights it has are overwritten.
        weights: by method, the model's weights.
        coefficients: by method, ridge's coefficients (h, p).
        forecasters: by method, what else forecasts loads, scaled as a batch's target.
        blends: by method, the shares of models, and of what is `usual`, in its forecast.
    """
    shard = build_shard([(household, None)], windows, ("validation", "test"))
    end = household.slot(household.meta.train_end)
    measured = household.kwh[:end][household.observed[:end]]
    periods: tuple[Period, ...] = ("validation", "test")
    ridges = {method: partial(ridge.predict, coefficients=found) for method, found in coefficients.items()}
    return HouseholdScore(
        household_id=household.meta.household_id,
        zero_share=float((measured == 0).mean()) if len(measured) else 1.0,
        mase_scale_kwh=mase_scale_kwh(household),
        parts={
            period: _score_part(shard, shard.origins[period], model, weights, {**ridges, **forecasters}, blends)
            for period in periods
            if len(shard.origins[period])
        },
        usual_day=usual_day(household),
    )


def _score_part(
    shard: Shard,
    origins: Indices,
    model: Forecaster,
    weights: Mapping[str, Vector],
    forecasters: Mapping[str, Forecast],
    blends: Mapping[str, Mapping[str, float]],
) -> PartScore:
    absolute: dict[str, Floats] = {}
    squared: dict[str, Floats] = {}
    signed: dict[str, Floats] = {}
    load: Floats = np.zeros(shard.settings.horizon_slots)
    scores: dict[str, Counts] = {}
    unrounded: dict[str, list[npt.NDArray[np.float32]]] = {}
    every_label = []
    persistence = np.zeros((shard.settings.horizon_slots + 1, 4), np.int64)

    def note(method: str, forecast_kwh: npt.NDArray[np.float32], batch: Batch) -> None:
        error = forecast_kwh.astype(np.float64) - batch.target_kwh
        absolute[method] = absolute.get(method, 0) + np.abs(error).sum(0) / len(origins)
        squared[method] = squared.get(method, 0) + (error**2).sum(0) / len(origins)
        signed[method] = signed.get(method, 0) + error.sum(0) / len(origins)

    for chunk in in_chunks(origins):
        batch = gather(shard, chunk)
        load = load + batch.target_kwh.astype(np.float64).sum(0) / len(origins)
        labels = np.concatenate([batch.surge, batch.surge.max(axis=1, keepdims=True)], axis=1)
        for method, forecast_kwh in naive.forecasts(shard, chunk).items():
            note(method, forecast_kwh, batch)
        for method, forecast_scaled in forecasters.items():
            note(method, batch.base_kwh + batch.scale * forecast_scaled(batch), batch)
        forecasts, logits = {}, {}
        forecasts["usual"], logits["usual"] = usual(shard, chunk, batch)
        for method, vector in weights.items():
            forecasts[method], logits[method] = _run(model, vector, batch)
        for method, shares in blends.items():
            forecasts[method], logits[method] = blended(shares, forecasts), blended(shares, logits)
        for method in (*weights, *blends):
            note(method, batch.base_kwh + batch.scale * forecasts[method], batch)
        logits = {"usual_share": logits.pop("usual"), **logits}
        for method, values in logits.items():
            scores[method] = scores.get(method, 0) + count_scores(values, labels)
            unrounded.setdefault(method, []).append(values)
        every_label.append(labels)
        persistence += _persistence(naive.surge_persistence(shard, chunk), labels)
    # Narrow: scores are the bulk of what goes back to the driver.
    narrow = {method: counts.astype(np.int32) for method, counts in scores.items()}
    surges = np.concatenate(every_label)
    exact = {method: average_precisions(np.concatenate(values), surges) for method, values in unrounded.items()}
    return PartScore(len(origins), load, absolute, squared, signed, narrow, exact, persistence)


def _run(model: Forecaster, weights: Vector, batch: Batch) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    load(model, weights)
    output, logits = run_model(model, batch)
    return point(output), logits


def _persistence(surging: npt.NDArray[np.bool_], labels: npt.NDArray[np.float32]) -> Counts:
    """Confusions (h + 1, 4) of saying of every slot what the last one was."""
    said = np.broadcast_to(np.where(surging, 1, -1)[:, None], labels.shape).astype(np.float32)
    counts = count_scores(said, labels)
    return confusion(counts, counts.shape[-1] // 2)
