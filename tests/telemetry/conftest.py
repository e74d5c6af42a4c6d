"""The tests here, and the processes that they start, import telemetry_run by name."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    """A warehouse with one ended run with attackers, an agent that sends NaN and one that fails."""
    import telemetry_run

    folder = tmp_path_factory.mktemp("warehouse")
    telemetry_run.train(folder)
    return folder
