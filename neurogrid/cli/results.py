"""docs/results.md: what the product reaches on real readings, measured anew with seeds of one's choice.

Every run is an ordinary run of the warehouse, so it can be reported and audited; one that is there already is not made
again, so an interrupted measurement goes on where it was.
"""

import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from pyspark.sql import SparkSession

from neurogrid.cli import show
from neurogrid.config import Config, load, to_yaml
from neurogrid.data.manifest import Manifest
from neurogrid.errors import UsageError
from neurogrid.pipeline import runs, steps
from neurogrid.pipeline.etl import etl
from neurogrid.pipeline.etl_plan import plan_etl
from neurogrid.pipeline.events import Observer
from neurogrid.pipeline.plan import plan_evaluation, plan_sampling, plan_training
from neurogrid.pipeline.training import train
from neurogrid.plural import plural
from neurogrid.storage import place

ATTACKS = ("scale", "sign_flip", "noise")
ATTACKED = ("attack.fraction=0.2", "attack.placement=per_round", "evaluation.comparisons=[]")


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% interval over households; NaN where there is none."""

    value: float
    low: float
    high: float


def _interval(figure: Mapping[str, float | None]) -> Interval:
    value, low, high = (
        math.nan if figure[part] is None else float(figure[part] or 0) for part in ("value", "low", "high")
    )
    return Interval(value, low, high)


@dataclass(frozen=True)
class Scored:
    """One run: its summary and its evaluation's test part."""

    summary: Mapping[str, Any]
    test: Mapping[str, Any]

    def below_median(self, group: str) -> Interval:
        """By how much the MAE lies below the 28-day median's, percent."""
        return _interval(self.test[group]["methods"]["federated"]["mae_below_median_percent"])

    def mae(self, method: str, group: str = "trained") -> float:
        """Mean over households, kWh a slot."""
        return float(self.test[group]["methods"][method]["mae"]["value"])

    def surge(self, method: str, figure: str, group: str = "trained") -> Interval:
        """Of "any surge in the horizon"."""
        return _interval(self.test[group]["surges"][-1]["methods"][method][figure])


@dataclass(frozen=True)
class Goal:
    """A figure that was aimed at."""

    what: str
    wanted: str
    got: str
    met: bool


def measure(config: Config, seeds: Sequence[int], spark: SparkSession, observer: Observer) -> str:
    """Runs everything and returns the page.

    Args:
        config: of the main run: source, warehouse, 2 h ahead.
        seeds: the main run is made with each; the others with the first.
        spark: an open session.
        observer: told what goes on.
    """
    etl(plan_etl(config), lambda: spark, observer)
    main = []
    for seed in seeds:
        # Training every household alone takes longer than the federation: once is enough to say what joining gives.
        dear = "ridge, alone, pooled" if seed == seeds[0] else "ridge, pooled"
        wanted = (f"evaluation.comparisons=[{dear}]", f"seed={seed}")
        main.append(_run(config, spark, observer, f"main-seed{seed}", wanted))
    first = f"seed={seeds[0]}"
    day = _run(config, spark, observer, "day-ahead", (first, "model.horizon_slots=48"))
    squared = _run(config, spark, observer, "squared-loss", (first, "local.loss=mse"))
    attacked = {
        kind: _run(config, spark, observer, f"attack-{kind}", (first, f"attack.kind={kind}", *ATTACKED))
        for kind in ATTACKS
    }
    goals = [*_forecast_goals(main, day, squared), *_attack_goals(main[0], attacked)]
    for goal in goals:
        show.say(f"  {'met   ' if goal.met else 'MISSED'}  {goal.what}: {goal.got} (goal {goal.wanted})")
    return "\n".join(_page(config, seeds, main, attacked, goals)) + "\n"


def _run(config: Config, spark: SparkSession, observer: Observer, run_id: str, overrides: Sequence[str]) -> Scored:
    """The run of that name, gone on with if it was begun, made if it is not there."""
    own = load(to_yaml(config), [*overrides, f"run_id={run_id}"])
    root = place(own.warehouse) / "runs" / run_id
    manifest = steps.sample(plan_sampling(own), spark, observer)
    if (root / "run.json").exists():
        _refuse_old(own, run_id, manifest)
    if not (root / "end.json").exists():
        train(plan_training(own, manifest, run_id if (root / "run.json").exists() else ""), spark, observer)
    if not (root / "evaluation.json").exists():
        steps.evaluate(plan_evaluation(own, run_id), spark, observer)
    evaluation = json.loads((root / "evaluation.json").read_text())
    return Scored(json.loads((root / "run_summary.json").read_text()), evaluation["parts"]["test"])


def _refuse_old(own: Config, run_id: str, manifest: Manifest) -> None:
    """Raises UsageError where a run of that name is there and is another one: its figures would pass for new ones."""
    runs.refuse_another(own, runs.run_config(own.warehouse, run_id, []), run_id)
    begun_with = runs.run_manifest(own, run_id)
    if begun_with != manifest.sha256[:12]:
        raise UsageError(
            f"run {run_id} was made with other households",
            found=f"manifest {begun_with}, now {manifest.sha256[:12]}",
            fix=f"remove {own.warehouse}, or give another with --set warehouse=",
        )


def _sure(what: str, wanted: float, got: Sequence[Interval], unit: str, digits: int = 1) -> Goal:
    """A goal that is met when the low end of every seed's interval meets it."""
    words = f"at least {wanted:g}{unit}"
    found = [f"{i.value:.{digits}f}{unit} ({i.low:.{digits}f} to {i.high:.{digits}f})" for i in got]
    return Goal(what, words, ", ".join(found), all(i.low >= wanted for i in got))


def _goal(what: str, wanted: float, got: Sequence[float], unit: str, *, least: bool = True, digits: int = 1) -> Goal:
    """A goal, of a figure without an interval, that is met when every seed meets it."""
    words = f"{'at least' if least else 'at most'} {wanted:g}{unit}"
    met = all(value >= wanted if least else value <= wanted for value in got)
    return Goal(what, words, ", ".join(f"{value:.{digits}f}{unit}" for value in got), met)


def _forecast_goals(main: Sequence[Scored], day: Scored, squared: Scored) -> Iterator[Goal]:
    for group, wanted, who in (("trained", 5, "trained households"), ("held_out", 4, "households that never trained")):
        figures = [s.below_median(group) for s in main]
        yield _sure(f"2 h ahead, MAE below the 28-day median, {who}", wanted, figures, "%")
    above = [100 * (s.mae("federated") / min(s.mae("pooled"), s.mae("ridge_federated")) - 1) for s in main]
    yield _goal("MAE above the best pooled model", 2, above, "%", least=False)
    yield _sure("a day ahead, MAE below the 28-day median", 2, [day.below_median("trained")], "%")
    yield _sure("any surge in 2 h, F1", 0.35, [s.surge("federated", "f1") for s in main], "", digits=3)
    times = [s.surge("federated", "f1").value / s.surge("always", "f1").value for s in main]
    yield _goal("any surge in 2 h, F1 as a multiple of always saying so", 1.7, times, "", digits=2)
    rmse = _interval(squared.test["trained"]["methods"]["federated"]["rmse_below_mean_percent"])
    yield _sure("squared loss, RMSE below the 28-day mean", 3, [rmse], "%")
    minutes = [s.summary["wallclock_s"] / 60 for s in main]
    yield _goal(f"{main[0].summary['rounds']} rounds of 15 agents", 3, minutes, " min", least=False, digits=2)


def _attack_goals(clean: Scored, attacked: Mapping[str, Scored]) -> Iterator[Goal]:
    for kind, scored in attacked.items():
        worse = 100 * (scored.mae("federated") / clean.mae("federated") - 1)
        yield _goal(f"3 of 15 agents a round malicious, {kind}: MAE above the clean run", 2, [worse], "%", least=False)


def _page(
    config: Config,
    seeds: Sequence[int],
    main: Sequence[Scored],
    attacked: Mapping[str, Scored],
    goals: Sequence[Goal],
) -> Iterator[str]:
    test = main[0].test
    yield "# Results on real readings"
    yield ""
    yield (
        f"{len(test['trained']['households'])} trained and {len(test['held_out']['households'])} held-out households"
        f"{_without(test)} of the Smart-Grid Smart-City trial, half-hourly; {config.rounds.count} rounds of "
        f"{config.rounds.agents_per_round} "
        f"agents; seeds {', '.join(map(str, seeds))}; {psutil.cpu_count()} cores, {platform.machine()}. "
        "Made by `make results`; each figure is of test time that nothing was trained or tuned on. Where several "
        "figures stand in a cell, they are of the seeds in turn."
    )
    yield from _goals(goals)
    yield from _attacks(main[0], attacked)
    yield from _joining(seeds, main)
    yield from _surges(seeds, main)
    for title, run_id in (
        ("2 h ahead", f"main-seed{seeds[0]}"),
        ("A day ahead", "day-ahead"),
        ("Squared loss", "squared-loss"),
    ):
        yield ""
        yield f"# {title}, seed {seeds[0]}, in full"
        yield ""
        yield (place(config.warehouse) / "runs" / run_id / "evaluation.md").read_text().rstrip()


def _without(test: Mapping[str, Any]) -> str:
    """Who was drawn and is not counted."""
    quiet = sum(len(group["quiet"]) for group in test.values())
    return f" (and {plural(quiet, 'quiet one')}, left out by training time)" if quiet else ""


def _goals(goals: Sequence[Goal]) -> Iterator[str]:
    missed = [goal.what for goal in goals if not goal.met]
    yield ""
    yield "## Goals"
    yield ""
    yield "All are met." if not missed else f"Missed: {'; '.join(missed)}."
    yield ""
    yield "Where a figure has a 95% interval over households, its low end has to meet the goal, with every seed."
    yield ""
    yield "| figure | goal | measured | |"
    yield "|---|---|---:|---|"
    for goal in goals:
        yield f"| {goal.what} | {goal.wanted} | {goal.got} | {'met' if goal.met else '**missed**'} |"


def _attacks(clean: Scored, attacked: Mapping[str, Scored]) -> Iterator[str]:
    yield ""
    yield "## Attacks"
    yield ""
    yield (
        "3 of the 15 agents of every round are malicious. The 28-day median needs no training, so what counts is the "
        "share of the clean run's gain over it that is kept."
    )
    yield ""
    yield "| attack | MAE (kWh) | above the clean run | gain over the median kept | malicious updates rejected |"
    yield "|---|---:|---:|---:|---:|"
    median = clean.mae("median_28_days")
    for kind, scored in {"none": clean, **attacked}.items():
        worse = scored.mae("federated") / clean.mae("federated") - 1
        kept = (median - scored.mae("federated")) / (median - clean.mae("federated"))
        recall = scored.summary["rejection_recall"]
        caught = "" if recall is None else f"{recall:.0%}"
        yield f"| {kind} | {scored.mae('federated'):.4f} | {worse:+.1%} | {kept:.0%} | {caught} |"


def _joining(seeds: Sequence[int], main: Sequence[Scored]) -> Iterator[str]:
    yield ""
    yield "## Worth joining"
    yield ""
    methods = main[0].test["trained"]["methods"]
    share = _interval(methods["federated"]["better_than_alone_share"])
    yield (
        f"Of the trained households, {share.value:.0%} ({share.low:.0%} to {share.high:.0%}) are served better by the "
        f"federated model than by the same model trained on their own readings alone, with as many steps and early "
        f"stopping (seed {seeds[0]}); its MAE is {methods['alone']['mae']['value']:.4f} kWh. Forecasts with the "
        "smallest absolute errors are too low in sum: the bias is that of the sum over households."
    )
    yield ""
    yield (
        "| seed | better than the 28-day median | MAE (kWh): federated | pooled | 28-day median "
        "| bias: federated | pooled | 28-day mean |"
    )
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for seed, scored in zip(seeds, main, strict=True):
        found = scored.test["trained"]["methods"]
        better = found["federated"]["better_than_median_share"]["value"]
        maes = " | ".join(f"{scored.mae(m):.4f}" for m in ("federated", "pooled", "median_28_days"))
        biases = " | ".join(
            f"{found[m]['bias_percent']['value']:+.1f}%" for m in ("federated", "pooled", "mean_28_days")
        )
        yield f"| {seed} | {better:.0%} | {maes} | {biases} |"


def _surges(seeds: Sequence[int], main: Sequence[Scored]) -> Iterator[str]:
    yield ""
    yield "## Surges"
    yield ""
    yield "F1 of saying that the load will surge within 2 h. `usual share`, the share of the slot's own surges over"
    yield "the past 28 days, needs no training: what the surge head gains is what it gains over that."
    yield ""
    yield "| seed | households | federated | usual share | persistence | always |"
    yield "|---:|---|---:|---:|---:|---:|"
    for seed, scored in zip(seeds, main, strict=True):
        for group in ("trained", "held_out"):
            methods = ("federated", "usual_share", "persistence", "always")
            f1 = " | ".join(f"{scored.surge(method, 'f1', group).value:.3f}" for method in methods)
            yield f"| {seed} | {group.replace('_', '-')} | {f1} |"
