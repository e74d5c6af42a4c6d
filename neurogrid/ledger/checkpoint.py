"""A run's weights on disk: one safetensors file a round, which holds the whole state, and the final weights.

A state's arrays are tensors by the names of their slots. Its round, its other slots, and where the model's own tensors
lie in the vector `model` stand in the file's metadata, in JSON. Final weights are the model's own tensors by name.
Runs from before there were slots have torch files (`.pt`), which are read here and no longer written.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as unpack_tensors
from safetensors.numpy import save as pack_tensors

from neurogrid.errors import UsageError
from neurogrid.fl.spec import Spec
from neurogrid.fl.state import Progress, State
from neurogrid.fl.update import Vector
from neurogrid.fl.weights import from_state_dict
from neurogrid.ledger.chain import Record, canonical
from neurogrid.ledger.records import read_named, round_name
from neurogrid.ledger.torchfile import unpack
from neurogrid.storage import Place

FINAL = "W_final.safetensors"
# One entry of the metadata, because the library writes several in no fixed order.
_METADATA = "neurogrid"


def state_path(round_number: int) -> str:
    """Where a round's state lies in the run's folder."""
    return f"W_global/{round_name(round_number)}/state.safetensors"


def pack_state(state: State, spec: Spec) -> bytes:
    """A state as a safetensors file: the same state gives the same bytes."""
    arrays = {name: np.ascontiguousarray(slot) for name, slot in state.slots.items() if isinstance(slot, np.ndarray)}
    others = {name: slot for name, slot in state.slots.items() if name not in arrays}
    metadata = canonical({"round": state.round, "slots": others, "tensors": _spans(spec)})
    return pack_tensors(arrays, {_METADATA: metadata})


def pack_weights(weights: Vector, spec: Spec) -> bytes:
    """The model's own tensors by name, as a safetensors file."""
    return pack_tensors({span.name: weights[span.start : span.stop].reshape(span.shape) for span in spec.spans})


def read_weights(run: Place, record: Record, spec: Spec) -> Vector:
    """(d,) the weights after a round, by its record or, for those of the start, the run's first one.

    Raises:
        UsageError: they are of another model.
        RunError: they are missing, or not those that were written.
    """
    number = record.get("round_id", 0)
    if _former(number) in record["files"]:
        return _read_former(run, record, spec)["weights"]
    return _read_state(run, record, spec).weights


def read_state(run: Place, records: Sequence[Record], spec: Spec) -> State:
    """The state after the last of the run's records; raises as `read_weights` does."""
    last = records[-1]
    if _former(len(records) - 1) not in last["files"]:
        return _read_state(run, last, spec)
    rounds = records[1:]
    loaded = _read_former(run, last, spec)
    progress = Progress()
    for record in rounds:
        held_out, update = (_float(record[name]) for name in ("held_out_loss", "relative_update"))
        progress = progress.after(held_out, update, void=not record["aggregated"])
    momentum = {"server/momentum": loaded["momentum"]} if rounds else {}
    return State.start(loaded["weights"]).with_({"progress": progress.to_json(), **momentum}, round=len(rounds))


def read_final(run: Place, end: Record, spec: Spec) -> Vector:
    """(d,) the final weights of a run that has ended, by its last record; raises as `read_weights` does."""
    if "W_final.pt" in end["files"]:
        tensors: Mapping[str, Any] = unpack(read_named(run, end, "W_final.pt"))
        return _flat(run, spec, tensors)
    found = unpack_tensors(read_named(run, end, FINAL))
    if {name: tensor.shape for name, tensor in found.items()} != {span.name: span.shape for span in spec.spans}:
        raise _another_model(run, _shapes(found))
    return np.concatenate([found[span.name].reshape(-1) for span in spec.spans])


def _read_state(run: Place, record: Record, spec: Spec) -> State:
    content = read_named(run, record, state_path(record.get("round_id", 0)))
    metadata = json.loads(_header(content)["__metadata__"][_METADATA])
    # Before there were buffers, tensors said no role.
    if [{"role": "shared", **own} for own in metadata["tensors"]] != _spans(spec):
        raise _another_model(run, ", ".join(f"{own['name']} {own['shape']}" for own in metadata["tensors"]))
    return State(metadata["round"], {**unpack_tensors(content), **metadata["slots"]})


def _header(content: bytes) -> dict[str, Any]:
    # Eight bytes of length, then JSON. The library gives the metadata of files only, and this may be an object store's.
    header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header


def _spans(spec: Spec) -> list[dict[str, Any]]:
    return [
        {"name": span.name, "shape": list(span.shape), "start": span.start, "stop": span.stop, "role": span.role}
        for span in spec.spans
    ]


def _former(round_number: int) -> str:
    return f"W_global/{round_name(round_number)}/W.pt"


def _read_former(run: Place, record: Record, spec: Spec) -> dict[str, Vector]:
    content = read_named(run, record, _former(record.get("round_id", 0)))
    return {name: _flat(run, spec, tensors) for name, tensors in unpack(content).items()}


def _flat(run: Place, spec: Spec, tensors: Mapping[str, Any]) -> Vector:
    try:
        return from_state_dict(spec, tensors)
    except (KeyError, ValueError) as error:
        raise _another_model(run, _shapes(tensors)) from error


def _another_model(run: Place, found: str) -> UsageError:
    return UsageError(
        f"run {run.name} was made with another model than the one asked for",
        found=f"the run has {found}",
        fix="use the config in the run's own folder, config.yaml",
    )


def _shapes(tensors: Mapping[str, npt.NDArray[Any]]) -> str:
    return ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in sorted(tensors.items()))


def _float(value: float | None) -> float:
    return math.nan if value is None else value
