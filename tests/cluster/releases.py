"""A release of the chart on a real cluster, what its jobs leave behind, and the same federation on a laptop.

The image `neurogrid/spark:dev` (or NEUROGRID_IMAGE) must be there, kubectl and helm on the PATH, and the operator's
chart in helm/neurogrid/charts.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "neurogrid"
IMAGE = os.environ.get("NEUROGRID_IMAGE", "neurogrid/spark:dev")
# Small enough for two cores that everything shares; the same on a laptop gives the same bits.
CONFIG: dict[str, Any] = {
    "sampling": {"agents": 9, "districts": 3, "clusters": 2, "held_out_share": 0.2, "min_observed_slots": 200},
    "model": {"hidden": 8, "surge_hidden": 8, "history_slots": 16, "horizon_slots": 4},
    "local": {"steps": 30, "batch_size": 32},
    "rounds": {"count": 6, "agents_per_round": 9, "panel_agents": 3},
    "aggregation": {"byzantine_share": 0.25},
    "attack": {"kind": "noise", "fraction": 0.25},
    "evaluation": {"comparisons": ["ridge"]},
}
SYNTHETIC = {"households": 16, "days": 40}
_SMALL = {"coreRequest": "200m", "memory": "512m", "memoryOverhead": "1g"}


def values(namespace: str) -> dict[str, Any]:
    """Values of a release that fits beside others on two cores."""
    repository, tag = IMAGE.rsplit(":", 1)
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "data": {"kind": "synthetic", "synthetic": SYNTHETIC, "claim": {"size": "1Gi"}},
        "storage": {"claim": {"size": "1Gi"}},
        "config": CONFIG,
        "jobDefaults": {"driver": _SMALL, "executor": {**_SMALL, "instances": 2, "cores": 1}},
        "jobs": {"evaluate": {"enabled": False}},
        "exporter": {"enabled": False},
        "monitoring": {"operator": "never"},
        "spark-operator": {
            "spark": {"jobNamespaces": [namespace]},
            # Each submission is a JVM of its own: one at a time, so that none starves.
            "controller": {"workers": 1, "resources": {"requests": {"cpu": "300m", "memory": "256Mi"}}},
        },
    }


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` upon `base`, mapping by mapping, as helm merges values."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
    """What kubectl prints."""
    done = subprocess.run(
        ["kubectl", *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=timeout
    )
    assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def wait_for(what: str, seconds: float, found: Callable[[], Any], pause: float = 1.0) -> Any:
    """The first answer that is not empty; fails when the time is up."""
    until = time.monotonic() + seconds
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < until, f"{what}: not within {seconds:g} s"
        time.sleep(pause)


def helm(*arguments: str, code: int = 0) -> str:
    """What helm says, on either stream."""
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def objects(namespace: str) -> set[str]:
    """Everything that a release could have made there."""
    kinds = "configmap,pod,deployment,service,serviceaccount,role,rolebinding,networkpolicy,pvc,secret"
    # Kubernetes puts these two into every namespace.
    own = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
    return set(kubectl("-n", namespace, "get", kinds, "-o", "name").split()) - own


@dataclass
class Release:
    """A release of the chart, and what its jobs leave behind."""

    name: str
    namespace: str
    values: dict[str, Any] = field(default_factory=dict)

    def kubectl(self, *arguments: str, **options: Any) -> str:
        """kubectl in the release's namespace."""
        return kubectl("-n", self.namespace, *arguments, **options)

    def helm(self, command: str, over: dict[str, Any] | None = None) -> str:
        """`helm install` or `helm upgrade` with values over those of the release; what it prints."""
        self.values = merged(self.values, over or {})
        done = subprocess.run(
            ["helm", command, self.name, str(CHART), "-n", self.namespace, "-f", "-"],
            input=yaml.safe_dump(self.values),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pods(self, job: str, role: str) -> list[dict[str, Any]]:
        """The job's pods of a role, `driver` or `executor`."""
        labels = f"app.kubernetes.io/instance={self.name},neurogrid.io/job={job},spark-role={role}"
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", "pods", "-l", labels, "-o", "json"))["items"]
        return found

    def ready(self, job: str, role: str = "executor") -> list[dict[str, Any]]:
        """Those of them that are ready."""

        def is_ready(pod: dict[str, Any]) -> bool:
            conditions = pod["status"].get("conditions", [])
            return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

        return [pod for pod in self.pods(job, role) if is_ready(pod)]

    def log(self, job: str) -> str:
        """The log of the job's driver so far."""
        return self.kubectl("logs", f"{self.name}-{job}-driver", "-c", "spark-kubernetes-driver", check=False)

    def lines(self, job: str, kind: str = "") -> list[dict[str, Any]]:
        """What the job's driver has said for machines so far, all or of one kind."""
        said = [json.loads(line) for line in self.log(job).splitlines() if line.startswith('{"neurogrid": ')]
        return [line for line in said if kind in ("", line["neurogrid"])]

    def rounds(self, job: str) -> list[dict[str, Any]]:
        """The job's rounds so far."""
        return self.lines(job, "round")

    def state(self, job: str) -> str:
        """The state of the job's SparkApplication."""
        path = "jsonpath={.status.applicationState.state}"
        return self.kubectl("get", "sparkapplication", f"{self.name}-{job}", "-o", path, check=False)

    def submissions(self) -> dict[str, str]:
        """The operator's id of each job's latest run."""
        which = ["-l", f"app.kubernetes.io/instance={self.name}", "-o", "json"]
        said = json.loads(self.kubectl("get", "sparkapplications", *which))["items"]
        return {
            app["metadata"]["labels"]["neurogrid.io/job"]: app.get("status", {}).get("submissionID", "") for app in said
        }

    def wait_round(self, job: str, number: int, seconds: float = 300) -> None:
        """Waits until the job has done so many rounds."""
        wait_for(f"round {number} of {job}", seconds, lambda: len(self.rounds(job)) >= number, 0.5)

    def wait_completed(self, job: str, seconds: float = 600) -> dict[str, Any]:
        """Waits until the job has completed; its result."""

        def ended() -> str:
            state = self.state(job)
            assert state != "FAILED", self.kubectl("logs", f"{self.name}-{job}-driver", "--tail=30", check=False)
            return state if state == "COMPLETED" else ""

        wait_for(f"{job} completed", seconds, ended, 2)
        (said,) = self.lines(job, "completed")[-1:]
        result: dict[str, Any] = said["result"]
        return result


@dataclass(frozen=True)
class Laptop:
    """The same federation without a cluster."""

    weights: str
    manifest: str
    run: Path

    def scores(self) -> Any:
        """The evaluation of its weights."""
        where = ["--warehouse", str(self.run.parent.parent), "--json"]
        command = [sys.executable, "-m", "neurogrid", "evaluate", self.run.name, *where]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)["parts"]


def on_laptop(folder: Path, config: dict[str, Any]) -> Laptop:
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "backend": {"kind": "inline"}}))
    given = [f"--{key}={value}" for key, value in SYNTHETIC.items()]
    neurogrid = [sys.executable, "-m", "neurogrid"]
    subprocess.run([*neurogrid, "synth", str(folder / "data"), *given], check=True, capture_output=True, timeout=300)
    where = ["-c", str(folder / "config.yaml"), "--warehouse", str(folder / "warehouse"), "--json"]
    said: dict[str, Any] = {}
    taught = "teacher" in config
    steps = [("etl", ["--data-dir", str(folder / "data")]), ("sample", [])]
    steps += [("teach", ["--set", "teacher.id=laptop"])] if taught else []
    steps += [("train", ["--set", "rounds.teacher=laptop"] if taught else [])]
    for step, more in steps:
        done = subprocess.run(
            [*neurogrid, step, *where, *more], capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stderr[-3000:]
        said[step] = json.loads(done.stdout)
    run = folder / "warehouse" / "runs" / said["train"]["run_id"]
    return Laptop(said["train"]["w_final_sha256"], said["sample"]["manifest_id"], run)
