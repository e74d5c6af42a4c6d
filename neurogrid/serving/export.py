"""A run's model as the files of a folder that anybody can take away."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from neurogrid.fl.update import Vector
from neurogrid.fl.weights import load
from neurogrid.serving.folder import ABOUT, ONNX, README, WEIGHTS, About
from neurogrid.serving.onnx_model import refuse_unlike, to_onnx
from neurogrid.serving.readme import readme
from neurogrid.storage import Place
from neurogrid.workloads.meters.models import build


@dataclass(frozen=True)
class Exported:
    """What was made: the files' content by name, neurogrid.json last, and whether ONNX was compared with torch."""

    files: Mapping[str, bytes]
    compared: bool


def export(about: About, vector: Vector, weights: bytes) -> Exported:
    """The folder's files.

    Args:
        about: what neurogrid.json is to say; the files' hashes are added.
        vector: (d,) the run's final weights.
        weights: the same as a safetensors file.

    Raises:
        ModuleNotFoundError: onnx or onnxscript is not installed.
        RunError: the ONNX model forecasts something else.
    """
    model = build(about.model, about.shape, seed=0)
    load(model, vector)
    content = to_onnx(model)
    compared = refuse_unlike(content, model)
    files = {ONNX: content, WEIGHTS: weights, README: readme(about).encode()}
    hashes = {name: hashlib.sha256(each).hexdigest() for name, each in files.items()}
    return Exported({**files, ABOUT: replace(about, files=hashes).to_json().encode()}, compared)


def write(folder: Place, files: Mapping[str, bytes]) -> None:
    """Writes all files or none. The last one is what makes the folder a model, so that no half of one is taken for it.

    Raises:
        OSError: one could not be written; those before it are gone again.
    """
    begun: list[Place] = []
    try:
        for name, content in files.items():
            begun.append(folder / name)
            begun[-1].write(content)
    except BaseException:
        for place in begun:
            if place.exists():
                place.remove()
        raise
