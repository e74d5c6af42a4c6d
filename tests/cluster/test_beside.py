"""Releases beside the first one, which goes on unharmed: a second in its namespace, a tenant's in another."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import installer
from releases import IMAGE, JOBS, Release, helm, kubectl, merged, objects, values, wait_for
from strangers import Bystander, put, reachable

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
Install = Callable[..., Release]


@pytest.fixture(scope="module")
def install(first: Release) -> Iterator[Install]:
    """Installs beside the first release."""
    with installer(first.namespace) as install:
        yield install


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
        "refused": {
            "enabled": True,
            "step": "sample",
            "after": "etl",
            "restart": {"retries": 0},
            "config": {"sampling": {"agents": 9000}},
        },
        "held": {"enabled": True, "step": "train", "after": "refused"},
    }
    over = {"spark-operator": {"enabled": False}, "data": {"kind": "fetch", "fetch": {"urls": [archive]}}, "jobs": jobs}
    once = {"storage": {"claim": {"accessMode": "ReadWriteOnce"}}, "network": {"fetch": [way]}}
    return install("second", over | once)


@pytest.fixture(scope="module")
def tenant(first: Release, trained: dict[str, Any], tenants: str, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release of the same name in another namespace, installed by somebody who has rights there and nowhere else."""
    who = f"system:serviceaccount:{tenants}:tenant"
    kubectl("-n", tenants, "create", "serviceaccount", "tenant")
    own = f"--serviceaccount={tenants}:tenant"
    kubectl("-n", tenants, "create", "rolebinding", "tenant", "--clusterrole=admin", own)
    jobs = ("--verb=*", "--resource=sparkapplications,scheduledsparkapplications")
    kubectl("-n", tenants, "create", "role", "spark", *jobs)
    kubectl("-n", tenants, "create", "rolebinding", "spark", "--role=spark", own)
    assert kubectl("auth", "can-i", "list", "nodes", "--as", who, check=False).strip() == "no"
    config = yaml.safe_load(kubectl("config", "view", "--minify", "--raw", "-o", "yaml"))
    config["users"][0]["user"] = {"token": kubectl("-n", tenants, "create", "token", "tenant").strip()}
    file = tmp_path_factory.mktemp("tenant") / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    off = {job: {"enabled": False} for job in ("sample", "teacher", "train")}
    release = Release(first.name, tenants, merged(values(tenants), {"spark-operator": {"enabled": False}, "jobs": off}))
    release.helm("install", kubeconfig=str(file))
    return release


def test_a_tenant_without_cluster_rights_installs_a_release_of_the_same_name_in_its_own_namespace(
    first: Release, tenant: Release
) -> None:
    before = first.submissions()
    assert (
        tenant.wait_completed("etl", 600)["households"] == first.lines("etl", "completed")[-1]["result"]["households"]
    )
    assert first.submissions() == before


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
    states = json.loads(second.kubectl("get", "sparkapplication", second.run("etl"), "-o", path))
    assert len(states) == 2, states


def test_a_job_after_one_that_failed_stays_suspended_and_whoever_waits_for_it_hears_why(second: Release) -> None:
    wait_for("the failure", 300, lambda: second.state("refused") == "FAILED", 2)
    command = [sys.executable, "-m", "neurogrid", "k8s", "wait", "held", "-n", second.namespace, "--release", "second"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert f"{second.run('refused')}, its predecessor, failed" in done.stderr
    assert "neurogrid k8s submit refused" in done.stderr
    assert second.pods("held", "driver") == [], "it holds no memory"


def test_an_upgrade_to_another_image_and_claim_runs_the_release_again_and_leaves_the_other_alone(
    first: Release, second: Release, readings: str
) -> None:
    if "NEUROGRID_NEXT_IMAGE" not in os.environ:
        pytest.skip("NEUROGRID_NEXT_IMAGE names no second image that is on the nodes")
    repository, tag = os.environ["NEUROGRID_NEXT_IMAGE"].rsplit(":", 1)
    others, before = first.submissions(), second.submissions()
    claim = {"kind": "existing", "existingClaim": "first-data", "subPath": readings, "fetch": {"urls": []}}
    off = {job: {"enabled": False} for job in ("never", "refused", "held")}
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
