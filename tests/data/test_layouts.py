"""Each layout's smallest example gives the energies that stand in it, at the moments that its labels mean."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from made_layouts import all_found, declared, found, kwh, lines, moments, opened, trial_file

from neurogrid.data.faults import FaultLog
from neurogrid.data.layouts.declaration import Declaration, Quality
from neurogrid.data.sources import open_source
from neurogrid.storage import place

LCL_HEADER = "LCLid,stdorToU,DateTime,KWH/hh (per half hour) "


@pytest.mark.parametrize("interleaved", [False, True])
def test_the_trial_as_published_is_split_by_customer(tmp_path: Path, interleaved: bool) -> None:
    source = opened(trial_file(tmp_path / "raw", interleaved=interleaved))
    assert (source.kind, source.declaration.shape) == ("sgsc", "long")
    households = all_found(source, tmp_path / "staging")
    assert sorted(households) == ["710", "711", "712"]
    for h, household in enumerate(sorted(households)):
        energies, faults = households[household]
        assert faults == {}
        assert min(energies) == datetime(2013, 5, 31, 14, tzinfo=UTC)
        assert list(energies.values()) == pytest.approx([v + (0 if h else 0.25) for v in kwh(h, 100)])


def test_low_carbon_london_is_read_with_its_spaces_fractions_and_nulls(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [
        (f"MAC00000{h}", "Std", f"{at:%Y-%m-%d %H:%M:%S}.0000000", f" {value} ")
        for h in (2, 3)
        for at, value in zip(moments("2012-10-12 00:30", 96, 30), kwh(h, 96), strict=True)
    ]
    rows.insert(50, ("MAC000002", "Std", "2012-10-13 01:07:11.0000000", "Null"))
    (raw / "CC_LCL-FullData.csv").write_bytes((LCL_HEADER + "\r\n" + lines(rows, end="\r\n")).encode())
    source = opened(raw)
    assert (source.kind, source.timezone) == ("lcl", "Europe/London")
    households = all_found(source, tmp_path / "staging")
    assert households["MAC000002"][1] == {"null_value": 1}
    for h in (2, 3):
        energies, _ = households[f"MAC00000{h}"]
        assert min(energies) == datetime(2012, 10, 12, tzinfo=UTC)
        assert list(energies.values()) == pytest.approx(kwh(h, 96))


def uci_file(raw: Path, first: str, days: int) -> dict[str, float]:
    """A wide file of 96 labels a day as its page describes it; returns each client's energy by hand."""
    raw.mkdir()
    rows, totals = [], {"MT_001": 0.0, "MT_002": 0.0}
    values = {name: kwh(seed, days * 96) for seed, name in enumerate(totals)}
    for n, at in enumerate(moments(first, days * 96, 15)):
        skipped = datetime(2013, 3, 31, 1) < at.replace(tzinfo=None) <= datetime(2013, 3, 31, 2)
        doubled = datetime(2013, 10, 27, 1) < at.replace(tzinfo=None) <= datetime(2013, 10, 27, 2)
        cells = []
        for name in totals:
            kw = 0 if skipped or (name == "MT_002" and n < 96) else values[name][n] * (2 if doubled else 1)
            totals[name] += kw / 4
            cells.append(f"{kw:.12f}".replace(".", ",") if kw else "0")
        rows.append((f'"{at:%Y-%m-%d %H:%M:%S}"', *cells))
    (raw / "LD2011_2014.txt").write_text('"";"MT_001";"MT_002"\n' + lines(rows, ";"))
    return totals


@pytest.mark.parametrize(("first", "hours"), [("2013-03-29 00:15", 5 * 24 - 1), ("2013-10-25 00:15", 5 * 24 + 1)])
def test_uci_keeps_its_energy_on_days_on_which_clocks_change(tmp_path: Path, first: str, hours: int) -> None:
    totals = uci_file(tmp_path / "raw", first, 5)
    source = opened(tmp_path / "raw")
    assert (source.kind, source.declaration.is_power) == ("uci", True)
    households = all_found(source, tmp_path / "staging")
    for name, total in totals.items():
        assert sum(households[name][0].values()) == pytest.approx(total, rel=1e-9)
    energies, faults = households["MT_001"]
    assert sorted(energies) == moments(first.replace("00:15", "00:00"), hours * 4, 15, "Europe/Lisbon")
    assert set(faults) == ({"no_such_time"} if hours < 120 else {"ambiguous_time"})
    assert households["MT_002"][1]["null_value"] == 96  # zeros before the client was there


OWN = Declaration(
    name="generic",
    shape="long",
    separator=";",
    encoding="cp1252",
    decimal=",",
    household="Zähler",
    time=("Tag", "Uhr"),
    time_format="%d.%m.%Y %H:%M",
    energy=("Bezug (kWh)",),
    zone="Europe/Berlin",
    timezone="Europe/Berlin",
    quality=Quality("Status", ("W",), ("E",), ("F",)),
)


def own_file(raw: Path, name: str, first: str, slots: int, households: int = 2, status: str = "W") -> None:
    raw.mkdir(exist_ok=True)
    rows = [
        (f"DE{h}", f"{local:%d.%m.%Y}", f"{local:%H:%M}", f"{value}".replace(".", ","), status)
        for h in range(households)
        for at, value in zip(moments(first, slots, 15, "Europe/Berlin"), kwh(h, slots), strict=True)
        for local in [at.astimezone(ZoneInfo("Europe/Berlin"))]
    ]
    text = "Zähler;Tag;Uhr;Bezug (kWh);Status\n" + lines(rows, ";")
    (raw / name).write_bytes(text.encode("cp1252"))


@pytest.mark.parametrize("first", ["2025-03-29 00:00", "2025-10-25 00:00"])
def test_an_own_export_in_local_time_with_decimal_commas_is_read_by_its_declaration(tmp_path: Path, first: str) -> None:
    own_file(tmp_path / "raw", "export.csv", first, 3 * 96)
    source = open_source("generic", place(str(tmp_path / "raw")), (), None, generic=OWN)
    households = all_found(source, tmp_path / "staging")
    for h in range(2):
        energies, faults = households[f"DE{h}"]
        assert faults == {}
        assert energies == pytest.approx(
            dict(zip(moments(first, 3 * 96, 15, "Europe/Berlin"), kwh(h, 3 * 96), strict=True))
        )


def test_quality_codes_say_what_is_estimated_and_what_means_nothing_and_an_unknown_one_is_a_fault(
    tmp_path: Path,
) -> None:
    own_file(tmp_path / "raw", "export.csv", "2025-02-01 00:00", 96, households=1)
    file = tmp_path / "raw" / "export.csv"
    content = file.read_bytes().split(b"\n")
    for row, status in ((10, b"E"), (11, b"F"), (12, b"?"), (13, b"")):
        content[row] = content[row][:-1] + status
    file.write_bytes(b"\n".join(content))
    source = open_source("generic", place(str(tmp_path / "raw")), (), None, generic=OWN)
    used = all_found(source, tmp_path / "s")["DE0"]
    assert used[1] == {"estimated": 1, "null_value": 1, "bad_number": 2}
    assert len(used[0]) == 93
    assert len(all_found(source, tmp_path / "s", estimated="missing")["DE0"][0]) == 92


@pytest.mark.parametrize(("unit", "factor"), [("Wh", 1e-3), ("MWh", 1e3), ("W", 1e-3 / 2), ("kW", 0.5), ("MW", 500.0)])
def test_units_become_kwh_and_powers_by_the_time_that_each_row_covers(tmp_path: Path, unit: str, factor: float) -> None:
    trial_file(tmp_path / "raw", households=1)
    source = declared(tmp_path / "raw", opened(tmp_path / "raw"), unit=unit, optional_energy=())
    energies, _ = all_found(source, tmp_path / "s", max_power_kw=1e6)["710"]
    assert list(energies.values()) == pytest.approx([value * factor for value in kwh(0, 100)])


@pytest.mark.parametrize(("net_meters", "expected"), [("refuse", 2.0), ("import", 2.0), ("export", 0.5), ("net", 1.5)])
def test_import_and_export_are_told_apart_where_the_file_does(tmp_path: Path, net_meters: str, expected: float) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [("a", f"{at:%Y-%m-%d %H:%M}", 2.0, 0.5) for at in moments("2025-01-01", 96, 15)]
    rows[5] = ("a", rows[5][1], 0.25, 2.0)
    (raw / "x.csv").write_text("id,at,in,out\n" + lines(rows))
    own = Declaration(
        "generic", "", shape="long", household="id", time=("at",), energy=("in",), export=("out",), zone="UTC"
    )
    source = open_source("generic", place(str(raw)), (), None, generic=own, net_meters=net_meters)
    energies, _ = all_found(source, tmp_path / "s", net_meters=net_meters)["a"]
    assert energies[moments("2025-01-01", 96, 15)[6]] == expected
    assert energies[moments("2025-01-01", 96, 15)[5]] == {"export": 2.0, "net": -1.75}.get(net_meters, 0.25)


def test_a_declared_register_is_differenced_also_where_it_hardly_moves(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [(f"{at:%Y-%m-%d %H:%M}", 1234.5 + (n // 50)) for n, at in enumerate(moments("2025-01-01", 97, 15))]
    (raw / "m7.csv").write_text("at,kwh\n" + lines(rows))
    own = Declaration("generic", time=("at",), energy=("kwh",), zone="UTC", register=True)
    source = open_source("generic", place(str(raw)), (), None, generic=own)
    (file,) = source.listing(9).files
    energies, faults = found(source, file)
    assert (sum(energies.values()), len(energies), faults) == (1.0, 96, {"register": 1})


ISO = {"%Y-%m-%d %H:%M:%S": "iso", "%d/%m/%y %H:%M": "%d/%m/%y %H:%M", "%m/%d/%Y %I:%M %p": "%m/%d/%Y %I:%M %p"}


@pytest.mark.parametrize("written", ISO)
@pytest.mark.parametrize("header", [True, False])
def test_times_by_pattern_with_or_without_a_header(tmp_path: Path, written: str, header: bool) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [
        (at.strftime(written), value) for at, value in zip(moments("2025-01-30", 300, 15), kwh(1, 300), strict=True)
    ]
    (raw / "m7.csv").write_text("exported by a tool\n\n" + ("at|kwh\n" if header else "") + lines(rows, "|"))
    time, energy = ("at", "kwh") if header else ("1", "2")
    own = Declaration(
        "generic",
        separator="|",
        skip_lines=2,
        header=header,
        time=(time,),
        time_format=ISO[written],
        energy=(energy,),
        zone="-03:00",
    )
    source = open_source("generic", place(str(raw)), (), None, generic=own)
    (file,) = source.listing(9).files
    energies, faults = found(source, file)
    assert faults == {}
    assert energies == pytest.approx(
        {at + timedelta(hours=3): v for at, v in zip(moments("2025-01-30", 300, 15), kwh(1, 300), strict=True)}
    )


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        ("30.02.2025 00:15", "bad_timestamp"),
        ("01.13.2025 00:15", "bad_timestamp"),
        ("01.02.25 00:15", "bad_timestamp"),
        ("01.02.2025 00:15 x", "bad_timestamp"),
        ("01.02.2025 25:15", "bad_timestamp"),
        ("", "bad_timestamp"),
        ("31.01.2025 24:00", "hour_24"),
    ],
)
def test_a_time_that_does_not_fit_the_pattern_costs_its_row(tmp_path: Path, cell: str, fault: str) -> None:
    rows = [(f"{at:%d.%m.%Y %H:%M}", 0.5) for at in moments("2025-02-01 00:15", 95, 15)]
    rows.append((cell, 0.5))
    (tmp_path / "m.csv").write_text("at,kwh\n" + lines(rows))
    own = Declaration("generic", time=("at",), time_format="%d.%m.%Y %H:%M", energy=("kwh",), zone="UTC")
    source = open_source("generic", place(str(tmp_path)), (), None, generic=own)
    (file,) = source.listing(9).files
    energies, faults = found(source, file)
    assert faults == {fault: 1}
    assert len(energies) == (96 if fault == "hour_24" else 95)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"time_format": "%d.%m.%Y %H:%M"}, "wanted is 01.02.2025 00:15, as %d.%m.%Y %H:%M says"),
        ({"time_format": "unix"}, "wanted is seconds since 1970, like 1738368900"),
        ({"time_format": "unix_ms"}, "wanted is milliseconds since 1970, like 1738368900000"),
        ({}, "wanted is 2025-02-01 00:15:00, without an offset"),
        ({"zone": ""}, "wanted is 2025-02-01 00:15:00+00:00, with its offset from UTC"),
        ({"time": ("day", "at")}, "day and at = 'x noon'; wanted is 2025-02-01 and 00:15:00, without an offset"),
        ({"decimal": ",", "separator": ";"}, "wanted is 0,25, with a decimal comma and no other marks"),
    ],
)
def test_a_bad_cell_is_shown_with_the_form_that_its_declaration_wants(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    own = replace(Declaration("generic", time=("at",), energy=("kwh",), zone="UTC"), **changes)
    (tmp_path / "m.csv").write_text("day,at,kwh\nx,noon,1.234.5\n".replace(",", own.separator))
    source = open_source("generic", place(str(tmp_path)), (), None, generic=own)
    faults = FaultLog(9)
    source.read(source.listing(9).files[0], faults)
    assert any(note.text.endswith(says) for note in faults.notes), faults.notes
