"""The page of results in words: what joining gives, then the federated model, then the rest.

What it says follows from the figures. A method is called better only where a corrected test shows it.
"""

import math
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psutil

from neurogrid.cli.results_compared import itself, joining
from neurogrid.cli.results_figures import GROUPS, UNKNOWN, Measured, Scored, interval
from neurogrid.cli.results_goals import (
    ATTACKS,
    COVERED,
    FEDERATED,
    JOINING,
    QUANTILES,
    SUM_METHOD,
    SUMS,
    SURGES,
    Goal,
    words,
)
from neurogrid.config import Config
from neurogrid.data.layouts.registry import SOURCES
from neurogrid.plural import plural
from neurogrid.storage import place


def page(config: Config, found: Measured, goals: Mapping[str, Sequence[Goal]], note: str) -> Iterator[str]:
    """The lines of the page; `note` stands at its head."""
    main, seeds = found.main, found.seeds
    yield "# Results on real readings"
    yield ""
    if note:
        yield note
        yield ""
    yield from _head(config, found)
    yield ""
    missed = sum(not goal.met for part in goals.values() for goal in part)
    yield (
        f"Of {sum(map(len, goals.values()))} [goals](#goals) {missed or 'none'} {'is' if missed < 2 else 'are'} missed"
        + ("; each section says which." if missed else ".")
    )
    for title, lines in (
        (JOINING, [*joining(seeds, main, found.day), *_parity(main[0], seeds[0])]),
        (FEDERATED, [*itself(seeds, main), *_bias(seeds, main)]),
        (SURGES, _surges(seeds, main)),
        (QUANTILES, _quantiles(found.quantiles)),
        (SUMS, _sums(found.quantiles)),
        (ATTACKS, _attacks(main[0], found.attacked)),
    ):
        yield from ("", f"## {title}", "", *lines, *_missed(goals[title]))
    yield from _goals(goals)
    yield from _spread(found)
    for title, run_id in (
        ("2 h ahead", f"main-seed{seeds[0]}"),
        ("A day ahead", "day-ahead"),
        ("Quantiles", "quantiles"),
        ("Squared loss", "squared-loss"),
    ):
        yield ""
        yield f"# {title}, seed {seeds[0]}, in full"
        yield ""
        yield (place(config.warehouse) / "runs" / run_id / "evaluation.md").read_text().rstrip()


def _readings(config: Config) -> str:
    """Whose homes they are, by the source's own words, and how long a slot is."""
    kind, minutes = config.source.kind, config.etl.cadence_minutes
    words = SOURCES.find(kind).words if kind in SOURCES.names() else f"readings of the source {kind}"
    return f"{words}, {f'in slots of {minutes} min' if minutes else 'in the slots of the source'}"


def _head(config: Config, found: Measured) -> Iterator[str]:
    test = found.main[0].test
    agents = min(config.rounds.agents_per_round, config.sampling.agents)
    yield (
        f"{len(test['trained']['households'])} trained and {len(test['held_out']['households'])} held-out households"
        f"{_without(test)} of {_readings(config)}; {plural(config.rounds.count, 'round')} of "
        f"{plural(agents, 'agent')}; {'seed' if len(found.seeds) == 1 else 'seeds'} "
        f"{', '.join(map(str, found.seeds))}. Made by `make results` in {found.minutes:.0f} minutes on "
        f"{psutil.cpu_count()} cores, {platform.machine()}{_earlier(found)}. Each figure is of test time that nothing "
        "was trained or tuned on, with its 95% interval where it has one."
    )
    if len(found.seeds) > 1:
        yield (
            "Where several figures stand in a cell or a line, they are of the seeds in turn. Each seed draws its own "
            "homes from the same readings, so many homes are in several draws."
        )


def _earlier(found: Measured) -> str:
    """Runs that the time does not hold."""
    there = found.runs - found.made
    return f", without {plural(there, 'run')} of {found.runs} made earlier" if there else ""


def _without(test: Mapping[str, Any]) -> str:
    """Who was drawn and is not counted."""
    quiet = sum(len(group["quiet"]) for group in test.values())
    return f" (and {plural(quiet, 'quiet one')}, left out by training time)" if quiet else ""


def _missed(goals: Sequence[Goal]) -> Iterator[str]:
    """Those of a section, with what was measured."""
    missed = [goal for goal in goals if not goal.met]
    if missed:
        yield from ("", f"**Missed, {len(missed)} of this section's {plural(len(goals), 'goal')}:**", "")
    for goal in missed:
        yield f"- {goal.what}: {goal.got}; the goal was {goal.wanted}."


def _parity(first: Scored, seed: int) -> Iterator[str]:
    if not first.parity:
        return
    yield ""
    yield "### A household that comes later"
    yield ""
    yield (
        f"Each household that never trained, as if its meter had been put in so many days before the test time (seed "
        f"{seed}). `Alone` is a model trained on these days only, for at most four steps a day. `Personal` is the "
        "federated model, fine-tuned on them. MAE on the whole test time, below the 28-day median's. Nothing is tested "
        "here, so the table calls nothing better; read the intervals."
    )
    yield ""
    yield (
        "| days of own readings | households | alone | federated | personal | federated better than alone "
        "| personal better than alone |"
    )
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    for row in first.parity:
        below = [words(interval(row["below_median_percent"][m]), 1, "%") for m in ("alone", "federated", "personal")]
        better = [words(interval(row[f"{m}_better_share"]).times(100), 0, "%") for m in ("federated", "personal")]
        yield f"| {row['days']} | {row['households']} | {' | '.join([*below, *better])} |"


def _bias(seeds: Sequence[int], main: Sequence[Scored]) -> Iterator[str]:
    yield ""
    yield (
        "Forecasts with the smallest absolute errors are too low in sum. The bias is that of the sum over households; "
        "where sums matter, use quantiles or squared loss."
    )
    yield ""
    methods = {"federated": "federated", "served": "used", "pooled": "pooled", "median_28_days": "28-day median"}
    yield f"| seed | MAE (kWh): {' | '.join(methods.values())} | bias: federated | used | 28-day mean |"
    yield f"|---:|{'---:|' * (len(methods) + 3)}"
    for seed, scored in zip(seeds, main, strict=True):
        maes = [words(scored.figure("mae", m).bare, 4) for m in methods]
        biases = [
            words(scored.figure("bias_percent", m).bare, 1, "%", "+") for m in ("federated", "served", "mean_28_days")
        ]
        yield f"| {seed} | {' | '.join([*maes, *biases])} |"


def _surges(seeds: Sequence[int], main: Sequence[Scored]) -> Iterator[str]:
    yield (
        "F1 of saying that the load will surge within 2 h, the mean over households. `Usual share`, the share of the "
        "slot's own surges over the past 28 days, needs no training: what a surge head gains is what it gains over "
        "that. The gains are differences within each household, and there is one only where its interval lies above 0."
    )
    yield ""
    methods = {"federated": "federated", "personal": "personal", "served": "used"}
    heads = [*methods.values(), "usual share", "persistence", "always"]
    yield f"| seed | households | {' | '.join(heads)} | {' | '.join(f'{name}: gain' for name in methods.values())} |"
    yield f"|---:|---|{'---:|' * (len(heads) + len(methods))}"
    for seed, scored in zip(seeds, main, strict=True):
        for group in GROUPS:
            names = (*methods, "usual_share", "persistence", "always")
            f1 = [words(scored.surge(m, "household_f1", group).bare, 3) for m in names]
            gains = [words(scored.surge(m, "household_f1_above_usual", group), 3, sign="+") for m in methods]
            yield f"| {seed} | {group.replace('_', '-')} | {' | '.join([*f1, *gains])} |"


def _goals(goals: Mapping[str, Sequence[Goal]]) -> Iterator[str]:
    yield ""
    yield "## Goals"
    yield ""
    yield (
        "Where a figure has a 95% interval, the whole interval has to meet the goal, with every seed. The worst tenth, "
        "multiples, minutes and the MAE above another run's have no interval: there the figure itself has to, with "
        "every seed."
    )
    yield ""
    yield "| | figure | goal | measured | |"
    yield "|---|---|---|---:|---|"
    for title, part in goals.items():
        for goal in part:
            yield f"| {title} | {goal.what} | {goal.wanted} | {goal.got} | {goal.verdict} |"


def _quantiles(scored: Scored) -> Iterator[str]:
    rows = [
        (who, name, found)
        for group, who in GROUPS.items()
        for method, name in (("federated", "federated"), ("quantiles_28_days", "28 days' quantiles"))
        if (found := scored.quantiles(method, group))
    ]
    if not rows:
        return
    yield (
        "The federated model with quantiles, against the same slot's quantiles over the 28 days before, which cost "
        "nothing. The CRPS is an absolute error for whole distributions. Corrected intervals are moved by what each "
        "household's validation part asks for."
    )
    yield ""
    covers = [f"{nominal:.0%} interval covers{more}" for nominal in COVERED for more in ("", ", corrected")]
    yield f"| households | quantiles | CRPS (kWh) | below the 28 days' | {' | '.join(covers)} |"
    yield f"|---|---|---:|---:|{'---:|' * len(covers)}"
    for who, name, found in rows:
        ours = name == "federated"
        below = words(interval(found["crps_below_usual_percent"]), 1, "%") if ours else "–"
        by_share = {round(one["nominal"], 6): one for one in found["intervals"]}
        cells = [
            words(interval(by_share[nominal][kind]).times(100) if nominal in by_share else UNKNOWN, 1, "%")
            for nominal in COVERED
            for kind in ("coverage", "corrected_coverage")
        ]
        yield f"| {who} | {name} | {words(interval(found['crps']), 4)} | {below} | {' | '.join(cells)} |"


def _sums(scored: Scored) -> Iterator[str]:
    if not scored.sums:
        yield "No set has 15 households."
        return
    yield (
        "The means that follow from the federated model's quantiles, added up over a set, where at least 15 of its "
        "households have readings. The error is the MAE over the mean load. Intervals are over weeks."
    )
    yield ""
    yield "| set | households | error | below the 28-day means' | bias | 28-day means: error | bias |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name, found in scored.sums.items():
        ours, base = (found["methods"].get(method) for method in (SUM_METHOD, "mean_28_days"))
        if ours and base:
            cells = (
                words(interval(ours["nmae"]), 3),
                words(interval(ours["nmae_below_mean_percent"]), 1, "%"),
                words(interval(ours["bias_percent"]), 1, "%", "+"),
                words(interval(base["nmae"]), 3),
                words(interval(base["bias_percent"]), 1, "%", "+"),
            )
            yield f"| {name.replace('_', '-')} | {found['households']} | {' | '.join(cells)} |"


def _attacks(clean: Scored, attacked: Mapping[str, Scored]) -> Iterator[str]:
    yield (
        "A fifth of the agents of every round are malicious. The 28-day median needs no training, so what counts is "
        "the share of the clean run's gain over it that is kept. All of it is of the federated model, not of personal "
        "ones."
    )
    yield ""
    yield "| attack | MAE (kWh) | above the clean run | gain over the median kept | malicious updates rejected |"
    yield "|---|---:|---:|---:|---:|"
    median = clean.mae("median_28_days")
    gain = median - clean.mae("federated")
    for kind, scored in {"none": clean, **attacked}.items():
        worse = scored.mae("federated") / clean.mae("federated") - 1
        # Where nothing was gained there is no share of it.
        kept = f"{(median - scored.mae('federated')) / gain:.0%}" if gain > 0 else "–"
        recall = scored.summary["rejection_recall"]
        caught = "" if recall is None else f"{recall:.0%}"
        yield f"| {kind} | {scored.mae('federated'):.4f} | {worse:+z.1%} | {kept} | {caught} |"


def _spread(found: Measured) -> Iterator[str]:
    """How much figures change with the seed; nothing of a single one."""
    if len(found.main) < 2:
        return
    yield ""
    yield "## Chance"
    yield ""
    yield (
        "Each seed draws other homes and trains with other random numbers; the spread is the standard deviation over "
        "seeds. Intervals over households do not hold the luck of training. How much of the spread is the training's, "
        "on the same homes, was not measured."
    )
    yield ""
    yield "| figure | by seed | spread |"
    yield "|---|---|---:|"
    figures: tuple[tuple[str, int, str, Callable[[Scored], float]], ...] = (
        ("MAE, federated, trained (kWh)", 4, "", lambda s: s.mae("federated")),
        ("federated below the 28-day median, trained", 1, "%", lambda s: s.below("federated", "median_28_days").value),
        ("used below the 28-day median, trained", 1, "%", lambda s: s.below("served", "median_28_days").value),
        ("personal below alone, trained", 1, "%", lambda s: s.below("personal", "alone").value),
        ("used below pooled boosting, trained", 1, "%", lambda s: s.below("served", "gbm_pooled").value),
        ("any surge, F1, federated, trained", 3, "", lambda s: s.surge("federated", "f1").value),
    )
    for title, digits, unit, figure in figures:
        values = [figure(scored) for scored in found.main]
        if not all(map(math.isfinite, values)):
            continue
        listed = ", ".join(f"{value:.{digits}f}{unit}" for value in values)
        yield f"| {title} | {listed} | {statistics.stdev(values):.{digits + 1}f}{unit} |"
