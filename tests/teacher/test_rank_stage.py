"""What ranks return to the driver: a status, and nothing that runs there."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from neurogrid.errors import RunError
from neurogrid.teacher.rank import DONE, GAVE_UP, REFUSED
from neurogrid.teacher.stage import RankStage, status_of

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks cannot import this file
WORDS = {"status": REFUSED, "what": "a", "found": "b", "fix": "c"}


@pytest.mark.parametrize("status", [{"status": DONE}, {"status": GAVE_UP}, WORDS])
def test_a_status_comes_back_as_it_was_said(status: dict[str, str]) -> None:
    assert status_of([json.dumps(status)]) == status


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [None],
        ["null"],
        ["{"],
        ["[" * 50_000],
        ['"done"'],
        ['{"status": 1}'],
        ['{"status": "fine"}'],
        ['{"status": "done", "more": "x"}'],
        ['{"status": "refused", "what": "a"}'],
        [json.dumps({**WORDS, "fix": "x" * 70_000})],
        ['{"status": "done"}', '{"status": "done"}'],
    ],
)
def test_what_is_no_status_is_refused(answers: list[str | None]) -> None:
    with pytest.raises(RunError, match="have not returned a status"):
        status_of(answers)


def taken_over(mark: str) -> Any:
    """What a rank may return to take over its task: what that sends on leaves a mark wherever it is unpickled."""
    leave = f"import os; open({mark!r}, 'a').write(str(os.getpid()) + ' ')"
    evil = f"cbuiltins\nexec\n(V{leave}\ntR.".encode()
    take_over = f"import pyspark.cloudpickle as c; c.dumps = lambda *_: {evil!r}"
    return type("Evil", (), {"__reduce__": lambda self: (exec, (take_over,))})()


@pytest.mark.slow
def test_a_rank_that_is_taken_over_runs_nothing_in_the_driver(spark: SparkSession, tmp_path: Path) -> None:
    mark = tmp_path / "opened"
    with pytest.raises(RunError, match="have not returned a status"):
        RankStage(num_processes=1, local_mode=False, use_gpu=False).run(taken_over, str(mark))
    assert str(os.getpid()) not in mark.read_text().split()
