"""The page's comparisons household by household: what joining gives, and the federated model as it is.

Sentences say lower or higher only where Wilcoxon's signed-rank test shows it after Holm's correction.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from neurogrid.cli.results_figures import GROUPS, Scored, interval
from neurogrid.cli.results_goals import words

RIVALS = {
    "alone": "the same model, each household alone",
    "gbm_alone": "gradient boosting, each household alone",
    "pooled": "the same model, readings pooled",
    "gbm_pooled": "gradient boosting, readings pooled",
    "median_28_days": "the 28-day median",
    "federated": "the federated model as it is",
}
"""What a model is put against, by method: first what needs nobody else, then what needs all readings in one place."""
MODELS = {"personal": "the personal model", "served": "what a household uses", "federated": "the federated model"}
_TESTED = (
    "The change of the MAE on the same households; below 0 the first is better. It is called lower or higher only "
    "where Wilcoxon's signed-rank test shows it, corrected for the number of rivals (Holm)."
)


def joining(seeds: Sequence[int], main: Sequence[Scored], day: Scored) -> Iterator[str]:
    """What a household has with its personal model, against what it has without joining."""
    yield (
        "After the rounds each household fine-tunes the federated model on its own readings: its personal model. By "
        "its own validation time it then chooses what it uses: this one, the federated one, the 28-day median, or a "
        "blend of them. A household that does not join has what it trains alone: the same model, with as many steps as "
        "the federation and early stopping, or boosted trees. Pooled models need everybody's readings in one place; "
        "a federation does not."
    )
    yield ""
    yield from _sentences("personal", main, "trained")
    yield from _sentences("personal", main, "held_out")
    yield from _sentences("served", main, "trained", ("alone", "gbm_pooled", "median_28_days"))
    yield from _sentences("served", [day], "trained", ("median_28_days",), ", a day ahead")
    yield ""
    yield _TESTED + " The worst tenth are the households that fare worst: the mean of their own changes."
    yield ""
    yield from _table(seeds, main, ("personal", "served"))


def itself(seeds: Sequence[int], main: Sequence[Scored]) -> Iterator[str]:
    """The federated model as it is, against others."""
    yield (
        "The same weights for all households, before any fine-tuning. " + _TESTED + " Ridge minimises squares and is a "
        "rival for the RMSE alone; see the tables in full."
    )
    yield ""
    for group in GROUPS:
        yield from _sentences("federated", main, group)
    yield ""
    yield from _table(seeds, main, ("federated",))


def _sentences(
    method: str, runs: Sequence[Scored], group: str, against: Sequence[str] = tuple(RIVALS), more: str = ""
) -> Iterator[str]:
    """One for each rival that the method was put against."""
    for rival in against:
        pairs = [pair for scored in runs if (pair := scored.paired(method, rival, group)) is not None]
        if pairs:
            changes = ", ".join(words(interval(pair["mae_change_percent"]).bare, 1, "%", "+") for pair in pairs)
            better = ", ".join(words(interval(pair["better_share"]).times(100).bare, 0, "%") for pair in pairs)
            yield (
                f"- Against {RIVALS[rival]}, {GROUPS[group]}{more}: the MAE of {MODELS[method]} {claim(pairs)} "
                f"(change {changes}; lower for {better} of households)."
            )


def claim(pairs: Sequence[Mapping[str, Any]]) -> str:
    """What the corrected tests of all seeds bear, and no more."""
    said = {"lower": "is lower", "higher": "is higher", "": "is not shown to differ"}
    counts = {text: sum(pair["shown"] == shown for pair in pairs) for shown, text in said.items()}
    if len(pairs) == 1:
        return next(text for text, count in counts.items() if count)
    return ", ".join(f"{text} with {count} of {len(pairs)} seeds" for text, count in counts.items() if count)


def _table(seeds: Sequence[int], main: Sequence[Scored], methods: Sequence[str]) -> Iterator[str]:
    yield "| seed | households | model | against | MAE, change | p, corrected | better for | worst tenth |"
    yield "|---:|---|---|---|---:|---:|---:|---:|"
    for seed, scored in zip(seeds, main, strict=True):
        for group in GROUPS:
            for method in methods:
                for rival, name in RIVALS.items():
                    pair = scored.paired(method, rival, group)
                    if pair is not None:
                        who = f"{pair['households']} {group.replace('_', '-')}"
                        yield f"| {seed} | {who} | {MODELS[method]} | {name} | {' | '.join(_cells(pair))} |"


def _cells(pair: Mapping[str, Any]) -> list[str]:
    p, worst = pair["corrected_p_value"], pair["worst_tenth_percent"]
    return [
        words(interval(pair["mae_change_percent"]), 1, "%", "+"),
        "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
        words(interval(pair["better_share"]).times(100), 0, "%"),
        "–" if worst is None else f"{worst:+z.1f}%",
    ]
