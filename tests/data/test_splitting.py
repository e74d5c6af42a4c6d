"""Files of many households are split by household, and each then reads as if it had a file of its own."""

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import test_espi
import test_homeassistant
import test_nem
import test_p1
import test_simbench
from made_layouts import all_found, declared, found, kwh, lines, moments, opened, split, trial_file
from meter_files import settings
from pyspark.sql import SparkSession

from neurogrid.data.etl import deal, run_etl
from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.folder import MeterFile
from neurogrid.data.layouts import formats, parts
from neurogrid.data.layouts.buckets import Bucket
from neurogrid.data.layouts.builtin import BUILT_IN
from neurogrid.data.layouts.declaration import Declaration
from neurogrid.data.layouts.rows import ROWS
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.sources import Source, open_source
from neurogrid.data.tables import read_tables
from neurogrid.errors import InputError
from neurogrid.storage import place


def many_files(raw: Path, separator_rows: int = 40) -> Path:
    """Readings of five households in monthly exports, with faults of rows, cells, names and files."""
    raw.mkdir(parents=True)
    for month in (1, 2):
        rows = [
            (f" H{h}" if n % 7 else f"H{h} ", f"{at:%Y-%m-%dT%H:%M:%S}Z", value)
            for h in range(5)
            for n, (at, value) in enumerate(
                zip(moments(f"2025-0{month}-01", 200, 15), kwh(10 * month + h, 200), strict=True)
            )
        ]
        rows[separator_rows] = ("H0", rows[separator_rows][1], "oops")
        rows[separator_rows + 1] = ("H0", "noon", 1.0)
        rows[separator_rows + 2] = ("H0", rows[separator_rows + 2][1], "")
        rows.insert(separator_rows + 3, ("H0", "one cell less"))
        rows.insert(separator_rows + 9, ("", "2025-01-01T00:00:00Z", 1.0))
        rows.append(("../up", "2025-01-01T00:00:00Z", 1.0))
        (raw / f"2025-0{month}.csv").write_text("id,at,kwh\n" + lines(rows))
    (raw / "broken.csv.gz").write_bytes(gzip.compress(b"id,at,kwh\n" + b"H1,2025-03-01T00:00:00Z,1\n" * 5000)[:-9])
    return raw


LONG = Declaration("generic", shape="long", household="id", time=("at",), energy=("kwh",))


def test_what_cannot_be_used_in_files_of_many_households_is_listed_by_household_or_file(tmp_path: Path) -> None:
    source = open_source("generic", place(str(many_files(tmp_path / "raw"))), (), None, generic=LONG)
    with split(source, tmp_path / "s") as listing:
        assert [file.household_id for file in listing.files] == ["H0", "H1", "H2", "H3", "H4"]
        assert {name: dict(log.counts) for name, log in listing.faults.items()} == {"../up": {Fault.UNUSABLE_NAME: 1}}
        logs = {name: {str(k): n for k, n in log.counts.items() if n} for name, log in listing.list_faults.items()}
        by_file = {"broken_row": 1, "wrong_household": 1, "trimmed_name": 997}
        assert logs == {"2025-01.csv": by_file, "2025-02.csv": by_file, "broken.csv.gz": {"unreadable_file": 1}}
        assert "cut off" in listing.list_faults["broken.csv.gz"].notes[0].text or "Truncated" in str(
            listing.list_faults["broken.csv.gz"].notes
        )
        faults = FaultLog(9)
        rows = source.read(listing.files[0], faults)
        assert {str(kind): n for kind, n in faults.counts.items() if n} == {"bad_number": 2, "bad_timestamp": 2}
        assert {(note.line, note.text) for note in faults.notes if note.kind == Fault.BAD_NUMBER} == {
            (42, f"{name}: kwh = 'oops'; wanted is 0.25, with a decimal point and no other marks")
            for name in ("2025-01.csv", "2025-02.csv")
        }
        assert (rows.file_rows, len(rows.labels), int(rows.empty.sum())) == (400, 398, 2)


@pytest.mark.parametrize("piece_bytes", [100, 999, 4096])
def test_pieces_of_a_file_give_the_same_as_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    source = open_source("generic", place(str(many_files(tmp_path / "raw"))), (), None, generic=LONG)
    whole = read_all(source, tmp_path / "a")
    monkeypatch.setattr("neurogrid.data.staging.PIECE_BYTES", piece_bytes)
    monkeypatch.setattr("neurogrid.data.staging.LONG_BUCKET_BYTES", 5000)
    monkeypatch.setattr(parts, "BLOCK_BYTES", 300)
    monkeypatch.setattr(parts, "PART_ROWS", 70)
    assert read_all(source, tmp_path / "b") == whole


def read_all(source: Source, folder: Path) -> object:
    """All that a source says of its households and files."""
    with split(source, folder) as listing:
        households = {}
        for file in listing.files:
            faults = FaultLog(9)
            rows = source.read(file, faults)
            households[file.household_id] = (
                rows.labels.tolist(),
                [value for value in rows.kwh.tolist() if value == value],
                rows.line.tolist(),
                rows.file_rows,
                sorted((str(note.kind), note.line, note.text) for note in faults.notes),
            )
        logs = {
            name: sorted((str(n.kind), n.line, n.text.split(":")[0]) for n in log.notes)
            for name, log in listing.list_faults.items()
        }
        return households, logs


def test_the_order_of_rows_and_files_changes_no_energy(tmp_path: Path) -> None:
    raw = many_files(tmp_path / "raw")
    (raw / "broken.csv.gz").unlink()
    source = open_source("generic", place(str(raw)), (), None, generic=LONG)
    plain = all_found(source, tmp_path / "a")
    other = tmp_path / "other"
    other.mkdir()
    for old, new in (("2025-01.csv", "z.csv"), ("2025-02.csv", "a.csv")):
        head, *rows = (raw / old).read_text().splitlines()
        (other / new).write_text("\n".join([head, *sorted(rows, key=lambda row: row[::-1])]) + "\n")
    again = all_found(declared(other, source), tmp_path / "b")
    assert {name: sorted(e.items()) for name, (e, _) in again.items()} == {
        name: sorted(e.items()) for name, (e, _) in plain.items()
    }


def test_a_household_reads_the_same_from_its_own_file_and_from_one_of_all(tmp_path: Path) -> None:
    trial_file(tmp_path / "one", households=3)
    (tmp_path / "each").mkdir()
    head, *rows = (tmp_path / "one" / "CD_INTERVAL_READING_ALL_NO_QUOTES.csv").read_text().splitlines()
    rows[150] = rows[150].replace(rows[150].split(",")[4], "??")
    (tmp_path / "one" / "CD_INTERVAL_READING_ALL_NO_QUOTES.csv").write_text("\n".join([head, *rows]) + "\n")
    for name in ("710", "711", "712"):
        own = "\n".join([head, *(row for row in rows if row.startswith(name))]) + "\n"
        (tmp_path / "each" / f"{name}.csv").write_text(own)
    of_all, of_each = opened(tmp_path / "one"), opened(tmp_path / "each")
    assert (of_all.declaration.shape, of_each.declaration.shape) == ("long", "household")
    each = {file.household_id: found(of_each, file) for file in of_each.listing(9).files}
    assert all_found(of_all, tmp_path / "s") == each
    assert each["711"][1] == {"bad_number": 1}


def test_the_energy_of_a_file_of_many_is_what_duckdb_sums(tmp_path: Path) -> None:
    trial_file(tmp_path / "raw", households=20, slots=500)
    file = tmp_path / "raw" / "CD_INTERVAL_READING_ALL_NO_QUOTES.csv"
    general, controlled, customer = "column4", "column5", "column0"
    table = f"read_csv('{file}', skip=1, header=false)"
    query = f"SELECT {customer}, sum({general} + coalesce({controlled}, 0)) FROM {table} GROUP BY 1"
    expected = {str(name): total for name, total in duckdb.sql(query).fetchall()}
    totals = {name: sum(e.values()) for name, (e, _) in all_found(opened(tmp_path / "raw"), tmp_path / "s").items()}
    assert totals == pytest.approx(expected, rel=1e-9)


class Beeps:
    """A made-up format: `beep HOUSEHOLD EPOCH_S KWH` a line."""

    NAME, ENDS, LABELS, REGISTER, MINUTES = "beeps", False, "utc", False, 15

    def is_it(self, beginning: bytes, name: str) -> str:
        return "its lines begin with beep" if beginning.startswith(b"beep ") else ""

    def rows(self, stream, name: str, faults: FaultLog) -> Iterator[pa.Table]:
        rows = []
        for number, line in enumerate(stream.read().decode().splitlines(), 1):
            word, household, at, value = line.split()
            if word != "beep":
                raise UnusableFileError(Fault.UNREADABLE_FILE, f"line {number} begins with {word}")
            rows.append((household, int(at) * 1_000_000, float(value), float("nan"), False, 15, number))
        columns = zip(*rows, strict=True)
        yield pa.table([pa.array(c, f.type) for c, f in zip(columns, ROWS, strict=True)], schema=ROWS)


def test_a_format_of_its_own_goes_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beeps = Declaration("beeps", format="beeps", shape="long", zone="UTC")
    monkeypatch.setitem(formats.FORMATS, "beeps", Beeps())
    monkeypatch.setattr("neurogrid.data.layouts.recognise.BUILT_IN", (*BUILT_IN, beeps))
    rows = [("beep", f"k{h}", int(at.timestamp()), 0.5 + h) for at in moments("2025-01-01", 96, 15) for h in range(2)]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "x.txt").write_text(lines(rows, " "))
    (tmp_path / "raw" / "y.txt").write_text("boop k0 1 1\n")
    source = opened(tmp_path / "raw")
    assert source.kind == "beeps"
    with split(source, tmp_path / "s") as listing:
        assert [file.household_id for file in listing.files] == ["k0", "k1"]
        assert sum(found(source, listing.files[1])[0].values()) == 96 * 1.5
        assert listing.list_faults["y.txt"].notes[0].text == "line 1 begins with boop"


def test_the_etl_splits_and_cleans_and_leaves_no_split_rows_behind(tmp_path: Path, spark: SparkSession) -> None:
    trial_file(tmp_path / "raw", households=5, slots=900)
    warehouse = tmp_path / "w"
    (warehouse / "staging").mkdir(parents=True)
    (warehouse / "staging" / "left by a killed run").touch()
    report = run_etl(
        lambda: spark,
        opened(tmp_path / "raw"),
        place(str(warehouse)),
        settings(cadence_minutes=None),
        lambda done, of: None,
    )
    assert (report.households, report.file_rows, report.faults, report.unusable) == (5, 4500, {}, {})
    assert not (warehouse / "staging").exists()
    tables = read_tables(place(str(warehouse)))
    assert tables is not None
    for h in range(5):
        file = warehouse / tables.by_household[f"71{h}"].path
        table = pq.read_table(file, partitioning=None)
        expected = [value + (0 if h else 0.25) for value in kwh(h, 900)]
        assert table.column("kWh").to_pylist() == pytest.approx(expected, rel=1e-6)


FORMAT_FILES = {
    "nem12": ("x.csv", test_nem.SAMPLE, ""),
    "espi": ("x.xml", test_espi.SAMPLE, ""),
    "p1": ("x.log", test_p1.SAMPLE, ""),
    "homewizard": ("x.csv", test_p1.WIZARD, "Europe/Amsterdam"),
    "dsmr_reader": ("x.csv", test_p1.READER, ""),
    "homeassistant": ("x.csv", test_homeassistant.SAMPLE, ""),
    "ha_statistics": ("x.csv", test_homeassistant.STATISTICS, "Europe/Amsterdam"),
    "simbench": ("LoadProfile.csv", test_simbench.SAMPLE, "Europe/Berlin"),
}


@pytest.mark.parametrize("kind", FORMAT_FILES)
def test_each_format_is_recognised_alone_and_read_by_household(tmp_path: Path, kind: str) -> None:
    name, content, timezone = FORMAT_FILES[kind]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / name).write_bytes(content.encode() if isinstance(content, str) else content)
    source = opened(tmp_path / "raw", timezone=timezone)
    assert source.kind == kind
    with split(source, tmp_path / "s") as listing:
        assert listing.files
        faults = FaultLog(9)
        assert any(len(source.read(file, faults).labels) for file in listing.files)
    if timezone:
        with pytest.raises(InputError, match=r"source\.timezone"):
            opened(tmp_path / "raw")


def test_households_of_one_bucket_are_dealt_to_one_task(tmp_path: Path) -> None:
    bucket = Bucket(3, place(str(tmp_path)), (), (), {}, {})
    files = [MeterFile(f"h{n}", "none", place("x"), 10, bucket if n % 2 else None) for n in range(20)]
    hands = deal(files, 8)
    assert sorted(file.household_id for hand in hands for file in hand) == sorted(file.household_id for file in files)
    assert sum(any(file.bucket for file in hand) for hand in hands) == 1


def test_the_time_zone_of_the_households_is_a_key_for_every_layout(tmp_path: Path) -> None:
    source = opened(trial_file(tmp_path), timezone="Australia/Perth")
    assert source.timezone == "Australia/Perth"
    assert replace(source.declaration, timezone="Australia/Sydney") == opened(tmp_path).declaration


def test_households_are_left_out_by_name_and_by_limit(tmp_path: Path) -> None:
    trial_file(tmp_path / "raw")
    source = open_source("auto", place(str(tmp_path / "raw")), ("711",), 1)
    with split(source, tmp_path / "s") as listing:
        assert [file.household_id for file in listing.files] == ["710"]
        assert listing.excluded == ("711",)
        assert listing.passed_over == {"beyond source.limit_households": ("712",)}
