"""Monitors and rules where the cluster knows them, plain annotations where not; dashboards for Grafana's sidecar."""

import json
import os
import re
import shlex
import subprocess
from typing import Any

import pytest
import yaml
from rendering import ROOT, SYNTHETIC, Chart, jobs

Objects = list[dict[str, Any]]


def of(objects: Objects, kind: str) -> Objects:
    return [found for found in objects if found["kind"] == kind]


def scraped(metadata: dict[str, Any]) -> dict[str, str]:
    given = metadata.get("annotations") or {}
    return {name: value for name, value in given.items() if name.startswith("prometheus.io/")}


def exporter_and_drivers(objects: Objects) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    (exporter,) = [d for d in of(objects, "Deployment") if d["metadata"]["name"] == "ng-exporter"]
    drivers = [app["spec"]["driver"]["template"]["metadata"] for app in jobs(objects).values()]
    assert drivers
    return exporter["spec"]["template"]["metadata"], drivers


@pytest.mark.parametrize("operator", ["never", "always"])
def test_pods_say_themselves_where_they_are_scraped(chart: Chart, operator: str) -> None:
    objects = chart.render({**SYNTHETIC, "monitoring": {"operator": operator}})
    exporter, drivers = exporter_and_drivers(objects)
    assert scraped(exporter) == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "9108",
        "prometheus.io/path": "/metrics",
    }
    for driver in drivers:
        assert scraped(driver)["prometheus.io/port"] == "4040"
    for app in jobs(objects).values():
        assert not scraped(app["spec"]["executor"]["template"]["metadata"])
    monitors = [found for found in objects if found["apiVersion"].startswith("monitoring.coreos.com/")]
    assert bool(monitors) == (operator == "always")


def test_switching_monitoring_changes_no_pod_that_is_at_work(chart: Chart) -> None:
    off = {"operator": "never", "rules": {"enabled": False}, "dashboards": {"enabled": False}}
    on = {"operator": "always", "labels": {"release": "kps"}, "rules": {"grafanaUrl": "https://g.example.org"}}
    before, after = (chart.render({**SYNTHETIC, "monitoring": monitoring}) for monitoring in (off, on))
    of_monitoring = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
    kept = [found for found in after if found["kind"] not in of_monitoring]
    assert [found for found in kept if "grafana_dashboard" not in (found["metadata"].get("labels") or {})] == before


def test_with_the_operator_there_are_monitors(chart: Chart) -> None:
    labels = {"release": "kps"}
    objects = chart.render({**SYNTHETIC, "monitoring": {"operator": "always", "labels": labels, "interval": "7s"}})
    (service,) = of(objects, "ServiceMonitor")
    (pods,) = of(objects, "PodMonitor")
    (rule,) = of(objects, "PrometheusRule")
    for found in (service, pods, rule):
        assert found["metadata"]["labels"].items() >= labels.items()
    (endpoint,) = service["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["interval"]) == ("metrics", "7s")
    # What a scrape by annotations has from the pods' labels.
    assert "app.kubernetes.io/instance" in service["spec"]["targetLabels"]
    assert {"app.kubernetes.io/instance", "neurogrid.io/job"} <= set(pods["spec"]["podTargetLabels"])
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


def uids(objects: Objects) -> set[str]:
    """Of all dashboards that are rendered, each in a file that is called like it."""
    boards = [m for m in of(objects, "ConfigMap") if "grafana_dashboard" in m["metadata"]["labels"]]
    files = {name: json.loads(text)["uid"] for one in boards for name, text in one["data"].items()}
    assert list(files) == [f"{uid}.json" for uid in files.values()]
    return set(files.values())


def test_the_rules_are_those_of_the_repository_with_links_that_lead_somewhere(chart: Chart) -> None:
    rules = {"grafanaUrl": "https://g.example.org/", "docsUrl": "https://d.example.org/docs"}
    objects = chart.render({**SYNTHETIC, "monitoring": {"operator": "always", "rules": rules}})
    plain = chart.render({**SYNTHETIC, "monitoring": {"operator": "always"}})
    ours = yaml.safe_load((ROOT / "helm" / "neurogrid" / "files" / "alerts.yaml").read_text())
    alerts = [rule for group in ours["groups"] for rule in group["rules"]]
    cases = [
        (objects, "https://g.example.org", "https://d.example.org/docs/monitoring.md#"),
        (plain, "", "https://github.com/neurogrid/neurogrid/blob/main/docs/monitoring.md#"),
    ]
    for rendered, grafana, docs in cases:
        (made,) = of(rendered, "PrometheusRule")
        for rule, alert in zip((r for g in made["spec"]["groups"] for r in g["rules"]), alerts, strict=True):
            said, meant = rule["annotations"], alert["annotations"]
            where, _, query = said["dashboard"].removeprefix(f"{grafana}/d/").partition("?")
            assert where in uids(rendered)
            assert query == meant["dashboard"].partition("?")[2]
            assert said["runbook_url"].startswith(docs)
            if rule["alert"] == "NeuroGridExporterGone":
                own = 'namespace="neurogrid", app_kubernetes_io_instance="ng"'
                assert rule["expr"] == f"absent(neurogrid_build_info{{{own}}})"
            else:
                assert (rule["expr"], said["summary"]) == (alert["expr"], meant["summary"])
    off = chart.render({**SYNTHETIC, "monitoring": {"operator": "always", "rules": {"enabled": False}}})
    assert not of(off, "PrometheusRule")


def test_no_two_releases_have_a_dashboard_of_one_uid_or_title(chart: Chart) -> None:
    places = [("ng", "one"), ("ng", "two"), ("other", "one")]
    values = {**SYNTHETIC, "spark-operator": {"enabled": False}}
    found = [
        json.loads(text)
        for release, namespace in places
        for one in of(chart.render(values, release, namespace), "ConfigMap")
        if "grafana_dashboard" in one["metadata"]["labels"]
        for text in one["data"].values()
    ]
    assert len(found) == 12
    for part in ("uid", "title"):
        assert len({board[part] for board in found}) == 12, part
    assert all(len(board["uid"]) <= 40 for board in found), "Grafana refuses longer ones"


def test_a_dashboard_leads_to_those_of_its_own_release(chart: Chart) -> None:
    objects = chart.render(SYNTHETIC)
    boards = [m for m in of(objects, "ConfigMap") if "grafana_dashboard" in m["metadata"]["labels"]]
    texts = [text for board in boards for text in board["data"].values()]
    links = {link for text in texts for link in re.findall(r"/d/([\w-]+)", text)}
    assert links
    assert links <= uids(objects)


@pytest.mark.parametrize("folder", ["", "Energy"])
def test_dashboards_are_where_grafanas_sidecar_looks(chart: Chart, folder: str) -> None:
    dashboards = {"label": "my_dashboard", "labelValue": "yes", "folder": folder, "namespace": "grafana"}
    objects = chart.render({**SYNTHETIC, "monitoring": {"dashboards": dashboards}})
    found = [m for m in of(objects, "ConfigMap") if m["metadata"]["labels"].get("my_dashboard") == "yes"]
    boards = {json.loads(text)["uid"].rpartition("-")[0] for one in found for text in one["data"].values()}
    assert boards == {path.stem for path in (ROOT / "helm" / "neurogrid" / "files" / "dashboards").glob("*.json")}
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
    told = tuple(word for i, word in enumerate(ours) if word == "-f" or ours[i - 1] == "-f")
    objects = chart.render(SYNTHETIC, flags=(*told, "--api-versions", "monitoring.coreos.com/v1"))
    # The stack's Prometheus takes monitors and rules without a label of its own.
    assert len(of(objects, "ServiceMonitor")) == len(of(objects, "PodMonitor")) == 1
    chosen = values["prometheus"]["prometheusSpec"]
    assert not any(chosen[f"{kind}SelectorNilUsesHelmValues"] for kind in ("serviceMonitor", "podMonitor", "rule"))
    for rule in (rule for group in of(objects, "PrometheusRule")[0]["spec"]["groups"] for rule in group["rules"]):
        assert rule["annotations"]["dashboard"].startswith("http://localhost:3000/d/neurogrid-")
        assert rule["annotations"]["runbook_url"].startswith("https://")
    (policy,) = [p for p in of(objects, "NetworkPolicy") if p["metadata"]["name"] == "ng-exporter"]
    peers = [peer for rule in policy["spec"]["ingress"] for peer in rule["from"]]
    assert peers[0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
