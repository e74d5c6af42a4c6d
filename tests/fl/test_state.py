"""A state: what may be in its slots, and that nobody sees another one after a resume than before it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurogrid.fl.state import Progress, State

START = State.start(np.ones(3, np.float32))


def test_a_state_begins_with_its_weights_and_nothing_done():
    assert START.round == 0
    assert START.weights.tolist() == [1, 1, 1]
    assert START.array("server/momentum").tolist() == [0, 0, 0]
    assert START.progress == Progress()
    assert START.json("lost/agents") == {}


def test_another_slot_leaves_the_state_it_was_made_from_as_it_was():
    after = START.with_({"lost/agents": {"A1": 2}}, round=1)
    assert (after.round, after.json("lost/agents"), after.weights is START.weights) == (1, {"A1": 2}, True)
    assert (START.round, START.json("lost/agents")) == (0, {})


def test_a_value_is_what_a_checkpoint_would_give_back_and_no_longer_the_callers():
    given = {"A1": (1, 2.5)}
    state = START.with_({"select/history": given})
    given["A1"] = (9,)
    assert state.json("select/history") == {"A1": [1, 2.5]}


@pytest.mark.parametrize(
    ("slot", "error"),
    [
        (np.ones(2, np.float16), TypeError),
        (np.array(["a"]), TypeError),
        ({"loss": math.nan}, ValueError),
        ([math.inf], ValueError),
        (object(), TypeError),
    ],
)
def test_what_a_checkpoint_could_not_hold_is_refused_when_it_is_put_in(slot, error):
    with pytest.raises(error):
        START.with_({"other": slot})


def test_progress_comes_back_from_its_slot_and_what_is_not_finite_is_not_measured():
    progress = Progress().after(0.1, math.inf, void=True, patience=9).after(math.nan, 0.2, void=True, patience=9)
    back = Progress.of(START.with_({"progress": progress.to_json()}).json("progress"))
    assert (repr(back.held_out), repr(back.relative_updates)) == ("(0.1, nan)", "(nan, 0.2)")
    assert (back.void_in_a_row, back.best_earlier) == (2, math.inf)
    assert back.after(0.3, 0.1, void=False, patience=9).void_in_a_row == 0


@given(st.lists(st.one_of(st.just(math.nan), st.floats(-5, 5)), max_size=20), st.integers(1, 6))
def test_progress_does_not_grow_with_the_rounds_and_forgets_nothing_that_stopping_depends_on(losses, patience):
    whole, bounded = Progress(), Progress()
    for loss in losses:
        whole = whole.after(loss, 0.1, void=False, patience=len(losses))
        bounded = bounded.after(loss, 0.1, void=False, patience=patience)
        assert repr(bounded.held_out) == repr(whole.held_out[-patience:])
        assert bounded.best_before(patience) == whole.best_before(patience)
        bounded = Progress.of(bounded.to_json())
    assert len(bounded.held_out) <= patience
    finite = [loss for loss in losses[:-patience] if math.isfinite(loss)]
    assert bounded.best_before(patience) == min(finite, default=math.inf)


def test_a_run_from_before_progress_was_bounded_goes_on_from_all_its_rounds():
    old = {"held_out": [3.0, 1.0, None, 2.0], "relative_updates": [0.1] * 4, "void_in_a_row": 0}
    after = Progress.of(old).after(2.5, 0.1, void=False, patience=2)
    assert (after.held_out, after.best_earlier) == ((2.0, 2.5), 1.0)
