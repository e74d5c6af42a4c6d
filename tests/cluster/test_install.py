"""The chart on a real cluster, as a user goes through it: install, run, scale, upgrade, a second release, uninstall.

One release serves the whole module, in a namespace that enforces `restricted`; each test takes it one step on.
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
from releases import CHART, CONFIG, IMAGE, Laptop, Release, helm, kubectl, merged, objects, values, wait_for
from strangers import Bystander, addresses, open_ports, put, reachable, reached

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
Install = Callable[..., Release]

# Epochs enough that they are still under way while strangers knock at every port.
TEACHER = {"share": 0.2, "apart": False, "epoch_windows": 4096, "ranks": 2, "batch_size": 32} | {
    "epochs": 40,
    "patience_epochs": 0,
}
ROUNDS = 12
TAUGHT = merged(CONFIG, {"rounds": {"count": ROUNDS}, "teacher": TEACHER})
FIRST = {
    "config": TAUGHT,
    "jobs": {"teacher": {"enabled": True}, "train": {"executor": {"instances": 1}}},
    "history": {"enabled": True},
    "exporter": {"enabled": True, "resources": {"requests": {"cpu": "10m", "memory": "128Mi"}}},
}
JOBS = ("etl", "sample", "teacher", "train")


@pytest.fixture(scope="module")
def expected(cluster: None, beside: Callable[[dict[str, Any]], Callable[[], Laptop]]) -> Callable[[], Laptop]:
    """The laptop's result, worked out beside the cluster's."""
    return beside(TAUGHT)


@pytest.fixture(scope="module")
def first(install: Install, expected: Callable[[], Laptop]) -> Release:
    """Installed; its jobs run by themselves."""
    return install("first", FIRST)


@pytest.fixture(scope="module")
def trained(first: Release) -> dict[str, Any]:
    """What the training said at its end."""
    return first.wait_completed("train", 1500)


def test_a_wrong_value_is_refused_before_anything_is_made(namespace: str, tmp_path: Path) -> None:
    before = objects(namespace)
    for wrong, words in (
        ({"config": {"rounds": {"count": 0}}}, "'/config/rounds/count': minimum: got 0, want 1"),
        ({"config": {"backend": {"tasks": 9}}}, "more tasks than the executors have slots"),
    ):
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(merged(values(namespace), wrong)))
        said = helm("install", "wrong", str(CHART), "-n", namespace, "-f", str(tmp_path / "values.yaml"), code=1)
        assert words in said
    assert objects(namespace) == before
    assert "wrong" not in helm("list", "-n", namespace)


def test_a_second_operator_for_the_namespace_is_refused_before_anything_is_made(first: Release, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values(first.namespace)))
    where = ["-n", first.namespace, "-f", str(tmp_path / "values.yaml")]
    said = helm("install", "other", str(CHART), *where, code=1)
    assert f"both would submit the jobs of namespace {first.namespace}" in said
    assert f"deployment {first.namespace}/first-spark-operator-controller, which watches {first.namespace}" in said
    assert not first.kubectl(
        "get", "all,configmap,networkpolicy", "-l", "app.kubernetes.io/instance=other", "-o", "name"
    )


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


def test_the_weights_are_the_laptops_bit_for_bit(trained: dict[str, Any], expected: Callable[[], Laptop]) -> None:
    assert trained["w_final_sha256"] == expected().weights


def test_helm_test_checks_the_finished_run(first: Release, trained: dict[str, Any]) -> None:
    said = helm("test", first.name, "-n", first.namespace, "--logs", "--timeout", "2m")
    assert "every record and file is as it was written" in said


def test_the_history_server_shows_what_ended(first: Release, trained: dict[str, Any]) -> None:
    ask = "import urllib.request as u; print(u.urlopen('http://localhost:18080/api/v1/applications').read().decode())"

    def shown() -> set[str]:
        said = first.kubectl("exec", "deploy/first-history", "--", "python", "-c", ask, check=False) or "[]"
        return {app["name"] for app in json.loads(said) if app["attempts"][0]["completed"]}

    wait_for("the history of all jobs", 300, lambda: {f"first-{job}" for job in JOBS} <= shown(), 3)


def test_nobody_asked_for_a_right_that_it_lacks(first: Release, trained: dict[str, Any]) -> None:
    for job in JOBS:
        log = first.kubectl("logs", f"{first.name}-{job}-driver", "-c", "spark-kubernetes-driver")
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
        (shown,) = [line.split() for line in notes.splitlines() if line.endswith(" first-train-driver 4040")]
        command = [*shown[:-2], training[0]["metadata"]["name"], ":4040"]
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
        assert [f"{application['name']}-driver" for application in said] == [command[-2]]

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


def test_an_upgrade_ran_again_what_was_changed_and_nothing_else(first: Release, scaled: dict[str, str]) -> None:
    now = first.submissions()
    assert {job for job in now if now[job] != scaled[job]} == {"train"}


@pytest.fixture(scope="module")
def readings(first: Release, trained: dict[str, Any]) -> str:
    """The folder of the claim `first-data` that holds the readings which the first release made."""
    (driver,) = first.pods("etl", "driver")
    (made,) = driver["spec"]["initContainers"]
    return Path(next(word for word in made["args"] if word.startswith("/data/"))).name


@pytest.fixture(scope="module")
def server(first: Release, readings: str) -> Bystander:
    """A web server in the cluster that has these readings in an archive."""
    pack = f"import shutil; shutil.make_archive('/tmp/readings', 'gztar', '/claim/{readings}')"
    serve = f'python -c "{pack}" && exec python -m http.server 8000 --directory /tmp'
    server = put(first.namespace, "server", claim="first-data", labels={"app": "server"}, command=("sh", "-c", serve))
    answers = f"{server.address}:8000"
    wait_for("the web server", 60, lambda: reachable(first.namespace, "server", [answers]))
    return server


@pytest.fixture(scope="module")
def second(first: Release, server: Bystander, install: Install) -> Release:
    """A release beside the first, without an operator of its own."""
    archive = (
        f"http://{server.address}:8000/readings.tar.gz#sha256={server.run('sha256sum', '/tmp/readings.tar.gz')[:64]}"
    )
    way = {"to": [{"podSelector": {"matchLabels": {"app": "server"}}}], "ports": [{"protocol": "TCP", "port": 8000}]}
    elastic = {"enabled": True, "minExecutors": 1, "maxExecutors": 2}
    jobs: dict[str, Any] = {job: {"enabled": False} for job in ("sample", "teacher", "train")}
    jobs |= {
        "etl": {"executor": {"instances": 1}, "dynamicAllocation": elastic},
        "never": {"enabled": True, "step": "etl", "driver": {"nodeSelector": {"pool": "nowhere"}}},
        "late": {"enabled": True, "step": "sample", "after": "never", "afterTimeoutSeconds": 5}
        | {"restart": {"retries": 0}},
    }
    over = {"spark-operator": {"enabled": False}, "data": {"kind": "fetch", "fetch": {"urls": [archive]}}, "jobs": jobs}
    once = {"storage": {"claim": {"accessMode": "ReadWriteOnce"}}, "network": {"fetch": [way]}}
    return install("second", over | once)


def same_as_the_first(first: Release, second: Release) -> bool:
    """Whether the second release's ETL found what the first's did."""
    kept = ("files", "file_rows", "households", "slots")
    found, known = second.wait_completed("etl", 900), first.lines("etl", "completed")[-1]["result"]
    return [found[key] for key in kept] == [known[key] for key in kept]


def test_readings_are_fetched_from_a_web_server_of_the_cluster(first: Release, second: Release) -> None:
    assert same_as_the_first(first, second)


def test_executors_of_etl_become_more_with_the_work(second: Release) -> None:
    second.wait_completed("etl")
    path = "jsonpath={.status.executorState}"
    states = json.loads(second.kubectl("get", "sparkapplication", "second-etl", "-o", path))
    assert len(states) == 2, states


def test_a_job_whose_predecessor_never_completes_fails_and_says_so(second: Release) -> None:
    wait_for("the job's end", 300, lambda: second.state("late") == "FAILED", 2)
    (failed,) = second.lines("late", "failed")
    assert failed["what"] == "job never, which job late comes after, has not completed within 5 s"
    assert "it has no record yet" in failed["found"]


def test_an_upgrade_to_another_image_and_claim_runs_the_release_again_and_leaves_the_other_alone(
    first: Release, second: Release, readings: str
) -> None:
    if "NEUROGRID_NEXT_IMAGE" not in os.environ:
        pytest.skip("NEUROGRID_NEXT_IMAGE names no second image that is on the nodes")
    repository, tag = os.environ["NEUROGRID_NEXT_IMAGE"].rsplit(":", 1)
    others, before = first.submissions(), second.submissions()
    claim = {"kind": "existing", "existingClaim": "first-data", "subPath": readings}
    off = {job: {"enabled": False} for job in ("never", "late")}
    second.helm("upgrade", {"image": {"repository": repository, "tag": tag}, "data": claim, "jobs": off})
    wait_for("ETL runs again", 300, lambda: second.submissions().get("etl") not in ("", before["etl"]))
    assert same_as_the_first(first, second)
    (driver,) = second.pods("etl", "driver")
    assert {container["image"] for container in driver["spec"]["containers"]} == {f"{repository}:{tag}"}
    assert f"{repository}:{tag}" != IMAGE
    assert "initContainers" not in driver["spec"]
    assert set(second.submissions()) == {"etl"}
    assert first.submissions() == others


def test_uninstalling_a_release_leaves_its_data_and_the_other_release(first: Release, second: Release) -> None:
    before = objects(first.namespace)
    helm("uninstall", second.name, "-n", second.namespace, "--wait", "--timeout", "2m")
    left = {"persistentvolumeclaim/second-warehouse", "persistentvolumeclaim/second-data"}
    wait_for("the second is gone", 120, lambda: {o for o in objects(first.namespace) if "second" in o} == left)
    # Pods, services and ConfigMaps that Spark made for a job come and go with it.
    passing = ("pod", "service", "configmap")
    lasting = {o for o in before if o.split("/")[0].split(".")[0] not in passing and "second" not in o}
    assert lasting <= objects(first.namespace)
    assert {job: first.state(job) for job in JOBS} == dict.fromkeys(JOBS, "COMPLETED")


def test_uninstalling_leaves_the_data_and_nothing_else(first: Release, scaled: dict[str, str], tmp_path: Path) -> None:
    helm("uninstall", first.name, "-n", first.namespace, "--wait", "--timeout", "3m")
    # Pods of `helm test` are Helm's, which leaves them for `--logs`.
    ours = "app.kubernetes.io/instance=first,app.kubernetes.io/component!=test"
    kinds = "pod,deployment,service,configmap,role,networkpolicy,sparkapplication"
    wait_for("all is gone", 90, lambda: not first.kubectl("get", kinds, "-l", ours, "-o", "name").strip())
    reader = put(first.namespace, "reader", claim="first-warehouse")
    record = json.loads(reader.run("cat", "/claim/jobs/first/train.json"))
    assert record["state"] == "completed"
    audit = reader.run("neurogrid", "audit", record["result"]["run_id"], "--warehouse", "/claim", "--ended", "--json")
    assert json.loads(audit)["problems"] == []
