"""What a household's clean table says in a few hundred numbers: what was measured week by week, and its usual day.

Made where the household is cleaned and kept in `households.parquet`, so that the data-quality page needs no readings
but those of the few households that it shows.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from pyarrow import fs

from neurogrid.data.grid import Grid
from neurogrid.data.household import METADATA_KEY, OBSERVED, HouseholdMeta
from neurogrid.data.steps import remainder

HOURS = 24
WEEK_MINUTES = 7 * 1440
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
"""Start of week 0. Weeks are those of UTC, Monday to Sunday."""

_MONDAY_MINUTE = 4 * 1440
_LOAD_COLUMNS = ["kWh", "load_tier"]
Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Summary:
    """One household's table, summed up. W weeks from the one of its first slot to the one of its last.

    Attributes:
        first_week: number of its first week, see MONDAY.
        week_slots: (W,) slots of the table in each week.
        week_measured, week_weather: (W,) how many of them have a measured load, and measured weather.
        kw_by_hour: (24,) mean power of the measured slots that begin in each hour of the local day; None without any.
    """

    first_week: int
    week_slots: tuple[int, ...]
    week_measured: tuple[int, ...]
    week_weather: tuple[int, ...]
    kw_by_hour: tuple[float | None, ...]

    @classmethod
    def from_plain(cls, raw: dict[str, Any]) -> "Summary":
        """Of its attributes as JSON or a row of a table has them, with lists; others are left out."""
        lists = {name: tuple(raw[name]) for name in cls.__dataclass_fields__ if name != "first_week"}
        return cls(raw["first_week"], **lists)


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


def read_load(filesystem: fs.FileSystem, path: str) -> Load:
    """Reads two columns of a household's table.

    Raises:
        OSError, ValueError, KeyError: it cannot be read, or is no household's table.
    """
    with filesystem.open_input_file(path) as source:
        table = pq.read_table(source, columns=_LOAD_COLUMNS, partitioning=None, use_threads=False)
    meta = HouseholdMeta.from_json(table.schema.metadata[METADATA_KEY])
    return Load(meta, table.column("kWh").to_numpy(), table.column("load_tier").to_numpy() == OBSERVED)


def summary(slots: Grid, local: Counts, measured: npt.NDArray[np.bool_], weather: npt.NDArray[np.bool_]) -> Summary:
    """Sums up a household.

    Args:
        slots: its energies, gaps imputed.
        local: (T,) local wall-clock minutes since 1970 at the start of each slot.
        measured: (T,) whether the load was measured.
        weather: (T,) whether the weather was.
    """
    begin = slots.first * slots.cadence_minutes - _MONDAY_MINUTE
    first_week = begin // WEEK_MINUTES
    # Slots of a week lie together, so each week is a stretch of rows between two bounds.
    into = (begin - first_week * WEEK_MINUTES) // slots.cadence_minutes
    bounds = np.arange(-into, len(measured), WEEK_MINUTES // slots.cadence_minutes).clip(min=0)
    kw = slots.kwh[measured].astype(np.float32) * np.float32(60 / slots.cadence_minutes)
    means = mean_by_hour(kw, remainder(local[measured] // 60, HOURS))
    return Summary(
        first_week,
        tuple(np.diff(bounds, append=len(measured)).tolist()),
        tuple(np.add.reduceat(measured, bounds, dtype=np.int64).tolist()),
        tuple(np.add.reduceat(weather, bounds, dtype=np.int64).tolist()),
        tuple(None if np.isnan(mean) else float(mean) for mean in means),
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
