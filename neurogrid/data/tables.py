"""Which tables of a warehouse are current, and which of the older ones something still needs.

`households.parquet` lists the current ones, and is replaced in one step when an ETL has made all of them. An ETL never
changes or deletes a table: a run keeps those that its manifest names. `neurogrid clean` deletes what nothing names.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from neurogrid.data.household import (
    FIRST_TABLE,
    TABLE_NAME,
    Household,
    household_from,
    household_path,
    table_name,
    unusable_name,
)
from neurogrid.data.manifest import Manifest, few
from neurogrid.errors import InputError
from neurogrid.storage import Place

INDEX = "households.parquet"
SOURCE_KEY = b"neurogrid.source"
"""Of the index' own metadata: the kind of source that its tables were made from."""
CLEANING_KEY = b"neurogrid.cleaning"
"""Likewise: how they were made, as JSON; see cleaning.py."""


@dataclass(frozen=True)
class CurrentTable:
    """A household's current table; `path` is under the warehouse's root."""

    household_id: str
    weather_id: str
    rows: int
    table: str = FIRST_TABLE

    @property
    def path(self) -> str:
        """Where it lies, under the warehouse's root."""
        return household_path(self.weather_id, self.household_id, self.table)


@dataclass(frozen=True)
class Tables:
    """The current tables by household, and where they came from.

    Attributes:
        by_household: the tables.
        kind: of source; "" in warehouses of old.
        cleaning: how they were made, as JSON; "" in warehouses of old.
    """

    by_household: dict[str, CurrentTable]
    kind: str
    cleaning: str = ""


def read_tables(warehouse: Place) -> Tables | None:
    """The current tables; None where no ETL has ended.

    Raises:
        InputError: the list cannot be read.
    """
    try:
        content = (warehouse / INDEX).read_bytes()
    except FileNotFoundError:
        return None
    try:
        file = pq.ParquetFile(pa.BufferReader(content))  # read_table would load pandas
        names = file.schema_arrow.names
        table = file.read([name for name in ("household_id", "weather_id", "rows", "table") if name in names])
        found = {row["household_id"]: _checked(CurrentTable(**row)) for row in table.to_pylist()}
        said = file.schema_arrow.metadata or {}
        return Tables(found, said.get(SOURCE_KEY, b"").decode(), said.get(CLEANING_KEY, b"").decode())
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise InputError(
            f"{warehouse / INDEX}, the list of households, cannot be read",
            found=str(error),
            fix="make it again with `neurogrid etl`",
        ) from error


def _checked(table: CurrentTable) -> CurrentTable:
    reason = unusable_name(table.household_id) or unusable_name(table.weather_id)
    if reason or not TABLE_NAME.fullmatch(table.table):
        raise ValueError(reason or f"{table.table!r} is not the name of a table")
    return table


def current_tables(warehouse: Place) -> dict[str, CurrentTable]:
    """The current tables by household.

    Raises:
        InputError: there is none, or their list cannot be read.
    """
    tables = read_tables(warehouse)
    if tables is None or not tables.by_household:
        raise InputError(
            f"there are no households in {warehouse}",
            found=f"no {INDEX}" if tables is None else f"a {INDEX} that lists none",
            fix="run `neurogrid etl` first, or point the warehouse at the folder that it wrote",
        )
    return tables.by_household


def read_current(warehouse: Place, table: CurrentTable) -> Household:
    """The readings of a current table, once its content is found to be what its name says.

    Raises:
        OSError: it cannot be read.
        ValueError, KeyError: it is another one, or no table.
    """
    content = (warehouse / table.path).read_bytes()
    if table.table not in (FIRST_TABLE, table_name(content)):
        raise ValueError("it is not the file that was written: its content is not what its name says")
    household = household_from(pa.BufferReader(content))
    if household.meta.household_id != table.household_id:
        raise ValueError(f"it is of household {household.meta.household_id}")
    return household


def refuse_missing(manifest: Manifest, warehouse: Place) -> None:
    """Refuses a manifest of which the warehouse lacks tables, by their names alone: no reading reaches the driver.

    A table's name says its content; whether that is still so is checked by whoever opens it (`manifest.read_part`).

    Raises:
        InputError: names the tables that are not there.
    """
    holders = {part.path: agent for agent in (*manifest.agents, *manifest.held_out) for part in agent.parts}
    infos = warehouse.filesystem.get_file_info([(warehouse / path).path for path in holders])
    missing = [
        f"{path} of agent {agent.agent_id} is not there"
        for (path, agent), info in zip(holders.items(), infos, strict=True)
        if info.type != fs.FileType.File
    ]
    if missing:
        raise InputError(
            f"manifest {manifest.sha256[:12]} does not fit the meters in {warehouse}",
            found=few(missing),
            fix="sample again with `neurogrid sample`, or restore the files that the manifest was made from",
        )


@dataclass(frozen=True)
class Waste:
    """What nothing needs.

    Attributes:
        tables: files of households, with their size in bytes.
        manifests: ids of those that no run and no teacher names, and whose tables are not all current.
        kept: tables that are not current and stay, by what needs them.
    """

    tables: dict[str, int]
    manifests: tuple[str, ...]
    kept: dict[str, int]


def find_waste(warehouse: Place) -> Waste:
    """What `neurogrid clean` may delete.

    Raises:
        InputError: something in the warehouse that may need tables cannot be read.
    """
    current = {table.path for table in current_tables(warehouse).values()}
    named = set(_manifests_named(warehouse))
    waste, kept, needed = [], {}, set(current)
    for folder in (warehouse / "manifests").children():
        paths = set(_paths(folder))
        if folder.name not in named and not paths <= current:
            waste.append(folder.name)
            continue
        needed |= paths
        if older := len(paths - current):
            kept[f"manifest {folder.name}"] = older
    for folder in (warehouse / "teachers").children():
        paths = set(_taught(folder))
        needed |= paths
        if older := len(paths - current):
            kept[f"teacher {folder.name}"] = older
    there = {info.path.removeprefix(f"{warehouse.path}/"): info.size for info in _table_files(warehouse)}
    return Waste({path: size for path, size in sorted(there.items()) if path not in needed}, tuple(waste), kept)


def delete(warehouse: Place, waste: Waste) -> None:
    """Deletes it: manifests first, so that none is left whose tables are gone."""
    for name in waste.manifests:
        warehouse.filesystem.delete_dir((warehouse / "manifests" / name).path)
    for path in waste.tables:
        warehouse.filesystem.delete_file((warehouse / path).path)
    for station in (warehouse / "meters").children():
        for household in station.children() if station.is_folder() else ():
            _delete_if_empty(household)
        _delete_if_empty(station)


def _delete_if_empty(folder: Place) -> None:
    # An object store has no folders, so none that are empty.
    if folder.is_local and folder.is_folder() and not folder.children():
        folder.filesystem.delete_dir(folder.path)


def _table_files(warehouse: Place) -> Iterator[fs.FileInfo]:
    selector = fs.FileSelector((warehouse / "meters").path, recursive=True, allow_not_found=True)
    for info in warehouse.filesystem.get_file_info(selector):
        if info.type == fs.FileType.File and info.path.rsplit("/", 2)[-2].startswith("Household_ID="):
            yield info


def _manifests_named(warehouse: Place) -> Iterator[str]:
    """Ids of the manifests that runs and teachers were made with."""
    for folder, record in (("runs", "run.json"), ("teachers", "teacher.json")):
        for made in (warehouse / folder).children():
            if made.is_folder() and (made / record).exists():
                yield str(_json(made / record).get("manifest_id", ""))[:12]


def _paths(folder: Place) -> list[str]:
    try:
        manifest = Manifest.from_json((folder / "manifest.json").read_bytes())
    except FileNotFoundError:  # its making was cut off
        return []
    except (OSError, ValueError) as error:
        raise _unreadable(folder / "manifest.json", error) from error
    return [part.path for agent in (*manifest.agents, *manifest.held_out) for part in agent.parts]


def _taught(folder: Place) -> list[str]:
    file = folder / "data.json"
    if not file.exists():
        return []
    try:
        return [str(path) for rank in _json(file)["ranks"] for path in rank["fingerprints"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable(file, error) from error


def _json(file: Place) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from error
    if not isinstance(found, dict):
        raise _unreadable(file, ValueError(f"it is a JSON {type(found).__name__}"))
    return found


def _unreadable(file: Place, error: Exception) -> InputError:
    return InputError(
        f"{file} cannot be read, so it is not known which tables it needs",
        found=str(error),
        fix="restore it, or delete the folder that it lies in; nothing was deleted",
    )
