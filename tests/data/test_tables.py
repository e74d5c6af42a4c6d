"""Tables that nothing takes away: a second ETL beside the first, what it reads again, and what may be deleted."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from meter_files import SETTINGS, meter_csv, series, sgsc_csv, weather_csv, write_heapo
from pyspark.sql import SparkSession

from neurogrid.data.cleaning import EtlSettings
from neurogrid.data.etl import run_etl
from neurogrid.data.household import household_from
from neurogrid.data.manifest import Manifest, keep, read_manifest
from neurogrid.data.quality import QualityReport
from neurogrid.data.sampling import SamplingSettings, sample
from neurogrid.data.sources import open_source
from neurogrid.data.tables import current_tables, delete, find_waste, refuse_missing
from neurogrid.errors import InputError
from neurogrid.storage import place

NAMES = ("1", "2", "3", "4", "5")
SAMPLING = SamplingSettings(
    seed=3, agents=3, districts=1, clusters=2, held_out_share=0.2, partition="natural", dirichlet_alpha=0.5,
    min_observed_slots=96, max_zero_share=0.95,
)  # fmt: skip


def load_of(household: str, days: int) -> list[float]:
    return [round(0.1 * int(household) + n * 37 % 101 / 100, 3) for n in range(days * 96)]


def raw(root: Path, days: int = 6, names: tuple[str, ...] = NAMES) -> Path:
    return write_heapo(root, {n: meter_csv(n, series(load_of(n, days))) for n in names})


class Asked:
    """A session that counts how often it is asked for."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark, self.times = spark, 0

    def __call__(self) -> SparkSession:
        self.times += 1
        return self._spark


def etl(
    spark: Callable[[], SparkSession], data: Path, warehouse: Path, timezone: str = "", **changes: object
) -> QualityReport:
    settings: EtlSettings = replace(SETTINGS, **changes)
    source = open_source("auto", place(str(data)), (), None, timezone=timezone)
    return run_etl(spark, source, place(str(warehouse)), settings, _silent)


def _silent(done: int, total: int) -> None:
    pass


def files(warehouse: Path, folder: str = "meters") -> dict[str, str]:
    """SHA-256 of each file by its path."""
    found = [file for file in (warehouse / folder).rglob("*") if file.is_file()]
    return {str(f.relative_to(warehouse)): hashlib.sha256(f.read_bytes()).hexdigest() for f in found}


def times_written(warehouse: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in warehouse.rglob("*") if file.is_file()}


def run_of(warehouse: Path, manifest: Manifest, name: str) -> None:
    """What `neurogrid clean` looks at of a run."""
    folder = warehouse / "runs" / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"manifest_id": manifest.sha256[:12]}))


def test_the_next_months_readings_leave_what_the_last_months_run_was_made_from(
    spark: SparkSession, tmp_path: Path
) -> None:
    asked, warehouse = Asked(spark), tmp_path / "w"
    etl(asked, raw(tmp_path / "data", 6), warehouse)
    first = sample(spark, place(str(warehouse)), SAMPLING)
    before = files(warehouse)
    report = etl(asked, raw(tmp_path / "data", 9, (*NAMES, "6")), warehouse)
    assert report.households == 6
    refuse_missing(first, place(str(warehouse)))  # evaluation and another training still find their tables
    assert before.items() <= files(warehouse).items()
    second = sample(spark, place(str(warehouse)), SAMPLING)
    days = {
        household_from(str(warehouse / part.path)).meta.rows / 96 for agent in second.agents for part in agent.parts
    }
    assert days == {9}
    assert not {p.path for a in first.agents for p in a.parts} & {p.path for a in second.agents for p in a.parts}


def test_an_unchanged_source_is_not_read_again_and_gives_the_same_bytes(spark: SparkSession, tmp_path: Path) -> None:
    asked, warehouse, data = Asked(spark), tmp_path / "w", raw(tmp_path / "data")
    broken = data / "smart_meter_data" / "15min" / "5.csv"
    broken.write_text("no;table\n1;2\n")
    first = etl(asked, data, warehouse)
    before, written = files(warehouse, "."), times_written(warehouse)
    again = etl(asked, data, warehouse)
    assert (asked.times, first.unchanged, again.unchanged) == (1, 0, 5)
    assert (files(warehouse, "."), times_written(warehouse)) == (before, written)
    assert again.unusable == first.unusable != {}
    assert replace(again, seconds=0, unchanged=0) == replace(first, seconds=0, unchanged=0)


@pytest.mark.parametrize(
    ("change", "read_again"),
    [
        ("a file", 1),
        ("a file of the same length", 1),
        ("another file", 1),
        ("a file gone", 0),
        ("a table lost", 1),
        ("a setting", 5),
        ("the declaration", 5),
        ("the code", 5),
        ("the record of before lost", 5),
        ("the record of before broken", 5),
    ],
)
def test_only_what_changed_is_read_again(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, read_again: int
) -> None:
    asked, warehouse, data = Asked(spark), tmp_path / "w", raw(tmp_path / "data")
    etl(asked, data, warehouse)
    meter, settings = data / "smart_meter_data" / "15min" / "3.csv", {}
    match change:
        case "a file":
            meter.write_text(meter_csv("3", series(load_of("3", 7))))
        case "a file of the same length":
            text = meter.read_text()
            meter.write_text(text.replace("0.67", "0.76", 1))
            assert meter.read_text() != text
        case "another file":
            raw(tmp_path / "data", names=(*NAMES, "6"))
        case "a file gone":
            meter.unlink()
        case "a table lost":
            next(warehouse.glob("meters/*/Household_ID=3/*.parquet")).unlink()
        case "a setting":
            settings = {"surge_percentile": 90.0}
        case "the declaration":
            settings = {"timezone": "Asia/Tokyo"}
        case "the code":
            monkeypatch.setattr("neurogrid.data.remembered._code", lambda: "of another version")
        case "the record of before lost":
            (warehouse / "quality" / "files.parquet").unlink()
        case _:
            (warehouse / "quality" / "files.parquet").write_bytes(b"PAR1 no")
    report = etl(asked, data, warehouse, **settings)
    there = 5 + (change == "another file") - (change == "a file gone")
    assert (report.unchanged, report.files) == (there - read_again, there)
    fresh = tmp_path / "fresh"
    etl(asked, data, fresh, **settings)
    for table in current_tables(place(str(fresh))).values():  # the same as without what was remembered
        assert (warehouse / table.path).read_bytes() == (fresh / table.path).read_bytes()
    for name in ("households.parquet", "quality/faults.parquet"):
        assert (warehouse / name).read_bytes() == (fresh / name).read_bytes()


def test_other_weather_is_read_for_all_that_have_it(spark: SparkSession, tmp_path: Path) -> None:
    def data(hour: float) -> Path:
        meters = {n: meter_csv(n, series(load_of(n, 6))) for n in ("1", "2")}
        hours = [(f"2023-02-25 {h:02}:00:00+00:00", hour, 50.0, 0.0) for h in range(24)]
        return write_heapo(tmp_path / "data", meters, {"W": weather_csv("W", [*hours, hours[0]])})

    asked, warehouse = Asked(spark), tmp_path / "w"
    first = etl(asked, data(1.0), warehouse)
    assert first.weather_faults == {"W": {"duplicate": 1}}
    same = etl(asked, data(1.0), warehouse)
    assert (same.unchanged, same.weather_faults) == (2, first.weather_faults)
    assert etl(asked, data(2.0), warehouse).unchanged == 0


def test_another_source_is_refused_before_spark_is_asked_for(spark: SparkSession, tmp_path: Path) -> None:
    warehouse, asked = tmp_path / "w", Asked(spark)
    etl(lambda: spark, raw(tmp_path / "data"), warehouse)
    before = files(warehouse, ".")
    others = raw(tmp_path / "others", names=("81", "82"))
    sgsc = tmp_path / "sgsc"
    sgsc.mkdir()
    rows = [(f"2013-01-{1 + n // 48:02} {n % 48 // 2:02}:{n % 2 * 30:02}:00", "0.1", "") for n in range(48 * 5)]
    (sgsc / "1.csv.gz").write_bytes(sgsc_csv("1", rows))
    for data, why in ((others, "none of the same household"), (sgsc, "another kind")):
        with pytest.raises(InputError, match="holds the tables of another source") as refused:
            etl(asked, data, warehouse)
        assert why in refused.value.found
        assert "5 households of kind heapo there (1, 2, 3, ...)" in refused.value.found
        assert (asked.times, files(warehouse, ".")) == (0, before)
    assert etl(asked, others, warehouse, another_source="replace").removed == NAMES
    assert set(current_tables(place(str(warehouse)))) == {"81", "82"}


def test_what_a_run_needs_stays_and_the_rest_may_go(spark: SparkSession, tmp_path: Path) -> None:
    root, asked = tmp_path / "w", Asked(spark)
    warehouse = place(str(root))
    etl(asked, raw(tmp_path / "data", 6), root)
    with_run = sample(spark, warehouse, SAMPLING)
    run_of(root, with_run, "june")
    etl(asked, raw(tmp_path / "data", 7), root)
    without_run = sample(spark, warehouse, SAMPLING)
    etl(asked, raw(tmp_path / "data", 8), root)
    current = sample(spark, warehouse, SAMPLING)
    half = next(root.glob("meters/*/Household_ID=1")) / ".abc.parquet.9-9.tmp"
    half.write_text("left by a killed ETL")
    waste = find_waste(warehouse)
    assert waste.manifests == (without_run.sha256[:12],)
    used = {part.path for agent in (*with_run.agents, *with_run.held_out) for part in agent.parts}
    assert waste.kept == {f"manifest {with_run.sha256[:12]}": len(used)}
    now = {table.path for table in current_tables(warehouse).values()}
    assert set(waste.tables) == set(files(root)) - used - now
    assert len(waste.tables) == 1 + 5 + 5 - len(used)
    taught = next(path for path in waste.tables if not path.endswith(".tmp"))
    (root / "teachers" / "t").mkdir(parents=True)
    (root / "teachers" / "t" / "data.json").write_text(json.dumps({"ranks": [{"fingerprints": {taught: "0"}}]}))
    assert set(find_waste(warehouse).tables) == set(waste.tables) - {taught}
    assert find_waste(warehouse).kept == waste.kept | {"teacher t": 1}
    (root / "teachers" / "t" / "data.json").unlink()
    delete(warehouse, waste)
    for manifest in (with_run, current):
        refuse_missing(manifest, warehouse)
        read_manifest(warehouse / "manifests" / manifest.sha256[:12] / "manifest.json")
    assert set(files(root)) == used | now
    assert sorted(folder.name for folder in (root / "manifests").iterdir()) == sorted(
        manifest.sha256[:12] for manifest in (with_run, current)
    )
    assert find_waste(warehouse).tables == {}


def test_nothing_is_deleted_where_it_is_not_known_who_needs_it(spark: SparkSession, tmp_path: Path) -> None:
    root = tmp_path / "w"
    etl(lambda: spark, raw(tmp_path / "data", 6), root)
    run_of(root, sample(spark, place(str(root)), SAMPLING), "june")
    (root / "runs" / "june" / "run.json").write_text("half")
    with pytest.raises(InputError, match=r"runs/june/run\.json cannot be read, so it is not known which tables"):
        find_waste(place(str(root)))
    (root / "runs" / "june" / "run.json").unlink()
    next(root.glob("manifests/*/manifest.json")).write_text("half")
    with pytest.raises(InputError, match=r"manifest\.json cannot be read, so it is not known which tables"):
        find_waste(place(str(root)))


def test_a_manifest_of_version_1_keeps_its_id_and_its_tables(spark: SparkSession, tmp_path: Path) -> None:
    root = tmp_path / "w"
    etl(lambda: spark, raw(tmp_path / "data", 6), root)
    for table in root.glob("meters/*/*/*.parquet"):
        table.rename(table.with_name("part-0.parquet"))
    drawn = sample_old(spark, root)
    text = drawn.to_json()
    assert '"table"' not in text
    assert Manifest.from_json(text) == drawn
    keep(drawn, place(str(root)))
    etl(lambda: spark, raw(tmp_path / "data", 6), root)  # by this version, beside the old tables
    refuse_missing(drawn, place(str(root)))
    run_of(root, drawn, "old")
    assert not {part.path for agent in drawn.agents for part in agent.parts} & set(find_waste(place(str(root))).tables)


def sample_old(spark: SparkSession, root: Path) -> Manifest:
    index = pq.read_table(root / "households.parquet").drop_columns(["table"])
    pq.write_table(index.replace_schema_metadata(None), root / "households.parquet")
    return replace(sample(spark, place(str(root)), SAMPLING), version=1)


def test_a_manifest_does_not_lead_out_of_the_warehouse(spark: SparkSession, tmp_path: Path) -> None:
    root = tmp_path / "w"
    etl(lambda: spark, raw(tmp_path / "data", 6), root)
    text = sample(spark, place(str(root)), SAMPLING).to_json()
    name = next(iter(json.loads(text)["fingerprints"])).rsplit("/", 1)[-1]
    with pytest.raises(ValueError, match=r"table '\.\./\.\./secret' of agent .* is not the name of a table"):
        Manifest.from_json(text.replace(name, "../../secret"))


def test_a_file_of_many_households_is_split_again_only_where_something_changed(
    spark: SparkSession, tmp_path: Path
) -> None:
    def trial(days: int, houses: int = 3) -> Path:
        header = "CUSTOMER_ID,READING_DATETIME,CALENDAR_KEY,EVENT_KEY,GENERAL_SUPPLY_KWH,CONTROLLED_LOAD_KWH"
        times = [f"2013-01-{1 + n // 48:02} {n % 48 // 2:02}:{n % 2 * 30:02}:00" for n in range(48 * days)]
        rows = [f"{house},{at},1,0,0.{n % 7}{house},0" for n, at in enumerate(times) for house in range(1, houses + 1)]
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / "all.csv").write_text("\n".join([header, *rows, "x,nonsense", ""]))
        return tmp_path / "data"

    asked, warehouse, half_hours = Asked(spark), tmp_path / "w", {"cadence_minutes": None}
    first = etl(asked, trial(5), warehouse, **half_hours)
    before, times = files(warehouse, "."), asked.times
    again = etl(asked, trial(5), warehouse, **half_hours)
    assert (asked.times, again.unchanged, first.households) == (times, 3, 3)
    assert replace(again, seconds=0, unchanged=0) == replace(first, seconds=0, unchanged=0)
    assert files(warehouse, ".") == before
    assert etl(asked, trial(6), warehouse, **half_hours).unchanged == 0
    tables = {name: digest for name, digest in before.items() if name.startswith("meters/")}
    assert tables.items() <= files(warehouse).items()
    assert etl(asked, trial(6, houses=2), warehouse, **half_hours).removed == ("3",)


def test_a_damaged_list_of_tables_is_told_by_others_and_made_again_by_the_etl(
    spark: SparkSession, tmp_path: Path
) -> None:
    asked, warehouse, data = Asked(spark), tmp_path / "w", raw(tmp_path / "data")
    etl(asked, data, warehouse)
    index = warehouse / "households.parquet"
    whole = index.read_bytes()
    index.write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"households\.parquet, the list of households, cannot be read"):
        find_waste(place(str(warehouse)))
    assert etl(asked, data, warehouse).unchanged == 5
    assert (index.read_bytes(), asked.times) == (whole, 1)


@pytest.mark.parametrize("name", ["faults.parquet", "report.json"])
@pytest.mark.parametrize("content", [None, b"PAR1\xff\xfe"])
def test_a_lost_or_damaged_file_of_the_report_is_written_again(
    spark: SparkSession, tmp_path: Path, name: str, content: bytes | None
) -> None:
    asked, warehouse, data = Asked(spark), tmp_path / "w", raw(tmp_path / "data")
    etl(asked, data, warehouse)
    before, file = files(warehouse, "."), warehouse / "quality" / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert etl(asked, data, warehouse).unchanged == 5
    assert (files(warehouse, "."), asked.times) == (before, 1)
