"""Whose updates are judged at once: all agents', or each district's, with the rows that steps make of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from neurogrid.fl.registry import count
from neurogrid.fl.rows import Rows

if TYPE_CHECKING:
    from neurogrid.fl.stages import Asked, Batch

Scope = Literal["all", "district"]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Group:
    """Updates that are judged at once.

    Attributes:
        label: the district's, or 0.
        members: rows of the batch.
        shared, buffers: what is judged of their shared tensors and of their buffers; None where the model has none.
    """

    label: int
    members: Ints
    shared: Rows
    buffers: Rows | None


@dataclass(frozen=True)
class Judging:
    """Whom a rule judges at once, and how many of them it has to bear.

    Attributes:
        byzantine_share: share of the agents asked that may be malicious; f is its whole part, of those asked and not of
            those that came, so that missing honest agents give attackers nothing.
        scope: whom it judges at once.
    """

    byzantine_share: float
    scope: Scope

    def f(self, asked: "Asked", label: int) -> int:
        """How many agents of the group may be malicious."""
        if self.scope == "all":
            return count(self.byzantine_share, asked.among)
        return count(self.byzantine_share, sum(asked.districts[agent] == label for agent in asked.agents))


def with_groups(batch: "Batch", asked: "Asked", judging: Judging) -> "Batch":
    """The batch with its groups, which are made where no stage before needed them."""
    if batch.groups:
        return batch
    labels = np.zeros(len(batch.agents), np.int64)
    if judging.scope == "district":
        labels = districts_of(batch, asked.districts)
    spec, groups = asked.spec, []
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        deltas = batch.deltas if len(members) == len(labels) else batch.deltas[members]
        buffers = Rows.of(deltas[:, spec.columns("buffer")]) if spec.buffers else None
        groups.append(Group(label, members, Rows.of(deltas[:, spec.columns("shared")]), buffers))
    return replace(batch, groups=tuple(groups))


def left(batch: "Batch", kept: Ints) -> "Batch":
    """Some rows of a batch whose updates no step has changed; products that are known are not made again."""
    after = batch.only(kept)
    if after is batch:
        return batch
    places = np.full(len(batch.agents), -1)
    places[kept] = np.arange(len(kept))
    groups = []
    for group in batch.groups:
        own = np.flatnonzero(places[group.members] >= 0)
        members = places[group.members[own]]
        deltas = after.deltas if len(members) == len(kept) else after.deltas[members]
        d = group.shared.deltas.shape[1]
        buffers = None if group.buffers is None else group.buffers.only(own, deltas[:, d:])
        groups.append(Group(group.label, members, group.shared.only(own, deltas[:, :d]), buffers))
    return replace(after, groups=tuple(group for group in groups if len(group.members)))


def districts_of(batch: "Batch", districts: Mapping[str, int]) -> Ints:
    """(n,) each agent's district."""
    return np.array([districts[agent] for agent in batch.agents], np.int64)
