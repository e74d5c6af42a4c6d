"""Which executors' pods are given up, and what is said to Kubernetes about them."""

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neurogrid.backends.certificate import certificate_for
from neurogrid.backends.pods import LostPods, PodsApi, State, in_cluster


class Cluster:
    """Pods with states, and which were removed."""

    def __init__(self, **states: State) -> None:
        self.states, self.removed, self.down = states, [], False

    def state(self, name: str) -> State:
        if self.down:
            raise OSError("no route to host")
        return self.states[name]

    def remove(self, name: str) -> None:
        if self.down:
            raise OSError("no route to host")
        self.removed.append(name)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def empty(pods: LostPods, host: str = "a") -> None:
    pods.arrived(host)
    pods.left(host)


def test_a_pod_that_is_lost_is_removed_after_the_time_allowed_and_not_before(clock: Clock) -> None:
    cluster = Cluster(a="lost")
    pods = LostPods(cluster, 15, clock)
    empty(pods)
    clock.now = 14.9
    assert pods.look() == []
    clock.now = 15
    assert pods.look() == ["a"]
    assert pods.look() == []
    assert cluster.removed == ["a"]


def test_a_pod_that_was_removed_is_refused_for_ever(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    pods = LostPods(Cluster(a="lost", b="well"), 15, clock)
    empty(pods)
    clock.now = 20
    pods.look()
    caplog.clear()
    for _ in range(2):
        with pytest.raises(ValueError, match="has been replaced"):
            pods.arrived("a")
    pods.arrived("b")
    # said, but not as often as it tries
    assert caplog.messages == ["pod a was lost and replaced, and has come back: refused"]


def test_a_pod_whose_task_came_back_is_left_alone(clock: Clock) -> None:
    cluster = Cluster(a="lost")
    pods = LostPods(cluster, 15, clock)
    empty(pods)
    pods.arrived("a")
    clock.now = 100
    assert pods.look() == []
    assert cluster.removed == []


def test_a_pod_with_one_task_of_two_is_left_alone(clock: Clock) -> None:
    pods = LostPods(Cluster(a="lost"), 15, clock)
    pods.arrived("a")
    empty(pods)
    clock.now = 100
    assert pods.look() == []


def test_a_pod_that_is_well_has_longer_before_it_counts_as_hung(clock: Clock) -> None:
    pods = LostPods(Cluster(a="well"), 15, clock)
    empty(pods)
    clock.now = 59
    assert pods.look() == []
    clock.now = 60
    assert pods.look() == ["a"]


def test_a_pod_that_is_gone_is_not_removed_again_and_does_not_come_back(clock: Clock) -> None:
    cluster = Cluster(a="gone")
    pods = LostPods(cluster, 15, clock)
    empty(pods)
    clock.now = 15
    assert pods.look() == []
    assert cluster.removed == []
    with pytest.raises(ValueError, match="has been replaced"):
        pods.arrived("a")


def test_while_kubernetes_does_not_answer_nothing_is_given_up(clock: Clock) -> None:
    cluster = Cluster(a="lost")
    pods = LostPods(cluster, 15, clock)
    empty(pods)
    clock.now, cluster.down = 20, True
    assert pods.look() == []
    cluster.down = False
    assert pods.look() == ["a"]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[PodsApi, list[tuple[str, str, Any]]]]:
    """A server over TLS that answers as Kubernetes does, and what it was asked."""
    asked: list[tuple[str, str, Any]] = []
    pods = {
        "well": {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
        "unready": {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}},
        "leaving": {
            "metadata": {"deletionTimestamp": "2026-11-23T22:00:00Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        },
    }

    class Api(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.path, json.loads(body) if body else None))
            pod = pods.get(self.path.rsplit("/", 1)[-1])
            allowed = self.headers["Authorization"] == "Bearer secret" and "/forbidden" not in self.path
            code = 403 if not allowed else 404 if pod is None else 200
            content = json.dumps(pod if code == 200 else {"message": "no"}).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_DELETE = answer  # noqa: N815 - so the standard library calls them

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
    api: tuple[PodsApi, list[tuple[str, str, Any]]],
) -> None:
    pods, asked = api
    states = [pods.state(name) for name in ("well", "unready", "leaving", "unknown")]
    assert states == ["well", "lost", "lost", "gone"]
    assert asked[0][:2] == ("GET", "/api/v1/namespaces/meters/pods/well")


def test_a_pod_is_removed_without_waiting_for_its_node(api: tuple[PodsApi, list[tuple[str, str, Any]]]) -> None:
    pods, asked = api
    pods.remove("leaving")
    pods.remove("unknown")  # gone already: that is what was wanted
    command, path, options = asked[0]
    assert (command, path) == ("DELETE", "/api/v1/namespaces/meters/pods/leaving")
    assert options["gracePeriodSeconds"] == 0


def test_a_removal_that_is_not_allowed_is_an_error(api: tuple[PodsApi, list[tuple[str, str, Any]]]) -> None:
    with pytest.raises(OSError, match="403"):
        api[0].remove("forbidden")


def test_outside_of_a_cluster_there_is_no_api(tmp_path: Path) -> None:
    assert in_cluster({}, tmp_path) is None
    assert in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path) is None
