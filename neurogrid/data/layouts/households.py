"""The list of a data set's households: which weather station each belongs to, and which are to have a file."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.folder import NO_WEATHER
from neurogrid.data.layouts.declaration import HouseholdList
from neurogrid.data.readings import Columns, UnusableFileError, read_columns
from neurogrid.errors import InputError
from neurogrid.storage import Place

LAYOUTS_PAGE = "https://github.com/neurogrid/neurogrid/blob/main/docs/data.md#layouts-that-are-read"


@dataclass(frozen=True)
class Listed:
    """A household's first row in the list."""

    line: int
    weather_id: str
    promised: bool


def read_households(root: Place, declared: HouseholdList, separator: str, faults: FaultLog) -> Mapping[str, Listed]:
    """The list by household; of two rows of a household the first is used, and the other logged.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    file = root / declared.path
    names = (declared.household, declared.weather)
    try:
        columns = _read(file, declared, separator, faults)
    except UnusableFileError as error:
        raise InputError(
            f"etl: {file} cannot be used as the list of households",
            found=f"{error.fault}: {error.text}",
            fix=f"it needs the columns {', '.join(names)}, separated by '{separator}'; an example is at {LAYOUTS_PAGE}",
        ) from error
    households: dict[str, Listed] = {}
    for row, line in zip(columns.table.to_pylist(), columns.line.tolist(), strict=True):
        promised = (row.get(declared.available) or "").strip().lower() in ("true", "1")
        own = Listed(line, (row[declared.weather] or "").strip() or NO_WEATHER, promised)
        written = row[declared.household] or ""
        name = written.strip()
        if not name:
            faults.add(
                Fault.NO_HOUSEHOLD, f"{declared.household} is empty, {declared.weather} = {own.weather_id}", line
            )
            continue
        if name != written:
            faults.add(Fault.TRIMMED_NAME, f"{declared.household} = {written!r:.80}", line)
        first = households.setdefault(name, own)
        if first is not own:
            _log_again(name, own, first, declared, faults)
    return households


def _read(file: Place, declared: HouseholdList, separator: str, faults: FaultLog) -> Columns:
    """The list's columns; that of files which are to be there may be absent."""
    types = dict.fromkeys((declared.household, declared.weather), pa.string())
    try:
        return read_columns(file, {**types, declared.available: pa.string()}, separator, faults)
    except UnusableFileError as error:
        if error.fault != Fault.MISSING_COLUMN:
            raise
    return read_columns(file, types, separator, faults)


def _log_again(household: str, own: Listed, first: Listed, declared: HouseholdList, faults: FaultLog) -> None:
    text = f"{declared.household} = {household}"
    if (own.weather_id, own.promised) == (first.weather_id, first.promised):
        faults.add(Fault.LISTED_TWICE, f"{text}, as in line {first.line}", own.line)
        return
    text += f", {declared.weather} = {own.weather_id}, {declared.available} = {own.promised}"
    told = f"line {first.line} has {first.weather_id}, {first.promised}"
    faults.add(Fault.CONFLICTING_ROWS, f"{text}; {told}", own.line)
