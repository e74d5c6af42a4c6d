"""The Airflow example against a release: Airflow's own operator runs the jobs, and the weights are the laptop's.

NEUROGRID_AIRFLOW names the Python of a virtual environment that has Airflow, as examples/airflow/README.md makes one.
Airflow's packages fit no other environment, so the DAG runs in a process of its own.
"""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from releases import CONFIG, ONE, ROOT, Laptop, Release

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

EXAMPLE = ROOT / "examples" / "airflow"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a file with Airflow's Python, in a home of its own."""
    python = os.environ.get("NEUROGRID_AIRFLOW", "")
    if not Path(python).is_file():
        pytest.skip("NEUROGRID_AIRFLOW names no Python that has Airflow")
    home = tmp_path_factory.mktemp("airflow")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLE),
    }

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [python, *words]
        return subprocess.run(command, env=env | variables, capture_output=True, text=True, check=False, timeout=1400)

    migrated = run("-m", "airflow", "db", "migrate")
    assert migrated.returncode == 0, migrated.stderr[-2000:]
    return run


def test_a_dag_of_sparkkubernetesoperators_trains_the_laptops_weights(
    airflow: Callable[..., subprocess.CompletedProcess[str]],
    install: Callable[..., Release],
    beside: Callable[[dict[str, Any]], Callable[[], Laptop]],
) -> None:
    expected = beside(CONFIG)
    release = install("air", {**yaml.safe_load((EXAMPLE / "values.yaml").read_text()), "jobDefaults": ONE})
    done = airflow(str(EXAMPLE / "neurogrid_dag.py"), NEUROGRID_NAMESPACE=release.namespace, NEUROGRID_RELEASE="air")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-5000:]
    completed = re.findall(r'"neurogrid": "completed", "job": "(\w+)"', said)
    assert list(dict.fromkeys(completed)) == ["etl", "sample", "train", "evaluate"], said[-5000:]
    assert f'"w_final_sha256": "{expected().weights}"' in said
    # Airflow takes away what it made, and the release had started nothing by itself.
    assert release.kubectl("get", "sparkapplications", "-o", "name") == ""
