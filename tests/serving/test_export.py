"""An exported folder is enough: other runtimes get the same forecasts from it, by what its own README says."""

import hashlib
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from exported_model import WINDOWS, drawn, exported, files, write_model
from safetensors.numpy import load_file

import neurogrid
from neurogrid.errors import RunError
from neurogrid.serving import onnx_model
from neurogrid.serving.export import write
from neurogrid.storage import Place, place


@pytest.mark.parametrize(("name", "known_future"), [("city_lstm", True), ("linear", True), ("linear", False)])
def test_onnx_gives_what_torch_gives_for_any_number_of_windows(
    name: str, known_future: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    windows = replace(WINDOWS, known_future=known_future)
    model = drawn(windows, name)
    content = files(name, windows)["model.onnx"]
    assert capfd.readouterr() == ("", ""), "the exporter has nothing to say to a terminal"
    assert onnx_model.refuse_unlike(content, model)
    assert str(Path(torch.__file__).parent).encode() not in content, "nothing of this machine is in the file"
    session = onnxruntime.InferenceSession(content)
    random = np.random.default_rng(0)
    for count in (1, 2, 3, 200):
        history = random.normal(size=(count, 10, windows.features)).astype(np.float32)
        known = random.normal(size=(count, 3, windows.known)).astype(np.float32)
        with torch.inference_mode():
            wanted = model(torch.from_numpy(history), torch.from_numpy(known))
        found = session.run(["forecast", "surge_logits"], {"history": history, "known": known})
        for one, other in zip(found, wanted, strict=True):
            assert np.abs(one - other.numpy()).max() <= 1e-5


def test_the_same_run_gives_the_same_files_whose_hashes_the_folder_says() -> None:
    first, second = files("linear"), exported(drawn(name="linear")).files
    assert first == second
    about = json.loads(first["neurogrid.json"])
    assert list(first)[-1] == "neurogrid.json"
    assert about["files"] == {
        name: hashlib.sha256(first[name]).hexdigest() for name in first if name != "neurogrid.json"
    }


def test_an_onnx_model_that_forecasts_something_else_is_refused() -> None:
    content, other = files("linear")["model.onnx"], drawn(name="linear")
    next(other.parameters()).data.add_(0.01)
    with pytest.raises(RunError, match="forecasts something else"):
        onnx_model.refuse_unlike(content, other)


def test_a_folder_that_cannot_be_written_is_left_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Place.write

    def full(self: Place, content: bytes) -> None:
        if self.name == "README.md":
            raise OSError(28, "No space left on device")
        whole(self, content)

    monkeypatch.setattr(Place, "write", full)
    with pytest.raises(OSError, match="No space"):
        write(place(str(tmp_path / "model")), files("linear"))
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize("levels", [(), (0.1, 0.5, 0.75, 0.9)])
def test_whoever_follows_the_folders_readme_gets_the_forecasts_of_neurogrid(
    tmp_path: Path, levels: tuple[float, ...]
) -> None:
    """Written from README.md alone, with plain loops: hourly readings of ten weeks without gaps or weather."""
    name = "linear" if levels else "city_lstm"
    folder = write_model(tmp_path / "model", name, replace(WINDOWS, quantiles=levels))
    begin, weeks = datetime(2021, 9, 1, tzinfo=UTC), 10
    kwh = np.random.default_rng(3).gamma(2, 0.3, weeks * 168).round(3)
    times = [begin + timedelta(hours=n) for n in range(len(kwh))]
    found = neurogrid.load(folder).forecast(pd.Series(kwh, pd.DatetimeIndex(times)))

    said = json.loads((folder / "neurogrid.json").read_text())
    training = kwh[: int(len(kwh) * said["cleaning"]["settings"]["train_share"])]
    mean, std = training.mean(), training.std()
    threshold = np.quantile(training, said["cleaning"]["settings"]["surge_percentile"] / 100)
    zone = ZoneInfo(said["cleaning"]["timezone"])

    def calendar(at: datetime) -> list[float]:
        local = at.astimezone(zone)
        hour = 2 * math.pi * (local.hour + local.minute / 60) / 24
        day = 2 * math.pi * local.weekday() / 7
        return [math.sin(hour), math.cos(hour), math.sin(day), math.cos(day), float(local.weekday() >= 5)]

    def scaled(value: float) -> float:
        return float((value - mean) / std)

    usual = []
    history = [[scaled(kwh[n]), *calendar(times[n]), 0, 0, 0, 1, 0] for n in range(len(kwh) - 10, len(kwh))]
    known, base, share = [], [], []
    for n in range(len(kwh), len(kwh) + 3):
        days = np.array([kwh[n - 24 * back] for back in range(1, 29)])
        share.append(float((days > threshold).mean()))
        base.append(float(np.median(days)))
        profile = [scaled(base[-1]), scaled(days.mean()), scaled(np.median(days[:7])), share[-1]]
        lags = [scaled(kwh[n - 24]), scaled(kwh[n - 168])]
        usual.append([scaled(np.quantile(days, level)) for level in levels])
        known.append([*calendar(begin + timedelta(hours=n)), *lags, *profile, *usual[-1], scaled(threshold)])
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    inputs = {"history": np.array([history], np.float32), "known": np.array([known], np.float32)}
    forecast, logits = session.run(None, inputs)
    if levels:
        raw, forecast = forecast[0], forecast[..., 0]
        for slot, row in enumerate(raw.tolist()):
            steps = []
            for step, narrow in zip(row[1:], np.diff(usual[slot]), strict=True):
                wide = narrow + 0.01
                steps.append(math.log(1 + math.exp(step + wide + math.log(1 - math.exp(-wide)))))
            scale = [row[0] - steps[0], row[0], row[0] + steps[1], row[0] + steps[1] + steps[2]]
            wanted = [max(base[slot] + std * each, 0) for each in scale]
            columns = ["quantile_0.1_kwh", "quantile_0.5_kwh", "quantile_0.75_kwh", "quantile_0.9_kwh"]
            assert found[columns].to_numpy()[slot] == pytest.approx(wanted, abs=1e-5)
    assert found.forecast_kwh.to_numpy() == pytest.approx(base + std * forecast[0], abs=1e-5)
    surge_base = [math.log((part + 1 / 56) / (1 - part + 1 / 56)) for part in share]
    chance = [1 / (1 + math.exp(-(one + two))) for one, two in zip(surge_base, logits[0], strict=False)]
    assert found.surge_probability.to_numpy() == pytest.approx(chance, abs=1e-5)
    assert set(load_file(folder / "weights.safetensors")) == set(drawn(name=name).state_dict())
