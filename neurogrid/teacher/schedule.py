"""What happens when: the learning rate of each step, the windows of each epoch, when to stop. All pure functions."""

import math
from collections.abc import Sequence

import numpy as np

from neurogrid.randomness import generator
from neurogrid.teacher.settings import TeacherSettings
from neurogrid.workloads.meters.windows import Indices


def learning_rate(settings: TeacherSettings, step: int, steps: int) -> float:
    """The rate of `step`, 0 to `steps` - 1: up a line over the warm-up, then down the schedule."""
    warmup = round(settings.warmup_share * steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(steps - warmup - 1, 1))
    last = settings.final_learning_rate_share
    left = {
        "constant": 1.0,
        "linear": 1 - (1 - last) * progress,
        "cosine": last + (1 - last) * (1 + math.cos(math.pi * progress)) / 2,
    }
    return settings.learning_rate * left[settings.schedule]


def steps_an_epoch(settings: TeacherSettings, windows: int) -> int:
    """Optimiser steps of an epoch where all ranks together hold `windows` training windows; the same on each rank."""
    return max(1, round((settings.epoch_windows or windows) / settings.batch_size))


def epoch_windows(origins: Indices, settings: TeacherSettings, epoch: int, rank: int, steps: int) -> Indices:
    """The windows that a rank puts through the model in an epoch: (steps, accumulation, part_size).

    Drawn by (seed, epoch, rank). Every rank takes the same number, since all of them meet at each step: one that holds
    more windows than that leaves some out (others each epoch), one that holds fewer begins again in another order.
    """
    wanted = steps * settings.accumulation * settings.part_size
    random = generator(settings.seed, "teacher windows", epoch, rank)
    orders = [random.permutation(len(origins)) for _ in range(-(-wanted // len(origins)))]
    chosen = origins[np.concatenate(orders)[:wanted]]
    return chosen.reshape(steps, settings.accumulation, settings.part_size)


def best_epoch(held_out: Sequence[float]) -> int:
    """The epoch, from 1, with the least held-out loss, the first of equals; the last where none was measured."""
    finite = [(loss, epoch) for epoch, loss in enumerate(held_out, 1) if math.isfinite(loss)]
    return min(finite)[1] if finite else len(held_out)


def stop_reason(held_out: Sequence[float], settings: TeacherSettings) -> str:
    """Why to stop after these epochs' held-out losses, or an empty string."""
    if len(held_out) >= settings.epochs:
        return "all epochs done"
    patience = settings.patience_epochs
    recent = [x for x in held_out[-patience:] if math.isfinite(x)] if patience else []
    before = [x for x in held_out[:-patience] if math.isfinite(x)] if patience else []
    if recent and before and min(recent) > min(before) * (1 - settings.min_improvement):
        return "no improvement"
    return ""
