"""images/build and images/load choose the tool that is there, and say what to do where none is.

The tools themselves are stand-ins that write down how they were called: what they do is their own business.
"""

import json
import os
import shutil
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
        return done.returncode, log.read_text().splitlines() if log.exists() else [], done.stderr + done.stdout

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
    assert calls[0].split()[:4] == ["own", "n:1", ".", "-f"]
    assert not built(calls)


SIZED = 'case "$*" in *inspect*) echo 812345678 ;; images*) echo "812 MB" ;; esac'


@pytest.mark.parametrize("tool", ["docker", "podman", "buildah"])
@pytest.mark.parametrize("own", [False, True], ids=["engine", "BUILD"])
def test_a_build_says_how_large_the_image_is(script: Script, tmp_path: Path, tool: str, own: bool) -> None:
    variables = {"BUILD": str(tmp_path / "bin" / "own")} if own else {}
    code, _, said = script("build", "n:1", tools={tool: SIZED, "own": ""}, **variables)
    assert code == 0
    assert said.splitlines()[-1] == "images: n:1 is 812 MB"


def test_a_build_that_fails_ends_as_one_and_says_no_size(script: Script) -> None:
    code, _, said = script("build", "n:1", tools={"docker": f"{SIZED}\n[ $1 != build ] || exit 3"})
    assert (code, said) == (3, "")


def test_a_build_whose_image_is_kept_elsewhere_is_none_the_worse(script: Script, tmp_path: Path) -> None:
    assert script("build", "n:1", tools={"own": ""}, BUILD=str(tmp_path / "bin" / "own"))[0] == 0


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


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("neurogrid/spark:dev", "docker.io/neurogrid/spark:dev"),
        ("spark:dev", "docker.io/library/spark:dev"),
        ("registry.example.org/a/b:2", "registry.example.org/a/b:2"),
        ("localhost:5000/b:2", "localhost:5000/b:2"),
    ],
)
@pytest.mark.parametrize("tool", ["podman", "buildah"])
def test_kind_gets_the_image_under_the_name_that_pods_look_for(
    script: Script, tool: str, image: str, name: str
) -> None:
    """podman keeps a build without a registry in its name as localhost/..., and a kubelet asks for docker.io/..."""
    code, calls, _ = script("load", image, tools={"kind": "", tool: ""}, LOAD="kind")
    assert code == 0
    saved = next(call for call in calls if " save " in call or " push " in call)
    assert saved.endswith(f".tar:{name}" if tool == "buildah" else f".tar {name}")
    assert [call for call in calls if " tag " in call] == (
        [f"podman tag {image} {name}"] if tool == "podman" and name != image else []
    )


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


LOCK = """\
numpy==2.0.0 \\
    --hash=sha256:aa
pytest==9.0.0 \\
    --hash=sha256:bb
types-pyyaml==6.0 \\
    --hash=sha256:cc
"""
VENV = """#!/usr/bin/env bash
mkdir -p "$3/bin"
printf '#!/usr/bin/env bash\\necho "$*" >> "%s"\\n' "$PWD/calls" > "$3/bin/pip"
chmod +x "$3/bin/pip"
"""


@pytest.mark.parametrize(
    ("torch", "index", "options"),
    [
        ("2.13.0+cpu", "https://index/cpu", "--extra-index-url https://index/cpu --no-deps "),
        ("2.13.0+cu130", "https://index/cu130", "--extra-index-url https://index/cu130 "),
        ("2.13.0", "", ""),
    ],
)
def test_a_cuda_torch_brings_its_libraries_and_a_cpu_one_takes_those_of_the_lock_file(
    tmp_path: Path, torch: str, index: str, options: str
) -> None:
    build, python = tmp_path / "build", tmp_path / "bin" / "python3"
    build.mkdir()
    python.parent.mkdir()
    for name in ("packages.sh", "unused.txt"):
        shutil.copy(ROOT / "images" / "spark" / name, build)
    (build / "requirements.lock").write_text(LOCK)
    python.write_text(VENV)
    python.chmod(0o755)
    command = [str(build / "packages.sh"), str(tmp_path / "venv"), torch, index]
    subprocess.run(command, check=True, env=os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}"})
    assert (build / "calls").read_text().splitlines() == [
        "install --quiet --no-deps --require-hashes -r requirements.txt",
        f"install --quiet {options}torch=={torch}",
    ]
    assert (build / "requirements.txt").read_text() == "numpy==2.0.0 \\\n    --hash=sha256:aa\n"


def test_executors_tell_spark_of_their_gpus_in_its_words(tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/usr/bin/env bash\nprintf '0\\n1\\n'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    said = subprocess.run([ROOT / "images" / "spark" / "gpus.sh"], check=True, capture_output=True, env=env).stdout
    assert json.loads(said) == {"name": "gpu", "addresses": ["0", "1"]}


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
    assert 'LOAD="push" CONTEXT="" images/load host:5000/a/b:2' in made
    assert 'NAMESPACE="power"' in made
    assert 'IMAGE="host:5000/a/b:2" k8s/deploy helm/neurogrid' in made
