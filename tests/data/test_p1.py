"""Logs of P1 telegrams, and the exports of HomeWizard and DSMR-reader, made up."""

from datetime import UTC, datetime

import numpy as np
import pytest

from neurogrid.data.faults import Fault
from neurogrid.data.layouts import dsmr_reader, homewizard, p1
from neurogrid.data.readings import UnusableFileError
from tests.data.mutated import mutations, never_stumbles, read

METER = "E0099001234567"


def crc16(content: bytes) -> int:
    """Bit by bit, as the companion standard describes it."""
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xA001 if value & 1 else 0)
    return value


def telegram(stamp: str, *registers: str, meter: str = METER, checksum: bool = True, end: str = "\r\n") -> bytes:
    number = f"0-0:96.1.1({meter.encode().hex()})"
    lines = ["/ISK5\\TEST-METER", "", "1-3:0.2.8(50)", f"0-0:1.0.0({stamp})", number, *registers, "1-0:1.7.0(00.5*kW)"]
    content = "\r\n".join([*lines, "!"])
    digits = f"{crc16(content.encode()):04X}" if checksum else ""
    return f"{content}{digits}\r\n".encode().replace(b"\r\n", end.encode())


def drawn(one: float, two: float | None = None, back: float | None = None) -> list[str]:
    said = {"1.8.1": one, "1.8.2": two, "2.8.1": back}
    return [f"1-0:{name}({kwh:010.3f}*kWh)" for name, kwh in said.items() if kwh is not None]


def us(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1e6)


SAMPLE = b"".join(
    telegram(f"2501311{n // 60}{n % 60:02}03W", *drawn(100 + n / 100, 50.0, 7.0)) for n in range(0, 61, 5)
)


def test_the_first_telegram_of_a_quarter_hour_is_its_state():
    content = b"".join(
        telegram(f"250131{hour:02}{minute:02}{second:02}W", *drawn(hour + minute / 100 + second / 1e3, 1.0, 3.0))
        for hour, minute, second in ((12, 0, 4), (12, 0, 14), (12, 14, 59), (12, 15, 0), (12, 15, 10))
    )
    table, faults = read(p1, content)
    assert table["label"].to_pylist() == [us(2025, 1, 31, 11), us(2025, 1, 31, 11, 15)]
    assert table["value"].to_pylist() == [13.004, 13.15]
    assert table["export"].to_pylist() == [3.0, 3.0]
    assert table["household"].to_pylist() == [METER] * 2
    assert faults.counts == {Fault.PASSED_OVER: 3}


@pytest.mark.parametrize(
    ("stamp", "moment"), [("251026021500S", (2025, 10, 26, 0, 15)), ("251026021500W", (2025, 10, 26, 1, 15))]
)
def test_the_hour_that_clocks_repeat_is_told_apart_by_its_season(stamp, moment):
    table, _ = read(p1, telegram(stamp, *drawn(1)))
    assert table["label"].to_pylist() == [us(*moment)]


def test_tariffs_are_summed_and_the_total_is_taken_where_they_lack():
    for registers, kwh in (
        (["1-0:1.8.0(000009.000*kWh)", *drawn(1, 2)], 3.0),
        (["1-0:1.8.0(000009.000*kWh)"], 9.0),
        (["1-0:1.8.1(000009000*Wh)"], 9.0),
    ):
        table, _ = read(p1, telegram("250131120000W", *registers))
        assert table["value"].to_pylist() == [kwh]
        assert np.isnan(table["export"][0].as_py())


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_a_wrong_checksum_is_counted_and_the_next_telegram_is_taken(end):
    wrong = telegram("250131120000W", *drawn(1), end=end).replace(b"000001.000", b"000007.000")
    table, faults = read(p1, wrong + telegram("250131120010W", *drawn(1.001), end=end))
    assert table["value"].to_pylist() == [1.001]
    assert faults.counts == {Fault.BROKEN_ROW: 1}


def test_telegrams_without_a_checksum_are_taken():
    assert read(p1, telegram("250131120000W", *drawn(1), checksum=False))[0].num_rows == 1


def test_several_meters_and_one_without_a_number():
    content = telegram("250131120000W", *drawn(1), meter="A") + telegram("250131120000W", *drawn(2), meter="B")
    nameless = b"\r\n".join(
        line for line in telegram("250131120000W", *drawn(3), checksum=False).split(b"\r\n") if b"96.1.1" not in line
    )
    table, _ = read(p1, content + nameless, "logs/home.log")
    assert dict(zip(table["household"].to_pylist(), table["value"].to_pylist(), strict=True)) == {
        "A": 1,
        "B": 2,
        "home": 3,
    }


def test_a_register_that_comes_and_goes_gives_no_sum_of_others():
    content = telegram("250131120000W", *drawn(1, 2)) + telegram("250131121500W", *drawn(1.5))
    table, faults = read(p1, content)
    assert table["value"].to_pylist() == [3.0]
    assert faults.counts == {Fault.BROKEN_ROW: 1}


def test_broken_and_cut_telegrams_are_counted():
    whole = telegram("250131120000W", *drawn(1))
    table, faults = read(p1, whole[:80] + b"\r\n" + whole + b"noise\n" + whole[:90])
    assert table.num_rows == 1
    assert faults.counts == {Fault.BROKEN_ROW: 1, Fault.PASSED_OVER: 1, Fault.CUT_SHORT: 1}


def test_logs_that_give_nothing_are_refused_in_words():
    for content, words in (
        (b"time,kWh\n", "no P1 telegram"),
        (telegram("250131120700W", *drawn(1)), "1 telegrams, of which none has a time .* within a minute"),
        (telegram("250131120000", *drawn(1)), "bad_timestamp 1"),
        (telegram("250131120000W"), "without a register"),
    ):
        with pytest.raises(UnusableFileError, match=words):
            read(p1, content)


def test_each_of_the_three_is_told_from_the_others():
    wizard, reader = "time,Import T1 kWh,Import T2 kWh", "Hour Start,Electricity 1 (Dutch Users: Low Tariff),Gas"
    for content, module in ((SAMPLE, p1), (wizard.encode(), homewizard), (reader.encode(), dsmr_reader)):
        assert [each for each in (p1, homewizard, dsmr_reader) if each.is_it(content[:4096], "a.csv")] == [module]


WIZARD = (
    b"time,Import T1 kWh,Import T2 kWh,Export T1 kWh,Export T2 kWh,L1 max W\n"
    b"2025-01-31 00:00,100.5,50.25,1.0,2.0,7\n2025-01-31 00:15,100.75,50.25,1.0,2.5,\n"
    b"2025-01-31 00:30,,50.25,1.0,2.5,9\n"
)


def test_homewizards_tariffs_are_summed_and_times_are_of_the_clock_on_the_wall():
    table, faults = read(homewizard, WIZARD, "home 3.csv")
    assert table["label"].to_pylist() == [us(2025, 1, 31), us(2025, 1, 31, 0, 15), us(2025, 1, 31, 0, 30)]
    np.testing.assert_array_equal(table["value"].to_numpy(), [150.75, 151.0, np.nan])
    assert table["export"].to_pylist() == [3.0, 3.5, 3.5]
    assert set(table["household"].to_pylist()) == {"home 3"}
    assert homewizard.LABELS == "local"
    assert faults.counts == {Fault.NULL_VALUE: 1}


def test_homewizards_kwh_meter_has_one_register_each_way_and_may_have_commas():
    table, _ = read(homewizard, b"time;Import kWh;Export kWh\n2025-01-31 00:00;32,123;0,150\n")
    assert (table["value"].to_pylist(), table["export"].to_pylist()) == ([32.123], [0.15])


READER = (
    b"Hour Start,Electricity 1 (Dutch Users: Low Tariff),Electricity 2 (Dutch Users: Normal Tariff),"
    b"Electricity 1 Returned (Dutch Users: Low Tariff),Electricity 2 Returned (Dutch Users: Normal Tariff),Gas\n"
    b"2025-01-31T00:00:00+01:00,0.5,0.25,0,0.1,3\n2025-07-31T00:00:00+02:00,0.5,0,0,0,x\n"
)


def test_dsmr_readers_hours_have_their_offset_and_their_tariffs_are_summed():
    table, faults = read(dsmr_reader, READER)
    assert table["label"].to_pylist() == [us(2025, 1, 30, 23), us(2025, 7, 30, 22)]
    assert table["value"].to_pylist() == [0.75, 0.5]
    assert table["export"].to_pylist() == [0.1, 0.0]
    assert table["minutes"].to_pylist() == [60, 60]
    assert not faults.counts


def test_exports_of_something_else_are_refused_in_words():
    for module, content, words in (
        (
            homewizard,
            b"time,Total gas used\n2025-01-31 00:00,3\n",
            "no column 'Import T1 kWh'.*found: time, total gas used",
        ),
        (homewizard, b"", "no lines"),
        (
            homewizard,
            b"time,Import kWh,Import kWh\n2025-01-31 00:00,3,4\n",
            "column 'import kwh' is there more than once",
        ),
        (homewizard, b"time,Import kWh\n31/01/2025,3\n", "no row with a time.*bad_timestamp 1"),
        (dsmr_reader, b"Hour Start,Electricity 1\n2025-01-31 00:00,3\n", "no row with a time.*wanted is 2025-01-31T"),
        (dsmr_reader, b"Day,Electricity 1 (Dutch Users: Low Tariff)\n2025-01-31,3\n", "hour totals, not of days"),
        (dsmr_reader, b"Hour Start,Gas\n2025-01-31T00:00:00+01:00,3\n", "no column 'Electricity 1"),
    ):
        with pytest.raises(UnusableFileError, match=words):
            read(module, content)


@pytest.mark.parametrize(("format_", "sample"), [(p1, SAMPLE), (homewizard, WIZARD), (dsmr_reader, READER)])
def test_no_damage_makes_it_stumble(format_, sample):
    for content in mutations(sample):
        never_stumbles(format_, content)
