import dataclasses
import warnings
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogrid.data.household import FEATURES, Household, HouseholdMeta, Scale
from neurogrid.workloads.meters.windows import (
    PERIODS,
    SURGE_SHARE,
    WindowSettings,
    build_shard,
    gather,
    lag_days,
    profiles,
    reach_slots,
    usual_surge_logits,
    window_origins,
)

SETTINGS = WindowSettings(history_slots=12, horizon_slots=4, known_future=True, residual=True)


def make_household(days: int, seed: int, *, cadence_minutes: int = 60, gaps: float = 0.05) -> Household:
    random = np.random.default_rng(seed)
    rows = days * 1440 // cadence_minutes + 5
    kwh = random.gamma(2, 0.2, rows).astype(np.float32)
    observed = random.random(rows) >= gaps
    first = datetime(2024, 1, 1, 3, tzinfo=UTC)
    slot = timedelta(minutes=cadence_minutes)
    features = random.normal(size=(rows, len(FEATURES))).astype(np.float32)
    features[:, 0] = (kwh - 0.4) / 0.3
    meta = HouseholdMeta(
        household_id=f"h{seed}",
        weather_id="none",
        cadence_minutes=cadence_minutes,
        first=first,
        last=first + (rows - 1) * slot,
        rows=rows,
        observed=int(observed.sum()),
        train_end=first + int(rows * 0.6) * slot,
        validation_end=first + int(rows * 0.8) * slot,
        scales={"kWh_received_Total": Scale(0.4, 0.3)},
        surge_threshold_kwh=0.9,
    )
    return Household(meta, features, kwh, observed)


def inputs_of(household: Household, window: WindowSettings) -> dict[int, tuple[np.ndarray, ...]]:
    """Inputs of every window by its origin's slot, whatever the shard's own rows are."""
    shard = build_shard([(household, None)], window)
    found = {}
    original = window_origins(household, None, window)
    for period in PERIODS:
        batch = gather(shard, shard.origins[period])
        for row, origin in enumerate(original[period]):
            found[int(origin)] = (batch.history[row], batch.known[row], batch.base_kwh[row], batch.scale[row])
    return found


@given(seed=st.integers(0, 50), at=st.floats(0, 1), horizon=st.sampled_from([1, 4, 24, 30]))
@settings(max_examples=25, deadline=None)
def test_no_input_of_a_window_depends_on_a_reading_at_or_after_its_origin(seed: int, at: float, horizon: int) -> None:
    window = dataclasses.replace(SETTINGS, horizon_slots=horizon)
    household = make_household(40, seed)
    before = inputs_of(household, window)
    changed_from = int(at * (len(household.kwh) - 1))
    # Calendar features are known in advance, so only the load, the weather and the gap marks change.
    readings = [0, *range(6, len(FEATURES))]
    features = household.features.copy()
    features[changed_from:, readings] += 100
    kwh = household.kwh.copy()
    kwh[changed_from:] += 100
    after = inputs_of(dataclasses.replace(household, features=features, kwh=kwh), window)
    early = [origin for origin in before if origin <= changed_from]
    assert set(before) == set(after)
    for origin in early:
        for old, new in zip(before[origin], after[origin], strict=True):
            np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("shift_days", [1, 2])
def test_profiles_are_what_a_slow_loop_over_days_gives(shift_days: int) -> None:
    household = make_household(45, 7, cadence_minutes=120, gaps=0.3)
    household.observed[150:520] = False  # longer than 28 days
    found, day = profiles(household, shift_days=shift_days), 12
    measured = pd.Series(household.kwh.astype(float)).where(household.observed)
    for slot in range(shift_days * day, len(household.kwh)):
        for days, column in ((28, 0), (7, 2)):
            back = [slot - day * k for k in range(shift_days, shift_days + days) if slot - day * k >= 0]
            values = measured.iloc[back].dropna()
            if values.empty:
                values = pd.Series(household.kwh[back].astype(float))
            assert found[slot, column] == pytest.approx(values.median(), abs=1e-6)
            if days == 28:
                assert found[slot, 1] == pytest.approx(values.mean(), abs=1e-6)
                assert found[slot, SURGE_SHARE] == pytest.approx((values > 0.9).mean(), abs=1e-6)
    assert not found[: shift_days * day].any()


@given(seed=st.integers(0, 50), horizon=st.integers(1, 30), gaps=st.floats(0, 0.3), block=st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_targets_are_measured_and_lie_in_one_period_and_one_block(
    seed: int, horizon: int, gaps: float, block: int
) -> None:
    household = make_household(45, seed, gaps=gaps)
    window = dataclasses.replace(SETTINGS, horizon_slots=horizon)
    ends = [household.slot(household.meta.train_end), household.slot(household.meta.validation_end), 45 * 24 + 5]
    for blocks in (None, (block, 3)):
        found = window_origins(household, blocks, window)
        every = 0
        for period, start, end in zip(PERIODS, [0, *ends], ends, strict=False):
            expected = [
                origin
                for origin in range(max(start, reach_slots(window, 24)), end - horizon + 1)
                if household.observed[origin : origin + horizon].all()
                and (blocks is None or (origin // 168 == (origin + horizon - 1) // 168 and origin // 168 in blocks))
            ]
            assert found[period].tolist() == expected
            every += len(expected)
        shard = build_shard([(household, blocks)], window)
        assert sum(map(len, shard.origins.values())) == every
        for period in PERIODS:
            rows = found[period][:, None] + np.arange(horizon)
            np.testing.assert_array_equal(gather(shard, shard.origins[period]).target_kwh, household.kwh[rows])


def test_a_shard_of_several_parts_gives_each_window_its_own_households_scale_and_readings() -> None:
    one, two = make_household(40, 1), make_household(50, 2)
    two = dataclasses.replace(
        two,
        meta=dataclasses.replace(two.meta, scales={"kWh_received_Total": Scale(1.0, 2.0)}, surge_threshold_kwh=0.5),
    )
    parts = [(one, (2, 4)), (two, (1, 3))]
    shard = build_shard(parts, SETTINGS)
    alone = [build_shard([part], SETTINGS) for part in parts]
    for period in PERIODS:
        together = gather(shard, shard.origins[period])
        apart = [gather(single, single.origins[period]) for single in alone]
        for name in ("history", "known", "target", "target_kwh", "base_kwh", "scale", "surge", "surge_base"):
            np.testing.assert_array_equal(
                getattr(together, name), np.concatenate([getattr(batch, name) for batch in apart])
            )
    assert len(shard.kwh) < 0.8 * (len(one.kwh) + len(two.kwh))  # only the rows that its windows need


def test_a_shard_without_the_test_period_holds_no_reading_of_it() -> None:
    household = make_household(40, 3)
    shard = build_shard([(household, None)], SETTINGS, ("train", "validation"))
    assert not len(shard.origins["test"])
    assert len(shard.kwh) <= household.slot(household.meta.validation_end)


def test_a_household_too_short_for_one_window_has_none() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shard = build_shard([(make_household(5, 4), None)], SETTINGS)
    assert not any(map(len, shard.origins.values()))


@pytest.mark.parametrize(
    ("cadence", "horizon", "days"), [(30, 48, 1), (30, 49, 2), (15, 96, 1), (15, 97, 2), (60, 4, 1)]
)
def test_lags_reach_back_before_the_origin_at_any_cadence(cadence: int, horizon: int, days: int) -> None:
    window = dataclasses.replace(SETTINGS, horizon_slots=horizon)
    assert lag_days(window, 1440 // cadence) == days


@pytest.mark.parametrize("known_future", [True, False])
@pytest.mark.parametrize("residual", [True, False])
def test_scaled_target_and_base_give_the_load_back(known_future: bool, residual: bool) -> None:
    window = dataclasses.replace(SETTINGS, known_future=known_future, residual=residual)
    shard = build_shard([(make_household(40, 5), None)], window)
    batch = gather(shard, shard.origins["train"])
    assert batch.known.shape == (len(batch), 4, window.known)
    np.testing.assert_allclose(batch.base_kwh + batch.scale * batch.target, batch.target_kwh, atol=1e-5)
    np.testing.assert_array_equal(batch.surge, batch.target_kwh > np.float32(0.9))
    assert batch.surge_base.shape == (len(batch), 5)
    assert batch.surge_base.any() == residual


def test_usual_surges_are_those_of_the_28_days_before_and_none_is_impossible() -> None:
    found = usual_surge_logits(np.array([[0, 0], [0.5, 0.5], [1, 0]], np.float32))
    said = 1 / (1 + np.exp(-found.astype(np.float64)))
    half = 0.5 / 28
    whole = 1 + 2 * half
    expected = np.array([[0, 0, 0], [0.5, 0.5, 0.75], [1, 0, 1]])
    np.testing.assert_allclose(said, (expected + half) / whole, rtol=1e-5)
