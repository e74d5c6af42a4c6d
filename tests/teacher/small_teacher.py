"""A small warehouse and ranks that train on it as plain processes, for tests that need no Spark."""

import hashlib
import json
import multiprocessing
import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.data.household import FEATURES, METADATA_KEY, OBSERVED, SCHEMA, ZERO, HouseholdMeta, Scale
from neurogrid.data.manifest import Agent, Manifest, Part, keep
from neurogrid.data.tables import CurrentTable
from neurogrid.storage import place
from neurogrid.teacher import records
from neurogrid.teacher.households import deal
from neurogrid.teacher.rank import RankTask, train_rank
from neurogrid.teacher.settings import TeacherSettings
from neurogrid.workloads.meters.models import LossSettings, ModelSettings
from neurogrid.workloads.meters.windows import WindowSettings

DAY, DAYS, ROW_GROUP = 12, 60, 300
FIRST, STEP = datetime(2024, 1, 1, tzinfo=UTC), timedelta(hours=2)
PATIENCE_S = 120
SETTINGS = TeacherSettings(
    windows=WindowSettings(history_slots=8, horizon_slots=2, known_future=True, residual=True),
    model=ModelSettings(name="city_lstm", hidden=6, layers=1, surge_hidden=4),
    loss=LossSettings(loss="l1", huber_delta=1.0, surge_weight=1.0),
    ranks=2,
    device="cpu",
    precision="fp32",
    epochs=3,
    epoch_windows=0,
    batch_size=64,
    accumulation=1,
    learning_rate=5e-3,
    schedule="cosine",
    warmup_share=0.1,
    final_learning_rate_share=0.05,
    gradient_clip_norm=1.0,
    patience_epochs=0,
    min_improvement=0.0,
    validation_windows=30,
    tries=3,
    timeout_s=60.0,
    seed=1,
)

# Forked from one that has done its imports, also those that torch does at the first step: they take seconds each.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["neurogrid.teacher.rank", "pyarrow.dataset", "torch._dynamo", "torch.nn.parallel"])


def settings(**changes: object) -> TeacherSettings:
    return replace(SETTINGS, **changes)


def make_file(root: Path, name: str, *, days: int = DAYS, measured: bool = True) -> CurrentTable:
    """A household's table with several row groups: a daily habit, noise."""
    random = np.random.default_rng(sum(name.encode()))
    rows = days * DAY
    slot = np.arange(rows) % DAY
    habit = 0.4 + 0.25 * np.sin(2 * np.pi * (slot - random.integers(DAY)) / DAY)
    kwh = np.maximum(habit + 0.1 * random.normal(size=rows), 0).astype(np.float32)
    train, validation = int(rows * 0.7), int(rows * 0.8)
    mean, std = float(kwh[:train].mean()), float(kwh[:train].std())
    features = np.zeros((rows, len(FEATURES)), np.float32)
    features[:, 0] = (kwh - mean) / std
    features[:, 1], features[:, 2] = np.sin(2 * np.pi * slot / DAY), np.cos(2 * np.pi * slot / DAY)
    meta = HouseholdMeta(
        household_id=name,
        weather_id="none",
        cadence_minutes=120,
        first=FIRST,
        last=FIRST + (rows - 1) * STEP,
        rows=rows,
        observed=rows,
        train_end=FIRST + train * STEP,
        validation_end=FIRST + validation * STEP,
        scales={FEATURES[0]: Scale(mean, std)},
        surge_threshold_kwh=float(np.quantile(kwh, 0.95)),
    )
    tier = np.full(rows, OBSERVED if measured else ZERO, np.uint8)
    times = pa.array([FIRST + number * STEP for number in range(rows)], SCHEMA.field(0).type)
    columns = [times, *map(pa.array, features.T), pa.array(kwh), pa.array(tier), pa.array(np.zeros(rows, np.uint8))]
    schema = SCHEMA.with_metadata({METADATA_KEY: meta.to_json().encode()})
    taught = CurrentTable(name, "none", rows)
    (root / taught.path).parent.mkdir(parents=True)
    pq.write_table(pa.table(columns, schema=schema), root / taught.path, row_group_size=ROW_GROUP)
    return taught


def make_warehouse(root: Path, count: int = 5) -> tuple[CurrentTable, ...]:
    """Households house0 ... of different lengths, and their index."""
    made = tuple(make_file(root, f"house{number}", days=DAYS + 7 * number) for number in range(count))
    table = pa.Table.from_pylist([vars(household) for household in made])
    pq.write_table(table, root / "households.parquet")
    return made


def an_agent(household: str, agent_id: str) -> Agent:
    """The agent of one of the households that `make_warehouse` makes, whose number says how long its readings are."""
    rows = (DAYS + 7 * int(household.removeprefix("house"))) * DAY
    train_end, validation_end, last = (FIRST + slot * STEP for slot in (int(rows * 0.7), int(rows * 0.8), rows - 1))
    return Agent(agent_id, (Part(household, "none"),), 0, 0, rows, FIRST, train_end, validation_end, last)


def write_manifest(root: Path, drawn: Manifest) -> None:
    """Puts a manifest of households of this warehouse into it, with the fingerprints of their files."""
    households = [part.household_id for agent in (*drawn.agents, *drawn.held_out) for part in agent.parts]
    files = [CurrentTable(name, "none", 0).path for name in households]
    prints = {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in files}
    keep(replace(drawn, fingerprints=prints), place(str(root)))


def manifest(agents: tuple[str, ...], held_out: tuple[str, ...], idle: tuple[str, ...]) -> Manifest:
    return Manifest(
        seed=1,
        cadence_minutes=120,
        partition="natural",
        districts=1,
        silhouette=0.0,
        clusters=(),
        agents=tuple(an_agent(name, f"A{number}") for number, name in enumerate(agents)),
        held_out=tuple(an_agent(name, f"H{number}") for number, name in enumerate(held_out)),
        unused=(*(f"{name}: usable, not drawn: 1 of 2 train" for name in idle), "house9: 3 measured training slots"),
        fingerprints={},
    )


def begin(root: Path, households: tuple[CurrentTable, ...], wanted: TeacherSettings, name: str) -> RankTask:
    """A teacher's folder with its first record, and what its ranks are given."""
    folder = place(str(root / "teachers" / name))
    first = {
        "teacher_id": name,
        "households": [household.household_id for household in households],
        "device": wanted.device,
        "seed": wanted.seed,
    }
    if not (folder / "teacher.json").exists():
        records.begin(folder, first, "seed: 1\n")
    tries = len((folder / "tries").children())
    return RankTask(place(str(root)), folder, deal(households, wanted.ranks), {}, wanted, tries)


def start(task: RankTask, said: Path, **environment: str) -> list[BaseProcess]:
    """The task's ranks, each a process of its own with what is given, as torchrun would start them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    said.mkdir(parents=True, exist_ok=True)
    started = []
    for rank in range(task.settings.ranks):
        process = processes.Process(target=_rank, args=(task, rank, port, said / f"{rank}.json", environment))
        process.start()
        started.append(process)
    return started


def _rank(task: RankTask, rank: int, port: int, said: Path, environment: Mapping[str, str]) -> None:
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "WORLD_SIZE": task.settings.ranks}
    where |= environment
    os.environ.update({name: str(value) for name, value in where.items()})
    said.write_text(json.dumps(train_rank(task)))


def train(task: RankTask, **environment: str) -> list[dict[str, str]]:
    """Runs the task's ranks to their end; what each said."""
    said = Path(task.folder.path) / "said"
    codes = join(start(task, said, **environment))
    assert codes == [0] * len(codes), codes
    return [json.loads((said / f"{rank}.json").read_text()) for rank in range(len(codes))]


def join(started: list[BaseProcess]) -> list[int | None]:
    for process in started:
        process.join(PATIENCE_S)
    codes = [process.exitcode for process in started]
    for process in started:
        if process.is_alive():
            process.kill()
    return codes


def weights(task: RankTask, epoch: int) -> dict[str, np.ndarray]:
    chain = records.read(task.folder)
    tensors = records.read_checkpoint(task.folder, chain, epoch)["weights"]
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def bits(task: RankTask, epoch: int) -> bytes:
    return b"".join(array.tobytes() for array in weights(task, epoch).values())
