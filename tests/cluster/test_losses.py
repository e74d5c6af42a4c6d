"""One training on a real cluster that loses, one after another, executors' pods, a whole node and its driver.

The tests build on each other in their order: it is one training, and after all of it its weights are those of a laptop
that lost nothing. Executors are held to part of a core, so that the training outlasts all that happens to it. At last,
while the second node is there, a release whose claims only one node can mount.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from releases import CONFIG, Laptop, Release, kubectl, merged, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

LOSSY = merged(CONFIG, {"rounds": {"count": int(os.environ.get("NEUROGRID_LOSSY_ROUNDS", "200"))}})
NODE = "node2"
BEARS = {"tolerations": [{"key": "for", "value": "meters", "effect": "NoSchedule"}]}


def nodes(action: str) -> None:
    """Adds, cuts, heals or removes the second node; NEUROGRID_NODES names the script that can."""
    subprocess.run([os.environ["NEUROGRID_NODES"], action, NODE], check=True, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def second_node(cluster: None) -> Iterator[None]:
    if "NEUROGRID_NODES" not in os.environ:
        pytest.skip("NEUROGRID_NODES names no script that adds and cuts nodes")
    nodes("add")
    # Nothing that runs beside these tests may be there when it is cut.
    kubectl("taint", "node", NODE, "for=meters:NoSchedule")
    yield
    nodes("remove")


@pytest.fixture(scope="module")
def expected(beside: Callable[[dict[str, Any]], Callable[[], Laptop]]) -> Callable[[], Laptop]:
    """The laptop's result, worked out beside the cluster's."""
    return beside(LOSSY)


@pytest.fixture(scope="module")
def release(second_node: None, expected: Callable[[], Laptop], install: Callable[..., Release]) -> Release:
    """A release whose training is under way on both nodes; its driver is on the one that stays."""
    stays = {"kubernetes.io/hostname": "node"}
    release = install(
        "losses",
        {
            "config": LOSSY,
            "jobDefaults": {
                "driver": {"nodeSelector": stays, "coreRequest": "50m"},
                "executor": {"coreRequest": "50m", "coreLimit": "400m"} | BEARS,
            },
            # ETL and sampling first, in the same driver.
            "jobs": {"etl": {"enabled": False}, "sample": {"enabled": False}, "train": {"step": "pipeline"}},
            "spark-operator": {"controller": {"nodeSelector": stays, "resources": {"requests": {"cpu": "50m"}}}},
        },
    )
    release.wait_round("train", 3, 900)
    assert len(release.ready("train")) == 2
    return release


def lose(release: Release, what: Callable[[], object]) -> tuple[float, list[dict[str, Any]]]:
    """Does it in a round; how long the longest of the next rounds took, and all rounds until then."""
    before = len(release.rounds("train"))
    release.wait_round("train", before + 1)
    what()
    release.wait_round("train", max(before + 1, len(release.rounds("train"))) + 4)
    rounds = release.rounds("train")
    return max(r["wallclock_s"] for r in rounds[before + 1 :]), rounds


def executor_on(release: Release, node: str) -> str:
    """The name of the executor's pod on the node."""

    def found() -> list[str]:
        return [pod["metadata"]["name"] for pod in release.ready("train") if pod["spec"]["nodeName"] == node]

    name: str = wait_for(f"an executor on {node}", 60, found)[0]
    return name


def whole(rounds: list[dict[str, Any]]) -> bool:
    """Whether every agent answered in every round."""
    return all(r["n_answered_agents"] == 9 and r["n_lost_agents"] == r["n_late_agents"] == 0 for r in rounds)


def replaced(release: Release, lost: str, seconds: float) -> float:
    """Waits until two other executors train; after how long."""
    began = time.monotonic()

    def two() -> bool:
        names = {pod["metadata"]["name"] for pod in release.ready("train")}
        return lost not in names and len(names) == 2 and release.rounds("train")[-1]["executors"] == 2

    wait_for(f"a replacement of {lost}", seconds, two)
    return time.monotonic() - began


def test_an_executor_whose_node_is_drained_hands_in_what_it_has_done_and_is_replaced(release: Release) -> None:
    victim = executor_on(release, NODE)
    drain = ["drain", NODE, "--force", "--delete-emptydir-data", "--pod-selector=spark-role=executor"]
    follow = ["kubectl", "-n", release.namespace, "logs", "-f", "--tail=0", victim]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as log:
        try:
            slowest_s, rounds = lose(release, lambda: kubectl(*drain, "--timeout=60s"))
            said = log.communicate(timeout=30)[0]
        finally:
            log.kill()
    assert slowest_s < 15
    assert whole(rounds)
    # The hook told the executor, and its task saw it and left by itself.
    assert "decommission" in said.lower(), said[-3000:]
    assert "the executor is leaving" in said, said[-3000:]
    assert replaced(release, victim, 120) < 120
    kubectl("uncordon", NODE)


def test_a_round_whose_executor_is_killed_ends_within_seconds_and_a_replacement_joins(release: Release) -> None:
    victim = executor_on(release, "node")
    slowest_s, rounds = lose(release, lambda: release.kubectl("delete", "pod", victim, "--force", "--grace-period=0"))
    assert slowest_s < 15
    assert whole(rounds)
    assert replaced(release, victim, 120) < 120


@pytest.fixture(scope="module")
def cut_off(release: Release) -> Iterator[str]:
    """The name of an executor's pod on a node that is cut off from now on."""
    victim = executor_on(release, NODE)
    yield victim
    nodes("heal")


def test_a_round_whose_node_is_cut_off_ends_within_30_s_and_its_executor_is_replaced_within_two_minutes(
    release: Release, cut_off: str
) -> None:
    began = time.monotonic()
    slowest_s, rounds = lose(release, lambda: nodes("cut"))
    assert slowest_s < 30
    assert whole(rounds)
    replaced(release, cut_off, 120)
    assert time.monotonic() - began < 120


def process(*words: str) -> psutil.Process:
    """The one process of this machine, which the second node's are too, whose command has these words."""
    (found,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if (command := process.info["cmdline"]) and command[0] == words[0] and set(words) <= set(command)
    ]
    return found


@contextmanager
def kubelet_stopped() -> Iterator[None]:
    """While the second node's kubelet stands still, so that it does not end what it should have ended long ago."""
    kubelet = process("kubelet", NODE)
    kubelet.suspend()
    try:
        yield
    finally:
        kubelet.resume()


def test_an_executor_that_comes_back_from_the_lost_node_is_turned_away_and_changes_nothing(
    release: Release, cut_off: str
) -> None:
    began = len(release.rounds("train"))
    refusal = f"pod {cut_off} was lost and replaced, and has come back: refused"
    # It has outlived the cut, and knows of nothing.
    lost = process("java", "--podName", cut_off)
    with kubelet_stopped():
        nodes("heal")
        # Its task is refused, or its Spark hears before that that it is not wanted any more, and ends.
        wait_for("the refusal", 90, lambda: not lost.is_running() or refusal in release.log("train"))
        release.wait_round("train", len(release.rounds("train")) + 3)
    kubectl("wait", f"node/{NODE}", "--for=condition=Ready", "--timeout=120s")
    wait_for("its end", 60, lambda: not lost.is_running())
    rounds = release.rounds("train")[began:]
    assert whole(rounds)
    assert all(r["executors"] == 2 for r in rounds)
    assert cut_off not in {pod["metadata"]["name"] for pod in release.pods("train", "executor")}


def test_a_driver_that_is_killed_is_started_again_and_goes_on_after_its_last_durable_round(release: Release) -> None:
    done = len(release.rounds("train"))
    release.kubectl("delete", "pod", f"{release.run('train')}-driver", "--force", "--grace-period=0")
    began = wait_for(
        "the training going on", 300, lambda: [s for s in release.lines("train", "training") if s["done"] >= done - 2]
    )
    assert began[0]["done"] < LOSSY["rounds"]["count"]
    release.wait_round("train", 2)


def test_after_all_losses_the_weights_are_those_of_a_laptop_that_lost_nothing(
    release: Release, expected: Callable[[], Laptop]
) -> None:
    """After each round since the driver's restart; how a training that was cut ends is in test_upgrade.py."""
    rounds = release.rounds("train")
    # What would follow is more of the same, and takes minutes.
    release.kubectl("delete", "sparkapplication", release.run("train"), "--wait=false")
    assert len(rounds) >= 2
    for own in rounds:
        assert own["w_global_sha256"] == expected().weights_after(own["round_id"]), own["round_id"]


@pytest.fixture(scope="module")
def gathered(release: Release, install: Callable[..., Release]) -> Iterator[Release]:
    """A release whose claims one node can mount; its driver has to be on the second one, which bears only its pods."""
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1000}
    kubectl("apply", "-f", "-", stdin=json.dumps(priority | {"metadata": {"name": "meters"}}))
    bears = {"priorityClassName": "meters"} | BEARS
    off = {job: {"enabled": False} for job in ("sample", "train")}
    yield install(
        "gathered",
        {
            "spark-operator": {"enabled": False},
            "storage": {"claim": {"accessMode": "ReadWriteOnce"}},
            "jobDefaults": {"driver": bears | {"nodeSelector": {"kubernetes.io/hostname": NODE}}, "executor": bears},
            "jobs": off,
        },
    )
    kubectl("delete", "priorityclass", "meters")


def test_pods_of_a_release_with_a_read_write_once_claim_gather_on_one_node_though_it_is_tainted(
    gathered: Release,
) -> None:
    def placed() -> list[dict[str, Any]]:
        pods = gathered.pods("etl", "driver") + gathered.pods("etl", "executor")
        return pods if len(pods) == 3 and all(pod["spec"].get("nodeName") for pod in pods) else []

    pods = wait_for("driver and executors", 300, placed, 0.5)
    assert {pod["spec"]["nodeName"] for pod in pods} == {NODE}
    assert {pod["spec"]["priority"] for pod in pods} == {1000}
    gathered.wait_completed("etl")
