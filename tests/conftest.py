"""Fixtures that more than one folder of tests needs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from neurogrid.session import spark_session


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    with spark_session("tests", "local[2,4]", {}) as session:
        yield session


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with `sgsc/` in it: real households, not part of the project. `make` sets NEUROGRID_DATA."""
    folder = Path(os.environ.get("NEUROGRID_DATA", "missing"))
    if not (folder / "sgsc").is_dir():
        pytest.skip(f"NEUROGRID_DATA names no folder with real meter data in sgsc/ (it is {folder})")
    return folder
