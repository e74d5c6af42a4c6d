"""A warehouse as an ETL leaves it, for the tests of the data-quality page: tables, report, listed faults."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.data.grid import Grid
from neurogrid.data.household import FIRST_TABLE, METADATA_KEY, SCHEMA, HouseholdMeta, household_path
from neurogrid.data.summary import Summary, summary
from neurogrid.storage import Place, place

FIRST = datetime(2023, 5, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOSTILE = "<script>alert(1)</script>"
FAULTS = [
    ("1001", "1001.csv", "bad_number", 17, f"kWh = '{HOSTILE}'"),
    ("1002", "1002.csv", "bad_number", 3, "kWh = 'n/a'"),
    ("1002", "1002.csv", "duplicate", 4, "2023-05-03\x00T07:00Z, 0.1 kWh"),
    ("1009", "1009.csv", "unreadable_file", None, "not a text file"),
    ("77", "", "no_file", None, "77.csv"),
    ("", "households.csv", "broken_row", 5, "3 cells for 4"),
    ("", "8jB", "bad_number", 9, "Humidity = 'wet'"),
]


@dataclass(frozen=True)
class Made:
    """One household to make: hours that it has from `starts` on, and those of them without a reading or weather."""

    household_id: str
    weather_id: str = "8jB"
    starts: int = 0
    hours: int = 60 * 24
    gaps: tuple[tuple[int, int], ...] = ()
    no_weather: tuple[tuple[int, int], ...] = ()


HOUSEHOLDS = (
    Made("1001", gaps=((300, 700), (900, 930)), no_weather=((100, 400),)),
    Made("1002", starts=200, hours=900, gaps=((0, 2),)),
    Made("1003", "none", no_weather=((0, 60 * 24),)),
    Made("1004", "Hg", gaps=((5, 6),)),
)


def made_warehouse(folder: Path, households: tuple[Made, ...] = HOUSEHOLDS, **report: Any) -> Place:
    """Writes it; `report` replaces values of quality/report.json."""
    rows = [_write_table(folder, number, each) for number, each in enumerate(households)]
    names = ("household_id", "weather_id", "rows", "observed", *Summary.__dataclass_fields__)
    index = [{name: row[name] for name in names} for row in rows]
    pq.write_table(pa.Table.from_pylist(index), folder / "households.parquet")
    (folder / "quality").mkdir()
    names = ("household_id", "file", "kind", "line", "text")
    pq.write_table(
        pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in FAULTS]),
        folder / "quality" / "faults.parquet",
    )
    (folder / "quality" / "report.json").write_text(json.dumps(_report(rows) | report))
    return place(str(folder))


def _write_table(folder: Path, number: int, made: Made) -> Mapping[str, Any]:
    random = np.random.default_rng(number)
    first = FIRST + made.starts * HOUR
    load, weather = np.zeros(made.hours, np.uint8), np.zeros(made.hours, np.uint8)
    for start, stop in made.gaps:
        load[start:stop] = 1
    for start, stop in made.no_weather:
        weather[start:stop] = 2
    meta = HouseholdMeta(
        household_id=made.household_id,
        weather_id=made.weather_id,
        cadence_minutes=60,
        first=first,
        last=first + (made.hours - 1) * HOUR,
        rows=made.hours,
        observed=int((load == 0).sum()),
        train_end=first,
        validation_end=first,
        scales={},
        surge_threshold_kwh=1.0,
    )
    minutes = round(first.timestamp()) // 60 + 60 * np.arange(made.hours)
    kwh = 0.2 + random.random(made.hours)
    own = summary(Grid(int(minutes[0]) // 60, 60, kwh, 0.0), minutes, load == 0, weather == 0)
    table = pa.table(
        {
            "Timestamp": pa.array([first + i * HOUR for i in range(made.hours)], SCHEMA.field("Timestamp").type),
            "kWh": pa.array(kwh.astype(np.float32)),
            "load_tier": pa.array(load),
            "weather_tier": pa.array(weather),
        }
    )
    path = folder / household_path(made.weather_id, made.household_id, FIRST_TABLE)
    path.parent.mkdir(parents=True)
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: meta.to_json().encode()}), path)
    gap = max((stop - start for start, stop in made.gaps), default=0)
    return {
        "household_id": made.household_id,
        "weather_id": made.weather_id,
        "rows": meta.rows,
        "observed": meta.observed,
        "missing_share": 1 - meta.observed / meta.rows,
        "longest_gap_minutes": gap * 60,
        "zero_share": 0.0,
        "faults": number,
        "energy_kwh": 100.0,
        "weather_observed": int((weather == 0).sum()),
        **vars(own),
    }


def _report(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    slots, observed = (sum(row[name] for row in rows) for name in ("rows", "observed"))
    weather = sum(row["weather_observed"] for row in rows)
    return {
        "source": "heapo",
        "cadence_minutes": 60,
        "files": len(rows) + 1,
        "excluded": ["1777.csv"],
        "removed": [],
        "passed_over": {"not a household's file": ["README.txt", HOSTILE]},
        "households": len(rows),
        "slots": slots,
        "load_tiers": {"observed": observed, "trailing_mean": slots - observed, "slot_mean": 0, "zero": 0},
        "weather_tiers": {"observed": weather, "trailing_mean": 0, "slot_mean": slots - weather, "zero": 0},
        "faults": {"bad_number": 12, "duplicate": 1, "unreadable_file": 1, "no_file": 1, "broken_row": 2},
        "list_faults": {"households.csv": {"counts": {"broken_row": 2}, "listed": []}},
        "weather_faults": {"8jB": {"bad_number": 4}},
        "unusable": {f"{HOSTILE}.csv": "unreadable_file: not a text file"},
        "doubtful": {"1002": "its mean power is 1,000 times that of most; is the unit right?"},
        "worst": sorted(rows, key=lambda row: (-row["missing_share"], row["household_id"]))[:10],
        "energy_read_kwh": 1000.0,
        "energy_dropped_kwh": 2.0,
        "energy_imputed_kwh": 5.5,
        "energy_written_kwh": 1003.5,
        "energy_balanced": True,
    }
