"""What an evaluation found: figures by part, group of households and method, as a dictionary and as Markdown."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from neurogrid.plural import plural
from neurogrid.workloads.meters.evaluation.examples import Examples
from neurogrid.workloads.meters.evaluation.intervals import Figure
from neurogrid.workloads.meters.evaluation.metrics import SCORE_STEP, Detection, ReliabilityBin
from neurogrid.workloads.meters.evaluation.paired import SIGNIFICANT, Paired
from neurogrid.workloads.meters.evaluation.parity import ParityFigures
from neurogrid.workloads.meters.evaluation.quantiles import QuantileFigures
from neurogrid.workloads.meters.evaluation.sum_figures import SumFigures
from neurogrid.workloads.meters.evaluation.tables import parity_table, quantile_table, sum_tables
from neurogrid.workloads.meters.windows import Period

GROUP_TITLES = {"trained": "Trained households, held-out time", "held_out": "Households that never trained"}
METHOD_TITLES = {
    "served": "**what a household uses** (its choice by validation)",
    "personal": "federated, fine-tuned at home",
    "own_alone": "trained alone, as a candidate of the choice",
    "federated": "**federated**",
    "pooled": "same model, readings pooled",
    "alone": "same model, each household alone",
    "gbm_pooled": "gradient boosting (L1), readings pooled",
    "gbm_alone": "gradient boosting (L1), each household alone",
    "ridge_federated": "ridge, federated (exact)",
    "ridge_local": "ridge, each household alone",
    "median_28_days": "median of the slot, 28 days",
    "mean_28_days": "mean of the slot, 28 days",
    "yesterday": "same slot yesterday",
    "last_week": "same slot last week",
    "persistence": "last value repeated",
}
SURGE_TITLES = {
    **METHOD_TITLES,
    "usual_share": "share of the slot's surges, 28 days",
    "persistence": "a surge now, so a surge ahead",
    "always": "always predicts a surge",
    "never": "never predicts a surge",
}


@dataclass(frozen=True)
class MethodFigures:
    """A method's errors, each the mean over households, with 95% intervals over households (see intervals.py).

    Attributes:
        mae, rmse: kWh a slot. mase: MAE over the household's mean change from the day before in training.
        mase_median: its median over households, which a household with hardly any load does not rule.
        bias_percent: how far the sum of all households' forecasts lies above what was measured, as a share of that.
        household_bias_percent: the same of each household, the mean over households.
        mae_by_slot, rmse_by_slot, mase_by_slot: the same for each slot of the horizon.
        mae_below_median_percent: how far the mean MAE lies below that of the 28-day median.
        rmse_below_mean_percent: how far the mean RMSE lies below that of the 28-day mean.
        better_than_median_share, better_than_alone_share: share of households whose MAE is less than with the median,
            and than with the same model trained alone.
        households: how many have the method.
    """

    mae: Figure
    rmse: Figure
    mase: Figure
    mase_median: Figure
    bias_percent: Figure
    household_bias_percent: Figure
    mae_by_slot: tuple[Figure, ...]
    rmse_by_slot: tuple[Figure, ...]
    mase_by_slot: tuple[Figure, ...]
    mae_below_median_percent: Figure
    rmse_below_mean_percent: Figure
    better_than_median_share: Figure
    better_than_alone_share: Figure | None
    households: int


@dataclass(frozen=True)
class SurgeFigures:
    """How surges were told: `output` is `slot 1` ..., `every slot` (all of them pooled) or `any`, of the horizon.

    `reliability` has, of `any` alone and by method, how often a surge came by how likely it was said to be.
    """

    output: str
    prevalence: Figure
    methods: dict[str, Detection]
    reliability: dict[str, tuple[ReliabilityBin, ...]]


@dataclass(frozen=True)
class GroupFigures:
    """A group of households on one part of time.

    Attributes:
        households: those that count, by id. windows: how many they have.
        quiet: left out, since their training part is (nearly) all zeros.
        without_windows: left out, since they have none in this part.
        methods: errors by method. surges: by output.
        paired: the run's model against each other method, household by household.
        mae_by_household: MAE by household and method, of all that have windows, the quiet ones too.
    """

    households: tuple[str, ...]
    windows: int
    quiet: tuple[str, ...]
    without_windows: tuple[str, ...]
    methods: dict[str, MethodFigures]
    paired: tuple[Paired, ...]
    surges: tuple[SurgeFigures, ...]
    mae_by_household: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """All that was found.

    Attributes:
        cadence_minutes, history_slots, horizon_slots: of the windows.
        parts: by part of time (`validation`, `test`) and group (`trained`, `held_out`).
        surge_cuts: by method and output, the probability from which a surge is said, tuned on validation.
        ridge_alpha: the federated ridge's penalty, tuned on validation; None if it was not asked for.
        examples: a few households' forecasts, and the clusters' usual days.
        households: each household's own figures, see households.py.
        quantiles: by group and part of time, where the run forecasts quantiles.
        sums: of sets of households, where one is large enough.
        parity: by days of own readings, what held-out households have alone and by joining; empty if not asked for.
    """

    cadence_minutes: int
    history_slots: int
    horizon_slots: int
    parts: dict[str, dict[str, GroupFigures]]
    surge_cuts: dict[str, dict[str, float]]
    ridge_alpha: float | None
    examples: Examples
    households: pa.Table
    quantiles: dict[str, dict[Period, dict[str, QuantileFigures]]] = field(default_factory=dict)
    sums: dict[str, SumFigures] = field(default_factory=dict)
    parity: tuple[ParityFigures, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, without the table: figures as {value, low, high}, what is not defined as None."""
        plain: dict[str, Any] = _plain(asdict(replace(self, households=None)))
        for absent in ("households", *(name for name in ("quantiles", "sums", "parity") if not plain[name])):
            del plain[absent]
        return plain

    def to_markdown(self) -> str:
        """The test part's tables, for a reader who has not seen the rest."""
        minutes = self.cadence_minutes * self.horizon_slots
        ahead = f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
        lines = [
            f"## Forecast of the next {ahead} ({self.horizon_slots} slots of {self.cadence_minutes} min)",
            "",
            "Test period; means over households with 95% intervals over households. kWh a slot. The bias is that of "
            "the sum over households: a forecast that suits the MAE of each may be far off for their sum.",
        ]
        for group, figures in self.parts["test"].items():
            if not figures.households:
                continue
            counts = f"{plural(len(figures.households), 'household')}, {plural(figures.windows, 'window')}"
            lines += ["", f"### {GROUP_TITLES[group]} ({counts})", ""]
            lines += _error_table(figures)
            lines += _paired_table(figures)
            lines += ["", "Errors by slot of the horizon:", "", *_error_by_slot_table(figures, self.cadence_minutes)]
            lines += [
                "",
                f"Surges (above the household's own 95th percentile), any in the next {ahead}; of all households' "
                "windows together, where no mean is named:",
                "",
            ]
            lines += _surge_table(figures.surges[-1])
            lines += ["", "Surges by slot, F1 of the federated head:", "", *_slot_table(figures.surges)]
            if quantiles := self.quantiles.get(group, {}).get("test"):
                lines += ["", "Quantiles:", "", *quantile_table(quantiles)]
            lines += _left_out(figures)
        if self.parity:
            lines += ["", "### Days to parity", "", *parity_table(self.parity)]
        if self.sums:
            lines += ["", "### Sums of households", "", *sum_tables(self.sums)]
        return "\n".join(lines) + "\n"


def _error_table(figures: GroupFigures) -> Iterable[str]:
    yield (
        "| method | MAE | below the 28-day median | bias | RMSE | below the 28-day mean | MASE | median MASE "
        "| better than the median |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    order = [name for name in METHOD_TITLES if name in figures.methods]
    for name in [*order, *(name for name in figures.methods if name not in order)]:
        found = figures.methods[name]
        cells = (
            METHOD_TITLES.get(name, name),
            _number(found.mae, 4),
            _number(found.mae_below_median_percent, 1, "%"),
            _number(found.bias_percent, 1, "%"),
            _number(found.rmse, 4),
            _number(found.rmse_below_mean_percent, 1, "%"),
            _number(found.mase, 3),
            _number(found.mase_median, 3),
            _share(found.better_than_median_share),
        )
        yield f"| {' | '.join(cells)} |"
    alone = figures.methods.get("federated")
    if alone and alone.better_than_alone_share:
        yield ""
        yield f"Better off federated than alone: {_share(alone.better_than_alone_share)} of households."


def _paired_table(figures: GroupFigures) -> Iterable[str]:
    """The run's model against the others: nothing is called better or worse but by the corrected test."""
    for method in dict.fromkeys(pair.method for pair in figures.paired):
        yield ""
        yield (
            f"{METHOD_TITLES.get(method, method)} against each other method, household by household. The p-value is "
            "that of Wilcoxon's signed-rank test, then corrected for the number of methods (Holm). Only where the "
            f"corrected one is below {SIGNIFICANT:g} is the MAE called lower or higher. The worst tenth are the "
            "households that fare worst with the method: the mean of their own changes."
        )
        yield ""
        yield "| against | households | MAE, change | MAE is | p | p, corrected | better for | worst tenth |"
        yield "|---|---|---|---|---|---|---|---|"
        for pair in figures.paired:
            if pair.method == method:
                cells = (
                    METHOD_TITLES.get(pair.rival, pair.rival),
                    str(pair.households),
                    _number(pair.mae_change_percent, 1, "%"),
                    pair.shown or "not shown to differ",
                    _p_value(pair.p_value),
                    _p_value(pair.corrected_p_value),
                    _share(pair.better_share),
                    _number(Figure(pair.worst_tenth_percent, math.nan, math.nan), 1, "%"),
                )
                yield f"| {' | '.join(cells)} |"


def _p_value(value: float) -> str:
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _error_by_slot_table(figures: GroupFigures, cadence_minutes: int) -> Iterable[str]:
    """Each slot's errors, of the federated model and of the naive forecast to beat."""
    shown = [name for name in ("federated", "median_28_days") if name in figures.methods]
    names = [METHOD_TITLES[name] for name in shown]
    measures = ("MAE", "RMSE", "MASE")
    yield (
        "| slot | minutes ahead | " + " | ".join(f"{measure}, {name}" for measure in measures for name in names) + " |"
    )
    yield "|---|---|" + "---|" * (len(measures) * len(shown))
    found = [figures.methods[name] for name in shown]
    for slot in range(len(found[0].mae_by_slot)):
        cells = [
            *(_number(method.mae_by_slot[slot], 4) for method in found),
            *(_number(method.rmse_by_slot[slot], 4) for method in found),
            *(_number(method.mase_by_slot[slot], 3) for method in found),
        ]
        yield f"| {slot + 1} | {slot * cadence_minutes} to {(slot + 1) * cadence_minutes} | {' | '.join(cells)} |"


def _surge_table(found: SurgeFigures) -> Iterable[str]:
    yield (
        "| method | precision | recall | F1 | average precision | accuracy | F1, mean of households "
        "| above the usual share's | average precision, mean of households | Brier score |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, how in found.methods.items():
        pooled = (how.precision, how.recall, how.f1, how.average_precision, how.accuracy)
        own = (how.household_f1, how.household_f1_above_usual, how.household_average_precision)
        figures = (*pooled, *own, how.brier)
        yield f"| {SURGE_TITLES.get(name, name)} | {' | '.join(_number(figure, 3) for figure in figures)} |"
    yield ""
    yield f"Prevalence {_share(found.prevalence)}. The threshold of each score was tuned on the validation period."
    bounds = [how.average_precision_bounds for how in found.methods.values()]
    off = max((most - least for least, most in bounds if most >= least), default=0.0)
    yield (
        "The average precision of households' means is exact; that of all windows together is made of scores in steps "
        f"of {SCORE_STEP}: the least and the most that the scores themselves can have are {off:.3f} apart or less."
    )


def _slot_table(surges: tuple[SurgeFigures, ...]) -> Iterable[str]:
    shown = [found for found in surges if "federated" in found.methods]
    if len(shown) > 12:
        shown = [shown[0], shown[len(shown) // 2], *shown[-3:]]
    yield "| " + " | ".join(found.output for found in shown) + " |"
    yield "|" + "---|" * len(shown)
    yield "| " + " | ".join(_number(found.methods["federated"].f1, 3) for found in shown) + " |"


def _left_out(figures: GroupFigures) -> Iterable[str]:
    if figures.quiet:
        yield ""
        yield f"Left out by a rule fixed beforehand (93% zeros or more in training): {', '.join(figures.quiet)}."
    if figures.without_windows:
        yield ""
        yield f"Without a whole window in the test period: {', '.join(figures.without_windows)}."


def _number(figure: Figure, digits: int, unit: str = "") -> str:
    return figure.words(digits, unit)


def _share(figure: Figure) -> str:
    return _number(Figure(100 * figure.value, 100 * figure.low, 100 * figure.high), 0, "%")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
