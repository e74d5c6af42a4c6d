"""What a household's clean table says in a few hundred numbers: what was measured week by week, and its usual day.

The data-quality page is drawn from these, so that it needs no readings but those of the few households that it shows.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from neurogrid.data.household import METADATA_KEY, OBSERVED, HouseholdMeta

HOURS = 24
WEEK_MINUTES = 7 * 1440
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
"""Start of week 0. Weeks are those of UTC, Monday to Sunday."""

_COLUMNS = ["kWh", "load_tier", "weather_tier", "hour_sin", "hour_cos"]
_LOAD_COLUMNS = ["kWh", "load_tier"]
Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HouseholdSummary:
    """One household's table, summed up. W weeks from the one of its first slot to the one of its last.

    Attributes:
        meta: what the file says of itself.
        first_week: number of its first week, see MONDAY.
        slots: (W,) slots of the table in each week.
        measured, weather: (W,) how many of them have a measured load, and measured weather.
        kw_by_hour: (24,) mean power of the measured slots that begin in each hour of the local day; NaN without any.
    """

    meta: HouseholdMeta
    first_week: int
    slots: Counts
    measured: Counts
    weather: Counts
    kw_by_hour: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Load:
    """A household's load alone.

    Attributes:
        meta: what the file says of itself.
        kwh: (T,) energy of each slot, gaps imputed.
        measured: (T,) whether it was measured.
    """

    meta: HouseholdMeta
    kwh: Floats
    measured: npt.NDArray[np.bool_]


def read_summary(filesystem: fs.FileSystem, path: str) -> HouseholdSummary:
    """Reads five columns of a household's table and sums them up.

    Raises:
        OSError, ValueError, KeyError: it cannot be read, or is no household's table.
    """
    with filesystem.open_input_file(path) as source:
        table = pq.read_table(source, columns=_COLUMNS, partitioning=None, use_threads=False)
    return summary(table, HouseholdMeta.from_json(table.schema.metadata[METADATA_KEY]))


def read_load(filesystem: fs.FileSystem, path: str) -> Load:
    """Reads two columns of a household's table.

    Raises:
        OSError, ValueError, KeyError: as `read_summary`.
    """
    with filesystem.open_input_file(path) as source:
        table = pq.read_table(source, columns=_LOAD_COLUMNS, partitioning=None, use_threads=False)
    meta = HouseholdMeta.from_json(table.schema.metadata[METADATA_KEY])
    return Load(meta, table.column("kWh").to_numpy(), table.column("load_tier").to_numpy() == OBSERVED)


def summary(table: pa.Table, meta: HouseholdMeta) -> HouseholdSummary:
    """Sums up a clean table. The hour is read off its calendar features, so it is local where the ETL knew the zone."""
    column = {name: table.column(name).to_numpy() for name in _COLUMNS}
    measured = column["load_tier"] == OBSERVED
    begin = round((meta.first - MONDAY).total_seconds()) // 60
    first_week = begin // WEEK_MINUTES
    # Slots of a week lie together, so each week is a stretch of rows between two bounds.
    into = (begin - first_week * WEEK_MINUTES) // meta.cadence_minutes
    bounds = np.arange(-into, len(measured), WEEK_MINUTES // meta.cadence_minutes).clip(min=0)
    hour = local_hour(column["hour_sin"], column["hour_cos"])
    return HouseholdSummary(
        meta=meta,
        first_week=first_week,
        slots=np.diff(bounds, append=len(measured)),
        measured=np.add.reduceat(measured.astype(np.int64), bounds),
        weather=np.add.reduceat((column["weather_tier"] == OBSERVED).astype(np.int64), bounds),
        kw_by_hour=mean_by_hour(column["kWh"][measured] * np.float32(60 / meta.cadence_minutes), hour[measured]),
    )


def local_hour(hour_sin: Floats, hour_cos: Floats) -> Counts:
    """(T,) the hour, 0 to 23, that a table's calendar features stand for."""
    turn = np.arctan2(hour_sin, hour_cos) * np.float32(HOURS / (2 * np.pi))
    # A little is added since a whole hour must not round down to the hour before; a day more makes all positive.
    hour: Counts = (turn + np.float32(HOURS + 1e-3)).astype(np.int64) % HOURS
    return hour


def mean_by_hour(values: Floats, hour: Counts) -> npt.NDArray[np.float64]:
    """(24,) mean of the values of each hour; NaN where there is none."""
    counts = np.bincount(hour, minlength=HOURS)
    sums = np.bincount(hour, weights=values, minlength=HOURS)
    means: npt.NDArray[np.float64] = np.divide(sums, counts, out=np.full(HOURS, np.nan), where=counts > 0)
    return means
