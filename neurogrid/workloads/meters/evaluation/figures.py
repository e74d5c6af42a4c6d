"""Households' sums to the figures of a group: means over households, their intervals, surge cuts."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from neurogrid.workloads.meters.evaluation.intervals import Figure, Resampler, share
from neurogrid.workloads.meters.evaluation.metrics import (
    SCORE_LIMIT,
    SCORE_STEP,
    Counts,
    Detection,
    Floats,
    best_cut,
    confusion,
    detection,
    own_f1,
    reliability,
)
from neurogrid.workloads.meters.evaluation.paired import Paired, compare
from neurogrid.workloads.meters.evaluation.result import GroupFigures, MethodFigures, SurgeFigures
from neurogrid.workloads.meters.evaluation.score import HouseholdScore, PartScore
from neurogrid.workloads.meters.windows import Period

Cuts = dict[str, dict[str, int]]
COMPARED = ("served", "personal", "federated")
"""Methods that are put against every other one, household by household."""


def outputs(horizon_slots: int) -> tuple[str, ...]:
    """Names of what a surge head is asked: each slot, all slots pooled, any of them."""
    return (*(f"slot {slot + 1}" for slot in range(horizon_slots)), "every slot", "any")


def tune_cuts(scores: Sequence[HouseholdScore]) -> Cuts:
    """For each method and output the bin with the best F1 over these households' validation windows."""
    parts = [score.parts["validation"] for score in scores if "validation" in score.parts and not score.quiet]
    cuts: Cuts = {}
    for method in _in_order(part.scores for part in parts):
        total = np.sum([_pooled(part.scores[method]) for part in parts if method in part.scores], axis=0)
        cuts[method] = {name: best_cut(total[row]) for row, name in enumerate(outputs(len(total) - 2))}
    return cuts


def probability(cut: int) -> float:
    """The lowest probability that bin `cut` stands for."""
    return float(1 / (1 + np.exp(SCORE_LIMIT - (cut - 0.5) * SCORE_STEP)))


def group_figures(
    scores: Sequence[HouseholdScore], period: Period, cuts: Cuts, *, seed: int, group: str
) -> GroupFigures:
    """Figures of these households on one part of time."""
    having = [score for score in scores if period in score.parts]
    counted = [score for score in having if not score.quiet]
    parts = [score.parts[period] for score in counted]
    resampler = Resampler.of(len(counted), seed, f"{group} {period}")
    return GroupFigures(
        households=tuple(score.household_id for score in counted),
        windows=sum(part.windows for part in parts),
        quiet=tuple(score.household_id for score in having if score.quiet),
        without_windows=tuple(score.household_id for score in scores if period not in score.parts),
        methods=_methods(counted, parts, resampler),
        paired=_paired(parts, resampler),
        surges=_surges(parts, cuts, resampler) if parts else (),
        mae_by_household={
            score.household_id: {name: float(error.mean()) for name, error in score.parts[period].absolute.items()}
            for score in having
        },
    )


def _methods(
    counted: Sequence[HouseholdScore], parts: Sequence[PartScore], resampler: Resampler
) -> dict[str, MethodFigures]:
    scale = np.array([score.mase_scale_kwh for score in counted])
    names = _in_order(part.absolute for part in parts)
    absolute = {name: _stack([part.absolute for part in parts], name) for name in names}  # (n, h) each
    squared = {name: _stack([part.squared for part in parts], name) for name in names}
    signed = {name: _stack([part.signed for part in parts], name).mean(axis=1) for name in names}
    load = np.array([part.load.mean() for part in parts])
    some_load = np.where(load > 0, load, np.nan)
    mae = {name: error.mean(axis=1) for name, error in absolute.items()}
    rmse = {name: np.sqrt(error.mean(axis=1)) for name, error in squared.items()}
    return {
        name: MethodFigures(
            mae=resampler.mean(mae[name]),
            rmse=resampler.mean(rmse[name]),
            mase=resampler.mean(mae[name] / scale),
            mase_median=resampler.median(mae[name] / scale),
            bias_percent=_bias(signed[name], load, resampler),
            household_bias_percent=_bias(signed[name] / some_load, np.ones(len(load)), resampler),
            mae_by_slot=tuple(resampler.mean(slot) for slot in absolute[name].T),
            rmse_by_slot=tuple(resampler.mean(np.sqrt(slot)) for slot in squared[name].T),
            mase_by_slot=tuple(resampler.mean(slot / scale) for slot in absolute[name].T),
            mae_below_median_percent=_below(mae[name], mae["median_28_days"], resampler),
            rmse_below_mean_percent=_below(rmse[name], rmse["mean_28_days"], resampler),
            better_than_median_share=_share_less(mae[name], mae["median_28_days"]),
            better_than_alone_share=_share_less(mae[name], mae["alone"]) if "alone" in mae else None,
            households=int((~np.isnan(mae[name])).sum()),
        )
        for name in names
    }


def _paired(parts: Sequence[PartScore], resampler: Resampler) -> tuple[Paired, ...]:
    names = _in_order(part.absolute for part in parts)
    mae = {name: _stack([part.absolute for part in parts], name).mean(axis=1) for name in names}
    found = [
        compare(mae, ours, [name for name in names if name != ours], resampler) for ours in COMPARED if ours in mae
    ]
    return tuple(pair for pairs in found for pair in pairs)


def _below(values: Floats, than: Floats, resampler: Resampler) -> Figure:
    both = ~np.isnan(values) & ~np.isnan(than)
    found = resampler.ratio(np.where(both, values, 0), np.where(both, than, 0))
    return Figure(100 * (1 - found.value), 100 * (1 - found.high), 100 * (1 - found.low))


def _bias(signed: Floats, load: Floats, resampler: Resampler) -> Figure:
    known = ~np.isnan(signed)
    found = resampler.ratio(np.where(known, signed, 0), np.where(known, load, 0), least=-np.inf)
    return Figure(100 * found.value, 100 * found.low, 100 * found.high)


def _share_less(values: Floats, than: Floats) -> Figure:
    return share(np.where(np.isnan(values) | np.isnan(than), np.nan, values < than))


def _surges(parts: Sequence[PartScore], cuts: Cuts, resampler: Resampler) -> tuple[SurgeFigures, ...]:
    counts = {}  # each (n, h + 2, 2, bins): households, outputs, label, score
    for method in _in_order(part.scores for part in parts):
        nothing = np.zeros_like(next(part.scores[method] for part in parts if method in part.scores))
        counts[method] = np.stack([_pooled(part.scores.get(method, nothing)) for part in parts])
    exact = {method: _stack([part.average_precision for part in parts], method) for method in counts}  # (n, h + 2)
    persistence = np.stack([_pooled(part.persistence) for part in parts])
    label_counts = counts["usual_share"].sum(-1)  # (n, outputs, 2); every household has this method
    found = []
    for row, name in enumerate(outputs(label_counts.shape[1] - 2)):
        no, yes = label_counts[:, row, 0], label_counts[:, row, 1]
        none = np.zeros_like(no)
        said = {
            method: confusion(scored[:, row], cuts[method][name]) for method, scored in counts.items() if method in cuts
        }
        usual_f1 = own_f1(said["usual_share"]) if "usual_share" in said else None
        methods: dict[str, Detection] = {
            method: detection(confusions, counts[method][:, row], exact[method][:, row], resampler, usual_f1)
            for method, confusions in said.items()
        }
        for method, confusions in (
            ("persistence", persistence[:, row]),
            ("always", np.stack([yes, no, none, none], axis=1)),
            ("never", np.stack([none, none, yes, no], axis=1)),
        ):
            methods[method] = detection(confusions, None, None, resampler, usual_f1)
        prevalence = resampler.ratio(yes.astype(float), (yes + no).astype(float), most=1)
        likely = {method: reliability(scored[:, row], resampler) for method, scored in counts.items()}
        found.append(SurgeFigures(name, prevalence, methods, likely if name == "any" else {}))
    return tuple(found)


def _pooled(counts: Counts | npt.NDArray[np.int32]) -> Counts:
    """Puts the sum of the slots between the slots and `any`: (h + 1, ...) to (h + 2, ...)."""
    wide = counts.astype(np.int64)
    return np.concatenate([wide[:-1], wide[:-1].sum(axis=0, keepdims=True), wide[-1:]])


def _stack(rows: Sequence[dict[str, Floats]], name: str) -> Floats:
    """(n, h), NaN where a household lacks the method."""
    nothing = np.full_like(next(row[name] for row in rows if name in row), np.nan)
    return np.stack([row.get(name, nothing) for row in rows])


def _in_order(rows: Iterable[Iterable[str]]) -> list[str]:
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return list(names)
