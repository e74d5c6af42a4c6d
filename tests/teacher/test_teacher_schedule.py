import math

import numpy as np
import pytest
import small_teacher
from hypothesis import given
from hypothesis import strategies as st

from neurogrid.errors import UsageError
from neurogrid.teacher.schedule import best_epoch, epoch_windows, learning_rate, steps_an_epoch, stop_reason

ORIGINS = np.arange(1000, 1100)


@pytest.mark.parametrize(("kind", "half"), [("cosine", 0.55), ("linear", 0.55), ("constant", 1.0)])
def test_the_rate_rises_over_the_warm_up_and_falls_by_its_schedule(kind: str, half: float) -> None:
    wanted = small_teacher.settings(schedule=kind, warmup_share=0.1, learning_rate=2.0, final_learning_rate_share=0.1)
    rates = [learning_rate(wanted, step, 1111) for step in range(1111)]
    assert rates[0] == pytest.approx(2.0 / 111)
    assert rates[110] == pytest.approx(2.0)
    assert rates[111] == pytest.approx(2.0)
    assert rates[611] == pytest.approx(2.0 * half, rel=1e-2)
    assert rates[-1] == pytest.approx(2.0 if kind == "constant" else 0.2)
    assert max(np.diff(rates[111:])) <= 1e-12


def test_an_epoch_shows_a_window_again_only_when_all_were_shown() -> None:
    wanted = small_teacher.settings(batch_size=40, accumulation=2)
    chosen = epoch_windows(ORIGINS, wanted, 1, 0, 5)
    assert chosen.shape == (5, 2, 10)
    assert sorted(chosen.ravel()) == ORIGINS.tolist()
    longer = epoch_windows(ORIGINS, wanted, 1, 0, 12).ravel()
    assert {np.count_nonzero(longer == origin) for origin in ORIGINS} == {2, 3}
    assert len(set(longer[200:])) == 40


def test_windows_are_drawn_by_seed_epoch_and_rank() -> None:
    wanted = small_teacher.settings()
    first = epoch_windows(ORIGINS, wanted, 1, 0, 3)
    assert np.array_equal(first, epoch_windows(ORIGINS, wanted, 1, 0, 3))
    others = [(wanted, 2, 0), (wanted, 1, 1), (small_teacher.settings(seed=2), 1, 0)]
    assert not any(np.array_equal(first, epoch_windows(ORIGINS, s, e, r, 3)) for s, e, r in others)


def test_an_epoch_has_as_many_steps_as_its_windows_fill_batches() -> None:
    assert steps_an_epoch(small_teacher.settings(batch_size=64), 6400) == 100
    assert steps_an_epoch(small_teacher.settings(batch_size=64, epoch_windows=640), 6400) == 10
    assert steps_an_epoch(small_teacher.settings(batch_size=64), 3) == 1


def test_teaching_stops_after_patience_without_improvement_and_at_the_last_epoch() -> None:
    patient = small_teacher.settings(epochs=9, patience_epochs=2, min_improvement=0.01)
    assert stop_reason([1.0, 0.9], patient) == ""
    assert stop_reason([0.9, 1.0, 0.895], patient) == "no improvement"
    assert stop_reason([0.9, 1.0, 0.8], patient) == ""
    assert stop_reason([0.9, math.nan, math.nan], patient) == ""
    assert stop_reason([1.0] * 9, small_teacher.settings(epochs=9)) == "all epochs done"
    assert stop_reason([1.0] * 8, small_teacher.settings(epochs=9)) == ""


@given(st.lists(st.floats(0.1, 2.0) | st.just(math.nan), min_size=1))
def test_the_best_epoch_is_the_first_with_the_least_loss(losses: list[float]) -> None:
    finite = [loss for loss in losses if math.isfinite(loss)]
    assert best_epoch(losses) == (losses.index(min(finite)) + 1 if finite else len(losses))


def test_a_batch_that_ranks_cannot_share_evenly_is_refused() -> None:
    with pytest.raises(UsageError, match="divide evenly") as refused:
        small_teacher.settings(batch_size=65, ranks=3, accumulation=2)
    assert "such as 60" in refused.value.fix
