"""The benchmark of rounds measures what it says."""

import numpy as np
import pytest

from neurogrid.bench.agents import IdleFactory
from neurogrid.bench.bare import BareExchange, BareTraining
from neurogrid.bench.rounds import COLUMNS, bench_rounds


def test_the_bare_exchange_moves_every_delta():
    with BareExchange(agents=5, n_weights=100, processes=2) as exchange:
        for _ in range(3):
            exchange._deltas[:] = 0
            assert exchange.round() > 0
            assert (exchange._deltas == 1).all()


@pytest.mark.slow
def test_the_bare_loop_trains_every_agent_in_as_many_processes():
    with BareTraining(IdleFactory(10), ["A1", "A2", "A3"], 2) as training:
        assert len(training.pids) == 2
        assert 0 < training.round(1, np.zeros(10, np.float32)) < 1


@pytest.mark.slow
def test_a_row_has_every_phase_and_the_bare_figures_beside_it():
    table = bench_rounds([3], ["inline"], 1)
    (row,) = table.rows
    cells = dict(zip(COLUMNS, row, strict=True))
    assert cells["backend"] == "inline"
    assert cells["agents"] == 3
    assert cells["train_ms"] > 0
    assert cells["persist_ms"] > 0
    assert cells["bare_exchange_ms"] > 0
    assert 0.2 < cells["throughput_share"] < 5
    assert cells["peak_memory_mb"] > 50
