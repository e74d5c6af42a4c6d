"""A forecast is what an evaluation would have scored, and nothing of it comes from a reading at or after its start."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_households import DAY, make_household

from neurogrid.config import load
from neurogrid.data.clean import EtlSettings, clean_household
from neurogrid.data.cleaning import Cleaning
from neurogrid.data.continued import continued
from neurogrid.data.faults import FaultLog
from neurogrid.data.folder import MeterFile
from neurogrid.data.grid import Grid
from neurogrid.data.household import FEATURES, Household, household_from
from neurogrid.data.clean import parquet_bytes
from neurogrid.data.weather import NO_STATION
from neurogrid.storage import place
from neurogrid.workloads.meters.agent import model_shape
from neurogrid.workloads.meters.forecast import NoForecastError, forecast, run
from neurogrid.workloads.meters.models import Forecaster, ModelSettings, build
from neurogrid.workloads.meters.windows import WindowSettings, build_shard, gather, reach_slots, window_origins

WINDOWS = WindowSettings(history_slots=9, horizon_slots=5, known_future=True, residual=True)
CLEANING = Cleaning("Europe/Berlin", EtlSettings(**load("etl: {cadence_minutes: 60}").etl.model_dump()))
ZURICH_CHANGES = 24 * 31 * 24  # hours from 2021-10-01; clocks go back within the first weeks


def trained(windows: WindowSettings = WINDOWS, name: str = "city_lstm") -> Forecaster:
    """A model whose last layers are not zero, so that all of a window tells."""
    model = build(ModelSettings(name, 8, 1, 4), model_shape(windows), seed=3)
    random = np.random.default_rng(5)
    for parameter in model.parameters():
        parameter.data.copy_(type(parameter.data)(random.normal(0, 0.3, parameter.shape).astype(np.float32)))
    return model


def cleaned(hours: int, *, gaps: float = 0.02) -> Household:
    """A household of hourly slots as the ETL makes its table; its time goes over a change of clocks."""
    random = np.random.default_rng(hours)
    kwh = random.gamma(2, 0.2, hours)
    kwh[random.random(hours) < gaps] = np.nan
    kwh[[0, -1]] = 0.3
    first = (18_901 * 24) - 10  # 2021-10-01, ten hours before
    file = MeterFile("house", "none", place("house.csv"), 0)
    made = clean_household(file, Grid(first, 60, kwh, 0.0), NO_STATION, CLEANING.timezone, 60, CLEANING.settings)
    return household_from_bytes(parquet_bytes(made, "none"))
