"""The forecasts that a run's page shows: whose, of which days, and that they are the model's own."""

import dataclasses
from datetime import datetime, timedelta

import numpy as np
import pytest
from made_households import DAY, make_household

from neurogrid.config import load
from neurogrid.data.cleaning import Cleaning, EtlSettings
from neurogrid.data.household import Household
from neurogrid.fl.local import LocalSettings
from neurogrid.fl.weights import flatten
from neurogrid.storage import place
from neurogrid.workloads.meters.central import CentralSettings
from neurogrid.workloads.meters.evaluation import BoostingSettings, Evaluation, EvaluationSettings, evaluate
from neurogrid.workloads.meters.evaluation.examples import (
    Candidate,
    Stretch,
    ranked,
    shown_interval,
    stretch,
    usual_day,
)
from neurogrid.workloads.meters.forecast import Candidates, forecast
from neurogrid.workloads.meters.models import LossSettings, ModelSettings, build
from neurogrid.workloads.meters.personal import PersonalSettings, personalise
from neurogrid.workloads.meters.personal_files import PersonalFiles
from neurogrid.workloads.meters.tensors import model_shape
from neurogrid.workloads.meters.windows import WindowSettings, build_shard

WINDOWS = WindowSettings(history_slots=12, horizon_slots=3, known_future=True, residual=True)
MODEL = ModelSettings(name="linear", hidden=8, layers=1, surge_hidden=4)
LOCAL = LocalSettings("adam", 10, 32, 0.01, 0.05, 1.0, 0.0)
CENTRAL = CentralSettings(WINDOWS, MODEL, LossSettings("l1", 1.0, 1.0), LOCAL, 60, (0.02,), 100, seed=5)
SETTINGS = EvaluationSettings(WINDOWS, MODEL, (), CENTRAL, CENTRAL, BoostingSettings(WINDOWS, 5), seed=5)
CLEANING = Cleaning("UTC", EtlSettings(**load("").etl.model_dump() | {"cadence_minutes": 120}))
STRETCH = Stretch("2024-03-01T00:00:00+00:00", (1.0,) * 3, (1.0,) * 3, (1.0,) * 3)


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return flatten(build(MODEL, model_shape(WINDOWS), seed=1))


@pytest.fixture(scope="module")
def found(warehouse, manifest, weights) -> Evaluation:
    return evaluate(None, warehouse, manifest, {"federated": weights}, SETTINGS)


def kept(household: Household) -> Stretch | None:
    """The stretch of a household, with a forecast of one for every slot."""
    shard = build_shard([(household, None)], WINDOWS, ("validation", "test"))
    return stretch(household, shard, lambda rows, batch: (np.ones_like(batch.target_kwh), batch.usual_quantiles))


def test_best_and_worst_are_those_of_the_evaluation(households, found) -> None:
    mae = found.parts["test"]["held_out"].mae_by_household
    shown = {example.rank: example for example in found.examples.forecasts}
    assert set(shown) == {"best", "worst"}  # two were held out
    assert {example.group for example in shown.values()} == {"held_out"}
    for example in shown.values():
        assert example.mae_kwh == pytest.approx(mae[example.household_id]["federated"], abs=5e-5)
    assert shown["best"].mase <= shown["worst"].mase


def test_what_is_shown_was_measured_then_and_forecast_by_the_model(households, found) -> None:
    by_id = {household.meta.household_id: household for household in households}
    for example in found.examples.forecasts:
        household, shown = by_id[example.household_id], example.stretch
        first = household.slot(datetime.fromisoformat(shown.start))
        slots = slice(first, first + len(shown.measured_kwh))
        assert first >= household.slot(household.meta.validation_end)
        assert household.observed[slots].all()
        assert shown.measured_kwh == pytest.approx(household.kwh[slots].tolist(), abs=5e-5)
        # The start weights of this model forecast the median.
        assert shown.forecast_kwh == pytest.approx(shown.usual_kwh, abs=1e-4)
        assert len(shown.measured_kwh) == len(shown.forecast_kwh) == len(shown.usual_kwh) >= 6 * DAY


def test_days_begin_at_midnight_in_the_middle_of_the_test_part() -> None:
    household = dataclasses.replace(make_household(1), observed=np.ones(90 * DAY, np.bool_))
    shown = kept(household)
    assert shown is not None
    start = datetime.fromisoformat(shown.start)
    assert (start.hour, len(shown.measured_kwh)) == (0, 7 * DAY)
    middle = household.meta.validation_end + (household.meta.last - household.meta.validation_end) / 2
    assert abs(start + timedelta(days=3.5) - middle) <= timedelta(days=1)


@pytest.mark.parametrize(("every", "slots"), [(2 * DAY, 21), (13, 12), (5, 3)])
def test_gaps_make_a_stretch_shorter_and_never_part_of_it(every: int, slots: int) -> None:
    observed = np.arange(90 * DAY) % every != 0
    household = dataclasses.replace(make_household(1), observed=observed)
    shown = kept(household)
    assert shown is not None
    assert len(shown.measured_kwh) == slots
    first = household.slot(datetime.fromisoformat(shown.start))
    assert observed[first : first + slots].all()


def test_a_household_without_a_window_in_its_test_part_shows_nothing() -> None:
    household = make_household(1)
    observed = household.observed.copy()
    observed[household.slot(household.meta.validation_end) :] = False
    assert kept(dataclasses.replace(household, observed=observed)) is None


@pytest.mark.parametrize(
    ("mases", "expected"),
    [
        ([], {}),
        ([0.5], {"only": 0.5}),
        ([0.9, 0.5], {"best": 0.5, "worst": 0.9}),
        ([0.9, 0.5, 0.7], {"best": 0.5, "median": 0.7, "worst": 0.9}),
        ([0.4, float("nan"), 0.9, 0.5, 0.7], {"best": 0.4, "median": 0.5, "worst": 0.9}),
    ],
)
def test_ranks_are_by_mase(mases: list[float], expected: dict[str, float]) -> None:
    candidates = [Candidate(f"h{i}", 0.1, mase) for i, mase in enumerate(mases)]
    assert {rank: chosen.mase for rank, chosen in ranked(candidates).items()} == expected


@pytest.mark.parametrize(
    "spoilt",
    [
        {"measured_kwh": (1.0,) * 4},
        {"usual_kwh": (1.0,) * 6},
        {"forecast_kwh": (1.0, 1.0, float("nan"))},
        {"low_kwh": (0.0,) * 3},
        dict.fromkeys(("measured_kwh", "forecast_kwh", "usual_kwh"), (1.0,) * 10002),
    ],
)
def test_what_cannot_be_a_stretch_of_the_models_is_told(spoilt: dict[str, tuple[float, ...]]) -> None:
    assert STRETCH.is_of(3, ())
    assert not STRETCH.is_of(3, (0.1, 0.5, 0.9))
    assert not dataclasses.replace(STRETCH, **spoilt).is_of(3, ())


def test_the_interval_that_is_shown_is_the_central_one_nearest_to_80_percent() -> None:
    assert shown_interval((0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)) == (1, 5, 0.8)
    assert shown_interval((0.15, 0.25, 0.5, 0.75, 0.85)) == (0, 4, 0.7)
    assert shown_interval((0.1, 0.5)) is None
    assert shown_interval(()) is None


def test_with_quantiles_and_personal_models_a_weeks_interval_is_that_of_what_the_household_uses(
    warehouse, manifest, households, tmp_path
) -> None:
    levels = (0.1, 0.5, 0.9)
    windows = dataclasses.replace(WINDOWS, quantiles=levels)
    tuning = dataclasses.replace(CENTRAL, windows=windows, loss=LossSettings("l1", 1.0, 1.0, levels))
    personal = PersonalSettings(tuning, ("usual", "federated", "personal"), 4, tuning)
    kept_files = PersonalFiles(place(str(tmp_path)), personal)
    asked = dataclasses.replace(SETTINGS, windows=windows, alone=tuning, pooled=tuning, personal=kept_files)
    weights = flatten(build(MODEL, model_shape(windows), seed=1))
    found = evaluate(None, warehouse, manifest, {"federated": weights}, asked)
    assert (found.examples.method, found.examples.interval) == ("served", 0.8)
    by_id = {household.meta.household_id: household for household in households}
    agents = {one.parts[0].household_id: one.agent_id for one in manifest.held_out}
    mae = found.parts["test"]["held_out"].mae_by_household
    for shown in found.examples.forecasts:
        assert shown.mae_kwh == pytest.approx(mae[shown.household_id]["served"], abs=5e-5)
        household = by_id[shown.household_id]
        shard = build_shard([(household, None)], windows, ("train", "validation"))
        own = personalise(shard, weights, personal, agents[shown.household_id])
        start = datetime.fromisoformat(shown.stretch.start)
        candidates = Candidates({"federated": weights, **own.weights}, own.shares)
        made = forecast(household, build(MODEL, model_shape(windows), seed=5), candidates, windows, CLEANING, start)
        assert shown.stretch.forecast_kwh[:3] == pytest.approx(made.forecast_kwh, abs=1e-4)
        assert shown.stretch.low_kwh[:3] == pytest.approx(made.quantiles_kwh[:, 0], abs=1e-4)
        assert shown.stretch.high_kwh[:3] == pytest.approx(made.quantiles_kwh[:, 2], abs=1e-4)
        assert all(low <= high for low, high in zip(shown.stretch.low_kwh, shown.stretch.high_kwh, strict=True))


def test_nothing_of_a_single_household_is_kept_where_it_is_not_to_be_shown(warehouse, manifest, weights) -> None:
    hidden = dataclasses.replace(SETTINGS, show_households=False)
    found = evaluate(None, warehouse, manifest, {"federated": weights}, hidden)
    assert found.examples.forecasts == ()
    assert found.examples.days


def test_those_that_trained_are_shown_where_none_was_held_out(warehouse, manifest, weights) -> None:
    alone = dataclasses.replace(manifest, held_out=())
    found = evaluate(None, warehouse, alone, {"federated": weights}, SETTINGS)
    assert [example.rank for example in found.examples.forecasts] == ["best", "median", "worst"]
    assert "house4" not in {example.household_id for example in found.examples.forecasts}  # it is quiet
    assert {example.group for example in found.examples.forecasts} == {"trained"}


def test_a_clusters_day_is_the_mean_of_its_households_days(households, found) -> None:
    (day,) = found.examples.days
    assert (day.cluster, day.households) == (0, 7)
    by_hand = np.array([[kw_at(household, hour) for hour in range(0, 24, 2)] for household in households])
    assert [value for value in day.kw_by_hour if value is not None] == pytest.approx(by_hand.mean(axis=0), abs=5e-5)
    assert day.kw_by_hour[1] is None  # no slot of two hours begins at one o'clock


def kw_at(household: Household, hour: int) -> float:
    slots = (np.arange(len(household.kwh)) % DAY == hour // 2) & household.observed
    return float(household.kwh[slots].mean()) / 2


def test_a_usual_day_takes_measured_values_only() -> None:
    household = make_household(2)
    kwh = np.where(household.observed, household.kwh, np.float32(1e6))
    assert usual_day(dataclasses.replace(household, kwh=kwh)) == pytest.approx(usual_day(household), nan_ok=True)


@pytest.mark.parametrize("shown", [True, False])
def test_the_config_says_whether_single_households_are_shown(*, shown: bool) -> None:
    from neurogrid.config import load
    from neurogrid.pipeline import settings

    assert settings.evaluation(load("", [f"show_households={str(shown).lower()}"])).show_households is shown
