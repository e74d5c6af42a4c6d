"""Who may write to a run's folder, on this machine, on a volume of many, and in a store without locks."""

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from neurogrid import lock
from neurogrid.errors import RunError, UsageError
from neurogrid.lock import FolderLock
from neurogrid.storage import Place, place


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "QUIET_S", 1.0)
    monkeypatch.setattr(lock, "_BEAT_S", 0.2)
    monkeypatch.setattr(lock, "_STALE_S", 0.6)


@pytest.fixture
def store(tmp_path: Path) -> Place:
    """A run's folder in a store that knows no locks."""
    (tmp_path / "run").mkdir()
    return Place(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "run")


def elsewhere(run: Path) -> dict[str, Any]:
    """Makes the lock's file look as if its holder ran under another kernel; what it says."""
    said = json.loads((run / "run.lock").read_text())
    said["kernel"] = "another"
    (run / "run.lock").write_text(json.dumps(said))
    return said


def locked(run: Place) -> FolderLock:
    return FolderLock(run, f"run {run.name}")


def hold(folder: str) -> None:
    locked(place(folder))
    time.sleep(60)


def killed_holder(folder: Path) -> None:
    """Leaves the lock as a process that was killed leaves it."""
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(str(folder),))
    process.start()
    until = time.monotonic() + 60
    while not (folder / "run.lock").exists() or not (folder / "run.lock").read_text().strip():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_a_run_is_free_at_once_when_its_holder_on_this_machine_is_dead_and_not_when_it_was_on_another(
    tmp_path: Path,
) -> None:
    killed_holder(tmp_path)
    began = time.monotonic()
    locked(place(str(tmp_path))).release()
    assert time.monotonic() - began < lock.QUIET_S
    killed_holder(tmp_path)
    elsewhere(tmp_path)
    began = time.monotonic()
    locked(place(str(tmp_path))).release()
    assert time.monotonic() - began >= lock.QUIET_S


def test_a_run_that_gives_signs_of_life_from_elsewhere_is_refused(
    store: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "QUIET_S", 60.0)  # however slow this machine is: a sign of life ends the wait
    with locked(store) as holder, pytest.raises(UsageError, match=r"run run is live.*\n  found: process \d+ on"):
        locked(store)
    holder.release()  # twice does no harm


def test_a_lock_that_is_half_written_is_somebodys_until_it_stays_so(
    store: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = tmp_path / "run" / "run.lock"
    signed.write_text('{"holder": "a", "who": "proc')
    began = time.monotonic()
    locked(store).release()
    assert time.monotonic() - began >= lock.QUIET_S
    monkeypatch.setattr(lock, "QUIET_S", 60.0)
    holder = {"holder": "a", "who": "process 1 on a node", "beat": 1}
    for before, after in (("", json.dumps(holder)), (json.dumps(holder), "")):
        signed.write_text(before)
        beat = threading.Timer(0.3, signed.write_text, [after])
        beat.start()
        with pytest.raises(UsageError, match="run run is live"):
            locked(store)
        beat.join()


def test_a_run_whose_holder_has_let_go_is_free_at_once(store: Place) -> None:
    locked(store).release()
    began = time.monotonic()
    locked(store).release()
    assert time.monotonic() - began < lock.QUIET_S


def test_a_holder_that_was_taken_for_dead_writes_nothing_any_more(store: Place) -> None:
    first = locked(store)
    first.check()
    first._closed.set()  # as if its process stood still
    first._thread.join()
    second = locked(store)
    with pytest.raises(RunError, match=r"does not belong to this process any more\n  found: process .* taken it over"):
        first.check()
    second.check()
    second.release()


def test_a_holder_that_only_stood_still_goes_on(store: Place) -> None:
    first = locked(store)
    first._closed.set()
    first._thread.join()
    time.sleep(0.8)
    first.check()


def test_a_holder_that_cannot_give_signs_of_life_stops_before_another_may_begin(store: Place, tmp_path: Path) -> None:
    first = locked(store)
    (tmp_path / "run").rename(tmp_path / "away")
    (tmp_path / "run").write_text("the store is not there")
    time.sleep(0.8)
    with pytest.raises(RunError, match="no sign of life could be written"):
        first.check()
    first.release()


class Slow:
    """Makes a store slow: each call takes effect at some moment of the time that it takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int, most_s: float) -> None:
        self._draw, self._most_s = random.Random(seed), most_s
        for name in ("read_bytes", "write", "children", "exists", "remove"):
            monkeypatch.setattr(Place, name, self._slow(getattr(Place, name)))

    def _slow(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*args: Any) -> Any:
            time.sleep(self._draw.uniform(0, self._most_s))
            try:
                return call(*args)
            finally:
                time.sleep(self._draw.uniform(0, self._most_s))

        return slow


def take_at_once(store: Place, starts: int) -> tuple[list[FolderLock], list[str]]:
    """The locks that so many starts at the same moment get, and what the others are told."""
    held: list[FolderLock] = []
    refused: list[str] = []
    together = threading.Barrier(starts)

    def take() -> None:
        together.wait()
        try:
            held.append(locked(store))
        except UsageError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(starts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return held, refused


# A fifteenth of the real times: as a store that takes 30 to 600 ms for each call.
@pytest.mark.parametrize("seed", range(4))
def test_of_several_starts_on_a_slow_store_one_holds_the_run_and_the_others_are_told(
    store: Place, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(lock, "QUIET_S", 60.0)  # however slow this machine is: nobody is taken for dead
    Slow(monkeypatch, seed, 0.02)
    held, refused = take_at_once(store, 2 + seed % 2)
    assert len(held) == 1
    assert all("run run is live: another process is writing to it" in words for words in refused)
    held[0].check()
    held[0].release()
    assert [child.name for child in store.children()] == ["run.lock"]


def test_starts_after_a_holder_that_was_killed_do_not_both_take_its_place(
    store: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = locked(store)
    dead._closed.set()
    dead._thread.join()
    Slow(monkeypatch, 0, 0.02)
    held, _ = take_at_once(store, 2)
    with pytest.raises(RunError, match="taken it over"):
        dead.check()

    def may_write(holder: FolderLock) -> bool:
        try:
            holder.check()
        except RunError:
            return False
        return True

    # On a machine that stands still for a second one may have been taken for dead; then it knows.
    assert sum(map(may_write, held)) == 1
    for holder in held:
        holder.release()


def test_a_start_that_was_killed_while_it_waited_keeps_nobody_out(store: Place) -> None:
    said = {"holder": "0", "who": "process 1 on a node", "kernel": "another", "beat": 3}
    (store / "run.lock.0").write(json.dumps(said))
    locked(store).release()
    assert [child.name for child in store.children()] == ["run.lock"]


def test_a_holder_notices_at_its_next_write_that_another_has_taken_the_run_over(store: Place) -> None:
    # Its clock stands still with its machine, so it cannot tell by that.
    first = locked(store)
    for file in store.children():
        if file.name != "run.lock":
            file.remove()
    with pytest.raises(RunError, match="somebody else has taken it over"):
        first.check()
    first.release()
