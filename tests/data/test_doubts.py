"""Households that are doubtful as a whole: a unit of another size, a meter that stands still, estimates."""

import pytest

from neurogrid.data.doubts import Series, doubts, doubts_of_source


def series(*mean_kw: float) -> list[Series]:
    return [Series(str(n), kw, 0) for n, kw in enumerate(mean_kw)]


@pytest.mark.parametrize(("factor", "says"), [(1000, "times what most others use"), (0.001, "times less than most")])
def test_a_unit_of_another_size_is_told_from_the_peers(factor: float, says: str) -> None:
    found = doubts(series(0.4, 0.5, 0.3, 0.6, 0.5, 0.5 * factor), 1e6)
    assert list(found) == ["5"]
    assert says in found["5"]


def test_households_differ_by_some_times() -> None:
    assert doubts(series(0.1, 0.5, 0.3, 2.4, 5.0), 200.0) == {}


def test_a_meter_that_reads_only_zeros_is_named() -> None:
    assert "every reading is zero" in doubts(series(0.5, 0.0), 200.0)["1"]


def test_without_peers_the_limit_of_a_reading_tells() -> None:
    assert list(doubts(series(60.0, 0.5), 200.0)) == ["0"]
    assert "60 kW on average" in doubts(series(60.0), 200.0)["0"]


def test_a_meter_that_stands_still_is_named() -> None:
    assert doubts([Series("a", 0.5, 8 * 1440), Series("b", 0.5, 6 * 1440)], 200.0) == {
        "a": "has the same value for 8 days"
    }


def test_a_series_almost_wholly_estimated_and_local_time_called_utc_are_said_in_words() -> None:
    households = [Series("a", 0.5, 0, estimated_share=0.98), Series("b", 0.5, 0, estimated_share=0.3)]
    assert doubts([*households, Series("c", 0.5, 0, local_as_utc=True)], 200.0) == {
        "a": "98% of its readings were estimated",
        "c": "its labels look like local time with the offset of UTC",
    }


@pytest.mark.parametrize(
    ("median_kw", "says"),
    [(4.0, "half of the households use more than 35,064 kWh a year"), (0.05, "use less than 438 kWh a year")],
)
def test_a_unit_that_all_households_share_is_told_by_what_half_of_them_use(median_kw: float, says: str) -> None:
    households = series(0.0, 0.1 * median_kw, median_kw, median_kw, median_kw, 9 * median_kw)
    (text,) = doubts_of_source(households)
    assert says in text
    assert doubts_of_source(households[:5]) == ()  # too few to tell
    assert doubts_of_source(series(0.1, 0.3, 0.5, 0.9, 8.0)) == ()


def test_powers_are_said_once_where_all_readings_look_like_them() -> None:
    alike = [Series(str(n), 0.5, 0, power=n > 0) for n in range(20)]
    (text,) = doubts_of_source(alike)
    assert "readings of 19 of 20 households are multiples of several watt-hours" in text
    assert doubts(alike, 200.0) == {}
    some = [Series(str(n), 0.5, 0, power=n < 2) for n in range(20)]
    assert doubts_of_source(some) == ()
    assert {name: "is its unit kW?" in text for name, text in doubts(some, 200.0).items()} == {"0": True, "1": True}
