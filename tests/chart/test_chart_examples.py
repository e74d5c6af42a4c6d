"""k8s/: example values ask for no more than their clusters have; namespaces and the kind cluster are what they say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import ROOT, Chart, all_of

VALUES = ROOT / "k8s" / "values"
UNITS = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 2**10, "g": 2**30, "": 1}
# cores and bytes that the comment at the head of the example gives
ROOM = {"laptop": (4, 12e9), "small": (3 * 8, 3 * 32e9), "large": (24 * 8, 24 * 64e9)}


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
    """All drivers are there from the start; executors only while their job runs, which is one at a time."""
    cores, room = ROOM[name]
    specs = [application["spec"] for application in all_of(chart.render(example(name)), "SparkApplication")]
    assert len(specs) >= 4

    def largest(need: Callable[[dict[str, Any]], float]) -> float:
        executors = max(spec["executor"]["instances"] * need(spec["executor"]) for spec in specs)
        return executors + sum(need(spec["driver"]) for spec in specs)

    assert largest(lambda pod: amount(pod.get("coreRequest", pod["cores"]))) <= cores
    # a tenth for the operator, the exporter and the system's own pods
    assert largest(lambda pod: memory(pod["memory"]) + memory(pod["memoryOverhead"])) <= 0.9 * room


def test_every_example_is_among_those_that_are_tested() -> None:
    assert {file.stem for file in VALUES.glob("*.yaml")} == set(ROOM)


def test_the_pipeline_waits_in_its_order_on_a_laptop(chart: Chart) -> None:
    after = {}
    for application in all_of(chart.render(example("laptop")), "SparkApplication"):
        env = application["spec"]["driver"]["template"]["spec"]["containers"][0]["env"]
        named = {entry["name"]: entry.get("value") for entry in env}
        after[named["NEUROGRID_JOB"]] = named["NEUROGRID_AFTER"]
    assert after == {"etl": "", "sample": "etl", "teacher": "sample", "train": "teacher", "evaluate": "train"}


def test_namespaces_enforce_the_restricted_standard() -> None:
    for namespace in yaml.safe_load_all((ROOT / "k8s" / "namespaces.yaml").read_text()):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_kind_cluster_has_nodes_to_spread_executors_over() -> None:
    kind = yaml.safe_load((ROOT / "k8s" / "kind.yaml").read_text())
    assert (kind["kind"], kind["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    assert [node["role"] for node in kind["nodes"]].count("worker") >= 2


@pytest.mark.parametrize("script", ["build", "load"])
def test_the_scripts_of_images_say_how_they_are_used(script: str) -> None:
    assert Path(ROOT / "images" / script).stat().st_mode & 0o111
