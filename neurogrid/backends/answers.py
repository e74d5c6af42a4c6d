"""What a backend accepts as an agent's answer, and the words for what it does not. The same for every backend, so
that a round has the same updates and the same missing agents wherever its agents run.
"""

from collections.abc import Mapping

import numpy as np

from neurogrid.fl.update import AgentId, Update

MAX_METRICS = 64
"""Most figures that an agent may report; what is more than that is no update."""
MAX_NAME = 64
"""Most characters in the name of one figure."""
MAX_REASON = 400
"""Most characters in the reason for which an agent is missing."""


def misshapen(update: object, agent: AgentId, n_weights: int) -> str | None:
    """Why `update` cannot be the answer of `agent`, or None when it can.

    Only the shape is judged: values that are not finite pass, the round loop rejects those.
    """
    if not isinstance(update, Update):
        return f"wrong shape: the trainer returned {type(update).__name__}, not an Update"
    if update.agent != agent:
        return f"wrong shape: the update is of agent {str(update.agent)[:MAX_NAME]}"
    return _misshapen_delta(update.delta, n_weights) or _miscounted(update.windows) or misnamed(update.metrics)


def _misshapen_delta(delta: object, n_weights: int) -> str | None:
    if not isinstance(delta, np.ndarray):
        return f"wrong shape: delta is {type(delta).__name__}, not ({n_weights},) float32"
    if delta.shape != (n_weights,) or delta.dtype != np.float32:
        return f"wrong shape: delta is {delta.shape} {delta.dtype}, not ({n_weights},) float32"
    return None


def _miscounted(windows: object) -> str | None:
    if isinstance(windows, bool) or not isinstance(windows, int | np.integer) or not 0 <= windows < 2**63:
        return "wrong shape: windows is not a count"
    return None


def misnamed(metrics: object) -> str | None:
    """Why `metrics` are not named figures, or None when they are."""
    if not isinstance(metrics, Mapping):
        return f"wrong shape: metrics is {type(metrics).__name__}, not a mapping"
    if len(metrics) > MAX_METRICS:
        return f"wrong shape: {len(metrics)} metrics, at most {MAX_METRICS} are taken"
    for name, value in metrics.items():
        if not isinstance(name, str) or len(name) > MAX_NAME:
            return f"wrong shape: a metric's name is not a string of at most {MAX_NAME} characters"
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            return f"wrong shape: metric {name} is {type(value).__name__}, not a number"
    return None


def figures(metrics: Mapping[str, float]) -> dict[str, float]:
    """Plain floats, as they come back from the wire."""
    return {name: float(value) for name, value in metrics.items()}


def failure(error: Exception) -> str:
    """The reason for an agent whose trainer raised, on one line."""
    text = " ".join(str(error).split())
    return f"failed: {type(error).__name__}: {text}"[:MAX_REASON]
