"""Clipping: lengths, directions, factors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogrid.fl.clip import ClipSettings, clip, tensor_norms
from neurogrid.fl.spec import Span, Spec

SPEC = Spec((Span("a", (2, 3), 0, 6), Span("b", (1,), 6, 7), Span("c", (20,), 7, 27)))
TO_MEDIAN_TENSOR = ClipSettings("median", "tensor", 1.0)
TO_MEDIAN_UPDATE = ClipSettings("median", "update", 1.0)


def draw(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    lengths = 10.0 ** rng.uniform(-4, 4, (n, 1))
    return (rng.standard_normal((n, SPEC.size)) * lengths).astype(np.float32)


def clipped(deltas: np.ndarray, settings: ClipSettings) -> tuple[np.ndarray, np.ndarray]:
    result = deltas.copy()
    factors = clip(result, tensor_norms(deltas, SPEC), SPEC, settings)
    return result, factors


def whole(deltas: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(deltas.astype(np.float64)).sum(axis=1))


@given(st.integers(0, 10**6), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_norms_are_those_of_each_tensor(seed, n):
    deltas = draw(n, seed)
    expected = [np.linalg.norm(deltas[:, s.start : s.stop].astype(np.float64), axis=1) for s in SPEC.spans]
    np.testing.assert_allclose(tensor_norms(deltas, SPEC), np.stack(expected, axis=1), rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_norm_is_finite_exactly_when_every_entry_is(bad):
    deltas = np.full((3, SPEC.size), 3e38, np.float32)
    deltas[1, 10] = bad
    norms = tensor_norms(deltas, SPEC)
    assert np.isfinite(norms).tolist() == [[True] * 3, [True, True, False], [True] * 3]


@given(st.integers(0, 10**6), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_no_tensor_is_longer_than_the_rounds_median_and_directions_are_kept(seed, n):
    deltas = draw(n, seed)
    before = tensor_norms(deltas, SPEC)
    limits = np.median(before, axis=0)
    result, factors = clipped(deltas, TO_MEDIAN_TENSOR)
    after = tensor_norms(result, SPEC)
    assert (after <= limits * (1 + 1e-6)).all()
    for k, span in enumerate(SPEC.spans):
        one, other = deltas[:, span.start : span.stop].astype(float), result[:, span.start : span.stop].astype(float)
        np.testing.assert_allclose(one * (after[:, k] / before[:, k])[:, None], other, rtol=1e-4, atol=1e-30)
        short = before[:, k] <= limits[k]
        assert (result[short, span.start : span.stop] == deltas[short, span.start : span.stop]).all()
    np.testing.assert_allclose(factors, whole(result) / whole(deltas), rtol=1e-5)


@given(st.integers(0, 10**6), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_no_update_is_longer_than_the_rounds_median_and_all_tensors_shrink_alike(seed, n):
    deltas = draw(n, seed)
    result, factors = clipped(deltas, TO_MEDIAN_UPDATE)
    limit = np.median(whole(deltas))
    assert (whole(result) <= limit * (1 + 1e-6)).all()
    np.testing.assert_allclose(factors, np.minimum(1, limit / whole(deltas)), rtol=1e-6)
    np.testing.assert_allclose(result, deltas * factors[:, None], rtol=1e-5)


def test_a_small_update_that_sits_in_one_small_tensor_is_cut_only_per_tensor():
    deltas = np.random.default_rng(0).standard_normal((9, SPEC.size)).astype(np.float32)
    deltas[0] = 0
    deltas[0, 6] = 4
    per_update, _ = clipped(deltas, TO_MEDIAN_UPDATE)
    per_tensor, _ = clipped(deltas, TO_MEDIAN_TENSOR)
    assert per_update[0, 6] == 4
    assert per_tensor[0, 6] == pytest.approx(np.median(np.abs(deltas[:, 6])))


@pytest.mark.parametrize("settings", [TO_MEDIAN_TENSOR, TO_MEDIAN_UPDATE])
def test_an_absurdly_long_update_is_cut_to_the_median_too(settings):
    deltas = np.random.default_rng(0).standard_normal((9, SPEC.size)).astype(np.float32) * np.float32(1e-6)
    deltas[0] = 3.4e38
    limits = np.median(tensor_norms(deltas, SPEC), axis=0)
    result, _ = clipped(deltas, settings)
    if settings.per == "tensor":
        np.testing.assert_allclose(tensor_norms(result, SPEC)[0], limits, rtol=1e-6)
    else:
        assert whole(result)[0] == pytest.approx(np.median(whole(deltas)), rel=1e-6)


def test_a_fixed_norm_is_the_limit_whatever_the_others_sent():
    deltas = draw(6)
    result, _ = clipped(deltas, ClipSettings("fixed", "update", 0.5))
    np.testing.assert_allclose(whole(result), np.minimum(whole(deltas), 0.5), rtol=1e-6)


def test_clipping_to_none_changes_no_bit():
    deltas = draw(6)
    result, factors = clipped(deltas, ClipSettings("none", "tensor", 1.0))
    assert result.tobytes() == deltas.tobytes()
    assert (factors == 1).all()


def test_nothing_is_divided_by_the_length_of_an_update_of_zeros():
    deltas = draw(5)
    deltas[2] = 0
    result, factors = clipped(deltas, TO_MEDIAN_TENSOR)
    assert factors[2] == 1
    assert not result[2].any()


def test_a_tensor_that_most_agents_left_alone_is_changed_by_nobody():
    deltas = draw(5)
    deltas[:3, 6] = 0
    result, _ = clipped(deltas, TO_MEDIAN_TENSOR)
    assert not result[:, 6].any()
