"""A real run with attackers, a real exporter and a real Prometheus beside it, on this machine: for tests and screenshots.

Prometheus is the one on the PATH (Debian's package, or any other); nothing here needs a cluster.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

ALERTS = Path(__file__).resolve().parent.parent.parent / "helm" / "neurogrid" / "files" / "alerts.yaml"
RUN_ID, HONEST_ID = "attacked", "honest"
# Six of fifteen attack a rule that bears three, and nothing is clipped: it rejects more than f, so the alert has to fire.
CONFIG = """
run_id: attacked
sampling: {agents: 15, districts: 3, clusters: 3, held_out_share: 0.2, min_observed_slots: 200}
model: {hidden: 16, surge_hidden: 8, history_slots: 32, horizon_slots: 8}
local: {steps: 12, batch_size: 32}
rounds: {count: 40, agents_per_round: 15, panel_agents: 5, server_momentum: 0.0, server_step: 1.0}
aggregation: {byzantine_share: 0.2, rule: trimmed_mean, stages: [admit, weigh, rule, mean, server_step]}
attack: {kind: noise, fraction: 0.4, noise_std: 0.1}
evaluation: {comparisons: [ridge]}
teacher: {id: pretrained, share: 0.5, apart: false, ranks: 1, epochs: 3, epoch_windows: 2048}
"""


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus to ask."""

    url: str

    def ask(self, path: str, **arguments: str) -> Any:
        """The `data` of an answer of its HTTP API.

        Raises:
            RuntimeError: It refuses, with its words.
            ConnectionError: It does not answer yet.
        """
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}") as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                raise ConnectionError(f"{self.url} is still starting") from error
            raise RuntimeError(error.read().decode()) from error

    def now(self, query: str) -> list[dict[str, Any]]:
        """Series of an instant query."""
        return list(self.ask("query", query=query)["result"])

    def between(self, query: str, start: float, end: float, step_s: float) -> list[dict[str, Any]]:
        """Series of a range query."""
        found = self.ask("query_range", query=query, start=f"{start}", end=f"{end}", step=f"{step_s}")
        return list(found["result"])

    def value(self, query: str) -> float:
        """The one value of an instant query with one series."""
        (series,) = self.now(query)
        return float(series["value"][1])


@dataclass(frozen=True)
class Stage:
    """What stands: where Prometheus answers, what it watches, and when that began."""

    prometheus: Prometheus
    warehouse: Path
    exporter_url: str
    spark_port: int
    began: float


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, found: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Returns when `found` does; raises TimeoutError naming what was waited for."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with suppress(OSError):
            if found():
                return
        time.sleep(0.2)
    raise TimeoutError(f"{what} did not come within {timeout_s:.0f} s")


def scrape_config(exporter_port: int, spark_port: int, rules: Path) -> str:
    """Prometheus' configuration: the exporter and both of Spark's own endpoints, every second, and our alerts."""

    def job(name: str, port: int, path: str) -> dict[str, Any]:
        return {
            "job_name": name,
            "metrics_path": path,
            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        }

    return yaml.safe_dump(
        {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                job("neurogrid", exporter_port, "/metrics"),
                job("executors", spark_port, "/metrics/executors/prometheus"),
                job("driver", spark_port, "/metrics/prometheus"),
            ],
        }
    )


@contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as started:
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()


def neurogrid(*arguments: str) -> list[str]:
    """The command as this Python has it."""
    return [sys.executable, "-m", "neurogrid", *arguments]


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Prometheus and exporter over a warehouse in which there is nothing yet."""
    binary = shutil.which("prometheus")
    if binary is None:
        raise FileNotFoundError("no prometheus on the PATH: apt-get install prometheus")
    exporter_port, spark_port, port = free_port(), free_port(), free_port()
    # What takes minutes is for promtool to prove: here a run lasts half a minute.
    (folder / "alerts.yaml").write_text(re.sub(r"for: \d+[mh]", "for: 2s", ALERTS.read_text()))
    (folder / "prometheus.yml").write_text(scrape_config(exporter_port, spark_port, folder / "alerts.yaml"))
    warehouse = folder / "w"
    warehouse.mkdir()
    serve = neurogrid("exporter", "--warehouse", str(warehouse), "--port", str(exporter_port), "--every", "0.5")
    scrape = [
        *(binary, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"),
    ]
    found = Prometheus(f"http://127.0.0.1:{port}")
    with process([*serve, "--address", "127.0.0.1"], folder / "exporter.log"), process(scrape, folder / "scrape.log"):
        until("the exporter in Prometheus", lambda: bool(found.now("neurogrid_build_info")))
        yield Stage(found, warehouse, f"http://127.0.0.1:{exporter_port}", spark_port, time.time())


def run_with_attackers(stood: Stage, environment: Mapping[str, str]) -> None:
    """ETL, rounds with attackers, evaluation and a teacher, on Spark whose own metrics are scraped; waits for the figures.

    `environment` is added to that of the run: OTEL_ variables have it traced.
    """
    folder = stood.warehouse.parent
    (folder / "attacked.yaml").write_text(CONFIG)
    spark = {
        "spark.ui.enabled": "true",
        "spark.ui.port": str(stood.spark_port),
        "spark.metrics.namespace": "neurogrid",
        "spark.executor.processTreeMetrics.enabled": "true",
        "spark.metrics.conf.*.sink.prometheusServlet.class": "org.apache.spark.metrics.sink.PrometheusServlet",
        "spark.metrics.conf.*.sink.prometheusServlet.path": "/metrics/prometheus",
    }
    subprocess.run(neurogrid("synth", str(folder / "data"), "--households", "24", "--days", "40"), check=True)
    arguments = [
        *("-c", str(folder / "attacked.yaml"), "--warehouse", str(stood.warehouse), "--set", "spark.master=local[2]"),
        *("--set", f"spark.options={json.dumps(spark)}"),
    ]
    traced = {**os.environ, **environment}
    subprocess.run(neurogrid("run", *arguments, "--data-dir", str(folder / "data")), check=True, env=traced)
    subprocess.run(neurogrid("teach", *arguments), check=True)
    wait_for_the_end(stood, RUN_ID)


def run_without_attackers(stood: Stage) -> None:
    """Rounds of honest agents on the same readings by the same rule; waits for the figures."""
    folder = stood.warehouse.parent
    settings = (
        f"run_id={HONEST_ID}",
        "attack.kind=none",
        "attack.fraction=0",
        "rounds.count=20",
        "backend.kind=inline",  # what Spark says of itself is in the run with attackers
    )
    flags = [word for setting in settings for word in ("--set", setting)]
    where = ("-c", str(folder / "attacked.yaml"), "--warehouse", str(stood.warehouse))
    subprocess.run(neurogrid("train", *where, *flags), check=True)
    wait_for_the_end(stood, HONEST_ID)


def wait_for_the_end(stood: Stage, run_id: str) -> None:
    """Returns when Prometheus knows that the run has ended."""
    query = f'neurogrid_run_state{{run="{run_id}", state="ended"}} == 1'
    until(f"the end of {run_id} in Prometheus", lambda: bool(stood.prometheus.now(query)))
