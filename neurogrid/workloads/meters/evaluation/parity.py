"""Days to parity: what a household that joins late has after so many days of own readings, by itself and by joining.

Each held-out household is cut to its last days before its test part, as if its meter had been put in then: nothing is
known from before, in the test part either. On these days a
model is trained from the start (`alone`) and the federated one is fine-tuned (`personal`); both are scored on the whole
test part. Scales and the surge threshold stay those of the whole training part.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from neurogrid.data.household import Household
from neurogrid.fl.update import Vector
from neurogrid.workloads.meters.central import CentralSettings
from neurogrid.workloads.meters.evaluation.comparisons import train_alone
from neurogrid.workloads.meters.evaluation.intervals import Figure, Resampler, share
from neurogrid.workloads.meters.personal import PersonalSettings, outputs, personalise
from neurogrid.workloads.meters.tensors import in_chunks
from neurogrid.workloads.meters.windows import Shard, WindowSettings, build_shard, gather, reach_slots

DAYS = (7, 14, 28, 56, 112, 364)
METHODS = ("usual", "federated", "alone", "personal")
_STEPS_A_DAY, _LEAST_STEPS = 4, 60


@dataclass(frozen=True)
class HouseholdParity:
    """One household's test MAE, kWh a slot, by days of own readings and method; without days that it does not have."""

    household_id: str
    mae: dict[int, dict[str, float]]

    def is_of(self, household_id: str) -> bool:
        """Whether it can be that household's."""
        return (
            self.household_id == household_id
            and self.mae.keys() <= set(DAYS)
            and all(own.keys() == set(METHODS) for own in self.mae.values())
            and all(math.isfinite(value) and value >= 0 for own in self.mae.values() for value in own.values())
        )


@dataclass(frozen=True)
class ParityFigures:
    """All households that have so many days, together.

    Attributes:
        days: of own readings.
        households: how many.
        below_median_percent: by method, how far the mean MAE lies below the 28-day median's.
        personal_better_share, federated_better_share: households better off so than alone.
    """

    days: int
    households: int
    below_median_percent: dict[str, Figure]
    personal_better_share: Figure
    federated_better_share: Figure


def measure(
    household: Household,
    federated: Callable[[Household], Vector],
    alone: CentralSettings,
    personal: PersonalSettings,
) -> HouseholdParity:
    """Trains and scores one household for each number of days.

    Args:
        household: with all its readings.
        federated: gives (d,) of the whole model for the household with these readings.
        alone: how its own model is trained; with few days for fewer steps, four a day.
        personal: how the federated one is fine-tuned.
    """
    name, found = household.meta.household_id, {}
    for days in DAYS:
        late = latecomer(household, days, alone.windows)
        if late is None:
            continue
        # The test part, too, knows of nothing from before the household came.
        since = _cut(household, household.slot(late.meta.first), household.meta.rows)
        test = build_shard([(since, None)], alone.windows, ("test",))
        if not len(test.origins["test"]):
            continue
        shard = build_shard([(late, None)], alone.windows, ("train", "validation"))
        steps = min(alone.steps, max(_LEAST_STEPS, _STEPS_A_DAY * days))
        own = train_alone(late, replace(alone, steps=steps))
        shared = federated(late)
        tuned = personalise(shard, shared, replace(personal, candidates=("federated", "personal")), name)
        if own is None or "personal" not in tuned.weights:
            continue
        models = {"federated": shared, "alone": own, "personal": tuned.weights["personal"]}
        found[days] = _maes(test, models, alone)
    return HouseholdParity(name, found)


def latecomer(household: Household, days: int, windows: WindowSettings) -> Household | None:
    """The household as if its meter had been put in so many days before its test part; None if it was not there then.

    Windows look back on a week or more before they begin, which comes on top. The last fifth is for validation.
    """
    meta = household.meta
    day = 1440 // meta.cadence_minutes
    end = household.slot(meta.validation_end)
    start = end - days * day - reach_slots(windows, day)
    if start < 0 or end > meta.rows:
        return None
    late = _cut(household, start, end)
    train_end = meta.validation_end - timedelta(days=math.ceil(days / 5))
    return replace(late, meta=replace(late.meta, train_end=train_end))


def _cut(household: Household, start: int, end: int) -> Household:
    """The household with its slots from `start` to `end` only."""
    meta, observed = household.meta, household.observed[start:end]
    slot = timedelta(minutes=meta.cadence_minutes)
    own = replace(
        meta,
        first=meta.first + start * slot,
        last=meta.first + (end - 1) * slot,
        rows=end - start,
        observed=int(observed.sum()),
    )
    return Household(own, household.features[start:end], household.kwh[start:end], observed)


def parity_figures(found: Sequence[HouseholdParity], *, seed: int) -> tuple[ParityFigures, ...]:
    """By days, over the households that have as many."""
    figures = []
    for days in DAYS:
        rows = [own.mae[days] for own in found if days in own.mae]
        if not rows:
            continue
        mae = {method: np.array([row[method] for row in rows]) for method in METHODS}
        resampler = Resampler.of(len(rows), seed, f"parity {days}")
        ratio = {method: resampler.ratio(mae[method], mae["usual"]) for method in METHODS if method != "usual"}
        figures.append(
            ParityFigures(
                days,
                len(rows),
                {m: Figure(100 * (1 - r.value), 100 * (1 - r.high), 100 * (1 - r.low)) for m, r in ratio.items()},
                share((mae["personal"] < mae["alone"]).astype(np.float64)),
                share((mae["federated"] < mae["alone"]).astype(np.float64)),
            )
        )
    return tuple(figures)


def _maes(shard: Shard, models: Mapping[str, Vector], settings: CentralSettings) -> dict[str, float]:
    origins = shard.origins["test"]
    total = dict.fromkeys(METHODS, 0.0)
    for chunk in in_chunks(origins):
        batch = gather(shard, chunk)
        for method, (forecast, _) in outputs(models, shard, chunk, settings).items():
            total[method] += float(np.abs((forecast - batch.target) * batch.scale).astype(np.float64).sum())
    return {method: value / (len(origins) * shard.settings.horizon_slots) for method, value in total.items()}
