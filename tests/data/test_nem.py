"""NEM12 files, made up."""

from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO

import numpy as np
import pytest

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import nem
from neurogrid.data.readings import UnusableFileError
from tests.data.mutated import mutations, never_stumbles, read

NMI = "6123456789"
HEAD = "100,NEM12,202503040930,MDP1,RETAILER"


def stream(suffix: str = "E1", nmi: str = NMI, unit: str = "kWh", minutes: int = 30) -> str:
    return f"200,{nmi},E1E2B1,{suffix},{suffix},N1,METER1,{unit},{minutes},20250401"


def day(values: list[object], date: str = "20250301", quality: str = "A", updated: str = "20250304093000") -> str:
    return f"300,{date},{','.join(map(str, values))},{quality},,,{updated},20250304100000"


def file(*records: str, end: bool = True) -> bytes:
    return "\r\n".join([HEAD, *records, *(["900"] if end else []), ""]).encode()


def us(*moment: int, hours: int = 10) -> int:
    return int(datetime(*moment, tzinfo=timezone(timedelta(hours=hours))).timestamp() * 1e6)


DAY = [n / 100 for n in range(48)]
SAMPLE = file(
    stream(), day(DAY), day(DAY, "20250302", "V"), "400,1,20,S14,32,", "400,21,48,A,,", "500,S,R1,20250304,12.5",
    stream("E2"), day(DAY), day(DAY, "20250302"),
    stream("B1", minutes=15), day([0.5] * 96), stream("K1", unit="kVArh"), day(DAY),
    stream("E1", "7123456789", "MWh"), day(DAY, quality="N"),
)  # fmt: skip


def test_a_value_covers_its_interval_of_eastern_standard_time_all_year():
    table, faults = read(nem, file(stream(), day(DAY, "20250101"), day(DAY, "20250701")))
    assert table["label"][0].as_py() == us(2025, 1, 1)
    assert table["label"][47].as_py() == us(2025, 1, 1, 23, 30)
    assert table["label"][48].as_py() == us(2025, 7, 1) == int(datetime(2025, 6, 30, 14, tzinfo=UTC).timestamp() * 1e6)
    assert table["value"].to_pylist() == DAY + DAY
    assert set(table["minutes"].to_pylist()) == {30}
    assert set(table["household"].to_pylist()) == {NMI}
    assert table["line"].to_pylist()[47:49] == [3, 4]
    assert not faults.counts


@pytest.mark.parametrize("minutes", nem.INTERVALS)
def test_energy_of_a_day_is_kept_for_each_interval_length_and_unit(minutes):
    values = [2] * (1440 // minutes)
    for unit, kwh in (("kWh", 2.0), ("KWH", 2.0), ("Wh", 0.002), ("MWh", 2000.0)):
        table, _ = read(nem, file(stream(unit=unit, minutes=minutes), day(values)))
        assert table["value"].to_pylist() == [kwh] * len(values)
        assert set(table["minutes"].to_pylist()) == {minutes}


def test_import_streams_are_summed_and_export_is_apart():
    table, faults = read(
        nem, file(stream("E1"), day([1] * 48), stream("E2"), day([2] * 48), stream("B1"), day([4] * 48))
    )
    assert table.num_rows == 48
    assert set(table["value"].to_pylist()) == {3.0}
    assert set(table["export"].to_pylist()) == {4.0}
    assert not faults.counts


def test_a_sum_is_missing_where_a_stream_lacks_the_interval():
    empty = [1] * 10 + [""] + [1] * 37
    content = file(stream("E1"), day([1] * 48), day([1] * 48, "20250302"), stream("E2"), day(empty))
    table, faults = read(nem, content)
    values = table["value"].to_numpy()
    assert np.flatnonzero(np.isnan(values)).tolist() == [10, *range(48, 96)]
    assert faults.counts == {Fault.NULL_VALUE: 49}


def test_streams_of_different_intervals_are_summed_in_the_shortest_common_one():
    content = file(stream("E1", minutes=10), day([1] * 144), stream("E2", minutes=15), day([1] * 96))
    table, _ = read(nem, content)
    assert table["value"].to_pylist() == [5.0] * 48


def test_a_sum_is_estimated_where_a_part_of_it_is():
    quarters = [day([1] * 96, quality="V"), "400,1,1,S14,,", "400,2,96,A,,"]
    table, _ = read(nem, file(stream("E1"), day([1] * 48), stream("E2", minutes=15), *quarters))
    assert table["estimated"].to_pylist() == [True] + [False] * 47


def test_other_quantities_are_passed_over_and_counted():
    content = file(stream("K1"), day(DAY), stream("E1", unit="kW"), day(DAY), stream("E1"), day(DAY))
    table, faults = read(nem, content)
    assert table["value"].to_pylist() == DAY
    assert faults.counts == {Fault.PASSED_OVER: 2}
    assert [note.line for note in faults.notes] == [3, 5]


def test_quality_by_interval_tells_what_is_estimated_and_what_is_missing():
    content = file(
        stream(), day(DAY, quality="V"), "400,1,10,A,,", "400,11,20,F14,32,", "400,21,24,N,,", "400,25,30,E52,,"
    )
    table, faults = read(nem, content)
    estimated = table["estimated"].to_numpy()
    assert not estimated[:10].any()
    assert estimated[10:].all()  # 31 to 48 are said by no record
    assert np.flatnonzero(np.isnan(table["value"].to_numpy())).tolist() == [20, 21, 22, 23]
    assert faults.counts == {Fault.NULL_VALUE: 4}


@pytest.mark.parametrize(("quality", "estimated"), [("A", False), ("S14", True), ("F14", True), ("E52", True)])
def test_quality_of_a_day_holds_for_all_of_it(quality, estimated):
    table, _ = read(nem, file(stream(), day(DAY, quality=quality)))
    assert set(table["estimated"].to_pylist()) == {estimated}


def test_of_a_day_that_comes_twice_the_later_update_counts_and_both_are_told():
    first, later = day([1] * 48, updated="20250304"), day([2] * 48, updated="20250310")
    for content in (file(stream(), first, later), file(stream(), later, first)):
        table, faults = read(nem, content)
        assert table["value"].to_pylist() == [2.0] * 48
        assert faults.counts == {Fault.DUPLICATE: 1}


def test_a_file_without_its_end_is_told():
    _, faults = read(nem, file(stream(), day(DAY), end=False))
    assert faults.counts == {Fault.CUT_SHORT: 1}
    table, faults = read(nem, file(stream(), day(DAY), day(DAY, "20250302"))[:-90])
    assert table.num_rows == 48
    assert faults.counts == {Fault.CUT_SHORT: 1, Fault.BROKEN_ROW: 1}


def test_a_bad_cell_takes_itself_and_a_bad_record_takes_the_record():
    cells = ["x", "-1", "1e999", *DAY[3:]]
    table, faults = read(nem, file(stream(), day(cells), day(DAY[:-1], "20250302"), day(DAY, "20250230"), "600,what"))
    assert table.num_rows == 48
    assert np.isnan(table["value"].to_numpy()[:3]).all()
    kinds = (Fault.BAD_NUMBER, Fault.NEGATIVE, Fault.NOT_FINITE, Fault.BAD_TIMESTAMP)
    assert faults.counts == {**dict.fromkeys(kinds, 1), Fault.BROKEN_ROW: 2}


def test_streams_of_one_meter_that_lie_apart_are_refused_where_they_should_have_been_summed():
    other = "7123456789"
    with pytest.raises(UnusableFileError, match=f"household {NMI} is in two places.*sort the file"):
        read(nem, file(stream("E1"), day(DAY), stream("E1", other), day(DAY), stream("E2"), day(DAY)))
    content = file(stream("E1"), day(DAY), stream("E1", other), day(DAY), stream("E1"), day(DAY, "20250302"))
    assert read(nem, content)[0].num_rows == 144


def test_files_that_are_not_nem12_are_refused_in_words():
    for content, words in (
        (b"100,NEM13,202503040930,MDP1,R\n250,6123456789,1\n900\n", "NEM13 file: states of basic meters"),
        (b"Timestamp;kWh\n2025-01-01;1\n", "line 1 is 'Timestamp;kWh'; wanted is 100,NEM12"),
        (b"\n\n", "has no records"),
        (file(stream("K1"), day(DAY)), "no interval of energy.*stream K1 is neither"),
        (file(stream(), day(DAY[:-1])), "no quality .* the record has 54 cells"),
    ):
        with pytest.raises(UnusableFileError, match=words):
            read(nem, content)


def test_nem12_is_told_by_its_first_record():
    assert "100,NEM12" in nem.is_it(SAMPLE[:100], "a.csv")
    assert "NEM13" in nem.is_it(b"100,NEM13,x", "a.csv")
    assert nem.is_it(f"{stream()}\r\n{day(DAY)}".encode(), "a.csv")
    assert nem.is_it(f"\r\n \r\n{stream()}\r\n{day(DAY)}".encode(), "a.csv")
    assert nem.is_it(b"100,200\n1,2", "a.csv") == nem.is_it(b"", "") == ""


def test_a_check_digit_in_a_cell_of_its_own_moves_no_other_cell():
    content = file(stream().replace(f"{NMI},", f"{NMI},5,"), day(DAY))
    assert read(nem, content)[0]["value"].to_pylist() == DAY


def test_rows_come_in_blocks():
    days = [day([0.1] * 288, f"{2020 + n // 336}{n // 28 % 12 + 1:02}{n % 28 + 1:02}") for n in range(1000)]
    tables = list(nem.rows(BytesIO(file(stream(minutes=5), *days)), "a.csv", FaultLog(0)))
    assert [table.num_rows for table in tables] == [99936, 99936, 88128]


def test_no_damage_makes_it_stumble():
    for content in mutations(SAMPLE):
        never_stumbles(nem, content)
