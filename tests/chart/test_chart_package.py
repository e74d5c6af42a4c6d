"""helm/package: the chart that is published names the image that was published beside it, and where the code is."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
VERSION = yaml.safe_load((ROOT / "helm" / "neurogrid" / "Chart.yaml").read_text())["version"]
CODE, IMAGE = "https://github.com/city/grid", "ghcr.io/city/spark"


def package(*arguments: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("helm"):
        pytest.skip("helm is not on the PATH")
    if not os.environ.get("NEUROGRID_CHARTS"):
        pytest.skip("NEUROGRID_CHARTS names no folder with the operator's chart")
    return subprocess.run([ROOT / "helm" / "package", *arguments], capture_output=True, text=True, check=False)


def helm(*arguments: str) -> str:
    return subprocess.run(["helm", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("package")
    done = package(VERSION, CODE, IMAGE, str(folder))
    assert done.returncode == 0, done.stderr
    return str(folder / f"neurogrid-{VERSION}.tgz")


def test_the_published_chart_says_where_it_comes_from(archive: str) -> None:
    chart = yaml.safe_load(helm("show", "chart", archive))
    assert (chart["home"], chart["sources"]) == (CODE, [CODE])
    assert chart["icon"] == f"https://raw.githubusercontent.com/city/grid/v{VERSION}/helm/icon.svg"
    assert chart["maintainers"]
    (image,) = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert image["image"] == f"{IMAGE}:{VERSION}"
    assert "[INFO]" not in helm("lint", "--set", "data.kind=synthetic", "-n", "neurogrid", archive)


def test_the_published_chart_runs_the_published_image(archive: str) -> None:
    rendered = helm("template", "ng", archive, "--set", "data.kind=synthetic", "-n", "neurogrid")
    assert f"{IMAGE}:{VERSION}" in rendered
    assert "neurogrid/spark:" not in rendered.replace(IMAGE, "")


def test_a_version_that_is_not_the_charts_is_refused(tmp_path: Path) -> None:
    done = package("9.9.9", CODE, IMAGE, str(tmp_path))
    assert done.returncode == 2
    assert f"9.9.9 was asked for, and Chart.yaml has version: {VERSION}" in done.stderr
