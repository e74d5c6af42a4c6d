"""The folder of an exported model: what neurogrid.json says, how it is checked and read.

The folder's format has a number. Later versions of NeuroGrid read folders of this one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as unpack_tensors

from neurogrid.data.cleaning import Cleaning
from neurogrid.data.household import FEATURES
from neurogrid.data.manifest import few
from neurogrid.errors import InputError
from neurogrid.fl.spec import Spec
from neurogrid.fl.update import Vector
from neurogrid.fl.weights import load, spec_of
from neurogrid.storage import Place
from neurogrid.workloads.meters.models import Forecaster, ModelSettings, Shape, build
from neurogrid.workloads.meters.registry import MODELS
from neurogrid.workloads.meters.tensors import model_shape
from neurogrid.workloads.meters.windows import WindowSettings

Tensors = dict[str, npt.NDArray[Any]]
FORMAT = 1
ABOUT, WEIGHTS, ONNX, README = "neurogrid.json", "weights.safetensors", "model.onnx", "README.md"
_MOST_SLOTS, _MOST_LAYERS, _MOST_NAME = 100_000, 1000, 200
_MOST_BYTES = {ABOUT: 1 << 20, WEIGHTS: 1 << 32}
"""A file beyond this is no model of ours, and reading it could take all memory."""


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
    tensors = _tensors(folder, content)
    try:
        if (shapes := _shapes(about)) is not None:
            _refuse_others(folder, tensors, shapes)
        model = build(about.model, about.shape, seed=0)
    except (ValueError, TypeError, RuntimeError) as error:  # an unknown model, or sizes that it cannot have
        raise _unusable(folder, f"{ABOUT} describes no model: {error}") from error
    load(model, _weights(folder, tensors, spec_of(model)))
    model.eval()
    return about, model


def _about(folder: Place) -> About:
    try:
        raw = json.loads(content := _read(folder, ABOUT))
        if isinstance(raw, dict) and raw.get("format") != FORMAT:
            raise _unusable(folder, f"format {raw.get('format')!r:.20}, this NeuroGrid reads format {FORMAT}")
        about = _READER.validate_json(content, strict=True)
        about.cleaning.refuse_unknown_zone()
        about.cleaning.settings.refuse_impossible()
    except ValidationError as error:
        first = error.errors()[0]
        raise _unusable(folder, f"{ABOUT}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _unusable(folder, f"{ABOUT}: {error}") from error
    windows = about.windows
    sizes = {"windows.history_slots": windows.history_slots, "windows.horizon_slots": windows.horizon_slots}
    sizes |= {"model.hidden": about.model.hidden, "model.surge_hidden": about.model.surge_hidden}
    for name, size in sizes.items():
        if not 1 <= size <= _MOST_SLOTS:
            raise _unusable(folder, f"{name} is {size}")
    if not 1 <= about.model.layers <= _MOST_LAYERS:
        raise _unusable(folder, f"model.layers is {about.model.layers}")
    if about.features != FEATURES or about.known != windows.known_names:
        raise _unusable(folder, f"{ABOUT}: features or known are not those that this NeuroGrid makes")
    if len(about.run) > _MOST_NAME or not about.run.isprintable():
        raise _unusable(folder, f"{ABOUT}: run is no run's name: {about.run!r:.40}")
    if about.cadence_minutes < 1 or 1440 % about.cadence_minutes:
        raise _unusable(folder, f"cadence_minutes is {about.cadence_minutes}, which does not divide a day")
    return about


def _shapes(about: About) -> dict[str, tuple[int, ...]] | None:
    """Of the weights that the model needs, by name, without memory for them; None where only building it can tell."""
    kind = MODELS.find(about.model.name)
    kind.refuse_params(about.model.params)
    kind.refuse_quantiles(about.windows.quantiles)
    try:
        with torch.device("meta"):
            model = kind.load()(about.model, about.shape)
        return _shapes_of(spec_of(model))
    except NotImplementedError:  # another package's model, which looks at values while it is built
        return None


def _shapes_of(spec: Spec) -> dict[str, tuple[int, ...]]:
    return {span.name: span.shape for span in spec.spans}


def _tensors(folder: Place, content: bytes) -> Tensors:
    try:
        return unpack_tensors(content)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:  # damaged, or a type that numpy does not have
        raise _unusable(folder, f"{WEIGHTS} is no safetensors file: {error}") from error


def _refuse_others(folder: Place, tensors: Tensors, shapes: Mapping[str, tuple[int, ...]]) -> None:
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise _unusable(folder, f"{WEIGHTS} holds another model than {ABOUT} describes")


def _weights(folder: Place, tensors: Tensors, spec: Spec) -> Vector:
    _refuse_others(folder, tensors, _shapes_of(spec))
    if {tensor.dtype for tensor in tensors.values()} != {np.dtype(np.float32)}:
        raise _unusable(folder, f"{WEIGHTS} has weights that are not of 32-bit floating point")
    vector = np.concatenate([tensors[span.name].reshape(-1) for span in spec.spans])
    if not np.isfinite(vector).all():
        raise _unusable(folder, f"{WEIGHTS} has values that are not finite")
    return vector


def _read(folder: Place, name: str) -> bytes:
    if (size := (folder / name).size_bytes) > _MOST_BYTES[name]:
        raise _unusable(folder, f"{name} has {size:,} bytes")
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        there = _what_is_there(folder)
        raise InputError(
            f"{folder} is no exported model: it has no {name}",
            found=there,
            fix="name a folder that `neurogrid export RUN FOLDER` has written",
        ) from error


def _what_is_there(folder: Place) -> str:
    if not folder.is_folder():
        return "a file, not a folder" if folder.exists() else "no such folder"
    return few([child.name for child in folder.children()]) or "an empty folder"


def _unusable(folder: Place, found: str) -> InputError:
    return InputError(f"the exported model in {folder} cannot be used", found=found, fix="export the run again")
