"""A model's weights as one flat vector and back: what travels, is summed and is saved is always the vector.

Parameters are in it, and buffers of finite floating-point numbers that are part of the model's state dict, such as
BatchNorm's running mean and variance. Other buffers are not: counters (`num_batches_tracked`), what is not saved, and
what is not finite (masks of -inf), of which no mean can be made. They are as the model was built, each time that an
agent begins.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from neurogrid.fl.spec import Role, Span, Spec
from neurogrid.fl.update import Vector


def spec_of(model: nn.Module) -> Spec:
    """Where each of the model's tensors lies in the vector: parameters in the model's own order, then buffers."""
    spans, start = [], 0
    for name, tensor, role in _tensors(model):
        stop = start + tensor.numel()
        # torch's own name for the variances that its normalisations keep.
        nonnegative = role == "buffer" and name.rpartition(".")[2] == "running_var"
        spans.append(Span(name, tuple(tensor.shape), start, stop, role, nonnegative))
        start = stop
    return Spec(tuple(spans))


def flatten(model: nn.Module) -> Vector:
    """The model's weights as a new (d,) float32 vector."""
    parts = [tensor.detach().reshape(-1).numpy() for _, tensor, _ in _tensors(model)]
    return np.concatenate(parts).astype(np.float32, copy=False)


def load(model: nn.Module, weights: Vector) -> None:
    """Sets the model's weights from the vector.

    Raises:
        ValueError: the vector has another length than the model has weights.
    """
    where = spec_of(model)
    _require(where, weights)
    with torch.no_grad():
        for span, (_, tensor, _) in zip(where.spans, _tensors(model), strict=True):
            tensor.copy_(_tensor(weights, span))


def state_dict(where: Spec, weights: Vector) -> dict[str, Tensor]:
    """The vector as torch's state dict, e.g. to save as a `.pt` file; without buffers that are not in the vector."""
    _require(where, weights)
    return {span.name: _tensor(weights, span).clone() for span in where.spans}


def from_state_dict(where: Spec, state: Mapping[str, Tensor]) -> Vector:
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
        spec: where its tensors lie in the vector, as it was built.
        weights, gradient: float32 tensors that the module's parameters and their `.grad` are views of; buffers, which
            have no gradient and which a module may replace, are not in them.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.spec = model, spec_of(model)
        self.weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        self.gradient = torch.zeros_like(self.weights)
        for span, parameter in zip(self.spec.spans, model.parameters(), strict=False):
            parameter.data = self.weights[span.start : span.stop].view(span.shape)
            parameter.grad = self.gradient[span.start : span.stop].view(span.shape)
        travel = {span.name for span in self.spec.buffers}
        self._first = {name: b.detach().clone() for name, b in model.named_buffers() if name not in travel}

    def load(self, weights: Vector) -> None:
        """Sets parameters and buffers from the vector, and buffers that are not in it to what they were at first: of
        whoever was trained on before, nothing is left.

        Raises:
            ValueError: the vector has another length than the model has weights.
        """
        _require(self.spec, weights)
        self.weights.copy_(_array(weights[self.spec.columns("shared")]))
        with torch.no_grad():
            buffers = dict(self.model.named_buffers())
            for span in self.spec.buffers:
                buffers[span.name].copy_(_tensor(weights, span))
            for name, first in self._first.items():
                buffers[name].copy_(first)

    def vector(self) -> Vector:
        """The model's weights as a new (d,) float32 vector."""
        buffers = dict(self.model.named_buffers())
        parts = [buffers[span.name].detach().reshape(-1).numpy() for span in self.spec.buffers]
        return np.concatenate([self.weights.numpy(), *parts])


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor, Role]]:
    """All that travels, in the vector's order."""
    for name, parameter in model.named_parameters():
        yield name, parameter, "shared"
    saved = model.state_dict().keys()
    for name, buffer in model.named_buffers():
        if name in saved and buffer.is_floating_point() and bool(torch.isfinite(buffer).all()):
            yield name, buffer, "buffer"


def _array(weights: Vector) -> Tensor:
    # A copy: the vector may be read-only memory of a message.
    return torch.from_numpy(np.array(weights, np.float32))


def _tensor(weights: Vector, span: Span) -> Tensor:
    return _array(weights[span.start : span.stop]).view(span.shape)


def _require(where: Spec, weights: Vector) -> None:
    if weights.shape != (where.size,):
        raise ValueError(f"{weights.shape} weights for a model that has ({where.size},)")
