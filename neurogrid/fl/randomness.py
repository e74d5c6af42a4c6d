"""Randomness from names, never from order or process: the same (seed, round, agent) gives the same stream anywhere."""

import hashlib

import numpy as np


def generator(seed: int, *name: int | str) -> np.random.Generator:
    """A stream that depends on `seed` and `name` alone, e.g. `generator(seed, "batches", round, agent)`.

    PCG64, keyed by SHA-256 of the name, so that streams of different names are independent.
    """
    digest = hashlib.sha256(repr((seed, *name)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
