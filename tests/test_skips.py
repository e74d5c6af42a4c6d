"""In CI nothing that a test needs may be missing without a word."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# All of it is skipped where no cluster is.
NEEDS_A_CLUSTER = Path(__file__).parent / "cluster" / "test_image.py"


@pytest.mark.parametrize(
    ("strict", "code", "words"), [("1", 1, "though NEUROGRID_NO_SKIPS is set"), ("", 0, "skipped")]
)
def test_a_skipped_test_fails_where_skips_are_ruled_out(strict: str, code: int, words: str) -> None:
    env = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "PYTEST_ADDOPTS")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(NEEDS_A_CLUSTER)]
    done = subprocess.run(
        command, env=env | {"NEUROGRID_NO_SKIPS": strict}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout
