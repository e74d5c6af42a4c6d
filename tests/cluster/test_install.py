"""The chart on a real cluster, as a user goes through it: install, run, scale, upgrade.

The tests take the first release one step on after another.
"""

import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from releases import CHART, JOBS, TAUGHT, Laptop, Release, helm, kubectl, merged, values, wait_for
from strangers import Bystander, addresses, open_ports, put, reachable, reached

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
ROUNDS = TAUGHT["rounds"]["count"]


def test_a_wrong_value_is_refused_before_anything_is_made(first: Release, tmp_path: Path) -> None:
    namespace = first.namespace
    wrong = merged(values(namespace), {"config": {"rounds": {"count": 0}}})
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(wrong))
    said = helm("install", "wrong", str(CHART), "-n", namespace, "-f", str(tmp_path / "values.yaml"), code=1)
    assert "'/config/rounds/count': minimum: got 0, want 1" in said
    made = "configmap,deployment,job,networkpolicy,pvc,service,serviceaccount"
    assert first.kubectl("get", made, "-l", "app.kubernetes.io/instance=wrong", "-o", "name") == ""
    assert "wrong" not in helm("list", "-n", namespace)


def test_jobs_that_wait_for_their_turn_are_suspended_and_have_no_pod(first: Release) -> None:
    wait_for("the runs", 120, lambda: len(first.applications()) == len(JOBS))
    suspended = {
        app["metadata"]["labels"]["neurogrid.io/job"]: app["spec"].get("suspend", False) for app in first.applications()
    }
    assert suspended == {"etl": False, "sample": True, "teacher": True, "train": True}
    assert first.pods("sample", "driver") + first.pods("train", "driver") == []


@pytest.fixture(scope="module")
def bystanders(first: Release) -> Iterator[tuple[Bystander, Bystander]]:
    """One stranger in the release's namespace, and one in another."""
    outside = f"outside-{os.getpid()}"
    kubectl("create", "namespace", outside)
    yield put(first.namespace, "stranger"), put(outside, "stranger")
    kubectl("delete", "namespace", outside, "--wait=false")
    first.kubectl("delete", "pod", "stranger", "--wait=false")


@pytest.fixture(scope="module")
def teaching(first: Release) -> list[dict[str, Any]]:
    """The pods of the teacher, driver first, whose ranks have met and are at work."""
    wait_for("the teacher's executors", 900, lambda: len(first.ready("teacher")) == 2, 0.5)
    executors = first.ready("teacher")
    own, other = executors[0]["metadata"]["name"], executors[1]["status"]["podIP"]
    # Ranks find each other on ports that nobody knows beforehand.
    wait_for("ports", 120, lambda: open_ports(first.namespace, own, [other]) - {f"{other}:7079"}, 0)
    return first.pods("teacher", "driver") + executors


def secrets(executors: list[dict[str, Any]]) -> set[str]:
    """What these executors know their application by."""
    env = [entry for pod in executors for entry in pod["spec"]["containers"][0]["env"]]
    return {entry["value"] for entry in env if entry["name"] == "_SPARK_AUTH_SECRET"}


def test_strangers_reach_no_port_while_a_teachers_ranks_are_at_work(
    first: Release, bystanders: tuple[Bystander, Bystander], teaching: list[dict[str, Any]]
) -> None:
    assert reached(bystanders, addresses(teaching)) == set()
    assert first.state("teacher") == "RUNNING", "nobody was there to be reached"


def test_an_install_runs_every_job_to_completed(first: Release, trained: dict[str, Any]) -> None:
    assert {job: first.state(job) for job in JOBS} == dict.fromkeys(JOBS, "COMPLETED")
    assert trained["rounds"] == ROUNDS


def test_the_weights_are_the_laptops_bit_for_bit(trained: dict[str, Any], expected_first: Callable[[], Laptop]) -> None:
    assert trained["w_final_sha256"] == expected_first().weights


def test_helm_test_checks_the_finished_run(first: Release, trained: dict[str, Any]) -> None:
    said = helm("test", first.name, "-n", first.namespace, "--logs", "--timeout", "2m")
    assert "OK: all records and files are unmodified" in said


def test_the_history_server_shows_what_ended(first: Release, trained: dict[str, Any]) -> None:
    ask = "import urllib.request as u; print(u.urlopen('http://localhost:18080/api/v1/applications').read().decode())"

    def shown() -> set[str]:
        said = first.kubectl("exec", "deploy/first-history", "--", "python", "-c", ask, check=False) or "[]"
        return {app["name"] for app in json.loads(said) if app["attempts"][0]["completed"]}

    wait_for("the history of all jobs", 300, lambda: {first.run(job) for job in JOBS} <= shown(), 3)


def test_nobody_asked_for_a_right_that_it_lacks(first: Release, trained: dict[str, Any]) -> None:
    for job in JOBS:
        log = first.log(job)
        assert "Forbidden" not in log
        assert "forbidden" not in log


@pytest.mark.parametrize(
    ("account", "verb", "kind", "may"),
    [
        ("driver", "create", "pods", True),
        ("driver", "delete", "pods", True),
        ("driver", "get", "secrets", False),
        ("driver", "create", "networkpolicies", False),
        ("driver", "create", "deployments", False),
        ("driver", "create", "secrets", False),
        ("driver", "patch", "sparkapplications", True),
        ("driver", "create", "sparkapplications", False),
        ("driver", "delete", "sparkapplications", False),
        ("submit", "create", "sparkapplications", True),
        ("submit", "create", "pods", False),
        ("submit", "get", "secrets", False),
        ("executor", "get", "pods", False),
        ("executor", "get", "configmaps", False),
        ("exporter", "list", "sparkapplications", True),
        ("exporter", "get", "pods", False),
    ],
)
def test_an_account_has_the_rights_it_needs_and_no_more(
    first: Release, account: str, verb: str, kind: str, may: bool
) -> None:
    who = f"system:serviceaccount:{first.namespace}:{first.name}-{account}"
    said = first.kubectl("auth", "can-i", verb, kind, "--as", who, check=False)
    assert said.strip() == ("yes" if may else "no")


def servers(first: Release) -> list[str]:
    """The addresses of exporter, history server and operator."""
    pods = json.loads(first.kubectl("get", "pods", "-o", "json"))["items"]
    parts = ("-exporter-", "-history-", "-operator-")
    found = addresses(pod for pod in pods if any(part in pod["metadata"]["name"] for part in parts))
    assert len(found) == len(parts)
    return found


def test_strangers_reach_no_port_of_exporter_history_server_and_operator(
    first: Release, trained: dict[str, Any], bystanders: tuple[Bystander, Bystander]
) -> None:
    assert reached(bystanders, servers(first)) == set()


@pytest.fixture(scope="class")
def training(first: Release, trained: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """The pods of a training with endless rounds, driver first, then two executors."""

    def k8s(*arguments: str) -> str:
        where = ["-n", first.namespace, "--release", first.name]
        command = [sys.executable, "-m", "neurogrid", "k8s", *arguments, *where]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    endless = ["--set", "rounds.count=100000", "--executors", "2"]
    run = json.loads(k8s("submit", "train", *endless, "--json"))["run"]
    wait_for("executors", 300, lambda: len(first.ready("train")) == 2)
    log = ["logs", f"{run}-driver", "-c", "spark-kubernetes-driver"]
    wait_for("a round", 300, lambda: '{"neurogrid": "round"' in first.kubectl(*log))
    yield [json.loads(first.kubectl("get", "pod", f"{run}-driver", "-o", "json")), *first.ready("train")]
    k8s("cancel", run, "--delete")


class TestTrainingThatGoesOn:
    """What a training's pods answer, and to whom, while its rounds go on for as long as it takes to ask."""

    def test_strangers_reach_no_port_of_driver_and_executors(
        self, first: Release, training: list[dict[str, Any]], bystanders: tuple[Bystander, Bystander]
    ) -> None:
        assert reached(bystanders, addresses(training)) == set()

    def test_an_executor_reaches_what_it_has_to_and_nothing_else(
        self, first: Release, training: list[dict[str, Any]]
    ) -> None:
        own, (driver, _, other) = training[1]["metadata"]["name"], addresses(training)
        allowed = {f"{driver}:7078", f"{driver}:7079", f"{driver}:7080", f"{other}:7079"}
        assert open_ports(first.namespace, own, [driver, other]) == allowed
        elsewhere = [f"{server}:{port}" for server in servers(first) for port in (9108, 18080, 8080, 8081)]
        assert reachable(first.namespace, own, [*elsewhere, "kubernetes.default.svc:443"]) == set()

    def test_the_ui_answers_through_the_port_forward_that_the_notes_show(
        self, first: Release, training: list[dict[str, Any]]
    ) -> None:
        notes = helm("get", "notes", first.name, "-n", first.namespace)
        (shown,) = [line.split() for line in notes.splitlines() if line.endswith(" service/first-train-ui 4040")]
        command = [*shown[:-1], ":4040"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
            try:
                assert forward.stdout is not None
                port = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
                assert port
                connection = http.client.HTTPConnection("127.0.0.1", int(port[1]), timeout=60)
                connection.request("GET", "/api/v1/applications")
                said = json.loads(connection.getresponse().read())
                connection.close()
            finally:
                forward.terminate()
        assert [f"{application['name']}-driver" for application in said] == [training[0]["metadata"]["name"]]

    def test_its_jvms_map_the_classes_that_were_loaded_when_the_image_was_built(
        self, first: Release, training: list[dict[str, Any]]
    ) -> None:
        count = "from glob import glob; print(sum('/classes.jsa' in open(m).read() for m in glob('/proc/[0-9]*/maps')))"
        for pod in training:
            container = f"spark-kubernetes-{pod['metadata']['labels']['spark-role']}"
            said = first.kubectl("exec", pod["metadata"]["name"], "-c", container, "--", "python", "-c", count)
            assert said.strip() == "1", pod["metadata"]["name"]

    def test_executors_hold_a_secret_of_their_own_application(
        self, teaching: list[dict[str, Any]], training: list[dict[str, Any]]
    ) -> None:
        known = [secrets(teaching[1:]), secrets(training[1:])]
        assert [len(secret) for secret in known] == [1, 1]
        assert known[0] != known[1]

    def test_an_executor_without_the_secret_is_refused_by_the_driver(
        self, first: Release, training: list[dict[str, Any]]
    ) -> None:
        """From a pod whose connections the policies let through."""
        backend = 'java -Xmx64m -cp "/opt/spark/jars/*" org.apache.spark.executor.CoarseGrainedExecutorBackend'
        who = (
            '--driver-url "$SPARK_DRIVER_URL" --executor-id 99 --cores 1 --app-id x --hostname x --resourceProfileId 0'
        )
        script = f"unset _SPARK_AUTH_SECRET; {backend} {who} 2>&1; echo exit $?"
        said = first.kubectl("exec", training[1]["metadata"]["name"], "--", "sh", "-c", script)
        assert "Expected SaslMessage, received something else" in said
        assert said.endswith("exit 1\n")


@pytest.fixture(scope="module")
def scaled(first: Release, trained: dict[str, Any]) -> dict[str, str]:
    """Which run each job had before the training was asked for anew, with two executors; the new one is under way."""
    before = first.submissions()
    first.helm("upgrade", {"jobs": {"train": {"executor": {"instances": 2}, "rerun": "scaled"}}})
    wait_for("the training runs again", 300, lambda: first.submissions()["train"] != before["train"])
    wait_for("two executors", 600, lambda: len(first.ready("train")) == 2)
    return before


def test_two_executors_give_the_same_weights_as_one(
    first: Release, scaled: dict[str, str], trained: dict[str, Any]
) -> None:
    assert first.wait_completed("train", 1500)["w_final_sha256"] == trained["w_final_sha256"]


def test_monitoring_tracing_and_history_are_switched_without_a_job_being_run_again(
    first: Release, trained: dict[str, Any], scaled: dict[str, str]
) -> None:
    first.wait_completed("train", 1500)
    before = first.submissions()
    switched = {"tracing": {"endpoint": "http://collector:4318"}, "history": {"enabled": False}}
    first.helm("upgrade", switched | {"exporter": {"enabled": False}})
    hashes = ["get", "jobs", "-l", "app.kubernetes.io/component=submit", "-o", "jsonpath={.items[*].status.succeeded}"]
    wait_for("the submit job", 120, lambda: first.kubectl(*hashes) == "1")
    assert first.submissions() == before


def test_an_upgrade_ran_again_what_was_changed_and_nothing_else(first: Release, scaled: dict[str, str]) -> None:
    now = first.submissions()
    assert {job for job in now if now[job] != scaled[job]} == {"train"}
