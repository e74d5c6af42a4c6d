"""From the first chart, which installed the SparkApplications itself, to this one, while a training is under way."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from releases import CHART, CONFIG, ONE, ROOT, Laptop, Release, merged, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

FIRST_CHART = "ac3a112"
LONG = merged(CONFIG, {"rounds": {"count": 40}})


@pytest.fixture(scope="module")
def first_chart(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart as it was, from the repository's history."""
    packed = subprocess.run(
        ["git", "archive", FIRST_CHART, "helm/neurogrid"], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        pytest.skip(f"the history of this clone does not reach back to {FIRST_CHART}")
    folder = tmp_path_factory.mktemp("first")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    chart = folder / "helm" / "neurogrid"
    shutil.copytree(CHART / "charts", chart / "charts")
    return chart


def test_an_upgrade_from_the_first_chart_keeps_the_data_and_a_training_goes_on_where_it_was(
    first_chart: Path, namespace: str, beside: Callable[[dict[str, Any]], Callable[[], Laptop]], install: Any
) -> None:
    expected = beside(LONG)
    off = {job: {"enabled": False} for job in ("etl", "sample", "train", "evaluate")}
    # One driver that does all, so that none has to wait as the first chart's drivers did.
    values = {"config": LONG, "jobs": off | {"all": {"enabled": True, "step": "pipeline"}}, "jobDefaults": ONE}
    release: Release = install("up", values, chart=first_chart)

    def rounds(driver: str) -> int:
        log = release.kubectl("logs", driver, "-c", "spark-kubernetes-driver", check=False)
        return log.count('{"neurogrid": "round"')

    wait_for("the training", 600, lambda: rounds("up-all-driver") >= 3)
    claim = ["get", "pvc", "up-warehouse", "-o", "jsonpath={.metadata.uid}"]
    before = release.kubectl(*claim)
    release.helm("upgrade")
    wait_for("the run of the new chart", 180, lambda: release.state("all") == "RUNNING")
    result = release.wait_completed("all", 600)
    assert release.kubectl(*claim) == before
    assert release.lines("all", "training")[0]["done"] >= 3
    assert result["w_final_sha256"] == expected().weights
    left = json.loads(release.kubectl("get", "sparkapplications", "-o", "json"))["items"]
    assert [app["metadata"]["name"] for app in left] == [release.run("all")]
