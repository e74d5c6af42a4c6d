"""Grid, imputation, cadence, local time and weather: the arithmetic of the ETL, without files."""

import tracemalloc
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogrid.data.energies import READINGS
from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import Grid, change_cadence, check_cadence, coarse_bounds, to_grid
from neurogrid.data.household import OBSERVED, SLOT_MEAN, TRAILING_MEAN, ZERO
from neurogrid.data.impute import impute
from neurogrid.data.local_time import local_minutes
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.weather import Station, fill_hours, known_weather
from neurogrid.errors import InputError

unhurried = settings(deadline=None)  # a busy machine is no fault
energy = st.one_of(st.just(float("nan")), st.floats(0, 50, allow_nan=False).map(lambda v: round(v, 3)))
gappy = st.lists(energy, min_size=1, max_size=120).map(np.array)
SLOTS = 8


def filled(values: np.ndarray, trailing: int = 5) -> tuple[np.ndarray, np.ndarray]:
    position = np.arange(len(values)) + 3
    return impute(values, position // SLOTS, position % SLOTS, SLOTS, trailing)


def by_the_book(values: np.ndarray, trailing: int = 5) -> tuple[list[float], list[int]]:
    """The three tiers as one would say them, one slot after another."""
    out, tiers = [], []
    for n, value in enumerate(values):
        recent = [v for v in values[max(n - trailing, 0) : n] if not np.isnan(v)]
        same = [values[m] for m in range(n - SLOTS, -1, -SLOTS) if not np.isnan(values[m])]
        if not np.isnan(value):
            choice = (value, OBSERVED)
        elif recent:
            choice = (sum(recent) / len(recent), TRAILING_MEAN)
        else:
            choice = (sum(same) / len(same), SLOT_MEAN) if same else (0.0, ZERO)
        out.append(choice[0])
        tiers.append(choice[1])
    return out, tiers


@unhurried
@given(gappy)
def test_three_tiers_are_what_the_definition_says(values: np.ndarray) -> None:
    got, tier = filled(values)
    expected, expected_tier = by_the_book(values)
    assert tier.tolist() == expected_tier
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@unhurried
@given(gappy, st.data())
def test_imputation_never_looks_ahead(values: np.ndarray, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(values)))
    later = data.draw(st.lists(energy, min_size=len(values) - cut, max_size=len(values) - cut))
    other = np.concatenate([values[:cut], later])
    for before, after in zip(filled(values), filled(other), strict=True):
        assert before[:cut].tobytes() == after[:cut].tobytes()


def test_a_filled_value_enters_no_other_mean() -> None:
    got, tier = filled(np.array([2.0, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan]))
    assert tier.tolist() == [OBSERVED, *[TRAILING_MEAN] * 5, ZERO]
    assert got.tolist() == [2, 2, 2, 2, 2, 2, 0]


@unhurried
@given(gappy, st.sampled_from([1, 5, 15, 30, 60, 120]), st.integers(0, 50))
def test_a_change_of_cadence_conserves_energy(values: np.ndarray, wanted: int, first: int) -> None:
    grid = coarse_bounds(Grid(first, 30, values, 0.0), wanted)
    kwh, tier = filled(grid.kwh)
    start, changed, tiers = change_cadence(grid.first, kwh, tier, 30, wanted)
    assert changed.sum() == pytest.approx(kwh.sum(), rel=1e-9, abs=1e-9)
    assert start * wanted == grid.first * 30
    assert len(changed) * wanted == len(kwh) * 30
    assert len(tiers) == len(changed)


def test_a_coarse_slot_is_observed_only_when_all_its_parts_are() -> None:
    kwh, tier = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 0, 2], np.uint8)
    _, coarse, tiers = change_cadence(10, kwh, tier, 15, 30)
    assert coarse.tolist() == [3, 7]
    assert tiers.tolist() == [OBSERVED, SLOT_MEAN]


@pytest.mark.parametrize("wanted", [7, 20, 45, -15, 2880])
def test_a_cadence_that_does_not_fit_is_refused_with_those_that_do(wanted: int) -> None:
    with pytest.raises(InputError, match=f"{wanted} minutes") as error:
        check_cadence(30, wanted)
    assert "15" in error.value.fix
    assert check_cadence(30, None) == 30


FIRST_SLOT = 1_800_000
"""Of 15 minutes since 1970: some day of 2021."""
readings = st.lists(st.tuples(st.integers(0, 400), st.floats(0, 9).map(lambda v: round(v, 3))), min_size=1, max_size=80)


def table(rows: list[tuple[int, float]], step: int = 900_000_000) -> pa.Table:
    starts = pa.array([(FIRST_SLOT + slot) * step for slot, _ in rows]).cast(READINGS.field("Timestamp").type)
    lines = pa.array(range(2, len(rows) + 2), pa.int32())
    return pa.table([starts, pa.array([kwh for _, kwh in rows]), lines], schema=READINGS)


@unhurried
@given(readings)
def test_the_grid_is_complete_and_every_reading_is_on_it_or_counted(rows: list[tuple[int, float]]) -> None:
    faults = FaultLog(5)
    grid = to_grid(table(rows), 15, 400, faults)
    first_of_each: dict[int, float] = {}
    for slot, kwh in rows:
        first_of_each.setdefault(slot, kwh)
    assert len(grid.kwh) == max(first_of_each) - min(first_of_each) + 1
    placed = {grid.first - FIRST_SLOT + n: kwh for n, kwh in enumerate(grid.kwh) if not np.isnan(kwh)}
    assert placed == first_of_each
    assert faults.counts[Fault.DUPLICATE] == len(rows) - len(first_of_each)
    assert grid.dropped_kwh == pytest.approx(sum(k for _, k in rows) - sum(first_of_each.values()), abs=1e-9)


def test_one_wrong_year_does_not_make_a_grid_of_a_century() -> None:
    faults = FaultLog(5)
    grid = to_grid(table([(10, 1.0), (11, 2.0), (12, 1.0), (1_200_000, 5.0)]), 15, 366, faults)
    assert len(grid.kwh) == 3
    assert faults.counts == {Fault.FAR_FROM_THE_REST: 1}
    assert grid.dropped_kwh == 5


@pytest.mark.parametrize("year", [1970, 1989, 2101, 9999])
def test_a_year_of_no_meter_is_dropped_whatever_gap_is_allowed(year: int) -> None:
    stray = int(np.datetime64(f"{year}-06-01", "m").astype(np.int64)) // 15 - FIRST_SLOT
    faults = FaultLog(5)
    grid = to_grid(table([(10, 1.0), (stray, 5.0), (stray + 1, 5.0), (stray + 2, 5.0), (11, 2.0)]), 15, 1e9, faults)
    assert grid.kwh.tolist() == [1.0, 2.0]
    assert faults.counts == {Fault.FAR_FROM_THE_REST: 3}
    with pytest.raises(UnusableFileError, match=f"no row has a usable value: .*far_from_the_rest.*{year}-06-01"):
        to_grid(table([(stray, 5.0), (stray + 1, 5.0)]), 15, 1e9, FaultLog(5))


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["Europe/Zurich", "Australia/Sydney", "Asia/Kathmandu", "America/Havana", "UTC"]),
    st.integers(0, 20_000),
    st.sampled_from([15, 30, 60]),
)
def test_local_time_is_what_zoneinfo_says(zone: str, day: int, cadence: int) -> None:
    first = day * 1440 // cadence
    got = local_minutes(first, 400, cadence, zone)
    epoch = datetime(1970, 1, 1)
    for n in range(0, 400, 7):
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=(first + n) * cadence)
        wall = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        assert got[n] == (wall - epoch).total_seconds() // 60


@unhurried
@given(gappy, st.integers(0, 30), st.integers(0, 6), st.data())
def test_weather_never_comes_from_the_future(
    values: np.ndarray, first: int, hold_hours: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(values)))
    later = data.draw(st.lists(energy, min_size=len(values) - cut, max_size=len(values) - cut))
    other = np.concatenate([values[:cut], later])
    for before, after in zip(fill_hours(values, first, hold_hours), fill_hours(other, first, hold_hours), strict=True):
        assert before[:cut].tobytes() == after[:cut].tobytes()


def test_a_missing_hour_takes_the_last_known_then_the_hours_past_mean_then_zero() -> None:
    values = np.full(60, np.nan)
    values[2], values[26] = 4.0, 8.0
    got, tier = fill_hours(values, 0, 3)
    assert got[[0, 2, 5, 6, 26, 29, 50]].tolist() == [0, 4, 4, 0, 8, 8, 6]
    assert tier[[0, 2, 5, 6, 26, 29, 50]].tolist() == [3, 0, 1, 3, 0, 1, 2]


def test_an_hour_is_known_from_its_label_on_and_not_before() -> None:
    station = Station(9, np.array([[1.0, 10, 100], [2.0, 20, 200], [3.0, 30, 300]]), FaultLog(1))
    quarter = 900_000_000
    slots = known_weather(station, np.arange(4 * 9, 4 * 12) * quarter, 3)
    by_slot = slots.values[slots.hour, 0]
    at_0945, at_1000 = by_slot[3], by_slot[4]
    assert (at_0945, at_1000) == (1, 2)
    assert by_slot.tolist() == [1] * 4 + [2] * 4 + [3] * 4


@unhurried
@given(st.integers(-200, 200), st.integers(1, 60), st.integers(0, 5))
def test_weather_from_far_away_is_what_the_whole_series_between_would_give(
    distance: int, measured: int, last_known_hours: int
) -> None:
    values = np.round(np.sin(np.arange(3 * measured)), 3).reshape(measured, 3)
    values[::3, 1] = np.nan
    first = 1000
    station = Station(first + distance, values, FaultLog(1))
    slots = known_weather(station, np.arange(first, first + 30) * 3_600_000_000, last_known_hours)
    series = np.full((460, 3), np.nan)
    series[station.first - 800 : station.first - 800 + measured] = values[: 1260 - station.first]
    for column in np.flatnonzero(~np.isnan(values).all(axis=0)):
        whole, _ = fill_hours(series[:, column], 800, last_known_hours)
        assert slots.values[:, column].tobytes() == whole[200:230].tobytes()


@pytest.mark.parametrize("distance", [-3_000_000, 3_000_000])
def test_a_station_whose_hours_are_all_in_a_wrong_year_takes_no_more_memory_for_it(distance: int) -> None:
    station = Station(470_000 + distance, np.array([[1.0, 2.0, 3.0]]), FaultLog(1))
    tracemalloc.start()
    slots = known_weather(station, np.arange(470_000, 470_050) * 3_600_000_000, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(slots.tier.tolist()) == {ZERO if distance > 0 else SLOT_MEAN, ZERO}
    assert peak < 1_000_000


def test_a_variable_that_a_station_never_reports_does_not_make_its_hours_missing() -> None:
    station = Station(9, np.array([[1.0, 10, np.nan], [2.0, 20, np.nan]]), FaultLog(1))
    slots = known_weather(station, np.arange(9, 13) * 3_600_000_000, 1)
    assert slots.tier.tolist() == [OBSERVED, OBSERVED, TRAILING_MEAN, ZERO]
    assert slots.values[:, 2].tolist() == [0, 0, 0, 0]
