"""The held-out loss of a round's model: what the panel's agents say of it on their validation windows."""

import math
import statistics
from collections.abc import Mapping

from neurogrid.fl.claims import Claims
from neurogrid.fl.update import AgentId

QUORUM = 0.75
FAR = 10.0


def held_out_loss(scores: Mapping[AgentId, Claims], panel_agents: int) -> float:
    """Mean of the panel's losses, in its order; NaN where fewer than `QUORUM` of it answered.

    A part of the panel is another figure, which would look like progress or its end. Who has no validation windows has
    answered without a loss. A loss that is `FAR` medians away from the median is nobody's, and is left out.
    """
    answered = [claims for claims in scores.values() if "loss" in claims.metrics or not claims.windows]
    if len(answered) < QUORUM * panel_agents:
        return math.nan
    losses = [claims.metrics["loss"] for claims in answered if claims.windows]
    if not losses:
        return math.nan
    middle = statistics.median(losses)
    near = [loss for loss in losses if abs(loss - middle) <= FAR * abs(middle)]
    return sum(near) / len(near) if near else math.nan
