"""Kubernetes' API as a pod uses it: what is asked over real TLS, and what is made of the answers."""

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neurogrid.backends.certificate import certificate_for
from neurogrid.errors import RunError
from neurogrid.incluster import PodApi, in_cluster

Asked = list[tuple[str, str, Any]]
APPLICATIONS = "/apis/sparkoperator.k8s.io/v1beta2/namespaces/meters/sparkapplications"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[PodApi, Asked]]:
    """A server over TLS that answers as Kubernetes does, and what it was asked."""
    asked: Asked = []
    ours = {"labels": {"spark-role": "executor", "spark-app-selector": "spark-1"}}
    known: dict[str, Any] = {
        "sparkapplications": {"kind": "SparkApplication"},
        "sparkapplications?labelSelector=a%2Fb%3Dc": {"items": [{"metadata": {"name": "n-etl"}}]},
        "n-etl": {"metadata": {"name": "n-etl"}},
        "well": {"metadata": ours, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
        "driver": {"metadata": {"labels": ours["labels"] | {"spark-role": "driver"}}},
        "stranger": {"metadata": {}},
        "unready": {"metadata": ours, "status": {"conditions": [{"type": "Ready", "status": "False"}]}},
        "leaving": {
            "metadata": ours | {"deletionTimestamp": "2026-11-23T22:00:00Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        },
    }

    class Api(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.path, json.loads(body) if body else None))
            found = known.get(self.path.rsplit("/", 1)[-1])
            allowed = self.headers["Authorization"] == "Bearer secret" and "/forbidden" not in self.path
            code = 403 if not allowed else 404 if found is None else 200
            content = json.dumps(found if code == 200 else {"message": "no"}).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_DELETE = do_POST = do_PATCH = answer  # noqa: N815 - so the standard library calls them

        def log_message(self, *args: object) -> None:
            return

    certificate = certificate_for(["127.0.0.1"])
    (tmp_path / "ca.crt").write_bytes(certificate.pem)
    (tmp_path / "key.pem").write_bytes(certificate.key_pem)
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "namespace").write_text("meters")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.crt", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found = in_cluster(
        {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.server_port)}, tmp_path
    )
    assert found is not None
    yield found, asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_pod_is_well_only_while_kubernetes_calls_it_ready_and_keeps_it(
    api: tuple[PodApi, Asked],
) -> None:
    pods, asked = api
    states = [pods.state(name, "spark-1") for name in ("well", "unready", "leaving", "unknown")]
    assert states == ["well", "lost", "lost", "gone"]
    assert asked[0][:2] == ("GET", "/api/v1/namespaces/meters/pods/well")


def test_a_pod_that_spark_has_not_labelled_as_an_executor_of_this_application_is_strange(
    api: tuple[PodApi, Asked],
) -> None:
    pods, _ = api
    assert [pods.state(name, "spark-1") for name in ("driver", "stranger")] == ["strange", "strange"]
    assert pods.state("well", "spark-2") == "strange"


def test_a_pod_is_removed_without_waiting_for_its_node(api: tuple[PodApi, Asked]) -> None:
    pods, asked = api
    pods.remove("leaving")
    pods.remove("unknown")  # gone already: that is what was wanted
    command, path, options = asked[0]
    assert (command, path) == ("DELETE", "/api/v1/namespaces/meters/pods/leaving")
    assert options["gracePeriodSeconds"] == 0


def test_a_removal_that_is_not_allowed_is_an_error(api: tuple[PodApi, Asked]) -> None:
    with pytest.raises(OSError, match="403"):
        api[0].remove("forbidden")


def test_outside_of_a_cluster_there_is_no_api(tmp_path: Path) -> None:
    assert in_cluster({}, tmp_path) is None
    assert in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path) is None


def test_applications_are_listed_made_changed_and_deleted_by_the_api_servers_own_paths(
    api: tuple[PodApi, Asked],
) -> None:
    pod, asked = api
    assert [found["metadata"]["name"] for found in pod.applications("a/b=c")] == ["n-etl"]
    pod.create_application({"kind": "SparkApplication"})
    pod.patch_application("n-etl", {"spec": {"suspend": False}})
    pod.delete_application("n-etl")
    assert [(method, path) for method, path, _ in asked[1:]] == [
        ("POST", APPLICATIONS),
        ("PATCH", f"{APPLICATIONS}/n-etl"),
        ("DELETE", f"{APPLICATIONS}/n-etl"),
    ]
    assert asked[2][2] == {"spec": {"suspend": False}}


def test_what_is_not_there_is_none_and_its_deletion_no_error(api: tuple[PodApi, Asked]) -> None:
    pod, _ = api
    assert pod.application("unknown") is None
    pod.delete_application("unknown")
    with pytest.raises(RunError, match="not in the cluster"):
        pod.patch_application("unknown", {})


def test_a_refusal_says_what_was_refused(api: tuple[PodApi, Asked]) -> None:
    with pytest.raises(RunError, match="refuses PATCH") as told:
        api[0].patch_application("forbidden", {})
    assert told.value.found == "403 no"


def test_an_api_server_that_the_pod_does_not_trust_is_not_believed(api: tuple[PodApi, Asked], tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(certificate_for(["127.0.0.1"]).pem)
    with pytest.raises(RunError, match="does not answer"):
        api[0].applications("a=b")
