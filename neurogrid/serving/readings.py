"""Readings that a person has in memory, as households: checked, then cleaned by the ETL's own functions.

The same readings in a warehouse give the same table, and so the same forecast. The ETL counts what it cannot use and
goes on, because nobody is there to ask; here somebody is, and is told.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from neurogrid.data.clean import clean_household, gridded, parquet_bytes
from neurogrid.data.cleaning import Cleaning
from neurogrid.data.doubts import Series as Measured
from neurogrid.data.doubts import doubts
from neurogrid.data.energies import Labelled
from neurogrid.data.faults import MEANINGS, Fault, FaultLog
from neurogrid.data.folder import NO_WEATHER
from neurogrid.data.grid import MINUTE_US
from neurogrid.data.household import Household, household_from
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.weather import HOUR_US, NO_STATION, VARIABLES, Station
from neurogrid.errors import InputError

USED_ALL_THE_SAME = {Fault.NULL_VALUE, Fault.OTHER_STEP, Fault.CATCH_UP}
"""What the ETL does about these is what anybody would want: a gap is a gap."""
DOUBTFUL = {Fault.LOCAL_AS_UTC, Fault.UNIT_CHANGE, Fault.POWER, Fault.REGISTER_RESET}
"""Possible, and most likely a mistake: said in a warning."""
_HINTS = {
    Fault.ABSURD: "give kWh a slot; Wh are a thousand times as many",
    Fault.SNAPPED: 'round the times, for example with readings.index.round("min")',
}
ALONE = "household"
"""Name of a household that has none."""
_WEATHER = "given"


class ReadingsWarning(UserWarning):
    """Readings that are possible and doubtful: another unit, local time that is called UTC."""


@dataclass(frozen=True)
class _Given:
    """One household's readings as they were given: (n,) microseconds since 1970, UTC, rising; (n,) kWh or NaN."""

    name: str
    starts_us: npt.NDArray[np.int64]
    kwh: npt.NDArray[np.float64]


def households(
    readings: Any, start: datetime | None, weather: Any, cleaning: Cleaning, cadence_minutes: int
) -> Iterator[Household]:
    """The households of `readings`, in their order.

    Args:
        readings: a Series of kWh a slot by the start of the slot; a DataFrame with a column for each household; or
            numbers without an index, of slots that follow each other from `start` on.
        start: of the first slot, where there is no index.
        weather: hours of weather that all of them have, or None; a DataFrame with columns as VARIABLES by the end of
            each hour.
        cleaning: how readings become tables.
        cadence_minutes: of the tables.

    Raises:
        InputError: they cannot be used; says whose, why, and what to do.
    """
    station = NO_STATION if weather is None else _station(weather)
    for given in _given(readings, start, cadence_minutes):
        yield _household(given, station, weather is not None, cleaning, cadence_minutes)


def _given(readings: Any, start: datetime | None, cadence_minutes: int) -> Iterator[_Given]:
    if isinstance(readings, pd.Series | pd.DataFrame):
        if start is not None:
            raise InputError("start is for readings without an index", fix="leave it out: the index has the times")
        starts = _times(readings.index, "readings")
        if isinstance(readings, pd.Series):
            columns = [(ALONE if readings.name is None else str(readings.name), readings)]
        else:
            columns = [(str(name), column) for name, column in readings.items()]
        if not columns:
            raise InputError("readings has no columns", fix="give one for each household")
        if len({name for name, _ in columns}) < len(columns):
            raise InputError("readings has two columns of the same name", found=", ".join(name for name, _ in columns))
        for name, column in columns:
            yield _Given(name, starts, _numbers(column, name))
        return
    if start is None:
        raise InputError(
            "readings without an index need the start of their first slot",
            found=type(readings).__name__,
            fix="give start=datetime(2024, 1, 1, tzinfo=UTC), or a pandas Series whose index has the times in UTC",
        )
    kwh = _numbers(readings, ALONE)
    first = (moment_of(start, "start") - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    yield _Given(ALONE, first + np.arange(len(kwh), dtype=np.int64) * cadence_minutes * MINUTE_US, kwh)


def _times(index: Any, what: str) -> npt.NDArray[np.int64]:
    if not isinstance(index, pd.DatetimeIndex):
        raise InputError(
            f"the index of {what} has no times",
            found=type(index).__name__,
            fix="make one with pandas.to_datetime(..., utc=True): the start of each slot",
        )
    if index.tz is None:
        raise InputError(
            f"the index of {what} does not say which moments its times are",
            found=f"{index[0] if len(index) else 'no rows'}, without a time zone",
            fix='say it with .tz_localize("UTC"), or local times with .tz_localize("Europe/Zurich", ambiguous="infer")',
        )
    if index.hasnans:
        raise InputError(f"the index of {what} has rows without a time", fix="leave these rows out")
    if not index.is_unique:
        again = index[index.duplicated()][0]
        raise InputError(f"the index of {what} has a time twice", found=str(again), fix="keep one row of each time")
    if not index.is_monotonic_increasing:
        raise InputError(f"the index of {what} is not sorted", fix="sort it with .sort_index()")
    return np.asarray(index.tz_convert("UTC").as_unit("us").asi8, np.int64)


def _numbers(values: Any, name: str) -> npt.NDArray[np.float64]:
    try:
        is_series = isinstance(values, pd.Series)
        kwh = values.to_numpy(np.float64, na_value=np.nan) if is_series else np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"readings of {name} are not all numbers", found=str(error)[:200]) from error
    if getattr(values, "dtype", None) in (np.dtype(bool), np.dtype(complex)):
        raise InputError(f"readings of {name} are not all numbers", found=str(values.dtype))
    if kwh.ndim != 1 or not np.isfinite(kwh).any():
        found = "none" if kwh.size == 0 or kwh.ndim == 1 else f"an array of shape {kwh.shape}"
        raise InputError(f"readings of {name}: one number a slot is needed", found=found)
    below, infinite = int((kwh < 0).sum()), int(np.isinf(kwh).sum())
    if below or infinite:
        raise InputError(
            f"readings of {name} have values that no slot can have",
            found=f"{below} below zero, {infinite} infinite",
            fix="give the energy taken from the grid, in kWh a slot; NaN where there is no reading",
        )
    return kwh


def _household(
    given: _Given, station: Station, has_weather: bool, cleaning: Cleaning, cadence_minutes: int
) -> Household:
    faults = FaultLog(1)
    try:
        grid = gridded(
            [_labelled(given, cadence_minutes)], cleaning.timezone, cadence_minutes, cleaning.settings, faults
        )
        _refuse_faults(given.name, faults)
        names = (given.name, _WEATHER if has_weather else NO_WEATHER)
        made = clean_household(names, grid, station, cleaning.timezone, cadence_minutes, cleaning.settings)
    except UnusableFileError as error:
        raise InputError(
            f"readings of {given.name} cannot be used",
            found=f"{MEANINGS[error.fault]}: {error.text}",
            fix=_HINTS[Fault.ABSURD] if faults.counts[Fault.ABSURD] else "",
        ) from error
    _warn(given.name, faults, grid.kwh * 60 / grid.cadence_minutes, cleaning)
    return household_from(pa.BufferReader(parquet_bytes(made, "none")))


def _labelled(given: _Given, cadence_minutes: int) -> Labelled:
    distances = np.diff(given.starts_us) // MINUTE_US
    steps, counts = np.unique(distances, return_counts=True)
    if not len(steps):
        raise InputError(f"readings of {given.name}: one reading is too few", fix="give weeks of them")
    step = int(steps[np.argmax(counts)])
    if step < 1:
        raise InputError(
            f"readings of {given.name} are less than a minute apart",
            fix=f"sum them up to slots of {cadence_minutes} min",
        )
    if (cadence_minutes % step and step % cadence_minutes) or 1440 % step:
        raise InputError(
            f"readings of {given.name} are {step} minutes apart",
            found=f"the model has slots of {cadence_minutes} min",
            fix=f"sum them up, or spread them evenly, to slots of {cadence_minutes} min",
        )
    nothing = np.isnan(given.kwh)
    return Labelled(
        labels=given.starts_us,
        kwh=given.kwh.copy(),
        empty=nothing,
        estimated=np.zeros(len(nothing), bool),
        line=np.arange(len(nothing), dtype=np.int32),
        ends=False,
        minutes=step,
        clocks="",
        file_rows=len(nothing),
    )


def _refuse_faults(name: str, faults: FaultLog) -> None:
    for note in faults.notes:
        if note.kind in USED_ALL_THE_SAME | DOUBTFUL:
            continue
        raise InputError(
            f"readings of {name} have {faults.counts[note.kind]:,} that cannot be used as they stand",
            found=f"{MEANINGS[Fault(note.kind)]}; the first: {note.text}",
            fix=_HINTS.get(Fault(note.kind), "leave them out, or set them to NaN"),
        )


def _warn(name: str, faults: FaultLog, power_kw: npt.NDArray[np.float64], cleaning: Cleaning) -> None:
    said = [note.text for note in faults.notes if note.kind in DOUBTFUL]
    measured = Measured(name, float(np.nanmean(power_kw)), 0)
    said += doubts((measured,), cleaning.settings.max_power_kw).values()
    for text in said:
        warnings.warn(f"readings of {name}: {text}", ReadingsWarning, stacklevel=2)


def _station(weather: Any) -> Station:
    if not isinstance(weather, pd.DataFrame):
        raise InputError(
            "weather has to be a DataFrame", found=type(weather).__name__, fix=f"columns: {', '.join(VARIABLES)}"
        )
    unknown = [str(name) for name in weather.columns if name not in VARIABLES]
    if unknown:
        raise InputError(
            "weather has columns that the model does not know",
            found=", ".join(unknown),
            fix=f"it knows {', '.join(VARIABLES)}; what is missing is taken as never measured",
        )
    hours, rest = np.divmod(_times(weather.index, "weather"), HOUR_US)
    if rest.any() or not len(hours):
        raise InputError("weather needs a row for each full hour: the end of the hour that it describes")
    values = np.full((int(hours[-1] - hours[0]) + 1, len(VARIABLES)), np.nan)
    for column, name in enumerate(VARIABLES):
        if name in weather.columns:
            try:
                values[hours - hours[0], column] = weather[name].to_numpy(np.float64, na_value=np.nan)
            except (TypeError, ValueError) as error:  # words; two columns of the same name
                raise InputError(f"{name} of weather is not one column of numbers", found=str(error)[:200]) from error
    values[np.isinf(values)] = np.nan
    return Station(int(hours[0]), values, FaultLog(0))


def moment_of(moment: Any, what: str) -> datetime:
    """The moment in UTC; raises InputError where it is none, or has no offset from UTC."""
    if not isinstance(moment, datetime) or pd.isna(moment):
        raise InputError(
            f"{what} is no datetime",
            found=f"{moment!r:.80}",
            fix="give one like datetime(2024, 1, 1, tzinfo=UTC), or pandas.Timestamp(..., tz=...)",
        )
    if moment.utcoffset() is None:
        raise InputError(
            f"{what} has no offset from UTC, so it is not known which moment it means",
            found=moment.isoformat(),
            fix="give tzinfo, for example datetime.UTC",
        )
    try:
        return datetime.fromtimestamp(0, UTC) + (moment - datetime.fromtimestamp(0, UTC))
    except OverflowError as error:
        raise InputError(f"{what} is no moment that a forecast can have", found=moment.isoformat()) from error


def with_timezone(cleaning: Cleaning, timezone: str | None) -> Cleaning:
    """The same with another time zone; raises InputError where there is none of that name."""
    if timezone is None:
        return cleaning
    if not isinstance(timezone, str):
        raise InputError("timezone has to be a name", found=f"{timezone!r:.80}", fix="give a name like Europe/Zurich")
    try:
        found = replace(cleaning, timezone=timezone)
        found.refuse_unknown_zone()
    except ValueError as error:
        raise InputError(str(error), fix="give a name like Europe/Zurich") from error
    return found
