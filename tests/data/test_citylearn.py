"""Buildings of CityLearn, made up."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from neurogrid.data.faults import Fault
from neurogrid.data.layouts import citylearn
from neurogrid.data.readings import UnusableFileError
from tests.data.mutated import mutations, never_stumbles, read

HEAD = "month,hour,day_type,daylight_savings_status,indoor_dry_bulb_temperature,non_shiftable_load,solar_generation"
OLD = "Month,Hour,Day Type,Daylight Savings Status,Indoor Temperature [C],Equipment Electric Power [kWh],Solar"


def building(
    first: date, days: int, sunday: bool = False, skip: int = 0, head: str = HEAD, holidays: bool = False
) -> bytes:
    """Hours of whole days, without the first `skip`; the load is its place in the file."""
    lines = []
    for n in range(skip, 24 * days):
        day = first + timedelta(days=n // 24)
        kind = day.isoweekday() % 7 + 1 if sunday else day.isoweekday()
        kind = 8 if holidays and day.day == 25 else kind
        summer = sunday and date(day.year, 3, 8) <= day - timedelta(days=day.isoweekday() % 7)
        lines.append(f"{day.month},{n % 24 + 1},{kind},{int(summer)},20.5,{len(lines) / 4},0")
    return "\n".join([head, *lines, ""]).encode()


def starts(table) -> list[datetime]:
    return [datetime.fromtimestamp(label / 1e6, UTC) for label in table["label"].to_pylist()]


def test_hours_follow_each_other_from_the_year_whose_days_of_the_week_fit():
    table, faults = read(citylearn, building(date(2022, 7, 31), 366, skip=23, holidays=True), "Building_7.csv")
    assert starts(table) == [datetime(2022, 7, 31, 23, tzinfo=UTC) + timedelta(hours=n) for n in range(365 * 24 + 1)]
    assert table["value"].to_pylist() == [n / 4 for n in range(365 * 24 + 1)]
    assert set(table["household"].to_pylist()) == {"Building_7"}
    assert faults.counts == {Fault.ASSUMED: 1}
    assert "fit those of the week from 2005, 2016, 2022, with day type 1 as Monday" in faults.notes[0].text
    assert "2022-07-31" in faults.notes[0].text


def test_summer_time_that_begins_on_a_day_1_tells_that_1_is_sunday():
    table, faults = read(citylearn, building(date(2017, 1, 1), 365, sunday=True, head=OLD))
    assert starts(table)[0] == datetime(2023, 1, 1, tzinfo=UTC)
    assert "2006, 2017, 2023, with day type 1 as Sunday" in faults.notes[0].text


def test_a_leap_day_is_only_in_leap_years():
    table, _ = read(citylearn, building(date(2020, 1, 1), 366))
    assert starts(table)[-1] == datetime(2020, 12, 31, 23, tzinfo=UTC)


def test_a_month_that_is_not_whole_is_refused_for_its_days_cannot_be_told():
    lines = building(date(2022, 1, 1), 120).splitlines(keepends=True)
    with pytest.raises(UnusableFileError, match="27 days in month 2"):
        read(citylearn, b"".join(lines[: 24 * 40] + lines[24 * 41 :]))
    with pytest.raises(UnusableFileError, match="month 3 does not follow"):
        read(citylearn, b"".join(lines[: 1 + 24 * 31] + lines[1 + 24 * 59 :]))


def test_rows_that_cannot_be_read_are_counted_and_move_no_other():
    lines = building(date(2022, 1, 1), 60).splitlines()
    lines[30] = lines[30].replace(b",7.25,", b",x,")
    lines[31] = b"13" + lines[31][1:]
    lines[33:33] = [lines[32], b"1,2"]
    table, faults = read(citylearn, b"\n".join(lines))
    whole, _ = read(citylearn, building(date(2022, 1, 1), 60))
    assert starts(table) == starts(whole)[:30] + starts(whole)[31:]
    assert np.flatnonzero(np.isnan(table["value"].to_numpy())).tolist() == [29]
    kinds = (Fault.BAD_NUMBER, Fault.BAD_TIMESTAMP, Fault.DUPLICATE, Fault.BROKEN_ROW, Fault.ASSUMED)
    assert faults.counts == dict.fromkeys(kinds, 1)


def test_files_that_are_no_buildings_are_refused_in_words():
    year = building(date(2022, 1, 1), 60)
    for content, words in (
        (b"", "no lines"),
        (b"month,hour\n1,1\n", "no column 'day_type'"),
        (HEAD.encode(), "no hours"),
        (year.replace(b"month,", b"minutes,").replace(b"indoor_dry_bulb_temperature", b"month"), "has minutes"),
    ):
        with pytest.raises(UnusableFileError, match=words):
            read(citylearn, content)


def test_days_of_the_week_that_no_year_has_are_refused():
    lines = building(date(2022, 1, 1), 60).splitlines()
    cells = [line.split(b",") for line in lines]
    shuffled = [cells[0], *([*row[:2], str(n // 24 * 5 % 7 + 1).encode(), *row[3:]] for n, row in enumerate(cells[1:]))]
    with pytest.raises(UnusableFileError, match="no year from 2000 to 2025 has these days"):
        read(citylearn, b"\n".join(b",".join(row) for row in shuffled))


def test_a_building_is_told_by_its_header():
    assert "non_shiftable_load" in citylearn.is_it(HEAD.encode(), "")
    assert "equipment_electric_power" in citylearn.is_it(OLD.encode(), "")
    assert citylearn.is_it(b"month,hour,load\n", "") == ""


def test_no_damage_makes_it_stumble():
    for content in mutations(building(date(2022, 1, 29), 6)):
        never_stumbles(citylearn, content)
