"""The goals of the page of results, each met or missed by what was measured.

A figure with an interval meets its goal only where the whole interval does, and with every seed. The few without one
meet it by themselves.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from neurogrid.cli.results_figures import GROUPS, NEWCOMER_DAYS, UNKNOWN, Interval, Measured, Scored, interval
from neurogrid.plural import plural

JOINING, FEDERATED, SURGES = "What joining gives", "The federated model itself", "Surges"
QUANTILES, SUMS, ATTACKS = "Quantiles and intervals", "Sums of households", "Attacks"
COVERED = (0.9, 0.8)
"""Central intervals that have to cover what they say."""
SUM_METHOD = "quantile_mean"
"""What adds up: the means that follow from the quantiles."""


@dataclass(frozen=True)
class Goal:
    """A figure that was aimed at.

    Attributes:
        what, wanted, got: in words.
        met: whether it was reached.
        further: whether the stretch goal was; None where there is none.
    """

    what: str
    wanted: str
    got: str
    met: bool
    further: bool | None = None

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if not self.met:
            return "**missed**"
        return {None: "met", True: "met, stretch met", False: "met, stretch missed"}[self.further]


def goals(found: Measured) -> dict[str, list[Goal]]:
    """All, by the section of the page that their figures stand in, in its order."""
    return {
        JOINING: [*_personal(found.main, found.day), *_newcomers(found.main[0])],
        FEDERATED: list(_federated(found.main, found.squared)),
        SURGES: list(_surges(found.main)),
        QUANTILES: list(_quantiles(found.quantiles)),
        SUMS: list(_sums(found.quantiles)),
        ATTACKS: list(_attacks(found.main[0], found.attacked)),
    }


def words(found: Interval, digits: int, unit: str = "", sign: str = "") -> str:
    """A figure with its interval; without one where too few households bear it."""
    if math.isnan(found.value):
        return "not measured"
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return f"{found.value:{sign}z.{digits}f}{unit}"
    return f"{found.value:{sign}z.{digits}f}{unit} ({found.low:{sign}z.{digits}f} to {found.high:{sign}z.{digits}f})"


def _least(
    what: str, wanted: float, got: Sequence[Interval], unit: str, *, further: float | None = None, digits: int = 1
) -> Goal:
    """Met when the low end of every interval reaches it."""
    aim = f"at least {wanted:g}{unit}" + (f" (stretch: {further:g}{unit})" if further is not None else "")
    listed = ", ".join(words(one, digits, unit) for one in got)
    beyond = None if further is None else all(one.low >= further for one in got)
    return Goal(what, aim, listed, bool(got) and all(one.low >= wanted for one in got), beyond)


def _within(what: str, middle: float, reach: float, got: Mapping[str, Interval], unit: str) -> Goal:
    """Met when every interval lies within `reach` of `middle`; `got` by what it is of."""
    listed = ", ".join(f"{name}: {words(one, 1, unit)}" if name else words(one, 1, unit) for name, one in got.items())
    met = bool(got) and all(one.low >= middle - reach and one.high <= middle + reach for one in got.values())
    aim = f"{middle - reach:g}% to {middle + reach:g}%"
    return Goal(what, aim, listed or "not measured", met)


def _single(what: str, wanted: float, got: Sequence[float], unit: str, *, least: bool = True, digits: int = 1) -> Goal:
    """Of figures without an interval: met when each meets it."""
    aim = f"{'at least' if least else 'at most'} {wanted:g}{unit}"
    met = bool(got) and all(value >= wanted if least else value <= wanted for value in got)
    listed = ", ".join("not measured" if math.isnan(value) else f"{value:z.{digits}f}{unit}" for value in got)
    return Goal(what, aim, listed, met)


def _personal(main: Sequence[Scored], day: Scored) -> Iterator[Goal]:
    own, who = "personal models", "trained households"
    below = [s.below("personal", "alone") for s in main]
    yield _least(f"MAE of {own} below that of the model alone, {who}", 2, below, "%", further=4)
    better = [s.better("personal", "alone") for s in main]
    yield _least(f"households better off with {own} than with the model alone, {who}", 85, better, "%")
    worst = [s.worst_tenth("personal", "alone") for s in main]
    yield _single(f"MAE of the worst tenth with {own} above that alone, {who}", 0.5, worst, "%", least=False)
    used = "MAE of what a household uses below"
    median = [s.below("served", "median_28_days") for s in main]
    yield _least(f"{used} the 28-day median's, {who}", 7.5, median, "%", further=9)
    yield _least(f"{used} pooled boosting's, {who}", 1, [s.below("served", "gbm_pooled") for s in main], "%")
    ahead = day.below("served", "median_28_days")
    yield _least(f"{used} the 28-day median's, a day ahead, {who}", 3.5, [ahead], "%")


def _newcomers(first: Scored) -> Iterator[Goal]:
    row = first.newcomers
    who = f"newcomers with {NEWCOMER_DAYS} days of readings"
    below = interval(row["below_median_percent"]["personal"]) if row else UNKNOWN
    yield _least(f"MAE of personal models below the 28-day median's, {who}", 5, [below], "%")
    wanted = 90
    better = interval(row["personal_better_share"]).times(100) if row else UNKNOWN
    goal = _least(f"households better off with personal models than with the model alone, {who}", wanted, [better], "%")
    # The low end of Clopper and Pearson's interval where all households are better off.
    most = 100 * 0.025 ** (1 / row["households"]) if row else math.nan
    if row and most < wanted:
        note = f"; {plural(row['households'], 'household')} can show no more than {most:.0f}%, even if all are better"
        goal = Goal(goal.what, goal.wanted, goal.got + note, goal.met)
    yield goal


def _surges(main: Sequence[Scored]) -> Iterator[Goal]:
    for method, name in (("served", "what a household uses"), ("federated", "the federated model")):
        for group, who in GROUPS.items():
            got = [s.surge(method, "household_f1_above_usual", group) for s in main]
            listed = ", ".join(words(one, 3, sign="+") for one in got)
            what = f"F1 (mean over households) of {name} above the usual share's, {who}"
            yield Goal(what, "above 0", listed, all(one.low > 0 for one in got))
    f1 = [s.surge("federated", "f1") for s in main]
    yield _least("F1 of the federated model, trained households", 0.35, f1, "", digits=3)
    times = [s.surge("federated", "f1").value / s.surge("always", "f1").value for s in main]
    what = "F1 of the federated model as a multiple of always saying so, trained households"
    yield _single(what, 1.7, times, "", digits=2)


def _federated(main: Sequence[Scored], squared: Scored) -> Iterator[Goal]:
    for group, wanted in (("trained", 5), ("held_out", 4)):
        below = [s.figure("mae_below_median_percent", group=group) for s in main]
        yield _least(f"MAE of the federated model below the 28-day median's, {GROUPS[group]}", wanted, below, "%")
    above = [100 * (s.mae("federated") / s.best_pooled_mae - 1) for s in main]
    best = "MAE of the federated model above the best that pooled readings give (the model, boosting)"
    yield _single(best, 2, above, "%", least=False)
    rmse = squared.figure("rmse_below_mean_percent")
    yield _least("RMSE of the federated model below the 28-day mean's, trained with squared loss", 3, [rmse], "%")
    minutes = [s.summary["wallclock_s"] / 60 for s in main]
    yield _single(f"time of {main[0].summary['rounds']} rounds", 3, minutes, " min", least=False, digits=2)


def _quantiles(scored: Scored) -> Iterator[Goal]:
    for group, who in GROUPS.items():
        found = scored.quantiles("federated", group)
        intervals = {round(one["nominal"], 6): one for one in (found or {}).get("intervals", ())}
        for nominal in COVERED:
            one = intervals.get(nominal)
            got = interval(one["corrected_coverage"]).times(100) if one else UNKNOWN
            yield _within(f"what corrected {nominal:.0%} intervals cover, {who}", 100 * nominal, 2, {"": got}, "%")
    for group, who in GROUPS.items():
        found = scored.quantiles("federated", group)
        crps = interval(found["crps_below_usual_percent"]) if found else UNKNOWN
        yield _least(f"CRPS below that of the 28 days' quantiles, {who}", 10, [crps], "%")


def _sums(scored: Scored) -> Iterator[Goal]:
    below, bias = {}, {}
    for name, found in scored.sums.items():
        if error := found["methods"].get(SUM_METHOD):
            below[name.replace("_", "-")] = interval(error["nmae_below_mean_percent"])
            bias[name.replace("_", "-")] = interval(error["bias_percent"])
    listed = ", ".join(f"{name}: {words(one, 1, '%')}" for name, one in below.items()) or "not measured"
    met = bool(below) and all(one.low >= 10 for one in below.values())
    yield Goal("error of each set's sum below that of its 28-day means", "at least 10%", listed, met)
    yield _within("bias of each set's sum", 0, 2, bias, "%")


def _attacks(clean: Scored, attacked: Mapping[str, Scored]) -> Iterator[Goal]:
    for kind, scored in attacked.items():
        worse = 100 * (scored.mae("federated") / clean.mae("federated") - 1)
        what = f"MAE above the clean run's where a fifth of each round's agents attack by {kind}"
        yield _single(what, 2, [worse], "%", least=False)
