"""The exporter over a real S3 server, by the server's own log of what it was asked; and when the server goes away.

The server is versitygw, which serves a folder: that folder, read as one, is what the figures are compared with.
"""

import shutil
import socket
import subprocess
import time
from collections import Counter

import pytest
from telemetry_run import EXPORTER, exporter, scraped, train, value, write_records

from neurogrid.storage import Place, place
from neurogrid.telemetry.exporter import Exporter


class Server:
    """versitygw over a folder; each of its folders is a bucket."""

    def __init__(self, program, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = folder / "access.log"
        (folder / "buckets").mkdir()
        self._command = [program, "--quiet", "--access-log", str(self.log), "--port", f"127.0.0.1:{self.port}",
                         "posix", str(folder / "buckets")]  # fmt: skip
        self.process = None

    def start(self):
        keys = {"ROOT_ACCESS_KEY": "key", "ROOT_SECRET_KEY": "secret-key"}
        self.process = subprocess.Popen(self._command, env=keys, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < until, "the S3 server does not answer"
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)

    def asked(self):
        """Requests so far: (operation, key)."""
        words = [line.split() for line in self.log.read_text().splitlines()]
        return [(line[7].removeprefix("s3_"), line[8]) for line in words if len(line) > 8 and line[7][:3] == "s3_"]


@pytest.fixture
def server(tmp_path, monkeypatch):
    program = shutil.which("versitygw")
    if program is None:
        pytest.skip("versitygw, an S3 server over a folder, is not on the PATH")
    made = Server(program, tmp_path)
    made.start()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-key")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.port}")
    yield made
    made.stop()


@pytest.fixture
def bucket(server, tmp_path, warehouse):
    """A warehouse in a bucket, as a folder: one run that ended, one that goes on, and a record of each other kind."""
    folder = tmp_path / "buckets" / "meters" / "w"
    shutil.copytree(warehouse, folder)
    write_records(folder)
    train(folder, "live", rounds=3, end=False)
    return folder


def figures(work):
    """What is of the warehouse; when a file was written to a whole second, since the server says no more."""
    own = ("neurogrid_exporter", "process", "python")
    found = {key: v for key, v in scraped(work).items() if not key[0].startswith(own)}
    return {key: int(v) if key[0].endswith("last_success_timestamp_seconds") else v for key, v in found.items()}


def test_a_bucket_has_the_figures_of_the_same_folder_and_a_look_reads_only_what_is_new(server, bucket):
    remote = Exporter(place("s3://meters/w"), "0.1", EXPORTER)
    twin = exporter(bucket)
    for work in (remote, twin):
        work.look()
    assert figures(remote) == figures(twin)
    assert value(scraped(remote), "exporter_warehouse_up") == 1
    assert value(scraped(remote), "run_last_round", run="live") == 3
    before = len(server.asked())
    remote.look()
    # Runs and four other folders are listed; two runs' and a teacher's ages, an end, a next round and epoch asked for.
    assert Counter(operation for operation, _ in server.asked()[before:]) == {"ListObjectsV2": 5, "HeadObject": 6}
    train(bucket, "live", rounds=5, end=False)
    before = len(server.asked())
    remote.look()
    read = [key for operation, key in server.asked()[before:] if operation == "GetObject"]
    assert read == [f"w/runs/live/rounds/round={number:04d}.json" for number in (4, 5)]
    twin.look()
    assert figures(remote) == figures(twin)


@pytest.mark.slow
def test_storage_that_goes_away_in_the_middle_of_a_look_and_comes_back_costs_nothing(server, bucket, monkeypatch):
    work = Exporter(place("s3://meters/w"), "0.1", EXPORTER)
    work.look()
    before = figures(work)
    train(bucket, "live", rounds=5, end=False)
    original = Place.read_bytes

    def read_bytes(self):
        if self.name == "round=0005.json" and server.process.poll() is None:
            server.stop()
        return original(self)

    monkeypatch.setattr(Place, "read_bytes", read_bytes)
    work.look()
    assert value(scraped(work), "run_last_round", run="live") == 4, "what was read before it went counts"
    assert value(scraped(work), "exporter_warehouse_up") == 0
    assert value(scraped(work), "exporter_unreadable_records", kind="round") == 1
    assert set(before) <= set(figures(work))
    work.look()
    assert value(scraped(work), "run_last_round", run="live") == 4
    assert set(before) <= set(figures(work))
    monkeypatch.setattr(Place, "read_bytes", original)
    server.start()
    work.look()
    twin = exporter(bucket)
    twin.look()
    assert figures(work) == figures(twin)
    values = scraped(work)
    assert value(values, "exporter_warehouse_up") == 1
    for kind in ("round", "warehouse"):
        assert value(values, "exporter_unreadable_records", kind=kind) == 0
