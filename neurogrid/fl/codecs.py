"""Small forms of an update's parameters: what an agent sends instead of four bytes a weight.

Each codec is a value of two pure functions. How many bytes it makes is known beforehand, so that whatever is longer or
shorter is refused before it is read. `feedback` says that it leaves things out for good, so that agents have to
remember what they did not send (error feedback, Karimireddy et al. 2019, arXiv:1901.09847); see uplink.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from neurogrid.fl.payload import PayloadError
from neurogrid.fl.update import Vector
from neurogrid.randomness import generator

BLOCK = 256
"""So many values share a scale."""
_STEPS = 127
_KEY_BYTES = 8
Values = Literal["q8", "f32"]
Indices = npt.NDArray[np.int64]


class Codec(Protocol):
    """One small form. `sizes` are those of the vector's tensors, in order; their sum is its length."""

    @property
    def name(self) -> str:
        """In payloads and in the config."""
        ...

    @property
    def feedback(self) -> bool:
        """Whether agents have to remember what was not sent."""
        ...

    def length(self, sizes: Sequence[int]) -> int:
        """How many bytes `encode` makes."""
        ...

    def encode(self, vector: Vector, sizes: Sequence[int], rng: np.random.Generator) -> bytes:
        """(d,) finite float32 as bytes."""
        ...

    def decode(self, body: bytes, sizes: Sequence[int]) -> Vector:
        """(d,) float32 of `length` bytes of anything; raises PayloadError where they cannot be an update."""
        ...


@dataclass(frozen=True)
class Quantised:
    """8 bits a weight and a scale for each 256, rounded at random without bias (QSGD, Alistarh et al. 2017,
    arXiv:1610.02132).

    A value is off by less than a step, which is 1/127 of its block's largest.
    """

    name: str = "q8"
    feedback: bool = False

    def length(self, sizes: Sequence[int]) -> int:
        """See Codec."""
        return _values_length(sum(sizes), "q8")

    def encode(self, vector: Vector, sizes: Sequence[int], rng: np.random.Generator) -> bytes:
        """See Codec."""
        return _pack_values(vector, "q8", rng)

    def decode(self, body: bytes, sizes: Sequence[int]) -> Vector:
        """See Codec."""
        return _values(body, sum(sizes), "q8")


@dataclass(frozen=True)
class Sign:
    """One bit a weight, and for each tensor the mean of its sizes (Karimireddy et al. 2019, arXiv:1901.09847)."""

    name: str = "sign"
    feedback: bool = True

    def length(self, sizes: Sequence[int]) -> int:
        """See Codec."""
        return 4 * len(sizes) + _bytes(sum(sizes))

    def encode(self, vector: Vector, sizes: Sequence[int], rng: np.random.Generator) -> bytes:
        """See Codec."""
        tensors = np.split(vector, np.cumsum(sizes)[:-1])
        scales = np.array([np.abs(t, dtype=np.float64).mean() if t.size else 0.0 for t in tensors], "<f4")
        return scales.tobytes() + np.packbits(vector >= 0).tobytes()

    def decode(self, body: bytes, sizes: Sequence[int]) -> Vector:
        """See Codec."""
        scales = _scales(body[: 4 * len(sizes)])
        positive = np.unpackbits(np.frombuffer(body, np.uint8, offset=4 * len(sizes)), count=sum(sizes))
        return np.where(positive, np.float32(1), np.float32(-1)) * np.repeat(scales, sizes)


@dataclass(frozen=True)
class TopK:
    """The largest weights and where they are (Stich et al. 2018, arXiv:1809.07599).

    Places are written as Elias and Fano did (Vigna 2013, arXiv:1206.4300): 2 + log2(1 / share) bits each.

    Attributes:
        share: of the weights.
        values: how the weights are written; `q8` is as in Quantised.
    """

    share: float
    values: Values = "q8"
    name: str = "topk"
    feedback: bool = True

    def length(self, sizes: Sequence[int]) -> int:
        """See Codec."""
        n = sum(sizes)
        k = kept(n, self.share)
        return _places_length(n, k) + _values_length(k, self.values)

    def encode(self, vector: Vector, sizes: Sequence[int], rng: np.random.Generator) -> bytes:
        """See Codec."""
        places = largest(vector, kept(len(vector), self.share))
        return _pack_places(places, len(vector)) + _pack_values(vector[places], self.values, rng)

    def decode(self, body: bytes, sizes: Sequence[int]) -> Vector:
        """See Codec."""
        n = sum(sizes)
        k = kept(n, self.share)
        cut = _places_length(n, k)
        vector = np.zeros(n, np.float32)
        vector[_places(body[:cut], n, k)] = _values(body[cut:], k, self.values)
        return vector


@dataclass(frozen=True)
class RandK:
    """Weights drawn at random (Stich et al. 2018, arXiv:1809.07599); of where they are only the draw's key is sent.

    Attributes:
        share, values: as in TopK.
    """

    share: float
    values: Values = "q8"
    name: str = "randk"
    feedback: bool = True

    def length(self, sizes: Sequence[int]) -> int:
        """See Codec."""
        return _KEY_BYTES + _values_length(kept(sum(sizes), self.share), self.values)

    def encode(self, vector: Vector, sizes: Sequence[int], rng: np.random.Generator) -> bytes:
        """See Codec."""
        key = int(rng.integers(2**63)).to_bytes(_KEY_BYTES, "little")
        places = _drawn(key, len(vector), kept(len(vector), self.share))
        return key + _pack_values(vector[places], self.values, rng)

    def decode(self, body: bytes, sizes: Sequence[int]) -> Vector:
        """See Codec."""
        n = sum(sizes)
        k = kept(n, self.share)
        vector = np.zeros(n, np.float32)
        vector[_drawn(body[:_KEY_BYTES], n, k)] = _values(body[_KEY_BYTES:], k, self.values)
        return vector


def kept(n: int, share: float) -> int:
    """How many of n weights are sent."""
    return min(n, max(1, math.ceil(share * n - 1e-9)))


def largest(vector: Vector, k: int) -> Indices:
    """Where the k weights of largest size are, ascending; of equal ones the first, on any processor."""
    sizes = np.abs(vector)
    least = np.partition(sizes, len(sizes) - k)[len(sizes) - k]
    above = np.flatnonzero(sizes > least)
    return np.sort(np.concatenate([above, np.flatnonzero(sizes == least)[: k - len(above)]]))


def _drawn(key: bytes, n: int, k: int) -> Indices:
    return np.sort(generator(int.from_bytes(key, "little"), "sent places").permutation(n)[:k])


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def _low_bits(n: int, k: int) -> int:
    return (n // k).bit_length() - 1


def _places_length(n: int, k: int) -> int:
    low = _low_bits(n, k)
    return _bytes(k + ((n - 1) >> low)) + _bytes(k * low)


def _pack_places(places: Indices, n: int) -> bytes:
    k = len(places)
    low = _low_bits(n, k)
    high = np.zeros(k + ((n - 1) >> low), np.uint8)
    high[(places >> low) + np.arange(k)] = 1
    bits = (places[:, None] >> np.arange(low)) & 1
    return np.packbits(high).tobytes() + np.packbits(bits.astype(np.uint8)).tobytes()


def _places(body: bytes, n: int, k: int) -> Indices:
    low = _low_bits(n, k)
    raw = np.frombuffer(body, np.uint8)
    n_high = k + ((n - 1) >> low)
    high = np.flatnonzero(np.unpackbits(raw[: _bytes(n_high)], count=n_high))
    if len(high) != k:
        raise PayloadError(f"{len(high)} places, not {k}")
    bits = np.unpackbits(raw[_bytes(n_high) :], count=k * low).reshape(k, low).astype(np.int64)
    places: Indices = ((high - np.arange(k)) << low) | (bits << np.arange(low)).sum(axis=1)
    if places[-1] >= n or (np.diff(places) <= 0).any():
        raise PayloadError("places that do not ascend, or are not in the model")
    return places


def _values_length(k: int, values: Values) -> int:
    return 4 * k if values == "f32" else k + 4 * -(-k // BLOCK)


def _pack_values(vector: Vector, values: Values, rng: np.random.Generator) -> bytes:
    if values == "f32":
        return vector.astype("<f4").tobytes()
    exact = vector.astype(np.float64)
    starts = np.arange(0, len(exact), BLOCK)
    scales = (np.maximum.reduceat(np.abs(exact), starts) / _STEPS).astype("<f4")
    steps = np.repeat(scales.astype(np.float64), BLOCK)[: len(exact)]
    scaled = np.divide(exact, steps, out=np.zeros_like(exact), where=steps > 0)
    whole = np.clip(np.floor(scaled + rng.random(len(exact))), -_STEPS, _STEPS).astype(np.int8)
    return scales.tobytes() + whole.tobytes()


def _values(body: bytes, k: int, values: Values) -> Vector:
    if values == "f32":
        vector: Vector = np.frombuffer(body, "<f4").astype(np.float32)
    else:
        blocks = -(-k // BLOCK)
        scales = _scales(body[: 4 * blocks])
        with np.errstate(over="ignore"):
            vector = np.frombuffer(body, np.int8, offset=4 * blocks) * np.repeat(scales, BLOCK)[:k]
    if not np.isfinite(vector).all():
        raise PayloadError("values that are not finite")
    return vector


def _scales(body: bytes) -> Vector:
    scales: Vector = np.frombuffer(body, "<f4").astype(np.float32)
    if not (np.isfinite(scales) & (scales >= 0)).all():
        raise PayloadError("scales that are negative or not finite")
    return scales
