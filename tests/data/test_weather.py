"""What a station's file gives: hours by label, every row that cannot be used counted and listed in the file's terms."""

from datetime import timedelta
from pathlib import Path

import pytest
from meter_files import FIRST, SETTINGS, label, weather_csv

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.weather import Station, read_station, station_once
from neurogrid.storage import place

HOURS = [(label(FIRST + timedelta(hours=n)), 5.0 + n, 60.0 + n, float(n)) for n in range(24)]
GAP_DAYS = SETTINGS.longest_gap_days


def read(tmp_path: Path, text: str | bytes) -> tuple[Station, FaultLog]:
    file = tmp_path / "8jB.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    faults = FaultLog(20)
    return read_station(place(str(file)), "8jB", GAP_DAYS, faults), faults


def with_row(row: str) -> str:
    return weather_csv("8jB", HOURS) + row + "\n"


def test_a_clean_file_has_its_hours_and_no_fault(tmp_path: Path) -> None:
    station, faults = read(tmp_path, weather_csv("8jB", HOURS))
    assert station.first == FIRST.timestamp() // 3600
    assert station.values.tolist() == [list(row[1:]) for row in HOURS]
    assert not faults.counts


@pytest.mark.parametrize(
    ("row", "kind", "text"),
    [
        ("8jB;;1;2;3", Fault.BAD_TIMESTAMP, "Timestamp is empty"),
        (
            "8jB;noon;1;2;3",
            Fault.BAD_TIMESTAMP,
            "Timestamp = 'noon'; wanted is 2025-02-01 00:15:00+00:00, with its offset from UTC",
        ),
        (f"other;{label(FIRST)};1;2;3", Fault.WRONG_STATION, "Weather_ID = other"),
        (f";{label(FIRST)};1;2;3", Fault.WRONG_STATION, "Weather_ID = None"),
        ("8jB;2023-02-25 10:30:00+00:00;1;2;3", Fault.OFF_GRID, "2023-02-25T10:30:00Z"),
        ("8jB;2023-02-25 10:00:00.25+00:00;1;2;3", Fault.OFF_GRID, "2023-02-25T10:00:00.250000Z"),
        ("8jB;2023-02-25 10:00:00+00:00;1;2;3", Fault.DUPLICATE, "2023-02-25T10:00:00Z"),
        ("8jB;2999-01-01 00:00:00+00:00;1;2;3", Fault.FAR_FROM_THE_REST, "2999-01-01T00:00:00Z"),
        ("8jB;9999-01-01 00:00:00+00:00;1;2;3", Fault.FAR_FROM_THE_REST, "9999-01-01T00:00:00Z"),
        ("8jB;0001-01-01 00:00:00+00:00;1;2;3", Fault.FAR_FROM_THE_REST, "0001-01-01T00:00:00Z"),
    ],
)
def test_each_kind_of_bad_row_costs_that_row_and_is_listed_with_its_line(
    tmp_path: Path, row: str, kind: Fault, text: str
) -> None:
    clean, _ = read(tmp_path, weather_csv("8jB", HOURS))
    station, faults = read(tmp_path, with_row(row))
    assert (station.first, station.values.tobytes()) == (clean.first, clean.values.tobytes())
    assert [(note.kind, note.line, note.text) for note in faults.notes] == [(kind, 26, text)]
    assert faults.counts == {kind: 1}


def test_an_identifier_that_is_no_utf8_costs_its_row_and_not_the_run(tmp_path: Path) -> None:
    row = f"8jB\xe9;{label(FIRST)};1;2;3"
    station, faults = read(tmp_path, with_row(row).encode("latin-1"))
    assert len(station.values) == 24
    assert [(note.kind, note.line) for note in faults.notes] == [(Fault.WRONG_STATION, 26)]


def test_of_two_rows_of_an_hour_the_first_in_the_file_is_kept_in_whatever_order_they_stand(tmp_path: Path) -> None:
    again = [(HOURS[n][0], -1.0, -1.0, -1.0) for n in (9, 3)]
    station, faults = read(tmp_path, weather_csv("8jB", [*HOURS[::-1], *again]))
    assert station.values.tolist() == [list(row[1:]) for row in HOURS]
    assert [note.line for note in faults.notes] == [26, 27]


def test_a_file_of_another_station_gives_no_hour_and_every_row_is_counted(tmp_path: Path) -> None:
    (tmp_path / "8jB.csv").write_text(weather_csv("other", HOURS))
    faults = FaultLog(5)
    with pytest.raises(UnusableFileError) as error:
        read_station(place(str(tmp_path / "8jB.csv")), "8jB", GAP_DAYS, faults)
    assert error.value.fault == Fault.NO_READINGS
    assert faults.counts == {Fault.WRONG_STATION: 24}


def test_a_process_that_keeps_a_station_keeps_it_for_the_gap_it_was_read_with(tmp_path: Path) -> None:
    file = tmp_path / "8jB.csv"
    file.write_text(weather_csv("8jB", [*HOURS, (label(FIRST + timedelta(days=30)), 1.0, 2.0, 3.0)]))
    wide, narrow = (station_once(place(str(file)), "8jB", days, FaultLog(5)) for days in (400.0, 7.0))
    assert (len(wide.values), len(narrow.values)) == (30 * 24 + 1, 24)
    assert station_once(place(str(file)), "8jB", 400.0, FaultLog(5)) is wide
    assert narrow.faults.counts == {Fault.FAR_FROM_THE_REST: 1}
