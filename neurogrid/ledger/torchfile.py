"""torch files without pickled code: a teacher's checkpoints, and the weights of runs made before `checkpoint.py`."""

import io

import torch
from torch import Tensor


def pack(content: object) -> bytes:
    """`torch.save` to bytes: the same content gives the same bytes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def unpack(content: bytes) -> dict[str, dict[str, Tensor]]:
    """Loads what `pack` wrote, with tensors and plain containers only (no code is ever run)."""
    loaded: dict[str, dict[str, Tensor]] = torch.load(io.BytesIO(content), weights_only=True)
    return loaded
