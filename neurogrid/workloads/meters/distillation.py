"""A teacher's forecast as a guide for agents: its model, loaded where they train, from bytes that were checked."""

import hashlib
import io
from dataclasses import dataclass

import torch

from neurogrid.errors import RunError
from neurogrid.storage import Place
from neurogrid.workloads.meters.models import Forecaster, ModelSettings, Shape, build


@dataclass(frozen=True)
class Distillation:
    """What an agent needs to be guided (Hinton et al. 2015, arXiv:1503.02531, for forecasts); small, and picklable.

    Attributes:
        weights_file: where the teacher's weights lie in the warehouse.
        weights_sha256: what they have to be.
        model: how large the teacher is.
        weight: of the distance from the teacher's forecast, beside the error of the agent's own.
    """

    weights_file: Place
    weights_sha256: str
    model: ModelSettings
    weight: float


def load_guide(distillation: Distillation, shape: Shape) -> Forecaster:
    """The teacher's model, for forecasts only.

    Raises:
        RunError: the weights are gone, are not those that were named, or are of another model.
    """
    file = distillation.weights_file
    try:
        content = file.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read the teacher's weights {file}", found=str(error)) from error
    found = hashlib.sha256(content).hexdigest()
    if found != distillation.weights_sha256:
        raise RunError(
            f"the teacher's weights {file} are not the ones that this run began with",
            found=f"SHA-256 {found[:12]}, the run has {distillation.weights_sha256[:12]}",
            fix="restore the file, or start another run",
        )
    model = build(distillation.model, shape, seed=0)
    try:
        tensors = torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # torch raises several kinds, none of them its own
        raise RunError(f"{file} holds no weights", found=str(error).splitlines()[0][:300]) from error
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(f"the teacher's weights {file} are of another model", found=str(error)) from error
    return model.eval().requires_grad_(False)
