"""From labelled values to energies of slots: energy is conserved at any step, and a file of another kind is noticed."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_rows import START, TREATMENT, every, found, labelled, on_grid, values

from neurogrid.data.energies import HOUR_US, Labelled, energies
from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import MINUTE_US, change_cadence, coarse_bounds, to_grid
from neurogrid.data.local_time import local_minutes, utc_of_local
from neurogrid.data.readings import UnusableFileError


@settings(max_examples=60, deadline=None)
@given(
    segments=st.lists(
        st.tuples(st.sampled_from([1, 5, 6, 10, 15, 20, 30, 60]), st.integers(30, 90)), min_size=1, max_size=3
    ),
    ends=st.booleans(),
    promised=st.sampled_from([15, 30]),
)
def test_energy_and_time_are_conserved_whatever_the_step_and_where_it_changes(
    segments: list[tuple[int, int]], ends: bool, promised: int
) -> None:
    length = np.concatenate([np.full(count, minutes) for minutes, count in segments])
    ended = START + np.cumsum(length) * MINUTE_US
    kwh = values(len(length))
    readings, faults = found(labelled(ended if ends else ended - length * MINUTE_US, kwh, ends, promised))
    first, slots = on_grid(readings)
    step = readings.cadence_minutes * MINUTE_US
    assert first == START
    assert np.isclose(slots.sum(), kwh.sum(), rtol=1e-12)
    assert np.allclose(np.cumsum(slots)[(ended - first) // step - 1], np.cumsum(kwh), rtol=1e-9)
    assert faults.counts[Fault.OTHER_STEP] == (length != promised).sum()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_gaps_and_the_order_of_rows_change_no_reading(data: st.DataObject) -> None:
    labels, kwh = every(30, 200), values(200)
    keep = np.ones(200, bool)
    keep[data.draw(st.lists(st.integers(0, 199), max_size=60))] = False
    keep[:30] = True
    labels, kwh = labels[keep], kwh[keep]
    plain, _ = found(labelled(labels, kwh))
    order = np.array(data.draw(st.permutations(range(len(labels)))))
    mixed, faults = found(labelled(labels[order], kwh[order]))
    for name in ("Timestamp", "kWh"):
        assert mixed.table.column(name).equals(plain.table.column(name))
    assert plain.cadence_minutes == mixed.cadence_minutes == 30
    assert not faults.counts


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("minutes", [30, 60])
def test_readings_on_a_table_of_shorter_slots_cover_the_empty_rows_between(minutes: int, ends: bool) -> None:
    parts, used = minutes // 15, values(100)
    kwh = np.full(100 * parts, np.nan)
    kwh[parts - 1 :: parts] = used
    readings, faults = found(labelled(every(15, len(kwh)), kwh, ends, 15))
    first, slots = on_grid(readings)
    assert readings.cadence_minutes == minutes
    assert first == START + (0 if ends else minutes * MINUTE_US)
    assert slots.tolist() == used.tolist()
    assert faults.counts == {Fault.OTHER_STEP: 100, Fault.NULL_VALUE: 100 * parts - 100}


def test_a_few_readings_an_hour_apart_cover_an_hour() -> None:
    readings, faults = found(labelled(every(60, 5), values(5), minutes=15))
    assert on_grid(readings)[1].sum() == pytest.approx(values(5).sum())
    assert (readings.cadence_minutes, faults.counts) == (60, {Fault.OTHER_STEP: 5})


def test_a_label_between_slots_stays_off_the_grid_and_changes_no_other() -> None:
    labels = np.append(every(30, 100), START + 607 * MINUTE_US)
    readings, _ = found(labelled(labels, values(101)))
    faults = FaultLog(5)
    to_grid(readings.table, readings.cadence_minutes, 400, faults)
    assert readings.cadence_minutes == 30
    assert faults.counts == {Fault.OFF_GRID: 1}


def test_labels_that_are_some_milliseconds_off_are_those_of_the_minute() -> None:
    labels, kwh = every(30, 99), values(99)
    off = labels.copy()
    off[::3] -= 3_000
    off[1] += 900_000
    readings, faults = found(labelled(off, kwh))
    assert readings.table.equals(found(labelled(labels, kwh))[0].table)
    assert faults.counts == {Fault.SNAPPED: 34}


@pytest.mark.parametrize("minutes", [5, 15, 30, 60])
@pytest.mark.parametrize("phase", [0, 2])
def test_labels_of_a_logger_that_is_some_seconds_late_are_those_of_its_slots(minutes: int, phase: int) -> None:
    labels, kwh = every(minutes, 300, START + phase * MINUTE_US), values(300)
    late = np.random.default_rng(1).integers(0, min(6 * minutes, 59), 300) * 1_000_000
    for off in (late, -late, np.minimum(np.arange(300) // 10, 6 * minutes) * 1_000_000):
        readings, faults = found(labelled(labels + off, kwh, minutes=minutes))
        assert readings.table.equals(found(labelled(labels, kwh, minutes=minutes))[0].table)
        assert faults.counts == {Fault.SNAPPED: np.count_nonzero(off)}


def test_a_stray_label_some_seconds_late_stays_off_the_grid() -> None:
    labels = every(30, 100)
    labels[50] += 7_000_000
    readings, faults = found(labelled(labels, values(100)))
    assert not faults.counts
    grid = to_grid(readings.table, readings.cadence_minutes, 400, faults)
    assert np.flatnonzero(np.isnan(grid.kwh)).tolist() == [50]
    assert faults.counts == {Fault.OFF_GRID: 1}


def test_labels_at_any_second_are_no_slots_late() -> None:
    labels = np.sort(START + np.random.default_rng(1).integers(0, 300 * 1800, 300) * 1_000_000)
    faults = FaultLog(5)
    with pytest.raises(UnusableFileError):
        to_grid(energies(labelled(labels, values(300)), TREATMENT, faults).table, 30, 400, faults)
    assert faults.counts[Fault.SNAPPED] < 30


def test_a_meter_whose_clock_is_set_anew_keeps_all_its_energy() -> None:
    kwh = values(400)
    labels = every(30, 400)
    labels[300:] += 10 * MINUTE_US
    labels[350] += 3 * MINUTE_US
    readings, faults = found(labelled(labels, kwh))
    grid = to_grid(readings.table, readings.cadence_minutes, 400, faults)
    assert readings.cadence_minutes == 10
    assert np.isclose(np.nansum(grid.kwh), kwh.sum() - kwh[350])
    assert faults.counts == {Fault.OFF_GRID: 1}


@settings(max_examples=60, deadline=None)
@given(
    segments=st.lists(
        st.tuples(st.sampled_from([1, 5, 6, 10, 15, 20, 30, 60]), st.integers(30, 90)), min_size=1, max_size=3
    ),
    ends=st.booleans(),
    wanted=st.sampled_from([1, 5, 15, 30, 60, 240]),
)
def test_energy_is_conserved_from_any_steps_to_any_cadence(
    segments: list[tuple[int, int]], ends: bool, wanted: int
) -> None:
    length = np.concatenate([np.full(count, minutes) for minutes, count in segments])
    ended = START + np.cumsum(length) * MINUTE_US
    kwh = values(len(length))
    readings, faults = found(labelled(ended if ends else ended - length * MINUTE_US, kwh, ends))
    assume(not wanted % readings.cadence_minutes or not readings.cadence_minutes % wanted)
    grid = coarse_bounds(to_grid(readings.table, readings.cadence_minutes, 400, faults), wanted)
    filled = np.nan_to_num(grid.kwh)
    first, changed, _ = change_cadence(
        grid.first, filled, np.zeros(len(filled), np.uint8), grid.cadence_minutes, wanted
    )
    assert changed.sum() == pytest.approx(kwh.sum(), rel=1e-9)
    begin = first * wanted * MINUTE_US
    whole = (ended - begin) % (wanted * MINUTE_US) == 0
    by_then = np.r_[0, np.cumsum(changed)][(ended[whole] - begin) // (wanted * MINUTE_US)]
    assert np.allclose(by_then, np.cumsum(kwh)[whole], rtol=1e-9)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize(("zone", "minutes"), [("Europe/Zurich", 15), ("America/New_York", 60)])
def test_days_of_23_and_25_hours_have_their_own_energy(zone: str, minutes: int, ends: bool) -> None:
    count = 370 * 1440 // minutes
    starts = START // MINUTE_US // minutes
    local = local_minutes(starts, count, minutes, zone)
    label = (local_minutes(starts + 1, count, minutes, zone) if ends else local) * MINUTE_US
    lines, faults = np.arange(2, count + 2, dtype=np.int32), FaultLog(5)
    kwh = values(count)
    placed = utc_of_local(label, zone, lines, faults, ends=ends, repeated="twice")
    assert placed.share is None
    readings, more = found(labelled(placed.utc_us, kwh[placed.rows], ends, minutes))
    _, slots = on_grid(readings)
    assert not faults.counts
    assert not more.counts
    day = local // 1440 - local[0] // 1440
    assert np.array_equal(np.bincount(day, slots), np.bincount(day, kwh))
    assert sorted(set((np.bincount(day) * minutes / 60)[1:-1])) == [23, 24, 25]


@pytest.mark.parametrize("minutes", [7, 120, 1440])
def test_a_step_that_fills_no_slots_is_refused_in_words(minutes: int) -> None:
    with pytest.raises(UnusableFileError, match=f"readings are {minutes} minutes apart, where 30 are expected") as told:
        found(labelled(every(minutes, 60), values(60)))
    assert told.value.fault == Fault.UNUSABLE_STEP


CHANGE = 1_380_988_800_000_000  # 2013-10-05T16:00Z: clocks in Sydney go forward


def around_the_change(newest_first: bool) -> Labelled:
    labels = every(30, 12, CHANGE - 4 * HOUR_US)
    hour = (labels >= CHANGE - HOUR_US) & (labels < CHANGE)
    later = (labels >= CHANGE) & (labels < CHANGE + HOUR_US)
    labels[later] = labels[hour]
    kwh = np.arange(1.0, 13.0)
    order = np.argsort(labels, kind="stable")
    if newest_first:
        order = order[::-1]
    return labelled(labels[order], kwh[order], clocks="Australia/Sydney")


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_hour_that_stands_twice_goes_where_it_belongs_in_files_of_either_order(newest_first: bool) -> None:
    readings, faults = found(around_the_change(newest_first))
    _, kwh = on_grid(readings)
    assert kwh.tolist() == list(range(1, 13))
    assert faults.counts == {Fault.MOVED_DUPLICATE: 2}


def test_a_second_copy_whose_hour_is_there_stays_a_duplicate() -> None:
    data = around_the_change(newest_first=False)
    own = np.unique(data.labels)
    labels = np.append(data.labels, own[(own >= CHANGE - HOUR_US) & (own < CHANGE)] + HOUR_US)
    readings, faults = found(labelled(labels, np.arange(1.0, len(labels) + 1), clocks="Australia/Sydney"))
    assert not faults.counts
    to_grid(readings.table, readings.cadence_minutes, 400, faults)
    assert faults.counts == {Fault.DUPLICATE: 2}


def test_rows_that_stand_twice_on_another_day_fill_no_gap() -> None:
    labels, kwh = every(30, 100), values(100)
    again = np.r_[np.arange(50), 48, 49, np.arange(52, 100)]
    readings, faults = found(labelled(labels[again], kwh[again], clocks="Australia/Sydney"))
    assert not faults.counts
    grid = to_grid(readings.table, 30, 400, faults)
    assert faults.counts == {Fault.DUPLICATE: 2}
    assert np.isnan(grid.kwh[50:52]).all()
    assert np.isclose(np.nansum(grid.kwh), kwh.sum() - kwh[50:52].sum())


def test_a_file_of_which_most_is_refused_is_no_household_and_its_cause_is_told() -> None:
    with pytest.raises(UnusableFileError, match=r"rows cannot be used: absurd 47.*is the unit kWh a slot") as told:
        found(labelled(every(30, 48), np.r_[0.5, values(47) * 1000 + 101]))
    assert told.value.fault == Fault.MOSTLY_REFUSED
