"""Values that the pages of platforms and the examples show: the chart takes them, and Kubernetes what comes out."""

import json
import re
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml
from rendering import ROOT, Chart, all_of

PAGES = sorted((ROOT / "docs" / "platforms").glob("*.md"))
OTHER_PAGES = [ROOT / "docs" / "kubernetes.md", ROOT / "UPGRADING.md"]
EXAMPLES = sorted((ROOT / "examples").glob("*/values.yaml"))
ARGO_CD = yaml.safe_load((ROOT / "examples" / "argocd" / "application.yaml").read_text())
OTHERS = {"SparkApplication", "ScheduledSparkApplication", "ServiceMonitor", "PodMonitor", "PrometheusRule"}


def shown() -> dict[str, dict[str, Any]]:
    """The values on each page, in a block of YAML that is no object, and those of the examples."""
    found = {f"examples/{file.parent.name}": yaml.safe_load(file.read_text()) for file in EXAMPLES}
    found["examples/argocd"] = ARGO_CD["spec"]["source"]["helm"]["valuesObject"]
    for page in [*PAGES, *OTHER_PAGES]:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            values = yaml.safe_load(block)
            if "kind" not in values:
                assert page.stem not in found, "two blocks of values on a page"
                found[page.stem] = values
    return found


def test_every_page_shows_values_and_says_what_was_tried() -> None:
    platforms = {"eks", "gke", "aks", "openshift"}
    assert {page.stem for page in PAGES} - {"argocd"} == platforms <= shown().keys()
    assert all("\n## What was tried\n" in page.read_text() for page in PAGES)


@cache  # most objects are the same on every page, and the schema of one is read for a thirtieth of a second
def conforms(document: str) -> None:
    kubernetes_validate.validate(json.loads(document), "1.34", strict=True)


@pytest.mark.parametrize("where", shown())
def test_what_is_shown_renders_to_what_kubernetes_takes(chart: Chart, where: str) -> None:
    documents = chart.render(shown()[where])
    for document in documents:
        if document["kind"] not in OTHERS:
            conforms(json.dumps(document))


def test_the_application_of_argo_cd_installs_the_chart_that_is_in_git() -> None:
    source = ARGO_CD["spec"]["source"]
    assert (ROOT / source["path"] / "Chart.yaml").is_file()
    assert (ARGO_CD["apiVersion"], ARGO_CD["kind"]) == ("argoproj.io/v1alpha1", "Application")
    assert "ServerSideApply=true" in ARGO_CD["spec"]["syncPolicy"]["syncOptions"]


def test_on_openshift_nothing_names_a_user(chart: Chart) -> None:
    documents = chart.render(shown()["openshift"])
    text = json.dumps([d for d in documents if d["kind"] != "CustomResourceDefinition"])
    assert not re.search(r'"(runAsUser|runAsGroup|fsGroup)": [0-9]', text)
    assert "runAsUser" not in text.replace('\\"', '"')


def test_the_eks_values_let_every_pod_reach_its_credentials(chart: Chart) -> None:
    """Pod Identity's agent answers on port 80 of an address of the node."""
    policies = all_of(chart.render(shown()["eks"]), "NetworkPolicy")
    names = {policy["metadata"]["name"] for policy in policies if "169.254.170.23/32" in json.dumps(policy["spec"])}
    assert any(name.endswith("-exporter") for name in names), names
    assert len(names) >= 3, names
