"""A run killed with SIGKILL, wherever it happens to be."""

import json
import multiprocessing
import os
import random
import tempfile
import time
from pathlib import Path

import pytest
import small_run

from neurogrid.backends.inline import InlineBackend
from neurogrid.fl.attack import Attacked
from neurogrid.fl.record import weights_sha256
from neurogrid.fl.replay import Replayed, remake
from neurogrid.ledger import verify
from neurogrid.ledger.recorded import read_recorded
from neurogrid.ledger.records import read_chain
from neurogrid.storage import place

KILLS = 10
PATIENCE_S = 60

# Real processes that are killed for real, forked from one that has done its imports: those take seconds each.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["neurogrid.ledger", "neurogrid.backends.inline", "neurogrid.fl.rounds"])


def start(folder, settings=small_run.SETTINGS):
    process = processes.Process(target=small_run.train_slowly, args=(folder, settings))
    process.start()
    return process


def wait_for(path, process):
    until = time.monotonic() + PATIENCE_S
    while not path.exists() and process.is_alive() and time.monotonic() < until:
        time.sleep(0.001)


def kill(process):
    process.kill()
    process.join(PATIENCE_S)
    code = process.exitcode
    process.close()
    return code


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "r1"
    return small_run.train(folder), (folder / "W_final.safetensors").read_bytes()


@pytest.fixture
def memory():
    """A folder in memory: a killed process loses nothing that it gave the kernel, and no disk makes the test slow."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.mark.slow
def test_a_run_killed_at_random_points_resumes_to_the_same_bits_and_verifies_clean(memory, uninterrupted):
    draw = random.Random(20261123)
    cut_short = 0
    for number in range(KILLS):
        folder = memory / f"kill{number}" / "r1"
        process = start(folder)
        # A random moment after a random round; every fourth time a moment of the start itself.
        begun = folder / "rounds" / f"round={draw.randint(1, small_run.ROUNDS):04d}.json" if number % 4 else folder
        wait_for(begun, process)
        time.sleep(draw.uniform(0, 0.03))
        cut_short += kill(process) != 0
        if not (folder / "end.json").exists():
            assert verify(place(str(folder))).problems in ((), ("run.json: is missing",))
            state = small_run.train(folder)
            assert state.weights.tobytes() == uninterrupted[0].weights.tobytes()
        assert verify(place(str(folder))).problems == ()
        assert (folder / "W_final.safetensors").read_bytes() == uninterrupted[1]
    assert cut_short >= KILLS // 2


def test_a_second_process_is_refused_while_a_run_is_live(tmp_path):
    ledger, _ = small_run.begin_or_resume(place(str(tmp_path / "r1")))
    with ledger:
        second = start(tmp_path / "r1")
        second.join(PATIENCE_S)
        assert second.exitcode == 2
        assert not (tmp_path / "r1" / "rounds").exists()


def test_a_run_is_free_at_once_when_the_process_that_held_it_is_killed(tmp_path, uninterrupted):
    holder = start(tmp_path / "r1")
    wait_for(tmp_path / "r1" / "rounds" / "round=0001.json", holder)
    assert kill(holder) == -9
    assert small_run.train(tmp_path / "r1").weights.tobytes() == uninterrupted[0].weights.tobytes()


def test_a_buffered_run_killed_at_random_points_resumes_and_is_made_again_from_its_records(memory):
    draw = random.Random(20261130)
    cut_short = 0
    for number in range(3):
        folder = memory / f"kill{number}" / "r1"
        process = start(folder, small_run.BUFFERED)
        wait_for(folder / "rounds" / f"round={draw.randint(1, 5):04d}.json", process)
        time.sleep(draw.uniform(0, 0.02))
        cut_short += kill(process) != 0
        if not (folder / "end.json").exists():
            small_run.train(folder, settings=small_run.BUFFERED)
        run = place(str(folder))
        assert verify(run).problems == ()
        record = read_recorded(run, read_chain(run))
        with Attacked(Replayed(InlineBackend(small_run.Trainer), record), small_run.ATTACKERS) as backend:
            again = remake(backend, small_run.FEDERATION, small_run.BUFFERED, record)
        assert weights_sha256(again.weights) == json.loads((folder / "end.json").read_text())["w_final_sha256"]
    assert cut_short >= 1
