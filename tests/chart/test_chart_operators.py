"""A release's own operator beside others. An API server is asked, here one that knows deployments and little else."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rendering import NAMESPACE, RELEASE, SYNTHETIC, Chart, merged

Install = Callable[..., str]
APPS = {"name": "deployments", "namespaced": True, "kind": "Deployment", "verbs": ["get", "list"]}
ANSWERS: dict[str, Any] = {
    "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [
            {"name": name, "versions": [{"groupVersion": f"{name}/v1", "version": "v1"}]}
            for name in ("apps", "discovery.k8s.io")
        ],
    },
    "/apis/discovery.k8s.io/v1": {
        "kind": "APIResourceList",
        "groupVersion": "discovery.k8s.io/v1",
        "resources": [APPS | {"name": "endpointslices", "kind": "EndpointSlice"}],
    },
    "/apis/apps/v1": {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [APPS]},
}


def operator(namespace: str, release: str, *watched: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "spark-operator", "app.kubernetes.io/instance": release}
    args = ["controller", "start", *watched]
    pod = {"spec": {"containers": [{"name": "c", "args": args}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{release}-controller", "namespace": namespace, "labels": labels},
        "spec": {"template": pod},
    }


@pytest.fixture
def install(chart: Chart, tmp_path: Path) -> Iterator[Install]:
    """What Helm says when it renders the chart for a cluster with these deployments."""
    deployments: list[dict[str, Any]] = []

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            found = ANSWERS.get(path)
            if path == "/apis/apps/v1/deployments":
                found = {"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": {}, "items": deployments}
            body = json.dumps(found or {"kind": "Status", "status": "Failure", "code": 404}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))

    def run(*there: dict[str, Any], values: dict[str, Any] | None = None) -> str:
        deployments[:] = there
        command = ["helm", "template", RELEASE, str(chart.path), "-n", NAMESPACE, "-f", "-", "--dry-run=server"]
        command += ["--kubeconfig", str(tmp_path / "kubeconfig")]
        given = json.dumps(merged(SYNTHETIC, values or {}))
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False).stderr

    yield run
    server.shutdown()
    server.server_close()


REFUSED = "another Spark operator is in the cluster already"


@pytest.mark.parametrize(
    ("watched", "words"),
    [
        (("--namespaces=a,neurogrid",), "which watches a, neurogrid"),
        (('--namespaces=""',), "which watches every namespace"),
        ((), "which watches every namespace"),
    ],
)
def test_a_second_operator_for_the_same_namespace_is_refused(
    install: Install, watched: tuple[str, ...], words: str
) -> None:
    said = install(operator("spark", "shared", *watched))
    assert REFUSED in said
    assert f"deployment spark/shared-controller, {words}" in said
    assert "set spark-operator.enabled=false" in said


@pytest.mark.parametrize(
    ("there", "values"),
    [
        (operator("spark", "shared", "--namespaces=a,b"), {}),
        (operator(NAMESPACE, RELEASE, f"--namespaces={NAMESPACE}"), {}),  # its own, at an upgrade
        (operator("spark", "shared"), {"spark-operator": {"enabled": False}}),
    ],
)
def test_operators_of_other_namespaces_and_its_own_are_no_reason_to_refuse(
    install: Install, there: dict[str, Any], values: dict[str, Any]
) -> None:
    said = install(there, values=values)
    assert REFUSED not in said
    assert "from release manifest" in said, "it is rendered; this API server knows too little for the next step"
