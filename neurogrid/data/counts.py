"""What a household's table holds, counted for the quality report."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neurogrid.data.grid import Grid
from neurogrid.data.household import OBSERVED, SLOT_MEAN, TRAILING_MEAN, ZERO
from neurogrid.data.weather import SlotWeather


@dataclass(frozen=True)
class Counts:
    """What one household's table holds, for the report: slots by tier, energy in and out.

    Energy read is what the file's usable values sum to; it ends in the table, or was dropped with its row. What the
    table holds beyond it was imputed. `zero_readings` are measured zeros: a few are normal, a year of them is a dead
    meter or an empty house. `longest_flat_minutes` is the longest time of one measured value that is not zero.
    """

    file_rows: int
    load_tiers: tuple[int, int, int, int]
    weather_tiers: tuple[int, int, int, int]
    energy_read_kwh: float
    energy_dropped_kwh: float
    energy_imputed_kwh: float
    energy_written_kwh: float
    zero_readings: int
    longest_gap_minutes: int
    longest_flat_minutes: int


def counted(
    wide: Grid,
    filled: npt.NDArray[np.float64],
    kwh: npt.NDArray[np.float64],
    tier: npt.NDArray[np.uint8],
    weather: SlotWeather,
) -> Counts:
    """Counts a household's slots.

    Args:
        wide: what was measured, at the source's cadence; NaN where nothing was.
        filled: the same slots with gaps filled.
        kwh, tier: (n,) energy and tier of the table's slots.
        weather: of the table's slots.
    """
    measured = float(np.nansum(wide.kwh))
    return Counts(
        file_rows=0,
        load_tiers=_tiers(tier),
        weather_tiers=_tiers(weather.tier[weather.hour]),
        energy_read_kwh=measured + wide.dropped_kwh,
        energy_dropped_kwh=wide.dropped_kwh,
        energy_imputed_kwh=float(filled[np.isnan(wide.kwh)].sum()),
        energy_written_kwh=float(kwh.astype(np.float32).sum(dtype=np.float64)),
        zero_readings=int((wide.kwh == 0).sum()),
        longest_gap_minutes=_longest_gap(wide.kwh) * wide.cadence_minutes,
        longest_flat_minutes=_longest_flat(wide.kwh) * wide.cadence_minutes,
    )


def _longest_gap(kwh: npt.NDArray[np.float64]) -> int:
    """Slots of the longest run without a measurement."""
    return _longest_run(np.isnan(kwh))


def _longest_flat(kwh: npt.NDArray[np.float64]) -> int:
    """Slots of the longest run of one value that is not zero."""
    return _longest_run((kwh[1:] == kwh[:-1]) & (kwh[1:] != 0)) + 1


def _longest_run(there: npt.NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(there, prepend=False, append=False))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _tiers(tier: npt.NDArray[np.uint8]) -> tuple[int, int, int, int]:
    observed, trailing, slot_mean, zero = (
        int(np.count_nonzero(tier == each)) for each in (OBSERVED, TRAILING_MEAN, SLOT_MEAN, ZERO)
    )
    return observed, trailing, slot_mean, zero
