"""The rivals' training, as jobs over the trained households: what the run's model is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter

from neurogrid.fl.update import Vector
from neurogrid.fl.weights import flatten
from neurogrid.tasks import array_of
from neurogrid.workloads.meters.central import CentralSettings
from neurogrid.workloads.meters.evaluation import boosting, ridge
from neurogrid.workloads.meters.evaluation.boosting import BoostingSettings
from neurogrid.workloads.meters.evaluation.comparisons import train_alone, train_pooled
from neurogrid.workloads.meters.evaluation.jobs import HouseholdFile, Jobs, Reader
from neurogrid.workloads.meters.evaluation.metrics import Floats
from neurogrid.workloads.meters.evaluation.settings import EvaluationSettings
from neurogrid.workloads.meters.models import build
from neurogrid.workloads.meters.tensors import model_shape
from neurogrid.workloads.meters.windows import WindowSettings, build_shard

_HOUSEHOLDS_A_SUM = 8
_Weights = Annotated[Vector, array_of(np.float32)]
_Tried = tuple[Annotated[float, Field(allow_inf_nan=False)], _Weights]
_Grams = tuple[ridge.Gram, ridge.Gram, dict[str, Floats]]


@dataclass(frozen=True)
class Own:
    """What belongs to one household alone: ridge coefficients and model weights by method.

    Its trees are grown where it is scored (`boosts`): they are larger than all else of it, and nobody else needs them.
    """

    coefficients: Mapping[str, Floats] = field(default_factory=dict)
    weights: Mapping[str, Vector] = field(default_factory=dict)
    boosts: bool = False


@dataclass(frozen=True)
class Rivals:
    """What was trained.

    Attributes:
        own: what is single households', by household.
        weights: by method, weights of the model that all households share.
        coefficients: by method, ridge's (h, p) that all share.
        trees: by method, LightGBM's text that all share.
        ridge_alpha: the federated ridge's penalty; None where there is none.
    """

    own: Mapping[str, Own] = field(default_factory=dict)
    weights: Mapping[str, Vector] = field(default_factory=dict)
    coefficients: Mapping[str, Floats] = field(default_factory=dict)
    trees: Mapping[str, str] = field(default_factory=dict)
    ridge_alpha: float | None = None

    @property
    def shared(self) -> "Rivals":
        """What every household's task needs: without what is single households'."""
        return replace(self, own={})


def train_rivals(jobs: Jobs, trained: Sequence[HouseholdFile], settings: EvaluationSettings) -> Rivals:
    """Those that are asked for; raises RunError where a household cannot be read."""
    whole = build(settings.model, model_shape(settings.windows), seed=settings.seed)
    is_model = partial(_is_model, flatten(whole).shape)
    own: dict[str, Own] = {}
    coefficients: dict[str, Floats] = {}
    weights: dict[str, Vector] = {}
    trees: dict[str, str] = {}
    alpha = None
    if "ridge" in settings.comparisons:
        coefficients["ridge_federated"], alpha, own = _ridges(jobs, trained, settings.windows)
    if "alone" in settings.comparisons:
        kind: TypeAdapter[Vector | None] = TypeAdapter(_Weights | None)
        train = partial(_alone, settings=settings.alone)
        for file, vector in zip(trained, jobs("training alone", train, trained, kind, is_model), strict=True):
            if vector is not None:
                own[file.household_id] = Own(own.get(file.household_id, Own()).coefficients, {"alone": vector})
    if "pooled" in settings.comparisons:
        # Each learning rate by itself: one core would train with all of them while the others wait.
        tries = [(tuple(trained), rate) for rate in settings.pooled.learning_rates]
        together = partial(_pooled, settings=settings.pooled)
        tried: TypeAdapter[_Tried] = TypeAdapter(_Tried)
        trials = jobs("training pooled", together, tries, tried, lambda item, found: is_model(item, found[1]))
        weights["pooled"] = min(trials, key=lambda found: found[0])[1]
    if "gbm_pooled" in settings.comparisons:
        grow, is_text = partial(_boosted, settings=settings.boosting), partial(_is_text, settings.boosting.inputs)
        trees["gbm_pooled"] = jobs("boosting pooled", grow, [tuple(trained)], TypeAdapter(str), is_text)[0]
    if "gbm_alone" in settings.comparisons:
        own |= {file.household_id: replace(own.get(file.household_id, Own()), boosts=True) for file in trained}
    return Rivals(own, weights, coefficients, trees, alpha)


def _ridges(
    jobs: Jobs, trained: Sequence[HouseholdFile], windows: WindowSettings
) -> tuple[Floats, float, dict[str, Own]]:
    # A few households a task: their sum is made where they are, always the same ones in the same order.
    groups = [tuple(trained[at : at + _HOUSEHOLDS_A_SUM]) for at in range(0, len(trained), _HOUSEHOLDS_A_SUM)]
    shape = model_shape(windows)
    is_sum = partial(_is_sum, shape.horizon_slots, shape.history_slots + shape.features + shape.known)
    found = jobs("ridge", partial(_grams, windows=windows), groups, TypeAdapter(_Grams), is_sum)
    coefficients, alpha = ridge.fit(ridge.add([part[0] for part in found]), ridge.add([part[1] for part in found]))
    own = {name: Own({"ridge_local": local}) for _, _, locals_ in found for name, local in locals_.items()}
    return coefficients, alpha, own


def _grams(files: Sequence[HouseholdFile], read: Reader, *, windows: WindowSettings) -> _Grams:
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
        and all(bool(np.isfinite(part).all()) for gram in grams for part in (gram.xx, gram.xy, gram.yy))
        and own.keys() == {file.household_id for file in files}
        and all(local.shape == (horizon, inputs) and bool(np.isfinite(local).all()) for local in own.values())
    )


def _is_model(shape: tuple[int, ...], _item: object, weights: Vector | None) -> bool:
    return weights is None or (weights.shape == shape and bool(np.isfinite(weights).all()))


def _is_text(inputs: int, _item: object, text: str) -> bool:
    return boosting.is_text(text, inputs)


def _alone(file: HouseholdFile, read: Reader, *, settings: CentralSettings) -> Vector | None:
    return train_alone(read(file), settings)


def _pooled(item: tuple[Sequence[HouseholdFile], float], read: Reader, *, settings: CentralSettings) -> _Tried:
    files, rate = item
    return train_pooled([read(file) for file in files], replace(settings, learning_rates=(rate,)))


def _boosted(files: Sequence[HouseholdFile], read: Reader, *, settings: BoostingSettings) -> str:
    return boosting.boost_pooled(map(read, files), len(files), settings)
