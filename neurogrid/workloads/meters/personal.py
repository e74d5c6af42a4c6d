"""Personal models: the federated weights fine-tuned where the readings are, and a choice by own validation.

After the rounds each agent goes on from the last weights on its own training part (fine-tuning after FedAvg: Wang et
al. 2019, arXiv:1910.10252). Then it weighs what it could use by the loss on its own validation part: what is usual, the
federated model, its own. No choice is worse there than the best of them; that is the promise, and it is about
validation time only. Weights and choice stay under the agent's name, and nobody else is asked for them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from neurogrid.fl.update import Vector
from neurogrid.fl.weights import load
from neurogrid.workloads.meters.central import CentralSettings, first_weights, sample, train_on
from neurogrid.workloads.meters.models import build, point, point_loss
from neurogrid.workloads.meters.tensors import model_shape, run_model
from neurogrid.workloads.meters.windows import (
    MEDIAN,
    SURGE_SHARE,
    Array,
    Batch,
    Indices,
    Shard,
    gather,
    usual_surge_logits,
)

Candidate = Literal["usual", "federated", "personal", "alone"]
CANDIDATES: tuple[Candidate, ...] = get_args(Candidate)
"""The slot's 28-day median and usual share of surges; the run's last weights; these fine-tuned; trained alone."""


@dataclass(frozen=True)
class PersonalSettings:
    """How an agent makes the federated model its own.

    Attributes:
        tuning: the fine-tuning.
        candidates: what it chooses from.
        parts: into how many parts a choice is split: 1 takes one candidate whole, 4 blends them by quarters.
        alone: how a model of its own is trained from the start, where that is a candidate.
    """

    tuning: CentralSettings
    candidates: tuple[Candidate, ...]
    parts: int
    alone: CentralSettings

    @property
    def trained(self) -> tuple[str, ...]:
        """The candidates that an agent trains for itself."""
        return tuple(name for name in self.candidates if name in ("personal", "alone"))

    @property
    def windows(self) -> int:
        """How many windows an agent trains on at most, those seen twice counted twice."""
        trainings = [self.tuning, *([self.alone] if "alone" in self.candidates else [])]
        return sum(own.steps * own.local.batch_size * len(own.learning_rates) for own in trainings)


@dataclass(frozen=True)
class Personal:
    """What an agent has for itself.

    Attributes:
        weights: (d,) float32 of the whole model, by candidate; none of what was not trained.
        shares: of each candidate in what the agent uses; they add up to 1.
        losses: of each candidate on the agent's validation windows, scaled; empty where there are none.
        loss: of what the agent uses; NaN where there are none.
    """

    weights: Mapping[str, Vector]
    shares: Mapping[str, float]
    losses: Mapping[str, float]
    loss: float

    def figures(self) -> dict[str, float]:
        """As an agent claims them."""
        shares = {f"share_{name}": float(share) for name, share in self.shares.items()}
        losses = {f"loss_{name}": float(loss) for name, loss in self.losses.items()}
        return {"loss": float(self.loss), **shares, **losses}


def personalise(shard: Shard, federated: Vector, settings: PersonalSettings, name: str) -> Personal:
    """Fine-tunes and chooses; what comes of it depends on its arguments and the seed alone.

    Args:
        shard: training and validation windows.
        federated: (d,) of the whole model, private layers included.
        settings: see there.
        name: whose; what is drawn depends on it.
    """
    weights: dict[str, Vector] = {}
    if len(shard.origins["train"]):
        trained = {}
        if "personal" in settings.trained:
            trained["personal"] = train_on(shard, settings.tuning, federated, f"personal {name}")
        if "alone" in settings.trained:
            trained["alone"] = train_on(shard, settings.alone, first_weights(settings.alone), name)
        # One that diverged is no candidate.
        weights = {candidate: found.weights for candidate, found in trained.items() if found.usable}
    origins = sample(shard, settings.tuning.validation_windows, settings.tuning.seed, f"personal {name}")
    if not len(origins):  # nothing to choose by: what all have
        return Personal(weights, {"federated": 1.0}, {}, math.nan)
    known = [name for name in settings.candidates if name in ("usual", "federated") or name in weights]
    given = {
        name: forecast
        for name, (forecast, _) in outputs({"federated": federated, **weights}, shard, origins, settings.tuning).items()
    }
    target = torch.from_numpy(gather(shard, origins).target)

    def loss(forecast: Array) -> float:
        return float(point_loss(torch.from_numpy(forecast), target, settings.tuning.loss))

    best, shares = math.inf, {str(known[0]): 1.0}
    for split in _splits(len(known), settings.parts):
        blend = {str(name): part / settings.parts for name, part in zip(known, split, strict=True) if part}
        reached = loss(blended(blend, given))
        if reached < best:
            best, shares = reached, blend
    return Personal(weights, shares, {name: loss(given[name]) for name in known}, best)


def outputs(
    weights: Mapping[str, Vector], shard: Shard, origins: Indices, settings: CentralSettings
) -> dict[str, tuple[Array, Array]]:
    """Forecasts (B, h), scaled, and surge logits (B, h + 1) of models with these weights, and of what is usual."""
    batch = gather(shard, origins)
    model = build(settings.model, model_shape(settings.windows), seed=settings.seed)
    found = {"usual": usual(shard, origins, batch)}
    for name, vector in weights.items():
        load(model, vector)
        output, logits = run_model(model, batch)
        found[name] = (point(output), logits)
    return found


def usual(shard: Shard, origins: Indices, batch: Batch) -> tuple[Array, Array]:
    """The 28-day median (B, h), scaled as the batch's targets, and logits (B, h + 1) of the usual share of surges."""
    slots = origins[:, None] + np.arange(shard.settings.horizon_slots)
    median: Array = (shard.profiles[slots, MEDIAN] - batch.base_kwh) / batch.scale
    return median, usual_surge_logits(shard.profiles[slots, SURGE_SHARE])


def blended(shares: Mapping[str, float], given: Mapping[str, Array]) -> Array:
    """The weighted sum of some of these, float32."""
    total: Array = np.sum([np.float32(share) * given[name] for name, share in shares.items()], axis=0)
    return total


def _splits(candidates: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to deal so many parts out to candidates; those that leave more to the first ones come first."""
    if candidates == 1:
        yield (parts,)
        return
    for first in range(parts, -1, -1):
        for rest in _splits(candidates - 1, parts - first):
            yield (first, *rest)
