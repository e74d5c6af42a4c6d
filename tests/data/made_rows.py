"""Rows of a meter's file, made for tests, and what becomes of them."""

import numpy as np

from neurogrid.data.energies import Labelled, Readings, energies
from neurogrid.data.faults import FaultLog
from neurogrid.data.grid import MINUTE_US, to_grid
from neurogrid.data.series import Treatment

START = 1_370_044_800_000_000  # 2013-06-01T00:00Z
TREATMENT = Treatment(200.0, "refuse", "refuse", "spread", "use")


def labelled(labels: np.ndarray, kwh: np.ndarray, ends: bool = True, minutes: int = 30, clocks: str = "") -> Labelled:
    kwh = np.asarray(kwh, float)
    line = np.arange(2, len(kwh) + 2, dtype=np.int32)
    estimated = np.zeros(len(kwh), bool)
    return Labelled(np.asarray(labels, np.int64), kwh, np.isnan(kwh), estimated, line, ends, minutes, clocks, len(kwh))


def every(minutes: int, count: int, start: int = START) -> np.ndarray:
    return start + np.arange(1, count + 1, dtype=np.int64) * minutes * MINUTE_US


def values(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2, 0.2, count).round(3)


def found(data: Labelled, treatment: Treatment = TREATMENT) -> tuple[Readings, FaultLog]:
    faults = FaultLog(5)
    return energies(data, treatment, faults), faults


def on_grid(readings: Readings) -> tuple[int, np.ndarray]:
    grid = to_grid(readings.table, readings.cadence_minutes, 400, faults := FaultLog(5))
    assert not faults.counts
    return int(grid.starts_us[0]), grid.kwh
