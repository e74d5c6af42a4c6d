"""A file judged as one series: registers, net meters, readings that catch up after a gap, estimated readings."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_rows import START, TREATMENT, every, found, labelled, on_grid, values

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import MINUTE_US, to_grid
from neurogrid.data.readings import UnusableFileError

DIFFERENCES = replace(TREATMENT, registers="differences")


def test_a_register_is_refused_or_its_differences_are_taken_and_a_reset_is_no_consumption() -> None:
    used = values(200)
    register = 1234.5 + np.r_[0, np.cumsum(used)].round(3)
    register[150:] -= register[150] - 2.5  # a new meter
    data = labelled(every(30, 201), register)
    with pytest.raises(UnusableFileError, match="registers=differences") as told:
        found(data)
    assert told.value.fault == Fault.REGISTER
    readings, faults = found(data, replace(TREATMENT, registers="differences"))
    _, kwh = on_grid(readings)
    assert np.isnan(kwh[149])
    assert np.allclose(np.delete(kwh, 149), np.delete(used, 149), atol=1e-9)
    assert faults.counts == {Fault.REGISTER: 1, Fault.REGISTER_RESET: 1}


@pytest.mark.parametrize("series", [np.zeros(100), np.full(100, 0.3), np.r_[np.zeros(99), 5.0], values(100)])
def test_an_empty_house_a_flat_line_and_a_common_load_are_no_registers(series: np.ndarray) -> None:
    readings, faults = found(labelled(every(30, len(series)), series))
    assert readings.table.num_rows == len(series)
    assert not faults.counts


def test_a_net_meter_is_refused_or_one_way_of_its_energy_is_taken() -> None:
    kwh = values(480) - 0.35
    data = labelled(every(30, 480), kwh)
    with pytest.raises(UnusableFileError, match="of 480 readings are below zero") as told:
        found(data)
    assert told.value.fault == Fault.NET_METER
    for way, right in (("import", np.maximum(kwh, 0)), ("export", np.maximum(-kwh, 0)), ("net", kwh)):
        readings, faults = found(data, replace(TREATMENT, net_meters=way))
        assert np.allclose(readings.table.column("kWh").to_numpy(), right)
        assert faults.counts == {Fault.NET_METER: 1}


def test_a_few_readings_below_zero_are_mistakes() -> None:
    kwh = values(480)
    kwh[:5] = -1
    readings, faults = found(labelled(every(30, 480), kwh))
    assert readings.table.num_rows == 475
    assert faults.counts == {Fault.NEGATIVE: 5}


@pytest.mark.parametrize(("before", "size"), [(99_995.0, 100_000.0), (990.0, 1_000.0), (9_999_990.0, 1e7)])
def test_a_register_that_rolls_over_went_on(before: float, size: float) -> None:
    used = values(200)
    register = ((before + np.r_[0, np.cumsum(used)]) % size).round(3)
    assert (np.diff(register) < 0).sum() == 1
    readings, faults = found(labelled(every(30, 201), register), DIFFERENCES)
    _, kwh = on_grid(readings)
    assert np.allclose(kwh, used, atol=1e-6)
    assert faults.counts == {Fault.REGISTER: 1, Fault.REGISTER_RESET: 1}
    assert f"rolled over at {size:g}" in faults.notes[1].text


def test_a_reset_and_another_meter_are_told_apart_and_take_one_slot() -> None:
    used = values(300)
    register = 7_321.0 + np.r_[0, np.cumsum(used)]
    register[100:] -= register[100] - 0.1
    register[200:] += 3_000
    register[250:] -= 1_500
    readings, faults = found(labelled(every(30, 301), register.round(3)), replace(DIFFERENCES, max_power_kw=50))
    _, kwh = on_grid(readings)
    assert np.flatnonzero(np.isnan(kwh)).tolist() == [99, 199, 249]
    assert np.allclose(np.delete(kwh, [99, 199, 249]), np.delete(used, [99, 199, 249]), atol=2e-3)
    assert faults.counts == {Fault.REGISTER: 1, Fault.REGISTER_RESET: 2, Fault.ABSURD: 1}
    assert [note.text.split(": ")[1] for note in faults.notes[1:3]] == [
        "a reset, that slot is missing",
        "another meter, that slot is missing",
    ]


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_misread_register_loses_no_energy(factor: float) -> None:
    register = 1_234.5 + np.cumsum(values(200))
    wrong = register.copy()
    wrong[77] *= factor
    readings, faults = found(labelled(every(30, 200), wrong), DIFFERENCES)
    _, kwh = on_grid(readings)
    assert np.isclose(kwh.sum(), register[-1] - register[0])
    assert len(kwh) == 199
    assert faults.counts == {Fault.REGISTER: 1, Fault.REGISTER_RESET: 1, Fault.CATCH_UP: 1}


def test_a_register_that_counts_each_day_anew_is_one() -> None:
    used = values(480)
    counter = np.concatenate([np.cumsum(day) for day in used.reshape(10, 48)])
    readings, faults = found(labelled(every(30, 480), counter), DIFFERENCES)
    _, kwh = on_grid(readings)
    assert np.isnan(kwh).sum() == 9
    right = np.r_[used[1:]]
    assert np.allclose(kwh[~np.isnan(kwh)], right[~np.isnan(kwh)])
    assert faults.counts == {Fault.REGISTER: 1, Fault.REGISTER_RESET: 9}


def test_a_register_of_whole_kwh_that_seldom_rises_is_one() -> None:
    register = np.floor(7 + np.cumsum(np.full(960, 0.03)))
    with pytest.raises(UnusableFileError, match="register"):
        found(labelled(every(15, 960), register, minutes=15))


@settings(max_examples=60, deadline=None)
@given(
    lost=st.sets(st.integers(1, 198), max_size=80),
    misplaced=st.sets(st.integers(1, 198), max_size=5),
    minutes=st.sampled_from([5, 15, 30, 60]),
    ends=st.booleans(),
)
def test_a_register_with_gaps_holds_their_energy(lost: set[int], misplaced: set[int], minutes: int, ends: bool) -> None:
    register = 1_234.5 + np.cumsum(values(200))
    labels = every(minutes, 200)
    labels[list(misplaced)] += MINUTE_US
    keep = np.ones(200, bool)
    keep[list(lost)] = False
    keep[20:60] = True
    data = labelled(labels[keep], register[keep], ends, minutes)
    for treatment in ("spread", "missing"):
        readings, faults = found(data, replace(DIFFERENCES, catch_up=treatment))
        grid = to_grid(readings.table, readings.cadence_minutes, 400, faults)
        assert grid.cadence_minutes == minutes
        gone = (lost - set(range(20, 60))) | misplaced
        whole = np.array([n not in gone and n + 1 not in gone for n in range(199)])
        kwh = np.full(199, np.nan)
        at = (grid.starts_us[0] - labels[0]) // (minutes * MINUTE_US)
        kwh[at : at + len(grid.kwh)] = grid.kwh
        assert np.allclose(kwh[whole], np.diff(register)[whole])
        if treatment == "spread":
            assert np.isclose(kwh.sum(), register[-1] - register[0], rtol=1e-9)
        else:
            assert np.isnan(kwh[~whole]).all()
        assert faults.counts[Fault.OFF_GRID] == len((misplaced - lost) | (misplaced & set(range(20, 60))))


def outage(kind: str, begin: int = 100, slots: int = 48, times: float = 1.0) -> tuple[np.ndarray, np.ndarray, float]:
    """Labels and energies of ten days, with an outage whose energy stands in the reading after it."""
    labels, kwh = every(30, 480), values(480)
    lost = slice(begin, begin + slots)
    kwh[begin + slots] = times * kwh[begin : begin + slots + 1].sum()
    total = float(kwh.sum() - kwh[lost].sum())
    if kind == "zeros":
        kwh[lost] = 0
    elif kind == "empty":
        kwh[lost] = np.nan
    elif kind == "half of each":
        kwh[lost] = 0
        first = np.r_[lost][: slots // 2]
        labels, kwh = np.delete(labels, first), np.delete(kwh, first)
    else:
        labels, kwh = np.delete(labels, np.r_[lost]), np.delete(kwh, np.r_[lost])
    return labels, kwh, total


@pytest.mark.parametrize("kind", ["missing", "empty", "zeros", "half of each"])
@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("times", [0.5, 1.0, 2.0])
def test_a_reading_that_catches_up_is_spread_over_the_gap_or_taken_as_missing(
    kind: str, ends: bool, times: float
) -> None:
    labels, kwh, total = outage(kind, times=times)
    data = labelled(labels, kwh, ends)
    readings, faults = found(data)
    first, slots = on_grid(readings)
    assert first == START + (0 if ends else 30 * MINUTE_US)
    assert len(slots) == 480
    assert np.isclose(slots.sum(), total, rtol=1e-12)
    assert np.ptp(slots[100:149]) < 1e-12
    assert np.array_equal(np.delete(slots, np.r_[100:149]), np.delete(values(480), np.r_[100:149]))
    assert faults.counts == {Fault.CATCH_UP: 1}
    assert faults.notes[0].line == 2 + np.flatnonzero(kwh == np.nanmax(kwh))[0]
    readings, faults = found(data, replace(TREATMENT, catch_up="missing"))
    grid = to_grid(readings.table, 30, 400, FaultLog(5))
    assert np.flatnonzero(np.isnan(grid.kwh)).tolist() == list(range(100, 149))
    assert faults.counts[Fault.CATCH_UP] == 1


def test_a_reading_that_catches_up_may_be_above_the_limit_of_one_slot() -> None:
    labels, kwh, total = outage("missing")
    readings, faults = found(labelled(labels, kwh), replace(TREATMENT, max_power_kw=6.0))
    assert kwh.max() > 6.0 / 2
    assert np.isclose(readings.table.column("kWh").to_numpy().sum(), total)
    assert faults.counts == {Fault.CATCH_UP: 1}


def test_a_reading_that_catches_up_and_stands_twice_counts_once() -> None:
    labels, kwh, total = outage("missing")
    at = int(np.argmax(kwh))
    readings, faults = found(labelled(np.insert(labels, at, labels[at]), np.insert(kwh, at, kwh[at])))
    grid = to_grid(readings.table, 30, 400, faults)
    assert np.isclose(grid.kwh.sum(), total)
    assert faults.counts == {Fault.CATCH_UP: 1, Fault.DUPLICATE: 1}


@pytest.mark.parametrize("kind", ["missing", "zeros"])
@settings(max_examples=40, deadline=None)
@given(begin=st.integers(1, 400), slots=st.integers(1, 48), peak=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_a_common_or_high_reading_after_a_gap_is_no_catching_up(
    kind: str, begin: int, slots: int, peak: float, seed: int
) -> None:
    labels, kwh = every(30, 480), values(480, seed)
    highest = kwh.max()
    lost = np.arange(begin, begin + slots)
    kwh[begin + slots] = max(kwh[begin + slots], peak * highest)
    if kind == "zeros":
        kwh[lost] = 0
    else:
        labels, kwh = np.delete(labels, lost), np.delete(kwh, lost)
    readings, faults = found(labelled(labels, kwh))
    assert not faults.counts
    assert readings.table.column("kWh").to_numpy().tolist() == kwh.tolist()


def test_a_spike_that_is_not_the_energy_of_its_gap_stays_a_reading() -> None:
    labels, kwh, _ = outage("missing", times=4.0)
    readings, faults = found(labelled(labels, kwh))
    assert not faults.counts
    assert readings.table.num_rows == 432


def test_estimated_readings_are_used_or_taken_as_missing_and_counted() -> None:
    data = labelled(every(30, 200), values(200))
    data = replace(data, estimated=np.arange(200) % 4 == 0)
    readings, faults = found(data)
    assert readings.table.num_rows == 200
    assert faults.counts == {Fault.ESTIMATED: 50}
    assert faults.notes[0].text.endswith(" kWh, used")
    readings, faults = found(data, replace(TREATMENT, estimated="missing"))
    assert readings.table.num_rows == 150
    assert faults.counts == {Fault.ESTIMATED: 50}
    assert (readings.table.column("line").to_numpy() % 4 != 2).all()
    with pytest.raises(UnusableFileError, match=r"150 of 200 rows are marked as estimated; etl.estimated=use") as told:
        found(replace(data, estimated=np.arange(200) % 4 != 0), replace(TREATMENT, estimated="missing"))
    assert told.value.fault == Fault.MOSTLY_REFUSED


def test_a_register_that_stands_still_and_catches_up_is_spread() -> None:
    used = values(400)
    register = 1_234.5 + np.r_[0, np.cumsum(used)]
    stuck = register.copy()
    stuck[100:150] = stuck[100]
    readings, faults = found(labelled(every(30, 401), stuck), replace(DIFFERENCES, max_power_kw=5.0))
    _, kwh = on_grid(readings)
    assert np.isclose(kwh.sum(), register[-1] - register[0])
    assert np.ptp(kwh[100:150]) < 1e-9
    assert faults.counts == {Fault.REGISTER: 1, Fault.CATCH_UP: 1}


@pytest.mark.parametrize("begin", [300, 90])
def test_a_register_whose_decimal_point_moves_is_taken_at_its_smaller_scale(begin: int) -> None:
    register = (1_234.5 + np.cumsum(values(400))).round(3)
    for wrong in (slice(begin, None), slice(begin, begin + 20), slice(None, begin)):
        for times in (10.0, 1000.0):
            shifted = register.copy()
            shifted[wrong] *= times
            readings, faults = found(labelled(every(30, 400), shifted), DIFFERENCES)
            _, kwh = on_grid(readings)
            assert np.allclose(kwh, np.diff(register), atol=1e-6)
            assert faults.counts[Fault.REGISTER_RESET] == (2 if wrong.stop == begin + 20 else 1)


def test_zeros_between_the_values_of_a_register_are_no_readings() -> None:
    register = 1_234.5 + np.cumsum(values(400))
    unread = register.copy()
    unread[5::7] = 0
    readings, faults = found(labelled(every(30, 400), unread), DIFFERENCES)
    _, kwh = on_grid(readings)
    assert np.isclose(kwh.sum(), register[-1] - register[0])
    assert faults.counts == {Fault.REGISTER: 1, Fault.REGISTER_RESET: 57, Fault.CATCH_UP: 57}


def test_a_register_has_its_empty_and_repeated_rows_counted() -> None:
    labels, register = every(30, 200), 1_234.5 + np.cumsum(values(200))
    register[[20, 30]] = np.nan
    data = labelled(np.insert(labels, 50, labels[50]), np.insert(register, 50, register[50]))
    readings, faults = found(data, DIFFERENCES)
    assert on_grid(readings)[1].sum() == pytest.approx(register[-1] - register[0])
    assert faults.counts == {Fault.REGISTER: 1, Fault.NULL_VALUE: 2, Fault.DUPLICATE: 1, Fault.CATCH_UP: 2}


def test_a_credit_that_falls_is_refused_in_words() -> None:
    with pytest.raises(UnusableFileError, match="hardly ever rise: a credit"):
        found(labelled(every(30, 200), 90 - np.cumsum(values(200))), DIFFERENCES)


def test_the_same_value_below_zero_is_a_mark_and_no_net_meter() -> None:
    kwh = values(480)
    kwh[::20] = -999
    readings, faults = found(labelled(every(30, 480), kwh))
    assert readings.table.num_rows == 456
    assert faults.counts == {Fault.NEGATIVE: 24}


def test_a_unit_that_changes_within_a_file_is_said_in_words() -> None:
    kwh = np.r_[values(480) / 10, values(480) * 100, values(480) / 10]
    readings, faults = found(labelled(every(30, 1440), kwh), replace(TREATMENT, max_power_kw=1e6))
    assert readings.table.num_rows == 1440
    assert faults.counts == {Fault.UNIT_CHANGE: 2}
    assert "2013-06-1" in faults.notes[0].text
    assert not found(labelled(every(30, 960), np.r_[values(480) / 10, values(480) * 5]))[1].counts


@pytest.mark.parametrize("minutes", [15, 30])
def test_a_meter_that_repeats_a_value_and_catches_up_is_spread(minutes: int) -> None:
    kwh = values(480)
    total = kwh.sum()
    kwh[149] += kwh[101:149].sum()
    kwh[101:149] = kwh[100]
    readings, faults = found(labelled(every(minutes, 480), kwh, minutes=minutes))
    _, slots = on_grid(readings)
    assert np.isclose(slots.sum(), total)
    assert faults.counts == {Fault.CATCH_UP: 1}
