"""The committed dashboards: in step with their source, complete, and asking only for what somebody serves."""

import re
from typing import Any

import pytest
from make import files
from panel_queries import boards, panels, queries

from neurogrid.telemetry.catalogue import CATALOGUE

# Served by others: Spark, the kubelet, Prometheus itself, prometheus_client.
OTHERS = (
    "metrics_executor_",
    "metrics_neurogrid_driver_",
    "container_",
    "kube_pod_",
    "ALERTS",
    "scrape_duration_",
    "process_",
)
BOARDS = boards()


def test_the_charts_dashboards_are_what_their_source_makes() -> None:
    for path, content in files().items():
        assert path.read_text() == content, f"{path}: run `make dashboards-json`"
    assert {path.stem for path in files()} == set(BOARDS)


@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_every_panel_has_a_unit_a_description_and_words_for_no_data(uid: str) -> None:
    for panel in panels(BOARDS[uid]):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"], panel["title"]
        assert defaults["noValue"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["targets"]
        if panel["type"] == "timeseries":
            assert defaults["custom"]["axisLabel"], panel["title"]


GRAFANAS = {"s": "s", "ratio": "percentunit", "bytes": "bytes", "J": "joule"}
"""Of units that Grafana knows, its name for them; all others are words on the axis."""


@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_an_axis_has_the_unit_of_the_metrics_that_are_drawn_on_it(uid: str) -> None:
    for panel in panels(BOARDS[uid]):
        if panel["type"] != "timeseries":
            continue
        defaults = panel["fieldConfig"]["defaults"]
        for target in panel["targets"]:
            # What is divided by is no part of the unit: rounds, the updates that were asked for.
            for name in re.findall(r"neurogrid_\w+", target["expr"].split(" / ")[0]):
                metric = next(
                    (m for m in CATALOGUE if name.removesuffix("_bucket").removesuffix("_sum") == m.name), None
                )
                # Whether something is so is no figure of the axis: it is counted, or chooses what is drawn.
                if metric is None or metric.name == "neurogrid_build_info" or metric.unit == "0 or 1":
                    continue
                if "rate(" in target["expr"] and metric.unit == "bytes":
                    assert defaults["unit"] == "Bps", panel["title"]
                elif metric.unit in GRAFANAS:
                    assert defaults["unit"] == GRAFANAS[metric.unit], panel["title"]
                else:
                    assert defaults["unit"] in {"none", "short"}, panel["title"]
                    assert metric.unit in defaults["custom"]["axisLabel"], (panel["title"], name)


@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_panels_lie_beside_each_other_and_not_upon(uid: str) -> None:
    assert len({panel["id"] for panel in BOARDS[uid]["panels"]}) == len(BOARDS[uid]["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[uid]["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not own & taken, panel["title"]
        taken |= own


@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_variables_begin_with_a_value_that_needs_no_data(uid: str) -> None:
    for variable in BOARDS[uid]["templating"]["list"]:
        if variable["type"] == "query" and variable["name"] != "run":
            assert variable["includeAll"], variable["name"]
            assert variable["allValue"] == ".*"
            assert variable["current"]["value"] == "$__all"
        if variable["type"] == "custom":
            assert variable["current"]["value"] in variable["query"].split(",")


def served(name: str) -> bool:
    """Whether a series of this name comes from the exporter."""
    for metric in CATALOGUE:
        names = {metric.name}
        if metric.kind == "histogram":
            names = {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
        if name in names:
            return True
    return False


@pytest.mark.parametrize("query", queries("r"), ids=lambda q: f"{q.board}-{q.panel}")
def test_a_panel_asks_only_for_metrics_that_are_served(query: Any) -> None:
    without_strings = re.sub(r'"[^"]*"', "", query.expr)
    without_labels = re.sub(r"\{[^}]*\}|\b(?:by|on|group_left) \([^)]*\)", "", without_strings)
    names = set(re.findall(r"\b[a-zA-Z_]\w*_\w+\b|\bALERTS\b", without_labels)) - {"histogram_quantile", "group_left"}
    assert names, query.expr
    assert {name for name in names if not served(name) and not name.startswith(OTHERS)} == set()


def test_every_dashboard_leads_to_the_others() -> None:
    assert set(BOARDS) == {"neurogrid-runs", "neurogrid-run", "neurogrid-resources", "neurogrid-data"}
    for board in BOARDS.values():
        (link,) = board["links"]
        assert (link["type"], link["tags"], link["includeVars"]) == ("dashboards", ["neurogrid"], True)
        assert board["tags"] == ["neurogrid"]
