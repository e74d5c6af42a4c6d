"""An evaluation as ordinary jobs over households: the comparisons' training, then one scoring pass.

Runs on Spark, one task a household, or in this process; the figures are the same.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal, TypeVar

import numpy as np
import torch
from pydantic import Field, TypeAdapter
from pyspark.sql import SparkSession

from neurogrid.data.household import Household, read_household
from neurogrid.data.manifest import Agent, Manifest
from neurogrid.data.progress import watched
from neurogrid.errors import RunError
from neurogrid.fl.record import weights_sha256
from neurogrid.fl.update import Vector
from neurogrid.fl.weights import flatten
from neurogrid.storage import Place
from neurogrid.tasks import array_of, run_tasks
from neurogrid.workloads.meters.agent import TrainingSettings, completed
from neurogrid.workloads.meters.central import CentralSettings
from neurogrid.workloads.meters.evaluation import boosting, parity, ridge
from neurogrid.workloads.meters.evaluation.boosting import BoostingSettings
from neurogrid.workloads.meters.evaluation.comparisons import train_alone, train_pooled
from neurogrid.workloads.meters.evaluation.distributions import Distributions, OwnModel
from neurogrid.workloads.meters.evaluation.examples import Candidate, Examples, cluster_days, ranked
from neurogrid.workloads.meters.evaluation.figures import group_figures, probability, tune_cuts
from neurogrid.workloads.meters.evaluation.households import household_table
from neurogrid.workloads.meters.evaluation.metrics import Floats
from neurogrid.workloads.meters.evaluation.naive import NAIVE
from neurogrid.workloads.meters.evaluation.result import Evaluation
from neurogrid.workloads.meters.evaluation.score import HouseholdScore, score_household
from neurogrid.workloads.meters.models import ModelSettings, build
from neurogrid.workloads.meters.personal import Personal, personalise
from neurogrid.workloads.meters.personal_files import PersonalFiles, newcomer, owners
from neurogrid.workloads.meters.tensors import model_shape
from neurogrid.workloads.meters.windows import WindowSettings, build_shard

T = TypeVar("T")
R = TypeVar("R")
Comparison = Literal["ridge", "alone", "pooled", "gbm_alone", "gbm_pooled", "parity"]
_HOUSEHOLDS_A_SUM = 8
_Weights = Annotated[Vector, array_of(np.float32)]
_Tried = tuple[Annotated[float, Field(allow_inf_nan=False)], _Weights]
_Grams = tuple[ridge.Gram, ridge.Gram, dict[str, Floats]]
OWN_MODEL = "federated"
"""The method that is the run's own."""


@dataclass(frozen=True)
class HouseholdFile:
    """One household's table, `path` under the warehouse's root; the agent that holds all of it, empty if none does."""

    household_id: str
    path: str
    sha256: str
    agent: str


@dataclass(frozen=True)
class EvaluationSettings:
    """What is evaluated, against what.

    Attributes:
        windows, model: of the weights.
        comparisons: which of the dearer comparisons to make.
        alone, pooled: how their models are trained.
        boosting: how trees are grown, for those comparisons.
        seed: of the bootstrap.
        show_households: whether forecasts and readings of single households are kept as examples.
        private: how the run's private layers are fitted to each household; None where it has none.
        personal: the run's personal models; None where it has none. Households without one get one here, from their
            own training part, as newcomers would.
    """

    windows: WindowSettings
    model: ModelSettings
    comparisons: tuple[Comparison, ...]
    alone: CentralSettings
    pooled: CentralSettings
    boosting: BoostingSettings
    seed: int
    show_households: bool = True
    private: TrainingSettings | None = None
    personal: PersonalFiles | None = None


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
    trained, held_out = _files(manifest, manifest.agents), _files(manifest, manifest.held_out)
    run = _Runner(spark, warehouse, announce, progress)
    by_method: dict[str, Vector] = dict(weights)
    own: dict[str, _Own] = {}
    federated_ridge: dict[str, Floats] = {}
    alpha = None
    whole = build(settings.model, model_shape(settings.windows), seed=settings.seed)
    is_model = partial(_is_model, flatten(whole).shape)
    if "ridge" in settings.comparisons:
        federated_ridge["ridge_federated"], alpha, own = _ridges(run, trained, settings.windows)
    if "alone" in settings.comparisons:
        alone: TypeAdapter[Vector | None] = TypeAdapter(_Weights | None)
        train = partial(_alone, settings=settings.alone)
        found = run("training alone", train, trained, alone, is_model)
        for file, vector in zip(trained, found, strict=True):
            if vector is not None:
                own[file.household_id] = _Own(own.get(file.household_id, _Own({}, {})).coefficients, {"alone": vector})
    if "pooled" in settings.comparisons:
        # Each learning rate by itself: one core would train with all of them while the others wait.
        tries = [(tuple(trained), rate) for rate in settings.pooled.learning_rates]
        together = partial(_pooled, settings=settings.pooled)
        pooled: TypeAdapter[_Tried] = TypeAdapter(_Tried)
        trials = run("training pooled", together, tries, pooled, lambda item, tried: is_model(item, tried[1]))
        by_method["pooled"] = min(trials, key=lambda tried: tried[0])[1]
    trees: dict[str, str] = {}
    if "gbm_pooled" in settings.comparisons:
        grow, is_text = partial(_boosted, settings=settings.boosting), partial(_is_text, settings.boosting.inputs)
        trees["gbm_pooled"] = run("boosting pooled", grow, [tuple(trained)], TypeAdapter(str), is_text)[0]
    score = partial(_score, settings=settings, weights=by_method, coefficients=federated_ridge, trees=trees)
    alone_too = "gbm_alone" in settings.comparisons
    items = [
        *((file, replace(own.get(file.household_id, _Own({}, {})), boosts=alone_too)) for file in trained),
        *((file, _Own({}, {})) for file in held_out),
    ]
    models = {*by_method, *_own_methods(settings.personal)}
    is_score = partial(_is_score, settings.windows.horizon_slots, models, {*NAIVE, *federated_ridge, *trees})
    scores = run("scoring", score, items, TypeAdapter(HouseholdScore), is_score)
    groups = {"trained": scores[: len(trained)], "held_out": scores[len(trained) :]}
    own_model = OwnModel(settings.windows, settings.model, settings.seed, weights.get(OWN_MODEL), settings.private)
    extra = Distributions(run, own_model, manifest, {file.household_id: file for file in (*trained, *held_out)})
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
        ridge_alpha=alpha,
        examples=_examples(manifest, groups),
        households=household_table(groups),
        quantiles=extra.quantiles(groups),
        sums=extra.sums(),
        parity=_parities(run, held_out, settings, weights),
    )


def _examples(manifest: Manifest, groups: Mapping[str, Sequence[HouseholdScore]]) -> Examples:
    """Of held-out households where there are any to show, else of those that train."""
    held_out, trained = (ranked(_candidates(groups[group]), group) for group in ("held_out", "trained"))
    days = {score.household_id: score.usual_day for group in groups.values() for score in group}
    return Examples(held_out or trained, cluster_days(manifest, days))


def _candidates(scores: Sequence[HouseholdScore]) -> list[Candidate]:
    found = []
    for score in scores:
        if score.stretch is not None and not score.quiet:
            mae = float(score.parts["test"].absolute[OWN_MODEL].mean())
            mase = mae / score.mase_scale_kwh if score.mase_scale_kwh > 0 else math.nan
            found.append(Candidate(score.household_id, mae, mase, score.stretch))
    return found


@dataclass(frozen=True)
class _Own:
    """What belongs to one household alone: ridge coefficients and model weights by method.

    Its trees are grown where it is scored (`boosts`): they are larger than all else of it, and nobody else needs them.
    """

    coefficients: dict[str, Floats]
    weights: dict[str, Vector]
    boosts: bool = False


def _files(manifest: Manifest, agents: Sequence[Agent]) -> list[HouseholdFile]:
    """Each household once, in the order of the agents; whole, also where its weeks were dealt out."""
    parts = {part.household_id: part for agent in agents for part in agent.parts}
    whose = owners(agents)
    prints = manifest.fingerprints
    return [
        HouseholdFile(part.household_id, part.path, prints.get(part.path, ""), whose.get(part.household_id, ""))
        for part in parts.values()
    ]


class _Runner:
    """Applies a function to items, in order: as one Spark job with a task an item, or here."""

    def __init__(
        self,
        spark: SparkSession | None,
        warehouse: Place,
        announce: Callable[[str, int], None],
        progress: Callable[[int, int], None],
    ) -> None:
        self._spark, self._warehouse, self._announce, self._progress = spark, warehouse, announce, progress

    def __call__(
        self,
        step: str,
        work: Callable[[T, "_Reader"], R],
        items: Sequence[T],
        result: TypeAdapter[R],
        belongs: Callable[[T, R], bool],
    ) -> list[R]:
        count = len(items)
        self._announce(step, count)
        apply = partial(_apply, work, _Reader(self._warehouse))
        if self._spark is None or not items:
            found = []
            for number, item in enumerate(items, 1):
                found.append(apply(item))
                self._progress(number, count)
            return found
        with watched(self._spark, f"evaluation: {step}", count, count, self._progress):
            return run_tasks(self._spark.sparkContext, items, apply, result, belongs)


@dataclass(frozen=True)
class _Reader:
    warehouse: Place

    def __call__(self, file: HouseholdFile) -> Household:
        try:
            return read_household(self.warehouse / file.path, file.sha256)
        except (OSError, ValueError, KeyError) as error:
            raise RunError(
                f"cannot read household {file.household_id}",
                found=f"{self.warehouse / file.path}: {error}",
                fix="restore the file; or run `neurogrid etl` and `neurogrid sample` again, and train anew",
            ) from error


def _apply(work: Callable[[T, _Reader], R], read: _Reader, item: T) -> R:
    torch.set_num_threads(1)  # a task has one core, and sums must not depend on how many there are
    return work(item, read)


def _ridges(
    run: _Runner, trained: Sequence[HouseholdFile], windows: WindowSettings
) -> tuple[Floats, float, dict[str, _Own]]:
    # A few households a task: their sum is made where they are, always the same ones in the same order.
    groups = [tuple(trained[at : at + _HOUSEHOLDS_A_SUM]) for at in range(0, len(trained), _HOUSEHOLDS_A_SUM)]
    shape = model_shape(windows)
    is_sum = partial(_is_sum, shape.horizon_slots, shape.history_slots + shape.features + shape.known)
    found = run("ridge", partial(_grams, windows=windows), groups, TypeAdapter(_Grams), is_sum)
    coefficients, alpha = ridge.fit(ridge.add([part[0] for part in found]), ridge.add([part[1] for part in found]))
    own = {name: _Own({"ridge_local": local}, {}) for _, _, locals_ in found for name, local in locals_.items()}
    return coefficients, alpha, own


def _grams(files: Sequence[HouseholdFile], read: _Reader, *, windows: WindowSettings) -> _Grams:
    train, validation, own = [], [], {}
    for file in files:
        shard = build_shard([(read(file), None)], windows, ("train", "validation"))
        train.append(ridge.gram(shard, shard.origins["train"]))
        validation.append(ridge.gram(shard, shard.origins["validation"]))
        own[file.household_id] = ridge.fit(train[-1], validation[-1])[0]
    return ridge.add(train), ridge.add(validation), own


def _is_sum(horizon: int, inputs: int, files: Sequence[HouseholdFile], sums: _Grams) -> bool:
    *grams, own = sums
    wanted = ((horizon, inputs, inputs), (horizon, inputs), (horizon,))
    return (
        all((gram.xx.shape, gram.xy.shape, gram.yy.shape) == wanted for gram in grams)
        and own.keys() == {file.household_id for file in files}
        and all(local.shape == (horizon, inputs) for local in own.values())
    )


def _is_model(shape: tuple[int, ...], _item: object, weights: Vector | None) -> bool:
    return weights is None or weights.shape == shape


def _is_score(
    horizon: int,
    models: AbstractSet[str],
    others: AbstractSet[str],
    item: tuple[HouseholdFile, _Own],
    score: HouseholdScore,
) -> bool:
    file, own = item
    models = {*models, *own.weights}
    forecasting, telling = {*others, *models, *own.coefficients}, {"usual_share", *models}
    # Whether a household has windows to grow trees from is known in its task alone.
    possible = [forecasting, {*forecasting, "gbm_alone"}][: 2 if own.boosts else 1]
    return any(score.is_of(file.household_id, horizon, names, telling) for names in possible)


def _is_text(inputs: int, _item: object, text: str) -> bool:
    return boosting.is_text(text, inputs)


def _alone(file: HouseholdFile, read: _Reader, *, settings: CentralSettings) -> Vector | None:
    return train_alone(read(file), settings)


def _pooled(item: tuple[Sequence[HouseholdFile], float], read: _Reader, *, settings: CentralSettings) -> _Tried:
    files, rate = item
    return train_pooled([read(file) for file in files], replace(settings, learning_rates=(rate,)))


def _boosted(files: Sequence[HouseholdFile], read: _Reader, *, settings: BoostingSettings) -> str:
    return boosting.boost_pooled(map(read, files), len(files), settings)


def _score(
    item: tuple[HouseholdFile, _Own],
    read: _Reader,
    *,
    settings: EvaluationSettings,
    weights: Mapping[str, Vector],
    coefficients: Mapping[str, Floats],
    trees: Mapping[str, str],
) -> HouseholdScore:
    file, own = item
    household = read(file)
    grown = boosting.boost_alone(household, settings.boosting) if own.boosts else None
    if grown is not None:
        trees = {**trees, "gbm_alone": grown}
    as_sent, blends = weights[OWN_MODEL], {}
    if settings.private is not None:
        weights = {**weights, OWN_MODEL: completed(as_sent, household, settings.private)}
    if settings.personal is not None:
        personal = _personal(file, household, settings.personal, as_sent, weights[OWN_MODEL])
        # Who has nothing to train on has what all have.
        own_models = dict.fromkeys(settings.personal.settings.trained, weights[OWN_MODEL])
        weights, blends = {**weights, **own_models, **personal.weights}, {"served": personal.shares}
    return score_household(
        household,
        settings.windows,
        build(settings.model, model_shape(settings.windows), seed=settings.seed),
        {**weights, **own.weights},
        {**coefficients, **own.coefficients},
        {name: boosting.forecaster(text) for name, text in trees.items()},
        blends,
        shown=OWN_MODEL if settings.show_households and OWN_MODEL in weights else "",
    )


def _parities(
    run: "_Runner", held_out: Sequence[HouseholdFile], settings: EvaluationSettings, weights: Mapping[str, Vector]
) -> tuple[parity.ParityFigures, ...]:
    if "parity" not in settings.comparisons or settings.personal is None or not held_out:
        return ()
    work = partial(_parity, settings=settings, personal=settings.personal, as_sent=weights[OWN_MODEL])

    def is_own(file: HouseholdFile, found: parity.HouseholdParity) -> bool:
        return found.is_of(file.household_id)

    found = run("days to parity", work, held_out, TypeAdapter(parity.HouseholdParity), is_own)
    return parity.parity_figures(found, seed=settings.seed)


def _parity(
    file: HouseholdFile, read: _Reader, *, settings: EvaluationSettings, personal: PersonalFiles, as_sent: Vector
) -> parity.HouseholdParity:
    household = read(file)
    federated = as_sent if settings.private is None else completed(as_sent, household, settings.private)
    return parity.measure(household, federated, settings.alone, personal.settings)


def _own_methods(personal: PersonalFiles | None) -> tuple[str, ...]:
    """What a run gives each household: its own models, and what it chose by its validation part."""
    return ("served", *personal.settings.trained) if personal else ()


def _personal(
    file: HouseholdFile, household: Household, kept: PersonalFiles, as_sent: Vector, federated: Vector
) -> Personal:
    """The household's own model: its agent's, or one that is made here and not kept."""
    name = file.agent or newcomer(file.household_id)
    found = kept.find(name, weights_sha256(as_sent), federated.size)
    if found is not None:
        return found
    shard = build_shard([(household, None)], kept.settings.tuning.windows, ("train", "validation"))
    return personalise(shard, federated, kept.settings, name)
