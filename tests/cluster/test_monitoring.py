"""The chart's own monitors on a real cluster: a training with attackers is in Prometheus as its records have it.

NEUROGRID_CLUSTER names a folder with `monitoring-up`, which starts the Prometheus operator and a Prometheus on the
cluster that KUBECONFIG names, and prints its address.
"""

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from releases import Release, kubectl, merged

from neurogrid.fl.record import flat

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "monitoring" / "source"), str(ROOT / "tests" / "monitoring")]
from panel_queries import queries  # noqa: E402
from stage import Prometheus, until  # noqa: E402

SCRIPTS = Path(os.environ.get("NEUROGRID_CLUSTER", "missing"))
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not (SCRIPTS / "monitoring-up").exists(), reason="NEUROGRID_CLUSTER names no such folder"),
]
# A rate takes two scrapes of a driver: the training has to last longer than that.
ROUNDS = 80
# Three of nine attack a rule that bears two, and nothing is clipped: it rejects more than f.
VALUES = {
    "config": {
        "local": {"steps": 20},
        "rounds": {"count": ROUNDS},
        "aggregation": {"rule": "trimmed_mean", "stages": ["admit", "weigh", "rule", "mean", "server_step"]},
        "attack": {"kind": "noise", "fraction": 0.34, "noise_std": 0.1},
    },
    "jobDefaults": {"executor": {"instances": 1}},
    # ETL and sampling first, in the same driver.
    "jobs": {"etl": {"enabled": False}, "sample": {"enabled": False}, "train": {"step": "pipeline"}},
    "exporter": {"enabled": True, "resources": {"requests": {"cpu": "50m"}}},
    "monitoring": {"operator": "auto", "interval": "2s", "rules": {"grafanaUrl": "https://grafana.example.org"}},
    "network": {"monitoring": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]},
}
# Prometheus' way to the kubelet's figures of pods. A cluster with kube-prometheus-stack has them already, from cAdvisor
# and by the same names.
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
      path: /metrics/resource
      interval: 5s
      honorLabels: true
      bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
      tlsConfig: {insecureSkipVerify: true}
"""


@pytest.fixture(scope="module")
def prometheus(cluster: None) -> Prometheus:
    """The cluster's own, started where it is not there yet."""
    started = subprocess.run([SCRIPTS / "monitoring-up"], check=True, capture_output=True, text=True, timeout=300)
    found = re.search(r"http://[\d.]+:\d+", started.stdout)
    assert found
    return Prometheus(found[0])


@pytest.fixture(scope="module")
def kubelet(namespace: str) -> Iterator[None]:
    """The kubelet's figures of pods in Prometheus, too."""
    address = kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}")
    kubectl("apply", "-f", "-", stdin=KUBELET.replace("NAMESPACE", namespace).replace("ADDRESS", address))
    yield
    kubectl("delete", "clusterrole,clusterrolebinding", "neurogrid-monitored-kubelet", "--ignore-not-found")


@dataclass(frozen=True)
class Trained:
    """A run with attackers that a release trained while Prometheus looked on: its records, and when."""

    release: Release
    run: str
    rounds: list[dict[str, Any]]
    began: float
    ended: float


@pytest.fixture(scope="module")
def trained(prometheus: Prometheus, kubelet: None, install: Callable[..., Release]) -> Trained:
    began = time.time()
    release = install("watched", merged(VALUES, {"jobs": {"train": {"enabled": False}}}))
    where = f'namespace="{release.namespace}"'
    # New monitors reach Prometheus when the kubelet looks at its pod again: that may take longer than the training.
    until("the release's monitors in Prometheus", lambda: bool(prometheus.now(f"neurogrid_build_info{{{where}}}")), 180)
    release.helm("upgrade", {"jobs": {"train": {"enabled": True}}})
    release.wait_completed("train", 900)
    for ended in (
        f'neurogrid_run_state{{{where}, state="ended"}} == 1',
        f'neurogrid_job_state{{{where}, neurogrid_job="train", state="completed"}} == 1',
        f'neurogrid_sparkapplication_state{{{where}, neurogrid_job="train", state="completed"}} == 1',
    ):
        until(f"{ended} in Prometheus", lambda query=ended: bool(prometheus.now(query)), 180)
    shown = release.kubectl("exec", "deploy/watched-exporter", "--", "sh", "-c", READ)
    genesis, *records = [json.loads(part) for part in shown.split("\x1e") if part.strip()]
    rounds = [flat(record) for record in records]
    return Trained(release, genesis["run_id"], rounds, began, time.time())


READ = "for f in /warehouse/runs/*/run.json /warehouse/runs/*/rounds/*.json; do cat $f; printf '\\036'; done"


def labels(trained: Trained, **more: str) -> str:
    every = {"run": trained.run, "namespace": trained.release.namespace, **more}
    return ", ".join(f'{name}="{value}"' for name, value in every.items())


def test_latency_in_prometheus_is_that_of_the_runs_records(prometheus: Prometheus, trained: Trained) -> None:
    rounds = trained.rounds
    assert prometheus.value(f"neurogrid_round_duration_seconds_count{{{labels(trained)}}}") == len(rounds) == ROUNDS
    whole = prometheus.value(f"neurogrid_round_duration_seconds_sum{{{labels(trained)}}}")
    assert whole == pytest.approx(sum(record["wallclock_s"] for record in rounds))
    for phase in ("send", "train", "collect", "aggregate", "evaluate", "persist"):
        own = prometheus.value(f"neurogrid_round_phase_duration_seconds_sum{{{labels(trained, phase=phase)}}}")
        assert own == pytest.approx(sum(record[f"{phase}_s"] for record in rounds)), phase


def test_acceptance_in_prometheus_is_that_of_the_runs_records(prometheus: Prometheus, trained: Trained) -> None:
    rounds = trained.rounds
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


def test_the_records_are_what_the_driver_said(trained: Trained) -> None:
    said = trained.release.rounds("train")
    assert [line["held_out_loss"] for line in said] == [record["held_out_loss"] for record in trained.rounds]
    assert [line["n_accepted_agents"] for line in said] == [record["n_accepted_agents"] for record in trained.rounds]


def test_series_came_while_the_run_went_on(prometheus: Prometheus, trained: Trained) -> None:
    query = f"neurogrid_run_last_round{{{labels(trained)}}}"
    (series,) = prometheus.between(query, trained.began, trained.ended, 5)
    assert [value for _, value in series["values"] if int(value) < len(trained.rounds)]


def test_the_alert_for_attackers_comes_up_and_leads_to_the_run(prometheus: Prometheus, trained: Trained) -> None:
    # That it calls somebody only when it has lasted for minutes is promtool's to prove (monitoring/tests).
    def raised() -> list[dict[str, Any]]:
        return [
            alert
            for alert in prometheus.ask("alerts")["alerts"]
            if alert["labels"]["alertname"] == "NeuroGridAttackersProbablyIn"
            and alert["labels"].get("run") == trained.run
        ]

    until("the alert", lambda: bool(raised()), 120)
    said = raised()[0]["annotations"]["dashboard"]
    assert said.startswith("https://grafana.example.org/d/neurogrid-run-")
    assert f"var-run={trained.run}" in said
    assert f"var-namespace={trained.release.namespace}" in said


def test_no_other_alert_fired_while_jobs_waited_ran_and_ended(prometheus: Prometheus, trained: Trained) -> None:
    query = f'ALERTS{{alertname=~"NeuroGrid.*", alertstate="firing", namespace="{trained.release.namespace}"}}'
    fired = prometheus.between(query, trained.began, trained.ended, 5)
    # Until the exporter's pod runs there is none, which on a slow machine may take long enough for an alarm.
    starting = {"NeuroGridExporterGone"}
    assert {series["metric"]["alertname"] for series in fired} - starting <= {"NeuroGridAttackersProbablyIn"}


@pytest.mark.parametrize(
    "query",
    [
        q
        for q in queries(".*", "1m")
        # Nobody waits any more when the run has ended; kube-state-metrics is not there.
        if q.board == "neurogrid-resources" and not q.legend.endswith(" waits") and "kube_pod_" not in q.expr
    ],
    ids=lambda q: f"{q.panel}-{q.legend}",
)
def test_panels_of_spark_and_kubernetes_have_data(prometheus: Prometheus, trained: Trained, query: Any) -> None:
    # One place of a shared cluster: what others run is not ours to be measured by.
    expr = query.expr.replace('namespace=~".*"', f'namespace="{trained.release.namespace}"')

    def has_data() -> bool:
        series = prometheus.between(expr, trained.began, time.time(), 5)
        return any(math.isfinite(float(value)) for one in series for _, value in one["values"])

    # When a job ended is known only after its end, and the range is asked in steps of 5 s.
    until(expr, has_data, 60)


def test_the_dashboards_lie_where_grafanas_sidecar_looks(trained: Trained) -> None:
    found = json.loads(trained.release.kubectl("get", "configmap", "-l", "grafana_dashboard=1", "-o", "json"))
    boards = {json.loads(text)["uid"].rpartition("-")[0] for item in found["items"] for text in item["data"].values()}
    assert boards == {"neurogrid-runs", "neurogrid-run", "neurogrid-resources", "neurogrid-data"}
