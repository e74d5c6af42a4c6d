"""Gradient boosting as a rival: the same windows and target as the model, and LightGBM's own words for the rest."""

import dataclasses
from dataclasses import replace

import lightgbm
import numpy as np
import pytest

from neurogrid.data.household import Household
from neurogrid.errors import RunError, UsageError
from neurogrid.workloads.meters.evaluation import boosting
from neurogrid.workloads.meters.evaluation.boosting import (
    BoostingSettings,
    boost_alone,
    boost_pooled,
    forecaster,
    is_text,
    refuse_without_package,
)
from neurogrid.workloads.meters.windows import WindowSettings, build_shard, gather

WINDOWS = WindowSettings(history_slots=12, horizon_slots=3, known_future=True, residual=True)
SETTINGS = BoostingSettings(WINDOWS, seed=5)


def swinging(household: Household) -> Household:
    """The same household, whose load is high after a low slot and low after a high one, whatever the hour."""
    kwh = household.kwh.copy()
    random = np.random.default_rng(1)
    for slot in range(1, len(kwh)):
        kwh[slot] = (0.1 if kwh[slot - 1] > 0.3 else 0.6) if random.random() < 0.9 else random.random()
    features = household.features.copy()
    scale = household.meta.scales["kWh_received_Total"]
    features[:, 0] = (kwh - scale.mean) / scale.std
    return dataclasses.replace(household, kwh=kwh, features=features)


def table(household: Household, period: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of all its windows and slots, one by one."""
    shard = build_shard([(household, None)], WINDOWS)
    batch = gather(shard, shard.origins[period])
    rows, targets = [], []
    for window in range(len(batch)):
        for slot in range(WINDOWS.horizon_slots):
            seen = [*batch.history[window, :, 0], *batch.history[window, -1, 1:]]
            rows.append([*seen, *batch.known[window, slot], slot])
            targets.append((batch.target_kwh - batch.base_kwh)[window, slot] / batch.scale[window, 0])
    return np.array(rows, np.float32), np.array(targets, np.float32)


@pytest.fixture(scope="module")
def household(households) -> Household:
    return swinging(households[0])


@pytest.fixture(scope="module")
def grown(household) -> str:
    found = boost_alone(household, SETTINGS)
    assert found is not None
    return found


def test_forecasts_are_what_lightgbm_itself_predicts_for_each_window_and_slot(household, grown) -> None:
    shard = build_shard([(household, None)], WINDOWS)
    batch = gather(shard, shard.origins["test"])
    rows, targets = table(household, "test")
    expected = lightgbm.Booster(model_str=grown).predict(rows).reshape(-1, WINDOWS.horizon_slots)
    found = forecaster(grown)(batch)
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    errors, without = np.abs(expected.ravel() - targets).mean(), np.abs(targets).mean()
    assert errors < 0.6 * without


def test_training_ends_with_the_tree_that_is_best_on_validation_by_the_absolute_error(household, grown) -> None:
    rows, targets = table(household, "validation")
    booster, trees = lightgbm.Booster(model_str=grown), grown.count("\nTree=")
    assert trees == booster.num_trees() < 1000
    losses = [np.abs(booster.predict(rows, num_iteration=n + 1) - targets).mean() for n in range(trees)]
    assert int(np.argmin(losses)) == trees - 1
    assert "objective=regression_l1" in grown


def test_the_same_readings_and_seed_give_the_same_trees_and_test_time_is_not_seen(household, grown) -> None:
    end = household.slot(household.meta.validation_end)
    kwh = household.kwh.copy()
    kwh[end:] = 7
    assert boost_alone(dataclasses.replace(household, kwh=kwh), SETTINGS) == grown
    assert boost_alone(household, replace(SETTINGS, seed=6)) != grown


def test_a_household_without_training_windows_has_no_trees(household) -> None:
    never = dataclasses.replace(household, observed=np.zeros_like(household.observed))
    assert boost_alone(never, SETTINGS) is None
    with pytest.raises(RunError, match="none of 1 household has a training window"):
        boost_pooled(iter([never]), 1, SETTINGS)


def test_pooled_trees_take_as_many_rows_of_each_household_and_no_more_than_they_may(
    households, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, opened = [], []
    real = lightgbm.Dataset

    def dataset(data, *args, **kwargs):
        taken.append(data.copy())
        return real(data, *args, **kwargs)

    def one_after_another():
        for household in households[:4]:
            opened.append(household.meta.household_id)
            yield household

    monkeypatch.setattr(lightgbm, "Dataset", dataset)
    text = boost_pooled(one_after_another(), 4, replace(SETTINGS, rows=1001, validation_rows=400))
    assert opened == [h.meta.household_id for h in households[:4]]
    assert is_text(text, SETTINGS.inputs)
    (rows,) = taken
    assert rows.shape == (1000, SETTINGS.inputs)
    for number, household in enumerate(households[:4]):
        every, _ = table(household, "train")
        known = {row.tobytes() for row in every}
        mine = {row.tobytes() for row in rows[250 * number : 250 * number + 250]}
        assert mine <= known
        assert len(mine) == 250  # none twice
    assert set(rows[:, -1]) == {0, 1, 2}


@pytest.mark.parametrize("text", ["", "pickle", "tree\nmax_feature_idx=3\n"])
def test_what_cannot_be_trees_of_these_windows_is_told(text: str) -> None:
    assert not is_text(text, SETTINGS.inputs)


def test_without_the_package_boosting_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "find_spec", lambda name: None)
    refuse_without_package(["ridge", "alone"])
    with pytest.raises(UsageError, match=r"(?s)needs the package lightgbm.*gbm_alone.*pip install lightgbm"):
        refuse_without_package(["ridge", "gbm_alone"])
