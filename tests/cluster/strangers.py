"""Pods that have no business with a release, and what they can reach of it."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from releases import IMAGE, kubectl, wait_for

# Says for each "address:port" whether something answers there. Two seconds: a policy may drop packets unanswered.
_PROBE = """
import json, socket, sys
def open(target):
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        return True
    except OSError:
        return False
print(json.dumps({target: open(target) for target in sys.argv[1:]}))
"""

# Every port of each address, thousands at once: who is refused is not always told so, and two seconds are waited for a
# port that would answer. It finds a port of its own that is open, or fails.
_SCAN = """
import errno, json, resource, select, socket, sys, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
batch = max(512, min(32768, most - 512))
own = socket.create_server(("127.0.0.1", 0))
control = own.getsockname()
targets = [(host, port) for host in sys.argv[1:] for port in range(1, 65536)]
answered = []
for first in range(0, len(targets), batch):
    poll, tried = select.epoll(), {}
    for target in [*targets[first : first + batch], control]:
        s = socket.socket()
        s.setblocking(False)
        code = s.connect_ex(target)
        if code == errno.EINPROGRESS:
            tried[s.fileno()] = s, target
            poll.register(s, select.EPOLLOUT)
            continue
        assert code in (0, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH), (target, code)
        answered += [target] * (code == 0)
        s.close()
    until = time.monotonic() + 2
    while tried and (left := until - time.monotonic()) > 0:
        for number, _ in poll.poll(left):
            s, target = tried.pop(number)
            answered += [target] * (s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0)
            s.close()
    assert answered.pop(answered.index(control))
    for s, _ in tried.values():
        s.close()
    poll.close()
print(json.dumps([f"{host}:{port}" for host, port in answered]))
"""


def reachable(namespace: str, pod: str, targets: list[str]) -> set[str]:
    """Which of the "address:port" answer when a process in this pod connects to them."""
    said = kubectl("-n", namespace, "exec", pod, "--", "python", "-c", _PROBE, *targets)
    return {target for target, answers in json.loads(said).items() if answers}


def open_ports(namespace: str, pod: str, addresses: Iterable[str]) -> set[str]:
    """The "address:port" that answer a process in this pod, of all ports of these addresses."""
    said = kubectl("-n", namespace, "exec", pod, "--", "python", "-c", _SCAN, *addresses, timeout=240)
    return set(json.loads(said))


def addresses(pods: Iterable[dict[str, Any]]) -> list[str]:
    """The pods' addresses."""
    return [pod["status"]["podIP"] for pod in pods]


@dataclass(frozen=True)
class Bystander:
    """A pod that does nothing for a release."""

    namespace: str
    name: str

    @property
    def address(self) -> str:
        """Its address."""
        return kubectl("-n", self.namespace, "get", "pod", self.name, "-o", "jsonpath={.status.podIP}")

    def run(self, *command: str) -> str:
        """What a command in it prints."""
        return kubectl("-n", self.namespace, "exec", self.name, "--", *command)


def reached(bystanders: Iterable[Bystander], hosts: Iterable[str]) -> set[str]:
    """The "address:port" that answer any of them, of all ports of these addresses."""
    hosts = list(hosts)
    with ThreadPoolExecutor() as pool:
        return set().union(*pool.map(lambda own: open_ports(own.namespace, own.name, hosts), bystanders))


def put(
    namespace: str,
    name: str,
    claim: str | None = None,
    labels: dict[str, str] | None = None,
    command: tuple[str, ...] = ("sleep", "3600"),
) -> Bystander:
    """Starts one, with the claim at /claim; its namespace may enforce `restricted`."""
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container: dict[str, Any] = {
        "name": "only",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["tini", "--", *command],
        "securityContext": security,
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}},
    }
    spec: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 1}
    if claim:
        container["volumeMounts"] = [{"name": "claim", "mountPath": "/claim"}]
        spec["volumes"] = [{"name": "claim", "persistentVolumeClaim": {"claimName": claim}}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}
    kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(pod))
    phase = ["get", "pod", name, "-o", "jsonpath={.status.phase}"]
    wait_for(f"pod {name}", 120, lambda: kubectl("-n", namespace, *phase) == "Running")
    return Bystander(namespace, name)
