"""What the ETL would make of a source's files, from the beginnings of some: no Spark, and nothing is written."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neurogrid.data.energies import Readings, energies
from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.folder import Listing, MeterFile
from neurogrid.data.layouts.formats import FORMATS
from neurogrid.data.layouts.labels import labelled
from neurogrid.data.layouts.pieces import Piece, content_of
from neurogrid.data.layouts.recognise import Beginnings, match
from neurogrid.data.layouts.table import Bools, Rows, read_piece
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.series import Treatment
from neurogrid.data.sources import Source

FILES, ROWS, NOTES = 20, 3, 3
"""Files that are looked at, rows shown of each, examples of each kind of fault."""
READ_BYTES = 1 << 18


@dataclass(frozen=True)
class Row:
    """A reading as it is understood."""

    household: str
    start_utc: str
    minutes: int
    kwh: float


@dataclass(frozen=True)
class FilePreview:
    """A file's beginning.

    Attributes:
        name: of the file.
        size_bytes: of it, as it lies there.
        why: what tells that it is of the layout; empty if it is not.
        rows: the first readings of its first household.
        households: how many are in what was read.
        read_rows: rows that were read.
        faults: by kind, in what was read.
        examples: of faults, with their line.
        problem: why the file cannot be used; empty if it can.
    """

    name: str
    size_bytes: int
    why: str
    rows: tuple[Row, ...]
    households: int
    read_rows: int
    faults: Mapping[str, int]
    examples: tuple[str, ...]
    problem: str


def preview(source: Source, file: MeterFile, treatment: Treatment) -> FilePreview:
    """Reads a file's beginning as the ETL would."""
    faults = FaultLog(NOTES)
    why = match(file.place, source.declaration, Beginnings()).why
    rows: tuple[Row, ...] = ()
    households = read = 0
    problem = ""
    try:
        household, names, own, read = _beginning(source, file, faults)
        households = len(names)
        found = energies(labelled([own], source.declaration, source.net_meters, faults), treatment, faults)
        rows = _first(household, found)
    except UnusableFileError as error:
        problem = f"{error.fault}: {error.text}"
    counts = {str(kind): count for kind, count in sorted(faults.counts.items()) if count}
    examples = tuple(
        f"{note.kind}: {note.text}" if note.line is None else f"{note.kind} in line {note.line}: {note.text}"
        for note in faults.notes
    )
    return FilePreview(file.place.name, file.size_bytes, why, rows, households, read, counts, examples, problem)


def _beginning(source: Source, file: MeterFile, faults: FaultLog) -> tuple[str, set[str], Rows, int]:
    """The first household in a file's beginning, all that are in it, that household's rows, and rows read."""
    declaration = source.declaration
    if declaration.format != "csv":
        module = FORMATS[declaration.format]
        with content_of(file.place) as stream:
            table = next(iter(module.rows(stream, file.place.name, faults)))
        names = table.column("household").to_pylist()
        own = table.filter(np.array([name == names[0] for name in names]))
        value = own.column("value").to_numpy()
        rows = Rows(
            None,
            own.column("label").to_numpy(),
            value,
            own.column("export").to_numpy(),
            np.isnan(value),
            own.column("estimated").to_numpy(),
            own.column("line").to_numpy().astype(np.int32),
            len(own),
        )
        return str(names[0]), set(names), rows, len(names)
    owner = None if declaration.staged else file.household_id
    for found in read_piece(Piece(file.place), None, declaration, owner, faults, READ_BYTES):
        if found.household is None:
            return file.household_id, {file.household_id}, found, found.file_rows
        if len(found.labels):
            codes = found.household.indices.to_numpy()
            names = found.household.dictionary.to_pylist()
            own = _rows_of(found, codes == codes[0])
            return str(names[codes[0]]), {names[code] for code in np.unique(codes)}, own, found.file_rows
    raise UnusableFileError(*_nothing(faults))


def _nothing(faults: FaultLog) -> tuple[Fault, str]:
    return Fault.NO_READINGS, f"no usable row in its beginning; {faults.cause()}"


def _rows_of(found: Rows, own: Bools) -> Rows:
    return Rows(
        None,
        found.labels[own],
        found.value[own],
        found.export[own],
        found.empty[own],
        found.estimated[own],
        found.line[own],
        int(own.sum()),
    )


def _first(household: str, found: Readings) -> tuple[Row, ...]:
    first = found.table.slice(0, ROWS).to_pylist()
    return tuple(
        Row(household, f"{row['Timestamp']:%Y-%m-%d %H:%M}Z", found.cadence_minutes, round(row["kWh"], 6))
        for row in first
    )


def counts_of(listing: Listing) -> Mapping[str, int]:
    """Faults of the list of households and of names, by kind."""
    counts: Counter[str] = Counter()
    for log in (*listing.faults.values(), *listing.list_faults.values()):
        counts.update({str(kind): count for kind, count in log.counts.items() if count})
    return dict(sorted(counts.items()))
