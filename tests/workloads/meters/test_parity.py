"""Days to parity: a household that joins late, with its last days of readings only."""

import dataclasses
from datetime import timedelta

import numpy as np
import pytest
from made_households import make_household

from neurogrid.fl.local import LocalSettings
from neurogrid.fl.weights import flatten
from neurogrid.fl.weights import load as load_weights
from neurogrid.workloads.meters.central import CentralSettings
from neurogrid.workloads.meters.evaluation.comparisons import train_alone
from neurogrid.workloads.meters.evaluation.parity import (
    DAYS,
    METHODS,
    HouseholdParity,
    latecomer,
    measure,
    parity_figures,
)
from neurogrid.workloads.meters.models import LossSettings, ModelSettings, build
from neurogrid.workloads.meters.personal import PersonalSettings
from neurogrid.workloads.meters.tensors import as_tensors, model_shape
from neurogrid.workloads.meters.windows import MEDIAN, WindowSettings, build_shard, gather, window_origins

WINDOWS = WindowSettings(history_slots=12, horizon_slots=3, known_future=True, residual=True)
MODEL = ModelSettings("city_lstm", 8, 1, 4)
LOCAL = LocalSettings("adam", 4, 32, 0.01, 0.05, 1.0, 0.0)
ALONE = CentralSettings(WINDOWS, MODEL, LossSettings("l1", 1.0, 1.0), LOCAL, 80, (0.01,), 100, seed=5)
PERSONAL = PersonalSettings(dataclasses.replace(ALONE, steps=10, looks=2), ("federated", "personal"), 1, ALONE)


@pytest.fixture
def federated() -> np.ndarray:
    return flatten(build(MODEL, model_shape(WINDOWS), seed=5))


@pytest.mark.parametrize("days", [7, 14])
def test_a_newcomer_has_windows_of_so_many_days_before_the_test_part_and_no_others(households, days) -> None:
    household = households[5]
    late = latecomer(household, days, WINDOWS)
    assert late is not None
    origins = window_origins(late, None, WINDOWS)
    day = 1440 // late.meta.cadence_minutes
    assert not len(origins["test"])
    every = np.concatenate([origins["train"], origins["validation"]])
    assert every.max() - every.min() < days * day
    assert len(every) > 0.8 * days * day
    first = late.meta.first + int(every.min()) * timedelta(minutes=late.meta.cadence_minutes)
    assert first == household.meta.validation_end - timedelta(days=days)
    # What lies where is as it was.
    shift = household.slot(late.meta.first)
    assert np.array_equal(late.kwh, household.kwh[shift : shift + late.meta.rows])
    assert late.meta.last < household.meta.validation_end
    assert len(origins["validation"]) < len(origins["train"])


def test_a_household_that_was_not_there_so_long_has_no_figure(households) -> None:
    assert latecomer(households[5], 10_000, WINDOWS) is None


def test_the_figures_are_those_of_the_models_on_the_whole_test_part(households, federated) -> None:
    household = households[5]
    found = measure(household, lambda late: federated, ALONE, PERSONAL)
    assert found.is_of(household.meta.household_id)
    assert 14 in found.mae
    assert set(found.mae) <= set(DAYS)
    late = latecomer(household, 14, WINDOWS)
    own = train_alone(late, dataclasses.replace(ALONE, steps=60))
    # A test part that knows of nothing from before the household came.
    came = household.slot(late.meta.first)
    meta = dataclasses.replace(household.meta, first=late.meta.first, rows=household.meta.rows - came)
    since = dataclasses.replace(
        household,
        meta=meta,
        features=household.features[came:],
        kwh=household.kwh[came:],
        observed=household.observed[came:],
    )
    test = build_shard([(since, None)], WINDOWS, ("test",))
    assert len(test.origins["test"]) == len(build_shard([(household, None)], WINDOWS, ("test",)).origins["test"])
    origins = test.origins["test"]
    batch = gather(test, origins)
    model = build(MODEL, model_shape(WINDOWS), seed=5).eval()
    load_weights(model, own)
    windows = as_tensors(batch)
    forecast = model(windows.history, windows.known)[0].detach().numpy()
    assert found.mae[14]["alone"] == pytest.approx(
        float(np.abs((forecast - batch.target) * batch.scale).mean()), rel=1e-5
    )
    median = test.profiles[origins[:, None] + np.arange(3), MEDIAN]
    assert found.mae[14]["usual"] == pytest.approx(float(np.abs(median - batch.target_kwh).mean()), rel=1e-5)
    # A model that begins as the median is the median until it is trained.
    assert found.mae[14]["federated"] == pytest.approx(found.mae[14]["usual"], rel=1e-5)
    assert found.mae[14]["personal"] != found.mae[14]["federated"]


def test_readings_of_the_test_part_or_from_before_the_newcomer_came_change_no_model(federated) -> None:
    household = make_household(11)
    late = latecomer(household, 14, WINDOWS)
    start = household.slot(late.meta.first)
    kwh = household.kwh.copy()
    kwh[:start] *= 3
    features = household.features.copy()
    features[:start, 0] += 1
    other = latecomer(dataclasses.replace(household, kwh=kwh, features=features), 14, WINDOWS)
    assert train_alone(other, ALONE).tobytes() == train_alone(late, ALONE).tobytes()


def test_figures_are_over_the_households_that_have_so_many_days() -> None:
    def row(usual, federated, alone, personal):
        return dict(zip(METHODS, (usual, federated, alone, personal), strict=True))

    found = [
        HouseholdParity("a", {7: row(1.0, 0.9, 1.1, 0.8), 14: row(1.0, 0.9, 0.85, 0.8)}),
        HouseholdParity("b", {7: row(3.0, 2.7, 2.6, 2.5)}),
    ]
    week, fortnight = parity_figures(found, seed=1)
    assert (week.days, week.households, fortnight.households) == (7, 2, 1)
    assert week.below_median_percent["personal"].value == pytest.approx(100 * (1 - 3.3 / 4))
    assert week.personal_better_share.value == 1.0
    assert week.federated_better_share.value == 0.5
    assert fortnight.federated_better_share.value == 0.0


def test_what_cannot_be_of_a_household_is_told() -> None:
    good = {7: dict.fromkeys(METHODS, 0.1)}
    assert HouseholdParity("a", good).is_of("a")
    for other in (HouseholdParity("b", good), HouseholdParity("a", {8: good[7]}), HouseholdParity("a", {7: {}})):
        assert not other.is_of("a")
    assert not HouseholdParity("a", {7: dict.fromkeys(METHODS, float("nan"))}).is_of("a")
