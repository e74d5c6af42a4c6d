"""Meter data as published, each kind turned into one Arrow table a household: when a slot starts, and its energy.

`open_source` looks at the folder on the driver and refuses a wrong one; the source it returns travels to the tasks,
which call `read` for one file each. What a kind of data is (columns, time zone, what a label means) stands here only.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import fs

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.readings import (
    IDENTIFIER,
    NAIVE_TIME,
    UTC_TIME,
    Columns,
    UnusableFileError,
    read_columns,
    rows_of,
    rows_with_time,
)
from neurogrid.errors import InputError
from neurogrid.storage import Place

NO_WEATHER = "none"
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
_HOUSEHOLDS = "meta_data/households.csv"
_AVAILABLE = "SmartMeterData_Available_15min"

READINGS = pa.schema([("Timestamp", UTC_TIME), ("kWh", pa.float64()), ("line", pa.int32())])
"""A source's table: start of the slot, its energy (not null, finite, not negative), the row's line in the file."""


@dataclass(frozen=True)
class MeterFile:
    """One household's file, and the weather station it belongs to (`none` where there is none)."""

    household_id: str
    weather_id: str
    place: Place
    size_bytes: int


@dataclass(frozen=True)
class Readings:
    """A file's usable readings (schema READINGS, in the file's order), and how many rows it had with the others."""

    table: pa.Table
    file_rows: int


@dataclass(frozen=True)
class Listing:
    """What lies in a source's folder.

    Attributes:
        files: usable names.
        faults: by household.
        excluded: names left out by the user.
        list_faults: of the household list itself, by its file; empty where a source has none.
    """

    files: tuple[MeterFile, ...]
    faults: Mapping[str, FaultLog]
    excluded: tuple[str, ...]
    list_faults: Mapping[str, FaultLog]


@dataclass(frozen=True)
class _Listed:
    """A household's first row in the household list."""

    line: int
    weather_id: str
    promised: bool


class Source(Protocol):
    """A kind of meter data in a folder."""

    @property
    def kind(self) -> str:
        """Name of the kind."""

    @property
    def timezone(self) -> str:
        """IANA name of the households' local time."""

    @property
    def cadence_minutes(self) -> int:
        """Length of a slot as published."""

    def listing(self, listed_per_kind: int) -> Listing:
        """The households' files, by household; reads names and the household list, no readings."""

    def read(self, file: MeterFile, max_power_kw: float, faults: FaultLog) -> Readings:
        """One file's readings; what cannot be used is logged.

        Raises:
            UnusableFileError: the file gives no table at all.
        """

    def weather_file(self, weather_id: str) -> Place | None:
        """Where a station's hourly readings lie, if anywhere."""


@dataclass(frozen=True)
class Heapo:
    """HEAPO (doi:10.5281/zenodo.15056919): 15-minute heat-pump households of Canton Zurich, with weather stations.

    Two header orders occur, so columns are taken by name. Timestamps are UTC and name the start of the slot.
    """

    root: Place
    exclude: tuple[str, ...]
    limit: int | None
    kind: str = field(default="heapo", init=False)
    timezone: str = field(default="Europe/Zurich", init=False)
    cadence_minutes: int = field(default=15, init=False)

    def listing(self, listed_per_kind: int) -> Listing:
        """See Source."""
        list_faults = FaultLog(listed_per_kind)
        households = self._households(list_faults)
        stations = {name: listed.weather_id for name, listed in households.items()}
        promised = {name for name, listed in households.items() if listed.promised}
        listing = _list_files(self.root / "smart_meter_data/15min", self.exclude, self.limit, stations, listed_per_kind)
        faults = dict(listing.faults)
        for household in sorted(promised - {file.household_id for file in listing.files}) if self.limit is None else ():
            if not any(name.split(".")[0] == household for name in listing.excluded):
                log = faults.setdefault(household, FaultLog(listed_per_kind))
                log.add(Fault.NO_FILE, f"smart_meter_data/15min/{household}.csv")
        return Listing(listing.files, faults, listing.excluded, {_HOUSEHOLDS: list_faults})

    def _households(self, faults: FaultLog) -> dict[str, _Listed]:
        """The list by household; of two rows of a household the first is used, and the other logged."""
        file = self.root / _HOUSEHOLDS
        types = dict.fromkeys(("Household_ID", "Weather_ID", _AVAILABLE), pa.string())
        try:
            columns = read_columns(file, types, ";", faults)
        except UnusableFileError as error:
            raise InputError(
                f"etl: {file} cannot be used as HEAPO's list of households",
                found=f"{error.fault}: {error.text}",
                fix="it maps Household_ID to Weather_ID, separated by ';'; restore it from the data set",
            ) from error
        households: dict[str, _Listed] = {}
        for row, line in zip(columns.table.to_pylist(), columns.line.tolist(), strict=True):
            promised = (row[_AVAILABLE] or "").lower() in ("true", "1")
            own = _Listed(line, row["Weather_ID"] or NO_WEATHER, promised)
            name = row["Household_ID"]
            if not name:
                faults.add(Fault.NO_HOUSEHOLD, f"Household_ID is empty, Weather_ID = {own.weather_id}", line)
                continue
            first = households.setdefault(name, own)
            if first is not own:
                _log_again(name, own, first, faults)
        return households

    def read(self, file: MeterFile, max_power_kw: float, faults: FaultLog) -> Readings:
        """See Source."""
        types = {"Household_ID": IDENTIFIER, "Timestamp": UTC_TIME, "kWh_received_Total": pa.float64()}
        columns = read_columns(file.place, types, ";", faults)
        rows = len(columns.line) + faults.counts[Fault.BROKEN_ROW]
        columns = rows_of(columns, "Household_ID", file.household_id, Fault.WRONG_HOUSEHOLD, faults)
        columns = rows_with_time(columns, "Timestamp", faults)
        limit = max_power_kw * self.cadence_minutes / 60
        kwh, empty = columns.numbers("kWh_received_Total"), columns.empty("kWh_received_Total")
        return Readings(_checked(columns, columns.times("Timestamp"), kwh, empty, limit, faults), rows)

    def weather_file(self, weather_id: str) -> Place | None:
        """See Source."""
        file = self.root / f"weather_data/hourly/{weather_id}.csv"
        return file if weather_id != NO_WEATHER and file.exists() else None


@dataclass(frozen=True)
class Sgsc:
    """Smart-Grid Smart-City customer trial: half-hourly households of Newcastle and Sydney, one CSV each, no weather.

    A label is local standard time (UTC+10 all year) and is taken as the END of its half hour: a publication says so,
    and the data neither proves nor contradicts it. Where clocks went forward, the hour after the change carries the
    labels of the hour before once more: the second copy belongs an hour later (the published calendar_key counts on
    through both). Consumption is general supply plus controlled load, where an empty controlled load is none.
    """

    root: Place
    exclude: tuple[str, ...]
    limit: int | None
    kind: str = field(default="sgsc", init=False)
    timezone: str = field(default="Australia/Sydney", init=False)
    cadence_minutes: int = field(default=30, init=False)

    def listing(self, listed_per_kind: int) -> Listing:
        """See Source."""
        return _list_files(self.root, self.exclude, self.limit, None, listed_per_kind)

    def read(self, file: MeterFile, max_power_kw: float, faults: FaultLog) -> Readings:
        """See Source."""
        label = "reading_datetime"
        types = {"customer_id": IDENTIFIER, label: NAIVE_TIME}
        types |= dict.fromkeys(("general_supply_kwh", "controlled_load_kwh"), pa.float64())
        columns = read_columns(file.place, types, ",", faults)
        rows = len(columns.line) + faults.counts[Fault.BROKEN_ROW]
        columns = rows_of(columns, "customer_id", file.household_id, Fault.WRONG_HOUSEHOLD, faults)
        columns = rows_with_time(columns, label, faults)
        ends = _moved(columns.times(label), columns.line, faults)
        starts = ends - 10 * HOUR_US - self.cadence_minutes * MINUTE_US
        controlled = columns.numbers("controlled_load_kwh")
        controlled = np.where(columns.empty("controlled_load_kwh"), 0.0, controlled)
        kwh = columns.numbers("general_supply_kwh") + controlled
        empty = columns.empty("general_supply_kwh")
        limit = max_power_kw * self.cadence_minutes / 60
        return Readings(_checked(columns, starts, kwh, empty, limit, faults), rows)

    def weather_file(self, weather_id: str) -> Place | None:
        """None: the trial published no weather."""
        return None


KINDS = ("heapo", "sgsc")


def open_source(kind: str, root: Place, exclude: Sequence[str], limit: int | None) -> Source:
    """Finds the data under a folder (or one folder below it).

    Args:
        kind: `heapo`, `sgsc`, or `auto` for whichever is there.
        root: the data set's folder, or its parent.
        exclude: patterns of file names to leave out, e.g. `1408.csv` or `10*`.
        limit: use only so many households, the first by name.

    Raises:
        InputError: the folder is not there or not of that kind, or the kind is unknown.
    """
    if kind not in (*KINDS, "auto"):
        raise InputError(
            f'etl: no source of kind "{kind}"', found=f'kind "{kind}"', fix=f"kinds are {', '.join(KINDS)}, auto"
        )
    if root.filesystem.get_file_info(root.path).type != fs.FileType.Directory:
        raise InputError(
            f"etl: {root} is not a folder",
            found="a file" if root.exists() else "nothing there",
            fix="give the data's folder with --data-dir",
        )
    if limit is not None and limit < 1:
        raise InputError("etl: the limit of households must be 1 or more", found=str(limit), fix="leave it out for all")
    if kind in ("heapo", "auto"):
        for folder in (root, root / "heapo_data"):
            if (folder / "smart_meter_data/15min").exists() and (folder / "meta_data/households.csv").exists():
                return Heapo(folder, tuple(exclude), limit)
    if kind in ("sgsc", "auto"):
        for folder in (root, root / "sgsc"):
            if any(_is_sgsc(child) for child in _csv_files(folder)[:3]):
                return Sgsc(folder, tuple(exclude), limit)
    layouts = {
        "heapo": "heapo needs meta_data/households.csv and smart_meter_data/15min/<Household_ID>.csv",
        "sgsc": "sgsc needs <customer_id>.csv or .csv.gz with a column reading_datetime",
    }
    names = [child.name for child in root.children()]
    raise InputError(
        f"etl: {root} does not hold {'known meter data' if kind == 'auto' else f'meter data of kind {kind}'}",
        found=f"{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "an empty folder",
        fix="; ".join(text for name, text in layouts.items() if kind in (name, "auto")),
    )


def _csv_files(folder: Place) -> list[Place]:
    return [child for child in folder.children() if child.name.endswith((".csv", ".csv.gz"))]


def _is_sgsc(file: Place) -> bool:
    try:
        with file.filesystem.open_input_stream(file.path) as stream:
            return b"reading_datetime" in stream.read(400)
    except OSError:
        # A broken file; the next one may tell what is here.
        return False


def _list_files(
    folder: Place,
    exclude: Sequence[str],
    limit: int | None,
    stations: Mapping[str, str] | None,
    listed_per_kind: int,
) -> Listing:
    selector = fs.FileSelector(folder.path, allow_not_found=True)
    infos = sorted(folder.filesystem.get_file_info(selector), key=lambda info: str(info.base_name))
    files: dict[str, MeterFile] = {}
    faults: dict[str, FaultLog] = {}
    excluded = []
    for info in infos:
        if info.type != fs.FileType.File or not info.base_name.endswith((".csv", ".csv.gz")):
            continue
        household = info.base_name.removesuffix(".gz").removesuffix(".csv")
        if any(fnmatch.fnmatch(name, pattern) for pattern in exclude for name in (info.base_name, household)):
            excluded.append(info.base_name)
            continue
        if household in files:
            faults.setdefault(household, FaultLog(listed_per_kind)).add(Fault.SECOND_FILE, info.base_name)
            continue
        if stations is not None and household not in stations:
            faults.setdefault(household, FaultLog(listed_per_kind)).add(Fault.NOT_LISTED, info.base_name)
        station = (stations or {}).get(household, NO_WEATHER)
        files[household] = MeterFile(household, station, Place(folder.filesystem, info.path), info.size)
        if limit is not None and len(files) == limit:
            break
    if not files:
        raise InputError(
            f"etl: no household's file in {folder}",
            found=f"{len(infos)} names, {len(excluded)} left out by --exclude",
            fix="put one CSV (or .csv.gz) a household there, or exclude less",
        )
    return Listing(tuple(files.values()), faults, tuple(excluded), {})


def _log_again(household: str, own: _Listed, first: _Listed, faults: FaultLog) -> None:
    text = f"Household_ID = {household}"
    if (own.weather_id, own.promised) == (first.weather_id, first.promised):
        faults.add(Fault.LISTED_TWICE, f"{text}, as in line {first.line}", own.line)
        return
    text += f", Weather_ID = {own.weather_id}, {_AVAILABLE} = {own.promised}"
    faults.add(Fault.CONFLICTING_ROWS, f"{text}; line {first.line} has {first.weather_id}, {first.promised}", own.line)


def _moved(labels: npt.NDArray[np.int64], lines: npt.NDArray[np.int32], faults: FaultLog) -> npt.NDArray[np.int64]:
    """Labels with each second copy an hour later, where that label is missing."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    same = np.zeros(len(labels), bool)
    same[1:] = ordered[1:] == ordered[:-1]
    second = same.copy()
    second[1:] &= ~same[:-1]
    rows = np.sort(order[second])
    rows = rows[~np.isin(labels[rows] + HOUR_US, labels)]
    faults.add_rows(
        Fault.MOVED_DUPLICATE, lines[rows], (f"{np.datetime64(int(labels[r]), 'us')} moved by 1 h" for r in rows)
    )
    moved = labels.copy()
    moved[rows] += HOUR_US
    return moved


def _checked(
    columns: Columns,
    starts: npt.NDArray[np.int64],
    kwh: npt.NDArray[np.float64],
    empty: npt.NDArray[np.bool_],
    limit_kwh: float,
    faults: FaultLog,
) -> pa.Table:
    """The readings without those that cannot be energies of a slot; says which and why."""
    keep = (kwh >= 0) & (kwh <= limit_kwh)
    if not keep.all():
        finite = np.isfinite(kwh)
        for kind, bad in (
            (Fault.NULL_VALUE, empty),
            (Fault.NOT_FINITE, np.isinf(kwh)),
            (Fault.NEGATIVE, finite & (kwh < 0)),
            (Fault.ABSURD, finite & (kwh > limit_kwh)),
        ):
            faults.add_rows(kind, columns.line[bad], (f"{value:g} kWh" for value in kwh[bad]))
        starts, kwh = starts[keep], kwh[keep]
    kwh = kwh + 0.0  # a negative zero would differ in its bits from the zeros around it
    return pa.table([pa.array(starts).cast(UTC_TIME), pa.array(kwh), pa.array(columns.line[keep])], schema=READINGS)
