"""What a manifest is made of has the same bits on any processor: BLAS chooses how it sums by the processor."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neurogrid.data.household import OBSERVED
from neurogrid.data.profiles import _temperature_correlation

SCRIPT = """
import numpy as np
from test_same_bits import correlation
print(correlation(np.random.default_rng(5)).hex())
"""


def correlation(random: np.random.Generator) -> float:
    column = {name: random.gamma(2.0, 1.0, 5003) for name in ("kWh", "Temperature_avg_hourly")}
    return _temperature_correlation(
        {**column, "weather_tier": np.full(5003, OBSERVED, np.float64)}, np.ones(5003, np.bool_)
    )


def test_how_load_follows_temperature_is_numpys_correlation() -> None:
    random = np.random.default_rng(5)
    load, temperature = random.gamma(2.0, 1.0, 5003), random.gamma(2.0, 1.0, 5003)
    assert correlation(np.random.default_rng(5)) == pytest.approx(np.corrcoef(load, temperature)[0, 1], rel=1e-9)


def test_how_load_follows_temperature_has_the_same_bits_whatever_kernel_blas_takes() -> None:
    folder = str(Path(__file__).parent)
    said = set()
    for kernel in ("Prescott", "Haswell"):
        env = os.environ | {"OPENBLAS_CORETYPE": kernel, "PYTHONPATH": os.pathsep.join([folder, *sys.path])}
        said.add(subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, check=True).stdout)
    assert len(said) == 1
