"""What codecs promise of any update, and of any bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neurogrid.fl.codecs import BLOCK, Quantised, RandK, Sign, TopK, kept
from neurogrid.fl.payload import HEADER_BYTES, PayloadError, pack, unpack
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.uplink import MemoryHere, Uplink

CODECS = [Quantised(), Sign(), TopK(0.1), TopK(0.3, "f32"), TopK(1.0), RandK(0.1), RandK(0.5, "f32")]
NAMES = [f"{codec.name} {getattr(codec, 'share', '')} {getattr(codec, 'values', '')}" for codec in CODECS]
FINITE = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
VECTORS = st.integers(1, 700).flatmap(lambda n: arrays(np.float32, n, elements=FINITE))
few = settings(max_examples=12, deadline=None)


def rng(seed=1):
    return np.random.default_rng(seed)


def halves(n):
    return [n // 2, n - n // 2]


@pytest.mark.parametrize("codec", CODECS, ids=NAMES)
@few
@given(vector=VECTORS)
def test_the_length_is_known_beforehand_and_the_same_seed_makes_the_same_bytes(codec, vector):
    sizes = halves(len(vector))
    body = codec.encode(vector, sizes, rng())
    assert len(body) == codec.length(sizes)
    assert body == codec.encode(vector, sizes, rng())
    decoded = codec.decode(body, sizes)
    assert (decoded.shape, decoded.dtype) == (vector.shape, np.float32)


@few
@given(vector=VECTORS)
def test_a_quantised_weight_is_off_by_less_than_a_step(vector):
    decoded = Quantised().decode(Quantised().encode(vector, [len(vector)], rng()), [len(vector)])
    for start in range(0, len(vector), BLOCK):
        block = slice(start, start + BLOCK)
        step = np.abs(vector[block]).max() / 127
        assert np.abs(decoded[block].astype(float) - vector[block]).max() <= step * (1 + 1e-4)


def test_quantised_weights_have_no_bias():
    vector = rng().standard_normal(BLOCK).astype(np.float32)
    draws = rng(2)
    n = 3000
    total = sum(Quantised().decode(Quantised().encode(vector, [BLOCK], draws), [BLOCK]).astype(float) for _ in range(n))
    step = np.abs(vector).max() / 127
    # The mean of n roundings has a standard deviation of at most step / (2 sqrt(n)); 256 of them stay within 5 of it.
    assert np.abs(total / n - vector).max() < 5 * step / (2 * np.sqrt(n))


@few
@given(vector=VECTORS, share=st.sampled_from([0.001, 0.07, 0.5, 1.0]))
def test_top_k_sends_the_largest_as_they_are(vector, share):
    sizes, codec = [len(vector)], TopK(share, "f32")
    decoded = codec.decode(codec.encode(vector, sizes, rng()), sizes)
    k = kept(len(vector), share)
    sent = decoded != 0
    assert sent.sum() <= k
    assert (decoded[sent] == vector[sent]).all()
    np.testing.assert_array_equal(np.sort(np.abs(decoded))[-k:], np.sort(np.abs(vector))[-k:])


def test_sign_sends_each_tensors_mean_size():
    vector = np.array([1, -3, 0, -10, 20], np.float32)
    decoded = Sign().decode(Sign().encode(vector, [2, 3], rng()), [2, 3])
    assert decoded.tolist() == [2, -2, 10, -10, 10]


@pytest.mark.parametrize(
    ("codec", "least"),
    [(Quantised(), 3.9), (Sign(), 31.9), (TopK(0.1), 23.5), (TopK(0.05), 43), (RandK(0.1), 39), (TopK(0.1, "f32"), 8)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_bytes_are_really_few(codec, least):
    assert 4 * 85_000 / codec.length([85_000]) > least


@pytest.mark.parametrize("codec", CODECS, ids=NAMES)
@few
@given(data=st.data(), n=st.integers(1, 300))
def test_any_bytes_are_an_update_or_refused(codec, data, n):
    sizes = halves(n)
    honest = codec.encode(rng(n).standard_normal(n).astype(np.float32), sizes, rng())
    cuts = data.draw(st.lists(st.tuples(st.integers(0, len(honest) - 1), st.integers(0, 255)), max_size=4))
    mutated = bytearray(honest)
    for place, value in cuts:
        mutated[place] = value
    for body in (bytes(mutated), data.draw(st.binary(min_size=len(honest), max_size=len(honest)))):
        try:
            decoded = codec.decode(body, sizes)
        except PayloadError:
            continue
        assert decoded.shape == (n,)
        assert np.isfinite(decoded).all()


@few
@given(garbage=st.binary(max_size=100), place=st.integers(0, HEADER_BYTES + 9), bit=st.integers(0, 7))
def test_a_payload_with_a_changed_bit_is_refused(garbage, place, bit):
    body = b"0123456789"
    payload = bytearray(pack("topk", body))
    assert unpack(bytes(payload), "topk", 10) == body
    payload[place] ^= 1 << bit
    for wrong in (bytes(payload), garbage, pack("q8", body), pack("topk", body * 1000)):
        with pytest.raises(PayloadError):
            unpack(wrong, "topk", 10)


def test_places_that_repeat_or_lie_outside_are_refused():
    codec, sizes = TopK(0.5, "f32"), [6]
    body = bytearray(codec.encode(np.arange(6, dtype=np.float32), sizes, rng()))
    assert codec.decode(bytes(body), sizes).tolist() == [0, 0, 0, 3, 4, 5]
    seen = set()
    for low in range(256):  # all low bits of the three places: 6 // 3 = 2 weights to a place, one low bit each
        for high in range(0, 256, 4):
            body[0], body[1] = high, low
            try:
                seen.add(tuple(np.flatnonzero(codec.decode(bytes(body), sizes)).tolist()))
            except PayloadError:
                seen.add("refused")
    assert "refused" in seen
    assert all(places == "refused" or (len(places) == 3 and places[-1] < 6) for places in seen)


SPEC = Spec((Span("a", (40, 5), 0, 200), Span("b", (100,), 200, 300), Span("s", (3,), 300, 303, "buffer")))


@pytest.mark.parametrize("codec", CODECS, ids=NAMES)
@few
@given(seed=st.integers(0, 2**32), rounds=st.integers(1, 6))
def test_what_was_sent_and_what_is_remembered_are_all_that_was_learnt(codec, seed, rounds):
    uplink = Uplink(codec, SPEC, 1, MemoryHere() if codec.feedback else None)
    deltas = rng(seed).standard_normal((rounds, 303)).astype(np.float32)
    sent = np.zeros(303)
    for number, delta in enumerate(deltas, 1):
        payload = uplink.send("A", number, number - 1, delta)
        assert len(payload) == uplink.payload_bytes
        received = uplink.received(payload)
        assert (received[300:] == delta[300:]).all()  # statistics travel as they are
        sent += received
    if codec.feedback:
        rest = uplink.memory.read("A", rounds, 300)
        np.testing.assert_allclose(sent[:300] + rest, deltas[:, :300].sum(axis=0, dtype=float), atol=1e-4)


@few
@given(seed=st.integers(0, 2**32))
def test_an_agent_that_is_asked_twice_sends_the_same_and_what_came_too_late_is_as_if_it_had_not_been(seed):
    uplink = Uplink(TopK(0.1), SPEC, 1, MemoryHere())
    deltas = rng(seed).standard_normal((3, 303)).astype(np.float32)
    uplink.send("A", 1, 0, deltas[0])
    first = uplink.send("A", 2, 1, deltas[1])
    assert uplink.send("A", 2, 1, deltas[1]) == first
    later = uplink.send("A", 3, 1, deltas[2])  # the update of round 2 was not taken
    other = Uplink(TopK(0.1), SPEC, 1, MemoryHere())
    other.send("A", 1, 0, deltas[0])
    assert other.send("A", 3, 1, deltas[2]) == later


def test_statistics_that_are_not_finite_are_refused():
    uplink = Uplink(Quantised(), SPEC, 1)
    delta = np.zeros(303, np.float32)
    delta[301] = np.nan
    with pytest.raises(PayloadError, match="not finite"):
        uplink.received(uplink.send("A", 1, 0, delta))
