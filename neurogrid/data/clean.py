"""One household's file to its clean table. This runs inside a Spark task, one file after another, on Arrow and numpy.

It imports no Spark, so a Python worker starts with nothing but what the work needs. etl.py deals the files out.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.data.cleaning import EtlSettings
from neurogrid.data.counts import Counts, counted
from neurogrid.data.energies import Labelled, Readings, energies
from neurogrid.data.faults import Fault, FaultLog, FaultNote
from neurogrid.data.features import calendar, observed_scale, scaled
from neurogrid.data.folder import MeterFile
from neurogrid.data.grid import Grid, change_cadence, coarse_bounds, to_grid
from neurogrid.data.household import (
    FEATURES,
    METADATA_KEY,
    OBSERVED,
    SCHEMA,
    TABLE_NAME,
    HouseholdMeta,
    Scale,
    household_path,
    table_name,
)
from neurogrid.data.impute import impute
from neurogrid.data.local_time import DAY_MINUTES, local_as_utc, local_minutes
from neurogrid.data.periods import Periods, cut
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.sources import NO_WEATHER, Source
from neurogrid.data.steps import remainder
from neurogrid.data.summary import HOURS, Summary, summary
from neurogrid.data.weather import NO_STATION, VARIABLES, SlotWeather, Station, known_weather, station_once
from neurogrid.storage import Place

_PIECE = 1 << 22
_FEW_VALUES = ("weather_missing", "load_missing", "load_tier", "weather_tier")


@dataclass(frozen=True)
class Outcome:
    """What a task returns of one file: no reading, only counts.

    `meta`, `counts` and `summary` are None for an unusable file, and `table`, the name of what was written, is "".
    `sha256` is that of the file's content.
    """

    household_id: str
    file: str
    sha256: str
    file_rows: int
    table: str
    meta: HouseholdMeta | None
    counts: Counts | None
    summary: Summary | None
    faults: Counter[str]
    notes: tuple[FaultNote, ...]


@dataclass(frozen=True)
class HouseholdTable:
    """A household's table before it is written."""

    table: pa.Table
    meta: HouseholdMeta
    counts: Counts
    summary: Summary


def is_of(file: MeterFile, minutes: int, outcome: Outcome) -> bool:
    """Whether an outcome can be this file's: it names the file, and what it counts fits together.

    Args:
        file: one that a task was handed.
        minutes: cadence of the tables.
        outcome: what the task returned of it.
    """
    if (outcome.household_id, outcome.file) != (file.household_id, file.place.name):
        return False
    if not outcome.faults.keys() <= set(Fault):
        return False
    meta, about = outcome.meta, outcome.summary
    if meta is None or about is None or outcome.counts is None:
        return (meta, about, outcome.counts, outcome.table) == (None, None, None, "")
    weeks = {len(about.week_slots), len(about.week_measured), len(about.week_weather)}
    return (
        (meta.household_id, meta.weather_id, meta.cadence_minutes) == (file.household_id, file.weather_id, minutes)
        and TABLE_NAME.fullmatch(outcome.table) is not None
        and meta.scales.keys() == {FEATURES[0], *VARIABLES}
        and len(weeks) == 1
        and len(about.kw_by_hour) == HOURS
    )


class Stations:
    """The weather stations that a task's files ask for."""

    def __init__(self, source: Source, settings: EtlSettings) -> None:
        self._source, self._settings = source, settings
        self._read: dict[str, Station | str] = {}
        self._faults: dict[str, FaultLog] = {}

    def get(self, weather_id: str) -> Station | str:
        """The station, or why it cannot be used."""
        if weather_id not in self._read:
            self._read[weather_id] = self._load(weather_id)
        return self._read[weather_id]

    def _load(self, weather_id: str) -> Station | str:
        file = self._source.weather_file(weather_id)
        if file is None:
            return f"no file for station {weather_id}"
        faults = FaultLog(self._settings.listed_per_kind)
        try:
            station = station_once(file, weather_id, self._settings.longest_gap_days, faults)
        except UnusableFileError as error:
            faults.add(error.fault, error.text)
            self._faults[weather_id] = faults
            return f"{file.name}: {error.fault}: {error.text}"
        self._faults[weather_id] = station.faults
        return station

    def faults(self) -> dict[str, FaultLog]:
        """Faults of the stations' files, usable or not."""
        return self._faults


def clean_file(
    source: Source,
    file: MeterFile,
    stations: Stations,
    warehouse: Place,
    cadence_minutes: int,
    settings: EtlSettings,
    write: Callable[[Place, bytes], None] = Place.write,
) -> Outcome:
    """Reads, cleans and writes one household; a file that gives no table is an outcome, not an error."""
    faults, rows = FaultLog(settings.listed_per_kind), 0
    # The rows of a bucket are many households', and whoever split its files knows their content.
    name, sha256 = file.place.name, content_sha256(file.place) if file.bucket is None else ""
    try:
        found = [source.read(file, faults)]
        rows = found[0].file_rows
        grid = gridded(found, source.timezone, cadence_minutes, settings, faults)
        station: Station | str = NO_STATION if file.weather_id == NO_WEATHER else stations.get(file.weather_id)
        if isinstance(station, str):
            faults.add(Fault.NO_WEATHER_STATION, station)
            station = NO_STATION
        household = clean_household(
            (file.household_id, file.weather_id), grid, station, source.timezone, cadence_minutes, settings
        )
    except UnusableFileError as error:
        cause = faults.cause() if error.fault == Fault.NO_TRAINING_READINGS else ""
        faults.add(error.fault, f"{error.text}{cause and '; rows were lost to '}{cause}")
        return Outcome(file.household_id, name, sha256, rows, "", None, None, None, faults.counts, tuple(faults.notes))
    content = parquet_bytes(household, settings.compression)
    table = table_name(content)
    target = warehouse / household_path(file.weather_id, file.household_id, table)
    if not target.exists():
        write(target, content)
    return Outcome(
        file.household_id,
        name,
        sha256,
        rows,
        table,
        household.meta,
        replace(household.counts, file_rows=rows),
        household.summary,
        faults.counts,
        tuple(faults.notes),
    )


def gridded(
    found: list[Labelled], timezone: str, cadence_minutes: int, settings: EtlSettings, faults: FaultLog
) -> Grid:
    """A household's rows on the grid; what has no place there, or is doubtful, is logged.

    Args:
        found: the rows, alone in a list that is emptied, so that columns are let go of as others take their place.
        timezone: IANA name of the household's local time.
        cadence_minutes: of the table that is wanted.
        settings: see there.
        faults: the log.

    Raises:
        UnusableFileError: they give no table.
    """
    readings = energies(found.pop(), settings.treatment, faults)
    _refuse_other_cadence(readings.cadence_minutes, cadence_minutes)
    _notice_local_time(readings, timezone, faults)
    return to_grid(readings.table, readings.cadence_minutes, settings.longest_gap_days, faults)


def content_sha256(file: Place) -> str:
    """SHA-256 of a file, read in pieces; "" where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with file.filesystem.open_input_stream(file.path, compression=None) as stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
    except OSError:
        return ""
    return digest.hexdigest()


def _notice_local_time(readings: Readings, timezone: str, faults: FaultLog) -> None:
    starts = np.asarray(readings.table.column("Timestamp").cast(pa.int64()).to_numpy(), np.int64)
    if signs := local_as_utc(starts, readings.cadence_minutes, timezone):
        faults.add(Fault.LOCAL_AS_UTC, signs)


def _refuse_other_cadence(found_minutes: int, wanted_minutes: int) -> None:
    if wanted_minutes % found_minutes and found_minutes % wanted_minutes:
        text = f"slots of {wanted_minutes} minutes cannot be made from its readings of {found_minutes} minutes"
        raise UnusableFileError(Fault.UNUSABLE_STEP, f"{text}; set etl.cadence_minutes to what fits all files")


def clean_household(
    names: tuple[str, str],
    grid: Grid,
    station: Station,
    timezone: str,
    cadence_minutes: int,
    settings: EtlSettings,
) -> HouseholdTable:
    """The clean table of gridded readings.

    Gaps are filled at the source's cadence, then the cadence is changed, so that energy is conserved either way.

    Args:
        names: of the household and of its station.
        grid: see `gridded`.
        station: its weather.
        timezone: IANA name of the household's local time.
        cadence_minutes: of the table.
        settings: see there.

    Raises:
        UnusableFileError: nothing was measured in the training period, so that there is no scale.
    """
    wide = coarse_bounds(grid, cadence_minutes)
    local = local_minutes(wide.first, len(wide.kwh), wide.cadence_minutes, timezone)
    filled, tier = _imputed(wide, local, settings.trailing_slots)
    first, kwh, tier = change_cadence(wide.first, filled, tier, wide.cadence_minutes, cadence_minutes)
    if cadence_minutes != wide.cadence_minutes:
        local = local_minutes(first, len(kwh), cadence_minutes, timezone)
    slots = Grid(first, cadence_minutes, kwh, grid.dropped_kwh)
    weather = known_weather(station, slots.starts_us, settings.weather_last_known_hours)
    periods = cut(len(kwh), settings.train_share, settings.validation_share)
    training = kwh[: periods.train_end][tier[: periods.train_end] == OBSERVED]
    if len(training) == 0:
        raise UnusableFileError(
            Fault.NO_TRAINING_READINGS, f"none in the first {periods.train_end} of {len(kwh)} slots"
        )
    scales = {FEATURES[0]: observed_scale(training)} | _weather_scales(weather, periods)
    table = _table(slots, tier, calendar(local, cadence_minutes), weather, scales)
    meta = HouseholdMeta(
        household_id=names[0],
        weather_id=names[1],
        cadence_minutes=cadence_minutes,
        first=_moment(slots, 0),
        last=_moment(slots, len(kwh) - 1),
        rows=len(kwh),
        observed=int((tier == OBSERVED).sum()),
        train_end=_moment(slots, periods.train_end),
        validation_end=_moment(slots, periods.validation_end),
        scales=scales,
        surge_threshold_kwh=float(np.quantile(training, settings.surge_percentile / 100)),
    )
    counts = counted(wide, filled, kwh, tier, weather)
    return HouseholdTable(
        table, meta, counts, summary(slots, local, tier == OBSERVED, weather.tier[weather.hour] == OBSERVED)
    )


def _imputed(
    wide: Grid, local: npt.NDArray[np.int64], trailing_slots: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    day, slot = (local // DAY_MINUTES).astype(np.int32), remainder(local, DAY_MINUTES).astype(np.int32)
    slot //= wide.cadence_minutes
    return impute(wide.kwh, day, slot, DAY_MINUTES // wide.cadence_minutes, trailing_slots)


def _weather_scales(weather: SlotWeather, periods: Periods) -> dict[str, Scale]:
    """Of what was measured in the training period, each hour as often as it has slots."""
    slots = np.bincount(weather.hour[: periods.train_end])
    values, observed = weather.values[: len(slots)], weather.observed[: len(slots)]
    return {
        name: observed_scale(np.repeat(values[there, column], slots[there]))
        for column, name in enumerate(VARIABLES)
        for there in (observed[:, column],)
    }


def _table(
    slots: Grid,
    tier: npt.NDArray[np.uint8],
    calendar_columns: list[pa.Array],
    weather: SlotWeather,
    scales: Mapping[str, Scale],
) -> pa.Table:
    kwh, load = _energy_columns(slots.kwh, scales[FEATURES[0]])
    by_hour = [scaled(weather.values[:, column], scales[name]) for column, name in enumerate(VARIABLES)]
    slot_tier = weather.tier[weather.hour]
    columns = [
        pa.array(slots.starts_us).cast(SCHEMA.field("Timestamp").type),
        load,
        *calendar_columns,
        *(pa.array(values[weather.hour]) for values in by_hour),
        pa.array((slot_tier != OBSERVED).astype(np.float32)),
        pa.array((tier != OBSERVED).astype(np.float32)),
        kwh,
        pa.array(tier),
        pa.array(slot_tier),
    ]
    fields = [pa.field(name, each.type, nullable=False) for name, each in zip(SCHEMA.names, columns, strict=True)]
    return pa.table(columns, pa.schema(fields))


def _energy_columns(kwh: npt.NDArray[np.float64], scale: Scale) -> tuple[pa.Array, pa.Array]:
    """The energy and its scaled form. Most meters count in steps, so energies repeat and one encoding does for both."""
    sample = kwh[:4096]
    if 4 * len(np.unique(sample)) > len(sample):
        return pa.array(kwh.astype(np.float32)), pa.array(scaled(kwh, scale))
    coded = pa.array(kwh).dictionary_encode()
    distinct = coded.dictionary.to_numpy()
    values = distinct.astype(np.float32), scaled(distinct, scale)
    energy, load = (pa.DictionaryArray.from_arrays(coded.indices, pa.array(each)) for each in values)
    return energy, load


def _moment(slots: Grid, index: int) -> datetime:
    minutes = (slots.first + index) * slots.cadence_minutes
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)


def parquet_bytes(household: HouseholdTable, compression: str) -> bytes:
    """The file's bytes; the same for the same table.

    The Arrow schema is left out, so that columns which Parquet holds as dictionaries are read back as plain numbers.
    """
    sink = pa.BufferOutputStream()
    schema = household.table.schema
    repeated = [f.name for f in schema if pa.types.is_dictionary(f.type)] + list(_FEW_VALUES)
    with pq.ParquetWriter(
        sink,
        schema,
        compression=compression,
        use_dictionary=repeated,
        column_encoding={"Timestamp": "DELTA_BINARY_PACKED"},
        write_statistics=["Timestamp"],
        store_schema=False,
    ) as writer:
        writer.write_table(household.table, row_group_size=max(household.table.num_rows, 1))
        writer.add_key_value_metadata({METADATA_KEY.decode(): household.meta.to_json()})
    return bytes(sink.getvalue().to_pybytes())
