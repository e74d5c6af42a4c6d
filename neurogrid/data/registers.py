"""Files of a meter's register, whose differences are energies: gaps, resets, roll-overs, misread values.

Each finding is logged; whether differences are taken is the config's choice.
"""

from dataclasses import replace

import numpy as np

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import DAY_MINUTES, MINUTE_US, utc_text
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.series import CATCH_UP_DAYS, Floats, Rows, Treatment, caught_up, once
from neurogrid.data.steps import Ints

HOUR_US = 60 * MINUTE_US
REGISTER_LEAST, REGISTER_RISES, REGISTER_FALLS = 48, 12, 0.05
"""A register has so many values and rises so often; it falls (a reset, a new meter, each midnight of a counter of the
day) at most so often for each rise. Energies of slots fall about as often as they rise."""

DECIMAL_SHIFTS = (10.0, 100.0, 1000.0)
"""A register whose decimal point moves, or whose unit becomes Wh, is so many times what it was."""
DECIMAL_NEAR, DECIMAL_RISES = 100, 3.0
"""So many rises before and after tell how much it can rise in between: so many times what 95% of them are below."""


def is_register(kwh: Floats) -> bool:
    """Whether values are the register of a meter, which hardly ever falls; zeros may stand where it was not read."""
    values = _finite(kwh)
    rises, falls = _rises_and_falls(values)
    to_zero = int(np.count_nonzero((values[1:] < values[:-1]) & (values[1:] == 0)))
    if not _one_sided(rises, falls - to_zero, len(values)):
        return False
    return _one_sided(rises, falls, len(values)) or _hardly_falls(values[values != 0])


def refuse_credit(kwh: Floats) -> None:
    """Refuses values that hardly ever rise, like the credit of a prepaid meter.

    Raises:
        UnusableFileError: they are such.
    """
    values = _finite(kwh)
    rises, falls = _rises_and_falls(values)
    if _one_sided(falls, rises, len(values)):
        text = f"values fall from {values[0]:g} to {values[-1]:g} and hardly ever rise: a credit, not energies of slots"
        raise UnusableFileError(Fault.REGISTER, text)


def _finite(kwh: Floats) -> Floats:
    there = np.isfinite(kwh)
    return kwh if there.all() else kwh[there]


def _rises_and_falls(values: Floats) -> tuple[int, int]:
    return int(np.count_nonzero(values[1:] > values[:-1])), int(np.count_nonzero(values[1:] < values[:-1]))


def _hardly_falls(values: Floats) -> bool:
    return _one_sided(*_rises_and_falls(values), len(values))


def _one_sided(often: int, seldom: int, values: int) -> bool:
    return values >= REGISTER_LEAST and often >= REGISTER_RISES and seldom <= REGISTER_FALLS * often


def differences(rows: Rows, ends: bool, treatment: Treatment, faults: FaultLog) -> Rows:
    """What a register rose by from one reading to the next.

    A label names the moment at which the register was read, whatever the layout says of energies. What it rose by over
    a gap is exactly the gap's energy. Of falls, a reading that the next one takes back was misread and is left out,
    and a register that rolled over went on to its power of ten first; after any other fall a slot is missing.

    Args:
        rows: with the register's values.
        ends: whether the step of a row is the time before its label.
        treatment: of registers, and of what was used during a gap.
        faults: what the register does is logged here.

    Raises:
        UnusableFileError: the config refuses registers.
    """
    read = _numbers(rows, faults)
    text = (
        f"values rise from {read.kwh[0]:g} to {read.kwh[-1]:g} and hardly ever fall: a meter's register, not energies"
    )
    if treatment.registers == "refuse":
        raise UnusableFileError(Fault.REGISTER, f"{text}; etl.registers=differences takes its differences")
    faults.add(Fault.REGISTER, f"{text}; its differences are taken", int(read.line[0]))
    read = _well_read(_on_the_grid(read, faults), faults)
    read = replace(read, kwh=_of_one_scale(read, treatment.max_power_kw, faults))
    step = read.step[1:] if ends else read.step[:-1]
    apart, line = np.diff(read.starts) // MINUTE_US, read.line[1:]
    rise = _rises(read, apart, treatment.max_power_kw, faults)
    gap = (rise >= 0) & (apart > step)
    most = CATCH_UP_DAYS * DAY_MINUTES if treatment.catch_up == "spread" else 0
    texts = (
        f"{kwh:g} kWh in {minutes:,} min without a reading, {'spread over them' if minutes <= most else 'missing'}"
        for kwh, minutes in zip(rise[gap], apart[gap], strict=True)
    )
    faults.add_rows(Fault.CATCH_UP, line[gap], texts)
    slots = Rows(read.starts[:-1], step, apart, rise, np.zeros(len(rise), bool), line)
    slots = caught_up(slots.take((rise >= 0) & (apart % step == 0)), treatment.catch_up, faults)
    return slots.take(slots.covers <= np.maximum(slots.step, most))


def _numbers(rows: Rows, faults: FaultLog) -> Rows:
    """Rows with a number, one of each moment; zeros between higher values are no readings."""
    own = once(rows)
    finite = np.isfinite(rows.kwh)
    again = finite.copy()
    again[own] = False
    for kind, which in (
        (Fault.NULL_VALUE, rows.empty),
        (Fault.NOT_FINITE, np.isinf(rows.kwh)),
        (Fault.DUPLICATE, again),
    ):
        faults.add_rows(kind, rows.line[which], (f"{kwh:g} kWh" for kwh in rows.kwh[which]))
    read = rows.take(own)
    if _hardly_falls(read.kwh) or not _hardly_falls(read.kwh[read.kwh != 0]):
        return read
    unread = read.kwh == 0
    faults.add_rows(Fault.REGISTER_RESET, read.line[unread], ("0 kWh, not read, left out" for _ in read.line))
    return read.take(~unread)


def _on_the_grid(rows: Rows, faults: FaultLog) -> Rows:
    """Without readings between two slots: the next one on the grid holds their energy."""
    off = rows.starts % MINUTE_US != 0
    rest = rows.starts // MINUTE_US % rows.step
    for step in np.unique(rows.step):
        same = rows.step == step
        off |= same & (rest != np.bincount(rest[same]).argmax())
    if not off.any():
        return rows
    faults.add_rows(Fault.OFF_GRID, rows.line[off], (utc_text(start) for start in rows.starts[off]))
    return rows.take(~off)


def _well_read(rows: Rows, faults: FaultLog) -> Rows:
    """Without readings of a register that the next one takes back: one below its neighbours, or one above them."""
    kwh = np.r_[np.inf, rows.kwh, -np.inf]
    fall = np.flatnonzero(np.diff(rows.kwh) < 0) + 1
    low = kwh[fall + 2] >= kwh[fall]
    high = ~low & (kwh[fall + 1] >= kwh[fall - 1])
    misread = np.r_[fall[low], fall[high] - 1]
    if len(misread) == 0:
        return rows
    faults.add_rows(
        Fault.REGISTER_RESET, rows.line[misread], (f"{n:g} kWh, misread, left out" for n in rows.kwh[misread])
    )
    return rows.take(np.delete(np.arange(len(rows.kwh)), misread))


@np.errstate(over="ignore")  # of values that fill the type there is no power; they are no readings
def _of_one_scale(read: Rows, max_power_kw: float, faults: FaultLog) -> Floats:
    """A register whose decimal point moves, at its smallest scale: a lost point, like Wh, makes values larger."""
    before, after = read.kwh[:-1], read.kwh[1:]
    hours = np.diff(read.starts) / HOUR_US
    power = after - before
    power /= hours
    jumps = np.flatnonzero(((power < 0) | (power > max_power_kw)) & (before > 0))
    jumps = jumps[(after[jumps] > 5 * before[jumps]) | (after[jumps] < before[jumps] / 5)]
    if len(jumps) == 0:
        return read.kwh
    scale = np.ones(len(read.kwh))
    for row in jumps:
        for times in (factor for size in DECIMAL_SHIFTS for factor in (size, 1 / size)):
            near = np.r_[power[max(row - DECIMAL_NEAR, 0) : row], power[row + 1 : row + DECIMAL_NEAR] / times]
            most = DECIMAL_RISES * np.quantile(near[near >= 0], 0.95) * hours[row] if (near >= 0).any() else 0.0
            # A register that is small beside its rises may be ten times another by chance.
            if before[row] > DECIMAL_NEAR * most and 0 <= after[row] / times - before[row] <= most:
                scale[row + 1 :] *= times
                text = f"from {before[row]:g} to {after[row]:g}: its decimal point moves, taken at one scale"
                faults.add(Fault.REGISTER_RESET, text, int(read.line[row + 1]))
    return np.round(read.kwh / scale * scale.min(), 9) if (scale != 1).any() else read.kwh


def _rises(read: Rows, apart: Ints, max_power_kw: float, faults: FaultLog) -> Floats:
    """What a register rose by; below zero where it fell and did not roll over."""
    rise = np.diff(read.kwh)
    fell = rise < 0
    if not fell.any():
        return rise
    # It rolls over when all its digits are nines: its size is the power of ten above its highest value.
    size = 10.0 ** (np.floor(np.log10(max(read.kwh.max(), 1.0))) + 1)
    most = np.minimum((rise / apart)[~fell].max(initial=0.0), max_power_kw / 60) * apart
    # Beyond nine digits after the point there is only noise of the subtraction.
    around = np.round(rise + size, 9)
    over = fell & (around <= most)
    texts = []
    for row in np.flatnonzero(fell):
        before, after = read.kwh[row], read.kwh[row + 1]
        what = "a reset" if after <= most[row] else "another meter"
        done = f"rolled over at {size:g}, {around[row]:g} kWh taken" if over[row] else f"{what}, that slot is missing"
        texts.append(f"falls from {before:g} to {after:g}: {done}")
    faults.add_rows(Fault.REGISTER_RESET, read.line[1:][fell], texts)
    return np.where(over, around, rise)
