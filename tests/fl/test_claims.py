"""What agents and tasks say of themselves: taken, bounded or refused, and never raising."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurogrid.fl import lost
from neurogrid.fl.claims import MOST_REASON, Claims, Refusal, claims, count, host, reason, seconds
from neurogrid.fl.panel import held_out_loss
from neurogrid.fl.update import Phases, RoundResult, Update


class Hostile(dict):
    def get(self, key, default=None):
        raise RuntimeError


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**400, -(10**400), np.float32(1), np.int64(3), np.nan, Hostile(), b"", 1j]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["loss", "train_s", "x", ""]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(ANYTHING, ANYTHING | st.dictionaries(st.sampled_from(["loss", "train_s", "x"]), ANYTHING))
def test_whatever_is_claimed_is_bounded_or_refused(windows, metrics):
    found = claims(windows, metrics)
    if isinstance(found, Refusal):
        assert 0 < len(found.reason) <= MOST_REASON
        return
    assert 0 <= found.windows < 2**31
    assert type(found.windows) is int
    assert set(found.metrics) <= {"loss", "train_s"}
    for name, value in found.metrics.items():
        assert type(value) is float
        assert math.isfinite(value)
        assert abs(value) <= 1e12
        assert name != "train_s" or 0 <= value <= 1e7


def test_figures_that_are_not_finite_or_beyond_their_bounds_say_nothing():
    said = {"loss": math.nan, "train_s": -5.0, "other": "anything", "accuracy": 1.0}
    assert claims(5, said) == Claims(5, {})
    assert claims(np.int64(5), {"loss": np.float32(0.5), "train_s": 1e308}) == Claims(5, {"loss": 0.5})
    assert claims(5.0, {"loss": 10**400, "train_s": 2}) == Claims(5, {"train_s": 2.0})


@pytest.mark.parametrize(
    ("windows", "metrics", "why"),
    [
        (-1, {}, "claims -1 windows"),
        (2**31, {}, "claims 2147483648 windows"),
        (10**400, {}, "claims 1000"),
        (True, {}, "claims True windows"),
        ("many", {}, "claims many windows"),
        (1.5, {}, "claims 1.5 windows"),
        (5, [], "wrong shape: metrics is list, not a mapping"),
        (5, {"loss": "low"}, "wrong shape: metric loss is str, not a number"),
        (5, {"loss": True}, "wrong shape: metric loss is bool, not a number"),
        (5, Hostile(), "wrong shape: its claims cannot be read: RuntimeError"),
    ],
)
def test_what_is_no_claim_is_refused_with_the_reason(windows, metrics, why):
    found = claims(windows, metrics)
    assert isinstance(found, Refusal)
    assert found.reason.startswith(why)
    assert len(found.reason) < 100


def test_single_values_have_bounds():
    assert [seconds(x) for x in (0, 1e7, 1e-320, -0.1, 1e7 + 1, math.nan, math.inf, "1", True, 10**400)] == [
        0.0,
        1e7,
        1e-320,
        *[None] * 7,
    ]
    assert [count(x, 9) for x in (0, 9, 3.0, 10, -1, 0.5, math.inf, math.nan, None)] == [0, 9, 3, *[None] * 6]
    names = ("exec-1", "10.0.0.1", "a", "x/../../services/api", "", "-a", "a" * 254, 5)
    assert [host(x) for x in names] == ["exec-1", "10.0.0.1", "a", *[None] * 5]
    assert reason("a\n  b\x00\x1b[31m") == "a b[31m"
    assert len(reason("x " * 10**6)) <= MOST_REASON


def scores(*losses, windows=5):
    return {f"A{i}": Claims(windows, {} if loss is None else {"loss": loss}) for i, loss in enumerate(losses)}


def test_the_held_out_loss_of_an_honest_panel_is_the_mean():
    assert held_out_loss(scores(0.1, 0.5, 0.9, 3.0), 4) == (0.1 + 0.5 + 0.9 + 3.0) / 4


def test_a_part_of_the_panel_says_nothing_and_who_has_no_windows_has_answered():
    assert math.isnan(held_out_loss(scores(1.0, 1.0), 4))
    assert math.isnan(held_out_loss(scores(1.0, 1.0, None, None), 4))
    assert held_out_loss(scores(1.0, 1.0, 1.0), 4) == 1.0
    assert held_out_loss({**scores(1.0, 3.0), "B": Claims(0, {})}, 4) == 2.0
    assert math.isnan(held_out_loss({}, 0))


@pytest.mark.parametrize("lie", [-1e12, 1e12, 1e3])
def test_an_agent_of_the_panel_that_says_the_impossible_is_not_heard(lie):
    assert held_out_loss(scores(1.0, 2.0, 3.0, lie), 4) == 2.0


def result(answered, risky):
    updates = tuple(Update(agent, np.zeros(1, np.float32), 1, {}) for agent in answered)
    return RoundResult(updates, np.zeros((len(updates), 1)), {}, Phases(0, 0, 0), risky=frozenset(risky))


def test_an_agent_that_is_a_risk_twice_is_left_alone_for_ten_rounds_and_gets_another_chance():
    slot = lost.after_round({}, result("B", "A"), 3)
    assert slot == {"A": [3]}
    assert lost.attempts(slot) == {"A": 1}
    assert lost.left_alone(slot, 4) == frozenset()
    slot = lost.after_round(slot, result("B", "A"), 4)
    assert [lost.left_alone(slot, number) for number in (5, 14, 15)] == [{"A"}, {"A"}, frozenset()]
    assert lost.after_round(slot, result("AB", ""), 15) == {}
    assert lost.after_round(slot, result("B", "A"), 15) == {"A": [4, 15]}


def test_a_share_is_from_0_to_1() -> None:
    found = claims(3, {"share_personal": 0.25, "share_usual": -0.1, "share_alone": 1e9, "loss_personal": 5.0})
    assert isinstance(found, Claims)
    assert found.metrics == {"share_personal": 0.25, "loss_personal": 5.0}
