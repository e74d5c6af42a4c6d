"""The folder of an exported model: what neurogrid.json says, how it is checked and read.

The folder's format has a number. Later versions of NeuroGrid read folders of this one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as unpack_tensors

from neurogrid.data.cleaning import Cleaning
from neurogrid.errors import InputError
from neurogrid.fl.spec import Spec
from neurogrid.fl.update import Vector
from neurogrid.fl.weights import flatten, load, spec_of
from neurogrid.storage import Place
from neurogrid.workloads.meters.models import Forecaster, ModelSettings, Shape, build
from neurogrid.workloads.meters.tensors import model_shape
from neurogrid.workloads.meters.windows import WindowSettings

FORMAT = 1
ABOUT, WEIGHTS, ONNX, README = "neurogrid.json", "weights.safetensors", "model.onnx", "README.md"
_MOST_SLOTS = 100_000


@dataclass(frozen=True)
class About:
    """What neurogrid.json says: all that windows are cut and scaled by, and where the model comes from.

    Attributes:
        run: that trained the model.
        last_record_sha256: hash of the run's last record, the head of its ledger.
        manifest_id: of those who trained.
        neurogrid_version: that exported it.
        cadence_minutes: length of a slot.
        windows, model: settings of the run.
        cleaning: how readings become tables: time zone, gaps, shares, limits.
        features: of each history slot, in order.
        known: of each target slot, in order.
        files: SHA-256 of the other files, by name.
        format: of the folder.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    run: str
    last_record_sha256: str
    manifest_id: str
    neurogrid_version: str
    cadence_minutes: int
    windows: WindowSettings
    model: ModelSettings
    cleaning: Cleaning
    features: tuple[str, ...]
    known: tuple[str, ...]
    files: Mapping[str, str]
    format: int = FORMAT

    @property
    def shape(self) -> Shape:
        """The sizes of the model's windows."""
        return model_shape(self.windows)

    def to_json(self) -> str:
        """Canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True, indent=2) + "\n"


_READER = TypeAdapter(About)


def read_folder(folder: Place) -> tuple[About, Forecaster]:
    """An exported model, with its weights.

    Raises:
        InputError: something is missing, was changed, or is of another format.
    """
    about = _about(folder)
    content = _read(folder, WEIGHTS)
    if hashlib.sha256(content).hexdigest() != about.files.get(WEIGHTS):
        raise _unusable(folder, f"{WEIGHTS} is not the file that {ABOUT} names")
    try:
        model = build(about.model, about.shape, seed=0)
    except (ValueError, TypeError, RuntimeError) as error:  # an unknown model, or sizes that it cannot have
        raise _unusable(folder, f"{ABOUT} describes no model: {error}") from error
    load(model, _weights(folder, content, spec_of(model), len(flatten(model))))
    model.eval()
    return about, model


def _about(folder: Place) -> About:
    try:
        raw = json.loads(content := _read(folder, ABOUT))
        if isinstance(raw, dict) and raw.get("format") != FORMAT:
            raise _unusable(folder, f"format {raw.get('format')!r:.20}, this NeuroGrid reads format {FORMAT}")
        about = _READER.validate_json(content, strict=True)
        about.cleaning.refuse_unknown_zone()
    except ValidationError as error:
        first = error.errors()[0]
        raise _unusable(folder, f"{ABOUT}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _unusable(folder, f"{ABOUT}: {error}") from error
    windows = about.windows
    sizes = {"windows.history_slots": windows.history_slots, "windows.horizon_slots": windows.horizon_slots}
    sizes |= {"model.hidden": about.model.hidden, "model.layers": about.model.layers}
    sizes |= {"model.surge_hidden": about.model.surge_hidden}
    for name, size in sizes.items():
        if not 1 <= size <= _MOST_SLOTS:
            raise _unusable(folder, f"{name} is {size}")
    if about.cadence_minutes < 1 or 1440 % about.cadence_minutes:
        raise _unusable(folder, f"cadence_minutes is {about.cadence_minutes}, which does not divide a day")
    return about


def _weights(folder: Place, content: bytes, spec: Spec, size: int) -> Vector:
    try:
        found = unpack_tensors(content)
    except SafetensorError as error:
        raise _unusable(folder, f"{WEIGHTS} is no safetensors file: {error}") from error
    if {name: tensor.shape for name, tensor in found.items()} != {span.name: span.shape for span in spec.spans}:
        raise _unusable(folder, f"{WEIGHTS} holds another model than {ABOUT} describes")
    vector = np.concatenate([found[span.name].reshape(-1) for span in spec.spans]).astype(np.float32)
    if vector.shape != (size,) or not np.isfinite(vector).all():
        raise _unusable(folder, f"{WEIGHTS} has values that are not finite")
    return vector


def _read(folder: Place, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        there = ", ".join(child.name for child in folder.children()) if folder.is_folder() else "no such folder"
        raise InputError(
            f"{folder} is no exported model: it has no {name}",
            found=there or "an empty folder",
            fix="name a folder that `neurogrid export RUN FOLDER` has written",
        ) from error


def _unusable(folder: Place, found: str) -> InputError:
    return InputError(f"the exported model in {folder} cannot be used", found=found, fix="export the run again")
