"""The example on docs/data.md: the ETL reads it without a fault, and counts what the page warns of."""

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from neurogrid.cli.dry_run import do_dry_run
from neurogrid.config import load
from neurogrid.data.energies import energies
from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import to_grid
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.series import Treatment
from neurogrid.data.sources import open_source
from neurogrid.errors import InputError
from neurogrid.pipeline.etl import etl
from neurogrid.pipeline.etl_plan import plan_etl
from neurogrid.storage import place

PAGE = Path(__file__).resolve().parent.parent / "docs" / "data.md"
DAYS = 14
FILE = re.compile(r"`((?:meta_data|smart_meter_data|weather_data)/[^`<]+\.csv)`[^`]*\n\n```csv\n(.*?)```", re.DOTALL)


def example() -> dict[str, str]:
    """The files that the page shows, by path."""
    return dict(FILE.findall(PAGE.read_text()))


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def repeated(text: str) -> str:
    """A file's rows again and again, each time later, until they make DAYS days; a list without times as it is."""
    header, *rows = text.splitlines()
    if "Timestamp" not in header.split(";"):
        return text
    column = header.split(";").index("Timestamp")
    cells = [row.split(";") for row in rows]
    times = [datetime.fromisoformat(row[column]) for row in cells]
    length = times[1] - times[0] + times[-1] - times[0]
    made = [
        ";".join([*row[:column], str(time + n * length), *row[column + 1 :]])
        for n in range(timedelta(days=DAYS) // length)
        for row, time in zip(cells, times, strict=True)
    ]
    return "\n".join([header, *made]) + "\n"


def test_the_example_on_the_page_becomes_a_warehouse_without_a_fault(spark: SparkSession, tmp_path: Path) -> None:
    files = example()
    assert sorted(files) == [
        "meta_data/households.csv",
        "smart_meter_data/15min/A-17.csv",
        "smart_meter_data/15min/A-18.csv",
        "weather_data/hourly/town.csv",
    ]
    raw = write(tmp_path / "raw", {name: repeated(text) for name, text in files.items()})
    warehouse = tmp_path / "w"
    config = load("", [f"warehouse={warehouse}", f"source.path={raw}"])
    etl(plan_etl(config), lambda: spark)
    report = json.loads((warehouse / "quality" / "report.json").read_text())
    assert (report["faults"], report["weather_faults"], report["unusable"]) == ({}, {}, {})
    for household, station, kwh in (("A-17", "town", [0.112, 0.094, 0.101]), ("A-18", "none", [0.050, 0.048, 0.051])):
        (file,) = warehouse.glob(f"meters/Weather_ID={station}/Household_ID={household}/*.parquet")
        table = pq.read_table(file, partitioning=None)
        assert table.num_rows == DAYS * 96
        assert str(table["Timestamp"][0].as_py()) == "2025-02-01 00:00:00+00:00"
        assert table["kWh"].to_pylist()[:3] == pytest.approx(kwh)
        assert set(table["load_tier"].to_pylist()) == {0}
        assert set(table["weather_missing"].to_pylist()) == ({0.0} if station == "town" else {1.0})


CHANGES = [
    (";0.112", ";0,112", {"bad_number": 1}),
    (";0.112", ";", {"null_value": 1}),
    (";0.112", ";NULL", {"null_value": 1}),
    (";0.112", ";-0.112", {"negative": 1}),
    (";0.112", ";112", {"absurd": 1}),
    ("00:00:00+00:00", "00:00:00", {"bad_timestamp": 1}),
    ("00:00:00+00:00", "00:07:00+00:00", {"off_grid": 1}),
    ("2025-02-01 00:00:00+00:00", "2025-02-01T00:00:00Z", {}),
    ("2025-02-01 00:00:00+00:00", "2025-02-01 01:00:00+01:00", {}),
    ("00:45:00+00:00", "00:30:00+00:00", {"duplicate": 1}),
    ("A-17;2025-02-01 00:00", "A-18;2025-02-01 00:00", {"wrong_household": 1}),
    ("Household_ID;Timestamp;", "Household_ID;When;", {"missing_column": 1}),
]


@pytest.mark.parametrize(("old", "new", "faults"), CHANGES, ids=[new for _, new, _ in CHANGES])
def test_a_row_unlike_those_on_the_page_is_counted_as_the_page_says(
    tmp_path: Path, old: str, new: str, faults: dict[str, int]
) -> None:
    files = example()
    meter = "smart_meter_data/15min/A-17.csv"
    files[meter] = files[meter].replace(old, new, 1)
    assert counted(write(tmp_path, files)) == faults
    for fault in faults.keys() & {"bad_number", "bad_timestamp", "off_grid", "duplicate"}:
        assert f"`{fault}`" in PAGE.read_text()


def counted(folder: Path) -> dict[str, int]:
    """Faults of the first household's readings."""
    source, faults = open_source("auto", place(str(folder)), (), None), FaultLog(9)
    try:
        found = energies(
            source.read(source.listing(9).files[0], faults),
            Treatment(200.0, "refuse", "refuse", "spread", "use"),
            faults,
        )
        to_grid(found.table, found.cadence_minutes, 400, faults)
    except UnusableFileError as error:
        faults.add(error.fault, error.text)
    return {str(kind): count for kind, count in faults.counts.items() if count}


def test_both_hours_are_kept_when_the_clocks_go_back_and_offsets_differ(tmp_path: Path) -> None:
    files = example()
    header = files["smart_meter_data/15min/A-18.csv"].partition("\n")[0]
    rows = [f"A-18;2025-10-26 02:{minute}:00{offset};0.1" for offset in ("+02:00", "+01:00") for minute in ("00", "30")]
    text = "\n".join([header, *rows]) + "\n"
    del files["smart_meter_data/15min/A-17.csv"]
    assert counted(write(tmp_path, files | {"smart_meter_data/15min/A-18.csv": text})) == {}
    text = text.replace("+02:00", "+01:00")
    files["smart_meter_data/15min/A-18.csv"] = text
    assert counted(write(tmp_path, files)) == {"duplicate": 2}


def test_the_errors_about_a_folder_lead_to_the_page(tmp_path: Path) -> None:
    files = example()
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"docs/data\.md#layouts-that-are-read"):
        open_source("auto", place(str(tmp_path / "other")), (), None)
    files["meta_data/households.csv"] = files["meta_data/households.csv"].replace("Weather_ID", "Station")
    source = open_source("auto", place(str(write(tmp_path, files))), (), None)
    with pytest.raises(InputError, match=r"Weather_ID.*docs/data\.md#layouts-that-are-read"):
        source.listing(9)
    assert "\n## Layouts that are read\n" in PAGE.read_text()


def test_a_household_that_is_only_listed_or_only_a_file_is_counted_as_the_page_says(tmp_path: Path) -> None:
    files = example()
    listed = files["meta_data/households.csv"]
    files["meta_data/households.csv"] = listed.replace("A-17;town;True\n", "").replace("A-18;;True", "A-19;;1\nA-18;;")
    listing = open_source("auto", place(str(write(tmp_path, files))), (), None).listing(9)
    assert {house: dict(log.counts) for house, log in listing.faults.items()} == {
        "A-17": {"not_listed": 1},
        "A-19": {"no_file": 1},
    }
    assert {(file.household_id, file.weather_id) for file in listing.files} == {("A-17", "none"), ("A-18", "none")}


def test_a_page_names_only_faults_that_there_are() -> None:
    named = set(re.findall(r"counted as\s+`(\w+)`|dropped as `(\w+)`", PAGE.read_text()))
    assert len(named) > 5
    assert {first or second for first, second in named} <= {str(kind) for kind in Fault}


def test_the_generic_example_is_read_as_the_page_declares_it(tmp_path: Path) -> None:
    section = PAGE.read_text().split("### generic")[1].split("\n### ")[0]
    (table,) = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    (declared,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    (tmp_path / "export.csv").write_text(table)
    done = dry_run(tmp_path, declared)
    assert [(row["household"], row["start_utc"], row["kwh"]) for row in done["looked_at"][0]["rows"]] == [
        ("DE-1", "2025-03-30 00:30Z", 0.125),
        ("DE-1", "2025-03-30 00:45Z", 0.118),
        ("DE-1", "2025-03-30 01:00Z", 0.121),
    ]
    assert done["looked_at"][0]["faults"] == {"estimated": 1}


@pytest.mark.parametrize(
    ("kind", "name", "row"),
    [
        ("lcl", "all.csv", ("MAC000002", "2012-10-12 00:00Z", 0.0)),
        ("uci", "LD.txt", ("MT_001", "2012-01-01 00:00Z", 0.951777)),
        ("sgsc", "all.csv", ("7101", "2013-05-31 14:00Z", 0.356)),
    ],
)
def test_the_smallest_example_of_each_published_layout_is_recognised(
    tmp_path: Path, kind: str, name: str, row: tuple[str, str, float]
) -> None:
    section = PAGE.read_text().split(f"\n### {kind}:")[1].split("\n### ")[0]
    (table,) = re.findall(r"```(?:csv|text)\n(.*?)```", section, re.DOTALL)
    (tmp_path / name).write_text(table)
    done = dry_run(tmp_path)
    first = done["looked_at"][0]["rows"][0]
    assert (done["layout"], (first["household"], first["start_utc"], first["kwh"])) == (kind, row)


def dry_run(folder: Path, declared: str = "") -> dict[str, Any]:
    """What `neurogrid etl --dry-run` says of a folder."""
    config = load(declared, [f"source.path={json.dumps(str(folder))}"])
    return do_dry_run(plan_etl(config), config.warehouse)
