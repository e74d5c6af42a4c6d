"""The page of results in words: goals, rivals, attacks, seeds. What it says follows from the figures."""

import math
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from neurogrid.config import Config
from neurogrid.plural import plural
from neurogrid.storage import place

RIVALS = {
    "alone": "the same model, each household alone",
    "pooled": "the same model, readings pooled",
    "gbm_alone": "gradient boosting, each household alone",
    "gbm_pooled": "gradient boosting, readings pooled",
    "median_28_days": "the 28-day median",
}
"""What the federated model is put against on this page, by method."""
GROUPS = {"trained": "trained households", "held_out": "households that never trained"}


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

    @property
    def best_pooled_mae(self) -> float:
        """The least that was reached with pooled readings. Ridge minimises squares, so it is no rival here."""
        return min(self.mae(name) for name in ("pooled", "gbm_pooled") if name in self.test["trained"]["methods"])

    def surge(self, method: str, figure: str, group: str = "trained") -> Interval:
        """Of "any surge in the horizon"."""
        return _interval(self.test[group]["surges"][-1]["methods"][method][figure])

    def paired(self, rival: str, group: str) -> Mapping[str, Any] | None:
        """The federated model against a rival over the same households; None where it was not put against it."""
        pairs = self.test[group].get("paired", ())
        return next((p for p in pairs if (p["method"], p["rival"]) == ("federated", rival)), None)


@dataclass(frozen=True)
class Goal:
    """A figure that was aimed at."""

    what: str
    wanted: str
    got: str
    met: bool


@dataclass(frozen=True)
class Measured:
    """What was run.

    Attributes:
        seeds: of the main runs, each of which draws its own homes.
        main: those runs, in this order.
        again: the homes of the first seed trained with others, by seed.
        day, squared: a day ahead, and with squared loss, with the first seed.
        attacked: by kind of attack, with the first seed.
    """

    seeds: Sequence[int]
    main: Sequence[Scored]
    again: Mapping[int, Scored]
    day: Scored
    squared: Scored
    attacked: Mapping[str, Scored]

    @property
    def goals(self) -> list[Goal]:
        """Each goal, met or not."""
        return [*_forecast_goals(self.main, self.day, self.squared), *_attack_goals(self.main[0], self.attacked)]


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
    above = [100 * (s.mae("federated") / s.best_pooled_mae - 1) for s in main]
    yield _goal("MAE above the best that pooled readings give (the model, boosting)", 2, above, "%", least=False)
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


def page(config: Config, found: Measured, note: str) -> Iterator[str]:
    """The lines of the page; `note` stands at its head."""
    main, seeds = found.main, found.seeds
    test = main[0].test
    yield "# Results on real readings"
    yield ""
    if note:
        yield note
        yield ""
    yield (
        f"{len(test['trained']['households'])} trained and {len(test['held_out']['households'])} held-out households"
        f"{_without(test)} of the Smart-Grid Smart-City trial, half-hourly; {config.rounds.count} rounds of "
        f"{config.rounds.agents_per_round} "
        f"agents; seeds {', '.join(map(str, seeds))}; {psutil.cpu_count()} cores, {platform.machine()}. "
        "Made by `make results`; each figure is of test time that nothing was trained or tuned on. Where several "
        "figures stand in a cell, they are of the seeds in turn."
    )
    yield from _goals(found.goals)
    yield from _attacks(main[0], found.attacked)
    yield from _joining(seeds, main)
    yield from _rivals(seeds, main)
    yield from _spreads(found)
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
        f"stopping (seed {seeds[0]}); the MAE alone is {methods['alone']['mae']['value']:.4f} kWh. Forecasts with the "
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


def _rivals(seeds: Sequence[int], main: Sequence[Scored]) -> Iterator[str]:
    yield ""
    yield "## Against rivals, household by household"
    yield ""
    yield (
        "The change of the federated model's MAE against each rival's on the same households; below 0 the federated "
        "one is better. It is called lower or higher only where Wilcoxon's signed-rank test shows it, corrected for "
        "the number of rivals (Holm). Ridge minimises squares and is a rival for the RMSE alone, see the tables below."
    )
    yield ""
    for group, who in GROUPS.items():
        for rival, name in RIVALS.items():
            pairs = [pair for scored in main if (pair := scored.paired(rival, group)) is not None]
            if pairs:
                yield f"- Against {name}, {who}: the federated model's MAE {_claim(pairs)}."
    yield ""
    yield "| seed | households | against | MAE, change | p, corrected | better for | worst tenth |"
    yield "|---:|---|---|---:|---:|---:|---:|"
    for seed, scored in zip(seeds, main, strict=True):
        for group in GROUPS:
            for rival, name in RIVALS.items():
                pair = scored.paired(rival, group)
                if pair is not None:
                    who = f"{pair['households']} {group.replace('_', '-')}"
                    yield f"| {seed} | {who} | {name} | {' | '.join(_pair_cells(pair))} |"


def _claim(pairs: Sequence[Mapping[str, Any]]) -> str:
    """What the corrected tests of all seeds bear, and no more."""
    words = {"lower": "is lower", "higher": "is higher", "": "is not shown to differ"}
    counts = {said: sum(pair["shown"] == shown for pair in pairs) for shown, said in words.items()}
    if len(pairs) == 1:
        return next(said for said, count in counts.items() if count)
    return ", ".join(f"{said} with {count} of {len(pairs)} seeds" for said, count in counts.items() if count)


def _pair_cells(pair: Mapping[str, Any]) -> list[str]:
    change, better = _interval(pair["mae_change_percent"]), _interval(pair["better_share"])
    p, worst = pair["corrected_p_value"], pair["worst_tenth_percent"]
    ends = "" if math.isnan(change.low) else f" ({change.low:+.1f} to {change.high:+.1f})"
    return [
        f"{change.value:+.1f}%{ends}",
        "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
        f"{better.value:.0%}",
        "–" if worst is None else f"{worst:+.1f}%",
    ]


def _spreads(found: Measured) -> Iterator[str]:
    """How much of a figure is the training's luck, and how much the draw of homes; nothing of a single seed."""
    if not found.again:
        return
    same = [found.main[0], *found.again.values()]
    yield ""
    yield "## Chance"
    yield ""
    yield (
        f"The homes of seed {found.seeds[0]} were trained with seeds "
        f"{', '.join(map(str, [found.seeds[0], *found.again]))}; each other seed draws other homes too. The spread is "
        "the standard deviation over seeds."
    )
    yield ""
    yield "| figure, federated | same homes, other training | spread | other homes | spread |"
    yield "|---|---|---:|---|---:|"
    figures: tuple[tuple[str, int, str, Callable[[Scored], float]], ...] = (
        ("MAE, trained (kWh)", 4, "", lambda s: s.mae("federated")),
        ("below the 28-day median, trained", 1, "%", lambda s: s.below_median("trained").value),
        ("below the 28-day median, held-out", 1, "%", lambda s: s.below_median("held_out").value),
        ("any surge, F1, trained", 3, "", lambda s: s.surge("federated", "f1").value),
    )
    for title, digits, unit, figure in figures:
        cells = []
        for runs in (same, found.main):
            values = [figure(scored) for scored in runs]
            spread = f"{statistics.stdev(values):.{digits + 1}f}{unit}" if len(values) > 1 else "–"
            cells += [", ".join(f"{value:.{digits}f}{unit}" for value in values), spread]
        yield f"| {title} | {' | '.join(cells)} |"


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
