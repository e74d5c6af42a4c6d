"""A release of the chart on a real cluster, what its jobs leave behind, and the same federation on a laptop.

The image `neurogrid/spark:dev` (or NEUROGRID_IMAGE) must be there, kubectl and helm on the PATH, and the operator's
chart in helm/neurogrid/charts.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from neurogrid.fl.record import flat

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


# Epochs enough that they are still under way while strangers knock at every port.
_TEACHER = {"share": 0.2, "apart": False, "epoch_windows": 4096, "ranks": 2, "batch_size": 32} | {
    "epochs": 40,
    "patience_epochs": 0,
}


def values(namespace: str) -> dict[str, Any]:
    """Values of a release that fits beside others on two cores."""
    repository, tag = IMAGE.rsplit(":", 1)
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "data": {"kind": "synthetic", "synthetic": SYNTHETIC, "claim": {"size": "1Gi"}},
        # Executors and drivers may then be on several nodes.
        "storage": {"claim": {"size": "1Gi", "accessMode": "ReadWriteMany"}},
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


TAUGHT = merged(CONFIG, {"rounds": {"count": 12}, "teacher": _TEACHER})
ONE = {"executor": {"instances": 1}}
JOBS = ("etl", "sample", "teacher", "train")
"""Of the first release."""
FIRST: dict[str, Any] = {
    "config": TAUGHT,
    "jobs": {
        "etl": ONE,
        "sample": ONE,
        "teacher": {"enabled": True},
        "train": ONE,
        # Off; submitted by hand to see what is said of pods that cannot run.
        "greedy": {"step": "etl", "driver": {"coreRequest": "640"}},
        "homeless": {"step": "etl", "driver": {"nodeSelector": {"pool": "nowhere"}}},
        # A heap that is touched as a whole takes more than the pod may, whatever the job does.
        "cramped": {
            "step": "etl",
            "restart": {"retries": 0},
            "driver": {"memory": "500m", "memoryOverhead": "10m"},
            "sparkConf": {"spark.driver.extraJavaOptions": "-Xms500m -XX:+AlwaysPreTouch"},
        },
    },
    "history": {"enabled": True},
    "exporter": {"enabled": True, "resources": {"requests": {"cpu": "10m", "memory": "128Mi"}}},
}
"""Values of the release that several modules share."""


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

    def helm(
        self, command: str, over: dict[str, Any] | None = None, *, chart: Path = CHART, kubeconfig: str = ""
    ) -> str:
        """`helm install` or `helm upgrade` with values over those of the release; what it prints."""
        self.values = merged(self.values, over or {})
        done = subprocess.run(
            ["helm", command, self.name, str(chart), "-n", self.namespace, "-f", "-"],
            input=yaml.safe_dump(self.values),
            env=os.environ | ({"KUBECONFIG": kubeconfig} if kubeconfig else {}),
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

    def run(self, job: str) -> str:
        """The name of the run that the release itself made of the job last; empty where it has none yet."""
        own = [
            app
            for app in self.applications()
            if app["metadata"]["labels"]["neurogrid.io/job"] == job
            and app["metadata"].get("annotations", {}).get("neurogrid.io/submitted-by") == "release"
        ]
        return max((app["metadata"]["creationTimestamp"], app["metadata"]["name"]) for app in own)[1] if own else ""

    def applications(self) -> list[dict[str, Any]]:
        """Every SparkApplication of the release."""
        which = ["-l", f"app.kubernetes.io/instance={self.name}", "-o", "json"]
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", "sparkapplications", *which))["items"]
        return found

    def log(self, job: str) -> str:
        """The log of the job's driver so far."""
        return self.kubectl("logs", f"{self.run(job)}-driver", "-c", "spark-kubernetes-driver", check=False)

    def lines(self, job: str, kind: str = "") -> list[dict[str, Any]]:
        """What the job's driver has said for machines so far, all or of one kind."""
        said = [json.loads(line) for line in self.log(job).splitlines() if line.startswith('{"neurogrid": ')]
        return [line for line in said if kind in ("", line["neurogrid"])]

    def rounds(self, job: str) -> list[dict[str, Any]]:
        """The figures of the job's rounds so far."""
        return [flat(line) for line in self.lines(job, "round")]

    def state(self, job: str) -> str:
        """The state of the job's SparkApplication."""
        name = self.run(job)
        path = "jsonpath={.status.applicationState.state}"
        return self.kubectl("get", "sparkapplication", name, "-o", path, check=False) if name else ""

    def submissions(self) -> dict[str, str]:
        """The operator's id of each of the release's own runs, by job."""
        return {
            app["metadata"]["labels"]["neurogrid.io/job"]: app.get("status", {}).get("submissionID", "")
            for app in self.applications()
            if app["metadata"].get("annotations", {}).get("neurogrid.io/submitted-by") == "release"
        }

    def wait_round(self, job: str, number: int, seconds: float = 300) -> None:
        """Waits until the job has done so many rounds."""
        wait_for(f"round {number} of {job}", seconds, lambda: len(self.rounds(job)) >= number, 0.5)

    def wait_completed(self, job: str, seconds: float = 600) -> dict[str, Any]:
        """Waits until the job has completed; its result."""

        def ended() -> str:
            state = self.state(job)
            assert state != "FAILED", self.kubectl("logs", f"{self.run(job)}-driver", "--tail=30", check=False)
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
        return _neurogrid("evaluate", self.run.name, "--warehouse", str(self.run.parent.parent), "--json")["parts"]

    def weights_after(self, number: int) -> str:
        """The hash of the weights after that round."""
        record = json.loads((self.run / "rounds" / f"round={number:04d}.json").read_text())
        said: str = record["w_global_sha256"]
        return said


def prepared_on_laptop(folder: Path) -> str:
    """A warehouse there with the readings that releases make, cleaned and sampled; the manifest's id."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    where = ["-c", str(folder / "config.yaml"), "--warehouse", str(folder / "warehouse"), "--json"]
    _neurogrid("synth", str(folder / "data"), *(f"--{key}={value}" for key, value in SYNTHETIC.items()), "--json")
    _neurogrid("etl", *where, "--data-dir", str(folder / "data"))
    manifest: str = _neurogrid("sample", *where)["manifest_id"]
    return manifest


def trained_on_laptop(folder: Path, prepared: Path, manifest: str, config: dict[str, Any]) -> Laptop:
    """What a training with this config comes to in a copy of the prepared warehouse."""
    # What sampling looks at: with another value the sample would be another one.
    assert {key: config[key] for key in ("sampling", "aggregation")} == {
        key: CONFIG[key] for key in ("sampling", "aggregation")
    }
    shutil.copytree(prepared / "warehouse", folder / "warehouse")
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "backend": {"kind": "inline"}}))
    where = ["-c", str(folder / "config.yaml"), "--warehouse", str(folder / "warehouse"), "--json"]
    start = []
    if "teacher" in config:
        _neurogrid("teach", *where, "--set", "teacher.id=laptop")
        start = ["--set", "rounds.teacher=laptop"]
    said = _neurogrid("train", *where, *start)
    return Laptop(said["w_final_sha256"], manifest, folder / "warehouse" / "runs" / said["run_id"])


def _neurogrid(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "neurogrid", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said
