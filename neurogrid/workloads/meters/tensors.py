"""Windows as torch sees them: their sizes, and batches without copies."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from neurogrid.workloads.meters.models import Shape, Windows
from neurogrid.workloads.meters.windows import Batch, Indices, Shard, WindowSettings, gather


def model_shape(windows: WindowSettings) -> Shape:
    """The sizes that windows give a model."""
    return Shape(windows.history_slots, windows.features, windows.horizon_slots, windows.known, len(windows.quantiles))


def as_tensors(batch: Batch) -> Windows:
    """The batch as torch sees it, without copying."""
    arrays = (batch.history, batch.known, batch.target, batch.surge, batch.surge_base, batch.usual_quantiles)
    return Windows(*map(_tensor, arrays))


def batches(shard: Shard, origins: Indices) -> Iterator[Windows]:
    """A batch for each row of `origins` (steps, batch_size)."""
    for chosen in origins:
        yield as_tensors(gather(shard, chosen))


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
    return torch.from_numpy(array)
