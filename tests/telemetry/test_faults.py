"""Storage that fails and heals, records that break and go: the page keeps what it had, an error ends with its cause."""

import os
import shutil
from dataclasses import replace

import pytest
from pyarrow import fs
from telemetry_run import EXPORTER, exporter, scraped, train, value, write_records

from neurogrid.storage import Place
from neurogrid.telemetry.exporter import Exporter

KINDS = {
    "quality/report.json": "quality",
    "manifests/m1/manifest.json": "manifest",
    "jobs/prod/etl.json": "job",
    "teachers/t1/epochs/epoch=0001.json": "teacher",
    "runs/r1/run.json": "run",
    "runs/r1/end.json": "end",
    "runs/r1/round_metrics.parquet": "round",
    "runs/r1/audit/agent_round_audit/round=0001.parquet": "audit",
}


class Faulty(fs.LocalFileSystem):
    """A disk that fails to list folders and to say how old files are (`unlisted`), and to open files (`unopened`)."""

    unlisted = unopened = ""

    def get_file_info(self, asked):
        if self.unlisted in ([asked.base_dir] if isinstance(asked, fs.FileSelector) else asked):
            raise OSError("Input/output error")
        return super().get_file_info(asked)

    def open_input_stream(self, path, **settings):
        if path == self.unopened:
            raise OSError("Input/output error")
        return super().open_input_stream(path, **settings)


@pytest.fixture
def folder(tmp_path, warehouse):
    """A warehouse with a record of each kind."""
    shutil.copytree(warehouse, tmp_path / "w")
    write_records(tmp_path / "w")
    return tmp_path / "w"


@pytest.fixture
def faulty(folder):
    return Faulty()


def over(faulty, folder):
    return Exporter(Place(faulty, str(folder)), "0.1", replace(EXPORTER, per_agent=True))


def figures(work):
    """What is of the warehouse, not of the exporter."""
    own = ("neurogrid_exporter", "process", "python")
    return {key: v for key, v in scraped(work).items() if not key[0].startswith(own)}


def unreadable(work, kind):
    return value(scraped(work), "exporter_unreadable_records", kind=kind)


@pytest.mark.parametrize("name", ["runs", "quality", "manifests", "jobs", "teachers"])
def test_a_folder_that_cannot_be_listed_once_keeps_its_series_and_is_no_error_when_it_can(folder, faulty, name):
    work = over(faulty, folder)
    work.look()
    before = figures(work)
    faulty.unlisted = f"{folder}/{name}"
    work.look()
    assert figures(work) == before
    assert unreadable(work, "warehouse") == 1
    assert value(scraped(work), "exporter_warehouse_up") == 0
    faulty.unlisted = ""
    work.look()
    assert figures(work) == before
    assert unreadable(work, "warehouse") == 0
    assert value(scraped(work), "exporter_warehouse_up") == 1


@pytest.mark.parametrize("path", ["runs/r1/run.json", "teachers/t1/teacher.json"])
def test_a_record_whose_age_cannot_be_asked_for_once_keeps_its_series(folder, faulty, path):
    work = over(faulty, folder)
    work.look()
    before = figures(work)
    faulty.unlisted = f"{folder}/{path}"
    work.look()
    assert figures(work) == before
    assert unreadable(work, "warehouse") == 1
    faulty.unlisted = ""
    work.look()
    assert figures(work) == before
    assert unreadable(work, "warehouse") == 0


@pytest.mark.parametrize("path", KINDS)
def test_a_file_that_cannot_be_read_once_is_read_at_the_next_look(folder, faulty, path):
    healthy = over(faulty, folder)
    healthy.look()
    work = over(faulty, folder)
    faulty.unopened = f"{folder}/{path}"
    work.look()
    assert unreadable(work, KINDS[path]) == 1
    faulty.unopened = ""
    work.look()
    assert unreadable(work, KINDS[path]) == 0
    assert figures(work) == pytest.approx(figures(healthy))


@pytest.mark.parametrize("path", KINDS)
def test_a_broken_record_that_is_deleted_is_not_unreadable_any_more(folder, faulty, path):
    (folder / path).write_text('{"seed": 1')
    work = over(faulty, folder)
    work.look()
    assert unreadable(work, KINDS[path]) == 1
    (folder / path).unlink()
    work.look()
    assert unreadable(work, KINDS[path]) == 0


def test_what_was_broken_in_a_folder_that_is_gone_is_forgotten(folder, faulty):
    for path in KINDS:
        (folder / path).write_text('{"seed": 1')
    work = over(faulty, folder)
    work.look()
    assert unreadable(work, "run") == 1
    for name in ("runs/r1", "teachers", "manifests", "jobs", "quality"):
        shutil.rmtree(folder / name)
    work.look()
    assert {kind: unreadable(work, kind) for kind in KINDS.values()} == dict.fromkeys(KINDS.values(), 0)


def _spoilt(folder, numbers):
    """Breaks rounds' records of run r1; returns what they were."""
    rounds = {n: folder / "runs" / "r1" / "rounds" / f"round={n:04d}.json" for n in numbers}
    whole = {file: file.read_text() for file in rounds.values()}
    for file in whole:
        file.write_text("{")
    return whole


def test_broken_rounds_of_a_run_that_newer_ones_push_out_are_forgotten_and_found_again_with_it(tmp_path):
    train(tmp_path, rounds=4, end=False)
    (tmp_path / "runs" / "r1" / "round_metrics.parquet").unlink(missing_ok=True)
    _spoilt(tmp_path, [2])
    work = exporter(tmp_path, runs=1)
    work.look()
    assert unreadable(work, "round") == 1
    train(tmp_path, "r2", rounds=1, started="2026-01-02T00:00:00+00:00")
    work.look()
    assert unreadable(work, "round") == 0
    shutil.rmtree(tmp_path / "runs" / "r2")
    work.look()
    assert unreadable(work, "round") == 1


def test_every_broken_round_is_tried_again_however_many_there_are(tmp_path):
    train(tmp_path, rounds=50, end=False)
    (tmp_path / "runs" / "r1" / "round_metrics.parquet").unlink(missing_ok=True)
    whole = _spoilt(tmp_path, range(1, 50))
    work = exporter(tmp_path)
    work.look()
    assert unreadable(work, "round") == 49
    last = tmp_path / "runs" / "r1" / "rounds" / "round=0049.json"
    last.write_text(whole[last])
    for _ in range(3):
        work.look()
    assert unreadable(work, "round") == 48
    assert value(scraped(work), "rounds_total", run="r1", result="aggregated") == 2


def test_a_newest_round_that_was_broken_and_is_gone_is_waited_for_and_one_between_others_is_missed(tmp_path):
    train(tmp_path, rounds=4, end=False)
    (tmp_path / "runs" / "r1" / "round_metrics.parquet").unlink(missing_ok=True)
    whole = _spoilt(tmp_path, [2, 4])
    work = exporter(tmp_path)
    work.look()
    assert unreadable(work, "round") == 2
    for file in whole:
        file.unlink()
    work.look()
    assert unreadable(work, "round") == 1
    for file, content in whole.items():
        file.write_text(content)
    work.look()
    assert unreadable(work, "round") == 0
    assert value(scraped(work), "rounds_total", run="r1", result="aggregated") == 4


def test_storage_that_fails_slowly_at_every_read_does_not_make_the_exporter_look_stuck(folder, faulty, monkeypatch):
    """Each read that fails is progress: otherwise Kubernetes would start an exporter anew for its storage's faults."""
    for number in range(20):
        shutil.copytree(folder / "jobs" / "prod", folder / "jobs" / f"r{number}")
    work, seen = over(faulty, folder), []

    def fail(self, path, **settings):
        seen.append(work._progress_s)
        raise OSError("Input/output error")

    work.look()
    for name in ("runs/r1/run.json", *(f"jobs/r{number}/etl.json" for number in range(20))):
        os.utime(folder / name)
    monkeypatch.setattr(Faulty, "open_input_stream", fail)
    work.look()
    assert len(seen) > 20
    assert len(set(seen)) == len(seen)


def test_audits_that_cannot_be_read_are_progress_too(folder, faulty, monkeypatch):
    work, seen = over(faulty, folder), []
    original = Faulty.open_input_stream

    def fail(self, path, **settings):
        if "/audit/" not in path:
            return original(self, path, **settings)
        seen.append(work._progress_s)
        raise OSError("Input/output error")

    monkeypatch.setattr(Faulty, "open_input_stream", fail)
    work.look()
    work.look()
    assert len(seen) == 12
    assert len(set(seen)) == 12
