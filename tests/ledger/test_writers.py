"""Who may write to a run's folder: nothing is written by a process that lost it, nothing over what another wrote."""

import json
import threading
import time
from dataclasses import replace

import pytest
import small_run
from pyarrow import fs

from neurogrid import lock
from neurogrid.errors import RunError, UsageError
from neurogrid.fl.rounds import federate
from neurogrid.ledger import Ledger, journal, read_round_metrics, verify
from neurogrid.ledger.chain import seal, to_text
from neurogrid.storage import Place, place


def rounds_of(settings_rounds):
    return replace(small_run.SETTINGS, rounds=settings_rounds)


def lose(folder):
    """Leaves the lock as a successor elsewhere would."""
    (folder / "run.lock").write_text(json.dumps({"holder": "another", "who": "process 1 on a node", "beat": 1}))


def lose_after(monkeypatch, folder, name):
    """The run is lost right after the file of that name is written."""
    original = Place.write

    def write(self, content):
        original(self, content)
        if self.path.endswith(name):
            lose(folder)

    monkeypatch.setattr(Place, "write", write)


def files(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "run.lock"}


@pytest.fixture
def two_rounds(tmp_path):
    """A ledger of two rounds, the state after them, and what comes of one more."""
    ledger, state = small_run.begin_or_resume(place(str(tmp_path / "r1")))
    with small_run.attacked() as backend:
        state = federate(state, small_run.FEDERATION, rounds_of(2), backend, [ledger]).state
        ledger.flush()
        seen = []

        class Watch:
            def after_round(self, record, state):
                seen.append((record, state))

        federate(state, small_run.FEDERATION, rounds_of(3), backend, [Watch()])
    yield ledger, state, seen[0]
    ledger._lock.release()
    ledger._writer.shutdown()


NOT_OURS = r"run r1 does not belong to this process any more\n  found: process 1 on a node has taken it over"


def test_a_run_that_was_lost_gets_no_round_more(tmp_path, two_rounds):
    ledger, _, third = two_rounds
    lose(tmp_path / "r1")
    before = files(tmp_path / "r1")
    ledger.after_round(*third)
    with pytest.raises(RunError, match=NOT_OURS):
        ledger.close()
    assert files(tmp_path / "r1") == before


def test_a_run_that_is_lost_while_a_round_is_written_does_not_get_its_record(tmp_path, two_rounds, monkeypatch):
    ledger, _, third = two_rounds
    lose_after(monkeypatch, tmp_path / "r1", "district_round_summary/round=0003.parquet")
    ledger.after_round(*third)
    with pytest.raises(RunError, match=NOT_OURS):
        ledger.flush()
    assert not (tmp_path / "r1" / "rounds" / "round=0003.json").exists()


def test_a_run_that_was_lost_gets_no_end(tmp_path, two_rounds):
    ledger, state, _ = two_rounds
    lose(tmp_path / "r1")
    before = files(tmp_path / "r1")
    with pytest.raises(RunError, match=NOT_OURS):
        ledger.finish(state, "all rounds done", {})
    assert files(tmp_path / "r1") == before


def test_a_run_that_is_lost_while_its_end_is_written_does_not_get_its_record(tmp_path, two_rounds, monkeypatch):
    ledger, state, _ = two_rounds
    lose_after(monkeypatch, tmp_path / "r1", "run_summary.md")
    with pytest.raises(RunError, match=NOT_OURS):
        ledger.finish(state, "all rounds done", {})
    assert not (tmp_path / "r1" / "end.json").exists()


def test_a_run_that_is_lost_while_it_begins_has_not_begun(tmp_path, monkeypatch):
    lose_after(monkeypatch, tmp_path / "r1", "config.yaml")
    with pytest.raises(RunError, match=NOT_OURS):
        small_run.begin_or_resume(place(str(tmp_path / "r1")))
    assert not (tmp_path / "r1" / "run.json").exists()


def test_the_table_of_rounds_is_not_written_over_anothers(tmp_path, two_rounds, monkeypatch):
    ledger, _, third = two_rounds
    monkeypatch.setattr(journal, "table_is_due", lambda rows, rounds: False)
    lose_after(monkeypatch, tmp_path / "r1", "rounds/round=0003.json")
    ledger.after_round(*third)
    ledger.flush()
    with pytest.raises(RunError, match=NOT_OURS):
        ledger.close()
    assert read_round_metrics(place(str(tmp_path / "r1"))).num_rows == 2


def test_each_record_names_the_process_that_wrote_it(tmp_path):
    run = tmp_path / "r1"
    small_run.train(run, settings=rounds_of(2))
    (run / "end.json").unlink()
    small_run.train(run, settings=rounds_of(3))
    names = ["run.json", *(f"rounds/round=000{n}.json" for n in (1, 2, 3)), "end.json"]
    writers = [json.loads((run / name).read_text())["writer"] for name in names]
    assert len(set(writers[:3])) == len(set(writers[3:])) == 1
    assert writers[0] != writers[3]


@pytest.mark.parametrize("name", ["rounds/round=0002.json", "rounds/round=0003.json"])
def test_a_record_that_another_process_wrote_is_not_written_over(tmp_path, two_rounds, name):
    """A write that was under way when its process was cut off, which no lock can call back."""
    ledger, _, third = two_rounds
    path = tmp_path / "r1" / name
    path.write_text(to_text(seal({"writer": "another"}, "")))
    before = files(tmp_path / "r1")[path]
    ledger.after_round(*third)
    with pytest.raises(RunError, match=rf"another process has written to run r1\n  found: .*{name}"):
        ledger.flush()
    assert files(tmp_path / "r1")[path] == before


def test_the_end_that_another_process_wrote_is_not_written_over(tmp_path, two_rounds):
    ledger, state, _ = two_rounds
    (tmp_path / "r1" / "end.json").write_text("{}")
    with pytest.raises(RunError, match=r"another process has written to run r1\n  found: .*end.json"):
        ledger.finish(state, "all rounds done", {})
    assert (tmp_path / "r1" / "end.json").read_text() == "{}"


def test_of_two_processes_that_begin_one_run_on_a_store_one_writes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_BEAT_S", 0.2)
    for name in ("read_bytes", "write", "exists", "children"):
        call = getattr(Place, name)
        monkeypatch.setattr(Place, name, lambda *args, call=call: (time.sleep(0.01), call(*args))[1])
    for folder in ("W_global/round=0000", "rounds", *(f"W_global/round=000{n}" for n in (1, 2))):
        (tmp_path / "r1" / folder).mkdir(parents=True)
    for audit in ("agent_round_audit", "district_round_summary"):
        (tmp_path / "r1" / "audit" / audit).mkdir(parents=True)
    run = Place(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "r1")
    said, together = [], threading.Barrier(2)

    def start():
        together.wait()
        try:
            ledger, state = small_run.begin_or_resume(run)
            with ledger, small_run.attacked() as backend:
                finish = federate(state, small_run.FEDERATION, rounds_of(2), backend, [ledger])
                ledger.finish(finish.state, finish.reason, {})
                said.append("finished")
        except UsageError as error:
            said.append(str(error).splitlines()[0])

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["finished", "run r1 is live: another process is writing to it"]
    assert (verify(run).problems, verify(run).rounds) == ((), 2)


def test_a_run_that_was_refused_to_go_on_is_left_as_it_was(tmp_path):
    small_run.train(tmp_path / "r1", settings=rounds_of(3))
    (tmp_path / "r1" / "end.json").unlink()
    (tmp_path / "r1" / "round_metrics.parquet").unlink()
    before = files(tmp_path / "r1")
    Ledger.resume(place(str(tmp_path / "r1")), small_run.SPEC)[0].close()
    assert files(tmp_path / "r1") == before
