"""What people are told to do can be done: every value that advice names is one of the chart's."""

import ast
import os
import re
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from neurogrid.cluster.diagnosis import pod_trouble
from neurogrid.config import Config

ROOT = Path(__file__).resolve().parents[2]
VALUES = yaml.safe_load((ROOT / "helm" / "neurogrid" / "values.yaml").read_text())
FIRST = {name.replace("-", "").lower() for name in VALUES} | {"config"}
NAMED = re.compile(r"(?<![\w./-])([A-Za-z][A-Za-z-]*)((?:\.[\w<>-]+)+)(?![\w/(])")
MORE = re.compile(r"(?:and|or|,) \.(\w+)")
"""Advice that goes on: `jobs.train.executor.memory and .memoryOverhead`."""
TEMPLATES = ROOT / "helm" / "neurogrid" / "templates"
TEXTS = [ROOT / "docs" / "kubernetes.md", *(TEMPLATES / name for name in ("refusals.yaml", "NOTES.txt"))]
MODULES = [
    *sorted((ROOT / "neurogrid" / "cluster").glob("*.py")),
    *sorted((ROOT / "neurogrid" / "cli").glob("k8s*.py")),
    ROOT / "neurogrid" / "cli" / "remote.py",
    *(ROOT / "neurogrid" / "pipeline" / name for name in ("completion.py", "job.py")),
]
GAPS = {"own.values": "jobs.train.executor", "job": "train", "spark_role or 'driver'": "driver"}
TEMPLATE_GAPS = {"{values}": "jobs.train.executor", "{job}": "jobs.train", "{key}": "coreRequest"}


def strings(file: Path) -> Iterator[str]:
    """The strings of a module but its documentation, with their gaps filled as they would be."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(map(_part, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
            yield re.sub("|".join(map(re.escape, TEMPLATE_GAPS)), lambda gap: TEMPLATE_GAPS[gap[0]], node.value)


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.FormattedValue):
        return GAPS.get(ast.unparse(part.value), "x")
    assert isinstance(part, ast.Constant)
    return str(part.value)


def named(text: str) -> Iterator[str]:
    """All that looks like one of the chart's values."""
    text = text.replace("sparkoperator.k8s.io", "")
    for first, rest in NAMED.findall(text):
        if first.replace("-", "").lower() in FIRST and not rest.endswith((".py", ".yaml", ".json", ".md")):
            yield first + rest


@cache
def operator() -> dict[str, Any] | None:
    """The values of the operator's own chart; None where it is not there to be read."""
    places = (Path(os.environ.get("NEUROGRID_CHARTS", "missing")), ROOT / "helm" / "neurogrid" / "charts")
    for archive in (found for place in places for found in sorted(place.glob("spark-operator-*.tgz"))):
        with tarfile.open(archive) as chart:
            content = chart.extractfile("spark-operator/values.yaml")
            assert content is not None
            values: dict[str, Any] = yaml.safe_load(content)
        return values | {"enabled": True}
    return None


def there(value: str) -> bool:
    """Whether the chart has a value of this name."""
    first, *keys = value.split(".")
    tree: Any = VALUES.get(first)
    if first == "jobs":
        tree, keys = VALUES["jobDefaults"], keys[1:]
    elif first == "config":
        tree = Config().model_dump()
    elif first == "spark-operator":
        tree = operator()
        if tree is None:
            return True
    for key in keys:
        if not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return first in VALUES


def test_every_value_that_advice_names_is_one_of_the_charts() -> None:
    told = {file.name: set(named(file.read_text())) for file in TEXTS}
    for file in MODULES:
        text = "\n".join(strings(file))
        told[file.name] = {*named(text), *(f"jobs.train.executor.{key}" for key in MORE.findall(text))}
    assert {file: wrong for file, values in told.items() if (wrong := {v for v in values if not there(v)})} == {}
    assert "jobs.train.executor.memoryOverhead" in told["diagnosis.py"], "advice with a gap is looked at, too"


@pytest.mark.parametrize(
    ("missing", "fix"),
    [
        ("cpu", "jobs.teacher.executor.coreRequest"),
        ("memory", "jobs.teacher.executor.memory and .memoryOverhead"),
        ("nvidia.com/gpu", "jobs.teacher.executor.gpu.quantity"),
        ("ephemeral-storage", ""),
    ],
)
def test_a_pod_that_asks_for_too_much_is_told_which_value_asks_if_one_does(missing: str, fix: str) -> None:
    message = f"0/1 nodes are available: 1 Insufficient {missing}. preemption: no victims."
    labels = {"spark-role": "executor", "neurogrid.io/job": "teacher"}
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    trouble = pod_trouble({"metadata": {"name": "p", "labels": labels}, "status": {"conditions": [condition]}})
    assert trouble is not None
    assert f"no node has {missing} enough to spare" in trouble.what
    assert trouble.fix == (f"ask for less ({fix}), or add nodes" if fix else "add nodes that have it")
