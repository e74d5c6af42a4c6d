"""A command in this process, which is much sooner done than one of its own."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from command import main_code


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def neurogrid(*arguments: object) -> Done:
    """What `neurogrid ARGUMENTS` says and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    with patch.object(sys, "argv", ["neurogrid", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        code = main_code()
    return Done(code, out.getvalue(), err.getvalue())
