"""One training on a real cluster that loses, one after another, an executor's pod, a whole node and its driver.

The tests build on each other in their order: it is one training, and at its end its weights are those of a laptop that
lost nothing. Executors are held to part of a core, so that the training outlasts all that happens to it.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from releases import CONFIG, Laptop, Release, kubectl, merged, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

LOSSY = merged(CONFIG, {"rounds": {"count": int(os.environ.get("NEUROGRID_LOSSY_ROUNDS", "300"))}})
NODE = "node2"


def nodes(action: str) -> None:
    """Adds, cuts, heals or removes the second node; NEUROGRID_NODES names the script that can."""
    subprocess.run([os.environ["NEUROGRID_NODES"], action, NODE], check=True, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def second_node(cluster: None) -> Iterator[None]:
    if "NEUROGRID_NODES" not in os.environ:
        pytest.skip("NEUROGRID_NODES names no script that adds and cuts nodes")
    nodes("add")
    yield
    nodes("remove")


@pytest.fixture(scope="module")
def expected(laptop: Callable[[dict[str, Any]], Laptop]) -> Iterator[Callable[[], Laptop]]:
    """The laptop's result, worked out beside the cluster's."""
    results: list[Laptop] = []
    thread = threading.Thread(target=lambda: results.append(laptop(LOSSY)))
    thread.start()

    def result() -> Laptop:
        thread.join()
        return results[0]

    yield result
    thread.join()


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
                "executor": {"coreRequest": "50m", "coreLimit": "400m"},
            },
            "jobs": {"etl": {"executor": {"nodeSelector": stays}}, "sample": {"executor": {"nodeSelector": stays}}},
            "spark-operator": {"controller": {"nodeSelector": stays, "resources": {"requests": {"cpu": "50m"}}}},
        },
    )
    release.wait_round("train", 3, 900)
    assert len(release.ready("train")) == 2
    return release


def lose(release: Release, what: Callable[[], None]) -> tuple[float, list[dict[str, Any]]]:
    """Does it in a round; how long the longest of the next three rounds took, and all rounds until then."""
    before = len(release.rounds("train"))
    release.wait_round("train", before + 1)
    what()
    release.wait_round("train", before + 5)
    rounds = release.rounds("train")
    return max(r["wallclock_s"] for r in rounds[before + 1 : before + 5]), rounds


def replaced(release: Release, lost: str, seconds: float) -> float:
    """Waits until two other executors train; after how long."""
    began = time.monotonic()

    def two() -> bool:
        names = {pod["metadata"]["name"] for pod in release.ready("train")}
        return lost not in names and len(names) == 2 and release.rounds("train")[-1]["executors"] == 2

    wait_for(f"a replacement of {lost}", seconds, two)
    return time.monotonic() - began


def test_a_round_whose_executor_is_killed_ends_within_seconds_and_a_replacement_joins(release: Release) -> None:
    victim = release.ready("train")[0]["metadata"]["name"]
    slowest_s, rounds = lose(
        release, lambda: release.kubectl("delete", "pod", victim, "--force", "--grace-period=0") and None
    )
    assert slowest_s < 15
    assert all(r["n_lost_agents"] == 0 and r["n_answered_agents"] == 9 for r in rounds)
    assert replaced(release, victim, 120) < 120


def test_a_round_whose_node_is_cut_off_ends_within_30_s_and_its_executor_is_replaced_within_two_minutes(
    release: Release,
) -> None:
    on_node = wait_for(
        f"an executor on {NODE}", 60, lambda: [p for p in release.ready("train") if p["spec"]["nodeName"] == NODE]
    )
    victim = on_node[0]["metadata"]["name"]
    began = time.monotonic()
    try:
        slowest_s, rounds = lose(release, lambda: nodes("cut"))
        assert slowest_s < 30
        assert all(r["n_lost_agents"] == 0 and r["n_answered_agents"] == 9 for r in rounds)
        replaced(release, victim, 120)
        assert time.monotonic() - began < 120
    finally:
        nodes("heal")


def test_an_executor_that_comes_back_from_the_lost_node_changes_nothing(release: Release) -> None:
    began = len(release.rounds("train"))
    kubectl("wait", f"node/{NODE}", "--for=condition=Ready", "--timeout=120s")
    release.wait_round("train", began + 10)
    assert all(r["executors"] == 2 and r["n_answered_agents"] == 9 for r in release.rounds("train")[began + 3 :])


def test_a_driver_that_is_killed_is_started_again_and_goes_on_after_its_last_durable_round(release: Release) -> None:
    done = len(release.rounds("train"))
    release.kubectl("delete", "pod", f"{release.name}-train-driver", "--force", "--grace-period=0")
    began = wait_for(
        "the training going on", 300, lambda: [s for s in release.lines("train", "training") if s["done"] >= done - 2]
    )
    assert began[0]["done"] < LOSSY["rounds"]["count"]
    release.wait_round("train", 2)


def test_after_all_losses_the_weights_are_those_of_a_laptop_that_lost_nothing(
    release: Release, expected: Callable[[], Laptop]
) -> None:
    result = release.wait_completed("train", 900)
    assert result["w_final_sha256"] == expected().weights
