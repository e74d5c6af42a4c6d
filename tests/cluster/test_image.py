"""What is in the built image, and what is not, as a pod of it shows and as the tool that built it says."""

import json
import os
import shutil
import subprocess
from typing import Any

import pytest
from releases import IMAGE
from strangers import Bystander, put

pytestmark = pytest.mark.cluster

LARGEST_MB = 1860
"""What docs/kubernetes.md says, unpacked."""


@pytest.fixture(scope="module")
def pod(namespace: str) -> Bystander:
    return put(namespace, "image")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """The image's own config, from whichever tool has it."""
    asks = {"buildah": ["inspect", "--type", "image"], "docker": ["image", "inspect"], "podman": ["image", "inspect"]}
    env = {"STORAGE_DRIVER": "overlay"} | dict(os.environ)
    for tool, ask in asks.items():
        if shutil.which(tool):
            done = subprocess.run([tool, *ask, IMAGE], capture_output=True, text=True, check=False, env=env)
            if done.returncode == 0:
                said = json.loads(done.stdout)
                found: dict[str, Any] = said["OCIv1"]["config"] if tool == "buildah" else said[0]["Config"]
                return found
    pytest.skip(f"no docker, podman or buildah here has {IMAGE}")


def test_its_user_is_185_and_tini_its_first_process(pod: Bystander, config: dict[str, Any]) -> None:
    assert config["User"] == "185:185"
    assert config["Entrypoint"] == ["/opt/entrypoint.sh"]
    assert pod.run("id", "-u").strip() == pod.run("id", "-g").strip() == "185"
    assert pod.run("cat", "/proc/1/comm").strip() == "tini"


def test_its_labels_say_what_it_is_and_what_it_was_built_from(config: dict[str, Any]) -> None:
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == "NeuroGrid on Spark"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] == IMAGE.rsplit(":", 1)[1]
    assert len(labels["revision"]) == 40
    assert labels["created"][:2] == "20"
    assert labels["base.name"] == "docker.io/library/debian:bookworm-slim"


def test_its_sbom_names_debians_pythons_and_sparks_packages_as_they_are_installed(pod: Bystander) -> None:
    sbom = json.loads(pod.run("cat", "/opt/neurogrid/sbom.cdx.json"))
    assert sbom["bomFormat"] == "CycloneDX"
    components = {component["name"]: component for component in sbom["components"]}
    assert len(components) > 100
    spark, java = "pkg:maven/org.apache.spark/spark-core_", "pkg:deb/debian/openjdk-17-jre-headless@17."
    for own in ("pkg:deb/debian/bash@", "pkg:pypi/pyspark@", spark, java):
        assert any(component["purl"].startswith(own) for component in sbom["components"]), own
    installed = pod.run("python", "-c", "import torch, pyarrow; print(torch.__version__, pyarrow.__version__)").split()
    assert [components[name]["version"] for name in ("torch", "pyarrow")] == installed


def test_nothing_in_it_installs_more(pod: Bystander) -> None:
    tools = ["pip", "pip3", "apt", "apt-get", "gcc", "cc", "make", "curl", "wget", "git"]
    find = f"import shutil; print([tool for tool in {tools} if shutil.which(tool)])"
    assert pod.run("python", "-c", find).strip() == "[]"
    find = "import importlib.util as u; print([name for name in ('pip', 'setuptools', 'pytest') if u.find_spec(name)])"
    assert pod.run("python", "-c", find).strip() == "[]"


def test_it_is_no_larger_than_the_docs_say(pod: Bystander) -> None:
    count = """
import os
total = 0
for folder, _, names in os.walk("/"):
    if not folder.startswith(("/proc", "/sys", "/dev", "/tmp")):
        total += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
print(total // 1_000_000)
"""
    assert int(pod.run("python", "-c", count)) <= LARGEST_MB
