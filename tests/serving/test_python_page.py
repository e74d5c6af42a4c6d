"""docs/python.md: its notebook's code runs as it stands, and its signatures are those of the code.

Its packages are installed and used in tests/cli/test_plugins.py.
"""

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from exported_model import write_model

import neurogrid
from neurogrid.serving.model import Model

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
NOTEBOOK, _ = PAGE.split("\n## Rules, models, sources and backends of your own\n")
CODE = re.findall(r"^```python\n(.*?)^```$", NOTEBOOK, re.MULTILINE | re.DOTALL)


def test_the_pages_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model", "linear")
    monkeypatch.chdir(tmp_path)
    energies = np.random.default_rng(2).gamma(2, 0.2, 60 * 24)
    index = pd.date_range("2024-01-01", periods=len(energies), freq="h", tz="UTC")
    names: dict[str, Any] = {"energies": energies, "readings": pd.Series(energies, index)}
    for code in CODE:
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
        assert hasattr(Model, name) or name in ("about", "params", "name"), name
