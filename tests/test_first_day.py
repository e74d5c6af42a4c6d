"""What a stranger's machine runs before the chart does: set-up, the operator's chart, `make deploy`.

Tools that are not here are stand-ins that write down how they were called; helm and its repository are real.
"""

import functools
import hashlib
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [
    "images/build",
    "images/load",
    "images/name",
    "k8s/deploy",
    "monitoring/install",
    "setup/classes",
    "setup/java",
    "setup/torch",
]
Ran = tuple[int, list[str], str]
Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a script with stand-ins first on the PATH; gives its exit code, their calls, and what was said."""

    def run(script: str, *arguments: str, tools: dict[str, str], **variables: str) -> Ran:
        folder, log = tmp_path / "bin", tmp_path / "calls"
        folder.mkdir(exist_ok=True)
        log.unlink(missing_ok=True)
        for tool, body in tools.items():
            (folder / tool).write_text(f'#!/usr/bin/env bash\necho "{tool} $*" >> {log}\n{body}\n')
            (folder / tool).chmod(0o755)
        env = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(tmp_path)} | variables
        done = subprocess.run([ROOT / script, *arguments], env=env, capture_output=True, text=True, check=False)
        return done.returncode, log.read_text().splitlines() if log.exists() else [], done.stdout + done.stderr

    return run


# ---- torch and Java


@pytest.mark.parametrize(
    ("answers", "driver", "index", "expected"),
    [
        (True, False, "", ["--index-url https://download.pytorch.org/whl/cpu "]),
        (False, False, "", [""]),
        (True, True, "", [""]),
        (True, False, "https://torch.example", ["--index-url https://torch.example "]),
    ],
    ids=["its CPU index", "no answer", "NVIDIA driver", "named"],
)
def test_torch_comes_without_cuda_where_no_driver_is(
    run: Run, tmp_path: Path, answers: bool, driver: bool, index: str, expected: list[str]
) -> None:
    python = f"[ $1 != -c ] || {'exit 0' if answers else 'exit 1'}"
    tools = {"python": python, "uname": "echo Linux", "nvidia-smi": "" if driver else "exit 1"}
    where = {"TORCH_INDEX": index} if index else {}
    code, calls, _ = run("setup/torch", str(tmp_path / "bin" / "python"), "torch==1", tools=tools, **where)
    assert code == 0
    installs = [call for call in calls if " install " in call]
    options = "python -m pip install --quiet --disable-pip-version-check "
    assert installs == [f"{options}{index_option}torch==1" for index_option in expected]


def test_a_cpu_index_that_has_no_torch_is_no_end(run: Run, tmp_path: Path) -> None:
    tools = {"python": 'case "$*" in *--index-url*) exit 1 ;; esac', "uname": "echo Linux", "nvidia-smi": "exit 1"}
    code, calls, said = run("setup/torch", str(tmp_path / "bin" / "python"), "torch==1", tools=tools)
    assert code == 0
    assert calls[-1] == "python -m pip install --quiet --disable-pip-version-check torch==1"
    assert "trying pip's usual index" in said


@pytest.mark.parametrize(
    ("java", "code", "words"),
    [
        ('echo "openjdk version \\"17.0.15\\" 2025" >&2', 0, ""),
        ('echo "openjdk version \\"1.8.0_402\\"" >&2', 2, "Java 1 "),
        ("echo 'Unable to locate a Java Runtime.' >&2; exit 1", 2, "no Java that answers"),
    ],
    ids=["17", "8", "the stub of a Mac"],
)
def test_a_java_that_spark_cannot_use_is_told(run: Run, java: str, code: int, words: str) -> None:
    done, _, said = run("setup/java", tools={"java": java})
    assert done == code
    assert words in said


# ---- the operator's chart


def shelf(folder: Path, version: str) -> None:
    """A chart repository as helm reads one, with a chart called spark-operator."""
    chart = folder / "spark-operator"
    chart.mkdir(parents=True)
    (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: spark-operator\nversion: {version}\n")
    archive = folder / f"spark-operator-{version}.tgz"
    subprocess.run(["tar", "-czf", str(archive), "-C", str(folder), "spark-operator"], check=True)
    entry = {"apiVersion": "v2", "name": "spark-operator", "version": version, "urls": [archive.name]}
    entry["digest"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    index = {"apiVersion": "v1", "entries": {"spark-operator": [entry]}}
    (folder / "index.yaml").write_text(yaml.safe_dump(index))


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """The folder of a chart repository on this machine, empty so far, and its URL."""
    folder = tmp_path / "repository"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_operators_chart_comes_without_helm_repo_add_and_a_failed_download_is_tried_again(
    tmp_path: Path, repository: tuple[Path, str]
) -> None:
    if shutil.which("helm") is None:
        pytest.skip("helm is not on the PATH")
    folder, url = repository
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "k8s", clone / "k8s")
    shutil.copy(ROOT / "Makefile", clone)
    (clone / "helm" / "neurogrid").mkdir(parents=True)
    chart = clone / "helm" / "neurogrid" / "Chart.yaml"
    chart.write_text(re.sub("repository: .*", f"repository: {url}", (ROOT / "helm/neurogrid/Chart.yaml").read_text()))
    (version,) = (own["version"] for own in yaml.safe_load(chart.read_text())["dependencies"])
    target = f"helm/neurogrid/charts/spark-operator-{version}.tgz"
    helm_home = {f"HELM_{name}_HOME": str(tmp_path / name) for name in ("CACHE", "CONFIG", "DATA")}
    env = {name: value for name, value in os.environ.items() if name != "NEUROGRID_CHARTS"} | helm_home
    env |= {"MAKEFLAGS": ""}
    made = [subprocess.run(["make", target], cwd=clone, env=env, capture_output=True, text=True, check=False)]
    assert made[0].returncode != 0, "there is nothing to download yet"
    assert not (clone / target).exists()
    shelf(folder, version)
    made.append(subprocess.run(["make", target], cwd=clone, env=env, capture_output=True, text=True, check=False))
    assert made[1].returncode == 0, made[1].stderr
    assert (clone / target).read_bytes() == (folder / f"spark-operator-{version}.tgz").read_bytes()


# ---- make deploy

DEPLOY = {"NAMESPACE": "power", "RELEASE": "city", "MONITORING": "monitoring/values.yaml"}
HELM = 'cat > "$HOME/chosen"'


def deployed(run: Run, tmp_path: Path, values: str, **variables: str) -> tuple[str, dict[str, object]]:
    """The call that helm got, and the values on its stdin."""
    (tmp_path / "values.yaml").write_text(values)
    where = DEPLOY | {"VALUES": str(tmp_path / "values.yaml")} | variables
    code, calls, said = run(
        "k8s/deploy", "chart", "--set", "a=b", tools={"kubectl": "cat > /dev/null", "helm": HELM}, **where
    )
    assert code == 0, said
    (call,) = [call for call in calls if call.startswith("helm ")]
    return call, yaml.safe_load((tmp_path / "chosen").read_text())


def test_a_deploy_runs_the_image_that_is_built_from_the_code_where_nobody_names_one(run: Run, tmp_path: Path) -> None:
    call, chosen = deployed(run, tmp_path, "image: {pullPolicy: IfNotPresent}\n")
    named = subprocess.run([ROOT / "images" / "name"], capture_output=True, text=True, check=True).stdout.strip()
    repository, tag = named.rsplit(":", 1)
    assert chosen["image"] == {"repository": repository, "tag": tag}
    assert chosen["spark-operator"] == {"spark": {"jobNamespaces": ["power"]}}
    # later files win: what is chosen for them comes before what they say
    assert call.index("-f -") < call.index("-f monitoring/values.yaml") < call.index(str(tmp_path / "values.yaml"))
    assert call.startswith("helm upgrade --install city chart -n power ")
    assert call.endswith("--set a=b")


@pytest.mark.parametrize(
    "values",
    [
        "image:\n  repository: r/s\n",
        "image: {tag: '7'}\n",
        "image:\n  digest: sha256:ab\n",
        '"image":\n  "tag": "7"\n',
        "data: {kind: none}\n'image' : {'tag': '7'}\n",
    ],
)
def test_an_image_that_the_values_name_is_the_one_that_runs(run: Run, tmp_path: Path, values: str) -> None:
    call, chosen = deployed(run, tmp_path, values)
    assert "image" not in chosen
    assert "image." not in call


@pytest.mark.parametrize(
    ("image", "repository", "tag", "digest"),
    [
        ("a/b:1", "a/b", "1", ""),
        ("a/b:20261101", "a/b", "20261101", ""),
        ("a/b", "a/b", "latest", ""),
        ("localhost:5000/a/b", "localhost:5000/a/b", "latest", ""),
        ("a/b@sha256:00ff", "a/b", "", "sha256:00ff"),
        ("h:5000/a/b:2@sha256:00ff", "h:5000/a/b", "2", "sha256:00ff"),
    ],
)
def test_an_image_that_is_named_is_taken_apart_as_engines_do(
    run: Run, tmp_path: Path, image: str, repository: str, tag: str, digest: str
) -> None:
    call, _ = deployed(run, tmp_path, "data: {kind: none}\n", IMAGE=image)
    options = (
        f"--set-string image.repository={repository} --set-string image.tag={tag} --set-string image.digest={digest}"
    )
    assert options in call


def test_a_context_that_is_named_is_used_by_all_tools(run: Run, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("")
    where = DEPLOY | {"VALUES": str(tmp_path / "values.yaml"), "CONTEXT": "there"}
    _, calls, _ = run("k8s/deploy", "chart", tools={"kubectl": "cat > /dev/null", "helm": HELM}, **where)
    assert calls[0].startswith("kubectl --context there get --raw /version")
    assert calls[1] == "kubectl --context there apply -f -"
    assert calls[2].startswith("helm --kube-context there upgrade --install city chart ")


@pytest.mark.parametrize(
    ("values", "kubectl", "code", "words"),
    [
        ("nowhere.yaml", "exit 0", 2, "VALUES names nowhere.yaml, which is not a file"),
        ("k8s/values/laptop.yaml,docs", "exit 0", 2, "VALUES names docs, which is not a file"),
        (
            "k8s/values/laptop.yaml",
            'echo "connection refused" >&2; exit 1',
            1,
            "the cluster does not answer: connection",
        ),
    ],
)
def test_what_a_deploy_cannot_work_with_is_said_before_anything_is_made(
    run: Run, values: str, kubectl: str, code: int, words: str
) -> None:
    got, calls, said = run("k8s/deploy", "chart", tools={"kubectl": kubectl, "helm": HELM}, **DEPLOY, VALUES=values)
    assert got == code
    assert words in said
    assert not [call for call in calls if "apply" in call or call.startswith("helm ")]


def test_code_that_was_changed_makes_another_image(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for part in ("neurogrid", "jobs", "images"):
        shutil.copytree(ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / file, clone)

    def name() -> str:
        return subprocess.run([clone / "images" / "name"], capture_output=True, text=True, check=True).stdout

    before = name()
    assert name() == before
    (clone / "neurogrid" / "storage.py").write_text("changed")
    assert name() != before


@pytest.mark.parametrize(
    ("context", "code", "words"),
    [("kind-mine", 0, "goes to kind cluster mine"), ("production", 2, "context production, which is none of kind's")],
)
def test_an_image_goes_to_the_cluster_of_the_current_context_or_nowhere(
    run: Run, context: str, code: int, words: str
) -> None:
    tools = {"kubectl": f"echo {context}", "kind": "", "docker": ""}
    done, calls, said = run("images/load", "n:1", tools=tools)
    assert done == code
    assert words in said
    assert ("kind load docker-image --name mine n:1" in calls) == (code == 0)


def test_a_kind_cluster_that_is_there_becomes_the_current_context(tmp_path: Path) -> None:
    folder, log = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    (folder / "kind").write_text(
        f'#!/usr/bin/env bash\necho "$*" >> {log}\n[ "$*" != "get clusters" ] || echo neurogrid\n'
    )
    (folder / "kind").chmod(0o755)
    env = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "MAKEFLAGS": ""}
    subprocess.run(["make", "cluster-up"], cwd=ROOT, env=env, check=True, capture_output=True)
    assert log.read_text().splitlines() == ["get clusters", "export kubeconfig --name neurogrid"]


# ---- scripts

BASH_4 = {
    r"declare -A|local -A": "associative arrays",
    r"mapfile|readarray": "mapfile",
    r"\$\{[a-zA-Z_]+(,,|\^\^)\}": "case conversion",
    r"printf [^|;]*%\(": "printf's times",
    r"mktemp [^|;)]*--suffix": "GNU mktemp",
    r"sed -i ": "GNU sed",
    r"readlink -f": "GNU readlink",
    r"\bnproc\b": "nproc",
    r"\|&|&>>": "newer redirections",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_that_people_run_needs_nothing_that_a_mac_lacks(script: str) -> None:
    text = (ROOT / script).read_text()
    found = [name for pattern, name in BASH_4.items() if re.search(pattern, text)]
    assert found == []
    # under `set -u` bash 3.2 takes an empty array for a variable that is not set
    for array in re.findall(r"\$\{(\w+)\[@\]\}", text):
        assert re.search(rf"^{array}=\([^)]+", text, re.MULTILINE), f"{array} may be empty"


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing_to_say_of_a_script(script: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not on the PATH")
    done = subprocess.run(["shellcheck", ROOT / script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# ---- the light install

BLOCK = """
import sys
ABSENT = {"torch", "pyspark", "pyarrow", "pandas", "matplotlib", "psutil", "prometheus_client"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
sys.argv = ["neurogrid", *sys.argv[1:]]
from neurogrid.cli import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--help",), 0, "k8s"),
        (("k8s", "--help"), 0, "submit"),
        (("config", "schema"), 0, "rounds"),
        (("k8s", "status"), 2, "no cluster to talk to"),
        (("audit", "r1"), 2, "pip install 'neurogrid[all]'"),
    ],
)
def test_the_light_install_speaks_to_clusters_and_says_what_else_takes_more(
    tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    env = os.environ | {"KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", BLOCK, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
