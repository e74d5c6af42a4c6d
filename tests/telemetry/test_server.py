"""The exporter over HTTP, as Prometheus and Kubernetes see it, and the command that starts it."""

import gzip
import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from programs import PROMETHEUS, needed
from prometheus_client.parser import text_string_to_metric_families as text_families
from pyarrow import fs
from telemetry_run import EXPORTER, exporter, scraped, train, value, write_records

from neurogrid.backends.certificate import certificate_for
from neurogrid.errors import RunError
from neurogrid.incluster import PodApi
from neurogrid.storage import Place, place
from neurogrid.telemetry.catalogue import CATALOGUE
from neurogrid.telemetry.exporter import Exporter
from neurogrid.telemetry.page import Format
from neurogrid.telemetry.server import serving

APPLICATION = {
    "metadata": {"name": "prod-train", "labels": {"neurogrid.io/job": "train", "app.kubernetes.io/instance": "prod"},
                 "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {"executor": {"instances": 4}},
    "status": {"applicationState": {"state": "RUNNING"}, "executionAttempts": 2, "submissionAttempts": 1,
               "executorState": {"e1": "RUNNING", "e2": "RUNNING", "e3": "FAILED"},
               "lastSubmissionAttemptTime": "2026-01-01T00:00:05Z", "terminationTime": None},
}  # fmt: skip


def get(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def test_a_scrape_gets_text_openmetrics_or_gzip_as_it_asks(warehouse):
    work = exporter(warehouse)
    work.look()
    with serving(work, "127.0.0.1", 0) as port:
        status, headers, text = get(port, "/metrics")
        assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        _, headers, opened = get(port, "/metrics", Accept=prometheus)
        assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert opened.endswith(b"# EOF\n")
        assert opened.count(b"# EOF\n") == 1
        _, headers, packed = get(port, "/metrics", **{"Accept-Encoding": "gzip"})
        assert headers["Content-Encoding"] == "gzip"
        kept = [line for line in text.splitlines() if line.startswith((b"neurogrid", b"# "))]
        assert [line for line in gzip.decompress(packed).splitlines() if line.startswith((b"neurogrid", b"# "))] == kept
        assert get(port, "/elsewhere")[0] == 404
        assert get(port, "/")[0] == 200


def test_readiness_waits_for_the_first_whole_look_and_health_for_progress(warehouse):
    work = exporter(warehouse, stuck_after_s=0.3)
    with serving(work, "127.0.0.1", 0) as port:
        assert get(port, "/readyz")[0] == 503
        assert get(port, "/metrics")[0] == 200
        work.look()
        assert (get(port, "/readyz")[0], get(port, "/healthz")[0]) == (200, 200)
        time.sleep(0.4)
        assert get(port, "/healthz")[0] == 503


def test_a_port_that_is_taken_is_said_in_words(warehouse):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(RunError, match="cannot listen on 127"):
        serving(exporter(warehouse), "127.0.0.1", taken.getsockname()[1]).__enter__()


def test_the_command_serves_until_it_is_stopped_and_ends_well(tmp_path):
    train(tmp_path, rounds=2, end=False)
    command = [sys.executable, "-m", "neurogrid", "exporter", "--warehouse", str(tmp_path), "--port", "0",
               "--address", "127.0.0.1", "--every", "0.1"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = process.stderr.readline()
            port = int(re.search(r":(\d+)/metrics", said)[1])
            deadline = time.monotonic() + 30
            while get(port, "/readyz")[0] != 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            train(tmp_path, rounds=3, end=False)
            while b'neurogrid_run_last_round{run="r1"} 3.0' not in get(port, "/metrics")[2]:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_promtool_finds_nothing_to_say_about_a_page_on_which_every_metric_has_a_value(tmp_path, warehouse):
    promtool = needed("promtool", PROMETHEUS)
    shutil.copytree(warehouse, tmp_path / "w")
    write_records(tmp_path / "w")
    ended = {**APPLICATION, "status": {**APPLICATION["status"], "terminationTime": "2026-01-01T00:01:00Z"}}
    settings = replace(EXPORTER, per_agent=True, namespace="ns")
    work = Exporter(place(str(tmp_path / "w")), "0.1", settings, lambda: [ended])
    work.look()
    page = work.page(Format.TEXT, compressed=False)
    families = {family.name: family for family in text_families(page.decode())}
    assert [m.name for m in CATALOGUE if not families[m.name.removesuffix("_total")].samples] == []
    done = subprocess.run([promtool, "check", "metrics"], check=False, input=page, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_storage_that_is_not_this_machines_disk_gives_the_same_figures(warehouse):
    elsewhere = Place(fs.SubTreeFileSystem(str(warehouse.parent), fs.LocalFileSystem()), warehouse.name)
    assert not elsewhere.is_local
    far, near = Exporter(elsewhere, "0.1", EXPORTER), exporter(warehouse)
    far.look()
    near.look()
    ours = [
        {k: v for k, v in scraped(w).items() if k[0].startswith(("neurogrid_r", "neurogrid_a"))} for w in (far, near)
    ]
    assert ours[0] == ours[1]
    assert value(ours[0], "run_last_round", run="r1") == 6


@pytest.fixture
def api_server(tmp_path):
    """An API server's one answer over real TLS, with the account that a pod would have."""
    asked, answers = [], [(200, {"items": [APPLICATION, {"metadata": {"name": "prod-etl"}}]})]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Authorization"]))
            status, content = answers[-1]
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args): ...

    certificate = certificate_for(["127.0.0.1"])
    (tmp_path / "ca.crt").write_bytes(certificate.pem)
    (tmp_path / "key").write_bytes(certificate.key_pem)
    (tmp_path / "token").write_text("secret\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.crt", tmp_path / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    pod = PodApi(("127.0.0.1", server.server_address[1]), tmp_path, "ns")
    yield partial(pod.applications, "a/b=prod"), asked, answers
    server.shutdown()
    thread.join()
    server.server_close()


def test_sparkapplications_are_listed_with_the_pods_own_account_and_shown_by_state(api_server, tmp_path):
    applications, asked, answers = api_server
    settings = replace(EXPORTER, namespace="ns")
    work = Exporter(place(str(tmp_path)), "0.1", settings, applications)
    work.look()
    path = "/apis/sparkoperator.k8s.io/v1beta2/namespaces/ns/sparkapplications?labelSelector=a%2Fb%3Dprod"
    assert asked == [(path, "Bearer secret")]
    values, labels = (
        scraped(work),
        {"namespace": "ns", "application": "prod-train", "release": "prod", "neurogrid_job": "train"},
    )
    fresh = {"namespace": "ns", "application": "prod-etl", "release": "", "neurogrid_job": "prod-etl"}
    assert value(values, "sparkapplication_state", **labels, state="running") == 1
    assert value(values, "sparkapplication_state", **labels, state="failed") == 0
    assert value(values, "sparkapplication_executors", **labels, state="running") == 2
    assert value(values, "sparkapplication_executors", **labels, state="failed") == 1
    assert value(values, "sparkapplication_wanted_executors", **labels) == 4
    assert value(values, "sparkapplication_wanted_executors", **fresh) is None
    assert value(values, "sparkapplication_attempts", **labels, kind="execution") == 2
    assert value(values, "sparkapplication_submitted_timestamp_seconds", **labels) == 1767225605
    assert value(values, "sparkapplication_terminated_timestamp_seconds", **labels) is None
    assert value(values, "sparkapplication_state", **fresh, state="new") == 1
    answers.append((403, {"message": "forbidden"}))
    work.look()
    values = scraped(work)
    assert value(values, "exporter_kubernetes_up") == 0
    assert value(values, "exporter_read_errors_total", kind="kubernetes") == 1
    assert value(values, "sparkapplication_state", **labels, state="running") is None


@pytest.mark.slow
def test_sparks_own_metrics_are_where_the_chart_scrapes_them(tmp_path):
    settings = {
        "spark.ui.enabled": "true",
        "spark.ui.port": "0",
        "spark.ui.prometheus.enabled": "true",
        "spark.metrics.namespace": "neurogrid",
        "spark.metrics.conf.*.sink.prometheusServlet.class": "org.apache.spark.metrics.sink.PrometheusServlet",
        "spark.metrics.conf.*.sink.prometheusServlet.path": "/metrics/prometheus",
    }
    code = (
        "from urllib.request import urlopen; from neurogrid.session import spark_session\n"
        f"with spark_session('metrics', 'local[1]', {settings!r}) as spark:\n"
        "    for path in ('/metrics/prometheus', '/metrics/executors/prometheus'):\n"
        "        print(urlopen(spark.sparkContext.uiWebUrl + path).read().decode())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert re.search(r"^metrics_neurogrid_driver_DAGScheduler_\w+", done.stdout, re.MULTILINE)
    assert re.search(r"^metrics_executor_failedTasks_total\{.*executor_id=\"driver\"", done.stdout, re.MULTILINE)
