"""One agent's training of one round: a few steps of gradient descent from the global weights on given batches.

Private layers never leave an agent, and need no memory from round to round: whenever the agent trains or scores
weights, it first fits them anew, with the weights held (federated reconstruction, Singhal et al. 2021,
arXiv:2102.03448). So what an agent answers depends on no round before, and a newcomer is served like any other.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from neurogrid.fl.update import Vector
from neurogrid.fl.weights import Flat, FlatModel

B = TypeVar("B")


@dataclass(frozen=True)
class LocalSettings:
    """How an agent trains.

    Attributes:
        optimiser: `adam` (Kingma and Ba 2014, arXiv:1412.6980) or `sgd`; its state is new each round.
        steps: gradient steps a round.
        batch_size: examples a step.
        learning_rate: of the first round.
        final_learning_rate_share: what is left of it in the last round, by a cosine.
        gradient_clip_norm: L2 norm to which a step's gradient is cut; 0 is no limit.
        proximal_mu: FedProx (Li et al. 2020, arXiv:1812.06127): weight of half the squared distance from the start.
        private_steps: gradient steps by which private layers are fitted, each time; without such layers, of no effect.
    """

    optimiser: Literal["adam", "sgd"]
    steps: int
    batch_size: int
    learning_rate: float
    final_learning_rate_share: float
    gradient_clip_norm: float
    proximal_mu: float
    private_steps: int = 40


@dataclass(frozen=True)
class LocalResult:
    """What came of it: the change of the weights (d,) float32, the mean loss over the steps, the seconds it took."""

    delta: Vector
    loss: float
    seconds: float


def learning_rate(settings: LocalSettings, round_number: int, rounds: int) -> float:
    """The learning rate of a round: half a cosine from round 1 to round `rounds`, and level after it."""
    return settings.learning_rate * cosine(settings, round_number - 1, rounds)


def cosine(settings: LocalSettings, step: int, steps: int) -> float:
    """Share of the learning rate at `step` of 0 to `steps` - 1."""
    progress = min(step / max(steps - 1, 1), 1.0)
    last = settings.final_learning_rate_share
    return last + (1 - last) * (1 + math.cos(math.pi * progress)) / 2


def train(
    model: FlatModel,
    weights: Vector,
    batches: Iterable[B],
    loss: Callable[[B], Tensor],
    *,
    settings: LocalSettings,
    rates: Iterable[float],
    random: np.random.Generator,
    private: Iterable[B] = (),
    gradient: Callable[[Flat, B], float] | None = None,
) -> LocalResult:
    """Trains from `weights`, a step a batch; what it returns depends on its arguments only.

    Private layers are fitted first and then held.

    Args:
        model: left with the trained weights, and in training mode.
        weights: (d,) float32, the start.
        batches: one for each step.
        loss: the model's loss on a batch.
        settings: how to train; `steps` and `batch_size` are the business of whoever makes `batches`.
        rates: the learning rate of each step.
        random: what the model draws itself (dropout) depends on this stream.
        private: see `fit_private`.
        gradient: puts the gradient that a step takes into what it is given, and returns the batch's loss; None is that
            of `loss`.

    Raises:
        ValueError: the weights are another model's, or there are no batches.
    """
    began = time.perf_counter()
    model.load(weights)
    fit_private(model, private, loss, settings=settings)
    model.model.train()
    seed_torch(random)
    losses = _descend(model.shared, batches, gradient or _of(loss), settings, rates, settings.proximal_mu)
    if not losses:
        raise ValueError("no batches to train on")
    return LocalResult(model.vector() - weights, float(np.mean(losses)), time.perf_counter() - began)


def fit_private(
    model: FlatModel, batches: Iterable[B], loss: Callable[[B], Tensor], *, settings: LocalSettings
) -> None:
    """Fits the private layers to an agent, from what they were at first, with all other weights held.

    The model is as when it is used: without dropout, and with the statistics that the vector has.

    Args:
        model: loaded; left in evaluation mode.
        batches: one for each step; none are taken where the model has no private layers.
        loss: the model's loss on a batch.
        settings: how; the learning rate is that of the first round.
    """
    if not model.spec.private:
        return
    model.model.eval()
    for parameter in model.shared.parameters:
        parameter.requires_grad_(False)
    try:
        _descend(model.private, batches, _of(loss), settings, repeat(settings.learning_rate), 0.0)
    finally:  # an agent that fails costs its own answer
        for parameter in model.shared.parameters:
            parameter.requires_grad_(True)


def _of(loss: Callable[[B], Tensor]) -> Callable[[Flat, B], float]:
    """The gradient of a loss."""

    def gradient(flat: Flat, batch: B) -> float:
        flat.gradient.zero_()
        value = loss(batch)
        if value.requires_grad:  # else none of these weights is in it
            value.backward()  # type: ignore[no-untyped-call]
        return float(value.item())

    return gradient


def _descend(
    flat: Flat,
    batches: Iterable[B],
    gradient: Callable[[Flat, B], float],
    settings: LocalSettings,
    rates: Iterable[float],
    proximal_mu: float,
) -> list[float]:
    """Gradient descent on some of the weights; the loss at each step."""
    start = flat.weights.clone()
    step = _Adam(flat) if settings.optimiser == "adam" else _Sgd(flat)
    losses = []
    for batch, rate in zip(batches, rates, strict=False):
        losses.append(gradient(flat, batch))
        if proximal_mu:
            flat.gradient.add_(flat.weights - start, alpha=proximal_mu)
        if settings.gradient_clip_norm:
            norm = float(torch.linalg.vector_norm(flat.gradient))
            if norm > settings.gradient_clip_norm:
                flat.gradient.mul_(settings.gradient_clip_norm / norm)
        step(rate)
    return losses


def seed_torch(random: np.random.Generator) -> None:
    """Sets torch's own random state, from which layers like dropout draw, so that it depends on `random` alone."""
    seed = int(random.integers(2**63))
    torch.default_generator.manual_seed(seed)
    # torch.manual_seed takes a millisecond where no GPU is in use, to remember the seed for one.
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(seed)


class _Sgd:
    def __init__(self, flat: Flat) -> None:
        self._flat = flat

    def __call__(self, rate: float) -> None:
        self._flat.weights.sub_(self._flat.gradient, alpha=rate)


class _Adam:
    """Adam on the flat vector: seven calls a step, whatever the number of tensors."""

    _BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, flat: Flat) -> None:
        self._flat, self._steps = flat, 0
        self._first = torch.zeros_like(flat.weights)
        self._second = torch.zeros_like(flat.weights)

    def __call__(self, rate: float) -> None:
        self._steps += 1
        gradient = self._flat.gradient
        self._first.lerp_(gradient, 1 - self._BETA1)
        self._second.mul_(self._BETA2).addcmul_(gradient, gradient, value=1 - self._BETA2)
        scale = rate / (1 - self._BETA1**self._steps)
        spread = self._second.sqrt().div_(math.sqrt(1 - self._BETA2**self._steps)).add_(self._EPSILON)
        self._flat.weights.addcdiv_(self._first, spread, value=-scale)
