"""Tables that somebody could have: what is read sums to what stands in them, and what is not is counted or refused."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from made_layouts import all_found, found, kwh, moments
from meter_files import FIRST, meter_csv, series, write_heapo

from neurogrid.data.layouts.declaration import Declaration
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.sources import Source, open_source
from neurogrid.errors import RunError
from neurogrid.storage import place

OWN = Declaration("generic", separator=";", time=("at",), energy=("kwh",), zone="UTC")
LONG = replace(OWN, shape="long", household="id")
NO_NUMBERS = ("1,234.5", "1 234.5", "1\u202f234.5", "1'234.5", "0.2 kWh", "=0.2", "1_0")
NUMBERS = {"-0.0": 0.0, "+.5": 0.5, "1e-400": 0.0}
VALUES = kwh(1, 384)
TIMES = moments("2025-01-01", 384, 15)
ROWS = list(zip(TIMES, VALUES, strict=True))


def source(folder: Path, content: str | bytes, declaration: Declaration = OWN) -> Source:
    (folder / "raw").mkdir()
    (folder / "raw" / "7.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return open_source("generic", place(str(folder / "raw")), (), None, generic=declaration)


def total(
    folder: Path, content: str, declaration: Declaration = OWN, **changes: object
) -> tuple[float, dict[str, int]]:
    own = source(folder, content, declaration)
    energies, faults = found(own, own.listing(9).files[0], **changes)
    return sum(energies.values()), faults


def table(rows: list[tuple[datetime, float]], head: str = "at;kwh", line: str = "{at};{kwh}") -> str:
    return "\n".join([head, *(line.format(at=at.strftime("%Y-%m-%d %H:%M:%S"), kwh=kwh) for at, kwh in rows), ""])


@pytest.mark.parametrize("first", ["2025-04-04T00:00", "2025-10-03T00:00"])
def test_clocks_that_change_by_half_an_hour_lose_no_reading(tmp_path: Path, first: str) -> None:
    zone = "Australia/Lord_Howe"
    times = moments(first, 384, 15, zone)
    content = table([(at.astimezone(ZoneInfo(zone)), own) for at, own in zip(times, VALUES, strict=True)])
    own = source(tmp_path, content, replace(OWN, zone=zone))
    energies, faults = found(own, own.listing(9).files[0])
    assert energies == dict(zip(times, VALUES, strict=True))
    assert faults == {}


def test_the_header_in_the_middle_of_files_put_together_is_no_reading_and_no_household(tmp_path: Path) -> None:
    line = "h1;{at};{kwh}"
    content = table(ROWS[:192], "id;at;kwh", line) + table(ROWS[192:], " ID ;At;KWH", line)
    households = all_found(source(tmp_path, content, LONG), tmp_path / "s")
    assert list(households) == ["h1"]
    assert sum(households["h1"][0].values()) == pytest.approx(sum(VALUES))
    (tmp_path / "own").mkdir()
    again = meter_csv("1", series(VALUES[192:], FIRST + timedelta(minutes=15 * 192)))
    root = write_heapo(tmp_path / "own", {"1": meter_csv("1", series(VALUES[:192])) + again})
    heapo = open_source("heapo", place(str(root)), (), None)
    energies, faults = found(heapo, heapo.listing(9).files[0])
    assert (sum(energies.values()), faults) == (pytest.approx(sum(VALUES)), {"repeated_header": 1})


def test_files_put_together_whose_columns_change_places_are_refused(tmp_path: Path) -> None:
    both = replace(LONG, energy=("in",), export=("out",))
    content = table(ROWS[:192], "id;at;in;out", "h1;{at};{kwh};9") + table(
        ROWS[192:], "id;at;out;in", "h1;{at};9;{kwh}"
    )
    with pytest.raises(RunError) as refused:
        all_found(source(tmp_path, content, both), tmp_path / "s")
    assert "line 194 has the header again, with other columns in the places of id, at, in, out" in refused.value.found


def test_a_first_reading_that_holds_what_was_used_before_is_missing_and_counted(tmp_path: Path) -> None:
    assert total(tmp_path, table([(TIMES[0], 40.0), *ROWS[1:]])) == (pytest.approx(sum(VALUES[1:])), {"catch_up": 1})


@pytest.mark.parametrize("first", [4.0, 4.5])
def test_a_first_reading_is_kept_where_others_are_about_as_high(tmp_path: Path, first: float) -> None:
    rows = [(at, {0: first, 200: 4.0}.get(n, own)) for n, (at, own) in enumerate(ROWS)]
    assert total(tmp_path, table(rows)) == (pytest.approx(sum(own for _, own in rows)), {})


def test_a_row_with_two_faults_is_one_row(tmp_path: Path) -> None:
    rows = [f"{at:%Y-%m-%d %H:%M:%S};{own}" if n % 5 > 1 else "noon;x" for n, (at, own) in enumerate(ROWS)]
    kept = sum(own for n, own in enumerate(VALUES) if n % 5 > 1)
    assert total(tmp_path, "\n".join(["at;kwh", *rows])) == (
        pytest.approx(kept),
        {"bad_timestamp": 154, "bad_number": 154},
    )


def test_rows_that_all_have_a_cell_too_many_are_shown(tmp_path: Path) -> None:
    with pytest.raises(UnusableFileError, match=r"384 rows that cannot be used: .*line 2: 3 cells for 2"):
        total(tmp_path, table(ROWS, line="{at};{kwh};"))


def test_days_and_months_that_change_places_are_refused_and_not_half_read(tmp_path: Path) -> None:
    rows = zip(moments("2025-01-01", 365 * 24, 60), kwh(2, 365 * 24), strict=True)
    content = "\n".join(["at;kwh", *(f"{at:%m/%d/%Y %H:%M};{own}" for at, own in rows)])
    with pytest.raises(
        UnusableFileError, match="'01/13/2025 00:00'; wanted is 01/02/2025 00:15, as %d/%m/%Y %H:%M says"
    ):
        total(tmp_path, content, replace(OWN, time_format="%d/%m/%Y %H:%M"))


@pytest.mark.parametrize(
    ("cell", "adds", "fault"),
    [
        *((cell, 0.0, "bad_number") for cell in NO_NUMBERS),
        *((cell, adds, "") for cell, adds in NUMBERS.items()),
        ("1e308", 0.0, "absurd"),
        ("inf", 0.0, "not_finite"),
    ],
)
def test_a_cell_is_a_number_or_is_counted(tmp_path: Path, cell: str, adds: float, fault: str) -> None:
    rows = [(at, cell if n == 10 else own) for n, (at, own) in enumerate(ROWS)]
    kept = sum(VALUES) - VALUES[10] + adds
    assert total(tmp_path, table(rows)) == (pytest.approx(kept), {fault: 1} if fault else {})


@pytest.mark.parametrize("at", [5, 200, 382])
def test_a_register_that_falls_by_one_watt_hour_keeps_its_total(tmp_path: Path, at: int) -> None:
    read = [round(sum(VALUES[: n + 1]), 3) for n in range(384)]
    read[at] = round(read[at - 1] - 0.001, 3)
    energy, faults = total(tmp_path, table(list(zip(TIMES, read, strict=True))), registers="differences")
    assert energy == pytest.approx(read[-1] - read[0])
    assert faults["register_reset"] == 1


def test_stray_five_minutes_among_quarter_hours_and_mixed_line_ends_change_no_energy(tmp_path: Path) -> None:
    stray = [(TIMES[50] + timedelta(minutes=5), 0.3), (TIMES[120] + timedelta(minutes=10), 0.2)]
    lines = table(sorted([*ROWS, *stray])).splitlines()
    content = "".join(line + ("\r\n", "\n", "\r")[n % 3] for n, line in enumerate(lines))
    assert total(tmp_path, content) == (pytest.approx(sum(VALUES) + 0.5), {})
