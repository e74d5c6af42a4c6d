"""Keeps the memory of a round's messages for the next round's, and returns it when there is no next."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT_BYTES = 256 << 20
_LARGEST_BYTES = 32 << 20
"""The most that glibc takes as its threshold for mmap."""


def keep_freed_memory() -> None:
    """Lets this process keep up to 256 MiB that it has freed, in blocks of up to 32 MiB, where its malloc is glibc's.

    By default glibc returns large blocks to the kernel at once. Each message of a round then has its pages made and
    cleared anew, which took the driver a quarter of the round's exchange
    (https://man7.org/linux/man-pages/man3/mallopt.3.html).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # One alone makes it worse: whichever is set ends glibc's own adjustment of both.
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def return_freed_memory() -> None:
    """Gives what this process has freed back to the kernel, where its malloc is glibc's."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
