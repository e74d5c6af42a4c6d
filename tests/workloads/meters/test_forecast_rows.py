"""A forecast is what an evaluation would have scored, and nothing of it comes from a reading at or after its start."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from neurogrid.config import load
from neurogrid.data.clean import clean_household, parquet_bytes
from neurogrid.data.cleaning import Cleaning, EtlSettings
from neurogrid.data.continued import continued
from neurogrid.data.grid import Grid
from neurogrid.data.household import FEATURES, Household, household_from
from neurogrid.data.weather import NO_STATION
from neurogrid.fl.weights import flatten
from neurogrid.fl.weights import load as set_weights
from neurogrid.workloads.meters.evaluation.score import score_household
from neurogrid.workloads.meters.forecast import Candidates, Forecast, NoForecastError
from neurogrid.workloads.meters.forecast import forecast as make
from neurogrid.workloads.meters.models import Forecaster, ModelSettings, build
from neurogrid.workloads.meters.tensors import model_shape
from neurogrid.workloads.meters.windows import WindowSettings, build_shard, gather, reach_slots, window_origins

WINDOWS = WindowSettings(history_slots=9, horizon_slots=30, known_future=True, residual=True)
CLEANING = Cleaning("Europe/Berlin", EtlSettings(**load("etl: {cadence_minutes: 60}").etl.model_dump()))
HOUR = timedelta(hours=1)
BEGIN = datetime(2021, 8, 1, tzinfo=UTC)  # clocks go back on 31 October, in the tenth of 13 weeks
WEEKS = 14
CALENDAR = slice(FEATURES.index("hour_sin"), FEATURES.index("is_weekend") + 1)


def trained(windows: WindowSettings = WINDOWS, name: str = "city_lstm") -> Forecaster:
    """A model whose last layers are not zero, so that all of a window tells."""
    model = build(ModelSettings(name, 8, 1, 4), model_shape(windows), seed=3)
    random = np.random.default_rng(5)
    for parameter in model.parameters():
        parameter.data.numpy()[...] = random.normal(0, 0.3, parameter.shape)
    return model


def forecast(
    house: Household, model: Forecaster, windows: WindowSettings, cleaning: Cleaning, at: datetime | None = None
) -> Forecast:
    return make(house, model, Candidates({"federated": flatten(model)}, {"federated": 1.0}), windows, cleaning, at)


def cleaned(kwh: np.ndarray) -> Household:
    """A household of hourly slots, NaN where missing, as the ETL makes its table."""
    grid = Grid(int(BEGIN.timestamp()) // 3600, 60, kwh, 0.0)
    made = clean_household(("house", "none"), grid, NO_STATION, CLEANING.timezone, 60, CLEANING.settings)
    return household_from(pa.BufferReader(parquet_bytes(made, "none")))


@pytest.fixture(scope="module")
def house() -> Household:
    random = np.random.default_rng(1)
    kwh = random.gamma(2, 0.2, WEEKS * 168)
    kwh[random.random(len(kwh)) < 0.03] = np.nan
    kwh[[0, -1]] = 0.3
    return cleaned(kwh)


def until(house: Household, rows: int) -> Household:
    """The household as it was known before its slot number `rows`, with the scales of the whole."""
    meta = replace(house.meta, rows=rows, last=house.meta.first + (rows - 1) * HOUR)
    return Household(meta, house.features[:rows], house.kwh[:rows], house.observed[:rows])


@pytest.mark.parametrize("windows", [WINDOWS, replace(WINDOWS, known_future=False, residual=False)])
@pytest.mark.parametrize("name", ["city_lstm", "linear"])
def test_a_forecast_of_measured_slots_is_the_one_that_an_evaluation_scores(
    house: Household, windows: WindowSettings, name: str
) -> None:
    model = trained(windows, name)
    shard = build_shard([(house, None)], windows, ("test",))
    chosen = slice(None, None, 37)
    slots, rows = window_origins(house, None, windows)["test"][chosen], shard.origins["test"][chosen]
    for slot, row in zip(slots.tolist(), rows, strict=True):
        found = forecast(house, model, windows, CLEANING, house.meta.first + slot * HOUR)
        batch = gather(shard, row[None])
        with torch.inference_mode():
            scaled, logits = model(torch.from_numpy(batch.history), torch.from_numpy(batch.known))
        assert found.forecast_kwh.tolist() == (batch.base_kwh + batch.scale * scaled.numpy())[0].tolist()
        wanted = 1 / (1 + np.exp(-(logits.numpy() + batch.surge_base)[0, :-1].astype(np.float64)))
        assert found.surge_probability == pytest.approx(wanted, abs=1e-6)
    assert len(slots) > 5


def test_a_households_own_choice_is_blended_as_its_evaluation_does(house: Household) -> None:
    windows = replace(WINDOWS, quantiles=(0.1, 0.5, 0.9))
    model, random = trained(windows), np.random.default_rng(2)
    weights = {
        name: random.normal(0, 0.2, len(flatten(model))).astype(np.float32) for name in ("federated", "personal")
    }
    shares = {"usual": 0.25, "federated": 0.25, "personal": 0.5}
    scored = score_household(house, windows, model, weights, {}, blends={"served": shares}).parts["test"]
    slots, errors = window_origins(house, None, windows)["test"], []
    for slot in slots.tolist():
        found = make(house, model, Candidates(weights, shares), windows, CLEANING, house.meta.first + slot * HOUR)
        errors.append(np.abs(found.forecast_kwh - house.kwh[slot : slot + 30]))
        assert found.model == "personal"
        assert (np.diff(found.quantiles_kwh, axis=1) >= 0).all()
        assert found.quantiles_kwh[:, 1] == pytest.approx(np.maximum(found.forecast_kwh, 0), abs=0.2)
    assert np.mean(errors, axis=0) == pytest.approx(scored.absolute["served"], abs=1e-6)
    whole = make(house, model, Candidates(weights, {"personal": 1.0}), windows, CLEANING)
    set_weights(model, weights["personal"])
    assert whole.forecast_kwh.tobytes() == forecast(house, model, windows, CLEANING).forecast_kwh.tobytes()
    assert whole.model == "personal"


@given(st.integers(reach_slots(WINDOWS, 24), WEEKS * 168 - 1))
@settings(max_examples=40, deadline=None)
def test_a_forecast_is_the_same_whether_its_slots_have_been_measured_or_not(house: Household, row: int) -> None:
    at, model = house.meta.first + row * HOUR, trained()
    try:
        wanted = forecast(house, model, WINDOWS, CLEANING, at)
    except NoForecastError:
        assume(False)
    found = forecast(until(house, row), model, WINDOWS, CLEANING)
    assert found.start == wanted.start == at
    assert found.forecast_kwh.tobytes() == wanted.forecast_kwh.tobytes()
    assert found.surge_probability.tobytes() == wanted.surge_probability.tobytes()
    assert found.filled_slots == wanted.filled_slots


def test_coming_slots_have_the_calendar_that_their_tables_will_have(house: Household) -> None:
    change = int((datetime(2021, 10, 31, 1, tzinfo=UTC) - house.meta.first) / HOUR)
    longer = continued(until(house, change - 20), 60, CLEANING)
    assert longer.meta.last == house.meta.first + (change + 39) * HOUR
    assert longer.features[:, CALENDAR].tobytes() == house.features[: change + 40, CALENDAR].tobytes()
    assert not longer.observed[change - 20 :].any()
    assert longer.kwh[: change - 20].tobytes() == house.kwh[: change - 20].tobytes()


def test_a_gap_before_the_forecast_is_filled_as_the_etl_fills_it(house: Household) -> None:
    row, gap = 1500, 6
    kwh = np.where(house.observed, house.kwh, np.nan).astype(np.float64)
    kwh[row : row + gap] = np.nan
    with_gap = cleaned(kwh)
    kwh[row:] = np.nan
    ended = until(cleaned(np.concatenate([kwh[:row], [0.3]])), row)
    meta = replace(with_gap.meta, rows=row, last=ended.meta.last)
    ended = Household(meta, with_gap.features[:row], with_gap.kwh[:row], with_gap.observed[:row])
    at = house.meta.first + (row + gap) * HOUR
    wanted, found = (forecast(each, trained(), WINDOWS, CLEANING, at) for each in (with_gap, ended))
    assert found.filled_slots == wanted.filled_slots >= gap
    assert found.forecast_kwh == pytest.approx(wanted.forecast_kwh, abs=1e-6)
    assert continued(ended, gap, CLEANING).kwh[row:] == pytest.approx(with_gap.kwh[row : row + gap], abs=1e-7)


@pytest.mark.parametrize(
    ("row", "minutes", "words"),
    [
        (-5, 0, "0 slots of readings before the forecast, the model needs 168"),
        (167, 0, "167 slots of readings before the forecast, the model needs 168"),
        (
            WEEKS * 168 + 9,
            0,
            "nothing was measured in the 9 slots before the forecast; the last reading before it ends",
        ),
        (1_000_000, 0, "nothing was measured"),
        (700, 30, "is not the start of a slot of 60 min"),
    ],
)
def test_what_cannot_be_forecast_is_said_in_words(house: Household, row: int, minutes: int, words: str) -> None:
    at = house.meta.first + row * HOUR + timedelta(minutes=minutes)
    with pytest.raises(NoForecastError, match=words):
        forecast(house, trained(), WINDOWS, CLEANING, at)


def test_the_last_slot_with_a_measured_one_before_it_can_be_forecast(house: Household) -> None:
    at = house.meta.first + (WEEKS * 168 + 8) * HOUR
    assert forecast(house, trained(), WINDOWS, CLEANING, at).filled_slots >= 8
    assert forecast(house, trained(), WINDOWS, CLEANING, house.meta.first + 168 * HOUR).forecast_kwh.shape == (30,)
