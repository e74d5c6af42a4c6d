"""Streams of random numbers depend on their names alone; tests/test_layers.py sees to it that no two share one."""

import hashlib

import numpy as np

from neurogrid.randomness import generator


def test_numpys_numbers_and_words_name_the_stream_of_the_plain_ones():
    for seed, agent, name in ((np.int64(7), np.int32(3), np.str_("A1")), (np.uint64(7), np.int8(3), "A1")):
        assert generator(seed, "batches", agent, name).bytes(8) == generator(7, "batches", 3, "A1").bytes(8)
    assert generator(7, "batches", "3").bytes(8) != generator(7, "batches", 3).bytes(8)


def test_streams_are_those_of_earlier_versions():
    digest = hashlib.sha256(b"(7, 'batches', 3, 'A0001')").digest()
    as_before = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    assert generator(7, "batches", 3, "A0001").bytes(32) == as_before.bytes(32)
