"""A model's weights as one flat vector and back: what travels, is summed and is saved is always the vector."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from neurogrid.fl.update import Layout, TensorSpan, Vector


def layout(model: nn.Module) -> Layout:
    """Where each of the model's parameters lies in the vector: in the model's own order, without gaps."""
    spans, start = [], 0
    for name, parameter in model.named_parameters():
        stop = start + parameter.numel()
        spans.append(TensorSpan(name, tuple(parameter.shape), start, stop))
        start = stop
    return Layout(tuple(spans))


def flatten(model: nn.Module) -> Vector:
    """The model's weights as a new (d,) float32 vector."""
    parts = [parameter.detach().reshape(-1).numpy() for parameter in model.parameters()]
    return np.concatenate(parts).astype(np.float32, copy=False)


def load(model: nn.Module, weights: Vector) -> None:
    """Sets the model's weights from the vector.

    Raises:
        ValueError: the vector has another length than the model has weights.
    """
    where = layout(model)
    _require(where, weights)
    with torch.no_grad():
        for span, parameter in zip(where.spans, model.parameters(), strict=True):
            parameter.copy_(_tensor(weights, span))


def state_dict(where: Layout, weights: Vector) -> dict[str, Tensor]:
    """The vector as torch's state dict, e.g. to save as a `.pt` file."""
    _require(where, weights)
    return {span.name: _tensor(weights, span).clone() for span in where.spans}


def from_state_dict(where: Layout, state: Mapping[str, Tensor]) -> Vector:
    """Inverse of `state_dict`; raises KeyError where a tensor is missing, ValueError where one has another shape."""
    parts = []
    for span in where.spans:
        if tuple(state[span.name].shape) != span.shape:
            raise ValueError(f"{span.name} has shape {tuple(state[span.name].shape)}, the model needs {span.shape}")
        parts.append(state[span.name].detach().reshape(-1).float().numpy())
    return np.concatenate(parts)


class FlatModel:
    """A model whose parameters and gradients are views of two flat tensors, so that one call steps them all.

    Attributes:
        model: the module itself.
        layout: where its tensors lie.
        weights, gradient: (d,) float32 tensors that the module's parameters and their `.grad` are views of.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.layout = model, layout(model)
        self.weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        self.gradient = torch.zeros_like(self.weights)
        for span, parameter in zip(self.layout.spans, model.parameters(), strict=True):
            parameter.data = self.weights[span.start : span.stop].view(span.shape)
            parameter.grad = self.gradient[span.start : span.stop].view(span.shape)


def _tensor(weights: Vector, span: TensorSpan) -> Tensor:
    # A copy of the slice: the vector may be read-only memory of a message.
    return torch.from_numpy(np.array(weights[span.start : span.stop], np.float32)).view(span.shape)


def _require(where: Layout, weights: Vector) -> None:
    if weights.shape != (where.size,):
        raise ValueError(f"{weights.shape} weights for a model that has ({where.size},)")
