"""A household's rows to moments in UTC and energies, as its declaration says; called once all its rows are together."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neurogrid.data.energies import Labelled
from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import MINUTE_US
from neurogrid.data.layouts.declaration import Declaration
from neurogrid.data.layouts.table import Bools, Floats, Rows
from neurogrid.data.local_time import utc_of_local
from neurogrid.data.steps import covered_minutes

Ints = npt.NDArray[np.int64]

_COLUMNS = ("labels", "value", "empty", "estimated", "line")


def labelled(parts: Iterable[Rows], declaration: Declaration, net_meters: str, faults: FaultLog) -> Labelled:
    """The rows with labels in UTC and energies in kWh.

    Args:
        parts: all rows of a household, in the order of its files; each is let go of once its rows are
            added to those before it.
        declaration: of the layout.
        net_meters: see Treatment; `refuse` is `import` here, since the file tells both apart.
        faults: rows that are left out are logged here.
    """
    apart = net_meters in ("export", "net")
    columns: dict[str, npt.NDArray[Any]] = {}
    minutes = file_rows = number = 0
    for number, part in enumerate(parts):
        for name in (*_COLUMNS, "export") if apart else _COLUMNS:
            more = getattr(part, name)
            columns[name] = _longer(columns[name], more, own=number > 1) if number else more
        minutes, file_rows = max(minutes, part.minutes), file_rows + part.file_rows
        del part, more
    if number:
        pa.default_memory_pool().release_unused()  # what Arrow keeps of many parts
    labels, value, empty, estimated, line = (columns.pop(name) for name in _COLUMNS)
    if apart:
        value = _one_way(value, columns.pop("export"), net_meters, faults)
    shift = declaration.offset_us
    if shift is None:
        placed = utc_of_local(
            labels, declaration.zone, line, faults, ends=declaration.ends, repeated=declaration.repeated
        )
        labels, value = placed.utc_us, value[placed.rows]
        value = value if placed.share is None else value * placed.share
        empty, estimated, line = empty[placed.rows], estimated[placed.rows], line[placed.rows]
    elif shift:
        labels = labels - shift
    if declaration.leading_zeros == "missing" and len(labels):
        value, empty = _without_leading_zeros(labels, value, empty)
    if declaration.is_power:
        value = value * _hours(labels, declaration)
    return Labelled(
        labels,
        value,
        empty,
        estimated,
        line,
        ends=declaration.ends,
        minutes=minutes or declaration.cadence_minutes,
        clocks=declaration.copied_hour,
        file_rows=file_rows,
        register=declaration.register,
    )


def _longer(column: npt.NDArray[Any], more: npt.NDArray[Any], *, own: bool) -> npt.NDArray[Any]:
    """The column with more rows; one of our `own` grows where it is, so that a long file is never in memory twice."""
    rows = len(column)
    if not own:
        column = column.copy()
    column.resize(rows + len(more), refcheck=False)
    column[rows:] = more
    return column


def _one_way(value: Floats, export: Floats, net_meters: str, faults: FaultLog) -> Floats:
    """The energy that is wanted where the file tells import and export apart."""
    if np.isnan(export).all():
        return value
    if net_meters == "export":
        return np.asarray(export, np.float64)
    faults.add(Fault.NET_METER, "the file has import and export; their net is taken")
    return np.asarray(value - np.nan_to_num(export), np.float64)


def _without_leading_zeros(labels: Ints, value: Floats, empty: Bools) -> tuple[Floats, Bools]:
    """A meter that reports nothing but zeros until a day on which it was put in."""
    there = labels[(value != 0) & np.isfinite(value)]
    before = labels < there.min() if len(there) else np.ones(len(labels), bool)
    zeros = before & (value == 0)
    return np.where(zeros, np.nan, value), empty | zeros


def _hours(labels: Ints, declaration: Declaration) -> Floats:
    """Hours that each row covers; for rows between whole minutes those of their minute."""
    if not len(labels):
        return np.ones(0)
    if not (labels % MINUTE_US).any() and (labels[1:] > labels[:-1]).all():
        return np.asarray(covered_minutes(labels, declaration.cadence_minutes, declaration.ends) / 60.0, np.float64)
    minutes, which = np.unique(-(-(labels - MINUTE_US // 2) // MINUTE_US) * MINUTE_US, return_inverse=True)
    covered = covered_minutes(minutes, declaration.cadence_minutes, declaration.ends)
    return np.asarray(covered[which] / 60.0, np.float64)
