"""Pods that have no business with a release, and what they can reach of it."""

import json
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


def reachable(namespace: str, pod: str, targets: list[str], container: str | None = None) -> set[str]:
    """Which of the "address:port" answer when a process in this pod connects to them."""
    where = ["-c", container] if container else []
    said = kubectl("-n", namespace, "exec", pod, *where, "--", "python", "-c", _PROBE, *targets)
    return {target for target, answers in json.loads(said).items() if answers}


@dataclass(frozen=True)
class Bystander:
    """A pod that only sleeps, with an address and a volume if one is named."""

    namespace: str
    name: str

    def reaches(self, targets: list[str]) -> set[str]:
        """See `reachable`."""
        return reachable(self.namespace, self.name, targets)

    def run(self, *command: str) -> str:
        """What a command in it prints."""
        return kubectl("-n", self.namespace, "exec", self.name, "--", *command)


def put(namespace: str, name: str, claim: str | None = None, labels: dict[str, str] | None = None) -> Bystander:
    """Starts one, with the claim at /claim; its namespace may enforce `restricted`."""
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 185,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container: dict[str, Any] = {
        "name": "sleep",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["tini", "--", "sleep", "3600"],
        "securityContext": security,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
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
