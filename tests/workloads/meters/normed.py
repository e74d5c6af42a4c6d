"""A forecaster that measures statistics of its inputs and draws random numbers, unlike those that are built in."""

import torch
from torch import Tensor, nn

from neurogrid.workloads.meters.models import Forecaster, ModelSettings, Shape

NORMED = ModelSettings(name="normed", hidden=8, layers=1, surge_hidden=4)


class Normed(Forecaster):
    def __init__(self, settings: ModelSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        self.seen = nn.Conv1d(shape.features, settings.hidden, 3)
        self.norm = nn.BatchNorm1d(settings.hidden, momentum=None)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(settings.hidden, 2 * shape.horizon_slots + 1)
        self.register_buffer("scale", torch.full((), 0.25))

    def forward(self, history: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        mixed = self.norm(self.seen(history.transpose(1, 2))).relu().mean(dim=2)
        found = self.scale * self.out(self.drop(mixed))
        return found[:, : self.shape.horizon_slots], found[:, self.shape.horizon_slots :]
