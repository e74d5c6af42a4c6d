"""How tables are taken apart: times by pattern, blocks of lines, encodings, packing; which layout a folder is."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_layouts import all_found, kwh, lines, moments

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.household import unusable_name
from neurogrid.data.layouts.declaration import Declaration, offset_us
from neurogrid.data.layouts.pieces import Piece, blocks, first_bytes, pieces
from neurogrid.data.layouts.table import check_columns, header
from neurogrid.data.layouts.times import by_pattern, pattern_regex, unix
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.sources import Source, open_source
from neurogrid.errors import InputError
from neurogrid.storage import place

PATTERNS = ("%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%Y%m%d%H%M", "%d %b %y %H:%M", "%Y-%m-%dT%H:%M:%S.%f%z")
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1))


def us(moment: datetime) -> int:
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=100, deadline=None)
@given(found=st.lists(MOMENTS, min_size=1, max_size=5), offset=st.integers(-14 * 60, 14 * 60))
def test_times_of_a_pattern_are_read_as_python_reads_them(pattern: str, found: list[datetime], offset: int) -> None:
    zone = timezone(timedelta(minutes=offset)) if "%z" in pattern else UTC
    texts = [moment.replace(tzinfo=zone).strftime(pattern) for moment in found]
    read = by_pattern(pa.array(texts), pattern)
    assert read.good.all()
    assert read.us.tolist() == [us(datetime.strptime(text, pattern)) for text in texts]


@settings(max_examples=300, deadline=None)
@given(
    text=st.text("0123456789.: -/", max_size=18)
    | st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4} [0-9]{1,2}:[0-9]{2}", fullmatch=True)
)
def test_what_python_refuses_is_no_time(text: str) -> None:
    read = by_pattern(pa.array([text]), "%d.%m.%Y %H:%M")
    try:
        expected = us(datetime.strptime(text.strip(), "%d.%m.%Y %H:%M"))
    except ValueError:
        assert not read.good[0] or read.hour_24[0]
    else:
        if read.good[0]:  # stricter than Python on years before 1900 and single digits of minutes
            assert read.us[0] == expected


@pytest.mark.parametrize("pattern", ["%d.%m.%Y", "%d.%m.%Y %H:%M %H", "%Q", "%d.%m.%Y %y %H:%M", "%d.%m.%Y %I:%M"])
def test_a_pattern_that_gives_no_moment_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="%"):
        pattern_regex(pattern)


def test_seconds_since_1970_are_whole_numbers() -> None:
    read = unix(pa.array(["1739404800", " 0 ", "-5", "1.5", "99999999999999999999", None]), us=1_000_000)
    assert read.good.tolist() == [True, True, False, False, False, False]
    assert read.us[:2].tolist() == [1_739_404_800_000_000, 0]


@pytest.mark.parametrize(
    ("zone", "hours"), [("", 0), ("UTC", 0), ("+10:00", 10), ("-03:30", -3.5), ("Europe/Zurich", None)]
)
def test_fixed_zones_have_an_offset_and_others_none(zone: str, hours: float | None) -> None:
    assert offset_us(zone) == (None if hours is None else hours * 3_600_000_000)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.text("ab,;\u00e4", max_size=12), min_size=1, max_size=30),
    piece=st.integers(1, 60),
    block=st.integers(1, 60),
    last=st.booleans(),
)
def test_the_pieces_of_a_file_hold_each_line_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], piece: int, block: int, last: bool
) -> None:
    file = tmp_path_factory.mktemp("pieces") / "x.csv"
    content = ("\n".join(rows) + ("\n" if last else "")).encode()
    file.write_bytes(content)
    cut = pieces(place(str(file)), len(content), "utf-8", piece)
    found = [b"".join(blocks(each, "utf-8", block)) for each in cut]
    assert b"".join(found) == content
    assert all(part.endswith(b"\n") for part in [part for part in found if part][:-1])


LONG = Declaration("generic", shape="long", household="id", time=("at",), energy=("kwh",), zone="UTC")


def table(households: tuple[str, ...] = ("a", "\u00fc")) -> str:
    rows = [
        (name, f"{at:%Y-%m-%d %H:%M}", value)
        for seed, name in enumerate(households)
        for at, value in zip(moments("2025-01-01", 96, 15), kwh(seed, 96), strict=True)
    ]
    return "id,at,kwh\n" + lines(rows)


def own(root: Path, declaration: Declaration = LONG) -> Source:
    return open_source("generic", place(str(root)), (), None, generic=declaration)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_reads_the_same_in_any_encoding_and_with_any_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "x.csv").write_bytes(table().replace("\n", end).encode(encoding))
    declared = replace(LONG, encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    households = all_found(own(tmp_path / "raw", declared), tmp_path / "s")
    assert sorted(households) == ["a", "\u00fc"]
    assert [sum(energies.values()) for energies, _ in households.values()] == pytest.approx(
        [sum(kwh(0, 96)), sum(kwh(1, 96))]
    )


@pytest.mark.parametrize(
    ("encoding", "written", "said"),
    [("utf-16", "utf-16-le", "not text in utf-16.*BOM"), ("utf-8", "utf-16", "text in UTF-16: .*encoding: utf-16")],
)
def test_text_of_another_encoding_is_refused_with_what_to_declare(
    tmp_path: Path, encoding: str, written: str, said: str
) -> None:
    (tmp_path / "x.csv").write_bytes(table().encode(written))
    with pytest.raises(UnusableFileError, match=said):
        header(first_bytes(place(str(tmp_path / "x.csv")), encoding), replace(LONG, encoding=encoding))


def test_a_wide_table_without_a_column_of_a_household_is_refused() -> None:
    wide = Declaration("wide", shape="wide", separator=";", time=("",), energy=())
    with pytest.raises(UnusableFileError, match='no column of a household in """" \\(line 1\\)'):
        check_columns(header(b'""\n"2013-10-26 20:15:00";0,47\n', wide), wide)


def zst(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zst])
def test_a_packed_file_of_many_households_is_read_whole_or_not_at_all(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.csv").write_bytes(pack(table().encode()))
    assert {name: len(e) for name, (e, _) in all_found(own(tmp_path / "raw"), tmp_path / "s").items()} == {
        "a": 96,
        "\u00fc": 96,
    }


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zst])
def test_a_packed_file_that_is_cut_off_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(pack(table().encode())[:-9])
    with pytest.raises(UnusableFileError, match=r"stream is (cut off|broken)") as refused:
        list(blocks(Piece(place(str(file))), "utf-8", 1 << 20))
    assert refused.value.fault == Fault.UNREADABLE_FILE


def test_a_file_without_line_ends_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neurogrid.data.layouts.pieces.LONGEST_LINE", 1000)
    (tmp_path / "x.csv").write_bytes(b"x" * 5000)
    with pytest.raises(UnusableFileError, match="no end of line"):
        list(blocks(Piece(place(str(tmp_path / "x.csv"))), "utf-8", 100))


def test_a_folder_of_two_layouts_is_refused_with_both_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("LCLid,stdorToU,DateTime,KWH/hh (per half hour) \nM1,Std,2013-01-01 00:30:00,1\n")
    (tmp_path / "7.csv").write_text(
        "customer_id,reading_datetime,general_supply_kwh,controlled_load_kwh\n7,2013-01-01 00:30:00,1,\n"
    )
    with pytest.raises(InputError, match="several data sets") as refused:
        open_source("auto", place(str(tmp_path)), (), None)
    assert "sgsc in" in refused.value.found
    assert "lcl in" in refused.value.found
    assert open_source("lcl", place(str(tmp_path)), (), None).kind == "lcl"


def test_a_data_set_may_lie_in_a_folder_below_if_it_is_the_only_one(tmp_path: Path) -> None:
    for number, name in enumerate(("readings", "more"), 1):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{number}.csv").write_text(
            f"customer_id,reading_datetime,general_supply_kwh,controlled_load_kwh\n{number},2013-01-01 00:30:00,1,\n"
        )
        if number == 1:
            assert open_source("auto", place(str(tmp_path)), (), None).root.name == "readings"
    with pytest.raises(InputError, match="several data sets"):
        open_source("auto", place(str(tmp_path)), (), None)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\tb", "x" * 201])
def test_a_name_that_cannot_be_a_folder_is_refused_and_others_are_not(name: str) -> None:
    assert unusable_name(name)
    assert not unusable_name("H=1 %?#; \u00fc\u65e5")


def test_a_value_is_as_python_reads_it_with_either_decimal_mark(tmp_path: Path) -> None:
    cells = ["1,5", "0,001", "-0,5", "1e-3", "1.5", "1.234,5", "x", ""]
    rows = [(f"{at:%Y-%m-%d %H:%M}", cell) for at, cell in zip(moments("2025-01-01", 8, 15), cells, strict=True)]
    (tmp_path / "m.csv").write_text("at;kwh\n" + lines(rows, ";"))
    declaration = Declaration("generic", separator=";", decimal=",", time=("at",), energy=("kwh",), zone="UTC")
    source = own(tmp_path, declaration)
    faults = FaultLog(9)
    found = source.read(source.listing(9).files[0], faults)
    assert found.kwh[:4].tolist() == [1.5, 0.001, -0.5, 0.001]
    assert np.isnan(found.kwh[4:]).all()
    assert found.empty.tolist() == [False] * 7 + [True]
    assert [note.text for note in faults.notes] == [
        f"kwh = {cell!r}; wanted is 0,25, with a decimal comma and no other marks" for cell in ("1.5", "1.234,5", "x")
    ]
