"""`neurogrid k8s` on a real cluster: jobs are run, watched, stopped and scaled; pods that cannot run say why."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import installer
from releases import IMAGE, Release, kubectl

from neurogrid.fl.record import flat

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

ROUND = re.compile(r"^  round (\d+)  held-out loss \d\.\d+  ", re.MULTILINE)
SHORT = ("--set", "rounds.count=4", "--set", "local.steps=4", "--executors", "2")
LONG = ("--set", "rounds.count=100", "--set", "local.steps=31", "--executors", "1")


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


@pytest.fixture(scope="module")
def installed(first: Release, trained: dict[str, Any]) -> Installed:
    """The first release, whose own jobs have run."""
    return Installed(first.namespace, first.name)


@pytest.fixture(scope="module")
def followed(installed: Installed) -> tuple[Installed, dict[str, Any], str]:
    """A training with a config of its own, followed from its submission: what it reported, and what was shown."""
    done = installed.k8s("submit", "train", *SHORT, "--follow", "--json")
    return installed, json.loads(done.stdout), done.stderr


def test_a_followed_training_shows_each_round_as_on_a_laptop(followed: tuple[Installed, dict[str, Any], str]) -> None:
    _, said, shown = followed
    assert ROUND.findall(shown) == ["1", "2", "3", "4"]
    assert said["state"] == "COMPLETED"
    assert said["result"]["rounds"] == 4
    assert re.fullmatch("[0-9a-f]{64}", said["result"]["w_final_sha256"])
    assert said["result"]["w_final_sha256"] in shown


def test_a_training_that_completed_ends_without_a_trouble(followed: tuple[Installed, dict[str, Any], str]) -> None:
    assert "trouble" not in followed[2]


def test_status_tells_how_each_run_ended(followed: tuple[Installed, dict[str, Any], str]) -> None:
    installed, said, _ = followed
    runs = {row["run"]: row for row in installed.json("status")["runs"]}
    assert {row["state"] for row in runs.values()} == {"COMPLETED"}
    assert runs[said["run"]]["troubles"] == []


def test_logs_are_for_people_unless_they_are_asked_for_raw(followed: tuple[Installed, dict[str, Any], str]) -> None:
    installed, said, _ = followed
    plain = installed.k8s("logs", "train").stdout
    assert "round 4  held-out loss" in plain
    last = installed.k8s("logs", said["run"], "--follow", "--raw", "--tail", "1").stdout
    assert '"neurogrid": "completed"' in last
    assert len(last.splitlines()) <= 2
    raw = installed.k8s("logs", said["run"], "--raw").stdout
    rounds = [json.loads(line) for line in raw.splitlines() if line.startswith('{"neurogrid": "round"')]
    assert [own["round_id"] for own in rounds] == [1, 2, 3, 4]
    assert rounds[-1]["w_global_sha256"] == said["result"]["w_final_sha256"]


def test_waiting_for_what_completed_ends_at_once_with_its_result(
    followed: tuple[Installed, dict[str, Any], str],
) -> None:
    installed, said, _ = followed
    assert installed.json("wait", "train")["result"] == said["result"]


def test_a_job_that_completed_with_this_config_is_not_done_twice(
    followed: tuple[Installed, dict[str, Any], str],
) -> None:
    installed, said, _ = followed
    done = installed.k8s("submit", "train", *SHORT, "--json")
    assert "nothing to do" in done.stderr
    assert json.loads(done.stdout)["run"] == said["run"]


def test_another_config_and_more_executors_make_a_run_of_their_own(
    followed: tuple[Installed, dict[str, Any], str], trained: dict[str, Any]
) -> None:
    installed, said, _ = followed
    assert said["result"]["run_id"] == said["run"] != trained["run_id"]
    spec = json.loads(kubectl("get", "sparkapplication", said["run"], "-n", installed.namespace, "-o", "json"))["spec"]
    assert spec["executor"]["instances"] == 2
    assert said["run"] in kubectl("get", "configmap", "-n", installed.namespace, "-o", "name")
    # its config goes with it
    installed.k8s("cancel", said["run"], "--delete")
    deadline = time.monotonic() + 60
    while said["run"] in kubectl("get", "configmap", "-n", installed.namespace, "-o", "name"):
        assert time.monotonic() < deadline
        time.sleep(1)


def test_a_training_is_stopped_goes_on_and_is_moved_while_it_is_on(installed: Installed) -> None:
    """Each time after its last durable round, under the same name."""
    name = installed.json("submit", "train", *LONG)["run"]
    wait_for_round(installed, name, 3)
    refused = installed.k8s("submit", "train", code=2).stderr
    assert "train is already running" in refused
    assert name in refused
    assert f"{name} keeps its 1" in installed.k8s("scale", "train", "3").stderr
    installed.k8s("cancel", "train")
    assert installed.runs()["train"]["state"] == "SUSPENDED"
    assert "Running" not in kubectl(
        "get", "pods", "-n", installed.namespace, "-l", f"sparkoperator.k8s.io/app-name={name}"
    )
    assert "was stopped" in installed.k8s("wait", name, code=1).stderr
    assert installed.json("submit", "train", *LONG)["run"] == name
    began = wait_for_round(installed, name, 4)
    assert began > 3
    assert installed.json("scale", "train", "2", "--now")["run"] == name
    followed = installed.k8s("logs", "-f", name, timeout=900).stderr
    rounds = [int(number) for number in ROUND.findall(followed)]
    assert rounds[0] > began
    assert rounds[-1] == 100
    assert f"resumes after round {rounds[0] - 1}" in followed
    shown = installed.k8s("logs", name, "--raw").stdout
    said = [json.loads(line) for line in shown.splitlines() if line.startswith('{"neurogrid": "round"')]
    assert flat(said[-1])["executors"] == 2


def wait_for_round(installed: Installed, name: str, number: int, within_s: float = 200) -> int:
    """Waits until the run has done so many rounds; how many it has."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        rows = {row["run"]: row for row in installed.json("status")["runs"]}
        found = re.match(r"round (\d+)/", rows[name]["how_far"])
        if found and int(found[1]) >= number:
            return int(found[1])
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


def test_an_image_that_is_missing_is_named_with_what_to_do(installed: Installed) -> None:
    repository = IMAGE.rsplit(":", 1)[0]
    with installer(installed.namespace) as install:
        install("bare", {"image": {"tag": "nosuch"}, "spark-operator": {"enabled": False}})
        bare = Installed(installed.namespace, "bare")
        said = bare.k8s("submit", "etl", "--follow", "--timeout", "20", code=124).stderr
        assert f"image {repository}:nosuch of the driver is not on the node" in said
        assert "make images load" in said
        assert "the release's jobs are not submitted" in bare.k8s("status").stderr
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
        (("submit", "train", "--set", "warehouse=/tmp"), ["warehouse belongs to the release"]),
        (("submit", "train", "--set", "backend.tasks=5"), ["backend.tasks 5", "slots", "--executors 5"]),
        (("submit", "teacher", "--set", "teacher.ranks=9"), ["teacher.ranks 9", "2 slots"]),
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
