"""What was found of quantiles and of sums, as Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence

from neurogrid.workloads.meters.evaluation.intervals import Figure
from neurogrid.workloads.meters.evaluation.parity import ParityFigures
from neurogrid.workloads.meters.evaluation.quantiles import TITLES, QuantileFigures
from neurogrid.workloads.meters.evaluation.sum_figures import SumFigures

SUM_TITLES = {
    "federated": "**federated**, the sum of its point forecasts",
    "federated_scaled": "the same, each household scaled by its validation part",
    "quantile_mean": "**federated**, the sum of the means of its quantiles",
    "quantile_mean_scaled": "the same, each household scaled by its validation part",
    "mean_28_days": "mean of the slot, 28 days",
    "median_28_days": "median of the slot, 28 days",
    "last_week": "same slot last week",
}
VIEW_TITLES = {
    "independent": "errors have nothing to do with each other",
    "correlated": "errors are correlated as on validation",
    "comonotone": "all errors come together",
}


def quantile_table(found: Mapping[str, QuantileFigures]) -> Iterable[str]:
    """One group's quantiles by method."""
    first = next(iter(found.values()))
    nominal = [f"{100 * interval.nominal:g}%" for interval in first.intervals]
    heads = [
        *("method", "CRPS", "below the 28 days' quantiles"),
        *(f"the {share} interval covers" for share in nominal),
        *(f"width of {share}" for share in nominal),
        *(f"{share} covers, corrected" for share in nominal),
        *(f"width of {share}, corrected" for share in nominal),
    ]
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for method, figures in found.items():
        cells = [
            TITLES[method],
            figures.crps.words(4),
            figures.crps_below_usual_percent.words(1, "%"),
            *(_percent(interval.coverage) for interval in figures.intervals),
            *(interval.width.words(3) for interval in figures.intervals),
            *(_percent(interval.corrected_coverage) for interval in figures.intervals),
            *(interval.corrected_width.words(3) for interval in figures.intervals),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    levels = ", ".join(f"{level:g}" for level in first.levels)
    yield (
        f"Quantiles {levels}; CRPS is twice their mean pinball loss; CRPS and widths are kWh a slot. The ends of "
        "corrected intervals are moved by what each household's validation part asks for."
    )


def sum_tables(found: Mapping[str, SumFigures]) -> Iterable[str]:
    """All sets: errors, then distributions."""
    yield "Errors of the sum over each set, in windows that at least 15 of its households have; intervals over weeks."
    for name, figures in found.items():
        yield ""
        yield (
            f"#### {name.replace('_', ' ')}: {figures.households} households, {figures.least} to {figures.most} in "
            f"{figures.windows} windows, {figures.mean_kwh:.2f} kWh a slot"
        )
        yield ""
        yield "| forecast | MAE over the mean load | below the 28-day means | bias |"
        yield "|---|---|---|---|"
        for method, error in figures.methods.items():
            cells = (
                SUM_TITLES[method],
                error.nmae.words(4),
                error.nmae_below_mean_percent.words(1, "%"),
                error.bias_percent.words(1, "%"),
            )
            yield f"| {' | '.join(cells)} |"
        if figures.distributions:
            yield ""
            yield from _distributions(figures)


def parity_table(found: Sequence[ParityFigures]) -> Iterable[str]:
    """What a household that joins late has, by days of own readings."""
    yield (
        "Held-out households, cut to their last days before the test part; a fifth of them is for validation. Alone: "
        "a model trained on these days only, for at most four steps a day. Personal: the federated model, fine-tuned "
        "on them. MAE on the whole test part, below the 28-day median's."
    )
    yield ""
    yield (
        "| days of own readings | households | alone | federated | personal | better federated than alone "
        "| better personal than alone |"
    )
    yield "|---|---|---|---|---|---|---|"
    for row in found:
        below = [row.below_median_percent[name].words(1, "%") for name in ("alone", "federated", "personal")]
        better = [_percent(figure) for figure in (row.federated_better_share, row.personal_better_share)]
        yield f"| {row.days} | {row.households} | {' | '.join([*below, *better])} |"


def _distributions(figures: SumFigures) -> Iterable[str]:
    some = next(iter(figures.distributions.values()))
    covers = [f"the {100 * interval.nominal:g}% interval covers" for interval in some.intervals]
    heads = ["distribution, if", "CRPS over the mean load", *covers, "above the rating, expected", "observed"]
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for view, found in figures.distributions.items():
        cells = (
            VIEW_TITLES[view],
            found.ncrps.words(4),
            *(_percent(interval.coverage) for interval in found.intervals),
            _percent(found.above_expected),
            _percent(found.above_observed),
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    correlation = "not known" if math.isnan(figures.correlation) else f"{figures.correlation:.3f}"
    yield f"Correlation on validation: {correlation}. The rating is what 90% of the validation part's sums lie below."


def _percent(figure: Figure) -> str:
    return Figure(*(100 * end for end in (figure.value, figure.low, figure.high))).words(1, "%")
