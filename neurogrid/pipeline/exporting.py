"""A finished run's model as a folder to take away. The step takes a plan and reads no config."""

from dataclasses import dataclass
from typing import Any

from neurogrid.errors import UsageError
from neurogrid.fl.update import Vector
from neurogrid.pipeline.events import SILENT, Observer
from neurogrid.serving.export import export as make
from neurogrid.serving.export import write
from neurogrid.serving.folder import About
from neurogrid.storage import Place


@dataclass(frozen=True)
class ExportPlan:
    """All that an export takes: where it goes, what it says, the (d,) weights and the same as a safetensors file."""

    folder: Place
    about: About
    vector: Vector
    weights: bytes


def export(plan: ExportPlan, observer: Observer = SILENT) -> dict[str, Any]:
    """Writes the folder; what was written, as JSON.

    Raises:
        UsageError: something lies there already.
        RunError: the ONNX model forecasts something else than the run's own.
        ModuleNotFoundError: onnx or onnxscript is not installed.
    """
    refuse_used(plan.folder)
    with observer.during("export"):
        made = make(plan.about, plan.vector, plan.weights)
        write(plan.folder, made.files)
    return {
        "run": plan.about.run,
        "folder": str(plan.folder),
        "bytes": {name: len(content) for name, content in made.files.items()},
        "last_record_sha256": plan.about.last_record_sha256,
        "onnx_compared_with_torch": made.compared,
    }


def refuse_used(folder: Place) -> None:
    """Raises UsageError where the folder is none, or holds something."""
    if folder.exists() and not folder.is_folder():
        raise UsageError(f"{folder} is a file", fix="name a folder that is empty or does not exist")
    if there := folder.children():
        raise UsageError(
            f"{folder} is not empty",
            found=", ".join(each.name for each in there[:3]),
            fix="name a folder that is empty or does not exist",
        )
