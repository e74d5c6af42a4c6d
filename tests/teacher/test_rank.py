"""Ranks as plain processes over gloo: same bits, kills, what each reads."""

import json
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import small_teacher
import torch
from pyarrow import fs
from small_teacher import begin, bits, join, settings, start, train, weights

from neurogrid.data.tables import CurrentTable
from neurogrid.errors import RunError
from neurogrid.storage import Place, place
from neurogrid.teacher import reading, records
from neurogrid.teacher.rank import DONE, GAVE_UP, REFUSED, RankTask, gpu
from neurogrid.teacher.schedule import epoch_windows, learning_rate, steps_an_epoch
from neurogrid.workloads.meters.models import LossSettings, build, forecast_loss
from neurogrid.workloads.meters.tensors import as_tensors, model_shape
from neurogrid.workloads.meters.windows import gather

Households = tuple[CurrentTable, ...]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def households(root: Path) -> Households:
    return small_teacher.make_warehouse(root)


@pytest.fixture(scope="module")
def two(root: Path, households: Households) -> RankTask:
    """A teacher of two ranks that nothing disturbed."""
    task = begin(root, households, settings(), "two")
    assert train(task) == [{"status": DONE}] * 2
    return task


def losses(task: RankTask) -> list[float]:
    return records.read(task.folder).held_out


def test_a_teacher_learns(root: Path, households: Households) -> None:
    # Without the profiles to start from, the daily habit is there to learn.
    bare = begin(root, households, settings(ranks=1, windows=replace(settings().windows, residual=False)), "bare")
    train(bare)
    assert losses(bare)[-1] < 0.95 * losses(bare)[0]


def test_two_ranks_come_to_the_same_bits_again(root: Path, households: Households, two: RankTask) -> None:
    again = begin(root, households, settings(), "again")
    train(again)
    assert bits(again, 3) == bits(two, 3)
    assert losses(again) == losses(two)


def plain_loop(root: Path, households: Households) -> dict[str, np.ndarray]:
    """The same training by torch alone: no ranks, no DDP."""
    wanted = settings(ranks=1)
    read = reading.read(place(str(root)), households, {}, wanted.windows, 30, wanted.seed)
    origins = read.shard.origins["train"]
    model = build(wanted.model, model_shape(wanted.windows), seed=wanted.seed)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    steps = steps_an_epoch(wanted, len(origins))
    torch.set_num_threads(1)
    for epoch in range(1, wanted.epochs + 1):
        for step, parts in enumerate(epoch_windows(origins, wanted, epoch, 0, steps)):
            rate = learning_rate(wanted, (epoch - 1) * steps + step, wanted.epochs * steps)
            optimiser.param_groups[0]["lr"] = rate
            optimiser.zero_grad()
            forecast_loss(model, wanted.loss, as_tensors(gather(read.shard, parts[0]))).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), wanted.gradient_clip_norm)
            optimiser.step()
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def test_one_rank_is_a_plain_loop_and_two_reach_its_loss(root: Path, households: Households, two: RankTask) -> None:
    one = begin(root, households, settings(ranks=1), "one")
    train(one)
    plain = plain_loop(root, households)
    for name, array in weights(one, 3).items():
        np.testing.assert_allclose(array, plain[name], rtol=0, atol=1e-6, err_msg=name)
    assert losses(two)[-1] == pytest.approx(losses(one)[-1], rel=0.03)


@pytest.mark.slow
def test_a_batch_in_parts_is_the_same_batch(root: Path, households: Households, two: RankTask) -> None:
    parts = begin(root, households, settings(accumulation=4), "parts")
    train(parts)
    assert bits(parts, 1) != bits(two, 1)  # other sums
    for name, array in weights(parts, 1).items():
        np.testing.assert_allclose(array, weights(two, 1)[name], rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("killed", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_rank_that_is_killed_ends_the_others_and_a_new_start_comes_to_the_same_bits(
    killed: int, root: Path, households: Households, two: RankTask
) -> None:
    task = begin(root, households, settings(timeout_s=20.0), f"killed{killed}")
    started = start(task, root / f"said{killed}")
    first = Path(task.folder.path) / "epochs" / "epoch=0001.json"
    until = time.monotonic() + small_teacher.PATIENCE_S
    while not first.exists() and time.monotonic() < until:
        time.sleep(0.002)
    pid = started[killed].pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    codes = join(started)
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] not in (0, None)
    assert len(losses(task)) < 3
    assert train(task)[0] == {"status": DONE}
    assert bits(task, 3) == bits(two, 3)
    tries = [json.loads(p.read_text()) for p in sorted((Path(task.folder.path) / "tries").iterdir())]
    assert [t["try"] for t in tries] == [1, 2]
    assert tries[1]["after_epoch"] >= 1


@pytest.mark.slow
def test_ranks_give_up_after_as_many_starts_as_they_may(root: Path, households: Households) -> None:
    task = begin(root, households, settings(tries=1), "gives-up")
    (task.folder / "tries" / "try=0001.json").write("{}")
    assert train(task) == [{"status": GAVE_UP}] * 2
    assert train(begin(root, households, settings(tries=1), "gives-up"))[0] == {"status": DONE}


def test_each_row_group_is_read_by_one_rank_once(root: Path, two: RankTask) -> None:
    data = json.loads((Path(two.folder.path) / "data.json").read_text())["ranks"]
    files = sorted(path.relative_to(root).as_posix() for path in (root / "meters").rglob("*.parquet"))
    assert sorted(file for rank in data for file in rank["fingerprints"]) == files
    groups = {file: pq.read_metadata(root / file).num_row_groups for file in files}
    assert min(groups.values()) > 1
    assert [rank["row_groups"] for rank in data] == [sum(groups[f] for f in rank["fingerprints"]) for rank in data]


def test_a_teacher_notes_how_far_in_time_it_learnt_of_each_household(two: RankTask, households: Households) -> None:
    """By this a federation that tests on that time refuses it."""
    ranks = json.loads((Path(two.folder.path) / "data.json").read_text())["ranks"]
    noted = {name: ends for rank in ranks for name, ends in rank["periods"].items()}
    own = {taught.household_id: small_teacher.an_agent(taught.household_id, "A") for taught in households}
    assert noted == {
        name: {"train_end": agent.train_end.isoformat(), "validation_end": agent.validation_end.isoformat()}
        for name, agent in own.items()
    }


class Counting(fs.FileSystemHandler):
    """A local filesystem that counts what is opened."""

    def __init__(self) -> None:
        self.opened: Counter[str] = Counter()
        self._local = fs.LocalFileSystem()

    def open_input_stream(self, path: str):  # type: ignore[no-untyped-def]
        self.opened[path] += 1
        return self._local.open_input_stream(path)

    def open_input_file(self, path: str):  # type: ignore[no-untyped-def]
        self.opened[path] += 1
        return self._local.open_input_file(path)

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        return getattr(self._local, name)


for missing in Counting.__abstractmethods__:
    setattr(Counting, missing, lambda self, *arguments: NotImplemented)
Counting.__abstractmethods__ = frozenset()


def test_a_rank_opens_each_of_its_files_once_and_no_other(root: Path, households: Households) -> None:
    counting = Counting()
    warehouse = Place(fs.PyFileSystem(counting), str(root))
    read = reading.read(warehouse, households[:2], {}, small_teacher.SETTINGS.windows, 30, 1)
    assert counting.opened == {f"{root}/{h.path}": 1 for h in households[:2]}
    assert len(read.validation) == 60


def test_a_rank_without_training_windows_is_refused_on_every_rank(root: Path, tmp_path: Path) -> None:
    good = small_teacher.make_file(tmp_path, "good")
    empty = small_teacher.make_file(tmp_path, "empty", measured=False)
    said = train(begin(tmp_path, (good, empty), settings(), "empty"))
    assert [s["status"] for s in said] == [REFUSED] * 2
    assert "no training windows" in said[0]["what"]
    assert said[0] == said[1]
    assert said[0]["found"] == "empty"


def test_readings_that_changed_are_refused(tmp_path: Path) -> None:
    households = small_teacher.make_warehouse(tmp_path, 2)
    task = begin(tmp_path, households, settings(epochs=1), "t")
    train(task)
    with pytest.raises(RunError, match="not the file that the manifest was made from"):
        reading.read(place(str(tmp_path)), households, {households[0].path: "0" * 64}, settings().windows, 30, 1)
    file = tmp_path / households[0].path
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.slice(0, table.num_rows - 1), file)
    said = train(begin(tmp_path, households, settings(epochs=1), "t"))
    assert said[1]["what"] == "readings changed since this teacher began"
    assert said[1]["found"] == households[0].path


@pytest.mark.slow
def test_teaching_stops_early_on_held_out_time_and_a_new_start_does_not_go_on(
    root: Path, households: Households
) -> None:
    wanted = settings(epochs=8, patience_epochs=1, min_improvement=0.9, ranks=1)
    task = begin(root, households, wanted, "early")
    train(task)
    assert len(losses(task)) == 2
    train(begin(root, households, wanted, "early"))
    assert len(losses(task)) == 2


@pytest.mark.slow
def test_mixed_precision_comes_near_to_full_precision(root: Path, households: Households, two: RankTask) -> None:
    """Where the processor can: see the test that follows."""
    task = begin(root, households, settings(precision="bf16"), "mixed")
    said = train(task)
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert [s["status"] for s in said] == [REFUSED] * 2
        return
    assert bits(task, 1) != bits(two, 1)
    assert losses(task)[-1] == pytest.approx(losses(two)[-1], rel=0.03)


@pytest.mark.slow
def test_a_processor_without_mixed_precision_is_refused_in_words(root: Path, households: Households) -> None:
    """Intel's library for these kernels is held to the instructions of older processors, which it has none for."""
    old = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    said = train(begin(root, households, settings(precision="bf16"), "old-processor"), **old)
    assert [s["status"] for s in said] == [REFUSED] * 2
    assert said[0]["what"] == "teacher.precision is bf16: this cpu can't train the model so"
    assert "could not create a primitive" in said[0]["found"]
    assert "teacher.precision to fp32" in said[0]["fix"]
    assert train(begin(root, households, settings(epochs=1), "old-processor-too"), **old)[0] == {"status": DONE}


@pytest.mark.slow
def test_a_teacher_without_a_surge_head_learns_and_leaves_that_head_alone(root: Path, households: Households) -> None:
    wanted = settings(loss=LossSettings(loss="l1", huber_delta=1.0, surge_weight=0.0), epochs=1)
    task = begin(root, households, wanted, "no-surge")
    assert train(task)[0] == {"status": DONE}
    first = build(wanted.model, model_shape(wanted.windows), seed=wanted.seed).state_dict()
    after = weights(task, 1)
    assert np.array_equal(after["surge_combine.weight"], first["surge_combine.weight"].numpy())
    assert not np.array_equal(after["combine.weight"], first["combine.weight"].numpy())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_missing_is_refused_in_words() -> None:
    with pytest.raises(RunError, match="sees no GPU") as refused:
        gpu()
    assert "teacher.device to cpu" in refused.value.fix
