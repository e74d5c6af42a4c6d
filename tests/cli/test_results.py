"""docs/results.md says only what its figures bear: goals are met by the low ends of intervals, with every seed."""

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

from neurogrid.cli.results import Scored, _forecast_goals, _goals, _joining

sys.path[:0] = [str(Path(__file__).parents[1] / "report")]
from records import evaluation_of  # noqa: E402 - another folder's


def scored(**changes: tuple[float, float, float]) -> Scored:
    """A run whose federated model has these figures (value, low, high)."""
    test: dict[str, Any] = copy.deepcopy(evaluation_of(slots=4)["parts"]["test"])
    for group in test.values():
        methods = group["methods"]
        methods["federated"]["rmse_below_mean_percent"] = {"value": 5.0, "low": 4.0, "high": 6.0}
        for name, found in changes.items():
            holder = (
                methods["federated"] if name in methods["federated"] else group["surges"][-1]["methods"]["federated"]
            )
            holder[name] = dict(zip(("value", "low", "high"), found, strict=True))
    return Scored({"wallclock_s": 60.0, "rounds": 60}, test)


GOOD = {"mae_below_median_percent": (8.0, 6.0, 9.0), "f1": (0.4, 0.37, 0.43)}


def met(*main: Scored) -> dict[str, bool]:
    return {goal.what: goal.met for goal in _forecast_goals(main, scored(**GOOD), scored(**GOOD))}


@pytest.mark.parametrize(
    ("figure", "goal"),
    [
        ({"mae_below_median_percent": (8.0, 4.9, 9.0)}, "2 h ahead, MAE below the 28-day median, trained households"),
        ({"f1": (0.4, 0.349, 0.43)}, "any surge in 2 h, F1"),
    ],
)
def test_a_goal_is_met_when_the_low_end_of_each_seeds_interval_is(figure: Any, goal: str) -> None:
    assert met(scored(**GOOD), scored(**GOOD))[goal]
    assert not met(scored(**GOOD), scored(**GOOD | figure))[goal]


def test_a_missed_goal_is_named_with_its_interval() -> None:
    goals = list(_forecast_goals([scored(**GOOD | {"f1": (0.4, 0.3, 0.5)})], scored(**GOOD), scored(**GOOD)))
    page = "\n".join(_goals(goals))
    assert "Missed: any surge in 2 h, F1" in page
    assert "0.400 (0.300 to 0.500)" in page


def test_what_joining_gives_stands_beside_its_interval_and_the_bias() -> None:
    page = "\n".join(_joining([11], [scored(**GOOD)]))
    assert "79% (71% to 87%)" in page
    assert "-46.0%" in page
