"""The only source of random numbers: streams with names, never an order or a process.

The same (seed, purpose, round, agent) gives the same stream anywhere. A purpose belongs to one module, so that no two
draws of a run have the same bits: whoever draws for something new adds its name here.
"""

import hashlib
import secrets
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
    "buckets",
    "attackers",
    "attack",
    "batches",
    "private batches",
    "dropout",
    "uplink",
    "sent places",
    "validation",
    "votes",
    # differential privacy: of tests, and of tasks with a secret key
    "central noise",
    "agent noise",
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
    "bench rules",
    "bench byzantine",
]


def generator(seed: int, purpose: Purpose, *name: int | str) -> np.random.Generator:
    """A stream that depends on `seed`, `purpose` and `name` alone, e.g. `generator(seed, "batches", round, agent)`.

    PCG64, keyed by SHA-256 of all three, so that streams of different names are independent. Of a name only the value
    counts: numpy's 1 is 1.
    """
    key = (_plain(seed), purpose, *map(_plain, name))
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def system_generator() -> np.random.Generator:
    """A stream of the operating system's entropy, never the same again: for noise that nobody may take away.

    The one exception to this module's rule. What is drawn from it can't be made again, not even by a replay.
    """
    return np.random.Generator(np.random.PCG64(secrets.randbits(256)))


def _plain(part: int | str) -> int | str:
    return int(part) if isinstance(part, Integral) else str(part)
