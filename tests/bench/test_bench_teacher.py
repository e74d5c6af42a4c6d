"""The teacher's benchmark: every way trains the same thing, and the table says how fast."""

from dataclasses import replace

import pytest

from neurogrid.bench import teacher
from neurogrid.bench.teacher import COLUMNS, bench_teacher
from neurogrid.bench.teacher_gain import rounds_to


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ranks_and_a_plain_loop_reach_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    # A fifth of an epoch: the same loss is the same loss sooner, and how fast each way is, is for the benchmark.
    monkeypatch.setattr(teacher, "SETTINGS", replace(teacher.SETTINGS, epoch_windows=6400))
    table = bench_teacher([1, 2], 256, 1)
    assert table.columns == COLUMNS
    rows = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in table.rows}
    assert list(rows) == ["plain loop", "1 rank", "2 ranks"]
    plain = rows["plain loop"]["held_out_loss"]
    assert rows["1 rank"]["held_out_loss"] == pytest.approx(plain, rel=1e-3)
    assert rows["2 ranks"]["held_out_loss"] == pytest.approx(plain, rel=0.03)
    assert rows["1 rank"]["to_one_rank"] == 1.0
    assert all(row["windows_per_s"] > 0 and row["start_s"] > 0 for row in rows.values())


def test_the_rounds_to_an_error_are_those_to_the_first_that_is_no_larger() -> None:
    assert rounds_to([0.5, 0.3, 0.2, 0.25], 0.3) == 1
    assert rounds_to([0.3, 0.5], 0.4) == 0
    assert rounds_to([0.5, 0.4], 0.3) is None
