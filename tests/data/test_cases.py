"""Inputs that once gave wrong energies or lost files in silence, each from its files to the tables.

A case is made here by the rule that makes it go wrong; what is right follows from the rule, and is not what the code
says. Archives have their own tests (test_archives.py, test_fetch.py).
"""

import bz2
import gzip
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from meter_files import SETTINGS, meter_csv, series, write_heapo
from pyspark.sql import SparkSession

from neurogrid.data.etl import run_etl
from neurogrid.data.quality import QualityReport
from neurogrid.data.sources import open_source
from neurogrid.data.tables import current_tables
from neurogrid.errors import NeuroGridError
from neurogrid.storage import place

HALF_HOURS = replace(SETTINGS, cadence_minutes=None)
START = datetime(2013, 6, 1)
DAYS = 10
HEADER = "customer_id,reading_datetime,calendar_key,event_key,general_supply_kwh,controlled_load_kwh"
Row = tuple[str, float]


def load(slots: int = DAYS * 48) -> list[float]:
    """A household's half-hours, between 0.1 and 0.4 kWh."""
    return [round(0.25 + 0.001 * (n * 37 % 301 - 150), 3) for n in range(slots)]


def rows(values: Sequence[float], minutes: float = 30, first: datetime = START) -> list[Row]:
    """With labels that name the end of the slot, as sgsc has them."""
    return [(str(first + timedelta(minutes=minutes * (n + 1))), value) for n, value in enumerate(values)]


def sgsc(household: str, readings: Sequence[Row], header: str = HEADER) -> bytes:
    return "\n".join([header, *(f"{household},{at},1,0,{value},0" for at, value in readings), ""]).encode()


def in_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@dataclass(frozen=True)
class Found:
    report: QualityReport
    measured_kwh: dict[str, float]
    imputed: dict[str, int]


@pytest.fixture
def etl(spark: SparkSession, tmp_path: Path) -> Callable[..., Found]:
    def run(data: Path, settings: object = HALF_HOURS, **changes: object) -> Found:
        warehouse = place(str(tmp_path / f"w{len(list(tmp_path.iterdir()))}"))
        source = open_source("auto", place(str(data)), (), None)
        report = run_etl(lambda: spark, source, warehouse, replace(settings, **changes), lambda done, total: None)
        energies, imputed = {}, {}
        for household, table in current_tables(warehouse).items():
            content = pq.ParquetFile((warehouse / table.path).path).read(["kWh", "load_tier"])
            tier, kwh = content["load_tier"].to_numpy(), content["kWh"].to_numpy()
            energies[household] = float(kwh[tier == 0].astype(float).sum())
            imputed[household] = int((tier > 0).sum())
        return Found(report, energies, imputed)

    return run


def test_rows_that_stand_twice_without_a_change_of_clocks_are_dropped(
    etl: Callable[..., Found], tmp_path: Path
) -> None:
    made = rows(load())
    twice = [*made[:8], made[8], made[8], made[9], made[9], *made[12:]]
    found = etl(in_folder(tmp_path / "in", {"1.csv": sgsc("1", twice)}))
    assert found.measured_kwh["1"] == pytest.approx(sum(load()) - sum(load()[10:12]), abs=1e-4)
    assert (found.imputed["1"], found.report.faults["duplicate"]) == (2, 2)


def test_files_of_any_name_and_packing_are_read(etl: Callable[..., Found], tmp_path: Path) -> None:
    def text(name: str) -> bytes:
        return sgsc(name, rows(load()))

    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("x.csv", text("6"))
    files = {
        "1.csv.gz": gzip.compress(text("1")), "2.CSV": text("2"), "3.Csv.GZ": gzip.compress(text("3")),
        "4.csv.bz2": bz2.compress(text("4")), "5.txt": text("5"), "6.csv.zip": zipped.getvalue(),
        "7.csv": gzip.compress(text("7")), "._1.csv.gz": b"\0\5\26\7", "8.pdf": b"%PDF", "9.csv": b"\x1f\x8bcut",
    }  # fmt: skip
    data = in_folder(tmp_path / "in", files)
    (data / "10.csv").symlink_to(data / "nowhere")
    (data / "11.csv").mkdir()
    found = etl(data)
    assert set(found.measured_kwh) == set("1234567")
    assert all(kwh == pytest.approx(sum(load()), abs=1e-4) for kwh in found.measured_kwh.values())
    passed = {name: rule for rule, names in found.report.passed_over.items() for name in names}
    assert set(passed) == {"._1.csv.gz", "8.pdf", "10.csv", "11.csv"}
    assert set(found.report.unusable) == {"9.csv"}


def test_a_meters_register_is_refused_or_differenced(etl: Callable[..., Found], tmp_path: Path) -> None:
    counted = [round(5000 + sum(load()[:n]), 3) for n in range(480)]
    good = meter_csv("2", series(load()))
    data = write_heapo(tmp_path / "in", {"1": meter_csv("1", series(counted)), "2": good})
    refused = etl(data, SETTINGS)
    assert set(refused.measured_kwh) == {"2"}
    assert "a meter's register" in refused.report.unusable["1.csv"]
    taken = etl(data, SETTINGS, registers="differences")
    assert taken.measured_kwh["1"] == pytest.approx(sum(load()[:479]), abs=1e-3)


def test_wh_under_a_heading_of_kwh_are_no_household(etl: Callable[..., Found], tmp_path: Path) -> None:
    data = {str(n): meter_csv(str(n), series(load())) for n in range(2, 9)}
    wh = [value * 1000 for value in load()]
    found = etl(write_heapo(tmp_path / "in", {"1": meter_csv("1", series(wh)), **data}), SETTINGS)
    assert "1" not in found.measured_kwh
    assert "etl.max_power_kw" in found.report.unusable["1.csv"]
    quiet = [value * 1000 for value in [0.02] * 480]  # possible each by itself: 20 kWh in 15 minutes
    found = etl(write_heapo(tmp_path / "in2", {"1": meter_csv("1", series(quiet)), **data}), SETTINGS)
    assert list(found.report.doubtful) == ["1"]


def test_24_00_is_the_next_days_midnight(etl: Callable[..., Found], tmp_path: Path) -> None:
    def said(at: str) -> str:
        day = datetime.fromisoformat(at)
        return f"{(day - timedelta(days=1)).date()} 24:00:00" if (day.hour, day.minute) == (0, 0) else at

    made = [(said(at), value) for at, value in rows(load())]
    found = etl(in_folder(tmp_path / "in", {"1.csv": sgsc("1", made)}))
    assert found.measured_kwh["1"] == pytest.approx(sum(load()), abs=1e-4)
    assert (found.imputed["1"], found.report.faults["hour_24"]) == (0, DAYS)


def test_labels_a_few_ms_early_are_the_slots(etl: Callable[..., Found], tmp_path: Path) -> None:
    made = [
        (str(datetime.fromisoformat(at) - timedelta(milliseconds=3)) if n % 3 == 0 else at, value)
        for n, (at, value) in enumerate(rows(load()))
    ]
    found = etl(in_folder(tmp_path / "in", {"1.csv": sgsc("1", made)}))
    assert found.measured_kwh["1"] == pytest.approx(sum(load()), abs=1e-4)
    assert (found.imputed["1"], found.report.faults["snapped"]) == (0, 160)


def test_the_trial_as_it_is_published(etl: Callable[..., Found], tmp_path: Path) -> None:
    header = (
        "CUSTOMER_ID, READING_DATETIME, CALENDAR_KEY, EVENT_KEY, GENERAL_SUPPLY_KWH, CONTROLLED_LOAD_KWH, "
        "GROSS_GENERATION_KWH, NET_GENERATION_KWH, OTHER_KWH"
    )
    lines = [header]
    for n, (at, value) in enumerate(rows(load())):
        lines += [f"{house}, {at}, 1, 0, {value * house:.3f}, {0.1 if n % 2 else ''}, 0, 0, 0" for house in (1, 2, 3)]
    found = etl(in_folder(tmp_path / "in", {"CD_INTERVAL_READING_ALL.csv": "\n".join([*lines, ""]).encode()}))
    for house in (1, 2, 3):
        assert found.measured_kwh[str(house)] == pytest.approx(house * sum(load()) + 24, abs=1e-3)


@pytest.mark.parametrize(("minutes", "cadence"), [(60, 15), (60, 60), (10, 30), (5, 15), (30, 15)])
def test_a_file_of_another_step_keeps_its_energy(
    etl: Callable[..., Found], tmp_path: Path, minutes: int, cadence: int
) -> None:
    count = DAYS * 1440 // minutes
    data = write_heapo(tmp_path / "in", {"1": meter_csv("1", series(load(count), minutes=minutes))})
    found = etl(data, SETTINGS, cadence_minutes=cadence)
    assert found.measured_kwh["1"] == pytest.approx(sum(load(count)), abs=1e-3)
    assert found.report.faults["other_step"] == count


def test_a_step_that_changes_within_a_file_keeps_its_energy(etl: Callable[..., Found], tmp_path: Path) -> None:
    first, second = load(240), [value / 6 for value in load(240 * 6)]
    change = START + timedelta(days=5)
    made = [*rows(first), *((at, round(value, 5)) for at, value in rows(second, 5, change))]
    found = etl(in_folder(tmp_path / "in", {"1.csv": sgsc("1", made)}))
    assert found.measured_kwh["1"] == pytest.approx(sum(value for _, value in made), abs=1e-3)
    assert found.imputed["1"] == 0


def test_a_meter_of_net_energy_is_taken_as_the_config_says(etl: Callable[..., Found], tmp_path: Path) -> None:
    net = [value - 0.5 if 20 <= n % 48 < 32 else value for n, value in enumerate(load())]
    data = in_folder(tmp_path / "in", {"1.csv": sgsc("1", rows(net)), "2.csv": sgsc("2", rows(load()))})
    assert "a meter of net energy" in etl(data).report.unusable["1.csv"]
    bought, sold = sum(max(value, 0) for value in net), sum(max(-value, 0) for value in net)
    for way, kwh in (("import", bought), ("export", sold), ("net", bought - sold)):
        assert etl(data, net_meters=way).measured_kwh["1"] == pytest.approx(kwh, abs=1e-3)


def test_energy_that_comes_after_a_gap_is_spread_over_it_or_missing(etl: Callable[..., Found], tmp_path: Path) -> None:
    values, made = load(), rows(load())
    caught_up = [*made[:200], (made[248][0], round(sum(values[200:249]), 3)), *made[249:]]
    data = in_folder(tmp_path / "in", {"1.csv": sgsc("1", caught_up)})
    found = etl(data)
    assert found.measured_kwh["1"] == pytest.approx(sum(values), abs=1e-3)
    assert (found.imputed["1"], found.report.faults["catch_up"]) == (0, 1)
    missing = etl(data, catch_up="missing")
    assert missing.measured_kwh["1"] == pytest.approx(sum(values) - sum(values[200:249]), abs=1e-3)
    assert missing.imputed["1"] == 49


def test_a_folder_without_one_usable_file_says_what_took_the_rows(etl: Callable[..., Found], tmp_path: Path) -> None:
    made = [(at.replace("-", "."), value) for at, value in rows(load())]
    with pytest.raises(NeuroGridError) as refused:
        etl(in_folder(tmp_path / "in", {"1.csv": sgsc("1", made)}))
    assert "2013.06.01 00:30:00" in str(refused.value)
