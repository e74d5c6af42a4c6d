"""What the chart says twice says the same twice."""

import json
import runpy
import tomllib

import pytest
import yaml
from rendering import CHART, ROOT, Chart

from neurogrid.config import Config

GENERATE = runpy.run_path(str(ROOT / "helm" / "generate.py"))
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def test_the_schema_holds_the_configs_own_schema_as_it_is_now() -> None:
    assert (CHART / "values.schema.json").read_text() == GENERATE["schema"](), "run `make chart-docs`"


def test_the_readme_has_every_value_with_its_default_and_meaning() -> None:
    assert (CHART / "README.md").read_text() == GENERATE["readme"](), "run `make chart-docs`"


def leaves(tree: dict, path: str = "") -> list[str]:
    found = []
    for key, value in tree.items():
        here = f"{path}{key}"
        found += leaves(value, here + ".") if isinstance(value, dict) and value else [here]
    return found


def test_no_value_is_without_a_comment() -> None:
    documented = {value.path for value in GENERATE["values"]((CHART / "values.yaml").read_text())}
    for leaf in leaves(DEFAULTS):
        parts = leaf.split(".")
        assert any(".".join(parts[:n]) in documented for n in range(1, len(parts) + 1)), leaf


def test_every_object_of_the_schema_is_closed_or_a_free_mapping_of_one_type() -> None:
    free = {"/properties/global", "/properties/spark-operator"}

    def walk(node: object, path: str) -> None:
        if isinstance(node, list):
            for n, item in enumerate(node):
                walk(item, f"{path}/{n}")
        elif isinstance(node, dict):
            ours = path not in free and not path.endswith(("/items", "/affinity"))
            if node.get("type") == "object" and ours:
                assert node.get("additionalProperties") not in (None, True), path
            for key, item in node.items():
                walk(item, f"{path}/{key}")

    walk(SCHEMA, "")


def test_every_default_stands_in_the_schema_and_every_key_of_the_schema_has_a_default() -> None:
    for key in SCHEMA["properties"]:
        assert key in DEFAULTS or key == "global", key
    for key in SCHEMA["$defs"]["job"]["properties"]:
        assert key in DEFAULTS["jobDefaults"], key
    for role in ("driver", "executor"):
        assert set(SCHEMA["$defs"][role]["properties"]) == set(DEFAULTS["jobDefaults"][role])
    for component in ("exporter", "history", "submit", "test", "ui", "network", "image", "data", "storage"):
        known = SCHEMA["properties"][component]["properties"]
        assert set(DEFAULTS[component]) == {key for key, may_be in known.items() if may_be}, component


def test_the_charts_version_of_the_software_is_the_softwares() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version


def test_every_job_has_its_entry_file(chart: Chart) -> None:
    steps = SCHEMA["$defs"]["job"]["properties"]["step"]["enum"]
    for step in filter(None, steps):
        assert (ROOT / "jobs" / f"{step}.py").is_file()


@pytest.mark.parametrize("value", [2_000_000, 12_345_678, 0.0001, 1e-7])
def test_numbers_reach_the_config_as_they_were_written(chart: Chart, value: float) -> None:
    key = "batch_bytes" if isinstance(value, int) else "join_timeout_s"
    documents = chart.render({"data": {"kind": "synthetic"}, "config": {"backend": {key: value}}})
    text = next(d for d in documents if d["metadata"]["name"] == "ng-train-config")["data"]["config.yaml"]
    assert getattr(Config.model_validate(yaml.safe_load(text)).backend, key) == value
