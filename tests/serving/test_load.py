"""`neurogrid.load`: what it promises to notebooks, and how it says what is wrong with readings or a folder."""

import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from exported_model import write_model
from safetensors.numpy import load_file, save_file

import neurogrid
from neurogrid.data.weather import VARIABLES
from neurogrid.errors import InputError
from neurogrid.serving.model import Model
from neurogrid.serving.readings import ReadingsWarning

BEGIN = datetime(2022, 3, 1, tzinfo=UTC)
ROWS = 70 * 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("exported") / "model", "linear")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return neurogrid.load(str(folder))


@pytest.fixture
def readings() -> pd.Series:
    kwh = np.random.default_rng(2).gamma(2, 0.2, ROWS).round(3)
    return pd.Series(kwh, pd.date_range(BEGIN, periods=ROWS, freq="h"), name="mine")


def test_to_import_neurogrid_loads_nothing_that_is_heavy() -> None:
    heavy = "{'torch', 'pandas', 'numpy', 'pyarrow', 'pyspark', 'pydantic'}"
    asked = f"import sys, neurogrid; neurogrid.load; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_series_a_frame_and_an_array_of_the_same_readings_get_the_same_forecast(
    model: Model, readings: pd.Series
) -> None:
    found = model.forecast(readings)
    columns = ["household_id", "start", "forecast_kwh", "surge_probability", "run", "model"]
    assert list(found.columns) == columns
    assert (len(found), set(found.household_id), set(found.run), set(found.model)) == (
        3,
        {"mine"},
        {"r1"},
        {"federated"},
    )
    assert [each.to_pydatetime() for each in found.start] == [BEGIN + timedelta(hours=ROWS + n) for n in range(3)]
    frame = model.forecast(pd.DataFrame({"a": readings, "b": readings * 2}))
    array = model.forecast(readings.to_numpy(), start=BEGIN)
    zurich = model.forecast(readings.tz_convert("Asia/Tokyo"))
    for other in (frame[frame.household_id == "a"], array, zurich):
        assert other.forecast_kwh.tolist() == found.forecast_kwh.tolist()
        assert other.start.tolist() == found.start.tolist()
    assert frame[frame.household_id == "b"].forecast_kwh.tolist() == pytest.approx(2 * found.forecast_kwh, rel=1e-4)
    assert model.forecast(readings, horizon=1).forecast_kwh.tolist() == found.forecast_kwh[:1].tolist()


def test_a_forecast_of_the_past_knows_nothing_of_what_came_after(model: Model, readings: pd.Series) -> None:
    at = BEGIN + timedelta(days=65)
    other = readings.copy()
    other[other.index >= at] = other[other.index >= at].to_numpy()[::-1]  # after the training part, so scales are alike
    assert model.forecast(readings, at=at).equals(model.forecast(other, at=at))
    assert model.forecast(readings, at=at).start[0].to_pydatetime() == at


def test_gaps_are_gaps_whether_rows_are_missing_or_have_no_number(model: Model, readings: pd.Series) -> None:
    gone = readings.copy()
    gone.iloc[[100, 800, 801, -3]] = np.nan
    assert model.forecast(gone).equals(model.forecast(gone.dropna()))
    assert model.forecast(gone.astype("Float64")).equals(model.forecast(gone))
    assert not model.forecast(gone).equals(model.forecast(readings))


def test_readings_of_another_step_become_slots_of_the_model(model: Model, readings: pd.Series) -> None:
    halves = pd.Series(np.repeat(readings.to_numpy() / 2, 2), pd.date_range(BEGIN, periods=2 * ROWS, freq="30min"))
    assert model.forecast(halves).forecast_kwh.tolist() == pytest.approx(
        model.forecast(readings).forecast_kwh, abs=1e-5
    )


def test_the_local_time_and_the_weather_are_those_that_are_given(model: Model, readings: pd.Series) -> None:
    usual = model.forecast(readings)
    assert not model.forecast(readings, timezone="America/New_York").equals(usual)
    assert model.forecast(readings, timezone="Europe/Berlin").equals(usual)
    hours = pd.date_range(BEGIN, periods=ROWS, freq="h")
    warm = pd.DataFrame({"Temperature_avg_hourly": np.random.default_rng(1).normal(9, 5, ROWS)}, hours)
    assert not model.forecast(readings, weather=warm).equals(usual)


def test_a_score_is_the_mean_error_of_forecasts_one_by_one(model: Model, readings: pd.Series) -> None:
    short = readings.iloc[:480]
    (row,) = model.score(short).to_dict("records")
    kwh, errors, usual = short.to_numpy(), [], []
    for n in range(int(len(kwh) * 0.8), len(kwh) - 2):
        found = model.forecast(short, at=BEGIN + timedelta(hours=n)).forecast_kwh.to_numpy()
        errors.append(found - kwh[n : n + 3])
        usual.append([np.median(kwh[n + k - 24 :: -24][:28]) for k in range(3)] - kwh[n : n + 3])
    assert row["windows"] == len(errors) == 94
    assert row["mae_kwh"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    assert row["rmse_kwh"] == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-5)
    assert row["bias_kwh"] == pytest.approx(np.mean(errors), abs=1e-6)
    assert row["median_28_days_mae_kwh"] == pytest.approx(np.abs(usual).mean(), rel=1e-5)
    assert row["below_median_percent"] == pytest.approx(100 * (1 - row["mae_kwh"] / row["median_28_days_mae_kwh"]))


WRONG: list[tuple[str, Callable[[pd.Series], Any], str]] = [
    ("no zone", lambda s: s.tz_localize(None), "does not say which moments"),
    ("no times", lambda s: s.reset_index(drop=True), "has no times"),
    ("not sorted", lambda s: s.iloc[::-1], "is not sorted"),
    ("a time twice", lambda s: pd.concat([s.iloc[:2], s.iloc[1:]]), "has a time twice"),
    ("below zero", lambda s: s - 0.5, "values that no slot can have"),
    ("infinite", lambda s: s.where(s.index != s.index[9], np.inf), "1 infinite"),
    ("words", lambda s: s.astype(str) + " kWh", "are not all numbers"),
    ("nothing", lambda s: s * np.nan, "one number a slot is needed"),
    ("empty", lambda s: s.iloc[:0], "one number a slot is needed"),
    ("one", lambda s: s.iloc[:1], "one reading is too few"),
    ("few", lambda s: s.iloc[:100], "100 slots of readings before the forecast, the model needs 168"),
    ("Wh", lambda s: s * 1e6, "is the unit kWh a slot"),
    ("a register", lambda s: s.cumsum(), "register"),
    ("a wrong year", lambda s: pd.concat([s, s.iloc[:9].shift(freq="1500D")]), "longer gap than allowed"),
    ("seven minutes", lambda s: s.set_axis(pd.date_range(BEGIN, periods=len(s), freq="7min")), "7 minutes apart"),
    ("no index", lambda s: s.to_numpy(), "need the start of their first slot"),
    ("a table", lambda s: s.to_numpy().reshape(-1, 2), "need the start"),
    ("None", lambda s: None, "need the start"),
    ("Wh", lambda s: s * 1000, "give kWh a slot"),
    ("seconds", lambda s: s.set_axis(pd.date_range(BEGIN, periods=len(s), freq="10s")), "less than a minute apart"),
    ("beside slots", lambda s: s.set_axis(s.index + pd.Timedelta("14s")), "round the times"),
    ("yes and no", lambda s: s > 0.3, "not all numbers"),
    ("no columns", lambda s: pd.DataFrame(index=s.index), "has no columns"),
    ("1 and '1'", lambda s: pd.DataFrame({1: s, "1": s}), "two columns of the same name"),
    ("too short", lambda s: s[:167], "the model needs 168"),
]


@pytest.mark.parametrize(("spoil", "words"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
def test_readings_that_cannot_be_used_are_refused_in_words(
    model: Model, readings: pd.Series, spoil: Callable[[pd.Series], Any], words: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadingsWarning)
        with pytest.raises(InputError) as refused:
            model.forecast(spoil(readings))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"at": datetime(2022, 5, 1)}, "at has no offset"),
        ({"at": datetime(2035, 5, 1, tzinfo=UTC)}, "nothing was measured in the 10 slots"),
        ({"at": datetime(2022, 5, 1, 0, 30, tzinfo=UTC)}, "not the start of a slot"),
        ({"at": "2022-05-01T00:00Z"}, "at is no datetime"),
        ({"at": pd.NaT}, "at is no datetime"),
        ({"at": datetime.max.replace(tzinfo=UTC)}, "would begin in the year 9999"),
        ({"at": datetime(1900, 1, 1, tzinfo=UTC)}, "0 slots of readings before the forecast"),
        ({"horizon": 2.5}, "horizon has to be from 1 to 3"),
        ({"horizon": "3"}, "horizon has to be from 1 to 3"),
        ({"timezone": 1}, "timezone has to be a name"),
        ({"weather": pd.DataFrame({VARIABLES[0]: ["mild"]}, pd.DatetimeIndex([BEGIN]))}, "not one column of numbers"),
        ({"horizon": 4}, "horizon has to be from 1 to 3"),
        ({"horizon": 0}, "horizon has to be from 1 to 3"),
        ({"start": BEGIN}, "start is for readings without an index"),
        ({"timezone": "Mars/Olympus"}, "there is no time zone"),
        ({"timezone": "../etc/passwd"}, "there is no time zone"),
        ({"weather": [1, 2]}, "weather has to be a DataFrame"),
        ({"weather": pd.DataFrame({"rain": [1.0]}, pd.DatetimeIndex([BEGIN]))}, "columns that the model does not know"),
    ],
)
def test_arguments_that_cannot_be_are_refused_in_words(
    model: Model, readings: pd.Series, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as refused:
        model.forecast(readings, **arguments)
    assert words in str(refused.value)


def test_readings_that_are_possible_and_doubtful_are_used_with_a_warning(model: Model, readings: pd.Series) -> None:
    with pytest.warns(ReadingsWarning, match="uses .* kW on average: a large building, or another unit"):
        model.forecast(readings * 100)


def test_a_score_needs_readings_to_test_on(model: Model, readings: pd.Series) -> None:
    with pytest.raises(InputError, match="too few to hold a forecast against"):
        model.score(readings.iloc[:170])


def changed(folder: Path, copy: Path, **others: Any) -> Path:
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    about = json.loads((folder / "neurogrid.json").read_text())
    (copy / "neurogrid.json").write_text(json.dumps({**about, **others}))
    return copy


def settings(about: dict[str, Any], **others: Any) -> dict[str, Any]:
    cleaning = about["cleaning"]
    return {"cleaning": {**cleaning, "settings": {**cleaning["settings"], **others}}}


def quantiles(about: dict[str, Any], *levels: float) -> dict[str, Any]:
    known = [*about["known"][:-1], *(f"quantile_{level:g}_28_days" for level in levels), about["known"][-1]]
    return {"windows": {**about["windows"], "quantiles": levels}, "known": known}


def test_sizes_that_weights_do_not_have_take_no_memory_and_a_huge_file_is_not_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = json.loads((folder / "neurogrid.json").read_text())
    monkeypatch.setattr("neurogrid.serving.folder.build", lambda *_, **__: pytest.fail("was built"))
    with pytest.raises(InputError, match="holds another model"):
        neurogrid.load(changed(folder, tmp_path / "a", model={**about["model"], "name": "city_lstm"}))
    for name, size in (("neurogrid.json", 2 << 20), ("weights.safetensors", 5 << 30)):
        copy = changed(folder, tmp_path / name)
        with (copy / name).open("wb") as file:
            file.truncate(size)  # of holes, so it takes no disk
        with pytest.raises(InputError, match=f"has {size:,} bytes"):
            neurogrid.load(copy)


def test_a_folder_that_is_no_model_or_was_changed_is_refused_in_words(folder: Path, tmp_path: Path) -> None:
    about = json.loads((folder / "neurogrid.json").read_text())
    cases = {
        "format 2": {"format": 2},
        "hidden is 0": {"model": {**about["model"], "hidden": 0}},
        "hidden is 100000000": {"model": {**about["model"], "hidden": 10**8}},
        "there is no model nobody": {"model": {**about["model"], "name": "nobody"}},
        "holds another model": {"model": {**about["model"], "name": "city_lstm"}},
        "cadence_minutes is 7": {"cadence_minutes": 7},
        "there is no time zone": {"cleaning": {**about["cleaning"], "timezone": "/etc"}},
        "weights.safetensors holds": {"model": {**about["model"], "name": "city_lstm", "hidden": 100_000}},
        "layers is 100000": {"model": {**about["model"], "layers": 100_000}},
        "features or known are not those": {"features": about["features"][::-1]},
        "has no setting wide": {"model": {**about["model"], "params": {"wide": 1}}},
        "should contain 0.5": quantiles(about, 0.1, 0.9),
        "run is no run's name": {"run": "\x1b[31m"},
        "train_share and validation_share cannot be": settings(about, train_share=-1.0),
        "max_power_kw cannot be": settings(about, max_power_kw=float("nan")),
        "windows.history_slots": {"windows": {**about["windows"], "history_slots": "10"}},
        "is not the file that neurogrid.json names": {"files": {}},
    }
    for number, (words, others) in enumerate(cases.items()):
        with pytest.raises(InputError) as refused:
            neurogrid.load(changed(folder, tmp_path / str(number), **others))
        assert words in str(refused.value)
    for content in ("[" * 100_000, "[]", "\x00"):
        (tmp_path / "0" / "neurogrid.json").write_text(content)
        with pytest.raises(InputError, match="cannot be used"):
            neurogrid.load(tmp_path / "0")
    with pytest.raises(InputError, match=r"is no exported model: it has no neurogrid.json"):
        neurogrid.load(tmp_path / "nothing")
    (tmp_path / "1" / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"it has no weights.safetensors"):
        neurogrid.load(changed(tmp_path / "1", tmp_path / "a", model=about["model"]))


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [(np.nan, np.float32, "not finite"), (1e300, np.float64, "not of 32-bit floating point")],
)
def test_weights_that_are_not_finite_or_of_another_type_are_refused(
    folder: Path, tmp_path: Path, value: float, kind: type, words: str
) -> None:
    tensors = load_file(folder / "weights.safetensors")
    tensors["forecast.bias"] = np.full(tensors["forecast.bias"].shape, value, kind)
    copy = changed(folder, tmp_path / "copy")
    save_file(tensors, copy / "weights.safetensors")
    about = json.loads((copy / "neurogrid.json").read_text())
    about["files"]["weights.safetensors"] = hashlib.sha256((copy / "weights.safetensors").read_bytes()).hexdigest()
    (copy / "neurogrid.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=words):
        neurogrid.load(copy)
