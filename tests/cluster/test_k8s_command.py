"""`neurogrid k8s` on a real cluster: jobs are run, watched, stopped and scaled; pods that cannot run say why.

Needs kubectl and helm on the PATH, KUBECONFIG, and the image neurogrid/spark:dev (or NEUROGRID_IMAGE) on the nodes.
Everything happens in a namespace of its own that enforces the `restricted` Pod Security standard, and goes with it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

CHART = Path(__file__).resolve().parents[2] / "helm" / "neurogrid"
REPOSITORY, TAG = os.environ.get("NEUROGRID_IMAGE", "neurogrid/spark:dev").rsplit(":", 1)
IMAGE = {"repository": REPOSITORY, "tag": TAG, "pullPolicy": "IfNotPresent"}
ROUND = re.compile(r"^  round (\d+)  held-out loss \d\.\d+  ", re.MULTILINE)
SMALL: dict[str, Any] = {
    "image": IMAGE,
    "data": {"kind": "synthetic", "synthetic": {"households": 16, "days": 40}},
    "config": {
        "sampling": {"agents": 9, "districts": 3, "clusters": 2, "min_observed_slots": 200},
        "model": {"hidden": 8, "surge_hidden": 8, "history_slots": 16, "horizon_slots": 4},
        "local": {"steps": 4, "batch_size": 16},
        "rounds": {"count": 4, "agents_per_round": 9, "panel_agents": 3},
        "aggregation": {"byzantine_share": 0.25},
    },
    "jobDefaults": {
        "restart": {"retries": 2, "intervalSeconds": 2},
        "driver": {"coreRequest": "100m", "memory": "600m", "memoryOverhead": "900m"},
        "executor": {
            "instances": 1,
            "cores": 1,
            "coreRequest": "100m",
            "memory": "600m",
            "memoryOverhead": "900m",
        },
    },
    # Off, so that every run is one that a test submits; etl comes first by hand.
    "jobs": {name: {"enabled": False} for name in ("etl", "sample", "teacher", "train", "evaluate")}
    | {
        "greedy": {"step": "etl", "driver": {"coreRequest": "640"}},
        "homeless": {"step": "etl", "driver": {"nodeSelector": {"pool": "nowhere"}}},
        "cramped": {"step": "etl", "restart": {"retries": 0}, "driver": {"memory": "500m", "memoryOverhead": "10m"}},
    },
    "exporter": {"enabled": False},
    "spark-operator": {"controller": {"resources": {"requests": {"cpu": "50m", "memory": "300Mi"}}}},
}


@dataclass(frozen=True)
class Installed:
    """A release in a namespace."""

    namespace: str
    name: str

    def k8s(self, *arguments: str, code: int | None = 0, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        flags = ("-n", self.namespace, "--release", self.name)
        command = [sys.executable, "-m", "neurogrid", "k8s", *arguments, *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        assert code is None or done.returncode == code, f"{done.returncode}: {done.stderr[-3000:]}"
        return done

    def json(self, *arguments: str, **options: Any) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.k8s(*arguments, "--json", **options).stdout)
        return answer

    def runs(self) -> dict[str, dict[str, Any]]:
        """The newest run of each job."""
        return {row["job"]: row for row in self.json("status")["runs"]}


def kubectl(*arguments: str) -> str:
    return subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=True).stdout


def install(chart: Path, namespace: str, name: str, values: dict[str, Any]) -> None:
    command = [
        "helm",
        "upgrade",
        "--install",
        name,
        str(chart),
        "-n",
        namespace,
        "--wait",
        "--timeout",
        "3m",
        "-f",
        "-",
    ]
    done = subprocess.run(command, input=yaml.safe_dump(values), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not os.environ.get("KUBECONFIG") or not shutil.which("helm") or not shutil.which("kubectl"):
        pytest.skip("needs KUBECONFIG, helm and kubectl")
    places = [Path(os.environ.get("NEUROGRID_CHARTS", "missing")), CHART / "charts"]
    archives = [archive for place in places for archive in place.glob("spark-operator-*.tgz")]
    if not archives:
        pytest.skip("the operator's chart is not there: helm dependency build, or name its folder in NEUROGRID_CHARTS")
    copy = tmp_path_factory.mktemp("chart") / "neurogrid"
    shutil.copytree(CHART, copy, ignore=shutil.ignore_patterns("charts"))
    (copy / "charts").mkdir()
    shutil.copy(archives[0], copy / "charts")
    return copy


@pytest.fixture(scope="module")
def namespace(chart: Path) -> Iterator[str]:
    name = f"k8s-command-{os.getpid()}"
    kubectl("create", "namespace", name)
    try:
        kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield name
    finally:
        for release in json.loads(subprocess.check_output(["helm", "list", "-n", name, "-o", "json"])):
            subprocess.run(["helm", "uninstall", release["name"], "-n", name, "--wait"], check=False)
        kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def installed(chart: Path, namespace: str) -> Installed:
    values = SMALL | {"spark-operator": SMALL["spark-operator"] | {"spark": {"jobNamespaces": [namespace]}}}
    name = f"own{os.getpid()}"  # the operator's cluster roles carry it: it must be the only one of the whole cluster
    install(chart, namespace, name, values)
    return Installed(namespace, name)


@pytest.fixture(scope="module")
def sampled(installed: Installed) -> Installed:
    """With clean tables and a manifest in its warehouse."""
    installed.k8s("submit", "etl", "--follow")
    installed.k8s("submit", "sample", "--follow")
    return installed


@pytest.fixture(scope="module")
def trained(sampled: Installed) -> tuple[Installed, dict[str, Any], str]:
    """A training that was followed from its submission: what it reported, and what was shown."""
    done = sampled.k8s("submit", "train", "--follow", "--json")
    return sampled, json.loads(done.stdout), done.stderr


def test_a_followed_training_shows_each_round_as_on_a_laptop(trained: tuple[Installed, dict[str, Any], str]) -> None:
    _, said, shown = trained
    assert ROUND.findall(shown) == ["1", "2", "3", "4"]
    assert said["state"] == "COMPLETED"
    assert said["result"]["rounds"] == 4
    assert re.fullmatch("[0-9a-f]{64}", said["result"]["w_final_sha256"])
    assert said["result"]["w_final_sha256"] in shown


def test_status_tells_how_each_run_ended(trained: tuple[Installed, dict[str, Any], str]) -> None:
    installed, said, _ = trained
    runs = installed.runs()
    assert {job: runs[job]["state"] for job in ("etl", "sample", "train")} == dict.fromkeys(
        ("etl", "sample", "train"), "COMPLETED"
    )
    assert runs["train"]["run"] == said["run"]
    assert runs["train"]["troubles"] == []


def test_logs_are_for_people_unless_they_are_asked_for_raw(trained: tuple[Installed, dict[str, Any], str]) -> None:
    installed, said, _ = trained
    plain = installed.k8s("logs", "train").stdout
    assert "round 4  held-out loss" in plain
    raw = installed.k8s("logs", said["run"], "--raw").stdout
    rounds = [json.loads(line) for line in raw.splitlines() if line.startswith('{"neurogrid": "round"')]
    assert [own["round_id"] for own in rounds] == [1, 2, 3, 4]
    assert rounds[-1]["w_global_sha256"] == said["result"]["w_final_sha256"]


def test_waiting_for_what_completed_ends_at_once_with_its_result(
    trained: tuple[Installed, dict[str, Any], str],
) -> None:
    installed, said, _ = trained
    assert installed.json("wait", "train")["result"] == said["result"]


def test_a_job_that_completed_with_this_config_is_not_done_twice(
    trained: tuple[Installed, dict[str, Any], str],
) -> None:
    installed, said, _ = trained
    done = installed.k8s("submit", "train", "--follow", "--json")
    assert "nothing to do" in done.stderr
    assert ROUND.findall(done.stderr) == []
    assert json.loads(done.stdout)["result"]["run_id"] == said["result"]["run_id"]


def test_another_config_and_more_executors_make_a_run_of_their_own(
    trained: tuple[Installed, dict[str, Any], str],
) -> None:
    installed, said, _ = trained
    again = installed.k8s(*("submit", "train", "--set", "rounds.count=2", "--executors", "2", "--follow", "--json"))
    answer = json.loads(again.stdout)
    assert ROUND.findall(again.stderr) == ["1", "2"]
    assert answer["result"]["run_id"] != said["result"]["run_id"]
    spec = json.loads(kubectl("get", "sparkapplication", answer["run"], "-n", installed.namespace, "-o", "json"))[
        "spec"
    ]
    assert spec["executor"]["instances"] == 2
    # its config goes with it
    installed.k8s("cancel", answer["run"], "--delete")
    deadline = time.monotonic() + 60
    while answer["run"] in kubectl("get", "configmap", "-n", installed.namespace, "-o", "name"):
        assert time.monotonic() < deadline
        time.sleep(1)


def test_a_stopped_training_goes_on_after_its_last_durable_round_even_with_other_executors(
    trained: tuple[Installed, dict[str, Any], str],
) -> None:
    installed, _, _ = trained
    sets = ("--set", "rounds.count=40", "--set", "local.steps=30")
    name = installed.json("submit", "train", *sets)["run"]
    wait_for_round(installed, name, 3)
    refused = installed.k8s("submit", "train", code=2).stderr
    assert "train is on already" in refused
    assert name in refused
    kept = installed.k8s("scale", "train", "2").stderr
    assert f"{name} keeps its 1" in kept
    installed.k8s("cancel", "train")
    assert installed.runs()["train"]["state"] == "SUSPENDED"
    assert "Running" not in kubectl(
        "get", "pods", "-n", installed.namespace, "-l", f"sparkoperator.k8s.io/app-name={name}"
    )
    stopped = installed.k8s("wait", name, code=1).stderr
    assert "was stopped" in stopped
    done = installed.k8s("submit", "train", *sets, "--follow", "--json", timeout=900)
    rounds = [int(number) for number in ROUND.findall(done.stderr)]
    assert rounds[0] > 3
    assert rounds[-1] == 40
    assert f"goes on after round {rounds[0] - 1}" in done.stderr
    spec = json.loads(
        kubectl("get", "sparkapplication", json.loads(done.stdout)["run"], "-n", installed.namespace, "-o", "json")
    )["spec"]
    assert spec["executor"]["instances"] == 2


def test_a_training_is_moved_to_more_executors_while_it_is_on(trained: tuple[Installed, dict[str, Any], str]) -> None:
    installed, _, _ = trained
    sets = ("--set", "rounds.count=40", "--set", "local.steps=31", "--executors", "1")
    name = installed.json("submit", "train", *sets)["run"]
    wait_for_round(installed, name, 2)
    moved = installed.json("scale", "train", "2", "--now")["run"]
    assert moved != name
    followed = installed.k8s("logs", "-f", moved, timeout=900).stderr
    rounds = [int(number) for number in ROUND.findall(followed)]
    assert rounds[0] > 2
    assert rounds[-1] == 40
    shown = installed.k8s("logs", moved, "--raw").stdout
    last = [json.loads(line) for line in shown.splitlines() if line.startswith('{"neurogrid": "round"')][-1]
    assert last["executors"] == 2


def wait_for_round(installed: Installed, name: str, number: int, within_s: float = 200) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        rows = {row["run"]: row for row in installed.json("status")["runs"]}
        found = re.match(r"round (\d+)/", rows[name]["how_far"])
        if found and int(found[1]) >= number:
            return
        assert rows[name]["state"] not in ("FAILED", "COMPLETED"), rows[name]
        time.sleep(1)
    raise AssertionError(f"{name} did not come to round {number}: {installed.json('status')}")


@pytest.mark.parametrize(
    ("job", "what", "fix"),
    [
        ("greedy", "no node has cpu enough", "jobs.greedy.driver.coreRequest"),
        ("homeless", "no node has the labels", "jobs.homeless.driver.nodeSelector (pool=nowhere)"),
    ],
)
def test_a_pod_that_no_node_takes_is_told_with_what_it_asks_for(
    installed: Installed, job: str, what: str, fix: str
) -> None:
    said = installed.k8s("submit", job, "--follow", "--timeout", "25", code=124).stderr
    assert f"the driver waits for a node: {what}" in said
    assert fix in said
    assert "has not ended yet" in said
    assert what in installed.k8s("status").stderr
    installed.k8s("cancel", job)
    assert installed.runs()[job]["state"] == "SUSPENDED"


def test_a_driver_out_of_memory_is_told_as_that(installed: Installed) -> None:
    said = installed.k8s("submit", "cramped", "--follow", code=1).stderr
    assert "more memory than it may" in said
    assert "OOMKilled" in said
    assert "jobs.cramped.driver.memoryOverhead" in said


def test_an_image_that_is_missing_is_named_with_what_to_do(chart: Path, installed: Installed) -> None:
    values = SMALL | {"image": IMAGE | {"tag": "nosuch", "pullPolicy": "Never"}, "spark-operator": {"enabled": False}}
    install(chart, installed.namespace, "bare", values)
    said = Installed(installed.namespace, "bare").k8s("submit", "etl", "--follow", "--timeout", "20", code=124).stderr
    assert f"image {REPOSITORY}:nosuch of the driver is not on the node" in said
    assert "make images load" in said
    # two releases: one has to be named
    command = [sys.executable, "-m", "neurogrid", "k8s", "status", "-n", installed.namespace]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "several releases" in done.stderr
    assert f"bare, {installed.name}" in done.stderr


def test_a_job_that_refuses_its_input_says_so_in_its_own_words(installed: Installed) -> None:
    said = installed.k8s("submit", "etl", "--set", "source.kind=sgsc", "--follow", code=2).stderr
    assert "failed: " in said
    assert "sgsc" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("submit", "tain"), ['no job "tain"', "train"]),
        (("submit", "train", "--set", "rounds.cuont=3"), ["no key rounds.cuont", "did you mean rounds.count"]),
        (("submit", "train", "--set", "warehouse=/tmp"), ["warehouse is the release's"]),
        (("submit", "train", "--set", "backend.tasks=5"), ["backend.tasks 5", "slots", "--executors 5"]),
        (("submit", "teacher", "--set", "teacher.ranks=2"), ["teacher.ranks 2", "1 slots"]),
        (("logs", "yesterday"), ['no job or run "yesterday"']),
        (("wait", "evaluate"), ["evaluate has not run yet", "neurogrid k8s submit evaluate"]),
        (("scale", "tain", "2"), ['no job "tain"']),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    installed: Installed, arguments: tuple[str, ...], words: list[str]
) -> None:
    before = kubectl("get", "sparkapplication,configmap", "-n", installed.namespace, "-o", "name")
    said = installed.k8s(*arguments, code=2).stderr
    for word in words:
        assert word in said
    assert kubectl("get", "sparkapplication,configmap", "-n", installed.namespace, "-o", "name") == before


def test_who_may_not_is_told_what_and_where(installed: Installed, tmp_path: Path) -> None:
    kubectl("create", "serviceaccount", "stranger", "-n", installed.namespace)
    token = kubectl("create", "token", "stranger", "-n", installed.namespace).strip()
    config = yaml.safe_load(kubectl("config", "view", "--minify", "--raw", "-o", "yaml"))
    config["users"][0]["user"] = {"token": token}
    (tmp_path / "stranger").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "neurogrid", "k8s", "status", "-n", installed.namespace]
    env = os.environ | {"KUBECONFIG": str(tmp_path / "stranger")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 2
    assert f"you may not list configmaps in namespace {installed.namespace}" in done.stderr
    assert "stranger" in done.stderr


def test_a_namespace_without_a_release_points_to_where_one_is(installed: Installed) -> None:
    command = [sys.executable, "-m", "neurogrid", "k8s", "status", "-n", "default"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no release of NeuroGrid is in namespace default" in done.stderr
    assert f"{installed.name} in namespace {installed.namespace}" in done.stderr
