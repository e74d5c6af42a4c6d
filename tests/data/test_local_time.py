"""Wall-clock labels to UTC and back: what zoneinfo says, in either order of rows, with each way to write the change."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import MINUTE_US
from neurogrid.data.local_time import DAY_US, Placed, Repeated, local_as_utc, utc_of_local

unhurried = settings(deadline=None, max_examples=60)
CHANGES = {
    "Europe/Zurich": [datetime(2023, 3, 26, 1), datetime(2023, 10, 29, 1)],
    "Europe/Lisbon": [datetime(2012, 3, 25, 1), datetime(2012, 10, 28, 1)],
    "America/New_York": [datetime(2021, 3, 14, 7), datetime(2021, 11, 7, 6)],
    "Australia/Lord_Howe": [datetime(2022, 10, 1, 15, 30), datetime(2022, 4, 2, 15)],
    "Asia/Kolkata": [datetime(2020, 6, 1)],
}


def us(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000


def wall(utc: np.ndarray, zone: str) -> np.ndarray:
    """By Python's own rules, one moment at a time."""
    moments = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(moment)) for moment in utc)
    return np.array([us(moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)) for moment in moments])


def placed(labels: np.ndarray, zone: str, ends: bool, repeated: Repeated = "twice") -> tuple[Placed, FaultLog]:
    faults = FaultLog(5)
    lines = np.arange(2, len(labels) + 2, dtype=np.int32)
    found = utc_of_local(labels, zone, lines, faults, ends=ends, repeated=repeated)
    share = np.ones(len(found.utc_us)) if found.share is None else found.share
    return replace(found, rows=np.arange(len(labels))[found.rows], share=share), faults


def clock(*times: str) -> np.ndarray:
    """Labels of 2023-10-29 in Zurich, where clocks go back from 03:00 to 02:00 at 01:00 UTC."""
    return np.array([us(datetime.fromisoformat(f"2023-10-29T{time}")) for time in times])


def utc_times(result: Placed) -> list[str]:
    return [str(np.datetime64(int(moment), "us"))[11:16] for moment in result.utc_us]


around = st.sampled_from([(zone, change) for zone, changes in CHANGES.items() for change in changes])


@unhurried
@given(
    around,
    st.sampled_from([1, 5, 7, 10, 15, 20, 30, 45, 60, 90]),
    st.integers(0, 59),
    st.sampled_from(["start", "end, named by the clock after the change", "end, named by the clock before it"]),
    st.booleans(),
    st.sampled_from([0, 15_000_000, -3_000]),
)
def test_complete_data_come_back_exactly_from_their_wall_time(
    change: tuple[str, datetime], minutes: int, phase: int, label: str, newest_first: bool, off: int
) -> None:
    zone, moment = change
    count = 3 * 1440 // minutes
    utc = us(moment) + (np.arange(-count // 2, count // 2) * minutes + phase) * MINUTE_US
    before = MINUTE_US if label == "end, named by the clock before it" else 0
    labels = wall(utc - before, zone) + before
    if before or (labels % (minutes * MINUTE_US)).any():
        off = min(
            off, 0
        )  # 02:00:15 is no moment of a change, and 01:59:15 is the slot of 02:00 where slots begin there
    labels, utc = labels + off, utc + off
    if newest_first:
        labels, utc = labels[::-1], utc[::-1]
    result, faults = placed(labels, zone, label != "start")
    assert not faults.counts
    assert result.utc_us.tolist() == utc.tolist()
    assert result.rows.tolist() == list(range(len(utc)))
    assert (result.share == 1).all()


@unhurried
@given(around, st.sampled_from([15, 30, 60]), st.booleans(), st.data())
def test_the_order_of_rows_changes_nothing_while_rows_of_one_label_keep_theirs(
    change: tuple[str, datetime], minutes: int, ends: bool, data: st.DataObject
) -> None:
    zone, moment = change
    utc = us(moment) + np.arange(-48, 48) * minutes * MINUTE_US
    keep = np.ones(96, bool)
    keep[data.draw(st.lists(st.integers(0, 95), max_size=20))] = False
    labels = wall(utc[keep], zone)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    rank = random.permutation(np.arange(0, len(labels), 1))
    moved = np.argsort(rank)
    # Of equal labels, the one that came first goes to the first of their new places.
    for label in np.unique(labels):
        places = np.flatnonzero(labels[moved] == label)
        moved[places] = np.sort(moved[places])
    plain, faults = placed(labels, zone, ends)
    mixed, mixed_faults = placed(labels[moved], zone, ends)
    assert dict(zip(moved[mixed.rows].tolist(), mixed.utc_us.tolist(), strict=True)) == dict(
        zip(plain.rows.tolist(), plain.utc_us.tolist(), strict=True)
    )
    assert mixed_faults.counts == faults.counts


def test_either_name_of_the_moment_of_the_change_is_understood_of_end_labels() -> None:
    right = ["23:45", "00:00", "00:15", "00:30", "00:45", "01:00", "01:15", "01:30", "01:45", "02:00", "02:15"]
    hour = ["02:15", "02:30", "02:45"]
    for labels in (
        ["01:45", "02:00", *hour, "02:00", *hour, "03:00", "03:15"],
        ["01:45", "02:00", *hour, "03:00", *hour, "03:00", "03:15"],
    ):
        result, faults = placed(clock(*labels), "Europe/Zurich", ends=True)
        assert utc_times(result) == right
        assert not faults.counts
    for labels in (["02:00", "02:00", "03:00"], ["02:00", "03:00", "03:00"]):
        result, faults = placed(clock("01:00", *labels, "04:00"), "Europe/Zurich", ends=True)
        assert utc_times(result) == ["23:00", "00:00", "01:00", "02:00", "03:00"]
        assert not faults.counts


def test_a_label_of_the_repeated_hour_that_stands_once_is_the_first_and_counted() -> None:
    result, faults = placed(clock("01:30", "02:00", "02:30", "03:00", "03:30"), "Europe/Zurich", ends=False)
    assert utc_times(result) == ["23:30", "00:00", "00:30", "02:00", "02:30"]
    assert faults.counts == {Fault.AMBIGUOUS_TIME: 2}
    assert [note.line for note in faults.notes] == [3, 4]
    result, faults = placed(clock("01:30", "02:00", "02:30", "03:00", "03:30"), "Europe/Zurich", ends=True)
    assert utc_times(result) == ["23:30", "00:00", "00:30", "02:00", "02:30"]
    assert faults.counts == {Fault.AMBIGUOUS_TIME: 1}


@pytest.mark.parametrize(("ends", "kept"), [(False, ["01:45", "03:00", "03:15"]), (True, ["01:45", "02:00", "03:15"])])
def test_labels_that_clocks_skip_are_left_out_and_counted(ends: bool, kept: list[str]) -> None:
    times = ["01:45", "02:00", "02:15", "02:30", "02:45", "03:00", "03:15"]
    labels = clock(*times) - 217 * DAY_US  # 2023-03-26
    result, faults = placed(labels, "Europe/Zurich", ends)
    assert [times[row] for row in result.rows] == kept
    assert utc_times(result) == ["00:45", "01:00", "01:15"]
    assert faults.counts == {Fault.NO_SUCH_TIME: 4}


@pytest.mark.parametrize("off", [0, -3_000])
def test_days_of_96_labels_lose_the_skipped_hour_and_spread_the_sum_of_the_repeated_one(off: int) -> None:
    for ends, back in ((True, datetime(2012, 10, 28)), (True, datetime(2012, 3, 25)), (False, datetime(2012, 10, 28))):
        labels = us(back) + (np.arange(96) + ends) * 15 * MINUTE_US + off
        result, faults = placed(labels, "Europe/Lisbon", ends, "summed")
        starts = result.utc_us - ends * 15 * MINUTE_US - off
        hours = 25 if back.month == 10 else 23
        first = us(back) - (60 * MINUTE_US if back.month == 10 else 0)  # summer time is UTC+1
        assert np.sort(starts).tolist() == (first + np.arange(hours * 4) * 15 * MINUTE_US).tolist()
        by_row = np.bincount(result.rows, result.share, 96)
        hour = slice(4, 8)  # 01:00 to 02:00
        if hours == 25:
            assert (by_row == 1).all()
            assert (result.share == 0.5).sum() == 8
            assert np.unique(result.rows[result.share == 0.5]).tolist() == [4, 5, 6, 7]
            assert faults.counts == {Fault.AMBIGUOUS_TIME: 4}
        else:
            assert (by_row[hour] == 0).all()
            assert by_row.sum() == 92
            assert faults.counts == {Fault.NO_SUCH_TIME: 4}


def test_a_stray_year_breaks_nothing() -> None:
    labels = np.array([us(datetime(1, 1, 1)), us(datetime(2023, 7, 1)), us(datetime(9999, 12, 31))])
    result, faults = placed(labels, "Europe/Zurich", ends=False)
    assert len(result.rows) == 3
    assert result.utc_us[1] == us(datetime(2023, 6, 30, 22))
    assert not faults.counts


@unhurried
@given(around.filter(lambda change: change[0] != "Asia/Kolkata"), st.sampled_from([5, 15, 30]), st.booleans())
def test_local_time_that_was_called_utc_is_noticed_at_either_change(
    change: tuple[str, datetime], minutes: int, gap_elsewhere: bool
) -> None:
    zone, moment = change
    count = 10 * 1440 // minutes
    utc = us(moment) + np.arange(-count // 2, count // 2) * minutes * MINUTE_US
    if gap_elsewhere:
        utc = np.delete(utc, np.r_[7:20])
    words = local_as_utc(np.sort(wall(utc, zone)), minutes, zone)
    assert f"{moment:%Y}" in words
    assert "labels look like local time with the offset of UTC" in words
    assert local_as_utc(utc, minutes, zone) == ""


@unhurried
@given(around, st.sampled_from([5, 15, 30, 60]), st.integers(0, 400), st.integers(1, 30), st.booleans())
def test_utc_with_a_gap_is_not_taken_for_local_time(
    change: tuple[str, datetime], minutes: int, begin: int, slots: int, copied: bool
) -> None:
    zone, moment = change
    utc = us(moment) + np.arange(-200, 200) * minutes * MINUTE_US
    lost = np.r_[begin : min(begin + slots, 400)]
    shift = 60 if zone != "Australia/Lord_Howe" else 30
    assume(len(lost) - copied != shift // minutes)
    there = np.sort(np.r_[utc, utc[lost[:-1]]]) if copied else np.delete(utc, lost)
    assert local_as_utc(there, minutes, zone) == ""


def test_a_label_in_a_skipped_hour_of_another_year_shows_that_it_is_utc() -> None:
    utc = us(datetime(2022, 1, 1)) + np.arange(2 * 365 * 24) * 60 * MINUTE_US
    hour = us(datetime(2023, 3, 26, 2))
    assert local_as_utc(utc[utc != hour], 60, "Europe/Zurich") == ""
    assert "2023-03-26 02:00 to 03:00 is missing" in local_as_utc(utc[8000:][utc[8000:] != hour], 60, "Europe/Zurich")


@pytest.mark.parametrize(
    ("zone", "hour"),
    [
        ("Europe/Zurich", "2023-03-26 02:00 to 03:00"),
        ("Europe/Lisbon", "2023-03-26 01:00 to 02:00"),
        ("Europe/Kyiv", "2023-03-26 03:00 to 04:00"),
        ("America/Chicago", "2023-03-12 02:00 to 03:00"),
        ("Australia/Melbourne", "2023-10-01 02:00 to 03:00"),
        ("Pacific/Auckland", "2023-09-24 02:00 to 03:00"),
    ],
)
def test_local_time_is_noticed_where_nobody_has_said_where_the_household_is(zone: str, hour: str) -> None:
    utc = us(datetime(2023, 1, 10)) + np.arange(350 * 24 * 4) * 15 * MINUTE_US
    words = local_as_utc(np.sort(wall(utc, zone)), 15, "UTC")
    assert f"{hour} is missing" in words
    assert "source.timezone is UTC" in words
    assert local_as_utc(utc, 15, "UTC") == ""
