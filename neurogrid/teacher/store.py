"""A finished teacher, as those who train with it see it: what it is, what it learnt from, its weights."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from torch import Tensor

from neurogrid.errors import UsageError
from neurogrid.ledger.torchfile import unpack
from neurogrid.plural import plural
from neurogrid.storage import Place
from neurogrid.teacher import records
from neurogrid.teacher.households import Taught
from neurogrid.teacher.schedule import best_epoch
from neurogrid.workloads.meters.models import ModelSettings
from neurogrid.workloads.meters.windows import WindowSettings

EPOCH_FIGURES = (
    *("epoch", "steps", "windows", "train_loss", "held_out_loss", "learning_rate", "train_s", "train_cpu_s"),
    *("evaluate_s", "windows_per_s", "try", "recorded"),
)


@dataclass(frozen=True)
class Teacher:
    """A teacher whose folder was found to be what was written.

    Attributes:
        id: its name.
        weights_file: where its weights lie.
        head_sha256: of its last record, which names all that it is made from: its fingerprint.
        weights_sha256: of the weights' file.
        model, windows, cadence_minutes: what its weights are for.
        taught: what it learnt from, by household.
        metrics: metrics.json.
    """

    id: str
    weights_file: Place
    head_sha256: str
    weights_sha256: str
    model: ModelSettings
    windows: WindowSettings
    cadence_minutes: int
    taught: Mapping[str, Taught]
    metrics: Mapping[str, Any]

    def weights(self) -> Mapping[str, Tensor]:
        """Its tensors by name."""
        tensors: Mapping[str, Tensor] = unpack(self.weights_file.read_bytes())  # type: ignore[assignment]
        return tensors


def open_teacher(folder: Place) -> Teacher:
    """A finished teacher; its chain, weights and figures are checked first.

    Raises:
        UsageError: there is no such teacher, or it has not ended.
        RunError: it is not what was written.
    """
    chain = records.read(folder)
    if chain.end is None:
        raise UsageError(
            f"teacher {folder.name} is not finished",
            found=f"{plural(len(chain.epochs), 'epoch')} done",
            fix=f"finish it: neurogrid teach --resume {folder.name}",
        )
    records.read_named(folder, chain.end, "weights.pt")
    metrics = json.loads(records.read_named(folder, chain.end, "metrics.json"))
    return Teacher(
        id=folder.name,
        weights_file=folder / "weights.pt",
        head_sha256=chain.head,
        weights_sha256=chain.end["files"]["weights.pt"],
        model=ModelSettings(**metrics["model"]),
        windows=WindowSettings(**metrics["windows"]),
        cadence_minutes=metrics["cadence_minutes"],
        taught=_taught(metrics["households"], metrics["data"]),
        metrics=metrics,
    )


def _taught(households: Sequence[str], ranks: Sequence[Mapping[str, Any]]) -> dict[str, Taught]:
    """By household, from what the ranks noted of their readings; a teacher of an older version has no periods."""
    found = dict.fromkeys(households, Taught("", None, None))
    for rank in ranks:
        for path, sha256 in rank["fingerprints"].items():
            household = path.split("/")[-2].removeprefix("Household_ID=")
            own = rank.get("periods", {}).get(household, {})
            ends = (datetime.fromisoformat(own[name]) if own else None for name in ("train_end", "validation_end"))
            found[household] = Taught(sha256, *ends)
    return found


def refuse_other_windows(teacher: Teacher, windows: WindowSettings, cadence_minutes: int) -> None:
    """Raises UsageError where the teacher sees or forecasts something else than the agents do."""
    theirs = {**vars(teacher.windows), "cadence_minutes": teacher.cadence_minutes}
    ours = {**vars(windows), "cadence_minutes": cadence_minutes}
    differing = [f"{name} {theirs[name]} against {value}" for name, value in ours.items() if theirs[name] != value]
    if differing:
        raise UsageError(
            f"teacher {teacher.id} sees or forecasts other slots than this federation",
            found="the teacher's " + ", ".join(differing),
            fix="set the model section as the teacher's config.yaml has it, or teach another one",
        )


def conclude(folder: Place, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ends a teacher whose epochs are done: the best epoch's weights, and its figures, which are returned.

    Args:
        folder: the teacher's.
        facts: further figures for metrics.json: model, windows, cadence_minutes and the reason have to be among them.
    """
    chain = records.read(folder)
    data = json.loads((folder / "data.json").read_text())
    best = best_epoch(chain.held_out)
    weights = records.read_checkpoint(folder, chain, best)["weights"]
    figures = [{name: value for name, value in e.items() if name in EPOCH_FIGURES} for e in chain.epochs]
    held_out = [loss for loss in chain.held_out if math.isfinite(loss)]
    metrics = {
        **{name: value for name, value in chain.first.items() if name not in ("files", "sha256", "previous_sha256")},
        **facts,
        "n_weights": sum(tensor.numel() for tensor in weights.values()),
        "data": data["ranks"],
        "epochs": figures,
        "best_epoch": best,
        "held_out_loss_first": held_out[0] if held_out else None,
        "held_out_loss": min(held_out) if held_out else None,
        "wallclock_s": sum(e["train_s"] + e["evaluate_s"] for e in chain.epochs),
        "windows_per_s": median([e["windows_per_s"] for e in chain.epochs]),
        "tries": len((folder / "tries").children()),
    }
    end = records.finish(folder, chain, weights, metrics)
    return {**metrics, "weights_sha256": end["files"]["weights.pt"], "head_sha256": end["sha256"]}
