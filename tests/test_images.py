"""images/build and images/load choose the tool that is there, and say what to do where none is.

The tools themselves are stand-ins that write down how they were called: what they do is their own business.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SYSTEM = ("bash", "git", "dirname", "sed", "mktemp", "rm", "env")
Script = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Runs a script of images/ on a PATH with nothing but these tools; gives the calls that they got."""

    def run(name: str, *arguments: str, tools: dict[str, str], **variables: str) -> tuple[int, list[str], str]:
        folder, log = tmp_path / "bin", tmp_path / "calls"
        folder.mkdir()
        for tool in SYSTEM:
            found = next(p for p in map(Path, ("/usr/bin", "/bin")) if (p / tool).exists())
            (folder / tool).symlink_to(found / tool)
        for tool, body in tools.items():
            (folder / tool).write_text(f'#!/usr/bin/env bash\necho "{tool} $*" >> {log}\n{body}\n')
            (folder / tool).chmod(0o755)
        env = {"PATH": str(folder), "HOME": str(tmp_path)} | variables
        done = subprocess.run(
            [str(ROOT / "images" / name), *arguments], env=env, capture_output=True, text=True, check=False
        )
        return done.returncode, log.read_text().splitlines() if log.exists() else [], done.stderr

    return run


def built(calls: list[str]) -> list[str]:
    return [call for call in calls if " build " in call or " bud " in call]


@pytest.mark.parametrize(
    ("tools", "used"),
    [
        ({"docker": "", "podman": "", "buildah": ""}, "docker build -t n:1 "),
        ({"docker": "[ $1 != info ]", "podman": ""}, "podman build -t n:1 "),  # a client without its engine
        ({"podman": ""}, "podman build -t n:1 "),
        ({"buildah": ""}, "buildah bud --layers -t n:1 "),
    ],
)
def test_an_image_is_built_with_what_is_there(script: Script, tools: dict[str, str], used: str) -> None:
    code, calls, _ = script("build", "n:1", "--build-arg", "A=b", tools=tools)
    assert code == 0
    (call,) = built(calls)
    assert call.startswith(used)
    for part in ("-f images/spark/Dockerfile", "VERSION=1", "A=b"):
        assert part in call
    assert call.endswith(" .")


def test_a_command_of_ones_own_builds_before_any_other(script: Script, tmp_path: Path) -> None:
    code, calls, _ = script("build", "n:1", tools={"docker": "", "own": ""}, BUILD=str(tmp_path / "bin" / "own"))
    assert code == 0
    assert [call.split()[:4] for call in calls] == [["own", "n:1", ".", "-f"]]


def test_without_any_tool_the_build_says_what_is_needed(script: Script) -> None:
    code, _, said = script("build", "n:1", tools={})
    assert code == 2
    assert "docker engine, podman or buildah" in said
    assert "BUILD=" in said


@pytest.mark.parametrize(
    ("load", "tools", "used"),
    [
        ("kind", {"kind": "", "docker": ""}, "kind load docker-image --name neurogrid n:1"),
        ("kind:mine", {"kind": "", "docker": ""}, "kind load docker-image --name mine n:1"),
        ("kind", {"kind": "", "podman": ""}, "kind load image-archive --name neurogrid "),
        ("push", {"podman": ""}, "podman push n:1"),
        ("push", {"docker": "exit 1", "buildah": ""}, "buildah push n:1"),
    ],
)
def test_an_image_is_handed_to_what_load_names(script: Script, load: str, tools: dict[str, str], used: str) -> None:
    code, calls, _ = script("load", "n:1", tools=tools, LOAD=load)
    assert code == 0
    assert calls[-1].startswith(used)


def test_nothing_is_handed_over_where_nothing_has_to_be(script: Script) -> None:
    assert script("load", "n:1", tools={}, LOAD="none") == (0, [], "")


def test_any_command_may_take_the_image(script: Script, tmp_path: Path) -> None:
    code, calls, _ = script("load", "n:1", tools={"own": ""}, LOAD=str(tmp_path / "bin" / "own"))
    assert (code, calls) == (0, ["own n:1"])


@pytest.mark.parametrize(
    ("load", "tools", "words"),
    [("kind", {"docker": ""}, "kind is not here"), ("push", {"docker": "exit 1"}, "build it first: make images")],
)
def test_what_is_missing_is_told(script: Script, load: str, tools: dict[str, str], words: str) -> None:
    code, _, said = script("load", "n:1", tools=tools, LOAD=load)
    assert code == 2
    assert words in said


def test_make_hands_its_variables_to_the_scripts() -> None:
    made = subprocess.run(
        [
            "make",
            "-n",
            "images",
            "load",
            "deploy",
            "IMAGE=host:5000/a/b:2",
            "NAMESPACE=power",
            "LOAD=push",
            "BUILD=own",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"MAKEFLAGS": ""},
    ).stdout
    assert 'BUILD="own" images/build host:5000/a/b:2' in made
    assert 'LOAD="push" images/load host:5000/a/b:2' in made
    assert "-n power" in made
    assert "jobNamespaces={power}" in made
