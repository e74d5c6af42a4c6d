"""What a model's flat vector holds: its tensors one after another, each with a role that says what becomes of it.

    shared   a parameter: agents train it, the server clips, judges, averages and steps it
    buffer   a statistic that the model keeps of its inputs (BatchNorm's running mean and variance): agents measure it,
             the server clips and judges it by itself, and sets it to the mean, without step or momentum
    private  a parameter that is not in the vector: it never leaves an agent, see `local.fit_private`

A model's shared tensors come first, then its buffers, so that each role is one slice of the vector.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Literal

Role = Literal["shared", "buffer", "private"]


@dataclass(frozen=True)
class Span:
    """Where one of the model's tensors lies in the vector, columns `start` to `stop`, and what it is.

    Attributes:
        name, shape: of the tensor.
        start, stop: columns.
        role: see above.
        nonnegative: whether no entry of it can be below 0, as of a variance.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int
    role: Role = "shared"
    nonnegative: bool = False


@dataclass(frozen=True)
class Spec:
    """The order in which a model's tensors lie in the flat vector.

    Attributes:
        spans: of the vector, shared tensors and buffers.
        private: of an agent's own tensors, as if they came after those.

    Raises:
        ValueError: spans leave a gap or overlap, one has not as many columns as its shape says, two have the same name,
            or a shared one comes after a buffer.
    """

    spans: tuple[Span, ...] = field(default_factory=tuple)
    private: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        together = (*self.spans, *self.private)
        starts = [0, *(span.stop for span in together)]
        for span, start in zip(together, starts, strict=False):
            if span.start != start or span.stop - span.start != prod(span.shape):
                raise ValueError(f"{span} has to begin at {start} and to have as many columns as its shape")
        if len({span.name for span in together}) < len(together):
            raise ValueError("two tensors have the same name")
        if {span.role for span in self.private} - {"private"} or any(span.role == "private" for span in self.spans):
            raise ValueError("private tensors are told apart from those of the vector")
        if any(one.role == "buffer" and other.role == "shared" for one, other in pairwise(self.spans)):
            raise ValueError("shared tensors come before buffers")

    @property
    def size(self) -> int:
        """Length of the vector, d."""
        return self.spans[-1].stop if self.spans else 0

    @property
    def buffers(self) -> tuple[Span, ...]:
        """The spans of buffers."""
        return tuple(span for span in self.spans if span.role == "buffer")

    @property
    def n_shared(self) -> int:
        """How many of the spans are shared."""
        return len(self.spans) - len(self.buffers)

    def columns(self, role: Literal["shared", "buffer"]) -> slice:
        """Where the role's tensors lie in the vector."""
        first = self.buffers[0].start if self.buffers else self.size
        return slice(0, first) if role == "shared" else slice(first, self.size)
