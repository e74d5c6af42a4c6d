"""docs/results.md says only what its figures bear: goals are met by the low ends of intervals, with every seed."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from in_process import neurogrid

from neurogrid.cli.results_page import Measured, Scored, _forecast_goals, _goals, _joining, _rivals, _spreads
from neurogrid.workloads.meters.evaluation import boosting

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


def pair(rival: str, change: float, p: float, shown: str) -> dict[str, Any]:
    return {
        "method": "federated",
        "rival": rival,
        "households": 60,
        "mae_change_percent": {"value": change, "low": change - 1, "high": change + 1},
        "better_share": {"value": 0.66, "low": 0.5, "high": 0.8},
        "worst_tenth_percent": 2.8,
        "p_value": p / 9,
        "corrected_p_value": p,
        "shown": shown,
    }


def against(*pairs: dict[str, Any]) -> Scored:
    found = scored(**GOOD)
    found.test["trained"]["paired"] = list(pairs)
    return found


def test_a_sentence_says_lower_or_higher_only_where_the_corrected_test_does() -> None:
    first = against(pair("alone", -1.5, 0.2, ""), pair("gbm_pooled", 0.5, 0.01, "higher"), pair("pooled", 1.0, 0.3, ""))
    second = against(pair("gbm_pooled", -0.4, 0.03, "lower"), pair("pooled", 1.1, 0.2, ""))
    lines = list(_rivals([11, 12], [first, second]))
    said = [line for line in lines if line.startswith("- ")]
    assert len(said) == 3
    assert "alone, trained households: the federated model's MAE is not shown to differ." in said[0]
    assert "pooled, trained households: the federated model's MAE is not shown to differ with 2 of 2 seeds." in said[1]
    assert "is lower with 1 of 2 seeds, is higher with 1 of 2 seeds." in said[2]
    (row,) = [line for line in lines if line.startswith("| 11 | 60 trained | gradient boosting, readings pooled")]
    assert row.endswith("| +0.5% (-0.5 to +1.5) | 0.010 | 66% | +2.8% |")


def test_the_best_pooled_rival_may_be_boosting_and_is_never_ridge() -> None:
    found = scored(**GOOD)
    methods = found.test["trained"]["methods"]
    for name, mae in (("pooled", 0.12), ("gbm_pooled", 0.11), ("ridge_federated", 0.01)):
        methods[name] = {**methods["federated"], "mae": {"value": mae, "low": mae, "high": mae}}
    assert found.best_pooled_mae == 0.11
    del methods["gbm_pooled"]
    assert found.best_pooled_mae == 0.12


def test_the_luck_of_training_and_that_of_the_draw_of_homes_are_said_apart() -> None:
    def below(value: float) -> Scored:
        return scored(**GOOD | {"mae_below_median_percent": (value, value - 1, value + 1)})

    main = [below(5.0), below(7.0), below(3.0)]
    found = Measured([11, 12, 13], main, {12: below(5.2), 13: below(4.8)}, main[0], main[0], {})
    rows = [line for line in _spreads(found) if line.startswith("| below the 28-day median, trained")]
    assert rows == ["| below the 28-day median, trained | 5.0%, 5.2%, 4.8% | 0.20% | 5.0%, 7.0%, 3.0% | 2.00% |"]
    assert list(_spreads(Measured([11], main[:1], {}, main[0], main[0], {}))) == []


def test_the_quick_figures_are_never_written_over_the_page(tmp_path: Path) -> None:
    done = neurogrid("bench", "results", "--data-dir", tmp_path, "--quick", "--out", "docs/results.md")
    assert done.returncode == 2
    assert "quick figures are not those of docs/results.md" in done.stderr
    assert "--out build/results-quick.md" in done.stderr


def test_results_need_the_package_of_their_rivals_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boosting, "find_spec", lambda name: None)
    done = neurogrid("bench", "results", "--data-dir", tmp_path / "none", "--set", f"warehouse={tmp_path}/warehouse")
    assert done.returncode == 2
    assert "needs the package lightgbm" in done.stderr


@pytest.mark.parametrize(("asked", "wanted"), [((), "--seeds 11,12,13,14,15"), (("QUICK=1",), "--quick")])
def test_make_results_asks_for_the_fixed_seeds_or_for_the_quick_page(asked: tuple[str, ...], wanted: str) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(["make", "-n", "results", *asked], cwd=root, capture_output=True, text=True, check=True)
    removed, measured = done.stdout.splitlines()[-2:]
    assert measured.endswith(wanted)
    assert removed.endswith("build/results-quick" if asked else "build/results")
