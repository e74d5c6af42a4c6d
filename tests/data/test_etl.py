"""The ETL as a Spark job, from files to warehouse, with DuckDB as a second opinion on what they hold."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from meter_files import FIRST, SETTINGS, TREATMENT, label, meter_csv, series, settings, weather_csv, write_heapo
from pyspark.sql import SparkSession

from neurogrid.bench.etl_duckdb import run_script, totals
from neurogrid.data.clean import HouseholdTable, clean_household
from neurogrid.data.cleaning import EtlSettings
from neurogrid.data.etl import deal, run_etl
from neurogrid.data.faults import FaultLog
from neurogrid.data.folder import MeterFile
from neurogrid.data.grid import to_grid
from neurogrid.data.household import FEATURES, SCHEMA, household_from
from neurogrid.data.quality import QualityReport
from neurogrid.data.sources import open_source
from neurogrid.data.synthetic import SyntheticSettings, make_benchmark, make_heapo
from neurogrid.data.weather import NO_STATION, Station
from neurogrid.errors import InputError, RunError
from neurogrid.storage import place

DAYS = [round(0.1 + n * 37 % 101 / 100, 3) for n in range(5 * 96)]


def etl(
    spark: SparkSession, data: Path, warehouse: Path, using: EtlSettings = SETTINGS, limit: int | None = None
) -> QualityReport:
    source = open_source("auto", place(str(data)), (), limit)
    return run_etl(lambda: spark, source, place(str(warehouse)), using, lambda done, total: None)


def file_of(warehouse: Path, household: str) -> Path:
    return next(warehouse.glob(f"meters/Weather_ID=*/Household_ID={household}/*.parquet"))


def hashes(warehouse: Path) -> dict[str, str]:
    """Of all but what the next ETL goes by, which names the content of the raw files."""
    files = [file for file in warehouse.rglob("*") if file.is_file() and file.name != "files.parquet"]
    return {str(f.relative_to(warehouse)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module")
def made(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, QualityReport]:
    root = tmp_path_factory.mktemp("made")
    make_heapo(root / "data", SyntheticSettings(households=9, stations=3, days=33, seed=7))
    return root / "data", root / "warehouse", etl(spark, root / "data", root / "warehouse")


ORACLE = """
WITH cells AS (
  SELECT parse_filename(filename, true) AS h, Household_ID, try_cast("Timestamp" AS TIMESTAMPTZ) AS t,
    try_cast(kWh_received_Total AS DOUBLE) AS kwh
  FROM read_csv({files}, delim = ';', header = true, union_by_name = true, all_varchar = true, filename = true,
    ignore_errors = true, null_padding = false)),
usable AS (
  SELECT h, t, kwh FROM cells
  WHERE Household_ID = h AND t IS NOT NULL AND kwh >= 0 AND kwh <= 50 AND epoch(t) % 900 = 0 AND year(t) < 2050),
unique_slots AS (SELECT h, t, arg_max(kwh, kwh) AS kwh, count(*) AS copies FROM usable GROUP BY h, t)
SELECT h, date_diff('minute', min(t), max(t)) // 15 + 1 AS slots, count(*) AS observed, sum(kwh) AS kwh,
  sum(copies - 1) AS duplicates
FROM unique_slots GROUP BY h ORDER BY h
"""


def test_rows_gaps_duplicates_and_energy_are_what_duckdb_counts(made: tuple[Path, Path, QualityReport]) -> None:
    data, warehouse, _ = made
    meters = sorted((data / "smart_meter_data" / "15min").glob("*.csv"))
    good = [str(file) for file in meters if file != meters[-2]]  # the last but one is no CSV
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        expected = connection.execute(ORACLE.format(files=good)).fetchall()
        rows = connection.execute(
            f"SELECT household_id, rows, observed, energy_written_kwh - energy_imputed_kwh, fault_duplicate "
            f"FROM '{warehouse}/households.parquet' ORDER BY 1"
        ).fetchall()
        ours = connection.execute(
            f"""SELECT Household_ID::VARCHAR, count(*), count(*) FILTER (load_tier = 0),
                sum(kWh::DOUBLE) FILTER (load_tier = 0)
            FROM read_parquet('{warehouse}/meters/*/*/*.parquet', hive_partitioning = true) GROUP BY 1 ORDER BY 1"""
        ).fetchall()
    assert len(expected) == 7
    for theirs, listed, table in zip(expected, rows, ours, strict=True):
        assert theirs[:3] == listed[:3] == table[:3]
        assert theirs[4] == listed[4]
        # Of two different readings of one slot, theirs keeps the larger and ours the first.
        assert (theirs[3], table[3]) == (pytest.approx(listed[3], abs=1), pytest.approx(listed[3], rel=1e-6))


def test_every_value_and_tier_adds_up_to_what_a_duckdb_script_makes_of_the_same_files(
    spark: SparkSession, tmp_path: Path
) -> None:
    make_benchmark(tmp_path / "data", 6, 3000, seed=3)
    etl(spark, tmp_path / "data", tmp_path / "ours")
    options = {"threads": 1, "limit_kwh": 50, "train": 0.72, "trailing": 5, "hold_hours": 3, "compression": "snappy"}
    run_script(tmp_path / "data", tmp_path / "theirs", options)
    ours, theirs = totals(tmp_path / "ours"), totals(tmp_path / "theirs")
    assert (ours.slots, ours.load_tiers, ours.weather_tiers) == (theirs.slots, theirs.load_tiers, theirs.weather_tiers)
    assert ours.load_tiers[1] > 0
    assert ours.weather_tiers[2] > 0
    assert ours.energy_kwh == pytest.approx(theirs.energy_kwh, rel=1e-9)
    assert ours.feature_squares == pytest.approx(theirs.feature_squares, rel=1e-7)


def test_real_households_keep_all_their_energy(spark: SparkSession, real_data: Path, tmp_path: Path) -> None:
    report = etl(spark, real_data, tmp_path, settings(cadence_minutes=None), limit=4)
    files = sorted((real_data / "sgsc").glob("*.csv.gz"))[:4]
    with duckdb.connect() as connection:
        rows, kwh = connection.execute(
            f"SELECT count(*), sum(general_supply_kwh + coalesce(controlled_load_kwh, 0)) "
            f"FROM read_csv({[str(file) for file in files]})"
        ).fetchone() or (0, 0)
    assert (report.file_rows, report.households) == (rows, 4)
    assert report.load_tiers["observed"] == rows - report.faults.get("duplicate", 0)
    assert report.energy_read_kwh == pytest.approx(kwh, rel=1e-9)
    assert report.energy_balanced


def test_a_table_has_the_agreed_columns_and_a_full_grid(made: tuple[Path, Path, QualityReport]) -> None:
    for file in made[1].glob("meters/*/*/*.parquet"):
        table = pq.read_table(file, partitioning=None)
        assert table.schema.remove_metadata().equals(SCHEMA)
        starts = table.column("Timestamp").cast(pa.int64()).to_numpy()
        assert (np.diff(starts) == 15 * 60 * 1_000_000).all()
        assert table.drop_columns("Timestamp").to_pandas().notna().all().all()
        meta = household_from(str(file)).meta
        assert (meta.rows, meta.first) == (table.num_rows, table.column("Timestamp")[0].as_py())
        assert meta.last == table.column("Timestamp")[-1].as_py()
        household = household_from(str(file))
        assert household.slot(meta.train_end) == int(meta.rows * 0.72)
        train = household.features[: household.slot(meta.train_end)]
        observed = household.observed[: len(train)]
        assert train[observed, 0].mean() == pytest.approx(0, abs=1e-4)
        assert train[observed, 0].std() == pytest.approx(1, abs=1e-4)
        assert household.kwh[: len(train)][observed] == pytest.approx(
            train[observed, 0] * meta.scales[FEATURES[0]].std + meta.scales[FEATURES[0]].mean, abs=1e-5
        )


def test_a_second_run_writes_the_same_bytes(spark: SparkSession, made: tuple[Path, Path, QualityReport]) -> None:
    data, warehouse, _ = made
    before = hashes(warehouse)
    etl(spark, data, warehouse)
    assert hashes(warehouse) == before


def new_stages(spark: SparkSession, work: Callable[[], object]) -> list[Any]:
    """What Spark knows of the stages of the jobs that `work` started."""
    store = spark.sparkContext._jsc.sc().statusStore()

    def jobs() -> dict[int, Any]:
        found = store.jobsList(None)
        return {found.apply(i).jobId(): found.apply(i) for i in range(found.size())}

    before = jobs()
    work()
    time.sleep(0.5)  # Spark hears of a task's end a little after the job has given its result
    stages = [job.stageIds() for number, job in jobs().items() if number not in before]
    return [store.lastStageAttempt(ids.apply(i)) for ids in stages for i in range(ids.size())]


def test_nothing_is_shuffled_and_what_reaches_the_driver_does_not_grow_with_the_readings(
    spark: SparkSession, tmp_path: Path
) -> None:
    sizes = []
    for days in (20, 80):
        make_heapo(tmp_path / f"{days}", SyntheticSettings(households=6, stations=2, days=days, seed=7))
        (stage,) = new_stages(spark, lambda: etl(spark, tmp_path / f"{days}", tmp_path / f"w{days}"))  # noqa: B023
        assert stage.numCompleteTasks() == stage.numTasks() > 1
        assert stage.shuffleWriteBytes() == stage.shuffleReadBytes() == 0
        sizes.append(stage.resultSize())
    readings = sum(file.stat().st_size for file in (tmp_path / "w80" / "meters").rglob("*.parquet"))
    assert 0 < sizes[1] < 1.2 * sizes[0]
    assert sizes[1] < readings / 10, (sizes, readings)


def test_each_kind_of_broken_file_is_listed_and_does_not_stop_the_rest(spark: SparkSession, tmp_path: Path) -> None:
    good = meter_csv("1", series(DAYS))
    files: dict[str, str | bytes] = {
        "1": good,
        "2": b"",
        "3": b"\x00\xfe" * 500,
        "4": good.replace("kWh_received_Total", "kWh"),
        "5": meter_csv("5", series([""] * 96)),
        "6.csv.gz": b"\x1f\x8b\x08\x00 cut",
        "7": meter_csv("8", series(DAYS)),
        "8": good.splitlines()[0] + "\n",
        "9": meter_csv("9", series(["0.5"])),
        "99": meter_csv("99", series(DAYS)),
    }
    report = etl(spark, write_heapo(tmp_path / "data", files), tmp_path / "warehouse")
    assert {name: reason.split(":")[0] for name, reason in report.unusable.items()} == {
        "2.csv": "empty_file",
        "3.csv": "unreadable_file",
        "4.csv": "missing_column",
        "5.csv": "no_readings",
        "6.csv.gz": "unreadable_file",
        "7.csv": "mostly_refused",
        "8.csv": "empty_file",
        "9.csv": "no_training_readings",
    }
    assert report.households == 2
    listed = pq.read_table(tmp_path / "warehouse" / "quality" / "faults.parquet").to_pylist()
    assert {row["household_id"] for row in listed} >= {"2", "3", "4", "5", "6", "7", "8"}


def test_a_household_that_the_source_no_longer_has_is_named_and_its_table_stays(
    spark: SparkSession, tmp_path: Path
) -> None:
    data = write_heapo(tmp_path / "data", {name: meter_csv(name, series(DAYS)) for name in ("1", "2", "3")})
    warehouse = tmp_path / "warehouse"
    etl(spark, data, warehouse)
    (data / "smart_meter_data" / "15min" / "1.csv").unlink()
    (data / "smart_meter_data" / "15min" / "2.csv").write_text("broken now")
    before = hashes(warehouse / "meters")
    report = etl(spark, data, warehouse)
    assert report.removed == ("1", "2")
    assert hashes(warehouse / "meters") == before
    assert pq.read_table(warehouse / "households.parquet").column("household_id").to_pylist() == ["3"]


def test_a_run_without_a_usable_file_fails_and_leaves_the_tables_of_before(spark: SparkSession, tmp_path: Path) -> None:
    data = write_heapo(tmp_path / "data", {"1": meter_csv("1", series(DAYS))})
    etl(spark, data, tmp_path / "warehouse")
    before = (tmp_path / "warehouse" / "households.parquet").read_bytes()
    (data / "smart_meter_data" / "15min" / "1.csv").write_text("Household_ID;Timestamp\n1;2\n")
    with pytest.raises(RunError, match="none of 1 file could be used") as error:
        etl(spark, data, tmp_path / "warehouse")
    assert "kWh_received_Total" in error.value.found
    assert (tmp_path / "warehouse" / "households.parquet").read_bytes() == before
    assert json.loads((tmp_path / "warehouse" / "quality" / "report.json").read_text())["households"] == 0


def test_a_warehouse_that_cannot_be_written_is_refused_before_the_work(spark: SparkSession, tmp_path: Path) -> None:
    data = write_heapo(tmp_path / "data", {"1": meter_csv("1", series(DAYS))})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        etl(spark, data, tmp_path / "file" / "warehouse")


def test_progress_counts_up_to_all_files(spark: SparkSession, tmp_path: Path) -> None:
    data = write_heapo(tmp_path / "data", {name: meter_csv(name, series(DAYS)) for name in ("1", "2", "3")})
    seen: list[tuple[int, int]] = []
    source = open_source("heapo", place(str(data)), (), None)
    run_etl(lambda: spark, source, place(str(tmp_path / "w")), SETTINGS, lambda done, total: seen.append((done, total)))
    assert (seen[0], seen[-1]) == ((0, 3), (3, 3))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_weather_is_joined_as_it_was_known(spark: SparkSession, tmp_path: Path) -> None:
    hours = [(label(FIRST.replace(hour=h)), float(h), 50.0 + h, 60.0) for h in range(1, 24)]
    data = write_heapo(tmp_path / "data", {"2": meter_csv("2", series(DAYS[:96]))}, {"8jB": weather_csv("8jB", hours)})
    etl(spark, data, tmp_path / "w")
    household = household_from(str(file_of(tmp_path / "w", "2")))
    scale = household.meta.scales["Temperature_avg_hourly"]
    temperature = household.features[:, FEATURES.index("Temperature_avg_hourly")] * scale.std + scale.mean
    assert temperature[4:] == pytest.approx(np.arange(4, 96) // 4, abs=1e-4)
    missing = household.features[:, FEATURES.index("weather_missing")]
    assert missing.tolist() == [1] * 4 + [0] * 92


def cleaned(
    values: list[object], cadence: int = 15, minutes: int = 15, station: Station = NO_STATION, zone: str = "UTC"
) -> HouseholdTable:
    rows = [(int(FIRST.timestamp()) // 60 // minutes + n, v) for n, v in enumerate(values) if v is not None]
    starts = pa.array([slot * minutes * 60_000_000 for slot, _ in rows]).cast(SCHEMA.field("Timestamp").type)
    kwh, lines = pa.array([float(str(v)) for _, v in rows]), pa.array(range(len(rows)), pa.int32())
    grid = to_grid(pa.table({"Timestamp": starts, "kWh": kwh, "line": lines}), minutes, 400, FaultLog(1))
    return clean_household(("1", "none"), grid, station, zone, cadence, SETTINGS)


def test_values_of_the_test_period_change_no_feature_before_it() -> None:
    values: list[object] = [None if n % 13 == 5 else v for n, v in enumerate(DAYS)]
    before = cleaned(values)
    train = int(len(values) * 0.72)
    after = cleaned([*values[: train + 10], *[9.0 for _ in values[train + 10 :]]])
    assert before.meta.scales == after.meta.scales
    assert before.meta.surge_threshold_kwh == after.meta.surge_threshold_kwh
    for name in SCHEMA.names:
        early = [t.table.column(name)[: train + 10].to_pylist() for t in (before, after)]
        assert early[0] == early[1]


@pytest.mark.parametrize(("minutes", "cadence"), [(15, 15), (15, 30), (15, 60), (30, 15), (30, 30), (30, 10)])
def test_the_sum_of_a_household_is_the_same_at_every_cadence(minutes: int, cadence: int) -> None:
    values: list[object] = [None if n % 13 == 5 else v for n, v in enumerate(DAYS)]
    own = cleaned(values, minutes, minutes)
    changed = cleaned(values, cadence, minutes)
    assert changed.counts.energy_written_kwh == pytest.approx(own.counts.energy_written_kwh, rel=1e-6)
    assert changed.meta.cadence_minutes == cadence


def test_calendar_features_follow_local_time_through_the_change_of_clocks() -> None:
    table = cleaned([0.5 + n % 3 for n in range(96 * 31)], zone="Europe/Zurich").table
    sine, weekend = FEATURES.index("hour_sin") + 1, FEATURES.index("is_weekend") + 1
    at = {str(moment): n for n, moment in enumerate(table.column("Timestamp").to_pylist())}
    before, after = at["2023-03-25 05:00:00+00:00"], at["2023-03-26 04:00:00+00:00"]
    assert table.column(sine)[before].as_py() == table.column(sine)[after].as_py() == pytest.approx(1)
    friday, saturday = at["2023-03-24 22:45:00+00:00"], at["2023-03-24 23:00:00+00:00"]
    assert [table.column(weekend)[n].as_py() for n in (friday, saturday)] == [0, 1]


def test_both_header_orders_end_in_the_same_bytes(spark: SparkSession, tmp_path: Path) -> None:
    for folder, header in (("a", None), ("b", TREATMENT)):
        text = meter_csv("1", series(DAYS), header) if header else meter_csv("1", series(DAYS))
        etl(spark, write_heapo(tmp_path / folder, {"1": text}), tmp_path / f"w{folder}")
    assert hashes(tmp_path / "wa") == hashes(tmp_path / "wb")


def test_files_are_dealt_by_size_and_none_is_lost() -> None:
    files = [MeterFile(str(n), "none", place("/x"), size) for n, size in enumerate([9, 1, 1, 8, 7, 2, 2, 2])]
    hands = deal(files, 4)
    assert sorted(f.household_id for hand in hands for f in hand) == sorted(f.household_id for f in files)
    assert sorted(sum(f.size_bytes for f in hand) for hand in hands) == [7, 8, 8, 9]
    assert len(deal(files[:2], 16)) == 2


def test_faults_of_the_household_list_stand_in_the_report_with_their_file_and_line(
    spark: SparkSession, tmp_path: Path
) -> None:
    data = write_heapo(tmp_path / "data", {"1": meter_csv("1", series(DAYS))})
    with (data / "meta_data" / "households.csv").open("a") as file:
        file.write("2;control\n;control;8jB;True\n1;control;;True\n1;control;other;True\n")
    report = etl(spark, data, tmp_path / "w")
    expected = [(3, "broken_row"), (4, "no_household"), (5, "listed_twice"), (6, "conflicting_rows")]
    assert report.faults == {kind: 1 for _, kind in sorted(expected, key=lambda pair: pair[1])}
    quality = tmp_path / "w" / "quality"
    (written,) = json.loads((quality / "report.json").read_text())["list_faults"].values()
    assert [(note["line"], note["kind"]) for note in written["listed"]] == expected
    rows = pq.read_table(quality / "faults.parquet").to_pylist()
    assert [(row["file"], row["line"], row["kind"]) for row in rows] == [
        ("meta_data/households.csv", line, kind) for line, kind in expected
    ]
    page = (quality / "report.md").read_text()
    assert all(f"| meta_data/households.csv | {line} | {kind} |" in page for line, kind in expected)


def test_faults_of_a_weather_file_are_listed_and_change_no_bit_of_the_tables(
    spark: SparkSession, tmp_path: Path
) -> None:
    hours = [(label(FIRST.replace(hour=h)), float(h), 50.0 + h, 60.0) for h in range(1, 24)]
    stray = "8jB;9999-01-01 00:00:00+00:00;1;2;3\n8jB;;1;2;3\nother;2023-02-25 10:00:00+00:00;1;2;3\n"
    meters = {"1": meter_csv("1", series(DAYS))}
    tables = []
    for name, more in (("clean", ""), ("stray", stray)):
        data = write_heapo(tmp_path / name, meters, {"8jB": weather_csv("8jB", hours) + more})
        report = etl(spark, data, tmp_path / f"w-{name}")
        tables.append(hashes(tmp_path / f"w-{name}" / "meters"))
    assert tables[0] == tables[1]
    assert report.weather_faults == {"8jB": {"bad_timestamp": 1, "far_from_the_rest": 1, "wrong_station": 1}}
    assert "| 8jB | wrong_station | 1 |" in report.to_markdown()
    listed = pq.read_table(tmp_path / "w-stray" / "quality" / "faults.parquet").to_pylist()
    assert sorted((row["file"], row["line"], row["text"]) for row in listed) == [
        ("8jB", 25, "9999-01-01T00:00:00Z"),
        ("8jB", 26, "Timestamp is empty"),
        ("8jB", 27, "Weather_ID = other"),
    ]


def test_faults_of_a_weather_file_that_gives_no_hour_are_listed(spark: SparkSession, tmp_path: Path) -> None:
    hours = [(label(FIRST.replace(hour=h)), float(h), 50.0 + h, 60.0) for h in range(1, 24)]
    data = write_heapo(tmp_path / "data", {"1": meter_csv("1", series(DAYS))}, {"8jB": weather_csv("other", hours)})
    report = etl(spark, data, tmp_path / "w")
    assert report.faults == {"no_weather_station": 1}
    assert report.weather_faults == {"8jB": {"no_readings": 1, "wrong_station": 23}}
