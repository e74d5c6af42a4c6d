"""A household's summary says the same as its table; DuckDB is the witness."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs

from neurogrid.data.features import calendar
from neurogrid.data.grid import Grid
from neurogrid.data.household import METADATA_KEY, SCHEMA, HouseholdMeta
from neurogrid.data.local_time import local_minutes
from neurogrid.data.summary import MONDAY, Summary, local_hour, read_load, summary

ZONE = "Europe/Zurich"


@dataclass(frozen=True)
class Made:
    """Slots with gaps, as a table of them would have them."""

    slots: Grid
    local: np.ndarray
    measured: np.ndarray
    weather: np.ndarray

    @property
    def summary(self) -> Summary:
        return summary(self.slots, self.local, self.measured, self.weather)


def made(first: datetime, cadence_minutes: int, rows: int, seed: int) -> Made:
    random = np.random.default_rng(seed)
    slots = Grid(round(first.timestamp()) // 60 // cadence_minutes, cadence_minutes, random.random(rows), 0.0)
    local = local_minutes(slots.first, rows, cadence_minutes, ZONE)
    return Made(slots, local, random.random(rows) >= 0.2, random.random(rows) >= 0.4)


def write_table(path: Path, made: Made) -> None:
    first = datetime.fromtimestamp(made.slots.first * made.slots.cadence_minutes * 60, UTC)
    meta = HouseholdMeta(
        household_id="7",
        weather_id="8jB",
        cadence_minutes=made.slots.cadence_minutes,
        first=first,
        last=first,
        rows=len(made.local),
        observed=0,
        train_end=first,
        validation_end=first,
        scales={},
        surge_threshold_kwh=1.0,
    )
    table = pa.table(
        {
            "Timestamp": pa.array(made.slots.starts_us).cast(SCHEMA.field("Timestamp").type),
            "kWh": pa.array(made.slots.kwh.astype(np.float32)),
            "load_tier": pa.array((~made.measured).astype(np.uint8) * 2),
        }
    )
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: meta.to_json().encode()}), path)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 3000),
    st.sampled_from((5, 15, 30, 60, 120)),
    st.integers(1, 3000),
    st.integers(0, 9),
)
def test_every_slot_is_counted_in_its_week_once(start: int, cadence: int, rows: int, seed: int) -> None:
    first = datetime(2023, 2, 25, tzinfo=UTC) + start * timedelta(minutes=cadence)
    household = made(first, cadence, rows, seed)
    found = household.summary
    weeks = [(first + i * timedelta(minutes=cadence) - MONDAY) // timedelta(weeks=1) for i in range(rows)]
    every = range(weeks[0], weeks[-1] + 1)
    assert found.first_week == weeks[0]
    assert list(found.week_slots) == [weeks.count(week) for week in every]
    for counts, there in ((found.week_measured, household.measured), (found.week_weather, household.weather)):
        expected = Counter(week for week, own in zip(weeks, there.tolist(), strict=True) if own)
        assert list(counts) == [expected[week] for week in every]


def test_a_summary_is_the_same_after_json() -> None:
    found = made(datetime(2023, 7, 1, 10, tzinfo=UTC), 60, 400, 1).summary
    assert Summary.from_plain(json.loads(json.dumps(vars(found) | {"rows": 400}))) == found


def test_a_usual_day_is_what_duckdb_says_of_the_table_in_local_time(tmp_path: Path) -> None:
    # Clocks go forward on 26 March 2023, in the middle of this.
    household = made(datetime(2023, 3, 1, 7, 15, tzinfo=UTC), 15, 5000, 1)
    path = tmp_path / "table.parquet"
    write_table(path, household)
    found = household.summary
    rows = duckdb.sql(
        f"SELECT hour(\"Timestamp\" AT TIME ZONE '{ZONE}') AS h, 4 * avg(kWh) FROM '{path}' "
        "WHERE load_tier = 0 GROUP BY h ORDER BY h"
    ).fetchall()
    assert [hour for hour, _ in rows] == list(range(24))
    assert found.kw_by_hour == pytest.approx([kw for _, kw in rows], rel=1e-6)
    load = read_load(fs.LocalFileSystem(), str(path))
    assert load.kwh[load.measured].sum(dtype=float) == pytest.approx(
        duckdb.sql(f"SELECT sum(kWh::DOUBLE) FROM '{path}' WHERE load_tier = 0").fetchall()[0][0]
    )


@pytest.mark.parametrize("cadence", [1, 5, 15, 30, 60])
def test_the_hour_is_read_off_the_calendar_features_of_every_slot_of_a_day(cadence: int) -> None:
    minutes = np.arange(0, 1440, cadence)
    hour_sin, hour_cos, *_ = calendar(minutes, cadence)
    assert local_hour(hour_sin.to_numpy(), hour_cos.to_numpy()).tolist() == (minutes // 60).tolist()


def test_an_hour_without_a_measured_slot_has_no_mean() -> None:
    found = made(datetime(2023, 7, 1, 10, tzinfo=UTC), 60, 3, 1).summary
    assert found.kw_by_hour.count(None) >= 21
