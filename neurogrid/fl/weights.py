"""A model's weights as one flat vector and back: what travels, is summed and is saved is always the vector.

Parameters are in it, and buffers of finite floating-point numbers that are part of the model's state dict, such as
BatchNorm's running mean and variance. Other buffers are not: counters (`num_batches_tracked`), what is not saved, and
what is not finite (masks of -inf), of which no mean can be made. They are as the model was built, each time that an
agent begins. So are private parameters, which stay with an agent.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from neurogrid.fl.spec import Role, Span, Spec
from neurogrid.fl.update import Vector


def spec_of(model: nn.Module, private: Collection[str] = ()) -> Spec:
    """Where each of the model's tensors lies in the vector: parameters in the model's own order, then buffers.

    Args:
        model: the model.
        private: names of layers, or of single parameters, that stay with each agent.

    Raises:
        ValueError: the model has no such layer, or nothing is left to share.
    """
    spans, start = [], 0
    for name, tensor, role in _tensors(model, private):
        stop = start + tensor.numel()
        # torch's own name for the variances that its normalisations keep.
        nonnegative = role == "buffer" and name.rpartition(".")[2] == "running_var"
        spans.append(Span(name, tuple(tensor.shape), start, stop, role, nonnegative))
        start = stop
    own = tuple(span for span in spans if span.role == "private")
    for name in private:
        if not any(_is_in(span.name, name) for span in own):
            layers = dict.fromkeys(parameter.rpartition(".")[0] for parameter, _ in model.named_parameters())
            raise ValueError(f"the model has no layer {name!r}; it has {', '.join(filter(None, layers))}")
    if own and spans[0].role != "shared":
        raise ValueError("every layer is private, so there is nothing to train together")
    return Spec(tuple(spans[: len(spans) - len(own)]), own)


def flatten(model: nn.Module, private: Collection[str] = ()) -> Vector:
    """The model's weights as a new (d,) float32 vector, without those of private layers."""
    parts = [tensor.detach().reshape(-1).numpy() for _, tensor, role in _tensors(model, private) if role != "private"]
    return np.concatenate(parts).astype(np.float32, copy=False)


def load(model: nn.Module, weights: Vector) -> None:
    """Sets the model's weights from the vector of a model without private layers.

    Raises:
        ValueError: the vector has another length than the model has weights.
    """
    where = spec_of(model)
    _require(where, weights)
    with torch.no_grad():
        for span, (_, tensor, _) in zip(where.spans, _tensors(model, ()), strict=True):
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
        shared, private: what the module's parameters are views of, with their gradients; buffers, which have no
            gradient and which a module may replace, are not in them.
    """

    def __init__(self, model: nn.Module, private: Collection[str] = ()) -> None:
        self.model, self.spec = model, spec_of(model, private)
        self.shared = Flat(model, self.spec.spans[: self.spec.n_shared])
        self.private = Flat(model, self.spec.private)
        travel = {span.name for span in self.spec.buffers}
        self._first = {name: b.detach().clone() for name, b in model.named_buffers() if name not in travel}
        self._first_private = self.private.weights.clone()

    def load(self, weights: Vector) -> None:
        """Sets parameters and buffers from the vector, and what is not in it to what it was at first: of whoever was
        trained on before, nothing is left.

        Raises:
            ValueError: the vector has another length than the model has weights.
        """
        _require(self.spec, weights)
        self.shared.weights.copy_(_array(weights[self.spec.columns("shared")]))
        self.private.weights.copy_(self._first_private)
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
        return np.concatenate([self.shared.weights.numpy(), *parts])


class Flat:
    """Some of a model's parameters and their gradients, each as one float32 tensor that the model's are views of."""

    def __init__(self, model: nn.Module, spans: Sequence[Span]) -> None:
        self.parameters = [model.get_parameter(span.name) for span in spans]
        self.weights = torch.cat([torch.empty(0), *(p.detach().reshape(-1) for p in self.parameters)])
        self.gradient = torch.zeros_like(self.weights)
        start = 0
        for parameter in self.parameters:
            stop = start + parameter.numel()
            parameter.data = self.weights[start:stop].view(parameter.shape)
            parameter.grad = self.gradient[start:stop].view(parameter.shape)
            start = stop


def _tensors(model: nn.Module, private: Collection[str]) -> Iterator[tuple[str, Tensor, Role]]:
    """All that travels, in the vector's order, and then what is private."""
    own = {name for name, _ in model.named_parameters() if any(_is_in(name, layer) for layer in private)}
    for name, parameter in model.named_parameters():
        if name not in own:
            yield name, parameter, "shared"
    saved = model.state_dict().keys()
    for name, buffer in model.named_buffers():
        if name in saved and buffer.is_floating_point() and bool(torch.isfinite(buffer).all()):
            yield name, buffer, "buffer"
    for name, parameter in model.named_parameters():
        if name in own:
            yield name, parameter, "private"


def _is_in(parameter: str, layer: str) -> bool:
    return parameter == layer or parameter.startswith(f"{layer}.")


def _array(weights: Vector) -> Tensor:
    # A copy: the vector may be read-only memory of a message.
    return torch.from_numpy(np.array(weights, np.float32))


def _tensor(weights: Vector, span: Span) -> Tensor:
    return _array(weights[span.start : span.stop]).view(span.shape)


def _require(where: Spec, weights: Vector) -> None:
    if weights.shape != (where.size,):
        raise ValueError(f"{weights.shape} weights for a model that has ({where.size},)")
