"""What a teacher gains a federation on real readings: rounds to a given error with and without it.

The teacher learns from households that are no agent's and are not held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from neurogrid.bench.table import Cell, ResultTable
from neurogrid.data.manifest import Agent, Manifest, read_part
from neurogrid.fl.rounds import RoundSettings
from neurogrid.fl.weights import load as set_weights
from neurogrid.fl.weights import spec_of
from neurogrid.ledger import read_weights
from neurogrid.ledger.records import read_chain
from neurogrid.randomness import generator
from neurogrid.storage import Place
from neurogrid.workloads.meters.agent import TrainingSettings, new_model
from neurogrid.workloads.meters.models import Forecaster, Windows
from neurogrid.workloads.meters.tensors import as_tensors
from neurogrid.workloads.meters.windows import Batch, build_shard, gather

WINDOWS = 200  # test windows of each household
SHOWN = (0, 1, 2, 5, 10, 20, 40)
GROUPS = ("agents", "held_out")


@dataclass(frozen=True)
class Curve:
    """A run's MAE after each round, 0 being its start, in kWh a slot, mean over the households of each group."""

    run: str
    n_weights: int
    maes: dict[str, list[float]]


@dataclass(frozen=True)
class Tests:
    """A group's test windows, those of all households in a row; `sizes` says how many are whose."""

    windows: Windows
    batches: tuple[Batch, ...]
    sizes: tuple[int, ...]


def draw_windows(warehouse: Place, manifest: Manifest, agents: Sequence[Agent], training: TrainingSettings) -> Tests:
    """The same test windows of each household for every model."""
    batches = []
    for agent in agents:
        part = agent.parts[0]
        household = read_part(warehouse, manifest, agent, part)
        shard = build_shard([(household, None)], training.windows, ("test",))
        random = generator(training.seed, "teacher bench", part.household_id)
        sample = random.permutation(shard.origins["test"])[:WINDOWS]
        if len(sample):
            batches.append(gather(shard, sample))
    joined = Windows(*(torch.cat(tensors) for tensors in zip(*map(as_tensors, batches), strict=True)))
    return Tests(joined, tuple(batches), tuple(len(batch) for batch in batches))


def mean_error(model: Forecaster | None, test: Tests) -> float:
    """MAE in kWh a slot, mean over households.

    Without a model it is that of the 28-day median, which models forecast the difference from.
    """
    forecast = np.zeros(tuple(test.windows.target.shape), np.float32)
    if model is not None:
        model.eval()
        with torch.inference_mode():
            forecast = model(test.windows.history, test.windows.known)[0].numpy()
    parts = np.split(forecast, np.cumsum(test.sizes)[:-1])
    errors = [
        np.abs(batch.base_kwh + own * batch.scale - batch.target_kwh).mean()
        for own, batch in zip(parts, test.batches, strict=True)
    ]
    return float(np.mean(errors))


def score(name: str, run: Place, training: TrainingSettings, tests: dict[str, Tests]) -> Curve:
    """The curve of a run that has ended."""
    model = new_model(training)
    maes: dict[str, list[float]] = {group: [] for group in tests}
    for record in read_chain(run):
        set_weights(model, read_weights(run, record, spec_of(model)))
        for group, test in tests.items():
            maes[group].append(mean_error(model, test))
    return Curve(name, sum(parameter.numel() for parameter in model.parameters()), maes)


def rounds_to(maes: Sequence[float], target: float) -> int | None:
    """The first round after which the MAE is at most `target`; None where it never is."""
    return next((number for number, mae in enumerate(maes) if mae <= target), None)


def tabulate(
    curves: Sequence[Curve], medians: dict[str, float], taught: int, manifest: Manifest, rounds: RoundSettings
) -> ResultTable:
    """The table of a run without a teacher and two with it, then of two smaller ones, without and with it."""
    last = len(curves[0].maes["agents"]) - 1
    shown = [number for number in SHOWN if number < last] + [last]
    columns = ("run", "weights", "households", *(f"mae_{n}" for n in shown), "target_mae", "rounds_to_target")
    rows: list[tuple[Cell, ...]] = []
    for twins in (curves[:3], curves[3:]):  # a run without the teacher, then those with it
        for group in GROUPS:
            target = twins[0].maes[group][-1]
            for curve in twins:
                maes = curve.maes[group]
                kept = [maes[min(number, len(maes) - 1)] for number in shown]
                rows.append((curve.run, curve.n_weights, group, *kept, target, rounds_to(maes, target)))
    notes = (
        f"{taught} households taught, {len(manifest.agents)} others are the agents, {len(manifest.held_out)} held out; "
        f"seed {manifest.seed}, {rounds.rounds} rounds of {rounds.agents_per_round} agents",
        f"mae_n: kWh a slot after round n (0: the start), mean over households of {WINDOWS} test windows each",
        "target_mae: what the run without the teacher has after its last round",
        "28-day median: " + ", ".join(f"{name} {value:.4f}" for name, value in medians.items()),
    )
    return ResultTable("Federations with and without a teacher", columns, tuple(rows), notes)
