"""Rules that weigh whole updates, beside byzfl's and beside what they promise; and Bulyan, beside a slow one."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from neurogrid.fl import weighing
from neurogrid.fl.aggregate import Aggregate, average
from neurogrid.fl.rules import Rule, bulyan
from neurogrid.fl.weighing import caf, centred_clipping, geometric_median

SHAPES = [(9, 3, 7), (15, 3, 500), (11, 4, 64), (25, 1, 30)]
WEIGHING = [caf, geometric_median, centred_clipping]


def draw(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def mean(rule: Rule, deltas: np.ndarray, f: int) -> Aggregate:
    return average(rule(deltas, f), np.ones(len(deltas)), np.zeros(len(deltas), np.int64))


def greatest_direction(d: int) -> np.ndarray:
    """What byzfl's CAF draws at random, found: one power iteration from it then gives the eigenvector itself."""
    caller = sys._getframe(1).f_locals
    rows = np.sqrt(caller["c"])[:, None] * caller["diffs"]
    return np.linalg.svd(rows, full_matrices=False)[2][0]


@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
@pytest.mark.parametrize("exact_rows", [weighing.EXACT_ROWS, 2])
def test_the_covariance_filter_gives_what_byzfl_gives_from_the_true_direction(byzfl, monkeypatch, n, f, d, exact_rows):
    monkeypatch.setattr(weighing, "EXACT_ROWS", exact_rows)
    deltas = draw(n, d, seed=n * d)
    deltas[-f:] = deltas[-f:] * 1.5 + 1
    monkeypatch.setattr(np.random, "randn", greatest_direction)
    expected = byzfl.CAF(f)(deltas.astype(np.float64))
    np.testing.assert_allclose(mean(caf, deltas, f).delta, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
def test_the_geometric_median_is_where_byzfls_iterations_end(byzfl, n, f, d):
    deltas = draw(n, d, seed=n * d)
    deltas[-f:] *= 30
    expected = byzfl.GeometricMedian(nu=1e-6, T=2000)(deltas.astype(np.float64))
    np.testing.assert_allclose(mean(geometric_median, deltas, f).delta, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
def test_centred_clipping_is_byzfls_with_the_median_distance_as_radius(byzfl, n, f, d):
    deltas = draw(n, d, seed=n * d)
    deltas[-f:] *= 30
    rows = deltas.astype(np.float64)
    apart = np.linalg.norm(rows[:, None] - rows, axis=2)
    centre = rows[np.argmin(np.median(apart, axis=1))]
    for _ in range(20):
        theirs = byzfl.CenteredClipping(L=1, tau=float(np.median(np.linalg.norm(rows - centre, axis=1))))
        theirs.m = centre
        with np.errstate(divide="ignore"):  # the first centre is a row
            centre = theirs(rows)
    np.testing.assert_allclose(mean(centred_clipping, deltas, f).delta, centre, rtol=1e-5, atol=1e-5)


def test_bulyan_is_that_of_a_loop_over_coordinates():
    n, f, d = 15, 3, 40
    deltas = draw(n, d).astype(np.float64)
    deltas[-f:] += 4
    apart = np.square(deltas[:, None] - deltas).sum(axis=2)
    krum = [sorted(row)[1 : n - f] for row in apart]
    chosen = sorted(range(n), key=lambda i: sum(krum[i]))[: n - 2 * f]
    expected = []
    for column in deltas[chosen].T:
        middle = np.median(column)
        expected.append(np.mean(sorted(column, key=lambda value: abs(value - middle))[: n - 4 * f]))
    np.testing.assert_allclose(mean(bulyan, deltas.astype(np.float32), f).delta, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", [*WEIGHING, bulyan])
@pytest.mark.parametrize("value", [0.0, 0.3, 1e30])
def test_updates_that_are_all_the_same_give_that_update(rule, value):
    deltas = np.full((15, 12), np.float32(value))
    np.testing.assert_allclose(mean(rule, deltas, 3).delta, deltas[0], rtol=1e-6)


@pytest.mark.parametrize("rule", [*WEIGHING, bulyan])
def test_one_row_of_the_greatest_numbers_moves_the_mean_no_further_than_the_honest_ones_reach(rule):
    deltas = draw(15, 30)
    deltas[4] = 3e38
    honest = np.delete(deltas, 4, axis=0).astype(np.float64)
    found = mean(rule, deltas, 3)
    assert np.isfinite(found.delta).all()
    assert np.linalg.norm(found.delta) <= np.linalg.norm(honest, axis=1).max()
    assert not found.accepted[4]


@pytest.mark.parametrize("rule", WEIGHING)
def test_with_the_fewest_agents_that_it_needs_a_rule_stands_by_the_many(rule):
    deltas = draw(7, 20) * 0.1 + 1
    deltas[:3] = -50
    assert np.abs(mean(rule, deltas, 3).delta - 1).max() < (1 if rule is not caf else 0.5)


@given(seed=st.integers(0, 10**6), tied=st.booleans(), shift=st.floats(-3, 3), rule=st.sampled_from(WEIGHING))
@settings(max_examples=40, deadline=None)
def test_neither_the_order_of_agents_nor_the_origin_matters(seed, tied, shift, rule):
    rng = np.random.default_rng(seed)
    deltas = draw(13, 20, seed)
    deltas[:3] += 3
    if tied:
        deltas[3:8] = deltas[3]
    order = rng.permutation(13)
    one, other = mean(rule, deltas, 3), mean(rule, deltas[order], 3)
    np.testing.assert_allclose(one.delta, other.delta, atol=1e-4)
    moved = mean(rule, (deltas + np.float32(shift)).astype(np.float32), 3)
    np.testing.assert_allclose(moved.delta, one.delta + np.float32(shift), atol=1e-3)


def test_directions_that_vary_alike_are_looked_at_together():
    # Four far rows, each in a direction of its own: whichever comes first, none is favoured.
    deltas = np.zeros((15, 15), np.float32)
    np.fill_diagonal(deltas[:4], 5)
    kept = caf(deltas, 4).kept
    assert np.ptp(kept[:4]) < 1e-6
    assert (kept[4:] > 0.9).all()
    assert (kept[:4] < 1e-6).all()


@pytest.mark.parametrize("rule", [*WEIGHING, bulyan])
def test_many_updates_give_the_same_bits_with_one_and_two_threads(rule, monkeypatch):
    deltas, found = draw(300, 600), set()
    for threads in (1, 2):
        monkeypatch.setattr("neurogrid.fl.threads._cores", lambda threads=threads: threads)
        with threadpool_limits(threads):
            result = mean(rule, deltas, 60)
        found.add((result.delta.tobytes(), result.scores.tobytes()))
    assert len(found) == 1
