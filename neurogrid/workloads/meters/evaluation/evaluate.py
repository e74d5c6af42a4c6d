"""An evaluation as ordinary jobs over households: the comparisons' training, then one scoring pass.

Runs on Spark, one task a household, or in this process; the figures are the same.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from neurogrid.data.household import Household
from neurogrid.data.manifest import Manifest
from neurogrid.fl.update import Vector
from neurogrid.storage import Place
from neurogrid.workloads.meters.agent import completed
from neurogrid.workloads.meters.evaluation import parity
from neurogrid.workloads.meters.evaluation.distributions import Distributions, OwnModel
from neurogrid.workloads.meters.evaluation.examples import (
    Candidate,
    Example,
    Examples,
    Group,
    Stretch,
    cluster_days,
    example,
    ranked,
    shown_interval,
)
from neurogrid.workloads.meters.evaluation.figures import group_figures, probability, tune_cuts
from neurogrid.workloads.meters.evaluation.households import household_table
from neurogrid.workloads.meters.evaluation.jobs import HouseholdFile, Jobs, Reader, files_of
from neurogrid.workloads.meters.evaluation.naive import NAIVE
from neurogrid.workloads.meters.evaluation.one_household import (
    OWN_MODEL,
    is_score,
    is_shown,
    own_methods,
    score_one,
    show_one,
    shown_method,
)
from neurogrid.workloads.meters.evaluation.result import Evaluation
from neurogrid.workloads.meters.evaluation.rivals import Own, train_rivals
from neurogrid.workloads.meters.evaluation.score import HouseholdScore
from neurogrid.workloads.meters.evaluation.settings import EvaluationSettings
from neurogrid.workloads.meters.personal_files import PersonalFiles, owners


def evaluate(
    spark: SparkSession | None,
    warehouse: Place,
    manifest: Manifest,
    weights: Mapping[str, Vector],
    settings: EvaluationSettings,
    announce: Callable[[str, int], None] = lambda step, households: None,
    progress: Callable[[int, int], None] = lambda done, households: None,
) -> Evaluation:
    """Evaluates weights on the manifest's trained and held-out households, validation and test parts apart.

    Cuts and penalties are tuned on the validation part of trained households alone. Held-out households are scored with
    what the trained ones gave.

    Args:
        spark: where the jobs run; None is this process.
        warehouse: root of the readings.
        manifest: who trained, who was held out.
        weights: models to evaluate by name; the run's own is `federated`.
        settings: see there.
        announce: told each step before it starts, with the number of its pieces of work.
        progress: told how many of them are done, of how many.

    Raises:
        RunError: a household cannot be read; names the file.
    """
    trained, held_out = files_of(manifest, manifest.agents), files_of(manifest, manifest.held_out)
    jobs = Jobs(spark, warehouse, announce, progress)
    rivals = train_rivals(jobs, trained, settings)
    score = partial(score_one, settings=settings, weights=weights, rivals=rivals.shared)
    items = [
        *((file, rivals.own.get(file.household_id, Own())) for file in trained),
        *((file, Own()) for file in held_out),
    ]
    chosen, own = own_methods(settings.personal)
    models = {*weights, *rivals.weights, *chosen}
    others = {*NAIVE, *rivals.coefficients, *rivals.trees}
    is_one = partial(is_score, settings.windows.horizon_slots, models, others, {*own})
    scores = jobs("scoring", score, items, TypeAdapter(HouseholdScore), is_one)
    groups = {"trained": scores[: len(trained)], "held_out": scores[len(trained) :]}
    whose = owners(manifest.agents)
    own_model = OwnModel(
        settings.windows,
        settings.model,
        settings.seed,
        weights.get(OWN_MODEL),
        settings.private,
        whose,
    )
    files = {file.household_id: file for file in (*trained, *held_out)}
    extra = Distributions(jobs, own_model, manifest, files)
    cuts = tune_cuts(groups["trained"])
    return Evaluation(
        cadence_minutes=manifest.cadence_minutes,
        history_slots=settings.windows.history_slots,
        horizon_slots=settings.windows.horizon_slots,
        parts={
            period: {
                name: group_figures(group, period, cuts, seed=settings.seed, group=name)
                for name, group in groups.items()
            }
            for period in ("validation", "test")
        },
        surge_cuts={method: {name: probability(cut) for name, cut in found.items()} for method, found in cuts.items()},
        ridge_alpha=rivals.ridge_alpha,
        examples=_examples(jobs, manifest, files, groups, settings, weights),
        households=household_table(groups),
        quantiles=extra.quantiles(groups),
        sums=extra.sums(),
        parity=_parities(jobs, _loud(held_out, groups["held_out"]), settings, weights),
    )


def _examples(
    jobs: Jobs,
    manifest: Manifest,
    files: Mapping[str, HouseholdFile],
    groups: Mapping[str, Sequence[HouseholdScore]],
    settings: EvaluationSettings,
    weights: Mapping[str, Vector],
) -> Examples:
    """Of held-out households where there are any to show, else of those that train."""
    days = {score.household_id: score.usual_day for group in groups.values() for score in group}
    method, interval = shown_method(settings), shown_interval(settings.windows.quantiles)
    shown: tuple[Example, ...] = ()
    if settings.show_households and OWN_MODEL in weights:
        held_out, trained = (ranked(_candidates(groups[group], method)) for group in ("held_out", "trained"))
        group: Group = "held_out" if held_out else "trained"
        chosen = held_out or trained
        work = partial(show_one, settings=settings, weights=weights)
        items = [files[one.household_id] for one in chosen.values()]
        is_own = partial(is_shown, settings.windows)
        stretches = jobs("examples", work, items, TypeAdapter(Stretch), is_own) if items else []
        shown = tuple(example(rank, group, chosen[rank], one) for rank, one in zip(chosen, stretches, strict=True))
    return Examples(method, interval[2] if interval and shown else None, shown, cluster_days(manifest, days))


def _candidates(scores: Sequence[HouseholdScore], method: str) -> list[Candidate]:
    found = []
    for score in scores:
        if "test" in score.parts and not score.quiet:
            mae = float(score.parts["test"].absolute[method].mean())
            mase = mae / score.mase_scale_kwh if score.mase_scale_kwh > 0 else math.nan
            found.append(Candidate(score.household_id, mae, mase))
    return found


def _loud(files: Sequence[HouseholdFile], scores: Sequence[HouseholdScore]) -> list[HouseholdFile]:
    """Without households that are left out of all other figures."""
    return [file for file, score in zip(files, scores, strict=True) if not score.quiet]


def _parities(
    jobs: Jobs, held_out: Sequence[HouseholdFile], settings: EvaluationSettings, weights: Mapping[str, Vector]
) -> tuple[parity.ParityFigures, ...]:
    if "parity" not in settings.comparisons or settings.personal is None or not held_out:
        return ()
    work = partial(_parity, settings=settings, personal=settings.personal, as_sent=weights[OWN_MODEL])

    def is_own(file: HouseholdFile, found: parity.HouseholdParity) -> bool:
        return found.is_of(file.household_id)

    found = jobs("days to parity", work, held_out, TypeAdapter(parity.HouseholdParity), is_own)
    return parity.parity_figures(found, seed=settings.seed)


def _parity(
    file: HouseholdFile, read: Reader, *, settings: EvaluationSettings, personal: PersonalFiles, as_sent: Vector
) -> parity.HouseholdParity:
    household = read(file)

    def federated(late: Household) -> Vector:
        private = settings.private
        return as_sent if private is None else completed(as_sent, late, private, file.household_id)

    return parity.measure(household, federated, settings.alone, personal.settings)
