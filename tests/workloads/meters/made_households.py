"""Made-up households with a daily habit, surges and gaps, in memory and as the warehouse's files."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.data.household import (
    FEATURES,
    FIRST_TABLE,
    METADATA_KEY,
    OBSERVED,
    SCHEMA,
    ZERO,
    Household,
    HouseholdMeta,
    Scale,
    household_path,
)
from neurogrid.data.manifest import Agent, Part

DAY = 12  # slots of two hours


def make_household(number: int, days: int = 90, *, quiet: bool = False) -> Household:
    random = np.random.default_rng(number)
    rows = days * DAY
    slot = np.arange(rows) % DAY
    habit = 0.3 + 0.25 * np.sin(2 * np.pi * (slot - random.integers(DAY)) / DAY)
    kwh = np.maximum(habit + 0.1 * random.normal(size=rows) + (random.random(rows) < 0.05) * 0.8, 0).astype(np.float32)
    train, validation = int(rows * 0.7), int(rows * 0.8)
    if quiet:
        kwh[random.random(rows) < 0.95] = 0
    observed = random.random(rows) > 0.01
    known = kwh[:train][observed[:train]]
    mean, std = float(known.mean()), float(known.std())
    features = np.zeros((rows, len(FEATURES)), np.float32)
    features[:, 0] = (kwh - mean) / std
    features[:, 1], features[:, 2] = np.sin(2 * np.pi * slot / DAY), np.cos(2 * np.pi * slot / DAY)
    features[:, 10] = ~observed
    first, step = datetime(2024, 1, 1, tzinfo=UTC), timedelta(hours=2)
    meta = HouseholdMeta(
        household_id=f"house{number}",
        weather_id="none",
        cadence_minutes=120,
        first=first,
        last=first + (rows - 1) * step,
        rows=rows,
        observed=int(observed.sum()),
        train_end=first + train * step,
        validation_end=first + validation * step,
        scales={FEATURES[0]: Scale(mean, std)},
        surge_threshold_kwh=float(np.quantile(known, 0.95)),
    )
    return Household(meta, features, kwh, observed)


def write(household: Household, root: Path) -> None:
    path = root / household_path("none", household.meta.household_id, FIRST_TABLE)
    path.parent.mkdir(parents=True)
    rows = household.meta.rows
    times = [household.meta.first + slot * timedelta(hours=2) for slot in range(rows)]
    columns = [
        pa.array(times, SCHEMA.field(0).type),
        *household.features.T,
        household.kwh,
        np.where(household.observed, OBSERVED, ZERO).astype(np.uint8),
        np.full(rows, ZERO, np.uint8),
    ]
    schema = SCHEMA.with_metadata({METADATA_KEY: household.meta.to_json().encode()})
    pq.write_table(pa.table([pa.array(c) if isinstance(c, np.ndarray) else c for c in columns], schema=schema), path)


def fingerprints(root: Path) -> dict[str, str]:
    files = root.glob("meters/*/*/*.parquet")
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def agent(household: Household, agent_id: str) -> Agent:
    meta = household.meta
    parts = (Part(meta.household_id, "none"),)
    return Agent(agent_id, parts, 0, 0, meta.rows, meta.first, meta.train_end, meta.validation_end, meta.last)
