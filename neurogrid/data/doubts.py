"""Households whose readings are all possible, and doubtful together: another unit, a meter that stands still, guesses.

They are used. Who looks after the data decides whether to leave them out (`source.exclude`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

HOURS_A_YEAR = 8_766
PEERS_LEAST = 5
PEERS_TIMES = 20.0
"""Households differ by a few times. Wh for kWh is a thousand times, kW for kWh of 15 minutes is four times."""
LARGE_SHARE = 0.1
"""A mean power above so much of the limit of a single reading is a large building's, or another unit's."""
FLAT_DAYS = 7
ESTIMATED_SHARE = 0.9
"""A series of which more was estimated shows how its utility estimates."""
USUAL_KWH_A_YEAR = (500.0, 25_000.0)
"""Half of a source's households use more than the first and half less than the second, wherever they are; kW taken for
kWh of a quarter hour are four times as much, of half an hour twice."""
POWER_SHARE = 0.9
"""Of a source of whose households more look like powers, all are."""


@dataclass(frozen=True)
class Series:
    """Of one household.

    Attributes:
        household_id: its id.
        mean_kw: mean of its measured power.
        flat_minutes: the longest time of one value that is not zero.
        estimated_share: of its readings, those that its file marks as estimated and that are used.
        local_as_utc: whether its labels look like local time with the offset of UTC.
        unit_change: whether its unit seems to change.
        power: whether its readings look like powers.
    """

    household_id: str
    mean_kw: float
    flat_minutes: int
    estimated_share: float = 0.0
    local_as_utc: bool = False
    unit_change: bool = False
    power: bool = False


def doubts(households: Sequence[Series], max_power_kw: float) -> dict[str, str]:
    """By household what is doubtful, in words; in the order of households."""
    usual = [series.mean_kw for series in households if series.mean_kw > 0]
    peers = median(usual) if len(usual) >= PEERS_LEAST else None
    shared = _are_all_powers([series for series in households if series.mean_kw > 0])
    found = {series.household_id: _doubts(series, peers, max_power_kw, shared) for series in households}
    return {household: "; ".join(texts) for household, texts in found.items() if texts}


def doubts_of_source(households: Sequence[Series]) -> tuple[str, ...]:
    """What is doubtful of all households together, in words: a unit that they share shows beside no peer."""
    used = [series for series in households if series.mean_kw > 0]
    if len(used) < PEERS_LEAST:
        return ()
    texts = []
    a_year = median(series.mean_kw for series in used) * HOURS_A_YEAR
    low, high = USUAL_KWH_A_YEAR
    if not low <= a_year <= high:
        size = "more" if a_year > high else "less"
        texts.append(
            f"half of the households use {size} than {a_year:,.0f} kWh a year, where {low:,.0f} to {high:,.0f} are "
            "usual: is the unit another one, or are they no households?"
        )
    if _are_all_powers(used):
        texts.append(
            f"readings of {sum(series.power for series in used):,} of {len(used):,} households are multiples of "
            "several watt-hours, as kW made from energies are: is the unit kW?"
        )
    return tuple(texts)


def _are_all_powers(used: Sequence[Series]) -> bool:
    return len(used) >= PEERS_LEAST and sum(series.power for series in used) > POWER_SHARE * len(used)


def _doubts(series: Series, peers_kw: float | None, max_power_kw: float, all_powers: bool) -> list[str]:
    texts = []
    times = series.mean_kw / peers_kw if peers_kw else 1.0
    if times >= PEERS_TIMES:
        texts.append(f"uses {times:,.0f} times what most others use: is its unit another one?")
    elif 0 < times <= 1 / PEERS_TIMES**2:
        texts.append(f"uses {1 / times:,.0f} times less than most others: is its unit another one?")
    elif series.mean_kw > LARGE_SHARE * max_power_kw:
        texts.append(f"uses {series.mean_kw:,.0f} kW on average: a large building, or another unit?")
    if series.flat_minutes >= FLAT_DAYS * 1440:
        texts.append(f"has the same value for {series.flat_minutes / 1440:,.0f} days")
    if series.estimated_share > ESTIMATED_SHARE:
        texts.append(f"{series.estimated_share:.0%} of its readings were estimated")
    if series.local_as_utc:
        texts.append("its labels look like local time with the offset of UTC")
    if series.unit_change:
        texts.append("its readings become those of another unit: does its unit change?")
    if series.power and not all_powers:
        texts.append("its readings are multiples of several watt-hours, as kW made from energies are: is its unit kW?")
    if series.mean_kw == 0:
        texts.append("every reading is zero: a dead meter or an empty house")
    return texts
