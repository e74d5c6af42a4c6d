"""Fixtures that more than one folder of tests needs."""

import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from xdist.scheduler import LoadFileScheduling

from neurogrid.session import spark_session

FIRST = ("Spark", "test_teach_command.py", "test_run.py", "chart", "test_real_prometheus.py", "test_real_data.py")
"""The longest groups of tests, so that no worker is left with one of them at the end."""
ON_SPARK = re.compile(r"def \w+\([^)]*\bspark\b|getfixturevalue\(.spark.\)|from test_run_manifest import")
"""How a module asks for the fixture `spark`, itself or by another's fixtures."""


@cache
def group(module: Path) -> str:
    """Modules that share what is dear are one worker's: the Spark session, renderings of the chart."""
    if module.parent.name == "chart":
        return "chart"
    return "Spark" if ON_SPARK.search(module.read_text()) else module.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.index(group(item.path)) if group(item.path) in FIRST else len(FIRST))


class Groups(LoadFileScheduling):
    """What pytest-xdist deals out to its workers, one after another."""

    def _split_scope(self, nodeid: str) -> str:
        return group(self.config.rootpath / nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups | None:
    return Groups(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """With NEUROGRID_NO_SKIPS in the environment a skipped test has failed: what tests need is said to be there."""
    report = yield
    if os.environ.get("NEUROGRID_NO_SKIPS") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though NEUROGRID_NO_SKIPS is set: {report.longrepr[2]}"
    return report


@pytest.fixture(scope="session")
def open_session() -> Iterator[Callable[[], SparkSession]]:
    """A session for all modules, opened again after a module that has closed it: one that runs a whole command."""
    with ExitStack() as sessions:
        opened: list[SparkSession] = []

        def session() -> SparkSession:
            if not opened or opened[-1].sparkContext._jsc is None:
                opened.append(sessions.enter_context(spark_session("tests", "local[2,4]", {})))
            return opened[-1]

        yield session


@pytest.fixture(scope="module")
def spark(open_session: Callable[[], SparkSession]) -> SparkSession:
    return open_session()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with `sgsc/` in it: real households, not part of the project. `make` sets NEUROGRID_DATA."""
    folder = Path(os.environ.get("NEUROGRID_DATA", "missing"))
    if not (folder / "sgsc").is_dir():
        pytest.skip(f"NEUROGRID_DATA names no folder with real meter data in sgsc/ (it is {folder})")
    return folder
