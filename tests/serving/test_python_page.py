"""docs/python.md: its code runs as it stands, and its signatures are those of the code."""

import inspect
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from exported_model import write_model

import neurogrid
from neurogrid.config import load
from neurogrid.data.layouts.registry import SOURCES
from neurogrid.fl.registry import RULES
from neurogrid.serving.model import Model
from neurogrid.workloads.meters.models import ModelSettings, Shape
from neurogrid.workloads.meters.registry import MODELS

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_pages_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model", "linear")
    monkeypatch.chdir(tmp_path)
    energies = np.random.default_rng(2).gamma(2, 0.2, 60 * 24)
    index = pd.date_range("2024-01-01", periods=len(energies), freq="h", tz="UTC")
    names: dict[str, Any] = {"energies": energies, "readings": pd.Series(energies, index)}
    for code in CODE[:-1]:
        exec(compile(code, "docs/python.md", "exec"), names)
    assert names["forecast"].forecast_kwh.tolist() == names["same"].forecast_kwh.tolist()
    assert "does not say which moments" in capsys.readouterr().out


def test_the_page_has_the_signatures_of_the_code() -> None:
    for call in (Model.forecast, Model.score):
        shown = re.search(rf"^### `model\.{call.__name__}\((.*)\)`$", PAGE, re.MULTILINE)
        assert shown
        parameters = list(inspect.signature(call).parameters.values())[1:]
        plain = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
        assert shown[1] == str(inspect.Signature(plain))[1:-1]
    assert list(inspect.signature(neurogrid.load).parameters) == ["folder"]
    for name in re.findall(r"`model\.(\w+)`", PAGE):
        assert hasattr(Model, name) or name in ("about", "params", "name", "quantiles"), name


def test_the_pages_package_can_be_used_by_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from neurogrid import registry

    (toml,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    groups = tomllib.loads(toml)["project"]["entry-points"]
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in own.items()) for group, own in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "my_package.py").write_text(CODE[-1])
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._registered.cache_clear()
    try:
        config = load("{aggregation: {rule: middle}, model: {name: flat}, source: {kind: town}}")
        flat = MODELS.refuse_unusable(config.model.name).load()(ModelSettings("flat", 8, 1, 4), Shape(9, 11, 3, 12))
        forecast, surges = flat(torch.ones(2, 9, 11), torch.ones(2, 3, 12))
        assert (forecast.shape, surges.shape) == ((2, 3), (2, 4))
        assert callable(RULES.refuse_unusable("middle").load())
        assert SOURCES.refuse_unusable("town").load()[0].household == "meter"
    finally:
        monkeypatch.undo()
        registry._registered.cache_clear()
        sys.modules.pop("my_package", None)
