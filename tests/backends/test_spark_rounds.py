"""Resident Spark tasks: the same results as inline, whatever single agents do."""

import time

import numpy as np
import pytest
from numpy_trainer import AGENTS, SETTINGS, D, Numpy, assert_same, expected, plan, run, wait_for

from neurogrid.backends.inline import InlineBackend
from neurogrid.backends.spark import SparkBackend
from neurogrid.fl.collect import Inbox, score


@pytest.fixture(scope="module")
def backend(spark):
    with SparkBackend(spark, Numpy(), D, SETTINGS) as backend:
        yield backend


def test_evaluation_gives_the_same_losses_as_inline_and_leaves_out_agents_that_fail(backend):
    agents, weights = ("A1", "raises", "A2", "A3"), np.ones(D, np.float32)
    with InlineBackend(Numpy()) as inline:
        reference = score(Inbox(inline), agents, 1, weights, 30.0)
    losses = score(Inbox(backend), agents, 1, weights, 30.0)
    assert losses == reference
    assert list(losses) == ["A1", "A2", "A3"]


def test_agents_that_fail_or_send_the_wrong_shape_cost_their_update_and_nothing_else(backend):
    each = plan(4, (*AGENTS[:3], "raises", "short", "nan", *AGENTS[3:]))
    result = run(backend, each)
    (reference,) = expected(each)
    assert_same(result, reference)
    assert result.missing == reference.missing
    assert set(result.missing) == {"raises", "short"}
    assert np.isnan(result.deltas[3, 1])


def test_a_late_agent_costs_its_own_update_and_its_late_answer_changes_nothing(backend):
    run(backend, plan(2))  # agents are quick, so they are dealt out many at a time
    began = time.monotonic()
    result = run(backend, plan(1, ("slow", *AGENTS), timeout_s=2.0))
    assert time.monotonic() - began < 3.5
    assert result.missing == {"slow": "late"}
    (reference,) = expected(plan(1))
    assert_same(result, reference)
    plans = [plan(round_number, ("slow", *AGENTS)) for round_number in (2, 3, 4)]
    for each, reference in zip(plans, expected(*plans), strict=True):
        assert_same(run(backend, each), reference)
        time.sleep(0.5)
    wait_for(lambda: backend.tasks == 2)


def test_a_round_of_1000_agents_comes_back_whole_and_in_order(backend):
    each = plan(5, [f"A{i:04d}" for i in range(1000)])
    began = time.monotonic()
    result = run(backend, each)
    assert time.monotonic() - began < 10
    (reference,) = expected(each)
    assert_same(result, reference)


def test_a_plan_without_agents_is_a_round_without_updates(backend):
    result = run(backend, plan(6, ()))
    assert result.updates == ()
    assert result.deltas.shape == (0, D)
