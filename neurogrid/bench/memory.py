"""How much memory processes hold together: what they share is counted once (proportional set size)."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

_LOOK_EVERY_S = 0.25


@dataclass
class PeakMemory:
    """Most bytes that a process and all below it, but for `others`, were seen to hold at once."""

    root: psutil.Process
    others: set[int] = field(default_factory=set)
    peak: int = 0
    most_resident: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Looks now."""
        with suppress(psutil.Error):  # it ended just now
            own = [self.root, *self.root.children(recursive=True)]
            own = [process for process in own if process.pid not in self.others]
            resident = _sum(own, lambda process: process.memory_info().rss)
            # What processes share is told apart only where more is resident than before: that takes the kernel long.
            if resident > self.most_resident:
                self.most_resident = resident
                self.peak = max(self.peak, _sum(own, lambda process: process.memory_full_info().pss))


@contextmanager
def peak_memory(root: psutil.Process, others: set[int]) -> Iterator[PeakMemory]:
    """Looks now and then, from another thread, until `stop` is set or the block ends: looking takes time."""
    memory = PeakMemory(root, others)

    def watch() -> None:
        while not memory.stop.wait(_LOOK_EVERY_S):
            memory.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        memory.stop.set()
        thread.join()


def _sum(processes: Sequence[psutil.Process], figure: Callable[[psutil.Process], int]) -> int:
    total = 0
    for process in processes:
        with suppress(psutil.Error):  # it ended just now
            total += figure(process)
    return total
