"""The files for a Grafana without the sidecar, and the script that starts one on them in a public workflow."""

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from panel_queries import ROOT, boards
from test_grafana_schema import PACKAGES

PROVISIONING = ROOT / "monitoring" / "provisioning"
FILES = sorted(PROVISIONING.rglob("*.yaml"))


@pytest.fixture(scope="module")
def screenshots() -> ModuleType:
    loader = SourceFileLoader("screenshots", str(ROOT / "monitoring" / "screenshots"))
    spec = spec_from_loader("screenshots", loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def given(command: list[str], flag: str, separator: str) -> dict[str, str]:
    values = [word for before, word in pairwise(command) if before == flag]
    return {name: rest for name, _, rest in (value.partition(separator) for value in values)}


def provisioned() -> dict[str, Any]:
    assert [file.parent.name for file in FILES] == ["dashboards", "datasources"], "where Grafana looks for them"
    return {file.parent.name: yaml.safe_load(file.read_text()) for file in FILES}


def test_grafana_is_told_all_that_its_files_ask_for(screenshots: ModuleType) -> None:
    command = screenshots.grafana("http://127.0.0.1:9090", 3001)
    environment = given(command, "-e", "=")
    asked = {name for file in FILES for name in re.findall(r"\$\{(\w+)\}", file.read_text())}
    assert asked == {"NEUROGRID_PROMETHEUS_URL", "NEUROGRID_DASHBOARDS"}
    assert asked <= set(environment)
    mounts = {there.removesuffix(":ro"): Path(here) for here, there in given(command, "-v", ":").items()}
    assert mounts["/etc/grafana/provisioning"] == PROVISIONING
    assert {path.stem for path in mounts[environment["NEUROGRID_DASHBOARDS"]].iterdir()} == set(boards())


def test_the_source_and_the_folder_are_what_the_dashboards_need() -> None:
    files = provisioned()
    (source,) = files["datasources"]["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    (provider,) = files["dashboards"]["providers"]
    assert provider["type"] == "file"


def test_the_grafana_that_is_started_is_the_one_whose_schema_is_checked(screenshots: ModuleType) -> None:
    assert screenshots.IMAGE.rpartition(":")[2] == PACKAGES[0].rpartition("@")[2]
