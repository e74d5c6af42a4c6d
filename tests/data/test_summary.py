"""A table's summary says the same as the table; DuckDB is the witness."""

from collections import Counter
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
from neurogrid.data.household import METADATA_KEY, SCHEMA, HouseholdMeta
from neurogrid.data.local_time import local_minutes
from neurogrid.data.summary import MONDAY, local_hour, read_load, read_summary, summary

ZONE = "Europe/Zurich"


def table_of(first: datetime, cadence_minutes: int, rows: int, seed: int) -> tuple[pa.Table, HouseholdMeta]:
    random = np.random.default_rng(seed)
    step = timedelta(minutes=cadence_minutes)
    meta = HouseholdMeta(
        household_id="7",
        weather_id="8jB",
        cadence_minutes=cadence_minutes,
        first=first,
        last=first + (rows - 1) * step,
        rows=rows,
        observed=0,
        train_end=first,
        validation_end=first,
        scales={},
        surge_threshold_kwh=1.0,
    )
    slot = round(first.timestamp()) // 60 // cadence_minutes
    columns = dict(
        zip(
            ("hour_sin", "hour_cos", "dow_sin", "dow_cos", "is_weekend"),
            calendar(local_minutes(slot, rows, cadence_minutes, ZONE), cadence_minutes),
            strict=True,
        )
    )
    columns |= {
        "Timestamp": pa.array([first + i * step for i in range(rows)], SCHEMA.field("Timestamp").type),
        "kWh": pa.array(random.random(rows).astype(np.float32)),
        "load_tier": pa.array((random.random(rows) < 0.2).astype(np.uint8) * 2),
        "weather_tier": pa.array((random.random(rows) < 0.4).astype(np.uint8)),
    }
    return pa.table(columns), meta


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 3000),
    st.sampled_from((5, 15, 30, 60, 120)),
    st.integers(1, 3000),
    st.integers(0, 9),
)
def test_every_slot_is_counted_in_its_week_once(start: int, cadence: int, rows: int, seed: int) -> None:
    first = datetime(2023, 2, 25, tzinfo=UTC) + start * timedelta(minutes=cadence)
    table, meta = table_of(first, cadence, rows, seed)
    found = summary(table, meta)
    weeks = [(moment - MONDAY) // timedelta(weeks=1) for moment in table["Timestamp"].to_pylist()]
    every = range(weeks[0], weeks[-1] + 1)
    assert found.first_week == weeks[0]
    assert found.slots.tolist() == [weeks.count(week) for week in every]
    for counts, name in ((found.measured, "load_tier"), (found.weather, "weather_tier")):
        there = Counter(week for week, tier in zip(weeks, table[name].to_pylist(), strict=True) if tier == 0)
        assert counts.tolist() == [there[week] for week in every]


def test_a_usual_day_is_what_duckdb_says_of_the_file_in_local_time(tmp_path: Path) -> None:
    # Clocks go forward on 26 March 2023, in the middle of this.
    table, meta = table_of(datetime(2023, 3, 1, 7, 15, tzinfo=UTC), 15, 5000, 1)
    path = tmp_path / "table.parquet"
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: meta.to_json().encode()}), path)
    found = read_summary(fs.LocalFileSystem(), str(path))
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
    table, meta = table_of(datetime(2023, 7, 1, 10, tzinfo=UTC), 60, 3, 1)
    found = summary(table, meta)
    assert np.isnan(found.kw_by_hour).sum() >= 21
