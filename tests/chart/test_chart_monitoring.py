"""Monitors and rules where the cluster knows them, plain annotations where not; dashboards for Grafana's sidecar."""

import json
import os
import shlex
import subprocess
from typing import Any

import pytest
import yaml
from rendering import ROOT, SYNTHETIC, Chart

Objects = list[dict[str, Any]]


def of(objects: Objects, kind: str) -> Objects:
    return [found for found in objects if found["kind"] == kind]


def scraped(metadata: dict[str, Any]) -> dict[str, str]:
    given = metadata.get("annotations") or {}
    return {name: value for name, value in given.items() if name.startswith("prometheus.io/")}


def exporter_and_drivers(objects: Objects) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    (exporter,) = [d for d in of(objects, "Deployment") if d["metadata"]["name"] == "ng-exporter"]
    drivers = [app["spec"]["driver"]["template"]["metadata"] for app in of(objects, "SparkApplication")]
    assert drivers
    return exporter["spec"]["template"]["metadata"], drivers


def test_without_the_operator_pods_say_themselves_where_they_are_scraped(chart: Chart) -> None:
    objects = chart.render({**SYNTHETIC, "monitoring": {"operator": "never"}})
    exporter, drivers = exporter_and_drivers(objects)
    assert scraped(exporter) == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "9108",
        "prometheus.io/path": "/metrics",
    }
    for driver in drivers:
        assert scraped(driver)["prometheus.io/port"] == "4040"
    for app in of(objects, "SparkApplication"):
        assert not scraped(app["spec"]["executor"]["template"]["metadata"])
    assert not [found for found in objects if found["apiVersion"].startswith("monitoring.coreos.com/")]


def test_with_the_operator_there_are_monitors_and_no_annotations(chart: Chart) -> None:
    labels = {"release": "kps"}
    objects = chart.render({**SYNTHETIC, "monitoring": {"operator": "always", "labels": labels, "interval": "7s"}})
    exporter, drivers = exporter_and_drivers(objects)
    assert not scraped(exporter)
    assert not any(map(scraped, drivers))
    (service,) = of(objects, "ServiceMonitor")
    (pods,) = of(objects, "PodMonitor")
    (rule,) = of(objects, "PrometheusRule")
    for found in (service, pods, rule):
        assert found["metadata"]["labels"].items() >= labels.items()
    (endpoint,) = service["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["interval"], endpoint["honorLabels"]) == ("metrics", "7s", True)
    paths = {one["path"] for one in pods["spec"]["podMetricsEndpoints"]}
    assert paths == {"/metrics/executors/prometheus", "/metrics/prometheus"}


def test_a_monitor_selects_what_the_chart_makes(chart: Chart) -> None:
    objects = chart.render({**SYNTHETIC, "monitoring": {"operator": "always"}})
    wanted = of(objects, "ServiceMonitor")[0]["spec"]["selector"]["matchLabels"]
    chosen = [
        s["metadata"]["name"] for s in of(objects, "Service") if s["metadata"]["labels"].items() >= wanted.items()
    ]
    assert chosen == ["ng-exporter"]
    wanted = dict(of(objects, "PodMonitor")[0]["spec"]["selector"]["matchLabels"])
    assert wanted.pop("spark-role") == "driver", "Spark's own label of a driver's pod"
    for driver in exporter_and_drivers(objects)[1]:
        assert driver["labels"].items() >= wanted.items()


def test_the_rules_are_those_of_the_repository_with_links_that_lead_somewhere(chart: Chart) -> None:
    rules = {"grafanaUrl": "https://g.example.org/", "docsUrl": "https://d.example.org/docs"}
    objects = chart.render({**SYNTHETIC, "monitoring": {"operator": "always", "rules": rules}})
    (made,) = of(objects, "PrometheusRule")
    ours = yaml.safe_load((ROOT / "monitoring" / "alerts.yaml").read_text())
    for group, own in zip(made["spec"]["groups"], ours["groups"], strict=True):
        for rule, alert in zip(group["rules"], own["rules"], strict=True):
            if rule["alert"] == "NeuroGridExporterGone":
                assert rule["expr"] == 'absent(neurogrid_build_info{namespace="neurogrid"})'
            else:
                assert rule["expr"] == alert["expr"]
            said, meant = rule["annotations"], alert["annotations"]
            assert said["dashboard"] == "https://g.example.org" + meant["dashboard"]
            assert said["runbook_url"] == "https://d.example.org/docs" + meant["runbook_url"].removeprefix("docs")
            assert said["summary"] == meant["summary"]
    plain = of(chart.render({**SYNTHETIC, "monitoring": {"operator": "always"}}), "PrometheusRule")[0]["spec"]
    assert plain["groups"][:2] == ours["groups"][:2]
    off = chart.render({**SYNTHETIC, "monitoring": {"operator": "always", "rules": {"enabled": False}}})
    assert not of(off, "PrometheusRule")


@pytest.mark.parametrize("folder", ["", "Energy"])
def test_dashboards_are_where_grafanas_sidecar_looks(chart: Chart, folder: str) -> None:
    dashboards = {"label": "my_dashboard", "labelValue": "yes", "folder": folder, "namespace": "grafana"}
    objects = chart.render({**SYNTHETIC, "monitoring": {"dashboards": dashboards}})
    found = [m for m in of(objects, "ConfigMap") if m["metadata"]["labels"].get("my_dashboard") == "yes"]
    boards = {json.loads(text)["uid"] for one in found for text in one["data"].values()}
    assert boards == {path.stem for path in (ROOT / "monitoring" / "dashboards").glob("*.json")}
    assert len(boards) == 4
    for one in found:
        assert one["metadata"]["namespace"] == "grafana"
        assert (one["metadata"].get("annotations") or {}).get("grafana_folder", "") == folder
    none = chart.render({**SYNTHETIC, "monitoring": {"dashboards": {"enabled": False}}})
    assert not [m for m in of(none, "ConfigMap") if "grafana_dashboard" in m["metadata"]["labels"]]


def test_make_dashboards_asks_the_chart_for_what_it_has(chart: Chart) -> None:
    said = subprocess.run(
        [ROOT / "monitoring" / "install"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "DRY_RUN": "1", "STACK": "kps", "TRACES_URL": "http://tempo:3200"},
    ).stdout
    stack, ours = (shlex.split(line) for line in said.splitlines() if line.startswith("helm upgrade"))
    assert stack[3:5] == ["kps", "kube-prometheus-stack"]
    values = yaml.safe_load((ROOT / stack[stack.index("-f") + 1]).read_text())
    traces = values["grafana"]["sidecar"]["datasources"]["exemplarTraceIdDestinations"]
    assert traces == {"datasourceUid": "traces", "traceIdLabelName": "trace_id"}
    assert "exemplar-storage" in values["prometheus"]["prometheusSpec"]["enableFeatures"]
    assert values["grafana"]["sidecar"]["dashboards"] == {
        "enabled": True,
        "label": "grafana_dashboard",
        "labelValue": "1",
        "searchNamespace": "ALL",
        "folderAnnotation": "grafana_folder",
        "provider": {"foldersFromFilesStructure": True},
    }
    (sources,) = (word for word in stack if word.startswith("grafana.additionalDataSources="))
    (source,) = json.loads(sources.partition("=")[2])
    assert (source["uid"], source["url"]) == ("traces", "http://tempo:3200")
    flags = [word for i, word in enumerate(ours) if word.startswith("--set") or ours[i - 1].startswith("--set")]
    done = subprocess.run(
        ["helm", "template", "ng", str(chart.path), "-n", "neurogrid", "-f", "-", *flags],
        input=json.dumps(SYNTHETIC),
        check=True,
        capture_output=True,
        text=True,
    )
    objects = [found for found in yaml.safe_load_all(done.stdout) if found]
    assert of(objects, "ServiceMonitor")[0]["metadata"]["labels"]["release"] == "kps"
    for rule in (rule for group in of(objects, "PrometheusRule")[0]["spec"]["groups"] for rule in group["rules"]):
        assert rule["annotations"]["dashboard"].startswith("http://localhost:3000/d/neurogrid-")
        assert rule["annotations"]["runbook_url"].startswith("http://localhost:8000/monitoring.md#")
    (policy,) = [p for p in of(objects, "NetworkPolicy") if p["metadata"]["name"] == "ng-exporter"]
    peers = [peer for rule in policy["spec"]["ingress"] for peer in rule["from"]]
    assert peers[0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
