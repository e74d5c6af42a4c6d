"""How a teacher is trained: the values that everything in this package takes."""

from dataclasses import dataclass
from typing import Literal

from neurogrid.errors import UsageError
from neurogrid.workloads.meters.models import LossSettings, ModelSettings
from neurogrid.workloads.meters.windows import WindowSettings

Device = Literal["cpu", "gpu"]
Precision = Literal["fp32", "bf16"]
Schedule = Literal["cosine", "linear", "constant"]


@dataclass(frozen=True)
class TeacherSettings:
    """All that a teacher depends on, beside its readings.

    Attributes:
        windows, model, loss: see there; the model may be larger than the agents'.
        ranks: processes that train together, each on households of its own.
        device: `cpu` with gloo, `gpu` with nccl.
        precision: `fp32`, or `bf16` for what autocast deems safe.
        epochs: at most so many.
        epoch_windows: windows that all ranks together draw in an epoch; 0 is as many as there are.
        batch_size: windows of all ranks together in one step of the optimiser.
        accumulation: parts into which each rank cuts its share of a batch; gradients are exchanged once a batch.
        learning_rate: after the warm-up.
        schedule: how it falls from there over all epochs' steps.
        warmup_share: share of the steps over which it rises from nothing.
        final_learning_rate_share: what is left of it at the end.
        gradient_clip_norm: L2 norm to which a step's gradient is cut; 0 is no limit.
        patience_epochs: stop after so many epochs without improvement on held-out time; 0 never stops.
        min_improvement: share of the held-out loss that counts as improvement.
        validation_windows: windows of each household's held-out time that an epoch's model is judged on.
        tries: how often the ranks are started before giving up.
        timeout_s: how long a rank waits for the others, in slots and in each exchange.
        seed: of the first weights and of every draw.
    """

    windows: WindowSettings
    model: ModelSettings
    loss: LossSettings
    ranks: int
    device: Device
    precision: Precision
    epochs: int
    epoch_windows: int
    batch_size: int
    accumulation: int
    learning_rate: float
    schedule: Schedule
    warmup_share: float
    final_learning_rate_share: float
    gradient_clip_norm: float
    patience_epochs: int
    min_improvement: float
    validation_windows: int
    tries: int
    timeout_s: float
    seed: int

    def __post_init__(self) -> None:
        parts = self.ranks * self.accumulation
        if self.batch_size % parts:
            raise UsageError(
                "a teacher's batch must divide evenly into its ranks' parts",
                found=f"teacher.batch_size {self.batch_size}, teacher.ranks {self.ranks} x teacher.accumulation "
                f"{self.accumulation}",
                fix=f"take a multiple of {parts}, such as {max(1, self.batch_size // parts) * parts}",
            )

    @property
    def part_size(self) -> int:
        """Windows that a rank puts through the model at once."""
        return self.batch_size // (self.ranks * self.accumulation)
