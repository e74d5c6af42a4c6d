"""An agent that makes its update noisy itself, so that nothing else of its readings leaves it in a round.

Of what it otherwise says beside the update, its loss and the number of its windows, it says neither.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from torch import Tensor
from torch.func import functional_call

from neurogrid.fl.dpsgd import private_gradient
from neurogrid.fl.local import LocalResult
from neurogrid.fl.privacy import PrivacyPlan, privatise
from neurogrid.fl.update import AgentId, Update
from neurogrid.fl.weights import Flat, FlatModel
from neurogrid.workloads.meters.models import Forecaster, LossSettings, Windows, forecast_loss
from neurogrid.workloads.meters.windows import Indices


def noisy_update(agent: AgentId, result: LocalResult, plan: PrivacyPlan, random: np.random.Generator) -> Update:
    """The update as it may leave: `local` clips it and adds noise, `example` has done so in every step."""
    delta = result.delta
    if plan.mode == "local":
        delta = privatise(delta, plan.clip_norm, plan.noise_multiplier, random)
    return Update(agent=agent, delta=delta, windows=1, metrics={"train_s": result.seconds})


def drawn_origins(origins: Indices, plan: PrivacyPlan, random: np.random.Generator) -> Iterator[Indices]:
    """The windows of each step: each by itself with the chance that the plan accounts for, so there may be none."""
    for _ in range(plan.steps):
        yield origins[random.random(len(origins)) < plan.example_rate]


@dataclass(frozen=True)
class NoisyGradient:
    """The gradient of DP-SGD, for `local.train`.

    Attributes:
        model: that is trained.
        loss: what it makes small.
        plan: how gradients are clipped, and how much noise is added.
        windows: how many the agent has to draw from.
        random: of the noise.
    """

    model: FlatModel
    loss: LossSettings
    plan: PrivacyPlan
    windows: int
    random: np.random.Generator

    def __call__(self, flat: Flat, batch: Windows) -> float:
        """Puts it into `flat`, and returns the batch's mean loss; nan where no window was drawn."""
        module = self.model.model

        def of_one(parameters: Mapping[str, Tensor], *window: Tensor) -> Tensor:
            def forecast(history: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
                found: tuple[Tensor, Tensor] = functional_call(module, dict(parameters), (history, known))
                return found

            one = Windows(*(tensor.unsqueeze(0) for tensor in window))
            return forecast_loss(cast(Forecaster, forecast), self.loss, one)

        # Quantiles of the days before are there only where quantiles are asked for.
        tensors = batch if self.loss.quantiles else batch[:5]
        gradient, loss = private_gradient(
            of_one,
            dict(module.named_parameters()),
            self.model.spec.spans,
            tensors,
            clip_norm=self.plan.clip_norm,
            noise_multiplier=self.plan.noise_multiplier,
            expected=self.plan.example_rate * self.windows,
            random=self.random,
        )
        flat.gradient.copy_(gradient)
        return loss
