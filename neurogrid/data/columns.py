"""Which rows of a table are kept: those of the household or station that it is of, and those that have a time."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.readings import Columns

_TRIMMED_NOTES = 20


def trimmed(columns: Columns, name: str, faults: FaultLog) -> Columns:
    """Identifiers without the spaces around them; rows that had some are counted."""
    ids = columns.table.column(name).combine_chunks()
    names = pc.utf8_trim_whitespace(ids.dictionary)
    changed = np.flatnonzero(np.asarray(pc.not_equal(names, ids.dictionary).to_numpy(zero_copy_only=False), bool))
    if not len(changed):
        return columns
    rows = np.flatnonzero(np.isin(np.asarray(ids.indices.fill_null(-1).to_numpy(zero_copy_only=False)), changed))
    texts = (f"{name} = {ids[row].as_py()!r:.80}" for row in rows)
    # Where one has them, all may: no note for each of a hundred million rows.
    faults.add_rows(Fault.TRIMMED_NAME, columns.line[rows[:_TRIMMED_NOTES]], texts)
    faults.counts[Fault.TRIMMED_NAME] += len(rows[_TRIMMED_NOTES:])
    distinct = names.dictionary_encode()
    ids = pa.DictionaryArray.from_arrays(distinct.indices.take(ids.indices), distinct.dictionary)
    at = columns.table.column_names.index(name)
    return Columns(columns.table.set_column(at, name, ids), columns.line, columns.refused)


def rows_of(columns: Columns, name: str, owner: str, kind: Fault, faults: FaultLog) -> Columns:
    """The rows whose identifier is the file's own; each other one is a fault of this kind."""
    ids = columns.table.column(name).combine_chunks()
    if ids.null_count == 0 and ids.dictionary.to_pylist() == [owner]:
        return columns
    good = np.asarray(ids.dictionary_decode().fill_null("").to_numpy(zero_copy_only=False) == owner, bool)
    faults.add_rows(kind, columns.line[~good], (f"{name} = {ids[row]}" for row in np.flatnonzero(~good)))
    return columns.rows(good)


def rows_with_time(columns: Columns, name: str, faults: FaultLog) -> Columns:
    """The rows that have a timestamp; an empty one is a fault, one that could not be read is already logged."""
    column = columns.table.column(name)
    if column.null_count == 0:
        return columns
    empty = columns.line[columns.empty(name)]
    faults.add_rows(Fault.BAD_TIMESTAMP, empty, (f"{name} is empty" for _ in empty))
    return columns.rows(np.asarray(column.is_valid().to_numpy(), bool))
