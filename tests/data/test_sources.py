"""What each kind of source makes of its files: columns by name, labels to UTC, faults counted with their lines."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from meter_files import CONTROL, FIRST, TREATMENT, label, meter_csv, readings, series, sgsc_csv, write_heapo

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.sources import NO_WEATHER, Source, open_source
from neurogrid.errors import InputError
from neurogrid.storage import place

DAY = [round(0.1 + n % 7 / 10, 3) for n in range(96)]


def read(root: Path, kind: str = "auto", household: str | None = None) -> tuple[pa.Table, FaultLog]:
    source: Source = open_source(kind, place(str(root)), (), None)
    files = source.listing(20).files
    file = next(file for file in files if household in (None, file.household_id))
    faults = FaultLog(20)
    return readings(source, file, faults).table, faults


def heapo(tmp_path: Path, content: str | bytes) -> tuple[pa.Table, FaultLog]:
    return read(write_heapo(tmp_path, {"1": content}))


def test_both_header_orders_give_the_same_table(tmp_path: Path) -> None:
    tables = [
        heapo(tmp_path / name, meter_csv("1", series(DAY), header))[0]
        for name, header in (("a", CONTROL), ("b", TREATMENT))
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].num_rows == 96
    assert tables[0].column("Timestamp")[0].as_py() == FIRST


def test_a_file_with_a_bad_cell_is_read_like_a_clean_one_but_for_that_cell(tmp_path: Path) -> None:
    clean, _ = heapo(tmp_path / "a", meter_csv("1", series(DAY)))
    rows = series(DAY)
    rows[40] = (rows[40][0], "n/a")
    broken, faults = heapo(tmp_path / "b", meter_csv("1", rows))
    assert broken.equals(pa.concat_tables([clean[:40], clean[41:]]))
    assert faults.counts == {Fault.BAD_NUMBER: 1}
    assert faults.notes[0].line == 42
    assert faults.notes[0].text.startswith("kWh_received_Total = 'n/a'; wanted is")


def put(row: int, *, at: str | None = None, kwh: str | None = None) -> str:
    rows = series(DAY)
    rows[row] = (at if at is not None else rows[row][0], kwh if kwh is not None else rows[row][1])
    return meter_csv("1", rows)


@pytest.mark.parametrize(
    ("content", "kind", "line"),
    [
        (put(10, kwh="0,5"), Fault.BAD_NUMBER, 12),
        (put(10, kwh="1.2.3"), Fault.BAD_NUMBER, 12),
        (put(10, kwh=""), Fault.NULL_VALUE, 12),
        (put(10, kwh="NaN"), Fault.NULL_VALUE, 12),
        (put(10, kwh="inf"), Fault.NOT_FINITE, 12),
        (put(10, kwh="1e999"), Fault.NOT_FINITE, 12),
        (put(10, kwh="-0.001"), Fault.NEGATIVE, 12),
        (put(10, kwh="50.001"), Fault.ABSURD, 12),
        (put(10, at="noon"), Fault.BAD_TIMESTAMP, 12),
        (put(10, at="2023-02-30 00:00:00+00:00"), Fault.BAD_TIMESTAMP, 12),
        (put(10, at="2023-02-25 02:30:00"), Fault.BAD_TIMESTAMP, 12),
        (put(10, at=""), Fault.BAD_TIMESTAMP, 12),
        (
            put(10).replace(f"1;unknown;control;{label(FIRST)}", f"2;unknown;control;{label(FIRST)}"),
            "wrong_household",
            2,
        ),
        (put(10).replace(";unknown;control", "", 1), Fault.BROKEN_ROW, 2),
    ],
)
def test_each_kind_of_bad_row_costs_that_row_and_is_listed_with_its_line(
    tmp_path: Path, content: str, kind: Fault, line: int
) -> None:
    table, faults = heapo(tmp_path, content)
    assert table.num_rows == 95
    assert faults.counts == {kind: 1}
    assert faults.notes[0].line == line


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", Fault.EMPTY_FILE),
        (b"\n\n\n", Fault.EMPTY_FILE),
        (meter_csv("1", []), Fault.EMPTY_FILE),
        (meter_csv("1", series(DAY)).replace("Timestamp", "Time"), Fault.MISSING_COLUMN),
        (meter_csv("1", series(DAY)).replace(";", ","), Fault.MISSING_COLUMN),
        (bytes(range(256)) * 20, Fault.UNREADABLE_FILE),
        (gzip.compress(meter_csv("1", series(DAY)).encode())[:-30], Fault.UNREADABLE_FILE),
        (b"\x1f\x8b" + b"junk" * 40, Fault.UNREADABLE_FILE),
    ],
)
def test_each_kind_of_unusable_file_is_named(tmp_path: Path, content: str | bytes, kind: Fault) -> None:
    with pytest.raises(UnusableFileError) as error:
        heapo(tmp_path, content)
    assert error.value.fault == kind


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ({"kwh": "0,5"}, "kWh_received_Total = '0,5'; wanted is 0.25, with a decimal point and no other marks"),
        ({"at": "noon"}, "Timestamp = 'noon'; wanted is 2025-02-01 00:15:00+00:00, with its offset from UTC"),
    ],
)
def test_a_bad_cell_is_shown_with_the_form_that_is_wanted(tmp_path: Path, cell: dict[str, str], says: str) -> None:
    _, faults = heapo(tmp_path, put(10, **cell))
    assert [note.text for note in faults.notes] == [says]


def test_spaces_around_a_household_are_left_out_and_counted_by_row(tmp_path: Path) -> None:
    content = put(0).replace("\n1;", "\n 1 ;", 30)
    table, faults = heapo(tmp_path, content)
    assert table.num_rows == 96
    assert faults.counts == {Fault.TRIMMED_NAME: 30}
    assert (faults.notes[0].line, faults.notes[0].text) == (2, "Household_ID = ' 1 '")


def test_an_identifier_that_is_no_utf8_costs_its_row_and_not_the_run(tmp_path: Path) -> None:
    content = meter_csv("1", series(DAY)).encode().replace(b"\n1;", b"\n1\xe9;", 1)
    table, faults = heapo(tmp_path, content)
    assert table.num_rows == 95
    assert faults.counts == {Fault.WRONG_HOUSEHOLD: 1}
    assert (faults.notes[0].line, faults.notes[0].text) == (2, "Household_ID = 1\ufffd")


def test_counts_go_on_where_the_list_of_faults_ends(tmp_path: Path) -> None:
    _, faults = heapo(tmp_path, meter_csv("1", series(["500"] * 50 + ["x"] * 30 + DAY)))
    assert faults.counts == {Fault.ABSURD: 50, Fault.BAD_NUMBER: 30}
    assert len(faults.notes) == 40


def half_hours(day: str, *times: str, kwh: str = "0.5") -> list[tuple[str, str, str]]:
    return [(f"{day} {time}:00", kwh, "0") for time in times]


def test_half_hour_labels_are_local_standard_time_at_the_end_of_the_slot(tmp_path: Path) -> None:
    (tmp_path / "7.csv.gz").write_bytes(sgsc_csv("7", [("2013-07-01 10:30:00", "0.5", "0.25")]))
    table, faults = read(tmp_path)
    assert str(table.column("Timestamp")[0]) == "2013-07-01 00:00:00+00:00"
    assert table.column("kWh").to_pylist() == [0.75]
    assert not faults.counts


def test_a_second_copy_at_the_change_of_clocks_moves_an_hour_later(tmp_path: Path) -> None:
    rows = [("2013-10-06 00:30:00", "1", "0"), ("2013-10-06 01:00:00", "2", "0"), ("2013-10-06 01:00:00", "4", "0")]
    rows += [("2013-10-06 01:30:00", "3", "0"), ("2013-10-06 01:30:00", "5", "0"), ("2013-10-06 03:00:00", "6", "0")]
    (tmp_path / "7.csv.gz").write_bytes(sgsc_csv("7", rows))
    table, faults = read(tmp_path)
    by_start = dict(zip(table.column("Timestamp").to_pylist(), table.column("kWh").to_pylist(), strict=True))
    assert [by_start[moment] for moment in sorted(by_start)] == [1, 2, 3, 4, 5, 6]
    assert faults.counts == {Fault.MOVED_DUPLICATE: 2}


def test_a_second_copy_whose_slot_is_taken_stays_a_duplicate(tmp_path: Path) -> None:
    rows = half_hours("2013-07-01", "01:00", "01:00", "02:00")
    (tmp_path / "7.csv.gz").write_bytes(sgsc_csv("7", rows))
    table, faults = read(tmp_path)
    assert table.num_rows == 3
    assert not faults.counts


def test_an_empty_controlled_load_is_none_and_an_unreadable_one_is_missing(tmp_path: Path) -> None:
    rows = [("2013-07-01 01:00:00", "0.5", ""), ("2013-07-01 01:30:00", "0.5", "?"), ("2013-07-01 02:00:00", "", "0.1")]
    (tmp_path / "7.csv.gz").write_bytes(sgsc_csv("7", rows))
    table, faults = read(tmp_path)
    assert table.column("kWh").to_pylist() == [0.5]
    assert faults.counts == {Fault.BAD_NUMBER: 1, Fault.NULL_VALUE: 1}


def a_folder(root: Path) -> Path:
    (root / "photos").mkdir()
    return root


def a_file(root: Path) -> Path:
    (root / "x.csv").write_text("a")
    return root / "x.csv"


def no_meters(root: Path) -> Path:
    write_heapo(root, {"1": "x"})
    (root / "smart_meter_data" / "15min" / "1.csv").unlink()
    return root


def no_station_column(root: Path) -> Path:
    write_heapo(root, {"1": meter_csv("1", series(DAY))})
    (root / "meta_data" / "households.csv").write_text("Household_ID;Group\n1;control\n")
    return root


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda root: root / "nowhere", "auto", "is not a folder"),
        (a_file, "auto", "is not a folder"),
        (a_folder, "auto", "does not hold known meter data"),
        (a_folder, "heapo", "does not hold meter data of kind heapo"),
        (a_folder, "sgsc", "does not hold meter data of kind sgsc"),
        (a_folder, "excel", 'no source of kind "excel"'),
        (no_meters, "heapo", "no household's file"),
        (no_station_column, "heapo", "cannot be used as the list of households"),
    ],
)
def test_a_wrong_folder_is_refused_with_what_was_found_and_what_to_do(
    tmp_path: Path, make: Callable[[Path], Path], kind: str, says: str
) -> None:
    with pytest.raises(InputError, match=says) as error:
        open_source(kind, place(str(make(tmp_path))), (), None).listing(5)
    assert error.value.found
    assert error.value.fix


def test_files_are_left_out_by_pattern_and_by_limit_and_the_list_is_checked(tmp_path: Path) -> None:
    meters = {name: meter_csv(name, series(DAY)) for name in ("11", "12", "21", "22")} | {"11.csv.gz": "x"}
    write_heapo(tmp_path / "heapo_data", meters)
    extra = tmp_path / "heapo_data" / "smart_meter_data" / "15min" / "99.csv"
    extra.write_text(meter_csv("99", series(DAY)))
    with (tmp_path / "heapo_data" / "meta_data" / "households.csv").open("a") as file:
        file.write("77;control;8jB;True\n")
    listing = open_source("heapo", place(str(tmp_path)), ("2*",), None).listing(5)
    assert [file.household_id for file in listing.files] == ["11", "12", "99"]
    assert listing.excluded == ("21.csv", "22.csv")
    kinds = {name: dict(log.counts) for name, log in listing.faults.items()}
    assert kinds == {
        "11": {Fault.SECOND_FILE: 1},
        "99": {Fault.NOT_LISTED: 1},
        "77": {Fault.NO_FILE: 1},
    }
    assert len(open_source("heapo", place(str(tmp_path)), (), 2).listing(5).files) == 2


AVAILABLE = "SmartMeterData_Available_15min"


@pytest.mark.parametrize(
    ("row", "kind", "text"),
    [
        ("2;control;8jB", Fault.BROKEN_ROW, "3 cells for 4: 2;control;8jB"),
        ("2;control;8jB;True;more", Fault.BROKEN_ROW, "5 cells for 4: 2;control;8jB;True;more"),
        (";control;8jB;True", Fault.NO_HOUSEHOLD, "Household_ID is empty, Weather_ID = 8jB"),
        ("1;control;8jB;True", Fault.LISTED_TWICE, "Household_ID = 1, as in line 2"),
        (
            "1;control;other;True",
            Fault.CONFLICTING_ROWS,
            f"Household_ID = 1, Weather_ID = other, {AVAILABLE} = True; line 2 has 8jB, True",
        ),
        (
            "1;control;;False",
            Fault.CONFLICTING_ROWS,
            f"Household_ID = 1, Weather_ID = none, {AVAILABLE} = False; line 2 has 8jB, True",
        ),
    ],
)
def test_each_kind_of_bad_row_of_the_household_list_is_listed_with_its_line_and_the_first_row_is_used(
    tmp_path: Path, row: str, kind: Fault, text: str
) -> None:
    write_heapo(tmp_path, {"1": meter_csv("1", series(DAY))}, {"8jB": ""})
    with (tmp_path / "meta_data" / "households.csv").open("a") as file:
        file.write(f"{row}\n")
    listing = open_source("heapo", place(str(tmp_path)), (), None).listing(5)
    (log,) = listing.list_faults.values()
    assert list(listing.list_faults) == ["meta_data/households.csv"]
    assert [(note.kind, note.line, note.text) for note in log.notes] == [(kind, 3, text)]
    assert log.counts == {kind: 1}
    assert [(file.household_id, file.weather_id) for file in listing.files] == [("1", "8jB")]
    assert listing.faults == {}


def test_spaces_in_the_household_list_change_nothing_and_are_counted(tmp_path: Path) -> None:
    root = write_heapo(tmp_path, {"1": meter_csv("1", series(DAY))}, {"8jB": ""})
    listed = root / "meta_data" / "households.csv"
    listed.write_text(listed.read_text().replace("1;control;8jB;True", " 1;control;8jB ;True "))
    listing = open_source("heapo", place(str(tmp_path)), (), None).listing(5)
    assert [(file.household_id, file.weather_id) for file in listing.files] == [("1", "8jB")]
    assert listing.list_faults["meta_data/households.csv"].counts == {Fault.TRIMMED_NAME: 1}
    assert listing.faults == {}


@pytest.mark.parametrize("station", ["x/../../../../outside", "..", "a" * 300])
def test_a_station_whose_name_would_be_a_path_is_none(tmp_path: Path, station: str) -> None:
    write_heapo(tmp_path, {"1": meter_csv("1", series(DAY))}, {"8jB": ""})
    listed = tmp_path / "meta_data" / "households.csv"
    listed.write_text(listed.read_text().replace("8jB", station))
    listing = open_source("heapo", place(str(tmp_path)), (), None).listing(5)
    assert [(file.household_id, file.weather_id) for file in listing.files] == [("1", NO_WEATHER)]
    assert listing.faults["1"].counts == {Fault.NO_WEATHER_STATION: 1}
    assert repr(station[:40])[:-1] in listing.faults["1"].notes[0].text


def test_a_file_whose_name_cannot_be_a_households_is_listed_and_left_out(tmp_path: Path) -> None:
    for name in ("1", "a" * 201, "2\t3"):
        write_heapo(tmp_path, {name: meter_csv(name, series(DAY))}, {"8jB": ""})
    listing = open_source("heapo", place(str(tmp_path)), (), None).listing(5)
    assert [file.household_id for file in listing.files] == ["1"]
    unusable = {name for name, log in listing.faults.items() if log.counts[Fault.UNUSABLE_NAME]}
    assert unusable == {"a" * 201, "2\t3"}


def test_a_household_list_without_a_fault_has_none(tmp_path: Path) -> None:
    write_heapo(tmp_path, {name: meter_csv(name, series(DAY)) for name in ("1", "2")}, {"8jB": ""})
    listing = open_source("heapo", place(str(tmp_path)), (), None).listing(5)
    assert not any(log.counts for log in listing.list_faults.values())


def test_real_households_lose_no_energy_at_the_change_of_clocks(real_data: Path) -> None:
    table, faults = read(real_data, "sgsc", "10006414")
    starts = table.column("Timestamp").cast(pa.int64()).to_numpy()
    assert faults.counts == {Fault.MOVED_DUPLICATE: 4}
    assert len(np.unique(starts)) == table.num_rows == 36061


def test_a_broken_row_that_is_no_text_is_counted_and_takes_no_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = meter_csv("1", series([0.1] * 60)).encode().splitlines(keepends=True)
    rows[30:30] = [b"1;control;unknown;\xee;\xff;0.1;;;;;\n", b"1;control;unknown;2023-02-25 00:00:00+00:00;\xee;;\n"]
    data = write_heapo(tmp_path, {"1": b"".join(rows)})
    source, faults = open_source("heapo", place(str(data)), (), None), FaultLog(5)
    found = source.read(source.listing(5).files[0], faults)
    assert faults.counts == {Fault.BROKEN_ROW: 1, Fault.BAD_NUMBER: 1}
    assert (len(found.kwh), float(found.kwh[~np.isnan(found.kwh)].sum())) == (61, pytest.approx(6.0))
    assert capfd.readouterr().err == ""
