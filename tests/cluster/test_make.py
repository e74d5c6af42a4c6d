"""A release made with make, that keeps everything in S3, beside a release in another namespace.

The S3 server is versitygw, which serves a folder of this machine. One job of the release runs every other minute.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from releases import CONFIG, IMAGE, ONE, ROOT, Laptop, Release, helm, kubectl, merged, objects, values, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

TEACHER = {"share": 0.2, "apart": False, "epochs": 2, "epoch_windows": 512, "ranks": 2, "batch_size": 64}
TAUGHT = merged(CONFIG, {"teacher": TEACHER})
JOBS = ("etl", "sample", "teacher", "train", "evaluate")
# Together the longest that the chart takes; each run on the schedule has the nanosecond of its start behind it.
RELEASE, REPEATED = "city-in-the-cluster", "sample-every-two-min"


@pytest.fixture(scope="module")
def expected(cluster: None, beside: Callable[[dict[str, Any]], Callable[[], Laptop]]) -> Callable[[], Laptop]:
    """The laptop's result, worked out beside the cluster's."""
    return beside(TAUGHT)


@pytest.fixture(scope="module")
def meters(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder behind a bucket of that name, and the URL of its S3 server, which pods reach."""
    if not shutil.which("versitygw"):
        pytest.skip("versitygw is not on the PATH")
    path = 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}'
    address, port = kubectl("get", "nodes", "-o", path), 20000 + os.getpid() % 10000
    folder = tmp_path_factory.mktemp("s3") / "meters"
    folder.mkdir()
    keys = ["--access", "key", "--secret", "secret"]
    command = ["versitygw", *keys, "--port", f"{address}:{port}", "posix", str(folder.parent)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        yield folder, f"http://{address}:{port}"
        server.terminate()


@pytest.fixture(scope="module")
def neighbour(install: Callable[..., Release]) -> tuple[Release, set[str]]:
    """Another release in another namespace, with an operator of its own; and what it is made of."""
    off = {job: {"enabled": False} for job in JOBS}
    idle = {"controller": {"resources": {"requests": {"cpu": "10m"}}}}
    release = install("neighbour", {"jobs": off, "spark-operator": idle})
    ready = ["get", "deployment", "-o", "jsonpath={.items[*].status.readyReplicas}"]
    wait_for("its operator", 120, lambda: release.kubectl(*ready) == "1")
    return release, objects(release.namespace)


class City(NamedTuple):
    """The release, what `make load deploy run-all status` printed, and `make` for it."""

    release: Release
    shown: str
    make: Callable[..., str]


def make(*targets: str, **variables: str) -> str:
    """What `make` prints, from the root of the repository."""
    command = ["make", *targets, *(f"{name}={value}" for name, value in variables.items())]
    # Whoever runs these tests with make has variables of that in the environment.
    env = os.environ | {"MAKEFLAGS": "", "MAKELEVEL": "", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def city(
    neighbour: tuple[Release, set[str]],
    meters: tuple[Path, str],
    expected: Callable[[], Laptop],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[City]:
    namespace, (_, url) = f"city-{os.getpid()}", meters
    kubectl("create", "namespace", namespace)
    keys = ["--from-literal=AWS_ACCESS_KEY_ID=key", "--from-literal=AWS_SECRET_ACCESS_KEY=secret"]
    kubectl("-n", namespace, "create", "secret", "generic", "keys", *keys)
    host, port = url.removeprefix("http://").split(":")
    repeated = {"enabled": True, "step": "sample", "after": "sample", "schedule": "@every 2m"}
    repeated |= {"restart": {"retries": 10}}  # its time may come before sampling has completed
    over = {
        "config": TAUGHT,
        "storage": {"kind": "s3", "s3": {"bucket": "meters", "prefix": "city", "endpoint": url, "secret": "keys"}},
        "network": {"storage": {"to": [{"ipBlock": {"cidr": f"{host}/32"}}], "ports": [int(port)]}},
        # Two executors where there is something to share out.
        "jobs": {
            "etl": ONE,
            "sample": ONE,
            "teacher": {"enabled": True},
            "evaluate": {"enabled": True} | ONE,
            REPEATED: repeated | ONE,
        },
    }
    file = tmp_path_factory.mktemp("values") / "values.yaml"
    file.write_text(yaml.safe_dump(merged(values(namespace), over)))
    own = partial(make, NAMESPACE=namespace, RELEASE=RELEASE, IMAGE=IMAGE, LOAD="none", VALUES=str(file))
    try:
        yield City(Release(RELEASE, namespace), own("load", "deploy", "run-all", "status"), own)
    finally:
        helm("uninstall", RELEASE, "-n", namespace, "--ignore-not-found")
        kubectl("delete", "namespace", namespace, "--wait=false")


def test_make_runs_every_job_to_completed_and_shows_the_round_table(city: City) -> None:
    assert {job: city.release.state(job) for job in JOBS} == dict.fromkeys(JOBS, "COMPLETED")
    for job in JOBS:
        assert f"{RELEASE}-{job}" in city.shown
    assert "round 6" in city.shown
    enforced = kubectl("get", "namespace", city.release.namespace, "-o", "jsonpath={.metadata.labels}")
    assert json.loads(enforced)["pod-security.kubernetes.io/enforce"] == "restricted"


def test_weights_and_scores_in_s3_are_the_laptops(
    city: City, meters: tuple[Path, str], expected: Callable[[], Laptop]
) -> None:
    result = city.release.wait_completed("train")
    assert result["w_final_sha256"] == expected().weights
    assert result["path"].startswith("s3://meters/city/runs/")
    run = meters[0] / result["path"].removeprefix("s3://meters/")
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["w_final_sha256"] == expected().weights
    assert evaluation["parts"] == expected().scores()
    assert "warehouse" not in city.release.kubectl("get", "pvc", "-o", "name")


def test_helm_test_checks_a_run_in_s3(city: City) -> None:
    said = helm("test", RELEASE, "-n", city.release.namespace, "--logs", "--timeout", "2m")
    assert "OK: all records and files are unmodified" in said


def test_a_job_on_a_schedule_runs_again_and_again_under_names_that_kubernetes_takes(
    city: City, expected: Callable[[], Laptop]
) -> None:
    which = ["get", "sparkapplications", "-l", f"neurogrid.io/job={REPEATED}", "-o", "json"]

    def completed() -> list[str]:
        runs = json.loads(city.release.kubectl(*which))["items"]
        states = {run["metadata"]["name"]: run.get("status", {}).get("applicationState", {}) for run in runs}
        assert "FAILED" not in {state.get("state") for state in states.values()}, states
        return [name for name, state in states.items() if state.get("state") == "COMPLETED"]

    wait_for("two runs", 420, lambda: len(completed()) >= 2, 3)
    for name in completed():
        assert len(name) == len(f"{RELEASE}-{REPEATED}-") + 19 == 60
        log = city.release.kubectl("logs", f"{name}-driver", "-c", "spark-kubernetes-driver")
        (said,) = [line for line in log.splitlines() if line.startswith('{"neurogrid": "completed"')]
        assert json.loads(said)["result"]["manifest_id"] == expected().manifest
    services = city.release.kubectl("get", "services", "-o", "jsonpath={.items[*].metadata.name}").split()
    assert all(len(service) <= 63 for service in services)


def test_undeploying_leaves_the_data_and_the_release_in_another_namespace(
    city: City, meters: tuple[Path, str], neighbour: tuple[Release, set[str]]
) -> None:
    assert "the data stays" in city.make("undeploy")
    kinds = "sparkapplication,scheduledsparkapplication,deployment,networkpolicy,role"
    wait_for("all is gone", 90, lambda: city.release.kubectl("get", kinds, "-o", "name") == "")
    assert list((meters[0] / "city" / "runs").glob("*/W_final.safetensors"))
    release, before = neighbour
    assert objects(release.namespace) == before
    assert release.kubectl("get", "sparkapplications", "-o", "name") == ""
