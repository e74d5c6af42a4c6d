"""The chart on a real cluster, as a user goes through it: install, run, scale, upgrade, a second release, uninstall.

One release serves the whole module, in a namespace that enforces `restricted`; each test takes it one step on.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from releases import CHART, CONFIG, Laptop, Release, kubectl, merged, values, wait_for
from strangers import Bystander, put, reachable

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
Install = Callable[..., Release]

TEACHER = {"share": 0.2, "apart": False, "epochs": 2, "epoch_windows": 512, "ranks": 2, "batch_size": 64}
# Rounds enough that a training is still under way while strangers knock.
ROUNDS = 60
TAUGHT = merged(CONFIG, {"rounds": {"count": ROUNDS}, "teacher": TEACHER})
FIRST = {
    "config": TAUGHT,
    "jobs": {"teacher": {"enabled": True}, "train": {"executor": {"instances": 1}}},
    "history": {"enabled": True},
    "exporter": {"enabled": True, "resources": {"requests": {"cpu": "10m", "memory": "128Mi"}}},
}
JOBS = ("etl", "sample", "teacher", "train")


@pytest.fixture(scope="module")
def first(install: Install) -> Release:
    """Installed; its jobs run by themselves."""
    return install("first", FIRST)


@pytest.fixture(scope="module")
def trained(first: Release) -> dict[str, Any]:
    """What the training said at its end."""
    return first.wait_completed("train", 1500)


def helm(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def objects(namespace: str) -> set[str]:
    """Everything that a release could have made there."""
    kinds = "configmap,pod,deployment,service,serviceaccount,role,rolebinding,networkpolicy,pvc,secret"
    # Kubernetes puts these two into every namespace.
    own = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
    return set(kubectl("-n", namespace, "get", kinds, "-o", "name").split()) - own


def submissions(release: Release) -> dict[str, str]:
    """The operator's id of each job's latest run."""
    said = json.loads(release.kubectl("get", "sparkapplications", "-o", "json"))["items"]
    return {app["metadata"]["labels"]["neurogrid.io/job"]: app["status"]["submissionID"] for app in said}


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


def test_an_install_runs_every_job_to_completed(first: Release, trained: dict[str, Any]) -> None:
    assert {job: first.state(job) for job in JOBS} == dict.fromkeys(JOBS, "COMPLETED")
    assert trained["rounds"] == ROUNDS


def test_the_weights_are_the_laptops_bit_for_bit(
    trained: dict[str, Any], laptop: Callable[[dict[str, Any]], Laptop]
) -> None:
    assert trained["w_final_sha256"] == laptop(TAUGHT).weights


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


@pytest.fixture(scope="module")
def bystanders(first: Release) -> Iterator[tuple[Bystander, Bystander]]:
    """One stranger in the release's namespace, and one in another."""
    outside = f"outside-{os.getpid()}"
    kubectl("create", "namespace", outside)
    yield put(first.namespace, "stranger"), put(outside, "stranger")
    kubectl("delete", "namespace", outside, "--wait=false")
    first.kubectl("delete", "pod", "stranger", "--wait=false")


@pytest.fixture(scope="module")
def scaled(first: Release, trained: dict[str, Any], bystanders: tuple[Bystander, Bystander]) -> dict[str, str]:
    """Which run each job had before the training was asked for anew, with two executors; the new one is under way."""
    before = submissions(first)
    first.helm("upgrade", {"jobs": {"train": {"executor": {"instances": 2}, "rerun": "scaled"}}})
    wait_for("the training runs again", 300, lambda: submissions(first)["train"] != before["train"])
    wait_for("two executors", 600, lambda: len(first.ready("train")) == 2)
    return before


def test_strangers_reach_no_port_of_driver_executors_exporter_and_operator(
    first: Release, scaled: dict[str, str], bystanders: tuple[Bystander, Bystander]
) -> None:
    first.wait_round("train", 1)
    (driver,) = first.pods("train", "driver")
    executors = first.pods("train", "executor")
    others = json.loads(first.kubectl("get", "pods", "-o", "json"))["items"]
    exporter, operator = (
        next(pod["status"]["podIP"] for pod in others if part in pod["metadata"]["name"])
        for part in ("-exporter-", "-operator-")
    )
    home = driver["status"]["podIP"]
    sparks = [f"{home}:{port}" for port in (7078, 7079, 7080)]
    blocks = [f"{executor['status']['podIP']}:7079" for executor in executors]
    rest = [f"{home}:4040", f"{exporter}:9108", f"{operator}:8080", f"{operator}:8081"]
    # Someone listens there: an executor reaches its driver, and the other executor.
    own = executors[0]["metadata"]["name"]
    assert reachable(first.namespace, own, [*sparks, blocks[1], *rest]) == {*sparks, blocks[1]}
    for stranger in bystanders:
        assert stranger.reaches([*sparks, *blocks, *rest]) == set(), stranger
    # And an executor does not reach the API server.
    assert reachable(first.namespace, own, ["kubernetes.default.svc:443"]) == set()
    assert first.state("train") == "RUNNING", "nobody was there to be reached"


def test_executors_hold_a_secret_of_their_own_application_to_speak_to_the_driver(
    first: Release, scaled: dict[str, str]
) -> None:
    secrets = set()
    for pod in first.pods("train", "executor"):
        container = pod["spec"]["containers"][0]
        secrets |= {entry["value"] for entry in container["env"] if entry["name"] == "_SPARK_AUTH_SECRET"}
    assert len(secrets) == 1


def test_two_executors_give_the_same_weights_as_one(
    first: Release, scaled: dict[str, str], trained: dict[str, Any]
) -> None:
    assert first.wait_completed("train", 1500)["w_final_sha256"] == trained["w_final_sha256"]


def test_an_upgrade_ran_again_what_was_changed_and_nothing_else(first: Release, scaled: dict[str, str]) -> None:
    now = submissions(first)
    assert {job for job in now if now[job] != scaled[job]} == {"train"}


def test_a_second_release_in_the_namespace_runs_beside_the_first_and_leaves_it_alone(
    first: Release, trained: dict[str, Any], install: Install
) -> None:
    before = objects(first.namespace)
    off = {job: {"enabled": False} for job in ("sample", "train", "teacher")}
    once = {"storage": {"claim": {"accessMode": "ReadWriteOnce"}}}
    second = install("second", {"spark-operator": {"enabled": False}, "jobs": off, **once})
    assert (
        second.wait_completed("etl", 900)["households"] == first.lines("etl", "completed")[-1]["result"]["households"]
    )
    helm("uninstall", second.name, "-n", second.namespace, "--wait", "--timeout", "2m")
    left = {"persistentvolumeclaim/second-warehouse", "persistentvolumeclaim/second-data"}
    wait_for("the second is gone", 120, lambda: {o for o in objects(first.namespace) if "second" in o} == left)
    # Pods, services and ConfigMaps that Spark made for a job come and go with it.
    lasting = {o for o in before if o.split("/")[0].split(".")[0] not in ("pod", "service", "configmap")}
    assert lasting <= objects(first.namespace)
    assert {job: first.state(job) for job in JOBS} == dict.fromkeys(JOBS, "COMPLETED")


@pytest.fixture(scope="module")
def bucket(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an S3 server on this machine that pods reach, with a bucket `meters`."""
    if not shutil.which("versitygw"):
        pytest.skip("versitygw is not on the PATH")
    path = 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}'
    address = kubectl("get", "nodes", "-o", path)
    folder = tmp_path_factory.mktemp("s3")
    (folder / "meters").mkdir()
    port = 20000 + os.getpid() % 10000
    command = [
        "versitygw",
        "--access",
        "key",
        "--secret",
        "secret",
        "--port",
        f"{address}:{port}",
        "posix",
        str(folder),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        yield f"http://{address}:{port}"
        server.terminate()


def test_another_release_in_another_namespace_keeps_everything_in_s3(
    first: Release, trained: dict[str, Any], bucket: str, laptop: Callable[[dict[str, Any]], Laptop]
) -> None:
    """With an operator of its own, while the first release has one too."""
    namespace = f"s3-{os.getpid()}"
    host, port = bucket.removeprefix("http://").split(":")
    kubectl("create", "namespace", namespace)
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    keys = ["--from-literal=AWS_ACCESS_KEY_ID=key", "--from-literal=AWS_SECRET_ACCESS_KEY=secret"]
    kubectl("-n", namespace, "create", "secret", "generic", "keys", *keys)
    s3 = {
        "storage": {"kind": "s3", "s3": {"bucket": "meters", "prefix": "city", "endpoint": bucket, "secret": "keys"}},
        "network": {"storage": {"to": [{"ipBlock": {"cidr": f"{host}/32"}}], "ports": [int(port)]}},
        "jobs": {"train": {"executor": {"instances": 1}}},
    }
    city = Release("city", namespace, values(namespace))
    try:
        city.helm("install", s3)
        result = city.wait_completed("train", 1500)
        assert result["w_final_sha256"] == laptop(CONFIG).weights
        assert result["path"].startswith("s3://meters/city/runs/")
        helm("test", city.name, "-n", namespace, "--timeout", "2m")
        assert "warehouse" not in city.kubectl("get", "pvc", "-o", "name")
        assert first.state("train") == "COMPLETED"
    finally:
        helm("uninstall", city.name, "-n", namespace)
        kubectl("delete", "namespace", namespace, "--wait=false")


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
