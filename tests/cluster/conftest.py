"""A release on the cluster that KUBECONFIG names, for tests marked `cluster`; they are skipped without one.

Each test module that asks for `install` has a namespace of its own, which enforces the `restricted` Pod Security
Standard and is removed at the end; three modules share the release `first`. See releases.py for what must be there.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
from releases import FIRST, TAUGHT, Laptop, Release, kubectl, prepared_on_laptop, trained_on_laptop, values


@pytest.fixture(scope="session")
def cluster() -> None:
    """Skips where there is no cluster."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster")
    for tool in ("kubectl", "helm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on the PATH")


@contextmanager
def made_namespace(name: str) -> Iterator[str]:
    """A namespace that enforces `restricted`, until the end."""
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def installer(namespace: str) -> Iterator[Callable[..., Release]]:
    """Installs releases there; what it has installed is uninstalled at the end."""
    made: list[Release] = []

    def install(name: str, over: dict[str, Any] | None = None, **options: Any) -> Release:
        release = Release(name, namespace, values(namespace))
        made.append(release)
        release.helm("install", over, **options)
        return release

    yield install
    for release in reversed(made):
        subprocess.run(
            ["helm", "uninstall", release.name, "-n", namespace], check=False, capture_output=True, timeout=300
        )


@pytest.fixture(scope="module")
def namespace(cluster: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the module's own."""
    name = request.module.__name__.rsplit(".", 1)[-1].replace("_", "-")
    with made_namespace(f"{name}-{os.getpid()}") as made:
        yield made


@pytest.fixture(scope="module")
def install(namespace: str) -> Iterator[Callable[..., Release]]:
    """Installs a release with values over the small ones: `install("city", {...})`; uninstalled at the end."""
    with installer(namespace) as install:
        yield install


@pytest.fixture(scope="session")
def tenants(cluster: None) -> Iterator[str]:
    """A namespace beside that of the first release, which the first release's operator serves, too."""
    with made_namespace(f"tenant-{os.getpid()}") as made:
        yield made


@pytest.fixture(scope="session")
def first(expected_first: Callable[[], Laptop], tenants: str) -> Iterator[Release]:
    """The release that the modules of `make cluster-test-first` share; its jobs run by themselves."""
    with made_namespace(f"first-{os.getpid()}") as own, installer(own) as install:
        yield install("first", FIRST | {"spark-operator": {"spark": {"jobNamespaces": [own, tenants]}}})


@pytest.fixture(scope="session")
def expected_first(laptop: Callable[[dict[str, Any]], Laptop]) -> Iterator[Callable[[], Laptop]]:
    """What the first release's training comes to on a laptop, worked out beside the cluster's."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(laptop, TAUGHT).result


@pytest.fixture(scope="session")
def trained(first: Release) -> dict[str, Any]:
    """What the first release's training said at its end."""
    return first.wait_completed("train", 1500)


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Laptop]:
    """Trains with a config on this machine, on the data that the releases make; once for each config."""
    folder = tmp_path_factory.mktemp("laptop")
    manifest = cache(lambda: prepared_on_laptop(folder / "prepared"))
    known: dict[str, Laptop] = {}

    def run(config: dict[str, Any]) -> Laptop:
        key = json.dumps(config, sort_keys=True)
        if key not in known:
            known[key] = trained_on_laptop(folder / str(len(known)), folder / "prepared", manifest(), config)
        return known[key]

    return run


@pytest.fixture(scope="module")
def beside(laptop: Callable[[dict[str, Any]], Laptop]) -> Iterator[Callable[[dict[str, Any]], Callable[[], Laptop]]]:
    """Runs a config on this machine while the cluster works: `beside(config)` gives what waits for the result."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda config: pool.submit(laptop, config).result
