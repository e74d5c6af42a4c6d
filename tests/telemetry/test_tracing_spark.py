"""Traces of rounds on Spark, where several resident tasks train at once: which task had which agent, and when."""

from collections import defaultdict

import pytest
from collector import Collector, attributes

from neurogrid.cli.terminal import Terminal
from neurogrid.config import load
from neurogrid.data.synthetic import SyntheticSettings, make_heapo
from neurogrid.ledger import read_agent_audit, read_round_metrics
from neurogrid.pipeline import steps
from neurogrid.pipeline.etl import etl
from neurogrid.pipeline.etl_plan import plan_etl
from neurogrid.pipeline.plan import plan_sampling, plan_training
from neurogrid.pipeline.training import train
from neurogrid.storage import place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CONFIG = """
run_id: traced
sampling: {agents: 9, districts: 3, clusters: 2, held_out_share: 0.2, min_observed_slots: 200}
model: {hidden: 8, surge_hidden: 8, history_slots: 16, horizon_slots: 4}
local: {steps: 40, batch_size: 32}
rounds: {count: 5, agents_per_round: 9, panel_agents: 3}
personal: {steps: 10, batch_size: 16}
aggregation: {byzantine_share: 0.2}
"""


@pytest.fixture(scope="module")
def trained(spark, tmp_path_factory):
    """Spans by trace, the rounds' rows and the audit's, of a training on two tasks."""
    folder = tmp_path_factory.mktemp("traced")
    config = load(CONFIG, [f"warehouse={folder}/w", f"source.path={folder}/data"])
    make_heapo(folder / "data", SyntheticSettings(households=16, stations=3, days=40, seed=1))
    etl(plan_etl(config), lambda: spark)
    manifest = steps.sample(plan_sampling(config), spark)
    with Collector() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        train(plan_training(config, manifest), spark, Terminal())
    spans = defaultdict(list)
    for span in collector.spans:
        spans[span.trace_id.hex()].append(span)
    run_folder = place(str(folder / "w")) / "runs" / "traced"
    return spans, read_round_metrics(run_folder).to_pylist(), read_agent_audit(run_folder).to_pylist()


def test_a_round_on_spark_has_a_span_for_each_task_that_trained_with_its_own_agents_within(trained):
    spans, rows, audit = trained
    assert set(spans) == {row["trace_id"] for row in rows}
    tasks_of_rounds = []
    for row in rows:
        own = spans[row["trace_id"]]
        (root,) = (span for span in own if span.name == "round")
        (train,) = (span for span in own if span.name == "train")
        tasks = {attributes(span)["neurogrid.task"]: span for span in own if span.name == "task"}
        agents = [a for a in audit if a["round_id"] == row["round_id"] and a["answered"]]
        assert set(tasks) == {agent["task"] for agent in agents}
        trained_by = {attributes(s)["neurogrid.agent"]: s for s in own if s.name == "agent"}
        assert set(trained_by) == {agent["agent_id"] for agent in agents}
        for agent in agents:
            span, task = trained_by[agent["agent_id"]], tasks[agent["task"]]
            assert span.parent_span_id == task.span_id
            assert task.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= task.end_time_unix_nano
            took_s = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
            assert took_s == pytest.approx(agent["train_s"], abs=1e-3)
        for task in tasks.values():
            assert task.parent_span_id == train.span_id
            assert root.start_time_unix_nano <= task.start_time_unix_nano
            assert task.end_time_unix_nano <= root.end_time_unix_nano
        tasks_of_rounds.append(len(tasks))
    assert max(tasks_of_rounds) == 2, "two cores are two resident tasks"
