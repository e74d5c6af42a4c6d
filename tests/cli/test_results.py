"""docs/results.md says only what its figures bear: goals are met by whole intervals, with every seed."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from in_process import neurogrid
from measured_runs import ends, measured, pair, run, surges

from neurogrid.cli import results
from neurogrid.cli.results_compared import itself, joining
from neurogrid.cli.results_figures import Measured
from neurogrid.cli.results_goals import COVERED, Goal
from neurogrid.cli.results_goals import goals as by_section
from neurogrid.cli.results_page import page
from neurogrid.config import Config, load
from neurogrid.workloads.meters.evaluation import boosting

TRAINED, NEVER = "trained households", "households that never trained"
BELOW_ALONE = f"MAE of personal models below that of the model alone, {TRAINED}"
BETTER_ALONE = f"households better off with personal models than with the model alone, {TRAINED}"
WORST = f"MAE of the worst tenth with personal models above that alone, {TRAINED}"
USED = "MAE of what a household uses below"
BELOW_BOOSTING = f"{USED} pooled boosting's, {TRAINED}"
NEW = "newcomers with 14 days of readings"
SETS = "error of each set's sum below that of its 28-day means"


def goals(found: Measured) -> list[Goal]:
    return [one for section in by_section(found).values() for one in section]


def goal(what: str, found: Measured) -> Goal:
    return next(one for one in goals(found) if one.what == what)


def test_a_run_that_reaches_everything_meets_every_goal() -> None:
    missed = [one for one in goals(measured()) if not one.met]
    assert missed == []


@pytest.mark.parametrize(
    ("what", "worse"),
    [
        (BELOW_ALONE, pair("personal", "alone", (-4.9, -5.8, -1.9))),
        (BETTER_ALONE, pair("personal", "alone", (-4.9, -5.8, -4.1), better=(0.93, 0.849, 0.97))),
        (
            WORST,
            pair("personal", "alone", (-4.9, -5.8, -4.1), worst_tenth_percent=0.51),
        ),
        (f"{USED} the 28-day median's, {TRAINED}", pair("served", "median_28_days", (-9.9, -10.8, -7.4))),
        (BELOW_BOOSTING, pair("served", "gbm_pooled", (-2.5, -3.5, -0.9))),
    ],
)
def test_a_goal_is_met_where_the_near_end_of_each_seeds_paired_interval_meets_it(what: str, worse: Any) -> None:
    assert goal(what, measured()).met
    found = goal(what, measured([run(), run(worse)]))
    assert (found.met, found.verdict) == (False, "**missed**")
    assert found.got.count(", ") == 1, "each seed's figure is shown"
    assert not goal(what, measured([run(worse), run()])).met


def test_stretch_goals_are_said_apart() -> None:
    what = BELOW_ALONE
    assert goal(what, measured()).verdict == "met, stretch met"
    near = goal(what, measured([run(), run(pair("personal", "alone", (-4.9, -5.8, -3.9)))]))
    assert (near.verdict, near.wanted) == ("met, stretch missed", "at least 2% (stretch: 4%)")
    assert near.got == "4.9% (4.1 to 5.8), 4.9% (3.9 to 5.8)"
    assert goal(f"{USED} the 28-day median's, {TRAINED}", measured()).verdict == "met, stretch met"


def test_the_goal_a_day_ahead_is_that_runs() -> None:
    what = f"{USED} the 28-day median's, a day ahead, {TRAINED}"
    found = goal(what, measured(day=run(pair("served", "median_28_days", (-4.0, -5.0, -3.4)))))
    assert (found.got, found.met) == ("4.0% (3.4 to 5.0)", False)


def test_fifteen_newcomers_cannot_show_what_is_asked_and_the_page_says_so() -> None:
    assert goal(f"households better off with personal models than with the model alone, {NEW}", measured()).met
    few = run()
    few.evaluation["parity"][0] |= {"households": 15, "personal_better_share": ends(1.0, 0.782, 1.0)}
    found = goal(f"households better off with personal models than with the model alone, {NEW}", measured([few]))
    assert not found.met
    assert found.got == "100.0% (78.2 to 100.0); 15 households can show no more than 78%, even if all are better"
    few.evaluation["parity"][0]["below_median_percent"]["personal"] = ends(5.8, 4.9, 6.6)
    assert not goal(f"MAE of personal models below the 28-day median's, {NEW}", measured([few])).met


@pytest.mark.parametrize("method", ["served", "federated"])
@pytest.mark.parametrize("group", ["trained", "held_out"])
def test_a_gain_in_surges_has_to_be_clear_of_none_in_both_groups(method: str, group: str) -> None:
    unclear = run()
    surges(unclear.test[group])[method]["household_f1_above_usual"] = ends(0.02, -0.001, 0.04)
    missed = [one.what for one in goals(measured([run(), unclear])) if not one.met]
    who = {"trained": "trained households", "held_out": "households that never trained"}[group]
    name = {"served": "what a household uses", "federated": "the federated model"}[method]
    assert missed == [f"F1 (mean over households) of {name} above the usual share's, {who}"]


@pytest.mark.parametrize("change", [(0.89, 0.879, 0.9), (0.91, 0.9, 0.921)])
def test_intervals_that_cover_too_little_or_too_much_miss_their_goal(change: tuple[float, ...]) -> None:
    off = run()
    off.evaluation["quantiles"]["held_out"]["test"]["federated"]["intervals"][0]["corrected_coverage"] = ends(*change)
    missed = [one.what for one in goals(measured(quantiles=off)) if not one.met]
    assert missed == [f"what corrected 90% intervals cover, {NEVER}"]


def test_goals_of_quantiles_and_sums_are_decided_by_the_ends_in_every_group_and_set() -> None:
    off = run()
    off.evaluation["quantiles"]["trained"]["test"]["federated"]["crps_below_usual_percent"] = ends(10.5, 9.9, 11.0)
    off.evaluation["sums"]["held_out"]["methods"]["quantile_mean"] |= {
        "nmae_below_mean_percent": ends(11.0, 9.9, 12.0),
        "bias_percent": ends(-1.0, -2.1, 0.1),
    }
    found = {one.what: one for one in goals(measured(quantiles=off)) if not one.met}
    assert list(found) == [
        f"CRPS below that of the 28 days' quantiles, {TRAINED}",
        SETS,
        "bias of each set's sum",
    ]
    assert found[SETS].got == "district 1: 12.0% (10.1 to 14.0), held-out: 11.0% (9.9 to 12.0)"


def test_what_was_not_measured_meets_no_goal_and_is_called_so() -> None:
    bare = run()
    for name in ("parity", "quantiles", "sums"):
        del bare.evaluation[name]
    for group in bare.test.values():
        group["paired"] = []
        for found in surges(group).values():
            found.pop("household_f1_above_usual", None)
    found = [one for one in goals(measured([bare], day=bare, quantiles=bare)) if not one.met]
    assert len(found) == 20
    assert {one.got for one in found} == {"not measured"}


def test_an_interval_that_two_households_cannot_bear_is_left_out_and_meets_no_goal() -> None:
    few = run(pair("personal", "alone", (-4.9, None, 100.0)))
    found = goal(BELOW_ALONE, measured([few]))
    assert (found.got, found.met) == ("4.9%", False)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        (
            f"MAE of the federated model below the 28-day median's, {TRAINED}",
            ("mae_below_median_percent", (8.0, 4.9, 9.0)),
        ),
        (f"F1 of the federated model, {TRAINED}", ("f1", (0.4, 0.349, 0.43))),
    ],
)
def test_the_federated_models_own_goals_stay(what: str, change: tuple[str, tuple[float, ...]]) -> None:
    worse = run()
    name, found = change
    trained = worse.test["trained"]
    holder = (
        trained["methods"]["federated"] if name in trained["methods"]["federated"] else surges(trained)["federated"]
    )
    holder[name] = ends(*found)
    assert goal(what, measured()).met
    assert not goal(what, measured([run(), worse])).met


def test_an_attack_that_costs_too_much_misses_its_goal() -> None:
    hurt = run()
    hurt.test["trained"]["methods"]["federated"]["mae"]["value"] *= 1.03
    found = measured(attacked={"scale": hurt, "noise": run()})
    met = {one.what: one.met for one in goals(found) if "attack by" in one.what}
    clean = "MAE above the clean run's where a fifth of each round's agents attack by {}"
    assert met == {clean.format("scale"): False, clean.format("noise"): True}


def test_the_best_pooled_rival_may_be_boosting_and_is_never_ridge() -> None:
    found = run()
    methods = found.test["trained"]["methods"]
    for name, mae in (("pooled", 0.12), ("gbm_pooled", 0.11), ("ridge_federated", 0.01)):
        methods[name] = {**methods["federated"], "mae": ends(mae, mae, mae)}
    assert found.best_pooled_mae == 0.11
    del methods["gbm_pooled"]
    assert found.best_pooled_mae == 0.12


def test_a_sentence_says_lower_or_higher_only_where_the_corrected_test_does() -> None:
    unsure = {"corrected_p_value": 0.2, "shown": ""}
    first = run(
        pair("personal", "alone", (-1.5, -3.0, 0.1), **unsure),
        pair("personal", "gbm_pooled", (0.5, 0.1, 0.9), corrected_p_value=0.01, shown="higher"),
    )
    second = run(
        pair("personal", "alone", (-1.4, -3.0, 0.2), **unsure), pair("personal", "gbm_pooled", (-0.4, -0.9, -0.1))
    )
    said = [line for line in joining([11, 12], [first, second], run()) if line.startswith("- ")]
    (alone,) = [
        line for line in said if "Against the same model, each household alone, trained" in line and "personal" in line
    ]
    assert alone.endswith(
        "the MAE of the personal model is not shown to differ with 2 of 2 seeds "
        "(change -1.5%, -1.4%; lower for 95%, 95% of households)."
    )
    (boosted,) = [line for line in said if "boosting, readings pooled, trained" in line and "personal" in line]
    assert "is lower with 1 of 2 seeds, is higher with 1 of 2 seeds" in boosted
    assert sum("a day ahead: the MAE of what a household uses is lower" in line for line in said) == 1
    for line in said:
        # Of everything else the corrected test says lower.
        assert ("is lower" in line) != ("is not shown" in line)


def test_rows_have_the_interval_the_corrected_test_and_the_worst_tenth() -> None:
    higher = pair("federated", "gbm_pooled", (0.5, -0.5, 1.5), corrected_p_value=0.01, shown="higher")
    few = pair("federated", "alone", (1.2, -100.0, None), corrected_p_value=None, shown="", worst_tenth_percent=None)
    lines = list(itself([11], [run(higher, few)]))
    (row,) = [line for line in lines if line.startswith("| 11 | 61 trained |") and "boosting, readings pooled" in line]
    assert row.endswith("| +0.5% (-0.5 to +1.5) | 0.010 | 95% (87 to 99) | +0.3% |")
    (row,) = [line for line in lines if line.startswith("| 11 | 61 trained |") and "household alone" in line]
    assert row.endswith("| +1.2% | – | 95% (87 to 99) | – |")
    (said,) = [line for line in lines if line.startswith("- ") and "household alone" in line]
    assert "is not shown to differ (change +1.2%" in said


def whole(found: Measured, tmp_path: Path) -> str:
    """The page, of runs whose own pages are in a warehouse."""
    for seed in (f"main-seed{found.seeds[0]}", "day-ahead", "squared-loss", "quantiles"):
        folder = tmp_path / "runs" / seed
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evaluation.md").write_text(f"tables of {seed}\n")
    config = Config(warehouse=str(tmp_path))
    return "\n".join(page(config, found, by_section(found), ""))


def test_the_page_leads_with_joining_then_the_federated_model(tmp_path: Path) -> None:
    text = whole(measured(), tmp_path)
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Results on real readings",
        "## What joining gives",
        "### A household that comes later",
        "## The federated model itself",
        "## Surges",
        "## Quantiles and intervals",
        "## Sums of households",
        "## Attacks",
        "## Goals",
        "## Chance",
        "# 2 h ahead, seed 11, in full",
        "# A day ahead, seed 11, in full",
        "# Quantiles, seed 11, in full",
        "# Squared loss, seed 11, in full",
    ]
    assert "in 84 minutes on" in text.partition("## What joining gives")[0]
    later = (
        "| 14 | 60 | -1.8% (-4.0 to 0.4) | 4.8% (3.9 to 5.6) | 5.8% (5.1 to 6.5) | 80% (70 to 90) | 100% (94 to 100) |"
    )
    assert later in text
    assert "tables of quantiles" in text
    assert "nan" not in text


def test_a_missed_goal_is_counted_at_the_head_named_in_its_section_and_marked_in_the_table(tmp_path: Path) -> None:
    text = whole(measured(), tmp_path)
    assert f"Of {len(goals(measured()))} [goals](#goals) none is missed." in text
    assert "**" not in text
    few = run(pair("served", "gbm_pooled", (-2.5, -3.5, -0.9)))
    text = whole(measured([few, run()]), tmp_path)
    assert "1 is missed; each section says which." in text
    joined, _, rest = text.partition("## The federated model itself")
    got = "2.5% (0.9 to 3.5), 2.5% (1.5 to 3.5)"
    assert f"- {BELOW_BOOSTING}: {got}; the goal was at least 1%." in joined
    assert f"| What joining gives | {BELOW_BOOSTING} | at least 1% | {got} | **missed** |" in rest
    assert "**Missed" not in rest


def test_a_page_of_runs_that_were_there_before_says_that_its_time_lacks_them(tmp_path: Path) -> None:
    assert "without 7 runs of 9 made earlier" in whole(measured(made=2), tmp_path)
    assert "made earlier" not in whole(measured(), tmp_path)


def test_the_spread_over_seeds_stands_apart_and_not_with_a_single_seed(tmp_path: Path) -> None:
    main = [run(), run(pair("personal", "alone", (-6.9, -7.8, -5.1)))]
    rows = [line for line in whole(measured(main), tmp_path).splitlines() if line.startswith("| personal below alone")]
    assert rows == ["| personal below alone, trained | 4.9%, 6.9% | 1.41% |"]
    assert "## Chance" not in whole(measured([run()]), tmp_path)


@pytest.mark.parametrize("overrides", [results.ATTACKED, results.QUANTILES, results.QUICK])
def test_the_runs_beside_the_main_ones_have_a_config_that_can_be(overrides: Sequence[str]) -> None:
    config = load("", [*overrides])
    assert (config.personal.steps == 0) == (overrides != results.QUICK)
    assert {*COVERED} <= {round(1 - 2 * low, 6) for low in config.model.quantiles} or overrides != results.QUANTILES


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
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "results", *asked], cwd=root, capture_output=True, text=True, check=True
    )
    removed, measured = done.stdout.splitlines()[-2:]
    assert measured.endswith(wanted)
    assert removed.endswith("build/results-quick" if asked else "build/results")
