"""Every name of a folder is accounted for: taken, left out by the user, or passed over by a rule that is named."""

import bz2
import gzip
import io
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meter_files import readings, sgsc_csv

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.folder import (
    A_FOLDER,
    ARCHIVE,
    BEYOND_LIMIT,
    HIDDEN,
    LEADS_NOWHERE,
    NO_FILE,
    NOT_READINGS,
    SPREADSHEET,
    Listing,
    list_files,
)
from neurogrid.data.layouts.builtin import SGSC
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.sources import open_source
from neurogrid.errors import InputError
from neurogrid.storage import place

ROWS = [(f"2013-07-01 {hour:02}:{minute}:00", "0.5", "0.25") for hour in range(24) for minute in ("00", "30")]


def listing(folder: Path, *exclude: str, limit: int | None = None) -> Listing:
    return list_files(place(str(folder)), SGSC, exclude, limit, 5)


def accounted(found: Listing) -> list[str]:
    again = [note.text for log in found.faults.values() for note in log.notes if note.kind == Fault.SECOND_FILE]
    passed = [name for names in found.passed_over.values() for name in names]
    return sorted([*(file.place.name for file in found.files), *again, *found.excluded, *passed])


NAMES = st.text(st.sampled_from("aA.1 _-"), min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))
ENDINGS = st.sampled_from(
    ["", ".csv", ".CSV", ".csv.gz", ".Csv.GZ", ".txt", ".csv.zip", ".md", ".csv.bz2", ".zip", ".csv~"]
)


@settings(max_examples=60, deadline=None)
@given(names=st.sets(st.builds(str.__add__, NAMES, ENDINGS), max_size=12), limit=st.none() | st.integers(1, 3))
def test_every_name_is_in_exactly_one_list(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], limit: int | None
) -> None:
    folder = tmp_path_factory.mktemp("names")
    for name in {*names, "one.csv"}:
        (folder / name).touch()
    assert accounted(listing(folder, "a*", limit=limit)) == sorted({*names, "one.csv"})


def test_what_is_no_file_of_a_household_is_passed_over_by_its_rule(tmp_path: Path) -> None:
    others = ("p1mon.xlsx", "all.7z", "june.ZIP", "june.tar.zst")
    for name in ("1.csv", "2.CSV", "._1.csv", ".DS_Store", "README.md", "notes", ".csv", *others):
        (tmp_path / name).touch()
    (tmp_path / "3.csv").mkdir()
    (tmp_path / "4.csv").symlink_to("nowhere")
    (tmp_path / "5.csv").symlink_to("1.csv")
    os.mkfifo(tmp_path / "6.csv")
    (tmp_path / "7.csv").symlink_to("/dev/zero")
    found = listing(tmp_path)
    assert [file.household_id for file in found.files] == ["1", "2", "5"]
    assert found.passed_over == {
        A_FOLDER: ("3.csv",),
        HIDDEN: (".DS_Store", "._1.csv", ".csv"),
        LEADS_NOWHERE: ("4.csv",),
        NO_FILE: ("6.csv", "7.csv"),
        NOT_READINGS: ("README.md", "notes"),
        SPREADSHEET: ("p1mon.xlsx",),
        ARCHIVE: ("all.7z", "june.ZIP", "june.tar.zst"),
    }
    assert listing(tmp_path, limit=2).passed_over[BEYOND_LIMIT] == ("5.csv",)
    assert listing(tmp_path, "README*").excluded == ("README.md",)


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inside.csv", content)
    return packed.getvalue()


@pytest.mark.parametrize("name", ["7.csv", "7.CSV", "7.txt", "7.csv.gz", "7.Csv.GZ"])
@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        bz2.compress,
        lzma.compress,
        zipped,
        lambda content: pa.compress(content, "zstd", asbytes=True),
    ],
    ids=["plain", "gzip", "bz2", "xz", "zip", "zst"],
)
def test_a_file_is_read_by_what_it_holds_whatever_its_name(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "6.csv").touch()
    (tmp_path / name).write_bytes(pack(gzip.decompress(sgsc_csv("7", ROWS))))
    source = open_source("auto", place(str(tmp_path)), (), None)
    file = next(file for file in source.listing(5).files if file.household_id == "7")
    assert readings(source, file, FaultLog(5)).table.column("kWh").to_pylist() == [0.75] * len(ROWS)


def spreadsheet(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("[Content_Types].xml", "xl/workbook.xml", "xl/worksheets/sheet1.xml"):
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (spreadsheet(b"<x/>"), "a spreadsheet and no text: save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "a spreadsheet and no text: save it as CSV"),
        (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(50), "a 7z archive: unpack it with `7z x`"),
        (b"Rar!\x1a\x07\x01\0" + bytes(50), "a rar archive: unpack it"),
    ],
    ids=["xlsx", "xls", "7z", "rar"],
)
def test_what_no_library_here_reads_is_refused_with_the_way_to_readings(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "6.csv").write_bytes(gzip.decompress(sgsc_csv("6", ROWS)))
    (tmp_path / "7.csv").write_bytes(content)
    source = open_source("auto", place(str(tmp_path)), (), None)
    with pytest.raises(UnusableFileError, match=words):
        readings(source, source.listing(5).files[1], FaultLog(5))


def test_a_folder_of_a_spreadsheet_alone_is_refused_with_the_way_to_csv(tmp_path: Path) -> None:
    (tmp_path / "p1mon.xlsx").write_bytes(spreadsheet(b"<x/>"))
    with pytest.raises(InputError) as refused:
        open_source("auto", place(str(tmp_path)), (), None)
    assert "p1mon.xlsx is passed over, spreadsheet: save it as CSV" in (refused.value.found or "")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zipped], ids=["gzip", "bz2", "xz", "zip"])
def test_a_packed_file_that_is_cut_off_is_unusable_in_words(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "6.csv").write_bytes(gzip.decompress(sgsc_csv("6", ROWS)))
    (tmp_path / "7.csv").write_bytes(pack(gzip.decompress(sgsc_csv("7", ROWS)))[:-7])
    source = open_source("auto", place(str(tmp_path)), (), None)
    file = next(file for file in source.listing(5).files if file.household_id == "7")
    with pytest.raises(UnusableFileError, match=r"stream is (cut off|broken)"):
        readings(source, file, FaultLog(5))


def test_the_header_may_be_in_any_case_with_spaces_but_not_name_a_column_twice(tmp_path: Path) -> None:
    content = gzip.decompress(sgsc_csv("7", ROWS)).decode()
    head, rest = content.split("\n", 1)
    (tmp_path / "7.csv").write_text(f"{head.upper().replace('CUSTOMER_ID', ' Customer_id ')}\n{rest}")
    source = open_source("auto", place(str(tmp_path)), (), None)
    (file,) = source.listing(5).files
    assert readings(source, file, FaultLog(5)).table.num_rows == len(ROWS)
    (tmp_path / "7.csv").write_text(f"{head.replace('event_key', 'GENERAL_SUPPLY_KWH')}\n{rest}")
    with pytest.raises(UnusableFileError, match='2 columns "general_supply_kwh"') as refused:
        readings(source, file, FaultLog(5))
    assert refused.value.fault == Fault.AMBIGUOUS_COLUMN
