"""Sums of households' forecasts: what tasks send, that they are the sums, and the figures, by hand."""

import dataclasses
import json
from datetime import timedelta

import numpy as np
import pytest
import scipy.stats
import torch
from made_households import agent, fingerprints, make_household, write

from neurogrid.data.household import Household
from neurogrid.data.manifest import Manifest
from neurogrid.fl.local import LocalSettings
from neurogrid.fl.weights import flatten
from neurogrid.storage import Place, place
from neurogrid.workloads.meters.central import CentralSettings
from neurogrid.workloads.meters.distribution import moments, quantiles_kwh
from neurogrid.workloads.meters.evaluation import BoostingSettings, Evaluation, EvaluationSettings, evaluate
from neurogrid.workloads.meters.evaluation.sum_figures import probability_above, sum_figures
from neurogrid.workloads.meters.evaluation.sums import (
    LEAST_HOUSEHOLDS,
    MEASURED,
    OWN,
    Sums,
    add_up,
    groups,
    names,
    sets,
    together,
)
from neurogrid.workloads.meters.models import Forecaster, LossSettings, ModelSettings, build
from neurogrid.workloads.meters.tensors import model_shape
from neurogrid.workloads.meters.windows import MEAN, WindowSettings, build_shard, gather, window_origins

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
WINDOWS = WindowSettings(12, 3, True, True, LEVELS)
PLAIN = dataclasses.replace(WINDOWS, quantiles=())
MODEL = ModelSettings(name="linear", hidden=8, layers=1, surge_hidden=4)
LOCAL = LocalSettings("adam", 10, 32, 0.01, 0.05, 1.0, 0.0)
WEEK = 7 * 12
COUNT = 16


def shifted(household: Household, days: int) -> Household:
    """The same readings at another time."""
    meta, later = household.meta, timedelta(days=days)
    moments = {name: getattr(meta, name) + later for name in ("first", "last", "train_end", "validation_end")}
    return dataclasses.replace(household, meta=dataclasses.replace(meta, **moments))


@pytest.fixture(scope="module")
def street() -> list[Household]:
    """Sixteen; the last two began three days later."""
    return [shifted(make_household(number), 3 * (number >= COUNT - 2)) for number in range(COUNT)]


def model(windows: WindowSettings) -> Forecaster:
    found = build(MODEL, model_shape(windows), seed=1)
    with torch.no_grad():
        found.forecast.bias.uniform_(-0.2, 0.2, generator=torch.Generator().manual_seed(2))
    return found


def by_hand(street: list[Household], windows: WindowSettings) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """By number of the test part's window: each household's measured loads and 28-day means."""
    found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for household in street:
        shard = build_shard([(household, None)], windows, ("test",))
        start = int(household.meta.first.timestamp()) // 7200
        for slot, row in zip(window_origins(household, None, windows)["test"], shard.origins["test"], strict=True):
            if (start + slot) % 3 == 0:
                rows = row + np.arange(3)
                found.setdefault((start + int(slot)) // 3, []).append((shard.kwh[rows], shard.profiles[rows, MEAN]))
    return found


def test_a_groups_sums_are_those_of_its_households_windows_at_whole_horizons(street) -> None:
    found, wanted = add_up(street, PLAIN, lambda _: model(PLAIN))["test"], by_hand(street, PLAIN)
    assert found.first == min(wanted)
    for number in range(found.first, found.first + len(found.households)):
        own = wanted.get(number, [])
        assert found.households[number - found.first] == len(own)
        for name, column in ((MEASURED, 0), ("mean_28_days", 1)):
            total = np.sum([pair[column] for pair in own], axis=0) if own else np.zeros(3)
            np.testing.assert_allclose(found.kwh[name][number - found.first], total, rtol=1e-5)
    assert set(found.kwh) == set(names(False))
    assert found.is_of(min(wanted), max(wanted) + 1, 3, 0)


def test_means_variances_and_quantiles_are_summed_where_there_are_quantiles(street) -> None:
    household = street[0]
    found = add_up([household], WINDOWS, lambda _: model(WINDOWS))["test"]
    shard = build_shard([(household, None)], WINDOWS, ("test",))
    slots = int(household.meta.first.timestamp()) // 7200 + window_origins(household, None, WINDOWS)["test"]
    batch = gather(shard, shard.origins["test"][slots % 3 == 0])
    with torch.no_grad():
        output = model(WINDOWS)(torch.from_numpy(batch.history), torch.from_numpy(batch.known))[0].numpy()
    quantiles = quantiles_kwh(output, batch, LEVELS)
    mean, variance = moments(quantiles, LEVELS)
    there = found.households > 0
    np.testing.assert_allclose(found.quantiles[there], quantiles, rtol=1e-5)
    np.testing.assert_allclose(found.kwh["quantile_mean"][there], mean, rtol=1e-5)
    np.testing.assert_allclose(found.kwh["variance"][there], variance, rtol=1e-4)
    np.testing.assert_allclose(found.kwh["deviation"][there], np.sqrt(variance), rtol=1e-4)


def test_groups_put_together_are_one_large_group(street) -> None:
    whole = add_up(street, PLAIN, lambda _: model(PLAIN))["test"]
    parts = [add_up(street[at : at + 5], PLAIN, lambda _: model(PLAIN))["test"] for at in range(0, COUNT, 5)]
    found = together(parts)
    assert found.first == whole.first
    assert np.array_equal(found.households, whole.households)
    for name, values in whole.kwh.items():
        np.testing.assert_allclose(found.kwh[name], values, rtol=1e-5, atol=1e-6)


def test_a_scaled_forecast_has_the_validation_parts_sum_of_each_household(street) -> None:
    found = add_up(street[:1], PLAIN, lambda _: model(PLAIN))["validation"]
    assert found.kwh["federated_scaled"].sum() == pytest.approx(found.kwh[MEASURED].sum(), rel=1e-5)
    assert found.kwh["federated"].sum() != pytest.approx(found.kwh[MEASURED].sum(), rel=1e-3)


def test_what_is_sent_back_is_bounded_for_ten_thousand_households() -> None:
    household = make_household(0)
    agents = tuple(
        dataclasses.replace(agent(household, f"A{i:05}"), parts=(dataclasses.replace(
            agent(household, "A0").parts[0], household_id=f"h{i}"),), district=i % 3)
        for i in range(10_000)
    )  # fmt: skip
    manifest = Manifest(1, 120, "natural", 3, 0.0, (), agents, (), (), {})
    found = groups(manifest)
    assert len(found) <= 64
    assert min(len(group.household_ids) for group in found) >= 8
    assert sorted(name for group in found for name in group.household_ids) == sorted(f"h{i}" for i in range(10_000))
    assert [*sets(manifest)] == ["trained", "district 1", "district 2", "district 3"]


def test_what_cannot_be_a_groups_sums_is_told(street) -> None:
    found = add_up(street[:2], PLAIN, lambda _: model(PLAIN))["test"]
    first, stop = found.first, found.first + len(found.households)
    assert found.is_of(first, stop, 3, 0)
    assert not found.is_of(first + 1, stop, 3, 0)
    assert not found.is_of(first, stop - 1, 3, 0)
    assert not found.is_of(first, stop, 4, 0)
    assert not found.is_of(first, stop, 3, 2)
    assert not dataclasses.replace(found, kwh={**found.kwh, "more": found.kwh[OWN]}).is_of(first, stop, 3, 0)
    hollow = {**found.kwh, OWN: np.full_like(found.kwh[OWN], np.nan)}
    assert not dataclasses.replace(found, kwh=hollow).is_of(first, stop, 3, 0)
    assert not dataclasses.replace(found, households=found.households[None]).is_of(first, stop, 3, 0)


def made_sums(random: np.random.Generator, windows: int, correlation: float) -> Sums:
    """Twenty households whose forecasts are right: normal, with deviations of 0.1 kWh and correlated errors."""
    each = np.sqrt(1 - correlation) * random.normal(size=(windows, 3, 20))
    errors = 0.1 * (each + np.sqrt(correlation) * random.normal(size=(windows, 3, 1)))
    mean = random.uniform(5, 10, (windows, 3))
    z = scipy.stats.norm.ppf(LEVELS)
    kwh = {
        MEASURED: mean + errors.sum(-1),
        **dict.fromkeys(names(True)[1:], mean),
        "mean_28_days": mean + 0.5,
        "variance": np.full((windows, 3), 20 * 0.01),
        "deviation": np.full((windows, 3), 20 * 0.1),
    }
    quantiles = mean[..., None] + 20 * 0.1 * z
    return Sums(
        1000,
        np.full(windows, 20, np.float32),
        {name: values.astype(np.float32) for name, values in kwh.items()},
        quantiles.astype(np.float32),
    )


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_the_view_that_is_true_covers_what_it_says(correlation: float) -> None:
    random = np.random.default_rng(7)
    parts = {"validation": made_sums(random, 1500, correlation), "test": made_sums(random, 1500, correlation)}
    found = sum_figures([parts], 20, LEVELS, WEEK, seed=1, name="trained")
    assert found is not None
    assert found.correlation == pytest.approx(correlation, abs=0.04)
    for interval in found.distributions["correlated"].intervals:
        assert interval.coverage.value == pytest.approx(interval.nominal, abs=0.03)
    independent, together_ = (
        found.distributions[view].intervals[0].coverage.value for view in ("independent", "comonotone")
    )
    assert together_ > 0.95
    assert independent == pytest.approx(0.9, abs=0.03) if correlation == 0 else independent < 0.75
    shown = found.distributions["correlated"]
    assert shown.above_expected.value == pytest.approx(shown.above_observed.value, abs=0.02)


def test_errors_are_by_hand_and_windows_of_few_households_do_not_count() -> None:
    test = made_sums(np.random.default_rng(3), 300, 0.1)
    test.households[:100] = LEAST_HOUSEHOLDS - 1
    found = sum_figures([{"test": test}], 20, (), WEEK, seed=1, name="trained")
    assert found is not None
    measured, mean, own = (test.kwh[name][100:].astype(float) for name in (MEASURED, "mean_28_days", OWN))
    assert found.windows == 200
    assert found.methods[OWN].nmae.value == pytest.approx(np.abs(own - measured).mean() / measured.mean())
    assert found.methods["mean_28_days"].bias_percent.value == pytest.approx(100 * (mean.sum() / measured.sum() - 1))
    below = 100 * (1 - np.abs(own - measured).sum() / np.abs(mean - measured).sum())
    assert found.methods[OWN].nmae_below_mean_percent.value == pytest.approx(below)
    assert found.distributions == {}
    test.households[:] = LEAST_HOUSEHOLDS - 1
    assert sum_figures([{"test": test}], 20, (), WEEK, seed=1, name="trained") is None


def test_a_normal_load_lies_above_a_rating_as_scipy_says() -> None:
    mean, deviation = np.array([[5.0, 6.0]]), np.array([[1.0, 0.0]])
    found = probability_above(mean, deviation, np.array([[5.5]]))
    assert found.tolist() == [[pytest.approx(scipy.stats.norm.sf(0.5)), 1.0]]


@pytest.fixture(scope="module")
def street_warehouse(street, tmp_path_factory) -> tuple[Place, Manifest]:
    root = tmp_path_factory.mktemp("street")
    for household in street:
        write(household, root)
    agents = tuple(dataclasses.replace(agent(h, f"A{i:04}"), district=i % 2) for i, h in enumerate(street))
    manifest = Manifest(1, 120, "natural", 2, 0.0, (), agents, (), (), fingerprints(root))
    return place(str(root)), manifest


def settings(windows: WindowSettings) -> EvaluationSettings:
    central = CentralSettings(
        windows, MODEL, LossSettings("l1", 1.0, 1.0, windows.quantiles), LOCAL, 10, (0.02,), 100, seed=5
    )
    return EvaluationSettings(windows, MODEL, (), central, central, BoostingSettings(windows, 5), seed=5)


@pytest.fixture(scope="module")
def evaluated(street_warehouse) -> Evaluation:
    return evaluate(None, *street_warehouse, {"federated": flatten(model(WINDOWS))}, settings(WINDOWS))


def test_an_evaluation_has_quantiles_and_sums_in_json_and_in_words(evaluated) -> None:
    plain = evaluated.to_dict()
    json.dumps(plain, allow_nan=False)
    assert plain["quantiles"]["trained"]["test"]["federated"]["crps"]["value"] > 0
    assert [*evaluated.sums] == ["trained"]  # districts of eight are too small
    text = evaluated.to_markdown()
    for words in (
        "the 90% interval covers",
        "the slot's quantiles, 28 days",
        "trained: 16 households",
        "come together",
    ):
        assert words in text
    assert "nan" not in text


@pytest.mark.slow
def test_spark_and_this_process_find_the_same_quantiles_and_sums(spark, street_warehouse, evaluated) -> None:
    there = evaluate(spark, *street_warehouse, {"federated": flatten(model(WINDOWS))}, settings(WINDOWS))
    assert json.dumps(there.to_dict()) == json.dumps(evaluated.to_dict())


def test_an_evaluation_without_quantiles_has_none_and_sums_all_the_same(street_warehouse) -> None:
    warehouse, manifest = street_warehouse
    found = evaluate(None, warehouse, manifest, {"federated": flatten(model(PLAIN))}, settings(PLAIN))
    assert "quantiles" not in found.to_dict()
    assert found.sums["trained"].distributions == {}
    assert found.sums["trained"].methods.keys() == {
        OWN,
        "federated_scaled",
        "mean_28_days",
        "median_28_days",
        "last_week",
    }
