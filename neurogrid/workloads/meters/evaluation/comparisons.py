"""The same model trained otherwise: each household alone, and all readings pooled in one place.

Alone is what a household could do without the federation, pooled what the federation gives up by not sharing readings.
Both get what the federation got: as many steps, and the weights that were best on validation.
"""

import math
from collections.abc import Sequence

from neurogrid.data.household import Household
from neurogrid.errors import RunError
from neurogrid.fl.update import Vector
from neurogrid.plural import plural
from neurogrid.workloads.meters.central import CentralSettings, first_weights, train_on
from neurogrid.workloads.meters.windows import build_shard


def train_alone(household: Household, settings: CentralSettings) -> Vector | None:
    """Weights of a model that saw this household only; None where it has no windows to train on, or diverged."""
    shard = build_shard([(household, None)], settings.windows, ("train", "validation"))
    if not len(shard.origins["train"]):
        return None
    found = train_on(shard, settings, first_weights(settings), household.meta.household_id)
    return found.weights if found.usable else None


def train_pooled(households: Sequence[Household], settings: CentralSettings) -> tuple[float, Vector]:
    """Validation loss and weights of a model that saw all windows of these households; takes the memory of all of them.

    The loss tells which of several trainings is best; without validation windows all are alike.

    Raises:
        RunError: none of them has a training window.
    """
    shard = build_shard([(household, None) for household in households], settings.windows, ("train", "validation"))
    if not len(shard.origins["train"]):
        raise RunError(f"none of {plural(len(households), 'household')} has a training window")
    best = train_on(shard, settings, first_weights(settings), "pooled")
    return best.loss if math.isfinite(best.loss) else 0.0, best.weights
