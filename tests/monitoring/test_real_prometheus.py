"""A real Prometheus scrapes a real exporter while a real run with attackers goes on: panels, figures and alerts.

What only a cluster has (SparkApplications, completion records, the kubelet) is asked for in test_scrapes.py, and
in tests/cluster.
"""

import json
import math
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc
import pytest
from collector import Collector
from panel_queries import Asked, boards, filled, queries
from programs import PROMETHEUS, needed
from same_figures import agreement
from stage import HONEST_ID, RUN_ID, Stage, neurogrid, run_with_attackers, run_without_attackers, stage, until

from neurogrid.ledger import read_agent_audit, read_round_metrics
from neurogrid.storage import Place, place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ONLY_ON_A_CLUSTER = ("neurogrid_sparkapplication_", "neurogrid_job_", "container_", "kube_pod_")


@pytest.fixture(scope="module")
def empty_answers() -> dict[str, Any]:
    return {}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made


@pytest.fixture(scope="module")
def stood(
    tmp_path_factory: pytest.TempPathFactory, empty_answers: dict[str, Any], collector: Collector
) -> Iterator[Stage]:
    """After the run; what the panels said before there was any stands in `empty_answers`."""
    needed("prometheus", PROMETHEUS)
    with stage(tmp_path_factory.mktemp("stage")) as made:
        for query in queries(""):
            empty_answers[query.expr] = made.prometheus.now(query.expr)
        run_with_attackers(made, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
        yield made


@pytest.fixture(scope="module")
def run(stood: Stage) -> Place:
    return place(str(stood.warehouse)) / "runs" / RUN_ID


def finite(series: list[dict[str, Any]]) -> bool:
    """Whether any value of any series is a number."""
    values = [value for one in series for value in (one.get("values") or [one["value"]])]
    return any(math.isfinite(float(value[1])) for value in values)


def test_no_query_fails_while_there_is_no_run_yet(stood: Stage, empty_answers: dict[str, Any]) -> None:
    assert set(empty_answers) == {query.expr for query in queries("")}
    of_runs = [answer for expr, answer in empty_answers.items() if "neurogrid_round_" in expr]
    assert of_runs
    assert not any(of_runs)


HERE = [query for query in queries(RUN_ID) if not any(name in query.expr for name in ONLY_ON_A_CLUSTER)]


@pytest.mark.parametrize("query", HERE, ids=lambda q: f"{q.board}-{q.panel}-{q.legend}")
def test_every_query_of_every_panel_has_data_after_a_run(stood: Stage, query: Asked) -> None:
    found = stood.prometheus
    # A panel that says 0 for nothing has to have said more than that at some time: while the run went on.
    expr = query.expr.removesuffix(" or vector(0)")
    instant = query.instant and expr == query.expr
    series = found.now(expr) if instant else found.between(expr, stood.began, time.time(), 1)
    assert finite(series), expr


def test_the_variable_offers_the_run(stood: Stage) -> None:
    for uid, board in boards().items():
        for variable in board["templating"]["list"]:
            if variable["name"] != "run":
                continue
            asked = filled(str(variable["query"]), "")
            if asked.startswith("query_result("):
                names = [one["metric"]["run"] for one in stood.prometheus.now(asked[len("query_result(") : -1])]
            else:
                selector = asked[len("label_values(") :].rsplit(",", 1)[0]
                names = stood.prometheus.ask("label/run/values", **{"match[]": selector})
            assert names == [RUN_ID], uid


def test_figures_in_prometheus_are_the_runs_own_records(stood: Stage, run: Place) -> None:
    metrics, audit = read_round_metrics(run), read_agent_audit(run)
    ask = stood.prometheus.value
    assert ask(f'neurogrid_round_duration_seconds_count{{run="{RUN_ID}"}}') == len(metrics) == 40
    for phase in ("send", "train", "collect", "aggregate", "evaluate", "persist"):
        seconds = ask(f'neurogrid_round_phase_duration_seconds_sum{{run="{RUN_ID}", phase="{phase}"}}')
        assert seconds == pytest.approx(pc.sum(metrics[f"{phase}_s"]).as_py())
    accepted = ask(f'neurogrid_agents_accepted_total{{run="{RUN_ID}"}}')
    assert accepted == pc.sum(audit["accepted"]).as_py()
    rejected = stood.prometheus.now(f'sum by (attack) (neurogrid_agents_rejected_total{{run="{RUN_ID}"}})')
    found = {series["metric"]["attack"]: float(series["value"][1]) for series in rejected}
    rows = [row for row in audit.to_pylist() if not row["accepted"]]
    assert found["noise"] == sum(row["malicious"] for row in rows) > 0
    assert found["none"] == sum(not row["malicious"] for row in rows)
    last = metrics["held_out_loss"].to_pylist()[-1]
    assert ask(f'neurogrid_round_held_out_loss{{run="{RUN_ID}"}}') == pytest.approx(last)
    up = ask(f'neurogrid_exchange_bytes_total{{run="{RUN_ID}", direction="up"}}')
    assert up == pc.sum(metrics["bytes_up"]).as_py() > 0


def test_the_alert_for_attackers_fires_and_leads_to_the_run(stood: Stage) -> None:
    def firing() -> dict[str, Any]:
        found = stood.prometheus.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in found if alert["state"] == "firing"}

    until("the alert", lambda: "NeuroGridAttackersProbablyIn" in firing(), 30)
    alerts = firing()
    assert alerts["NeuroGridAttackersProbablyIn"]["labels"]["run"] == RUN_ID
    link = alerts["NeuroGridAttackersProbablyIn"]["annotations"]["dashboard"]
    assert link == f"/d/neurogrid-run?var-run={RUN_ID}&var-namespace=$__all"
    assert set(alerts) == {"NeuroGridAttackersProbablyIn"}, "nothing else is wrong with this run"


def test_marks_of_a_latency_panel_are_traces_of_the_rounds_that_took_so_long(
    stood: Stage, run: Place, collector: Collector
) -> None:
    marked = [query for query in queries(RUN_ID) if query.exemplars]
    assert {query.panel for query in marked} == {"Round latency"}
    rows = {row["trace_id"]: row for row in read_round_metrics(run).to_pylist()}
    assert len(rows) == 40
    received = {span.trace_id.hex() for span in collector.spans}
    for query in marked:
        found = stood.prometheus.ask(
            "query_exemplars", query=query.expr, start=f"{stood.began}", end=f"{time.time() + 1}"
        )
        exemplars = [exemplar for series in found for exemplar in series["exemplars"]]
        assert exemplars
        for exemplar in exemplars:
            trace = exemplar["labels"]["trace_id"]
            assert float(exemplar["value"]) == pytest.approx(rows[trace]["wallclock_s"])
            assert trace in received


def test_every_figure_of_the_terminal_view_is_the_one_in_prometheus(stood: Stage) -> None:
    command = neurogrid("watch", RUN_ID, "--warehouse", str(stood.warehouse), "--json")
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    values = {}
    for series in stood.prometheus.now(f'{{__name__=~"neurogrid_.*", run="{RUN_ID}"}}'):
        labels = {name: of for name, of in series["metric"].items() if name not in {"__name__", "instance", "job"}}
        values[series["metric"]["__name__"], frozenset(labels.items())] = float(series["value"][1])
    assert agreement(said, values) == dict.fromkeys(said, True)


def test_the_alert_for_attackers_is_quiet_throughout_an_honest_run(stood: Stage) -> None:
    run_without_attackers(stood)
    rounds = f'neurogrid_run_last_round{{run="{HONEST_ID}"}}'
    assert stood.prometheus.value(rounds) == 20
    assert stood.prometheus.value(f'neurogrid_round_assumed_byzantine_agents{{run="{HONEST_ID}"}}') == 3
    fired = 'count_over_time(ALERTS{{alertname="NeuroGridAttackersProbablyIn", run="{}"}}[1h])'
    assert stood.prometheus.now(fired.format(RUN_ID))
    assert stood.prometheus.now(fired.format(HONEST_ID)) == []
