"""What the shell completes, asked as a shell asks: the words typed so far in the environment, candidates on stdout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import neurogrid

PROGRAM = Path(sys.executable).with_name("neurogrid")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with two runs, two manifests and a teacher, and a config that names it."""
    root = tmp_path_factory.mktemp("shell")
    for name in ("runs/monday", "runs/tuesday", "manifests/0a1b", "manifests/0a2c", "teachers/city"):
        (root / "w" / name).mkdir(parents=True)
    (root / "own.yaml").write_text(f"warehouse: {root}/w\n")
    return root


def asked(line: str) -> dict[str, str]:
    """The environment in which bash asks for the last word of the line."""
    number = len(line.split(" ")) - 1
    return {"_NEUROGRID_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(number)}


def test_the_installed_program_answers_a_shell(folder: Path) -> None:
    environment = os.environ | asked("neurogrid evaluate --warehouse w ")
    done = subprocess.run([PROGRAM], env=environment, cwd=folder, capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["monday", "tuesday"], "")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("neurogrid evaluate --warehouse {w} ", ["monday", "tuesday"]),
        ("neurogrid evaluate -c {w}/../own.yaml t", ["tuesday"]),
        ("neurogrid audit --warehouse {w} m", ["monday"]),
        ("neurogrid train --warehouse {w} --resume mon", ["monday"]),
        ("neurogrid run --warehouse {w} --manifest 0a", ["0a1b", "0a2c"]),
        ("neurogrid train --warehouse {w} --teacher ", ["city"]),
        ("neurogrid train --byzantine-attack s", ["scale", "sign_flip"]),
        ("neurogrid report --warehouse ftp://host/w ", []),
        ("neurogrid config s", ["show", "schema"]),
    ],
)
def test_the_shell_is_offered_what_fits_and_never_an_error(
    line: str, offered: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None)  # the program is called what argv says
    for name, value in asked(line.format(w=folder / "w")).items():
        monkeypatch.setenv(name, value)
    done = neurogrid()
    assert (done.stdout.split(), done.stderr) == (offered, "")
