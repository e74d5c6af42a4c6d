"""A release on the cluster that KUBECONFIG names, for tests marked `cluster`; they are skipped without one.

Each test module that asks for `install` has a namespace of its own, which enforces the `restricted` Pod Security
Standard and is removed at the end. See releases.py for what must be there.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from releases import Laptop, Release, kubectl, on_laptop, values


@pytest.fixture(scope="session")
def cluster() -> None:
    """Skips where there is no cluster."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster")
    for tool in ("kubectl", "helm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on the PATH")


@pytest.fixture(scope="module")
def namespace(cluster: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the module's own, which enforces `restricted`."""
    name = request.module.__name__.rsplit(".", 1)[-1].replace("_", "-") + f"-{os.getpid()}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def install(namespace: str) -> Iterator[Callable[..., Release]]:
    """Installs a release with values over the small ones: `install("city", {...})`; uninstalled at the end."""
    made: list[Release] = []

    def install(name: str, over: dict[str, Any] | None = None) -> Release:
        release = Release(name, namespace, values(namespace))
        made.append(release)
        release.helm("install", over)
        return release

    yield install
    for release in reversed(made):
        subprocess.run(
            ["helm", "uninstall", release.name, "-n", namespace], check=False, capture_output=True, timeout=300
        )


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Laptop]:
    """Runs a config on this machine, on the data that the releases make; the result's hash, once for each config."""
    folder = tmp_path_factory.mktemp("laptop")
    known: dict[str, Laptop] = {}

    def run(config: dict[str, Any]) -> Laptop:
        key = json.dumps(config, sort_keys=True)
        if key not in known:
            known[key] = on_laptop(folder / str(len(known)), config)
        return known[key]

    return run


@pytest.fixture(scope="module")
def beside(laptop: Callable[[dict[str, Any]], Laptop]) -> Iterator[Callable[[dict[str, Any]], Callable[[], Laptop]]]:
    """Runs a config on this machine while the cluster works: `beside(config)` gives what waits for the result."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda config: pool.submit(laptop, config).result
