"""Windows as torch sees them: their sizes, and batches without copies."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from neurogrid.workloads.meters.models import Forecaster, Shape, Windows
from neurogrid.workloads.meters.windows import Array, Batch, Indices, Shard, WindowSettings, gather

_WINDOWS_AT_ONCE = 512


def model_shape(windows: WindowSettings) -> Shape:
    """The sizes that windows give a model."""
    return Shape(windows.history_slots, windows.features, windows.horizon_slots, windows.known, len(windows.quantiles))


def as_tensors(batch: Batch) -> Windows:
    """The batch as torch sees it, without copying."""
    arrays = (batch.history, batch.known, batch.target, batch.surge, batch.surge_base, batch.usual_quantiles)
    return Windows(*map(_tensor, arrays))


def batches(shard: Shard, origins: Iterable[Indices]) -> Iterator[Windows]:
    """A batch for each row of `origins`."""
    for chosen in origins:
        yield as_tensors(gather(shard, chosen))


def in_chunks(origins: Indices) -> Iterator[Indices]:
    """The windows a few hundred at a time, so that memory does not grow with their number."""
    for start in range(0, len(origins), _WINDOWS_AT_ONCE):
        yield origins[start : start + _WINDOWS_AT_ONCE]


def run_model(model: Forecaster, batch: Batch) -> tuple[Array, Array]:
    """Raw output for the loads, scaled: (B, h), or (B, h, Q) of quantiles; surge logits (B, h + 1), with their base."""
    model.eval()
    with torch.inference_mode():
        output, logits = model(torch.from_numpy(batch.history), torch.from_numpy(batch.known))
    return output.numpy(), logits.numpy() + batch.surge_base


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
    return torch.from_numpy(array)
