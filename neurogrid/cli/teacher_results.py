"""What a teacher gains a federation on real readings: rounds to a given error with and without it.

The teacher learns from households that are no agent's and are not held out. Runs are ordinary runs of the warehouse;
one that is there already is not made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pyspark.sql import SparkSession

from neurogrid.bench.table import Cell, ResultTable
from neurogrid.cli import show
from neurogrid.config import Config, load, to_yaml
from neurogrid.data.manifest import Agent, Manifest, read_part
from neurogrid.data.tables import read_tables
from neurogrid.fl.weights import layout
from neurogrid.fl.weights import load as set_weights
from neurogrid.ledger import read_weights
from neurogrid.ledger.records import read_chain
from neurogrid.pipeline import ingest, settings, steps
from neurogrid.pipeline.teach import do_teach
from neurogrid.randomness import generator
from neurogrid.storage import Place, place
from neurogrid.workloads.meters.agent import as_tensors, model_shape
from neurogrid.workloads.meters.models import Forecaster, Windows, build
from neurogrid.workloads.meters.windows import Batch, build_shard, gather

WINDOWS = 200  # test windows of each household
SHOWN = (0, 1, 2, 5, 10, 20, 40)
SMALL = "model.hidden=16"
GENTLE = "local.learning_rate=0.0005"
GROUPS = ("agents", "held_out")


@dataclass(frozen=True)
class Curve:
    """A run's MAE after each round, 0 being its start, in kWh a slot, mean over the households of each group."""

    run: str
    n_weights: int
    maes: dict[str, list[float]]


@dataclass(frozen=True)
class _Test:
    """A group's test windows, those of all households in a row; `sizes` says how many are whose."""

    windows: Windows
    batches: tuple[Batch, ...]
    sizes: tuple[int, ...]


def measure(config: Config, spark: SparkSession) -> ResultTable:
    """Makes what is not there yet, and scores each round of each run.

    Args:
        config: of the federations; its `teacher` section says whom the teacher learns from.
        spark: an open session.
    """
    if read_tables(place(config.warehouse)) is None:
        ingest.do_etl(config, lambda: spark, ingest.find_source(config))
    manifest, _ = steps.do_sample(config, spark)
    seed = config.seed
    teacher = load(to_yaml(config), [f"teacher.id=teacher-seed{seed}", f"sampling.manifest={manifest.sha256[:12]}"])
    taught = do_teach(teacher, spark, go_on=True)
    with_teacher = f"rounds.teacher=teacher-seed{seed}"
    runs = {
        "from the seed": (),
        "from the teacher": (with_teacher,),
        "from the teacher, gently": (with_teacher, GENTLE),
        "small, from the seed": (SMALL,),
        "small, guided by the teacher": (SMALL, with_teacher, "local.distill_weight=1.0"),
    }
    tests = {"agents": manifest.agents, "held_out": manifest.held_out}
    windows = {name: _test(config, manifest, agents) for name, agents in tests.items()}
    curves = []
    for number, (name, overrides) in enumerate(runs.items()):
        own = load(to_yaml(config), [*overrides, f"run_id=teacher-seed{seed}-{number}"])
        curves.append(_curve(name, own, _run(own, spark, manifest), windows))
    medians = {name: _mae(None, test) for name, test in windows.items()}
    return _table(curves, medians, len(taught["households"]), manifest, config)


def _run(config: Config, spark: SparkSession, manifest: Manifest) -> Place:
    run = place(config.warehouse) / "runs" / config.run_id
    if not (run / "end.json").exists():
        steps.do_train(config, spark, manifest, config.run_id if (run / "run.json").exists() else "")
    return run


def _test(config: Config, manifest: Manifest, agents: Sequence[Agent]) -> _Test:
    """The same test windows of each household for every model."""
    warehouse, batches = place(config.warehouse), []
    with show.console.status(f"  test windows of {len(agents)} households"):
        for agent in agents:
            part = agent.parts[0]
            household = read_part(warehouse, manifest, agent, part)
            shard = build_shard([(household, None)], settings.windows(config), ("test",))
            random = generator(config.seed, "teacher bench", part.household_id)
            sample = random.permutation(shard.origins["test"])[:WINDOWS]
            if len(sample):
                batches.append(gather(shard, sample))
    joined = Windows(*(torch.cat(tensors) for tensors in zip(*map(as_tensors, batches), strict=True)))
    return _Test(joined, tuple(batches), tuple(len(batch) for batch in batches))


def _mae(model: Forecaster | None, test: _Test) -> float:
    """Mean over households; without a model, of the 28-day median, which models forecast the difference from."""
    forecast = np.zeros(tuple(test.windows.target.shape), np.float32)
    if model is not None:
        with torch.inference_mode():
            forecast = model(test.windows.history, test.windows.known)[0].numpy()
    parts = np.split(forecast, np.cumsum(test.sizes)[:-1])
    errors = [
        np.abs(batch.base_kwh + own * batch.scale - batch.target_kwh).mean()
        for own, batch in zip(parts, test.batches, strict=True)
    ]
    return float(np.mean(errors))


def _curve(name: str, config: Config, run: Place, tests: dict[str, _Test]) -> Curve:
    model = build(settings.model(config), model_shape(settings.windows(config)), seed=config.seed)
    maes: dict[str, list[float]] = {group: [] for group in tests}
    with show.console.status(f"  scoring {name}"):
        for record in read_chain(run):
            set_weights(model, read_weights(run, record, layout(model)))
            for group, test in tests.items():
                maes[group].append(_mae(model, test))
    return Curve(name, sum(parameter.numel() for parameter in model.parameters()), maes)


def rounds_to(maes: Sequence[float], target: float) -> int | None:
    """The first round after which the MAE is at most `target`; None where it never is."""
    return next((number for number, mae in enumerate(maes) if mae <= target), None)


def _table(
    curves: Sequence[Curve], medians: dict[str, float], taught: int, manifest: Manifest, config: Config
) -> ResultTable:
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
        f"seed {config.seed}, {config.rounds.count} rounds of {config.rounds.agents_per_round} agents",
        f"mae_n: kWh a slot after round n (0: the start), mean over households of {WINDOWS} test windows each",
        "target_mae: what the run without the teacher has after its last round",
        "28-day median: " + ", ".join(f"{name} {value:.4f}" for name, value in medians.items()),
    )
    return ResultTable("Federations with and without a teacher", columns, tuple(rows), notes)
