"""The server's own work on large matrices, over this machine's cores."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")
ROWS_WORTH_THREADS = 50
"""With fewer, threads wait for each other longer than they work."""
_MOST_THREADS = 8


def over_cores(work: Callable[[T], R], pieces: Iterable[T], rows: int) -> list[R]:
    """What `work` makes of each piece, in their order. No piece may depend on another, so no result depends on cores.

    Args:
        work: spends its time in numpy, which lets other threads run.
        pieces: of a matrix.
        rows: how many that has; with few, the pieces are worked through one after another.
    """
    # One BLAS thread each: a sum split over threads may change in its last bits with the number of cores.
    with threadpool_limits(1, user_api="blas"):
        if rows < ROWS_WORTH_THREADS:
            return list(map(work, pieces))
        with ThreadPoolExecutor(min(_cores(), _MOST_THREADS)) as threads:
            return list(threads.map(work, pieces))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
