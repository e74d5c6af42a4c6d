"""docs/metrics.md says of every metric what the exporter exposes; no page names one that it does not."""

import re
from pathlib import Path

from neurogrid.ledger.summary import PHASES as LEDGER_PHASES
from neurogrid.telemetry.catalogue import CATALOGUE, PHASES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "metrics.md").read_text()


def row(metric):
    labels = ", ".join(metric.labels) or "-"
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.unit or '-'} | {metric.meaning} |"


def test_every_metric_is_in_the_docs_with_its_type_labels_unit_and_meaning():
    missing = [row(metric) for metric in CATALOGUE if row(metric) not in PAGE.splitlines()]
    assert missing == []


def test_the_docs_name_no_metric_that_is_not_there():
    labels = {label for metric in CATALOGUE for label in metric.labels} | {"neurogrid_io_job"}  # that of pods
    names = {metric.name for metric in CATALOGUE} | labels
    parts = ("_bucket", "_count", "_sum")
    named = set(re.findall(r"\bneurogrid_[a-z_]+[a-z]\b", PAGE + (DOCS / "monitoring.md").read_text()))
    strange = {name for name in named if name not in names and not any(name.removesuffix(p) in names for p in parts)}
    assert {name for name in strange if not name.startswith("neurogrid_driver")} == set()


def test_names_and_units_follow_prometheus_conventions():
    for metric in CATALOGUE:
        assert re.fullmatch(r"neurogrid_[a-z][a-z_]*[a-z]", metric.name), metric.name
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert metric.meaning.endswith("."), metric.name
        if metric.unit == "s":
            assert "_seconds" in metric.name
        if metric.unit == "ratio":
            assert metric.name.endswith("_ratio")
        if metric.unit == "bytes":
            assert "_bytes" in metric.name


def test_the_phases_are_those_that_the_ledger_records():
    assert PHASES == LEDGER_PHASES
