"""A round's checkpoint: weights and server momentum, by the model's own names of tensors, without pickled code."""

import io
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from neurogrid.fl.update import Layout, Vector


def named_tensors(vector: Vector, layout: Layout) -> dict[str, Tensor]:
    """A flat vector as a state dict."""
    flat = torch.from_numpy(np.array(vector, np.float32))
    return {span.name: flat[span.start : span.stop].reshape(span.shape).clone() for span in layout.spans}


def flat_vector(tensors: Mapping[str, Tensor], layout: Layout) -> Vector:
    """Inverse of `named_tensors`.

    Raises:
        ValueError: a tensor is missing, is one too many, or has another shape than the model's.
    """
    if list(tensors) != [span.name for span in layout.spans]:
        raise ValueError(f"tensors {list(tensors)}, the model has {[span.name for span in layout.spans]}")
    vector = np.empty(layout.size, np.float32)
    for span in layout.spans:
        tensor = tensors[span.name]
        if tuple(tensor.shape) != span.shape:
            raise ValueError(f"{span.name} has shape {tuple(tensor.shape)}, the model's is {span.shape}")
        vector[span.start : span.stop] = tensor.numpy().ravel()
    return vector


def pack(content: object) -> bytes:
    """`torch.save` to bytes: the same content gives the same bytes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def unpack(content: bytes) -> dict[str, dict[str, Tensor]]:
    """Loads what `pack` wrote, with tensors and plain containers only (no code is ever run)."""
    loaded: dict[str, dict[str, Tensor]] = torch.load(io.BytesIO(content), weights_only=True)
    return loaded
