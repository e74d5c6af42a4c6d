"""An ETL that another one or a kill cuts off: the warehouse is whole at any moment."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from neurogrid.config import load
from neurogrid.data.synthetic import SyntheticSettings, make_heapo
from neurogrid.data.tables import current_tables
from neurogrid.errors import UsageError
from neurogrid.lock import FolderLock
from neurogrid.pipeline.etl import etl
from neurogrid.pipeline.etl_plan import plan_etl
from neurogrid.storage import place


def test_a_second_etl_is_refused_while_the_first_writes(spark: SparkSession, tmp_path: Path) -> None:
    make_heapo(tmp_path / "data", SyntheticSettings(households=3, stations=1, days=10, seed=1))
    warehouse = tmp_path / "w"
    config = load("", [f"source.path={tmp_path / 'data'}", f"warehouse={warehouse}"], where="test")
    plan = plan_etl(config)
    with (
        FolderLock(place(str(warehouse)) / "meters", "the first"),
        pytest.raises(
            UsageError, match=r"the ETL into .* is live: another process is writing to it\n  found: process \d+"
        ),
    ):
        etl(plan, lambda: spark)
    assert not (warehouse / "households.parquet").exists()
    first = etl(plan, lambda: spark)
    assert etl(plan, lambda: spark).households == first.households > 0


def tables(root: Path) -> dict[str, bytes]:
    """The current tables, all of them whole, and their list."""
    paths = [table.path for table in current_tables(place(str(root))).values()]
    for path in paths:
        assert hashlib.sha256((root / path).read_bytes()).hexdigest().startswith(Path(path).stem)
    return {path: (root / path).read_bytes() for path in [*paths, "households.parquet"]}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "it ended before it was to be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_etl_that_is_killed_at_any_moment_leaves_the_tables_of_before_or_all_of_the_new_ones(tmp_path: Path) -> None:
    make_heapo(tmp_path / "data", SyntheticSettings(households=24, stations=2, days=60, seed=1))

    def start(name: str, *options: str) -> subprocess.Popen[bytes]:
        where = ("--data-dir", str(tmp_path / "data"), "--warehouse", str(tmp_path / name))
        command = [sys.executable, "-m", "neurogrid", "etl", *where, *options]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)

    def kill(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def held() -> bool:
        lock = tmp_path / "killed" / "meters" / "run.lock"
        try:
            return bool(json.loads(lock.read_text()))
        except (OSError, ValueError):
            return False

    process = start("killed")
    wait_for(lambda: any((tmp_path / "killed" / "meters").rglob("*.parquet")), process)
    kill(process)
    assert not (tmp_path / "killed" / "households.parquet").exists()
    for name in ("killed", "in-peace"):
        assert start(name).wait() == 0
    before = tables(tmp_path / "in-peace")
    assert tables(tmp_path / "killed") == before
    # With other settings all tables are made anew, beside those that are there.
    other = ("--set", "etl.surge_percentile=90")
    assert start("in-peace", *other).wait() == 0
    after = tables(tmp_path / "in-peace")
    assert after.keys() != before.keys()
    seen = []
    for later_s in (1.0, 4.5, 6.0):
        process = start("killed", *other)
        wait_for(held, process)
        time.sleep(later_s)
        kill(process)
        found = tables(tmp_path / "killed")
        assert found in (before, after)
        seen.append(found == after)
    assert seen == sorted(seen), "tables went back to those of before"
    assert start("killed", *other).wait() == 0
    assert tables(tmp_path / "killed") == after
