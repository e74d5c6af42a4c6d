"""Ranks of a teacher against a plain torch loop on the same cores, in turn in the same run.

Made-up households, so that it runs anywhere; every way draws the same windows, takes the same steps, ends on the same
held-out windows. What is timed is training alone: start-up stands beside it.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyspark.sql import SparkSession

from neurogrid.bench.table import Cell, ResultTable
from neurogrid.data.household import FEATURES, METADATA_KEY, SCHEMA, HouseholdMeta, Scale
from neurogrid.data.tables import CurrentTable
from neurogrid.plural import plural
from neurogrid.randomness import generator
from neurogrid.session import spark_session
from neurogrid.storage import Place, place
from neurogrid.teacher import reading, records, schedule
from neurogrid.teacher.distribute import distribute, refuse_without_slots
from neurogrid.teacher.households import deal
from neurogrid.teacher.rank import RankTask
from neurogrid.teacher.settings import TeacherSettings
from neurogrid.workloads.meters.models import LossSettings, ModelSettings, build, forecast_loss
from neurogrid.workloads.meters.tensors import as_tensors, model_shape
from neurogrid.workloads.meters.windows import WindowSettings, gather

SPARK_LOG = Path("build/bench/spark.log")
HOUSEHOLDS, DAYS, DAY = 8, 120, 48  # half-hourly
SETTINGS = TeacherSettings(
    windows=WindowSettings(history_slots=48, horizon_slots=4, known_future=True, residual=True),
    model=ModelSettings(name="city_lstm", hidden=48, layers=1, surge_hidden=48),
    loss=LossSettings(loss="l1", huber_delta=1.0, surge_weight=1.0),
    ranks=1,
    device="cpu",
    precision="fp32",
    epochs=3,
    epoch_windows=0,
    batch_size=256,
    accumulation=1,
    learning_rate=3e-3,
    schedule="cosine",
    warmup_share=0.02,
    final_learning_rate_share=0.05,
    gradient_clip_norm=1.0,
    patience_epochs=0,
    min_improvement=0.0,
    validation_windows=128,
    tries=1,
    timeout_s=120.0,
    seed=1,
)
COLUMNS = ("way", "windows_per_s", "to_plain_loop", "to_one_rank", "cpu_us_per_window", "start_s", "held_out_loss")
_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Measured:
    """One training: speed of its median epoch, CPU time of all its processes, seconds beside training, the end."""

    windows_per_s: float
    cpu_us_per_window: float
    start_s: float
    held_out_loss: float


def bench_teacher(ranks: Sequence[int], batch_size: int, repeats: int) -> ResultTable:
    """Trains `repeats` times each way, in turn: a plain loop on one core, then each number of ranks."""
    found: dict[str, list[Measured]] = {}
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        households = _make_households(root)
        spark = stack.enter_context(spark_session("bench-teacher", f"local[{max(ranks)}]", {}, SPARK_LOG))
        settings = replace(SETTINGS, batch_size=batch_size)
        for turn in range(repeats):
            found.setdefault("plain loop", []).append(_plain(root, households, settings))
            for count in ranks:
                own = replace(settings, ranks=count)
                name = plural(count, "rank")
                found.setdefault(name, []).append(_teach(spark, root, households, own, f"{count}-{turn}"))
    rows: list[tuple[Cell, ...]] = []
    plain, one = found["plain loop"], found.get("1 rank")
    for name, measured in found.items():
        rows.append(
            (
                name,
                statistics.median(m.windows_per_s for m in measured),
                _ratio(measured, plain),
                _ratio(measured, one) if one else None,
                statistics.median(m.cpu_us_per_window for m in measured),
                statistics.median(m.start_s for m in measured),
                measured[-1].held_out_loss,
            )
        )
    weights = sum(p.numel() for p in build(SETTINGS.model, model_shape(SETTINGS.windows), seed=1).parameters())
    notes = (
        f"{weights:,} weights; {HOUSEHOLDS} made-up households of {DAYS} days; batches of {batch_size} windows of all "
        f"ranks together, one thread a rank; {SETTINGS.epochs} epochs, {repeats} times in turn, medians",
        "windows_per_s: of the median epoch's training; start_s: all else, Spark's job, torchrun and reading included",
        "cpu_us_per_window: CPU time of all ranks together, which says little of waiting but bears a busy machine",
        "to_plain_loop, to_one_rank: median over the turns of the ratio within a turn",
    )
    return ResultTable("Teacher", COLUMNS, tuple(rows), notes)


def _ratio(measured: Sequence[Measured], to: Sequence[Measured]) -> float:
    return statistics.median(a.windows_per_s / b.windows_per_s for a, b in zip(measured, to, strict=True))


def _teach(
    spark: SparkSession, root: Path, households: Sequence[CurrentTable], settings: TeacherSettings, name: str
) -> Measured:
    folder = place(str(root / "teachers" / name))
    records.begin(folder, {"teacher_id": name}, "")
    refuse_without_slots(spark, settings.ranks, settings.timeout_s)
    began = time.perf_counter()
    task = RankTask(place(str(root)), folder, deal(households, settings.ranks), {}, settings, 0)
    chain = distribute(spark, task, lambda record: None, lambda words: None)
    seconds = time.perf_counter() - began
    trained = sum(epoch["train_s"] for epoch in chain.epochs)
    speed = statistics.median(epoch["windows_per_s"] for epoch in chain.epochs)
    cpu_us = 1e6 * sum(epoch["train_cpu_s"] for epoch in chain.epochs) / sum(epoch["windows"] for epoch in chain.epochs)
    return Measured(speed, cpu_us, seconds - trained, chain.held_out[-1])


def _plain(root: Path, households: Sequence[CurrentTable], settings: TeacherSettings) -> Measured:
    """A process of its own, as a rank is one."""
    began = time.perf_counter()
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_plain_loop, args=(theirs, place(str(root)), tuple(households), settings))
    process.start()
    theirs.close()
    speed, cpu_us, trained, held_out = ours.recv()
    process.join()
    return Measured(speed, cpu_us, time.perf_counter() - began - trained, held_out)


def _plain_loop(
    pipe: Connection,
    warehouse: Place,
    households: tuple[CurrentTable, ...],
    settings: TeacherSettings,
) -> None:
    """What anybody would write: read, shuffle, step; no ranks, no DDP, no records."""
    torch.set_num_threads(1)
    found = reading.read(warehouse, households, {}, settings.windows, settings.validation_windows, settings.seed)
    origins = found.shard.origins["train"]
    model = build(settings.model, model_shape(settings.windows), seed=settings.seed)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    steps = schedule.steps_an_epoch(settings, len(origins))
    seconds, cpu = [], time.process_time()
    for epoch in range(1, settings.epochs + 1):
        began = time.perf_counter()
        for step, parts in enumerate(schedule.epoch_windows(origins, settings, epoch, 0, steps)):
            optimiser.param_groups[0]["lr"] = schedule.learning_rate(
                settings, (epoch - 1) * steps + step, settings.epochs * steps
            )
            optimiser.zero_grad()
            loss = forecast_loss(model, settings.loss, as_tensors(gather(found.shard, parts[0])))
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip_norm)
            optimiser.step()
        seconds.append(time.perf_counter() - began)
    windows, cpu = steps * settings.batch_size, time.process_time() - cpu
    with torch.inference_mode():
        held_out = forecast_loss(model, settings.loss, as_tensors(gather(found.shard, found.validation)))
    cpu_us = 1e6 * cpu / (windows * settings.epochs)
    pipe.send((windows / statistics.median(seconds), cpu_us, sum(seconds), float(held_out)))


def _make_households(root: Path) -> list[CurrentTable]:
    """Households with a daily habit and noise, as the warehouse's files."""
    made = []
    first, step, rows = datetime(2024, 1, 1, tzinfo=UTC), timedelta(minutes=1440 // DAY), DAYS * DAY
    train, validation = int(rows * 0.72), int(rows * 0.8)
    for number in range(HOUSEHOLDS):
        random = generator(1, "bench teacher", number)
        angle = 2 * np.pi * ((np.arange(rows) - random.integers(DAY)) % DAY) / DAY
        kwh = np.maximum(0.4 + 0.25 * np.sin(angle) + 0.1 * random.standard_normal(rows), 0).astype(np.float32)
        mean, std = float(kwh[:train].mean()), float(kwh[:train].std())
        features = np.zeros((rows, len(FEATURES)), np.float32)
        features[:, 0], features[:, 1], features[:, 2] = (kwh - mean) / std, np.sin(angle), np.cos(angle)
        meta = HouseholdMeta(
            household_id=f"house{number}",
            weather_id="none",
            cadence_minutes=1440 // DAY,
            first=first,
            last=first + (rows - 1) * step,
            rows=rows,
            observed=rows,
            train_end=first + train * step,
            validation_end=first + validation * step,
            scales={FEATURES[0]: Scale(mean, std)},
            surge_threshold_kwh=float(np.quantile(kwh[:train], 0.95)),
        )
        taught = CurrentTable(meta.household_id, meta.weather_id, rows)
        (root / taught.path).parent.mkdir(parents=True)
        times = pa.array([first + slot * step for slot in range(rows)], SCHEMA.field(0).type)
        tiers = pa.array(np.zeros(rows, np.uint8))
        columns = [times, *map(pa.array, features.T), pa.array(kwh), tiers, tiers]
        schema = SCHEMA.with_metadata({METADATA_KEY: meta.to_json().encode()})
        pq.write_table(pa.table(columns, schema=schema), root / taught.path)
        made.append(taught)
    return made
