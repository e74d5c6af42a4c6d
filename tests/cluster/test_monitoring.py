"""The chart's own monitors on a real cluster: a training with attackers is in Prometheus as its records have it.

NEUROGRID_CLUSTER names a folder with `up` (prints how to reach the cluster) and `monitoring-up` (starts the Prometheus
operator and a Prometheus, and prints its address). The release has a namespace of its own, which is removed afterwards.
"""

import json
import math
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "monitoring" / "source"), str(ROOT / "tests" / "monitoring")]
from panel_queries import queries  # noqa: E402
from stage import Prometheus, until  # noqa: E402

SCRIPTS = Path(os.environ.get("NEUROGRID_CLUSTER", "missing"))
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not (SCRIPTS / "up").exists(), reason="NEUROGRID_CLUSTER names no folder with `up`"),
]
NAMESPACE, RELEASE = "neurogrid-monitored", "watched"
# Three of nine attack a rule that bears one, and nothing is clipped: it rejects more than f.
VALUES = {
    "image": {"tag": "dev", "pullPolicy": "IfNotPresent"},
    "data": {"kind": "synthetic", "synthetic": {"households": 12, "days": 30}, "claim": {"size": "1Gi"}},
    "storage": {"claim": {"size": "1Gi", "accessMode": "ReadWriteMany"}},
    "config": {
        "sampling": {"agents": 9, "districts": 3, "clusters": 2, "held_out_share": 0.2, "min_observed_slots": 200},
        "model": {"hidden": 16, "surge_hidden": 8, "history_slots": 16, "horizon_slots": 4},
        "local": {"steps": 20, "batch_size": 32},
        "rounds": {"count": 25, "agents_per_round": 9, "panel_agents": 3},
        "aggregation": {"byzantine_share": 0.15, "rule": "trimmed_mean", "clip": {"to": "none"}},
        "attack": {"kind": "noise", "fraction": 0.34, "noise_std": 0.1},
    },
    "jobDefaults": {
        "driver": {"coreRequest": "100m", "memory": "600m", "memoryOverhead": "1g"},
        "executor": {"instances": 1, "cores": 1, "coreRequest": "100m", "memory": "600m", "memoryOverhead": "1200m"},
    },
    "jobs": {"evaluate": {"enabled": False}},
    "exporter": {"resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}},
    "monitoring": {"interval": "5s", "rules": {"grafanaUrl": "https://grafana.example.org"}},
    "network": {"monitoring": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]},
    "spark-operator": {
        "spark": {"jobNamespaces": [NAMESPACE]},
        "controller": {"resources": {"requests": {"cpu": "50m", "memory": "384Mi"}, "limits": {"memory": "1500Mi"}}},
    },
}
# Prometheus' way to the kubelet, which a cluster with kube-prometheus-stack has already.
KUBELET = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: neurogrid-monitored-kubelet}
rules: [{apiGroups: [""], resources: [nodes/metrics], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: neurogrid-monitored-kubelet}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: neurogrid-monitored-kubelet}
subjects: [{kind: ServiceAccount, name: prometheus, namespace: monitoring}]
---
apiVersion: v1
kind: Service
metadata: {name: kubelet, namespace: NAMESPACE, labels: {app: kubelet}}
spec: {clusterIP: None, ports: [{name: https, port: 10250}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: kubelet, namespace: NAMESPACE, labels: {app: kubelet}}
subsets: [{addresses: [{ip: ADDRESS}], ports: [{name: https, port: 10250}]}]
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: kubelet, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: kubelet}}
  endpoints:
    - port: https
      scheme: https
      path: /metrics/cadvisor
      interval: 5s
      honorLabels: true
      bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
      tlsConfig: {insecureSkipVerify: true}
"""


def command(*words: str, stdin: str = "", check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, input=stdin or None, check=False, timeout=600)
    assert done.returncode == 0 or not check, f"{shlex.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """The environment in which kubectl and helm reach the cluster."""
    exported = dict(re.findall(r"(\w+)=(\S+)", command(str(SCRIPTS / "up"))))
    before = dict(os.environ)
    os.environ["KUBECONFIG"] = exported["KUBECONFIG"]
    os.environ["PATH"] = exported["PATH"].replace("$PATH", before["PATH"])
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def prometheus(cluster: None) -> Prometheus:
    found = re.search(r"http://[\d.]+:\d+", command(str(SCRIPTS / "monitoring-up")))
    assert found
    return Prometheus(found[0])


@pytest.fixture(scope="module")
def trained(prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The records of a run with attackers that a release trained while Prometheus looked on, and when it began."""
    command("kubectl", "create", "namespace", NAMESPACE)
    try:
        address = command("kubectl", "get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}")
        command(
            *("kubectl", "apply", "-f", "-"),
            stdin=KUBELET.replace("NAMESPACE", NAMESPACE).replace("ADDRESS", address),
        )
        values = tmp_path_factory.mktemp("values") / "values.yaml"
        values.write_text(yaml.safe_dump(VALUES))
        began = time.time()
        command("helm", "install", RELEASE, "helm/neurogrid", "-n", NAMESPACE, "-f", str(values), "--timeout", "5m")
        state = f'neurogrid_run_state{{namespace="{NAMESPACE}", state="ended"}} == 1'
        until("the end of the run in Prometheus", lambda: bool(prometheus.now(state)), 900)
        # What became of the last job is in Prometheus one look and one scrape later.
        time.sleep(20)
        shown = command("kubectl", "-n", NAMESPACE, "exec", f"deploy/{RELEASE}-exporter", "--", "sh", "-c", READ)
        genesis, *rounds = [json.loads(part) for part in shown.split("\x1e") if part.strip()]
        yield {"run": genesis["run_id"], "rounds": rounds, "began": began, "ended": time.time()}
    finally:
        command("helm", "uninstall", RELEASE, "-n", NAMESPACE, "--wait", check=False)
        command("kubectl", "delete", "namespace", NAMESPACE, "--wait=false", check=False)
        for kind in ("clusterrole", "clusterrolebinding"):
            command("kubectl", "delete", kind, "neurogrid-monitored-kubelet", "--ignore-not-found", check=False)


READ = "for f in /warehouse/runs/*/run.json /warehouse/runs/*/rounds/*.json; do cat $f; printf '\\036'; done"


def labels(trained: dict[str, Any], **more: str) -> str:
    return ", ".join(
        f'{name}="{value}"' for name, value in {"run": trained["run"], "namespace": NAMESPACE, **more}.items()
    )


def test_latency_in_prometheus_is_that_of_the_runs_records(prometheus: Prometheus, trained: dict[str, Any]) -> None:
    rounds = trained["rounds"]
    assert prometheus.value(f"neurogrid_round_duration_seconds_count{{{labels(trained)}}}") == len(rounds) == 25
    whole = prometheus.value(f"neurogrid_round_duration_seconds_sum{{{labels(trained)}}}")
    assert whole == pytest.approx(sum(record["wallclock_s"] for record in rounds))
    for phase in ("send", "train", "collect", "aggregate", "evaluate", "persist"):
        own = prometheus.value(f"neurogrid_round_phase_duration_seconds_sum{{{labels(trained, phase=phase)}}}")
        assert own == pytest.approx(sum(record[f"{phase}_s"] for record in rounds)), phase


def test_acceptance_in_prometheus_is_that_of_the_runs_records(prometheus: Prometheus, trained: dict[str, Any]) -> None:
    rounds = trained["rounds"]
    for outcome in ("asked", "answered", "accepted"):
        field = "n_total_agents" if outcome == "asked" else f"n_{outcome}_agents"
        found = prometheus.value(f"neurogrid_agents_{outcome}_total{{{labels(trained)}}}")
        assert found == sum(record[field] for record in rounds), outcome
    last = prometheus.value(f"neurogrid_round_acceptance_ratio{{{labels(trained)}}}")
    assert last == pytest.approx(rounds[-1]["acceptance_rate"])
    assert last < 1
    caught = prometheus.value(f"sum(neurogrid_agents_rejected_total{{{labels(trained, attack='noise')}}})")
    assert caught == sum(entry["agents"] for r in rounds for entry in r["rejections"] if entry["malicious"]) > 0
    for entry in rounds[-1]["districts"]:
        own = prometheus.value(
            f"neurogrid_district_acceptance_ratio{{{labels(trained, district=str(entry['district']))}}}"
        )
        assert own == pytest.approx(entry["accepted"] / entry["asked"])


def test_series_came_while_the_run_went_on(prometheus: Prometheus, trained: dict[str, Any]) -> None:
    query = f"neurogrid_run_last_round{{{labels(trained)}}}"
    (series,) = prometheus.between(query, trained["began"], trained["ended"], 5)
    assert len({value for _, value in series["values"]}) > 3


def test_the_alert_for_attackers_fires(prometheus: Prometheus, trained: dict[str, Any]) -> None:
    def firing() -> list[dict[str, Any]]:
        return [
            alert
            for alert in prometheus.ask("alerts")["alerts"]
            if alert["labels"]["alertname"] == "NeuroGridAttackersProbablyIn"
            and alert["labels"].get("run") == trained["run"]
            and alert["state"] == "firing"
        ]

    until("the alert", lambda: bool(firing()), 60)
    said = firing()[0]["annotations"]["dashboard"]
    assert said.startswith("https://grafana.example.org/d/neurogrid-run?")
    assert f"var-run={trained['run']}" in said
    assert f"var-namespace={NAMESPACE}" in said


@pytest.mark.parametrize(
    "query", [q for q in queries(".*", "1m") if q.board == "neurogrid-resources"], ids=lambda q: f"{q.panel}-{q.legend}"
)
def test_panels_of_spark_and_kubernetes_have_data(prometheus: Prometheus, trained: dict[str, Any], query: Any) -> None:
    # One place of a shared cluster: what others run is not ours to be measured by.
    expr = query.expr.replace('namespace=~".*"', f'namespace="{NAMESPACE}"')
    series = prometheus.between(expr, trained["began"], trained["ended"], 5)
    assert any(math.isfinite(float(value)) for one in series for _, value in one["values"]), expr


def test_the_dashboards_lie_where_grafanas_sidecar_looks(trained: dict[str, Any]) -> None:
    found = json.loads(
        command("kubectl", "-n", NAMESPACE, "get", "configmap", "-l", "grafana_dashboard=1", "-o", "json")
    )
    boards = {json.loads(text)["uid"] for item in found["items"] for text in item["data"].values()}
    assert boards == {"neurogrid-runs", "neurogrid-run", "neurogrid-resources", "neurogrid-data"}
