"""The only source of random numbers: streams with names, never an order or a process.

The same (seed, purpose, round, agent) gives the same stream anywhere. A purpose belongs to one module, so that no two
draws of a run have the same bits: whoever draws for something new adds its name here.
"""

import hashlib
from numbers import Integral
from typing import Literal

import numpy as np

Purpose = Literal[
    # data: made-up readings
    "junk",
    "fronts",
    "station",
    "household",
    "gaps",
    "weather gaps",
    # data: who holds which readings
    "held out",
    "sampled agents",
    "districts",
    "iid",
    "dirichlet",
    # models
    "model",
    # federated learning
    "agents",
    "adaptive agents",
    "panel",
    "attackers",
    "attack",
    "batches",
    "private batches",
    "dropout",
    "uplink",
    "sent places",
    "validation",
    # evaluation
    "central",
    "boosting rows",
    "bootstrap",
    # teachers
    "teacher households",
    "teacher windows",
    "teacher dropout",
    "teacher validation",
    # exported models
    "export example",
    # benchmarks
    "teacher bench",
    "bench teacher",
    "bench readings",
    "bench batches",
    "bench dropout",
    "bench delta",
]


def generator(seed: int, purpose: Purpose, *name: int | str) -> np.random.Generator:
    """A stream that depends on `seed`, `purpose` and `name` alone, e.g. `generator(seed, "batches", round, agent)`.

    PCG64, keyed by SHA-256 of all three, so that streams of different names are independent. Of a name only the value
    counts: numpy's 1 is 1.
    """
    key = (_plain(seed), purpose, *map(_plain, name))
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def _plain(part: int | str) -> int | str:
    return int(part) if isinstance(part, Integral) else str(part)
