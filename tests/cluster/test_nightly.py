"""A release that is one pipeline job, watched from outside: traces to a collector, Spark's UI through an ingress.

No ingress controller runs here: a pod stands where one would, and calls what each ingress leads to.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from releases import CONFIG, ONE, Laptop, Release, kubectl, wait_for
from strangers import Bystander, put, reachable

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

DOMAIN = "example.org"
# Says a line for each request with spans: whose they are, and their names.
_COLLECTOR = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        spans = [span for r in request.resource_spans for scope in r.scope_spans for span in scope.spans]
        print(json.dumps({"path": self.path, "spans": [span.name for span in spans]}), flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
HTTPServer(("", 4318), Collector).serve_forever()
"""
# Before its UI is whole, Spark says 404 to this, or that it is starting up.
_ASK = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())
except urllib.error.HTTPError:
    print("[]")
"""


@pytest.fixture(scope="module")
def expected(cluster: None, beside: Callable[[dict[str, Any]], Callable[[], Laptop]]) -> Callable[[], Laptop]:
    """The laptop's result, worked out beside the cluster's."""
    return beside(CONFIG)


@pytest.fixture(scope="module")
def collector(cluster: None) -> Iterator[Bystander]:
    """A collector of traces, in a namespace of its own."""
    namespace = f"tracing-{os.getpid()}"
    kubectl("create", "namespace", namespace)
    yield put(namespace, "collector", labels={"app": "collector"}, command=("python", "-c", _COLLECTOR))
    kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="module")
def controller(cluster: None) -> Iterator[Bystander]:
    """Stands where the ingress controller would."""
    namespace = f"ingress-{os.getpid()}"
    kubectl("create", "namespace", namespace)
    yield put(namespace, "controller")
    kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="module")
def nightly(
    install: Callable[..., Release], expected: Callable[[], Laptop], collector: Bystander, controller: Bystander
) -> Release:
    """Installed; its one job runs by itself."""

    def of(own: Bystander) -> dict[str, Any]:
        return {"matchLabels": {"kubernetes.io/metadata.name": own.namespace}}

    pods = {"namespaceSelector": of(collector), "podSelector": {"matchLabels": {"app": "collector"}}}
    jobs: dict[str, Any] = {job: {"enabled": False} for job in ("etl", "sample", "train")}
    return install(
        "night",
        {
            "jobs": jobs | {"nightly": {"enabled": True, "step": "pipeline"} | ONE},
            "tracing": {"endpoint": f"http://{collector.address}:4318"},
            "network": {"tracing": {"to": [pods]}},
            "ui": {"domain": DOMAIN, "from": [{"namespaceSelector": of(controller)}], "ingress": {"enabled": True}},
            "history": {"enabled": True},
        },
    )


def leads_to(release: Release) -> dict[str, str]:
    """Where each ingress of the release leads, by its host."""
    found = json.loads(release.kubectl("get", "ingress", "-o", "json"))["items"]
    rules = [rule for ingress in found for rule in ingress["spec"]["rules"]]
    return {rule["host"]: service(release, rule["http"]["paths"][0]["backend"]["service"]) for rule in rules}


def service(release: Release, backend: dict[str, Any]) -> str:
    """The URL of a service that has the port which the ingress names."""
    return f"http://{backend['name']}.{release.namespace}:{backend['port']['number']}"


def applications(asker: Bystander, url: str) -> list[dict[str, Any]]:
    """What the UI or the history server there says of its applications; nothing while Spark starts."""
    said = asker.run("python", "-c", _ASK, f"{url}/api/v1/applications")
    return [] if said.startswith("Spark is starting up") else list(json.loads(said))


def test_an_ingress_leads_its_controller_to_the_ui_of_a_job_that_runs_and_nobody_else(
    nightly: Release, controller: Bystander, collector: Bystander
) -> None:
    assert set(leads_to(nightly)) == {f"night-{part}.{DOMAIN}" for part in ("nightly", "history")}
    url = leads_to(nightly)[f"night-nightly.{DOMAIN}"]
    address = urlsplit(url).netloc
    wait_for("Spark's UI", 600, lambda: reachable(controller.namespace, controller.name, [address]), 0.5)
    shown = wait_for("its application", 120, lambda: applications(controller, url), 0.5)
    assert [application["name"] for application in shown] == [nightly.run("nightly")]
    assert reachable(collector.namespace, collector.name, [address]) == set()
    assert nightly.state("nightly") == "RUNNING", "nobody was there to be reached"


def test_a_pipeline_does_what_its_steps_do_to_the_laptops_weights(
    nightly: Release, expected: Callable[[], Laptop]
) -> None:
    result = nightly.wait_completed("nightly", 1500)
    assert {"etl", "sample", "train", "evaluate"} <= set(result)
    assert result["w_final_sha256"] == result["evaluate"]["w_final_sha256"] == expected().weights


def test_a_collector_that_the_policies_name_gets_the_traces_of_every_round(
    nightly: Release, collector: Bystander
) -> None:
    nightly.wait_completed("nightly", 1500)
    log = kubectl("-n", collector.namespace, "logs", collector.name)
    told = [json.loads(line) for line in log.splitlines()]
    assert {line["path"] for line in told} == {"/v1/traces"}
    names = [name for line in told for name in line["spans"]]
    assert names.count("round") == CONFIG["rounds"]["count"]
    assert names.count("agent") == CONFIG["rounds"]["count"] * CONFIG["rounds"]["agents_per_round"]


def test_an_ingress_leads_its_controller_to_the_history_server_and_nobody_else(
    nightly: Release, controller: Bystander, collector: Bystander
) -> None:
    nightly.wait_completed("nightly", 1500)
    url = leads_to(nightly)[f"night-history.{DOMAIN}"]

    def ended() -> bool:
        return any(application["attempts"][0]["completed"] for application in applications(controller, url))

    wait_for("the history of the pipeline", 300, ended, 3)
    assert reachable(collector.namespace, collector.name, [urlsplit(url).netloc]) == set()
