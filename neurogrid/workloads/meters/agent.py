"""What an agent does in a round, where its readings are: loads its shard, trains the model on it, measures the loss.

Backends get the factory from the command line's wiring and call it once a task; they know nothing of models or windows.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import cast

import torch
from torch import Tensor

from neurogrid.data.household import Household
from neurogrid.data.manifest import Agent, Manifest, read_part
from neurogrid.errors import RunError
from neurogrid.fl import local
from neurogrid.fl.privacy import AgentNoise
from neurogrid.fl.record import weights_sha256
from neurogrid.fl.spec import Spec
from neurogrid.fl.update import AgentId, Matrix, Update, Vector
from neurogrid.fl.weights import FlatModel, flatten, spec_of
from neurogrid.plural import plural
from neurogrid.randomness import generator
from neurogrid.storage import Place
from neurogrid.workloads.meters.distillation import Distillation, load_guide
from neurogrid.workloads.meters.models import (
    Forecaster,
    LossSettings,
    ModelSettings,
    Windows,
    build,
    forecast_loss,
)
from neurogrid.workloads.meters.personal import personalise
from neurogrid.workloads.meters.personal_files import PersonalFiles, readings_of
from neurogrid.workloads.meters.private_training import NoisyGradient, drawn_origins, noisy_update
from neurogrid.workloads.meters.tensors import as_tensors, batches, model_shape
from neurogrid.workloads.meters.windows import Indices, Shard, WindowSettings, build_shard, gather

VOTE_WINDOWS = 64
"""On so many windows an agent votes."""


@dataclass(frozen=True)
class TrainingSettings:
    """All that training an agent depends on, beside its readings and the global weights.

    Attributes:
        windows, model, loss, local: see there.
        rounds: rounds of the run, over which the learning rate falls.
        validation_windows: windows of each agent in its fixed validation sample.
        cache_mb: memory that one task may spend on shards, MB.
        seed: the run's.
        private: names of layers that stay with each agent.
        noise: that each agent adds itself; None is none.
    """

    windows: WindowSettings
    model: ModelSettings
    loss: LossSettings
    local: local.LocalSettings
    rounds: int
    validation_windows: int
    cache_mb: int
    seed: int
    private: tuple[str, ...] = ()
    noise: AgentNoise | None = None


@dataclass(frozen=True)
class AgentTrainerFactory:
    """Makes an `AgentTrainer` in the task that calls it.

    Attributes:
        warehouse: root under which `meters/` lies.
        manifest: its agents are those that may be asked for.
        settings: how they train.
        distillation: the teacher whose forecast guides them; None is none.
        personal: where and how they keep models of their own; None is not at all.
    """

    warehouse: Place
    manifest: Manifest
    settings: TrainingSettings
    distillation: Distillation | None = None
    personal: PersonalFiles | None = None

    def __call__(self) -> "AgentTrainer":
        """See the class. Sets torch to one thread: a task has one core, and sums do not depend on how many it has."""
        torch.set_num_threads(1)
        return AgentTrainer(self.warehouse, self.manifest, self.settings, self.distillation, self.personal)


class AgentTrainer:
    """Trains and evaluates agents; keeps the shards that it used last, as many as its memory allows."""

    def __init__(
        self,
        warehouse: Place,
        manifest: Manifest,
        settings: TrainingSettings,
        distillation: Distillation | None = None,
        personal: PersonalFiles | None = None,
    ) -> None:
        self._agents = {agent.agent_id: agent for agent in manifest.agents}
        self._fingerprints = manifest.fingerprints
        self._settings = settings
        self._shards = ShardCache(warehouse, manifest, settings.windows, settings.cache_mb)
        self._model = new_model(settings)
        self._n_whole = spec_of(self._model).size
        self._flat = FlatModel(self._model, settings.private)
        self._distillation, self._personal = distillation, personal
        self._guide = load_guide(distillation, model_shape(settings.windows)) if distillation else None

    def train(self, agent: AgentId, round_number: int, weights: Vector) -> Update:
        """Trains `agent` from `weights` on batches that depend on (seed, round, agent) alone.

        Raises:
            RunError: the agent is unknown, its readings cannot be read, or it has no training windows.
        """
        settings, shard = self._settings, self._shard(agent)
        origins = shard.origins["train"]
        if not len(origins):
            raise RunError(
                f"agent {agent} has no training windows",
                found=f"{plural(len(shard.kwh), 'slot')}, none of them with {settings.windows.horizon_slots} measured "
                "ones ahead",
                fix="sample again: that leaves out households with too few readings or too many gaps",
            )
        random = generator(settings.seed, "batches", round_number, agent)
        chosen: Iterable[Indices] = origins[
            random.integers(0, len(origins), (settings.local.steps, settings.local.batch_size))
        ]
        noise = settings.noise
        stream = noise.stream(agent, round_number) if noise else random
        gradient = None
        if noise and noise.plan.mode == "example":
            chosen = drawn_origins(origins, noise.plan, stream)
            gradient = NoisyGradient(self._flat, settings.loss, noise.plan, len(origins), stream)
        result = local.train(
            self._flat,
            weights,
            batches(shard, chosen),
            self._loss,
            settings=settings.local,
            rates=repeat(local.learning_rate(settings.local, round_number, settings.rounds)),
            random=generator(settings.seed, "dropout", round_number, agent),
            private=private_batches(shard, settings.local, settings.seed, agent),
            gradient=gradient,
        )
        if noise:
            return noisy_update(agent, result, noise.plan, stream)
        metrics = {"loss": result.loss, "train_s": result.seconds}
        return Update(agent=agent, delta=result.delta, windows=len(origins), metrics=metrics)

    def evaluate(self, agent: AgentId, weights: Vector) -> Mapping[str, float]:
        """Loss of `weights` on the agent's validation sample, fixed for the run; nan where it has none."""
        settings, shard = self._settings, self._shard(agent)
        origins = shard.origins["validation"]
        sample = generator(settings.seed, "validation", agent).permutation(origins)[: settings.validation_windows]
        if not len(sample):
            return {"loss": float("nan"), "windows": 0.0}
        self._flat.load(weights)
        batches = private_batches(shard, settings.local, settings.seed, agent)
        local.fit_private(self._flat, batches, self._loss, settings=settings.local)
        self._model.eval()
        with torch.inference_mode():
            loss = forecast_loss(self._model, settings.loss, as_tensors(gather(shard, sample)))
        return {"loss": float(loss), "windows": float(len(sample))}

    def vote(self, agent: AgentId, round_number: int, candidates: Matrix) -> list[float]:
        """(n,) the loss of each of (n, d) candidates on `VOTE_WINDOWS` training windows drawn by (seed, round, agent).

        Training windows, since votes decide what goes into the weights: what is measured on validation windows stays
        apart from that. And there are more of them, of all seasons.
        """
        settings, shard = self._settings, self._shard(agent)
        origins = shard.origins["train"]
        drawn = generator(settings.seed, "votes", round_number, agent).integers(0, len(origins), VOTE_WINDOWS)
        windows = as_tensors(gather(shard, origins[drawn]))
        losses = []
        for weights in candidates:
            self._flat.load(weights)
            batches = private_batches(shard, settings.local, settings.seed, agent)
            local.fit_private(self._flat, batches, self._loss, settings=settings.local)
            self._model.eval()
            with torch.inference_mode():
                losses.append(float(forecast_loss(self._model, settings.loss, windows)))
        return losses

    def adapt(self, agent: AgentId, weights: Vector) -> Mapping[str, float]:
        """Fine-tunes the run's last weights on the agent's readings and keeps the result under the agent's name.

        Raises:
            RunError: the run makes no personal models; or the agent's readings cannot be read.
        """
        if self._personal is None:
            raise RunError("this run makes no personal models", found="personal.steps is 0")
        settings, shard, of = self._settings, self._shard(agent), weights_sha256(weights)
        readings = readings_of(self._fingerprints, self._agents[agent])
        try:
            found = self._personal.find(agent, of, self._n_whole, readings)
        except RunError:  # damaged: it is made again
            found = None
        if found is None:
            whole = complete(self._flat, weights, shard, settings, agent)
            found = personalise(shard, whole, self._personal.settings, agent)
            self._personal.write(agent, of, readings, found)
        return {**found.figures(), "windows": float(len(shard.origins["train"]))}

    def holds(self, agent: AgentId) -> bool:
        """Whether the agent's shard is in memory."""
        return agent in self._shards

    def _loss(self, windows: Windows) -> Tensor:
        if self._guide is None or self._distillation is None:
            return forecast_loss(self._model, self._settings.loss, windows)
        with torch.no_grad():
            towards, _ = self._guide(windows.history, windows.known)
        weight = self._distillation.weight
        return forecast_loss(self._model, self._settings.loss, windows, towards=towards, towards_weight=weight)

    def _shard(self, agent: AgentId) -> Shard:
        if agent not in self._agents:
            raise RunError(f"agent {agent} is not in the manifest", found=plural(len(self._agents), "agent"))
        return self._shards.shard(self._agents[agent])


class ShardCache:
    """Shards by agent, with training and validation windows; the longest unused go first when memory is full."""

    def __init__(self, warehouse: Place, manifest: Manifest, windows: WindowSettings, cache_mb: int) -> None:
        self._warehouse, self._manifest, self._windows = warehouse, manifest, windows
        self._limit = cache_mb * 1_000_000
        self._shards: OrderedDict[AgentId, Shard] = OrderedDict()
        self._bytes = 0

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self._shards

    def shard(self, agent: Agent) -> Shard:
        """The agent's shard, loaded if it is not here; raises RunError with the agent and the file."""
        found = self._shards.get(agent.agent_id)
        if found is None:
            found = load_shard(self._warehouse, self._manifest, agent, self._windows)
            self._shards[agent.agent_id] = found
            self._bytes += found.nbytes
            while self._bytes > self._limit and len(self._shards) > 1:
                self._bytes -= self._shards.popitem(last=False)[1].nbytes
        self._shards.move_to_end(agent.agent_id)
        return found


def load_shard(warehouse: Place, manifest: Manifest, agent: Agent, windows: WindowSettings) -> Shard:
    """Reads an agent's parts and makes its training and validation windows.

    Raises:
        RunError: a file cannot be read, or is not the one that the manifest names; says which, and whose.
    """
    parts = []
    for part in agent.parts:
        try:
            parts.append((read_part(warehouse, manifest, agent, part), part.blocks))
        except (OSError, ValueError, KeyError) as error:
            raise RunError(
                f"agent {agent.agent_id}: cannot read household {part.household_id}",
                found=f"{warehouse / part.path}: {error}",
                fix="run `neurogrid etl` and `neurogrid sample` again, in this order",
            ) from error
    return build_shard(parts, windows, ("train", "validation"))


def new_model(settings: TrainingSettings) -> Forecaster:
    """The model as a run begins: weights from the seed."""
    return build(settings.model, model_shape(settings.windows), seed=settings.seed)


def vector_spec(settings: TrainingSettings) -> Spec:
    """What the run's vector holds; raises ValueError where private layers are named that the model does not have."""
    return spec_of(new_model(settings), settings.private)


def private_batches(shard: Shard, settings: local.LocalSettings, seed: int, agent: AgentId) -> Iterator[Windows]:
    """By which an agent's private layers are fitted: windows of its training part, the same ones each time."""
    origins = shard.origins["train"]
    if not len(origins):
        return iter(())
    random = generator(seed, "private batches", agent)
    return batches(shard, origins[random.integers(0, len(origins), (settings.private_steps, settings.batch_size))])


def completed(weights: Vector, household: Household, settings: TrainingSettings, name: str) -> Vector:
    """The weights of the whole model, with private layers fitted to a household's training part.

    Args:
        weights: (d,) float32, of a run.
        household: whose they shall be.
        settings: the run's.
        name: of the agent that the household is, so that they are as in the rounds; else the household's id.

    Returns:
        The vector of a model without private layers, see `weights.load`.
    """
    shard = build_shard([(household, None)], settings.windows, ("train",))
    flat = FlatModel(new_model(settings), settings.private)
    return complete(flat, weights, shard, settings, name)


def complete(flat: FlatModel, weights: Vector, shard: Shard, settings: TrainingSettings, name: str) -> Vector:
    """As `completed`, with a model that is there and the training windows of a shard that is called so."""
    model = cast(Forecaster, flat.model)
    flat.load(weights)
    fitted_by = private_batches(shard, settings.local, settings.seed, name)
    local.fit_private(
        flat, fitted_by, lambda windows: forecast_loss(model, settings.loss, windows), settings=settings.local
    )
    return flatten(model)
