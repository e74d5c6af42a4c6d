"""A household's table, continued beyond its last slot: for forecasts of slots that nobody has measured yet.

The calendar of a coming slot is known. Its load is filled from the past as the ETL fills a gap, and marked as not
measured; its weather stays what it was last.
"""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from neurogrid.data.cleaning import Cleaning
from neurogrid.data.features import calendar, scaled
from neurogrid.data.household import FEATURES, Household
from neurogrid.data.impute import impute
from neurogrid.data.local_time import DAY_MINUTES, local_minutes
from neurogrid.data.steps import remainder

_LOAD = FEATURES.index("kWh_received_Total")
_CALENDAR = slice(FEATURES.index("hour_sin"), FEATURES.index("is_weekend") + 1)
_MISSING = [FEATURES.index("weather_missing"), FEATURES.index("load_missing")]


def slot_number(moment: datetime, cadence_minutes: int) -> int:
    """Number of the slot since 1970 that a moment lies in."""
    return int(moment.timestamp() // (60 * cadence_minutes))


def continued(household: Household, slots: int, cleaning: Cleaning) -> Household:
    """The household with so many slots more, none of them measured.

    Args:
        household: its table.
        slots: how many to add; 0 or fewer give the household as it is.
        cleaning: how its table was made.

    Returns:
        A household whose first rows are the table's own, unchanged.
    """
    if slots <= 0:
        return household
    meta = household.meta
    rows, minutes = len(household.kwh), meta.cadence_minutes
    local = local_minutes(slot_number(meta.first, minutes), rows + slots, minutes, cleaning.timezone)
    day, slot = (local // DAY_MINUTES).astype(np.int32), remainder(local, DAY_MINUTES).astype(np.int32) // minutes
    known = np.full(rows + slots, np.nan)
    known[:rows][household.observed] = household.kwh[household.observed]
    filled, _ = impute(known, day, slot, DAY_MINUTES // minutes, cleaning.settings.trailing_slots)
    coming = filled[rows:]
    features = np.repeat(household.features[-1:], slots, axis=0)
    features[:, _LOAD] = scaled(coming, meta.scales[FEATURES[_LOAD]])
    features[:, _CALENDAR] = np.column_stack([each.dictionary_decode() for each in calendar(local[rows:], minutes)])
    features[:, _MISSING] = 1
    return Household(
        meta=replace(meta, last=meta.last + slots * timedelta(minutes=minutes), rows=rows + slots),
        features=np.concatenate([household.features, features]),
        kwh=np.concatenate([household.kwh, coming.astype(np.float32)]),
        observed=np.concatenate([household.observed, np.zeros(slots, bool)]),
    )
