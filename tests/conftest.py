"""Fixtures that more than one folder of tests needs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from neurogrid.session import spark_session

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    with spark_session("tests", "local[2,4]", {}) as session:
        yield session


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with `sgsc/` in it: real households, not part of the project."""
    folder = Path(os.environ.get("NEUROGRID_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "sgsc").is_dir():
        pytest.skip(f"real meter data is not at {folder} (set NEUROGRID_DATA)")
    return folder
