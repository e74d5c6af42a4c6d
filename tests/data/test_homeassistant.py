"""Exports of Home Assistant, made up."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogrid.data.faults import Fault
from neurogrid.data.layouts import ha_statistics, homeassistant
from neurogrid.data.readings import UnusableFileError
from tests.data.mutated import mutations, never_stumbles, read

FIRST = datetime(2025, 1, 31, tzinfo=UTC)


def history(*states: tuple[float, object], entity: str = "sensor.energy", head: bool = True) -> bytes:
    """Rows by minutes after FIRST."""
    times = [(FIRST + timedelta(minutes=minute)).isoformat(timespec="milliseconds")[:-6] + "Z" for minute, _ in states]
    lines = [f"{entity},{state},{time}" for (_, state), time in zip(states, times, strict=True)]
    return "\n".join([*(["entity_id,state,last_changed"] if head else []), *lines, ""]).encode()


def minutes(labels: list[int]) -> list[int]:
    return [(label - int(FIRST.timestamp()) * 10**6) // 60_000_000 for label in labels]


SAMPLE = history(*((n * 7, 100 + n / 4 if n % 9 else "unavailable") for n in range(20))) + history(
    *((n, n * 37 % 50) for n in range(30)), entity="sensor.power", head=False
)


def test_a_state_holds_until_the_next_one():
    table, faults = read(homeassistant, history((3, 10.0), (14, 10.5), (31, 11), (45, 12), (50, 13)))
    assert minutes(table["label"].to_pylist()) == [15, 30, 45]
    assert table["value"].to_pylist() == [10.5, 10.5, 12.0]
    assert table["line"].to_pylist() == [3, 3, 5]
    assert set(table["household"].to_pylist()) == {"sensor.energy"}
    assert faults.counts == {Fault.ASSUMED: 1}


def test_a_state_is_not_known_for_more_than_an_hour_before_the_next():
    table, _ = read(homeassistant, history((0, 10.0), (140, 10.5), (151, 11)))
    assert minutes(table["label"].to_pylist()) == [0, 90, 105, 120, 135, 150]
    assert table["value"].to_pylist() == [10.0] * 5 + [10.5]


def test_nothing_is_known_while_the_sensor_is_away():
    table, faults = read(homeassistant, history((1, 10.0), (20, "unavailable"), (40, "unknown"), (50, 11), (70, 12)))
    assert minutes(table["label"].to_pylist()) == [15, 60]
    assert faults.counts == {Fault.NULL_VALUE: 2, Fault.ASSUMED: 1}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 130), st.sampled_from([0, 1, 2, None])), min_size=1, max_size=40))
def test_each_quarter_hour_has_the_state_that_a_look_at_all_rows_finds(steps):
    at, state, said = 0, 100, []
    for step, rise in steps:
        at, state = at + step, state + (rise or 0)
        said.append((at, state if rise is not None else "unavailable"))
    wanted = {}
    for (start, value), (end, _) in pairwise([*said, (10**6, 0)]):
        for quarter in range(-(-start // 15) * 15, min(end, start + 10_000), 15):
            if value != "unavailable" and (end - quarter <= 60 or quarter == start):
                wanted[quarter] = value
    try:
        table, _ = read(homeassistant, history(*said))
    except UnusableFileError:
        assert not wanted
        return
    assert dict(zip(minutes(table["label"].to_pylist()), table["value"].to_pylist(), strict=True)) == wanted


def test_entities_may_take_turns_and_each_is_a_household():
    one, two = history((0, 1), (14, 2), (16, 3)), history((0, 5), (14, 6), (16, 7), entity="sensor.other", head=False)
    rows = [*one.splitlines(), *two.splitlines()]
    turns = b"\n".join([rows[0], *(row for pair in zip(rows[1:4], rows[4:], strict=True) for row in pair)])
    for content in (one + two, turns):
        table, _ = read(homeassistant, content)
        assert table["household"].to_pylist() == ["sensor.energy"] * 2 + ["sensor.other"] * 2
        assert table["value"].to_pylist() == [1, 2, 5, 6]


def test_what_falls_too_often_is_no_register_and_is_passed_over():
    power = history(*((n, n * 37 % 50) for n in range(30)), entity="sensor.power", head=False)
    table, faults = read(homeassistant, history((0, 1), (14, 2), (16, 3)) + power)
    assert set(table["household"].to_pylist()) == {"sensor.energy"}
    assert faults.counts[Fault.PASSED_OVER] == 30
    with pytest.raises(UnusableFileError, match=r"sensor.power: falls at \d+ of \d+ changes, so a power"):
        read(homeassistant, b"entity_id,state,last_changed\n" + power)


def test_a_register_that_starts_anew_each_day_is_a_register():
    states = [(n * 15, n % 96 / 10) for n in range(96 * 5)]
    assert read(homeassistant, history(*states))[0].num_rows == 480


def test_rows_that_cannot_be_read_are_counted():
    content = history((0, 1), (10, 2), (12, "x"), (13, -3), (25, 4))
    content += b"sensor.energy,5,2025-01-31 00:30:00\nsensor.energy,6\n"
    table, faults = read(homeassistant, content)
    assert table["value"].to_pylist() == [1.0]  # the state at 00:15 is none, and none comes after 00:25
    kinds = (Fault.BAD_NUMBER, Fault.NEGATIVE, Fault.BAD_TIMESTAMP, Fault.BROKEN_ROW)
    assert {kind: faults.counts[kind] for kind in kinds} == dict.fromkeys(kinds, 1)


def test_files_without_registers_are_refused_in_words():
    for content, words in (
        (b"time,kWh\n", "0 columns 'entity_id'"),
        (b"", "no lines"),
        (history(), "no rows"),
        (history((0, "on"), (5, "off"), entity="light.hall"), "light.hall: no numbers"),
        (history((1, 5)), "no two states within an hour"),
    ):
        with pytest.raises(UnusableFileError, match=words):
            read(homeassistant, content)


STATISTICS = (
    "statistic_id\tunit\tstart\tsum\tstate\n"
    "sensor.a\tkWh\t31.01.2025 02:00\t16,5\t9\nsensor.a\tkWh\t31.01.2025 01:00\t16,0\t9\n"
    "sensor.a\tkWh\t31.01.2025 00:00\t15,0\t9\nsensor.b\tWh\t31.01.2025 00:00\t1000\t9\n"
    "sensor.b\tWh\t31.01.2025 01:00\t1500\t9\nsensor.b\tWh\t31.01.2025 03:00\t1900\t9\n"
    "sensor.c\t°C\t31.01.2025 03:00\t\t20\n"
).encode()


def test_an_hours_energy_is_its_sum_less_that_of_the_hour_before():
    table, faults = read(ha_statistics, STATISTICS)
    clock = [datetime.fromtimestamp(label / 1e6, UTC).hour for label in table["label"].to_pylist()]
    found = list(zip(table["household"].to_pylist(), clock, table["value"].to_pylist(), strict=True))
    assert found == [("sensor.a", 1, 1.0), ("sensor.a", 2, 0.5), ("sensor.b", 1, 0.5)]
    assert faults.counts == {Fault.PASSED_OVER: 4}
    assert ha_statistics.LABELS == "local"


def test_energies_of_hours_are_taken_where_there_are_no_sums():
    content = b"statistic_id,start,unit,delta\ns.a,31.01.2025 00:00,kWh,0.5\ns.a,31.01.2025 05:00,kWh,-1\n"
    table, faults = read(ha_statistics, content)
    np.testing.assert_array_equal(table["value"].to_numpy(), [0.5, np.nan])
    assert faults.counts == {Fault.NEGATIVE: 1}


def test_statistics_without_energy_are_refused_in_words():
    for content, words in (
        (b"statistic_id,start,unit,mean\n", "no column 'sum' or 'delta'"),
        (b"statistic_id,start,unit,sum\ns.a,31.01.2025 00:00,W,3\n", "unit of kWh, Wh or MWh"),
        (b"statistic_id,start,unit,sum\ns.a,2025-01-31T00:00:00Z,kWh,3\n", "clock on the wall|bad_timestamp 1"),
    ):
        with pytest.raises(UnusableFileError, match=words):
            read(ha_statistics, content)


def test_the_two_are_told_by_their_headers():
    assert homeassistant.is_it(SAMPLE[:4096], "")
    assert not homeassistant.is_it(STATISTICS, "")
    assert ha_statistics.is_it(STATISTICS, "")
    assert not ha_statistics.is_it(SAMPLE, "")


@pytest.mark.parametrize(("format_", "sample"), [(homeassistant, SAMPLE), (ha_statistics, STATISTICS)])
def test_no_damage_makes_it_stumble(format_, sample):
    for content in mutations(sample):
        never_stumbles(format_, content)
