"""Writes that leave the whole file or nothing, and places from URIs."""

import multiprocessing
import os
import pickle
import threading
import time
from pathlib import Path

import pytest

from neurogrid.errors import InputError
from neurogrid.storage import WritesBehind, place, refuse_unwritable


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_what_was_written_is_read_again(tmp_path):
    target = place(str(tmp_path)) / "a" / "b" / "c.txt"
    assert not target.exists()
    target.write("Grüße")
    assert target.read_text() == "Grüße"
    target.write(b"\x00\xff")
    assert target.read_bytes() == b"\x00\xff"
    assert names(tmp_path / "a" / "b") == ["c.txt"]
    assert [child.name for child in (place(str(tmp_path)) / "a").children()] == ["b"]
    assert (place(str(tmp_path)) / "nowhere").children() == []


def test_what_is_no_file_is_not_there_to_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "nowhere"):
        with pytest.raises(FileNotFoundError, match=name):
            (place(str(tmp_path)) / name).read_bytes()
    assert not (place(str(tmp_path)) / "pipe").exists()


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, fails):
    target = place(str(tmp_path)) / "c.txt"
    target.write("old")

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*{"fsync": (os, "fsync", full), "replace": (Path, "replace", full)}[fails])
        with pytest.raises(OSError, match="No space left"):
            target.write("new")
    assert names(tmp_path) == ["c.txt"]
    assert target.read_text() == "old"


def test_a_write_is_flushed_before_it_is_renamed_and_so_is_each_new_folder(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(descriptor):
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        steps.append(path.removeprefix(str(tmp_path)).lstrip("/"))
        fsync(descriptor)

    def record_replace(self, target):
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    (place(str(tmp_path)) / "a" / "b" / "c.txt").write("x")
    assert steps[:2] == ["", "a"]
    assert steps[2].startswith("a/b/.c.txt.")
    assert steps[3:] == ["rename", "a/b"]


def write_for_ever(path):
    for number in range(10**9):
        place(path).write(bytes([number % 256]) * 200_000)


def test_a_reader_sees_a_whole_file_though_its_writer_is_killed(tmp_path):
    target = tmp_path / "c.bin"
    target.write_bytes(b"")
    processes = multiprocessing.get_context("spawn")
    writer = processes.Process(target=write_for_ever, args=(str(target),))
    writer.start()
    seen, until = set(), time.monotonic() + 60
    while len(seen) < 20 and time.monotonic() < until:
        content = target.read_bytes()
        assert len(content) in (0, 200_000)
        assert len(set(content)) <= 1
        seen.add(content[:1])
    writer.kill()
    writer.join()
    writer.close()
    content = target.read_bytes()
    assert len(content) == 200_000
    assert len(set(content)) == 1


def test_threads_that_write_one_file_leave_it_whole(tmp_path):
    target = place(str(tmp_path / "c.bin"))
    threads = [threading.Thread(target=lambda n=n: target.write(bytes([n]) * 500_000)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(target.read_bytes())) == 1
    assert names(tmp_path) == ["c.bin"]


def test_a_place_travels_to_another_process(tmp_path):
    target = pickle.loads(pickle.dumps(place(str(tmp_path)) / "x"))
    target.write("1")
    assert (tmp_path / "x").read_text() == "1"


@pytest.mark.parametrize("uri", ["{}/a", "file://{}/a", "file://{}/a/"])
def test_a_path_and_a_file_uri_are_the_same_place(tmp_path, uri):
    found = place(uri.format(tmp_path))
    assert (found.path, found.is_local, found.name) == (f"{tmp_path}/a", True, "a")


def test_a_relative_path_and_a_home_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert place("runs").path == f"{tmp_path}/runs"
    assert place("~/runs").path == "/home/someone/runs"


def test_processes_with_the_same_number_on_one_volume_write_beside_each_other(tmp_path, monkeypatch):
    """As in two pods: each has a process 7 whose main thread is 1."""
    beside = []
    replace = Path.replace
    monkeypatch.setattr("os.getpid", lambda: 7)
    monkeypatch.setattr("threading.get_ident", lambda: 1)
    monkeypatch.setattr(Path, "replace", lambda self, target: beside.append(self.name) or replace(self, target))
    for _ in range(2):
        (place(str(tmp_path)) / "file").write("x")
    assert len(set(beside)) == 2


def test_many_starts_at_once_find_that_a_warehouse_can_be_written(tmp_path):
    warehouse, refused = place(str(tmp_path)), []

    def start():
        for _ in range(30):
            try:
                refuse_unwritable(warehouse)
            except InputError as error:
                refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == []
    assert list(tmp_path.iterdir()) == []


# HDFS is told before pyarrow looks for its libraries, and says at length that they are not there.
@pytest.mark.parametrize("uri", ["ftp://x/y", "mock:///y", "hdfs://a/b"])
def test_a_store_that_is_unknown_or_shows_half_written_files_is_refused(uri):
    said = rf'cannot use "{uri}" as a place\n +found: a \w+:// store\n +give a path, an s3:// or a gs:// URI'
    with pytest.raises(InputError, match=said):
        place(uri)


def test_files_that_are_written_behind_the_work_are_all_there_at_its_end(tmp_path):
    folder = place(str(tmp_path))
    with WritesBehind() as behind:
        for n in range(5):
            behind.write(folder / f"{n}", bytes([n]))
    assert [(tmp_path / name).read_bytes() for name in names(tmp_path)] == [bytes([n]) for n in range(5)]


def test_a_file_that_cannot_be_written_behind_the_work_ends_it(tmp_path):
    (tmp_path / "file").touch()
    folder = place(str(tmp_path))

    def work(files):
        with WritesBehind() as behind:
            for name in files:
                behind.write(folder / name, b"1")

    for files in (["file/below"], ["file/below", "next"]):
        with pytest.raises(OSError, match="file"):
            work(files)
    assert names(tmp_path) == ["file"]
