"""Programs that tests start and the project does not bring."""

import os
import shutil

import pytest


def needed(name: str, found_in: str) -> str:
    """Where a program is; without it the test is skipped, and in CI it fails: there nothing may go untested unsaid."""
    path = shutil.which(name)
    if path is None:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing(f"{name} is not on the PATH: {found_in}")
    return str(path)


PROMETHEUS = "apt-get install prometheus"
