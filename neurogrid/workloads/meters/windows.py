"""Households' readings to a model's training windows: what is seen, what is known in advance, what is to be forecast.

A window has an origin: its history is the slots before it, its targets the `horizon_slots` from it on. Nothing of a
window's inputs depends on a reading at or after its origin. Windows are gathered a batch at a time, never all made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from neurogrid.data.household import FEATURES, Household

Period = Literal["train", "validation", "test"]
PERIODS: tuple[Period, ...] = ("train", "validation", "test")
Array = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

LOAD = FEATURES.index("kWh_received_Total")
CALENDAR = slice(FEATURES.index("hour_sin"), FEATURES.index("is_weekend") + 1)
PROFILE_DAYS = 28
SHORT_PROFILE_DAYS = 7
PROFILES = ("median_28_days", "mean_28_days", "median_7_days", "surge_share_28_days")
"""Columns of `Shard.profiles`: the same slot of the day over the days before, measured values only."""
MEDIAN, MEAN, SHORT_MEDIAN, SURGE_SHARE = range(4)


@dataclass(frozen=True)
class WindowSettings:
    """How windows are cut.

    Attributes:
        history_slots: slots that the encoder sees.
        horizon_slots: slots to forecast.
        known_future: whether the decoder sees, of each target slot, also the load a day and a week before and the
            profiles of the days before; else the calendar alone.
        residual: whether the model forecasts differences: of the load from the 28-day median, and of surge logits from
            the usual ones; else both themselves.
        quantiles: probabilities of the quantiles to forecast, ascending, 0.5 among them; empty is none. The same
            quantiles of each slot over the 28 days before are then known too.
    """

    history_slots: int
    horizon_slots: int
    known_future: bool
    residual: bool
    quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Makes a list, as JSON has it, a tuple."""
        object.__setattr__(self, "quantiles", tuple(self.quantiles))

    @property
    def features(self) -> int:
        """Number of features of each history slot."""
        return len(FEATURES)

    @property
    def known(self) -> int:
        """Number of features known in advance of each target slot."""
        return len(self.known_names)

    @property
    def known_names(self) -> tuple[str, ...]:
        """Names of these features, in their order."""
        calendar = tuple(FEATURES[at] for at in range(CALENDAR.start, CALENDAR.stop))
        lags = ("load_days_before", "load_weeks_before")
        quantiles = (f"quantile_{level:g}_28_days" for level in self.quantiles)
        return (*calendar, *lags, *PROFILES, *quantiles, "surge_threshold") if self.known_future else calendar


@dataclass(frozen=True)
class Batch:
    """Windows, gathered. B windows, H history slots, h target slots, K known features, Q quantiles.

    Attributes:
        history: (B, H, 11) float32, scaled.
        known: (B, h, K) float32, scaled: calendar, load a day and a week before, profiles, surge threshold.
        target: (B, h) float32: (target_kwh - base_kwh) / scale.
        target_kwh, base_kwh: (B, h) float32, kWh a slot.
        scale: (B, 1) float32, kWh: the standard deviation of the household's load in its training period.
        surge: (B, h) float32, 1 where the target lies above the household's surge threshold.
        surge_base: (B, h + 1) float32, logits that the model's are added to: see usual_surge_logits.
        usual_quantiles: (B, h, Q) float32, of the slot over the 28 days before, scaled as the target; Q may be 0.
    """

    history: Array
    known: Array
    target: Array
    target_kwh: Array
    base_kwh: Array
    scale: Array
    surge: Array
    surge_base: Array
    usual_quantiles: Array

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True)
class Shard:
    """Readings that an agent holds, cut to the rows which its windows need. N rows in S runs without a break.

    Attributes:
        settings: how its windows are cut.
        slots_per_day: 24 h in slots.
        features: (N, 11) float32, scaled.
        kwh: (N,) float32, gaps imputed.
        profiles: (N, 4 + Q) float32, columns as in PROFILES, then the settings' quantiles; 4 bytes a row for each. All
            but the share of surges in kWh.
        origins: rows of the first target slot of each window, by period.
        run_start: (S,) first row of each run, ascending.
        run_mean, run_std, run_threshold: (S,) float32, kWh: scale and surge threshold of the run's household.
    """

    settings: WindowSettings
    slots_per_day: int
    features: Array
    kwh: Array
    profiles: Array
    origins: dict[Period, Indices]
    run_start: Indices
    run_mean: Array
    run_std: Array
    run_threshold: Array

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        readings = self.features.nbytes + self.kwh.nbytes + self.profiles.nbytes
        return readings + sum(origins.nbytes for origins in self.origins.values())


def lag_days(settings: WindowSettings, slots_per_day: int) -> int:
    """The least whole number of days that reaches from every target slot back before the origin."""
    return -(-settings.horizon_slots // slots_per_day)


def lag_weeks(settings: WindowSettings, slots_per_day: int) -> int:
    """The least whole number of weeks that reaches from every target slot back before the origin."""
    return -(-settings.horizon_slots // (7 * slots_per_day))


def reach_slots(settings: WindowSettings, slots_per_day: int) -> int:
    """How far before its origin a window reads slots as such (its profiles come from further back)."""
    return max(settings.history_slots, lag_weeks(settings, slots_per_day) * 7 * slots_per_day)


def profiles(household: Household, *, shift_days: int, quantiles: Sequence[float] = ()) -> Array:
    """What is usual for each slot: see PROFILES; then the 28 days' quantiles, between two values in proportion.

    Value `t` is made of slots `t - shift_days` days, ... back to `t - shift_days - 27` days. Where none of them was
    measured the imputed values stand in; before the first `shift_days` days all is 0.

    Returns:
        (T, 4 + Q) float32. Time O(28 T log 28).
    """
    day = 1440 // household.meta.cadence_minutes
    rows = len(household.kwh)
    days = -(-rows // day)
    lead = PROFILE_DAYS - 1 + shift_days

    def by_day(values: Array) -> Array:
        grid = np.full((lead + days) * day, np.nan, np.float32)
        grid[lead * day : lead * day + rows] = values
        windows = np.lib.stride_tricks.sliding_window_view(grid.reshape(-1, day), PROFILE_DAYS, axis=0)
        return windows[:days].reshape(days * day, PROFILE_DAYS)[:rows]

    measured = by_day(np.where(household.observed, household.kwh, np.float32(np.nan)))
    imputed = by_day(household.kwh)
    result = np.zeros((rows, len(PROFILES) + len(quantiles)), np.float32)
    for days_back, median_column in ((PROFILE_DAYS, MEDIAN), (SHORT_PROFILE_DAYS, SHORT_MEDIAN)):
        recent = measured[:, -days_back:].copy()
        # Rows with nothing measured: whatever stood in for it.
        empty = np.isnan(recent).all(axis=1)
        recent[empty] = imputed[empty, -days_back:]
        recent.sort(axis=1)  # NaN goes last
        count = days_back - np.isnan(recent).sum(axis=1)
        some = np.flatnonzero(count)
        low, high = (count[some] - 1) // 2, count[some] // 2
        result[some, median_column] = (recent[some, low] + recent[some, high]) / 2
        if days_back == PROFILE_DAYS:
            result[some, MEAN] = np.nansum(recent[some], axis=1) / count[some]
            above = recent[some] > household.meta.surge_threshold_kwh
            result[some, SURGE_SHARE] = above.sum(axis=1) / count[some]
            for column, level in enumerate(quantiles, len(PROFILES)):
                place = (count[some] - 1) * level
                low = place.astype(np.int64)
                part = (place - low).astype(np.float32)
                above_low = recent[some, np.minimum(low + 1, count[some] - 1)]
                result[some, column] = recent[some, low] + part * (above_low - recent[some, low])
    return result


def window_origins(
    household: Household, blocks: Sequence[int] | None, settings: WindowSettings
) -> dict[Period, Indices]:
    """Slots at which windows start: targets all measured, in one period and, with `blocks`, in one block."""
    day = 1440 // household.meta.cadence_minutes
    rows, horizon = len(household.kwh), settings.horizon_slots
    ends = [household.slot(household.meta.train_end), household.slot(household.meta.validation_end), rows]
    gaps = np.concatenate([[0], np.cumsum(~household.observed)])
    origins = np.arange(reach_slots(settings, day), max(rows - horizon, 0) + (rows >= horizon))
    origins = origins[gaps[origins + horizon] == gaps[origins]]
    if blocks is not None:
        first, last = origins // (7 * day), (origins + horizon - 1) // (7 * day)
        origins = origins[(first == last) & np.isin(first, np.asarray(blocks, np.int64))]
    start, result = 0, {}
    for period, end in zip(PERIODS, ends, strict=True):
        end = min(max(end, start), rows)  # noqa: PLW2901
        result[period] = origins[(origins >= start) & (origins + horizon <= end)]
        start = end
    return result


def build_shard(
    parts: Sequence[tuple[Household, Sequence[int] | None]],
    settings: WindowSettings,
    periods: Sequence[Period] = PERIODS,
) -> Shard:
    """Puts an agent's parts together, keeping only the rows that windows of `periods` need.

    Args:
        parts: households, each with the numbers of the weeks whose windows are the agent's, or None for all.
        settings: how windows are cut.
        periods: the periods wanted; the others have no windows in the shard.
    """
    day = 1440 // parts[0][0].meta.cadence_minutes
    reach = reach_slots(settings, day)
    pieces: list[tuple[Household, Array, int, int]] = []
    origins: dict[Period, list[Indices]] = {period: [np.empty(0, np.int64)] for period in PERIODS}
    rows = 0
    for household, blocks in parts:
        wanted = {p: o for p, o in window_origins(household, blocks, settings).items() if p in periods and len(o)}
        if not wanted:
            continue
        usual = profiles(household, shift_days=lag_days(settings, day), quantiles=settings.quantiles)
        runs = _runs(np.concatenate(list(wanted.values())), reach, settings.horizon_slots, len(household.kwh))
        starts = np.array([start for start, _ in runs])
        at = rows + np.cumsum([0, *(stop - start for start, stop in runs)])
        for period, slots in wanted.items():
            # A window lies in the run that starts last before its history.
            run = np.searchsorted(starts, slots - reach, side="right") - 1
            origins[period].append(slots - starts[run] + at[run])
        pieces += [(household, usual, start, stop) for start, stop in runs]
        rows = int(at[-1])
    return _join(pieces, {period: np.concatenate(found) for period, found in origins.items()}, settings, day)


def shard_at(household: Household, origin: int, settings: WindowSettings) -> tuple[Shard, Indices]:
    """The rows that one window needs, whatever of its targets was measured; and its origin among them, (1,).

    Args:
        household: with rows for all target slots; what stands there as load is not looked at.
        origin: row of the first target slot, at least `reach_slots` from the start.
        settings: how windows are cut.
    """
    day = 1440 // household.meta.cadence_minutes
    reach = max(reach_slots(settings, day), (PROFILE_DAYS - 1 + lag_days(settings, day)) * day)
    start, stop = max(origin - reach, 0), origin + settings.horizon_slots
    rows = slice(start, stop)
    cut = Household(household.meta, household.features[rows], household.kwh[rows], household.observed[rows])
    usual = profiles(cut, shift_days=lag_days(settings, day), quantiles=settings.quantiles)
    at = np.array([origin - start])
    nothing = np.empty(0, np.int64)
    origins: dict[Period, Indices] = {"train": nothing, "validation": nothing, "test": at}
    return _join([(cut, usual, 0, stop - start)], origins, settings, day), at


def _runs(origins: Indices, reach: int, horizon: int, rows: int) -> list[tuple[int, int]]:
    """Longest runs of rows that some window needs, as (start, stop)."""
    edges = np.zeros(rows + 1, np.int64)
    np.add.at(edges, origins - reach, 1)
    np.add.at(edges, origins + horizon, -1)
    needed = np.concatenate([[0], np.cumsum(edges[:-1]) > 0, [0]]).astype(np.int8)
    change = np.diff(needed)
    return list(zip(np.flatnonzero(change == 1).tolist(), np.flatnonzero(change == -1).tolist(), strict=True))


def _join(
    pieces: list[tuple[Household, Array, int, int]], origins: dict[Period, Indices], settings: WindowSettings, day: int
) -> Shard:
    def column(values: list[float]) -> Array:
        return np.array(values, np.float32)

    lengths = [stop - start for _, _, start, stop in pieces]
    load = FEATURES[LOAD]
    return Shard(
        settings=settings,
        slots_per_day=day,
        features=np.concatenate(
            [np.empty((0, len(FEATURES)), np.float32), *(h.features[a:b] for h, _, a, b in pieces)]
        ),
        kwh=np.concatenate([np.empty(0, np.float32), *(h.kwh[a:b] for h, _, a, b in pieces)]),
        profiles=np.concatenate(
            [
                np.empty((0, len(PROFILES) + len(settings.quantiles)), np.float32),
                *(p[a:b] for _, p, a, b in pieces),
            ]
        ),
        origins=origins,
        run_start=np.cumsum([0, *lengths])[:-1].astype(np.int64),
        run_mean=column([h.meta.scales[load].mean for h, *_ in pieces]),
        run_std=column([h.meta.scales[load].std for h, *_ in pieces]),
        run_threshold=column([h.meta.surge_threshold_kwh for h, *_ in pieces]),
    )


def gather(shard: Shard, origins: Indices) -> Batch:
    """Makes the windows that start at `origins` (rows of the shard): see Batch for the shapes."""
    settings = shard.settings
    run = np.searchsorted(shard.run_start, origins, side="right") - 1
    mean, std = shard.run_mean[run, None], shard.run_std[run, None]
    slots = origins[:, None] + np.arange(settings.horizon_slots)
    target_kwh = shard.kwh[slots]
    usual = shard.profiles[slots]
    base_kwh = usual[..., MEDIAN] if settings.residual else np.broadcast_to(mean, slots.shape)
    surge_base = usual_surge_logits(usual[..., SURGE_SHARE])
    return Batch(
        history=np.take(shard.features, origins[:, None] + np.arange(-settings.history_slots, 0), axis=0),
        known=_known(shard, slots, usual, (mean, std, shard.run_threshold[run, None]))
        if settings.known_future
        else shard.features[slots, CALENDAR],
        target=(target_kwh - base_kwh) / std,
        target_kwh=target_kwh,
        base_kwh=base_kwh,
        scale=std,
        surge=(target_kwh > shard.run_threshold[run, None]).astype(np.float32),
        surge_base=surge_base if settings.residual else np.zeros_like(surge_base),
        usual_quantiles=(usual[..., len(PROFILES) :] - base_kwh[..., None]) / std[..., None],
    )


def usual_surge_logits(share: Array) -> Array:
    """How likely a surge usually is: of each slot, then of any slot of the horizon, as if slots were independent.

    Args:
        share: (B, h) share of the days before on which the slot was a surge.

    Returns:
        (B, h + 1) float32 logits. Half a day of each kind is added, so that what never happened stays possible.
    """
    slots = np.concatenate([share, 1 - np.prod(1 - share, axis=1, keepdims=True)], axis=1)
    half_day = np.float32(0.5 / PROFILE_DAYS)
    logits: Array = np.log((slots + half_day) / (1 - slots + half_day))
    return logits


def _known(shard: Shard, slots: Indices, usual: Array, scales: tuple[Array, Array, Array]) -> Array:
    settings, day = shard.settings, shard.slots_per_day
    mean, std, threshold = scales
    known = np.empty((*slots.shape, settings.known), np.float32)
    calendar = CALENDAR.stop - CALENDAR.start
    known[..., :calendar] = shard.features[slots, CALENDAR]
    known[..., calendar] = shard.features[slots - lag_days(settings, day) * day, LOAD]
    known[..., calendar + 1] = shard.features[slots - lag_weeks(settings, day) * 7 * day, LOAD]
    profile = known[..., calendar + 2 : -1]
    profile[...] = usual
    for in_kwh in (slice(SURGE_SHARE), slice(SURGE_SHARE + 1, None)):
        profile[..., in_kwh] -= mean[..., None]
        profile[..., in_kwh] /= std[..., None]
    known[..., -1] = (threshold - mean) / std
    return known
