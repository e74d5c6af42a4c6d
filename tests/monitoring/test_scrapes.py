"""What only a cluster has, on a real Prometheus: through the chart's monitors and by annotations it answers the same.

The exporter is real, its SparkApplications and what Spark, the kubelet and kube-state-metrics say are written here.
"""

import json
import math
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml
from panel_queries import FILES, ROOT, Asked, queries
from programs import PROMETHEUS, needed
from stage import Prometheus, free_port, process, until
from telemetry_run import EXPORTER, train, write_records

from neurogrid.storage import place
from neurogrid.telemetry.catalogue import BY_NAME
from neurogrid.telemetry.exporter import Exporter
from neurogrid.telemetry.server import serving

NAMESPACE, RELEASE, POD = "energy", "ng", "ng-train-1-driver"
pytestmark = pytest.mark.slow
BOARD = [query for query in queries(".*", "10s") if query.board == "neurogrid-resources"]


def application(job: str, state: str, **status: Any) -> dict[str, Any]:
    labels = {"neurogrid.io/job": job, "app.kubernetes.io/instance": RELEASE}
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    return {
        "metadata": {"name": f"{RELEASE}-{job}-1", "labels": labels, "creationTimestamp": created},
        "spec": {"executor": {"instances": 3}},
        "status": {"applicationState": {"state": state}, **status},
    }


def applications() -> list[dict[str, Any]]:
    """One that runs for 20 seconds and waited for 40, and one that waits for its turn."""
    running = {
        "lastSubmissionAttemptTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 20)),
        "executionAttempts": 1,
        "executorState": {"e1": "RUNNING", "e2": "RUNNING", "e3": "PENDING"},
    }
    return [application("train", "RUNNING", **running), application("evaluate", "SUSPENDED")]


SPARK = "".join(
    f'metrics_executor_{metric}{{application_id="s-1", application_name="neurogrid", executor_id="{who}"}} 7\n'
    for metric in (
        *("activeTasks", "failedTasks_total", "JVMHeapMemory_bytes", "ProcessTreePythonRSSMemory_bytes"),
        *("totalGCTime_seconds_total", "totalShuffleRead_bytes_total", "totalShuffleWrite_bytes_total"),
    )
    for who in ("driver", "1")
)
DRIVER = "".join(
    f'metrics_neurogrid_driver_{metric}_Value{{type="gauges"}} 3\n'
    for metric in (
        *("JVMCPU_jvmCpuTime", "DAGScheduler_stage_runningStages"),
        *("DAGScheduler_stage_failedStages", "DAGScheduler_job_activeJobs"),
    )
)
OF_POD = f'namespace="{NAMESPACE}", pod="{POD}", container="driver"'
CLUSTER = f"""
container_cpu_usage_seconds_total{{{OF_POD}}} 5
container_memory_working_set_bytes{{{OF_POD}}} 600
container_start_time_seconds{{{OF_POD}}} 1.7e9
kube_pod_container_resource_limits{{{OF_POD}, resource="memory", unit="byte"}} 800
kube_pod_container_resource_limits{{{OF_POD}, resource="cpu", unit="core"}} 2
kube_pod_container_status_restarts_total{{{OF_POD}}} 1
kube_pod_container_status_last_terminated_reason{{{OF_POD}, reason="OOMKilled"}} 1
"""


@contextmanager
def answering(pages: dict[str, str]) -> Iterator[int]:
    """Serves texts by path; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages[self.path].encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def job(name: str, port: int, path: str, **more: Any) -> dict[str, Any]:
    labels = more.pop("labels", {})
    target = {"targets": [f"127.0.0.1:{port}"], "labels": labels}
    return {"job_name": name, "metrics_path": path, "static_configs": [target], **more}


def by_monitors(exporter: int, spark: int) -> list[dict[str, Any]]:
    """The labels that the Prometheus operator gives to what the chart's ServiceMonitor and PodMonitor choose."""
    own = {"namespace": NAMESPACE, "app_kubernetes_io_instance": RELEASE}
    of_driver = {**own, "pod": POD, "container": "spark-kubernetes-driver", "neurogrid_io_job": "train"}
    service = {**own, "pod": "ng-exporter-1", "service": "ng-exporter", "endpoint": "metrics"}
    return [
        job("ng-exporter", exporter, "/metrics", labels=service),
        job("energy/ng-drivers/0", spark, "/metrics/executors/prometheus", labels=of_driver),
        job("energy/ng-drivers/1", spark, "/metrics/prometheus", labels=of_driver),
    ]


def by_annotations(exporter: int, spark: int) -> list[dict[str, Any]]:
    """The jobs of monitoring/prometheus.yaml, told of two pods as Kubernetes would tell of them."""

    def pod(name: str, port: int, path: str, **labels: str) -> dict[str, Any]:
        said = {f"pod_label_{label}": value for label, value in labels.items()}
        said |= {f"pod_annotation_prometheus_io_{key}": v for key, v in (("scrape", "true"), ("path", path))}
        said |= {"pod_annotation_prometheus_io_port": str(port), "pod_ip": "127.0.0.1", "pod_phase": "Running"}
        said |= {"namespace": NAMESPACE, "pod_name": name}
        meta = {f"__meta_kubernetes_{key}": value for key, value in said.items()}
        return {"targets": [f"127.0.0.1:{port}"], "labels": meta}

    own = {"app_kubernetes_io_instance": RELEASE, "app_kubernetes_io_name": "neurogrid"}
    found = [
        pod("ng-exporter-1", exporter, "/metrics", **own),
        pod(POD, spark, "/metrics/executors/prometheus", **own, spark_role="driver", neurogrid_io_job="train"),
    ]
    text = (ROOT / "monitoring" / "prometheus.yaml").read_text().replace(":4040", f":{spark}")
    jobs: list[dict[str, Any]] = yaml.safe_load(text)["scrape_configs"]
    assert len(jobs) == 2
    return [{**{k: v for k, v in one.items() if k != "kubernetes_sd_configs"}, "static_configs": found} for one in jobs]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Prometheus]]:
    """Two Prometheuses that scrape the same, each in its own way."""
    binary, folder = needed("prometheus", PROMETHEUS), tmp_path_factory.mktemp("scrapes")
    warehouse = folder / "w"
    train(warehouse)
    write_records(warehouse)
    shown = applications()
    exporter = Exporter(place(str(warehouse)), "0.1", replace(EXPORTER, namespace=NAMESPACE), lambda: shown)
    exporter.look()
    pages = {"/metrics/executors/prometheus": SPARK, "/metrics/prometheus": DRIVER, "/cluster": CLUSTER}
    with ExitStack() as stack:
        figures = stack.enter_context(serving(exporter, "127.0.0.1", 0))
        spark = stack.enter_context(answering(pages))
        found = {}
        for way, jobs in (("monitors", by_monitors(figures, spark)), ("annotations", by_annotations(figures, spark))):
            # The kubelet and kube-state-metrics say themselves of which pod a figure is.
            kubelet = job("kubelet", spark, "/cluster", honor_labels=True)
            (folder / f"{way}.yaml").write_text(
                yaml.safe_dump(
                    {
                        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                        "rule_files": [str(FILES / "alerts.yaml")],
                        "scrape_configs": [*jobs, kubelet],
                    }
                )
            )
            port = free_port()
            command = [
                *(binary, f"--config.file={folder}/{way}.yaml", f"--storage.tsdb.path={folder}/{way}"),
                f"--web.listen-address=127.0.0.1:{port}",
            ]
            stack.enter_context(process(command, folder / f"{way}.log"))
            found[way] = Prometheus(f"http://127.0.0.1:{port}")
        up = "count(count_over_time(up[1m]) >= 3) == 4"
        for way, prometheus in found.items():
            until(f"three scrapes of everything by {way}", lambda p=prometheus: bool(p.now(up)), 30)
        yield found


def answer(prometheus: Prometheus, query: Asked) -> set[str]:
    """Series of a panel as far as its legend and keys tell them apart, with figures that are numbers."""
    found = prometheus.now(query.expr)
    assert all(math.isfinite(float(series["value"][1])) for series in found)
    return {json.dumps(series["metric"], sort_keys=True) for series in found}


@pytest.mark.parametrize("query", BOARD, ids=lambda q: f"{q.panel}-{q.legend}")
def test_a_panel_of_spark_and_kubernetes_shows_the_same_by_monitors_and_by_annotations(
    both: dict[str, Prometheus], query: Asked
) -> None:
    shown = answer(both["monitors"], query)
    assert shown, query.expr
    assert shown == answer(both["annotations"], query)


def test_panels_find_a_release_by_its_name_and_no_other(both: dict[str, Prometheus]) -> None:
    for prometheus in both.values():
        for query in BOARD:
            scoped = query.expr.replace('app_kubernetes_io_instance=~".*"', 'app_kubernetes_io_instance=~"RELEASE"')
            scoped = scoped.replace('pod=~".*(-.*)?"', 'pod=~"RELEASE(-.*)?"')
            assert scoped != query.expr, query.panel
            assert prometheus.now(scoped.replace("RELEASE", RELEASE)), (query.panel, scoped)
            assert not prometheus.now(scoped.replace("RELEASE", "n")), (query.panel, "another release")


def test_executors_wanted_and_running_queue_time_and_memory_are_as_the_cluster_says(
    both: dict[str, Prometheus],
) -> None:
    for prometheus in both.values():
        figures = {
            query.legend: {
                series["metric"].get("application") or series["metric"].get("pod"): float(series["value"][1])
                for series in prometheus.now(query.expr)
            }
            for query in BOARD
            if query.panel in {"Executors, wanted and running", "Queue time", "Memory of its limit"}
        }
        assert figures["{{application}} wanted"] == {"ng-train-1": 3}, "of what runs, not of what is suspended"
        assert figures["{{application}} running"] == {"ng-train-1": 2}
        assert figures["{{application}} waited"] == {"ng-train-1": pytest.approx(40, abs=2)}
        assert figures["{{application}} waits"] == {"ng-evaluate-1": pytest.approx(70, abs=60)}
        assert figures["{{pod}}"] == {POD: 0.75}


def test_a_series_has_the_labels_that_the_docs_say_whoever_scrapes_it(both: dict[str, Prometheus]) -> None:
    # Of the scrape itself; the applications' own namespace is that of the exporter, which Prometheus keeps.
    of_the_scrape = {"__name__", "instance", "job", "service", "endpoint", "exported_namespace"}
    pods = {"namespace", "pod", "app_kubernetes_io_instance", "app_kubernetes_io_name"}
    for prometheus in both.values():
        series = [one["metric"] for one in prometheus.now('{__name__=~"neurogrid_.*", __name__!~".*_bucket"}')]
        assert {one["app_kubernetes_io_instance"] for one in series} == {RELEASE}
        for one in series:
            metric = BY_NAME[re.sub(r"(?<=seconds)_(sum|count)$", "", one["__name__"])]
            assert set(one) - of_the_scrape - pods <= set(metric.labels), one
