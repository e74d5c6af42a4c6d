"""The chart rendered with given values, as a user's `helm template` would."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "helm" / "neurogrid"
RELEASE, NAMESPACE = "ng", "neurogrid"
Values = Mapping[str, Any]
SYNTHETIC: dict[str, Any] = {"data": {"kind": "synthetic"}}
"""Made-up readings, which are the default too."""


@dataclass(frozen=True)
class Chart:
    """A copy of the chart with the operator's chart in it, ready to render."""

    path: Path

    def render(
        self, values: Values, release: str = RELEASE, namespace: str = NAMESPACE, flags: tuple[str, ...] = ()
    ) -> list[dict[str, Any]]:
        """Every object, in Helm's order; `flags` are Helm's."""
        done = _template(self.path, json.dumps(values), release, namespace, flags)
        assert done.returncode == 0, done.stderr
        # The parser in C, which is ten times as fast: these tests render some hundred charts.
        return [document for document in yaml.load_all(done.stdout, yaml.CSafeLoader) if document]

    def refusal(self, values: Values, release: str = RELEASE, namespace: str = NAMESPACE) -> str:
        """What Helm says instead of rendering."""
        done = _template(self.path, json.dumps(values), release, namespace, ())
        assert done.returncode != 0, "it was rendered"
        assert not done.stdout.strip()
        return done.stderr

    def notes(self, values: Values) -> str:
        """What an install would print at its end, without a cluster."""
        command = ["helm", "install", RELEASE, str(self.path), "-n", NAMESPACE, "--dry-run=client", "-f", "-"]
        done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=True)
        return done.stdout.partition("NOTES:")[2]


@cache  # many tests look at the same rendering, and Helm takes a quarter of a second
def _template(
    path: Path, values: str, release: str, namespace: str, flags: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    command = ["helm", "template", release, str(path), "-n", namespace, "-f", "-", *flags]
    # So short a process need not collect its garbage, which is a quarter of its time.
    env = os.environ | {"GOGC": "off"}
    return subprocess.run(command, input=values, capture_output=True, text=True, check=False, env=env)


def copy_chart(folder: Path) -> Chart:
    """Copies the chart and puts the operator's chart into it; skips where Helm or that chart is missing.

    NEUROGRID_CHARTS names a folder that holds the operator's chart; without it the one that `helm dependency update`
    brought is taken.
    """
    if not shutil.which("helm"):
        pytest.skip("helm is not on the PATH")
    places = [Path(os.environ.get("NEUROGRID_CHARTS", "missing")), CHART / "charts"]
    archives = [archive for place in places for archive in place.glob("spark-operator-*.tgz")]
    if not archives:
        pytest.skip("the operator's chart is not there: make deploy brings it, or NEUROGRID_CHARTS names its folder")
    path = folder / "neurogrid"
    shutil.copytree(CHART, path, ignore=shutil.ignore_patterns("charts"))
    (path / "charts").mkdir()
    shutil.copy(archives[0], path / "charts")
    return Chart(path)


def find(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The one object of this kind and name."""
    found = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} objects {kind}/{name}"
    return found[0]


def all_of(documents: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    """Every object of these kinds."""
    return [document for document in documents if document["kind"] in kinds]


def jobs(documents: list[dict[str, Any]], release: str = RELEASE) -> dict[str, dict[str, Any]]:
    """The SparkApplication of every job, on or off, as the release keeps it to be submitted."""
    kept = find(documents, "ConfigMap", f"{release}-jobs")["data"]
    return {name.removesuffix(".yaml"): yaml.load(text, yaml.CSafeLoader) for name, text in kept.items()}


def application(chart: Chart, job: str, values: Values | None = None) -> dict[str, Any]:
    """The SparkApplication of a job."""
    return jobs(chart.render(merged(SYNTHETIC, values or {})))[job]


def pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every pod that the release would have but the operator's, as a pod template, by what it is for."""
    found = {
        d["metadata"]["name"]: d["spec"]["template"]
        for d in all_of(documents, "Deployment", "Job")
        if "spark-operator" not in d["metadata"]["name"]
    }
    found |= {d["metadata"]["name"]: d for d in all_of(documents, "Pod")}
    for name, application in jobs(documents).items():
        found |= {f"{name} {role}": application["spec"][role]["template"] for role in ("driver", "executor")}
    return found


def environment(application: dict[str, Any], role: str = "driver") -> dict[str, str]:
    """The literal environment variables of a SparkApplication's driver or executors."""
    container = application["spec"][role]["template"]["spec"]["containers"][0]
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def merged(*parts: Values) -> dict[str, Any]:
    """Values of which later ones win, key by key."""
    result: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            inner = result.get(key)
            result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result
