"""From what a file says to energies of slots: what a value is, which time it covers, and whether it can be one.

A series is judged as a whole (series.py, units.py) before its values are judged one by one.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neurogrid.data.faults import ROW_FAULTS, Fault, FaultLog
from neurogrid.data.grid import DAY_MINUTES, MINUTE_US, utc_text
from neurogrid.data.local_time import forward_changes_us
from neurogrid.data.readings import UTC_TIME, UnusableFileError
from neurogrid.data.registers import differences, is_register, refuse_credit
from neurogrid.data.series import MOSTLY, Rows, Treatment, caught_up, one_way, without_estimated, without_high_first
from neurogrid.data.steps import (
    LONGEST_STEP_MINUTES,
    Ints,
    Minutes,
    common_step,
    covered_minutes,
    in_time,
    remainder,
    snapped,
)
from neurogrid.data.units import notice_another_unit

HOUR_US = 60 * MINUTE_US
READINGS = pa.schema([("Timestamp", UTC_TIME), ("kWh", pa.float64()), ("line", pa.int32())])
"""Start of the slot, its energy (not null, finite), the row's line in the file."""


@dataclass(frozen=True)
class Labelled:
    """A file's rows as it gives them, in its order.

    Attributes:
        labels: (n,) moments in microseconds since 1970, UTC.
        kwh: (n,) NaN where there is no number.
        empty: (n,) where the cell is empty, and not one that could not be read.
        estimated: (n,) whether the file marks the reading as estimated.
        line: (n,) in the file.
        ends: whether a label names the end of its slot, instead of the start.
        minutes: the layout's step.
        clocks: IANA time zone where the hour after clocks went forward has the labels of the hour before once more;
            empty where labels are unique.
        file_rows: rows of the file, with those that cannot be used.
        register: whether the layout says that values are a meter's register.
    """

    labels: Ints
    kwh: npt.NDArray[np.float64]
    empty: npt.NDArray[np.bool_]
    estimated: npt.NDArray[np.bool_]
    line: npt.NDArray[np.int32]
    ends: bool
    minutes: int
    clocks: str
    file_rows: int
    register: bool = False

    def take(self, which: npt.NDArray[np.intp] | slice) -> "Labelled":
        """The rows in another order; of a slice they are not copied."""
        return replace(
            self,
            labels=self.labels[which],
            kwh=self.kwh[which],
            empty=self.empty[which],
            estimated=self.estimated[which],
            line=self.line[which],
        )


@dataclass(frozen=True)
class Readings:
    """A file's usable readings (schema READINGS, in rising order, duplicates included), each of one slot.

    Attributes:
        table: schema READINGS.
        cadence_minutes: of those slots.
    """

    table: pa.Table
    cadence_minutes: int


def energies(found: Labelled, treatment: Treatment, faults: FaultLog) -> Readings:
    """The energies of a file's slots; what cannot be one is logged.

    A reading that covers several slots of the file's finest step is spread evenly over them.

    Raises:
        UnusableFileError: the file as a whole is not what its layout says.
    """
    found = replace(found, labels=_snapped(found, faults))
    found = found.take(in_time(found.labels))
    if found.clocks:
        found = _moved(found, faults)
    # Of several cells that make an energy, one may be empty.
    empty = found.empty & np.isnan(found.kwh)
    step = _steps(found, empty, faults)
    rows = Rows(found.labels, step, step, found.kwh, empty, found.line)
    rows = without_estimated(rows, found.estimated, treatment.estimated, found.file_rows, faults)
    ends, register, promised_minutes, file_rows = found.ends, found.register, found.minutes, found.file_rows
    del found, empty, step
    if register and np.isfinite(rows.kwh).any():
        rows = differences(rows, ends, replace(treatment, registers="differences"), faults)
    elif is_register(rows.kwh):
        rows = differences(rows, ends, treatment, faults)
    else:
        refuse_credit(rows.kwh)
        starts = _begins(rows) if ends else rows.starts
        rows = replace(rows, starts=starts, kwh=one_way(rows.kwh, rows.line, treatment.net_meters, faults))
        if not faults.counts[Fault.NET_METER]:
            rows = without_high_first(rows, faults)
            rows = caught_up(rows, treatment.catch_up, faults)
        del starts
    notice_another_unit(rows, faults)
    rows = rows.take(_possible(rows, treatment, faults))
    _refuse_mostly_refused(file_rows, len(rows.kwh), faults)
    cadence = common_step(rows.starts, rows.step) if len(rows.starts) else promised_minutes
    starts, kwh, line, parts = rows.starts, rows.kwh + 0.0, rows.line, rows.covers // cadence
    del rows
    if (parts > 1).any():
        within = np.arange(parts.sum())
        within -= np.repeat(np.cumsum(parts) - parts, parts)
        within *= cadence * MINUTE_US
        within += np.repeat(starts, parts)
        starts = within
        kwh, line = np.repeat(kwh / parts, parts), np.repeat(line, parts)
    table = pa.table([pa.array(starts).cast(UTC_TIME), pa.array(kwh), pa.array(line)], schema=READINGS)
    return Readings(table, cadence)


def _snapped(found: Labelled, faults: FaultLog) -> Ints:
    labels = snapped(found.labels)
    if labels is found.labels:
        return labels
    near = labels != found.labels
    texts = (
        f"{utc_text(found.labels[row])} is taken for {utc_text(labels[row])[11:-1]}" for row in np.flatnonzero(near)
    )
    faults.add_rows(Fault.SNAPPED, found.line[near], texts)
    return labels


def _moved(found: Labelled, faults: FaultLog) -> Labelled:
    """Rows in time, with a second copy of each label of the hour before a change of clocks an hour later.

    Only there, and only into a slot that is missing: on other days a label that stands twice is one reading. Of more
    copies (exports that overlap) the first that differs is the other hour's.
    """
    labels, kwh, rows = found.labels, found.kwh, []
    for change in forward_changes_us(found.clocks, int(labels[0]), int(labels[-1]) + HOUR_US) if len(labels) else ():
        hour = slice(*np.searchsorted(labels, (change - HOUR_US, change)))
        for label in np.unique(labels[hour]):
            copies = np.flatnonzero(labels == label)
            if len(copies) > 1 and label + HOUR_US not in labels:
                other = copies[1:][kwh[copies[1:]] != kwh[copies[0]]]
                rows.append(int(other[0] if len(other) else copies[1]))
    texts = (f"{np.datetime64(int(labels[row]), 'us')} moved by 1 h" for row in rows)
    faults.add_rows(Fault.MOVED_DUPLICATE, found.line[rows], texts)
    if not rows:
        return found
    moved = labels.copy()
    moved[rows] += HOUR_US
    return replace(found, labels=moved).take(np.argsort(moved, kind="stable"))


def _steps(found: Labelled, empty: npt.NDArray[np.bool_], faults: FaultLog) -> Minutes:
    """What each row covers; rows of one label cover the same.

    Rows with an empty cell say nothing of it: hourly readings on a table of quarter hours leave three of four empty.
    """
    labels = found.labels
    told = (remainder(labels, MINUTE_US) == 0) & ~empty
    if told.all() and (labels[1:] > labels[:-1]).all():
        minutes = covered_minutes(labels, found.minutes, found.ends)
    else:
        moments = labels[told]
        first = np.ones(len(moments), bool)
        first[1:] = moments[1:] != moments[:-1]
        moments = moments[first]
        covered = covered_minutes(moments, found.minutes, found.ends)
        minutes = np.full(len(labels), found.minutes, np.int32)
        minutes[told] = covered[np.cumsum(first, dtype=np.int32) - 1]
    other = minutes != found.minutes
    if not other.any():
        return minutes
    longest = int(minutes.max())
    if longest > LONGEST_STEP_MINUTES or (DAY_MINUTES % np.unique(minutes)).any():
        steps = ", ".join(map(str, np.unique(minutes)))
        raise UnusableFileError(
            Fault.UNUSABLE_STEP,
            f"readings are {steps} minutes apart, where {found.minutes} are expected; steps of up to "
            f"{LONGEST_STEP_MINUTES} minutes that divide a day can be used",
        )
    texts = (f"covers {own} min, where {found.minutes} are expected" for own in minutes[other])
    faults.add_rows(Fault.OTHER_STEP, found.line[other], texts)
    return minutes


def _begins(rows: Rows) -> Ints:
    """Where what rows cover begins, of rows that name its end."""
    starts = np.multiply(rows.step, -MINUTE_US, dtype=np.int64)
    starts += rows.starts
    return starts


def _possible(rows: Rows, treatment: Treatment, faults: FaultLog) -> npt.NDArray[np.bool_]:
    """The rows whose value can be the energy of what they cover; says of the others which and why."""
    limit = float(treatment.max_power_kw) * rows.covers
    limit /= 60
    kwh = rows.kwh
    lowest = -limit if faults.counts[Fault.NET_METER] and treatment.net_meters == "net" else 0.0
    keep = np.asarray((kwh >= lowest) & (kwh <= limit), bool)
    if not keep.all():
        finite = np.isfinite(kwh)
        for kind, bad in (
            (Fault.NULL_VALUE, rows.empty),
            (Fault.NOT_FINITE, np.isinf(kwh)),
            (Fault.NEGATIVE, finite & (kwh < lowest)),
            (Fault.ABSURD, finite & (kwh > limit)),
        ):
            faults.add_rows(kind, rows.line[bad], (f"{value:g} kWh" for value in kwh[bad]))
    return keep


def _refuse_mostly_refused(file_rows: int, kept: int, faults: FaultLog) -> None:
    # A row may have several faults.
    refused = sum(faults.counts[kind] for kind in ROW_FAULTS if kind != Fault.NULL_VALUE)
    refused = min(refused, file_rows - kept - faults.counts[Fault.NULL_VALUE])
    if refused > MOSTLY * file_rows:
        text = f"{refused:,} of {file_rows:,} rows cannot be used: {faults.cause()}"
        raise UnusableFileError(Fault.MOSTLY_REFUSED, text)
