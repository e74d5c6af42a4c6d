"""Whether a household's readings are in one unit, and in the declared one, as far as they tell it themselves.

Energies differ by more from household to household, and from week to week, than kW from kWh of a slot. But meters
count whole watt-hours, or ten of them: powers made from such energies are whole multiples of 2, 4 or 12, as many as
slots make an hour. Readings that were measured as powers, or rounded, tell nothing.
"""

import numpy as np
import numpy.typing as npt

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import DAY_MINUTES, utc_text
from neurogrid.data.series import Floats, Rows

CHANGE_DAYS, CHANGE_SAMPLE, CHANGE_TIMES = 3, 72, 300.0
"""The median of so many days, of about so many readings above zero, does not change so many times within a household:
of 77 real ones the largest change is 94 times."""

MULTIPLE_DAYS, MULTIPLE_SAMPLE, MULTIPLE_VALUES = 7, 48, 24
"""About so many readings of so many days are looked at, and tell something if they have so many values at least: by
chance all are even once in 2 to the power of that number. Of 77 real households, none has such a week."""
_MICRO_KWH = 1e6
_NEARLY = 1e-3
Positions = npt.NDArray[np.intp]


def notice_another_unit(rows: Rows, faults: FaultLog) -> None:
    """Logs readings that become hundreds of times larger or smaller, and such as are powers by what divides them."""
    above = np.flatnonzero(np.isfinite(rows.kwh) & (rows.kwh > 0))
    if len(above):
        _notice_change(rows, *_blocks(above, int(rows.step[0]), CHANGE_DAYS, CHANGE_SAMPLE), faults)
        _notice_power(rows, *_blocks(above, int(rows.step[0]), MULTIPLE_DAYS, MULTIPLE_SAMPLE), faults)


def _blocks(above: Positions, step: int, days: int, sample: int) -> tuple[Positions, int]:
    """Some of the rows, about `sample` in so many days, and how many make a block; only whole blocks."""
    block = days * DAY_MINUTES // step
    thinned = max(block // sample, 1)
    above, block = above[::thinned], block // thinned
    return above[: len(above) // block * block], block


def _notice_change(rows: Rows, above: Positions, block: int, faults: FaultLog) -> None:
    medians = np.median(rows.kwh[above].reshape(-1, block), axis=1)
    for n in np.flatnonzero(np.abs(np.diff(np.log(medians))) >= np.log(CHANGE_TIMES)):
        row = above[(n + 1) * block]
        text = f"readings of about {medians[n]:g} kWh become {medians[n + 1]:g} kWh near {utc_text(rows.starts[row])}"
        faults.add(Fault.UNIT_CHANGE, text, int(rows.line[row]))


def _notice_power(rows: Rows, above: Positions, block: int, faults: FaultLog) -> None:
    step = int(rows.step[0])
    times = 60 // step
    if times < 2 or 60 % step or len(above) == 0:
        return
    divisors = _common_divisors(rows.kwh[above].reshape(-1, block))
    known = np.flatnonzero(divisors)
    power = np.array([_without_tens(divisor) == _without_tens(times) for divisor in divisors[known].tolist()], bool)
    if not power.any():
        return
    size = divisors[known][power].min() / 1e3
    said = f"readings are multiples of {size:g} Wh, as kW are that were made from energies of {step} minutes"
    if power.all():
        faults.add(Fault.POWER, said, int(rows.line[0]))
        return
    for n in np.flatnonzero(power[1:] != power[:-1]) + 1:
        row = above[known[n] * block]
        text = f"{said}, {'from' if power[n] else 'until'} about {utc_text(rows.starts[row])}"
        faults.add(Fault.UNIT_CHANGE, text, int(rows.line[row]))


def _common_divisors(kwh: Floats) -> npt.NDArray[np.int64]:
    """(blocks,) greatest common divisor of each block's readings in millionths of a kWh; 0 where they tell none."""
    scaled = kwh * _MICRO_KWH
    whole = np.rint(np.where(scaled < 2**53, scaled, 0))
    divisors: npt.NDArray[np.int64] = np.gcd.reduce(whole.astype(np.int64), axis=1)
    sorted_values = np.sort(whole, axis=1)
    values = 1 + np.count_nonzero(sorted_values[:, 1:] != sorted_values[:, :-1], axis=1)
    exact = (np.abs(scaled - whole) <= _NEARLY).all(axis=1)
    return np.where(exact & (values >= MULTIPLE_VALUES), divisors, 0)


def _without_tens(number: int) -> int:
    while number and number % 10 == 0:
        number //= 10
    return number
