"""Stages that go before the rule and change the rows that it judges: `arc`, `bucketing` and `nnm`; see steps.py."""

from dataclasses import dataclass, replace

import numpy as np

from neurogrid.fl import steps
from neurogrid.fl.groups import Group, Judging, with_groups
from neurogrid.fl.rows import Rows, Step
from neurogrid.fl.stages import Asked, Batch, Passed
from neurogrid.fl.state import State
from neurogrid.randomness import generator


@dataclass(frozen=True)
class Arc:
    """Adaptive robust clipping, of shared tensors and of buffers by themselves.

    Attributes:
        judging: whom the rule judges at once, and how many of them may be malicious.
        name: as in the config.
    """

    judging: Judging
    name: str = "arc"

    def __call__(self, batch: Batch, asked: Asked, state: State) -> Passed:
        """See Stage."""
        batch = with_groups(batch, asked, self.judging)
        groups = tuple(_each(group, steps.arc, self.judging.f(asked, group.label)) for group in batch.groups)
        shortened = sum(int((g.shared.scale < 1).sum()) for g in groups if g.shared.scale is not None)
        return Passed(replace(batch, groups=groups), {"clipped_agents": shortened})


@dataclass(frozen=True)
class Bucketing:
    """Means of buckets, drawn anew in each round from the run's seed.

    Attributes:
        judging: see `Arc`.
        size: of a bucket, in agents.
        seed: of the run.
        name: as in the config.
    """

    judging: Judging
    size: int
    seed: int
    name: str = "bucketing"

    def __call__(self, batch: Batch, asked: Asked, state: State) -> Passed:
        """See Stage."""
        batch = with_groups(batch, asked, self.judging)

        def mix(group: Group) -> Group:
            # Shared tensors and buffers of an agent go into the same bucket.
            def step(rows: Rows, _: int) -> Rows:
                return steps.bucketing(rows, self.size, generator(self.seed, "buckets", state.round + 1, group.label))

            return _each(group, step, 0)

        groups = tuple(map(mix, batch.groups))
        return Passed(replace(batch, groups=groups), {"buckets": sum(len(group.shared) for group in groups)})


@dataclass(frozen=True)
class NearestNeighbours:
    """Nearest-neighbour mixing, of shared tensors and of buffers by themselves; `judging` as in `Arc`.

    A group with no more rows than may be malicious is left as it is: the rule that follows refuses it.
    """

    judging: Judging
    name: str = "nnm"

    def __call__(self, batch: Batch, asked: Asked, state: State) -> Passed:
        """See Stage."""
        batch = with_groups(batch, asked, self.judging)
        groups = []
        for group in batch.groups:
            f = self.judging.f(asked, group.label)
            groups.append(_each(group, steps.nnm, f) if len(group.shared) > f else group)
        mixed = [group.shared.mixing for group in groups if group.shared.mixing is not None]
        widest = max((float(mixing.sum(axis=0).max(initial=0)) for mixing in mixed), default=np.nan)
        return Passed(replace(batch, groups=tuple(groups)), {"most_mixed": widest})


def _each(group: Group, step: Step, f: int) -> Group:
    if not len(group.shared):
        return group
    buffers = None if group.buffers is None else step(group.buffers, f)
    return replace(group, shared=step(group.shared, f), buffers=buffers)
