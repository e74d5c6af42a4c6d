"""What one rank does, in the process that torchrun started for it: reads its households, trains with the others.

An epoch depends on the state before it, (seed, epoch, rank) and the readings alone. So ranks that are started again
from the last durable epoch, after whatever killed them, come to the same bits as ranks that were left alone.
"""

import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from neurogrid.data.tables import CurrentTable
from neurogrid.errors import NeuroGridError, RunError
from neurogrid.fl.local import seed_torch
from neurogrid.randomness import generator
from neurogrid.storage import Place
from neurogrid.teacher import reading, records, schedule
from neurogrid.teacher.group import Group
from neurogrid.teacher.households import others
from neurogrid.teacher.settings import TeacherSettings
from neurogrid.workloads.meters.models import Forecaster, Windows, build, forecast_loss
from neurogrid.workloads.meters.tensors import as_tensors, model_shape
from neurogrid.workloads.meters.windows import Indices, gather

Status = dict[str, str]
DONE, GAVE_UP, REFUSED = "done", "gave up", "refused"
_PARENT_LOOKS_S = 0.5


@dataclass(frozen=True)
class RankTask:
    """What every rank is given; paths and settings, no readings.

    Attributes:
        warehouse: root of the readings.
        folder: the teacher's.
        hands: each rank's households.
        expected: SHA-256 of files, by path, where they are known beforehand.
        settings: how to train.
        tries_before: how often ranks were started before this command.
    """

    warehouse: Place
    folder: Place
    hands: tuple[tuple[CurrentTable, ...], ...]
    expected: Mapping[str, str]
    settings: TeacherSettings
    tries_before: int


def train_rank(task: RankTask) -> Status:
    """A rank from its start to its end; what TorchDistributor calls.

    Returns a status rather than raising what a further try would meet again: Spark starts the ranks of a failed stage
    anew. Raises where a rank is lost, which ends all of them.
    """
    torch.set_num_threads(1)  # a rank has one core, and sums must not depend on how many there are
    _end_with_parent()
    with Group(task.settings.timeout_s) as group:
        try:
            return _Rank(task, group).run()
        except NeuroGridError as error:  # the same on every rank: see _agree
            return {"status": REFUSED, "what": error.what, "found": error.found, "fix": error.fix}


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone: an orphan must not go on writing epochs."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_LOOKS_S)
        os._exit(1)

    threading.Thread(target=watch, name="neurogrid-parent", daemon=True).start()


class _Rank:
    """One rank with its model, its readings and the records that all ranks agree on."""

    def __init__(self, task: RankTask, group: Group) -> None:
        self._task, self._settings, self._group = task, task.settings, group
        self._device = torch.device("cpu")
        self._model: Forecaster
        self._optimiser: torch.optim.Adam
        self._readings: reading.Readings
        self._try = 0

    def run(self) -> Status:
        before = len((self._task.folder / "tries").children())
        self._try = self._group.decided(before) + 1
        if self._try - self._task.tries_before > self._settings.tries:
            return {"status": GAVE_UP}
        self._agree(self._prepare)
        known = records.read(self._task.folder)
        self._note_try(len(known.epochs))
        self._agree(self._note_data)
        windows = round(self._group.total([len(self._readings.shard.origins["train"])])[0])
        self._load(known)
        steps = schedule.steps_an_epoch(self._settings, windows)
        while not schedule.stop_reason(known.held_out, self._settings):
            figures = self._epoch(len(known.epochs) + 1, steps)
            self._agree(partial(self._persist, known, figures))
            known = records.extended(self._task.folder, known)
        return {"status": DONE}

    def _agree(self, work: Callable[[], None]) -> None:
        """Does something that may go wrong on one rank, and raises that rank's error on every one."""
        words = b""
        try:
            work()
        except NeuroGridError as error:
            words = json.dumps([error.what, error.found, error.fix]).encode()
        except OSError as error:
            what = f"teacher {self._task.folder.name} could not be written"
            fix = f"make room or access there, then: neurogrid teach --resume {self._task.folder.name}"
            words = json.dumps([what, str(error), fix]).encode()
        for said in self._group.gather(words):
            if said:
                what, found, fix = json.loads(said)
                raise RunError(what, found=found, fix=fix)

    def _prepare(self) -> None:
        """Device, model, readings."""
        settings, task = self._settings, self._task
        if self._group.size != settings.ranks:
            raise RunError(f"{settings.ranks} ranks were asked for", found=f"{self._group.size} were started")
        if settings.device == "gpu":
            self._device = gpu()
        self._model = build(settings.model, model_shape(settings.windows), seed=settings.seed).to(self._device)
        self._optimiser = torch.optim.Adam(self._model.parameters(), lr=settings.learning_rate, fused=True)
        hand = task.hands[self._group.rank]
        self._readings = reading.read(
            task.warehouse, hand, task.expected, settings.windows, settings.validation_windows, settings.seed
        )
        self._try_precision()

    def _try_precision(self) -> None:
        """One step on one window: whether there are mixed-precision kernels for this model is known to torch alone."""
        window = self._readings.shard.origins["train"][:1]
        if self._settings.precision == "fp32" or not len(window):
            return
        try:
            with self._autocast():
                loss = self._loss(self._model, window)
            loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise RunError(
                f"teacher.precision is {self._settings.precision}: this {self._device.type} can't train the model so",
                found=f"torch {torch.__version__} on {socket.gethostname()}: {str(error).splitlines()[0]}",
                fix="set teacher.precision to fp32, or start another teacher on other machines",
            ) from None
        self._optimiser.zero_grad()

    def _note_try(self, after_epoch: int) -> None:
        """Leaves word of this start: how many there were, and which processes they are."""
        own = json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode()
        ranks = [json.loads(said) for said in self._group.gather(own)]
        content = json.dumps({"try": self._try, "after_epoch": after_epoch, "ranks": ranks}, indent=1)
        if self._group.rank == 0:
            (self._task.folder / "tries" / f"try={self._try:04d}.json").write(content + "\n")
        if self._settings.device == "gpu":
            self._group.use_gpus()

    def _note_data(self) -> None:
        """Writes what all ranks read, or, in a training that goes on, makes sure that it is what it was."""
        hand = self._task.hands[self._group.rank]
        shard = self._readings.shard
        own = {
            "rank": self._group.rank,
            "households": [taught.household_id for taught in hand],
            "slots": sum(taught.rows for taught in hand),
            "row_groups": self._readings.row_groups,
            "training_windows": len(shard.origins["train"]),
            "validation_windows": len(self._readings.validation),
            "fingerprints": self._readings.fingerprints,
            "periods": self._readings.periods,
        }
        content = {"ranks": [json.loads(said) for said in self._group.gather(json.dumps(own).encode())]}
        if self._group.rank:
            return
        file = self._task.folder / "data.json"
        if not file.exists():
            file.write(json.dumps(content, indent=1, sort_keys=True) + "\n")
            return
        differing = others(fingerprints(json.loads(file.read_text())), fingerprints(content))
        if differing:
            raise RunError(
                "readings changed since this teacher began",
                found=f"{differing[0]}" + (f" and {len(differing) - 1} more" if len(differing) > 1 else ""),
                fix="restore the files, or start another teacher",
            )

    def _load(self, known: records.Records) -> None:
        """Takes up the state after the last durable epoch."""
        done = len(known.epochs)
        if done:
            state = records.read_checkpoint(self._task.folder, known, done)
            self._model.load_state_dict(state["weights"])
            self._optimiser.load_state_dict(state["optimiser"])

    def _persist(self, known: records.Records, figures: Mapping[str, Any]) -> None:
        if self._group.rank:
            return
        # Ranks of a driver that was killed may outlive it by a moment; whoever was started last writes.
        newest = len((self._task.folder / "tries").children())
        if newest != self._try:
            raise RunError(f"try {self._try} of teacher {self._task.folder.name} was overtaken by try {newest}")
        state = {
            "weights": {name: tensor.detach().cpu().clone() for name, tensor in self._model.state_dict().items()},
            "optimiser": _on_cpu(self._optimiser.state_dict()),
        }
        records.write_epoch(self._task.folder, known, figures, state)

    def _epoch(self, epoch: int, steps: int) -> dict[str, Any]:
        """Trains and judges; returns the figures of all ranks together."""
        settings, began, cpu = self._settings, time.perf_counter(), time.process_time()
        self._model.train()
        seed_torch(generator(settings.seed, "teacher dropout", epoch, self._group.rank))
        # Anew each epoch: how DDP lays gradients out, and so the order of its sums, changes after its first step.
        wrapped = DistributedDataParallel(
            self._model,
            process_group=self._group.gradients,
            gradient_as_bucket_view=True,
            find_unused_parameters=not settings.loss.surge_weight,
        )
        chosen = schedule.epoch_windows(self._readings.shard.origins["train"], settings, epoch, self._group.rank, steps)
        loss = torch.zeros((), dtype=torch.float64, device=self._device)
        rate = 0.0
        for step, parts in enumerate(chosen):
            rate = schedule.learning_rate(settings, (epoch - 1) * steps + step, settings.epochs * steps)
            loss += self._step(wrapped, parts, rate)
        trained, cpu = time.perf_counter(), time.process_time() - cpu
        own_loss, own_windows = self._judge()
        total = self._group.total([float(loss) / steps, own_loss, own_windows, cpu])
        if not math.isfinite(total[0]):
            raise RunError(
                f"the teacher's loss is not a number in epoch {epoch}",
                fix="lower teacher.learning_rate, or clip gradients",
            )
        ended = time.perf_counter()
        return {
            "epoch": epoch,
            "steps": steps,
            "windows": steps * settings.batch_size,
            "train_loss": total[0] / self._group.size,
            "held_out_loss": total[1] / total[2] if total[2] else None,
            "learning_rate": rate,
            "train_s": trained - began,
            "evaluate_s": ended - trained,
            "train_cpu_s": total[3],
            "windows_per_s": steps * settings.batch_size / (trained - began),
            "ranks": self._group.size,
            "try": self._try,
        }

    def _step(self, wrapped: DistributedDataParallel, parts: Indices, rate: float) -> Tensor:
        """One step of the optimiser on a rank's share of a batch, part after part."""
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad(set_to_none=False)
        loss = torch.zeros((), dtype=torch.float64, device=self._device)
        for number, origins in enumerate(parts, 1):
            alone = number < len(parts)
            with wrapped.no_sync() if alone else nullcontext():
                with self._autocast():
                    own = self._loss(cast(Forecaster, wrapped), origins) / len(parts)
                own.backward()  # type: ignore[no-untyped-call]
            loss += own.detach()
        if self._settings.gradient_clip_norm:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._settings.gradient_clip_norm)
        self._optimiser.step()
        return loss

    def _judge(self) -> tuple[float, float]:
        """Sum of the held-out loss over this rank's windows, and their number."""
        total, sample = 0.0, self._readings.validation
        self._model.eval()
        with torch.inference_mode(), self._autocast():
            for start in range(0, len(sample), self._settings.part_size):
                origins = sample[start : start + self._settings.part_size]
                total += float(self._loss(self._model, origins)) * len(origins)
        return total, float(len(sample))

    def _loss(self, model: Forecaster, origins: Indices) -> Tensor:
        windows = as_tensors(gather(self._readings.shard, origins))
        if self._device.type != "cpu":
            windows = Windows(*(tensor.to(self._device, non_blocking=True) for tensor in windows))
        return forecast_loss(model, self._settings.loss, windows)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._settings.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)


def gpu() -> torch.device:
    """This rank's GPU: the one that Spark gave its task.

    Raises:
        RunError: there is none.
    """
    if not torch.cuda.is_available():
        raise RunError(
            "teacher.device is gpu, and a rank sees no GPU",
            found=f"torch {torch.__version__} on {socket.gethostname()}",
            fix="run on executors with GPUs and a CUDA build of torch, or set teacher.device to cpu",
        )
    return torch.device("cuda", 0)


def _on_cpu(state: Mapping[str, Any]) -> dict[str, Any]:
    """An optimiser's state for a file that a machine without a GPU can read too."""
    moments = {number: {name: tensor.cpu() for name, tensor in own.items()} for number, own in state["state"].items()}
    return {**state, "state": moments}


def fingerprints(data: Mapping[str, Any]) -> dict[str, str]:
    """Of all ranks' files, from data.json."""
    return {path: digest for rank in data["ranks"] for path, digest in rank["fingerprints"].items()}
