"""The public workflows, which nothing here can run: what they call exists, and they may do no more than they need."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def jobs(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / f"{name}.yml").read_text())["jobs"]
    return found


def scripts(path: Path) -> list[str]:
    """Every script that a workflow runs."""
    return [step["run"] for job in jobs(path.stem).values() for step in job["steps"] if "run" in step]


def targets() -> set[str]:
    rules = "".join((ROOT / name).read_text() for name in ("Makefile", "k8s/cluster.mk"))
    return {word for names in re.findall(r"^([a-z][a-z0-9 -]*):", rules, re.MULTILINE) for word in names.split()}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_calls_exists(path: Path) -> None:
    for script in scripts(path):
        for line in re.findall(r"^make (.*)$", script, re.MULTILINE):
            assert {word for word in line.split() if "=" not in word} <= targets(), line
        for program in re.findall(
            r"^(?:\w+=\S+ )*(?:\S+/python )?((?:helm|images|monitoring|k8s)/[\w./-]+)", script, re.MULTILINE
        ):
            assert (ROOT / program).exists(), program
            assert (ROOT / program).stat().st_mode & 0o100, f"{program} can't be run"
        for file in re.findall(r"--file (\S+)", script):
            assert (ROOT / file).is_file()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_its_scripts_are_without_fault(path: Path) -> None:
    shell = yaml.safe_load(path.read_text())["defaults"]["run"]["shell"]
    assert shell == "bash", "GitHub's own default goes on when a part of a pipe has failed"
    for script in scripts(path):
        plain = re.sub(r"\$\{\{.*?\}\}", "x", script)
        subprocess.run(["bash", "-n"], input=plain, text=True, check=True)
        if shutil.which("shellcheck"):
            checked = ["shellcheck", "--shell=bash", "--exclude=SC2154", "-"]
            done = subprocess.run(checked, input=plain, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_text_from_outside_gets_into_a_script(path: Path) -> None:
    """What GitHub puts into a script before bash reads it can hold anything; what it needs comes as environment."""
    for script in scripts(path):
        assert "${{" not in script, script


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_others_actions_are_pinned_to_a_commit(path: Path) -> None:
    for used in re.findall(r"uses: (.*)$", path.read_text(), re.MULTILINE):
        assert PINNED.fullmatch(used), used


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_the_code_and_nothing_else(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        more = {right for right, level in job.get("permissions", {}).items() if level == "write"}
        assert path.stem == "publish" or not more, name
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            if str(step.get("uses", "")).startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False


def test_only_the_job_that_signs_can_sign() -> None:
    rights = {name: job["permissions"] for name, job in jobs("publish").items()}
    assert {name for name, right in rights.items() if right.get("id-token") == "write"} == {"publish"}
    assert rights["build"] == {"contents": "read", "packages": "write"}


def test_the_cluster_quick_start_is_the_readmes() -> None:
    section = (ROOT / "README.md").read_text().partition("## Quick start on a cluster")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    shown = [line.partition("#")[0].strip() for line in block[1].splitlines() if line.startswith("make ")]
    assert len(shown) == 4
    job = jobs("quickstart")["cluster"]
    run = [step["run"].strip() for step in job["steps"] if step.get("run", "").startswith("make ")]
    assert run[: len(shown)] == shown
    assert job["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
    assert not re.search("NEUROGRID_CHARTS|shared/", (FOLDER / "quickstart.yml").read_text())


def test_the_demo_runs_on_a_mac() -> None:
    demo = jobs("quickstart")["demo"]
    assert any(runner.startswith("macos-") for runner in demo["strategy"]["matrix"]["runner"])
    assert any(step.get("run") == "make demo" for step in demo["steps"])


def test_what_is_published_is_signed_and_has_its_parts_and_provenance() -> None:
    """The image of both processors and the chart, each by the digest that was pushed."""
    job = jobs("publish")["publish"]
    signed = next(step["run"] for step in job["steps"] if "cosign sign" in step.get("run", ""))
    assert 'cosign sign --yes --recursive "$SPARK@$SPARK_DIGEST"' in signed
    assert 'cosign sign --yes "$CHART@$CHART_DIGEST"' in signed
    assert "cosign attest --yes --type cyclonedx" in signed
    vouched = [
        step["with"]["subject-digest"] for step in job["steps"] if "attest-build-provenance" in step.get("uses", "")
    ]
    assert vouched == ["${{ steps.image.outputs.digest }}", "${{ steps.chart.outputs.digest }}"]
    built = {entry["processor"] for entry in jobs("publish")["build"]["strategy"]["matrix"]["include"]}
    assert built == {"amd64", "arm64"}
