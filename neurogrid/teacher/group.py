"""What ranks tell each other beside gradients: sums, bytes, what rank 0 decided. Nothing is pickled."""

from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


class Group:
    """This rank among the others; a context manager.

    Attributes:
        rank, size: which one, of how many.
        gradients: the group over which DDP averages: gloo, or nccl once `use_gpus` was called.
    """

    def __init__(self, timeout_s: float) -> None:
        """Meets the others, where torchrun's environment says."""
        self._timeout = timedelta(seconds=timeout_s)
        dist.init_process_group("gloo", timeout=self._timeout)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.gradients: dist.ProcessGroup | None = None

    def use_gpus(self) -> None:
        """Gradients travel between GPUs; the rest stays with gloo."""
        self.gradients = dist.new_group(backend="nccl", timeout=self._timeout)

    def total(self, values: Sequence[float]) -> list[float]:
        """The sum over ranks of each value."""
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor]

    def gather(self, content: bytes) -> list[bytes]:
        """Every rank's bytes, in the order of ranks, on every rank."""
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(content)]))
        longest = max(int(size) for size in sizes)
        if not longest:
            return [b""] * self.size
        padded = torch.frombuffer(bytearray(content.ljust(longest, b"\0")), dtype=torch.uint8)
        found: list[Tensor] = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(found, padded)
        return [part.numpy().tobytes()[: int(size)] for part, size in zip(found, sizes, strict=True)]

    def decided(self, number: int) -> int:
        """What rank 0 says, on every rank."""
        tensor = torch.tensor([number])
        dist.broadcast(tensor, 0)
        return int(tensor)

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:  # after an error the others may be gone, and saying goodbye would wait for them
            dist.destroy_process_group()
