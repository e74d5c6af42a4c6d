"""Profiles of SimBench, made up."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from neurogrid.data.faults import Fault
from neurogrid.data.layouts import simbench
from neurogrid.data.readings import UnusableFileError
from tests.data.mutated import mutations, never_stumbles, read

FIRST = datetime(2016, 1, 1, tzinfo=UTC)


def profiles(shares: list[list[object]], names: tuple[str, ...] = ("H0-A", "G1-B")) -> bytes:
    head = ";".join(["time", *(f"{name}_{part}load" for name in names for part in "qp")])
    times = [(FIRST + timedelta(minutes=15 * n)).strftime("%d.%m.%Y %H:%M") for n in range(len(shares))]
    lines = [";".join([time, *(f"0.1;{share}" for share in row)]) for time, row in zip(times, shares, strict=True)]
    return "\r\n".join([head, *lines, ""]).encode()


SAMPLE = profiles([[n / 10, n / 20] for n in range(12)])


def test_a_profile_is_a_household_with_a_peak_of_one_kilowatt():
    table, faults = read(simbench, profiles([[1.0, 0.5], [0.25, 0.0]]))
    assert table["household"].to_pylist() == ["H0-A", "H0-A", "G1-B", "G1-B"]
    assert table["value"].to_pylist() == [0.25, 0.0625, 0.125, 0.0]
    start = int(FIRST.timestamp() * 1e6)
    assert table["label"].to_pylist() == [start, start + 900_000_000] * 2
    assert table["line"].to_pylist() == [2, 3, 2, 3]
    assert simbench.LABELS == "local"
    assert faults.counts == {Fault.ASSUMED: 1}


def test_a_bad_cell_takes_itself_and_a_bad_row_the_row():
    content = (
        profiles([[1.0, "x"], [-0.5, 0], ["nan", 1], [1, "1_0"]]) + b"32.01.2016 00:00;0;1;0;1\n01.02.2016 00:00;1\n"
    )
    table, faults = read(simbench, content)
    np.testing.assert_array_equal(table["value"].to_numpy(), np.array([1, np.nan, np.nan, 1, np.nan, 0, 1, np.nan]) / 4)
    once = (Fault.NEGATIVE, Fault.NULL_VALUE, Fault.BAD_TIMESTAMP, Fault.BROKEN_ROW, Fault.ASSUMED)
    assert faults.counts == {**dict.fromkeys(once, 1), Fault.BAD_NUMBER: 2}


def test_blocks_are_bounded_and_keep_all_rows():
    names = tuple(f"P{n}" for n in range(300))
    table, _ = read(simbench, profiles([[1] * 300] * 700, names))
    assert table.num_rows == 210_000
    assert table["value"].to_numpy().sum() == 210_000 / 4


def test_files_that_are_no_profiles_are_refused_in_words():
    for content, words in (
        (b"", "no lines"),
        (b"time;a\n", "0 columns that end with '_pload'"),
        (b"time;a_pload\n2016-1;1\n", "no row with a time.*bad_timestamp 1"),
        (b"a_pload;b\n", "0 columns 'time'"),
        (b"id;node;profile;pLoad\nL1;B1;H0-A;0.003\n", "a.csv describes a grid: id;node;profile;pLoad; loads of one"),
    ):
        with pytest.raises(UnusableFileError, match=words):
            read(simbench, content)


def test_profiles_are_told_by_their_header():
    assert "h0-a_pload" in simbench.is_it(SAMPLE[:4096], "")
    assert simbench.is_it(b"time;kWh\n", "") == simbench.is_it(b"", "") == ""


def test_no_damage_makes_it_stumble():
    for content in mutations(SAMPLE):
        never_stumbles(simbench, content)
