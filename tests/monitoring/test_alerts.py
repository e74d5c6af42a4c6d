"""The alerts: each has a test of its own that promtool runs, says how bad it is, what to do and where to look."""

import re
import subprocess
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
import yaml
from panel_queries import FILES, ROOT, boards
from programs import PROMETHEUS, needed

MONITORING = ROOT / "monitoring"
RULES = [rule for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
TESTS = sorted((MONITORING / "tests").glob("*.yaml"))
NAMES = [rule["alert"] for rule in RULES]


def promtool(*arguments: str) -> str:
    command = [needed("promtool", PROMETHEUS), *arguments]
    done = subprocess.run(command, cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_rules_for_prometheus() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(FILES / "alerts.yaml"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_at_no_other_time(path: Any) -> None:
    promtool("test", "rules", str(path))


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tested_to_fire_and_to_be_quiet(name: str) -> None:
    cases = [
        case
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == name
    ]
    assert any(case["exp_alerts"] for case in cases)
    assert any(not case["exp_alerts"] for case in cases)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_an_alert_says_how_bad_it_is_what_to_do_and_where_to_look(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    said = rule["annotations"]
    assert said["summary"]
    assert said["description"].endswith(".")
    link = urlparse(said["dashboard"])
    board = boards()[link.path.removeprefix("/d/")]
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert {name.removeprefix("var-") for name in parse_qs(link.query)} <= variables
    address = "https://github.com/neurogrid/neurogrid/blob/main/"
    assert said["runbook_url"].startswith(address), "a page that opens"
    page, anchor = said["runbook_url"].removeprefix(address).split("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_section_of_the_runbook_is_an_alerts_and_says_how_bad_it_is() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    found = dict(re.findall(r"^### (NeuroGrid\w+)\n\n\*(\w+)\.", page, re.MULTILINE))
    assert found == {rule["alert"]: rule["labels"]["severity"].capitalize() for rule in RULES}


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule["labels"]["severity"] == "critical"])
def test_what_calls_a_person_has_lasted_for_minutes(rule: dict[str, Any]) -> None:
    assert rule.get("for", "0m") in {"2m", "5m"}, rule["alert"]


def test_a_healthy_release_has_all_that_the_alerts_look_at() -> None:
    looked_at = {
        name for rule in RULES for name in re.findall(r"neurogrid_\w+", re.sub(r"neurogrid_job,?", "", rule["expr"]))
    }
    healthy = yaml.safe_load((MONITORING / "tests" / "healthy.yaml").read_text())["tests"][0]
    assert looked_at <= {series["series"].partition("{")[0] for series in healthy["input_series"]}
    quiet = {case["alertname"] for case in healthy["alert_rule_test"] if not case["exp_alerts"]}
    assert quiet == set(NAMES)
