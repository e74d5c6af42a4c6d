"""kW where kWh are declared, told from readings themselves: by what divides them, and by nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_rows import START, every, found, labelled

from neurogrid.data.faults import Fault
from neurogrid.data.grid import MINUTE_US, utc_text

WEEKS = 6
STEPS = st.sampled_from([5, 10, 15, 20, 30])


def watt_hours(minutes: int, seed: int = 1) -> np.ndarray:
    """Of a meter that counts each one, for some weeks."""
    return np.random.default_rng(seed).integers(1, 16 * minutes, WEEKS * 7 * 1440 // minutes).astype(float)


def faults_of(kwh: np.ndarray, minutes: int) -> dict[str, int]:
    _, faults = found(labelled(every(minutes, len(kwh)), kwh, minutes=minutes))
    return {str(kind): count for kind, count in faults.counts.items() if count}


@settings(max_examples=30, deadline=None)
@given(STEPS, st.sampled_from([1, 10]), st.integers(0, 99))
def test_powers_made_from_energies_are_told_and_energies_are_never_taken_for_them(
    minutes: int, resolution: int, seed: int
) -> None:
    kwh = watt_hours(minutes, seed) * resolution / 1000
    assert faults_of(kwh, minutes) == {}
    assert faults_of(kwh * 60 / minutes, minutes) == {Fault.POWER: 1}


def test_hours_are_alike_in_both_units() -> None:
    assert faults_of(watt_hours(60) / 1000, 60) == {}


@pytest.mark.parametrize("power", [[2, 3], [0, 1], [3], [0, 5]])
def test_weeks_in_kw_beside_weeks_in_kwh_are_a_change_of_unit(power: list[int]) -> None:
    week, kwh = 7 * 96, watt_hours(15) / 1000
    for number in power:
        kwh[number * week : (number + 1) * week] *= 4
    starts = [number for number in range(1, WEEKS) if (number in power) != (number - 1 in power)]
    _, faults = found(labelled(every(15, len(kwh)), kwh, minutes=15))
    assert faults.counts == {Fault.UNIT_CHANGE: len(starts)}
    for number, note in zip(starts, faults.notes, strict=True):
        assert note.text.startswith("readings are multiples of 4 Wh, as kW are that were made from energies of 15 min")
        day = utc_text(START + number * week * 15 * MINUTE_US)[:10]
        assert f"{'from' if number in power else 'until'} about {day}" in note.text


def test_powers_that_were_measured_rounded_or_are_few_tell_nothing() -> None:
    energies = watt_hours(15) / 1000
    measured = energies * 4 + np.random.default_rng(2).normal(0, 0.01, len(energies))
    assert faults_of(abs(measured), 15) == {}
    assert faults_of(abs(measured).round(3), 15) == {}
    assert faults_of(np.resize([0.04, 0.08, 0.2, 0.12], len(energies)), 15) == {}
