"""k8s/: example values ask for no more than their clusters have; namespaces and the kind cluster are what they say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import ROOT, Chart, all_of, environment, jobs

VALUES = ROOT / "k8s" / "values"
UNITS = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 2**10, "g": 2**30, "": 1}
# cores and bytes that the comment at the head of the example gives
ROOM = {"laptop": (2, 6 * 2**30), "small": (3 * 8, 3 * 32e9), "large": (24 * 8, 24 * 64e9)}

SYSTEM = 300 * 2**20
"""What the pods of kind's own system ask for."""


def amount(text: object) -> float:
    """A quantity of Kubernetes or of Spark (600m of memory is mebibytes there)."""
    word = str(text)
    number = word.rstrip("mKMGikg")
    return float(number) * UNITS[word[len(number) :]]


def memory(text: str) -> float:
    return float(text[:-1]) * {"m": 2**20, "g": 2**30}[text[-1]]


def example(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((VALUES / f"{name}.yaml").read_text())
    return content


@pytest.mark.parametrize("name", ROOM)
def test_a_releases_pods_fit_into_the_cluster_that_the_example_is_for(chart: Chart, name: str) -> None:
    """A job that waits for its turn has no pods, so the largest job counts."""
    cores, room = ROOM[name]
    documents = chart.render(example(name))
    specs = [application["spec"] for application in jobs(documents).values()]
    assert len(specs) >= 4
    pods = [d["spec"]["template"]["spec"] for d in all_of(documents, "Deployment", "Job")]
    beside = sum(amount(c["resources"]["requests"]["memory"]) for pod in pods for c in pod["containers"])

    def largest(need: Callable[[dict[str, Any]], float]) -> float:
        return max(spec["executor"]["instances"] * need(spec["executor"]) + need(spec["driver"]) for spec in specs)

    assert largest(lambda pod: amount(pod.get("coreRequest", pod["cores"]))) <= cores
    largest_job = largest(lambda pod: memory(pod["memory"]) + memory(pod["memoryOverhead"]))
    assert largest_job + beside + SYSTEM <= room


def test_every_example_is_among_those_that_are_tested() -> None:
    assert {file.stem for file in VALUES.glob("*.yaml")} == set(ROOM)


def test_the_pipeline_waits_in_its_order_on_a_laptop(chart: Chart) -> None:
    after = {}
    for job, application in jobs(chart.render(example("laptop"))).items():
        after[job] = environment(application)["NEUROGRID_AFTER"]
    # The teacher is off, and the training does not wait for it.
    assert after == {"etl": "", "sample": "etl", "teacher": "sample", "train": "sample", "evaluate": "train"}


def test_namespaces_enforce_the_restricted_standard() -> None:
    for namespace in yaml.safe_load_all((ROOT / "k8s" / "namespaces.yaml").read_text()):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_kind_cluster_has_the_one_node_that_a_laptops_claim_is_mounted_on() -> None:
    kind = yaml.safe_load((ROOT / "k8s" / "kind.yaml").read_text())
    assert (kind["kind"], kind["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    assert [node["role"] for node in kind["nodes"]] == ["control-plane"]


@pytest.mark.parametrize("script", ["build", "load"])
def test_the_scripts_of_images_say_how_they_are_used(script: str) -> None:
    assert Path(ROOT / "images" / script).stat().st_mode & 0o111
