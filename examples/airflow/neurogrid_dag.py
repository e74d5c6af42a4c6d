"""A federation as an Airflow DAG: ETL, sampling, training and evaluation, each a SparkApplication of the chart's.

Airflow decides when a job runs and tries it again; the release brings everything else. Install it with values.yaml
beside this file, under which it starts no job by itself. The jobs' templates are read from its ConfigMap
`<release>-jobs` whenever the DAG runs, so an upgrade of the chart needs no change here.

From the environment: NEUROGRID_NAMESPACE and NEUROGRID_RELEASE (both `neurogrid` without it).
"""

import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import yaml
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.providers.cncf.kubernetes.operators.spark_kubernetes import SparkKubernetesOperator
from airflow.sdk import chain, dag, task

NAMESPACE = os.environ.get("NEUROGRID_NAMESPACE", "neurogrid")
RELEASE = os.environ.get("NEUROGRID_RELEASE", "neurogrid")
CONNECTION = "kubernetes_default"
JOBS = ("etl", "sample", "train", "evaluate")


def for_this_run(template: dict[str, Any], after: str, generation: str) -> dict[str, Any]:
    """The job as this DAG run wants it.

    All jobs of a DAG run share a generation: a job finds what the one before it made in this run, and a task that is
    tried again goes on where it was cut short, a training after its last durable round.
    """
    wanted = {
        "NEUROGRID_GENERATION": generation,
        "NEUROGRID_AFTER": after,
        "NEUROGRID_AFTER_GENERATION": generation if after else "",
    }
    for entry in _variables(template):
        entry["value"] = wanted.get(entry["name"], entry["value"])
    # Airflow tries again; the operator would do so behind its back.
    template["spec"]["restartPolicy"] = {"type": "Never"}
    return template


def _variables(inside: Any) -> Iterator[dict[str, Any]]:
    """The environment variables of driver and executors, wherever they stand."""
    if isinstance(inside, dict):
        if "name" in inside and "value" in inside:
            yield inside
        inside = list(inside.values())
    if isinstance(inside, list):
        for inner in inside:
            yield from _variables(inner)


@dag(schedule=None, catchup=False, max_active_runs=1, tags=["neurogrid"], doc_md=__doc__)
def neurogrid() -> None:
    """Reads the templates, then runs one job after another."""

    @task
    def template(job: str, after: str, run_id: str | None = None) -> dict[str, Any]:
        """The job's SparkApplication, from the release."""
        config_map = KubernetesHook(conn_id=CONNECTION).core_v1_client.read_namespaced_config_map(
            f"{RELEASE}-jobs", NAMESPACE
        )
        found: dict[str, Any] = yaml.safe_load(config_map.data[f"{job}.yaml"])
        return for_this_run(found, after, hashlib.sha256(str(run_id).encode()).hexdigest()[:10])

    runs = [
        SparkKubernetesOperator(
            task_id=job,
            namespace=NAMESPACE,
            name=f"{RELEASE}-{job}",
            template_spec=template.override(task_id=f"{job}_template")(job, after),
            kubernetes_conn_id=CONNECTION,
            get_logs=True,
            retries=3,
            retry_delay=timedelta(seconds=30),
        )
        for after, job in pairwise(("", *JOBS))
    ]
    chain(*runs)


federation = neurogrid()

if __name__ == "__main__":
    raise SystemExit(0 if federation.test().state == "success" else 1)
