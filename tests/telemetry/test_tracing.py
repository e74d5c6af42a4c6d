"""Traces of a run, received by a real OTLP server in this process; and what tracing costs, changes and never ends."""

import os
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace

import pytest
from collector import Collector, attributes
from telemetry_run import AGENTS, train

from neurogrid.cli.telemetry import traced
from neurogrid.ledger import read_agent_audit, read_round_metrics
from neurogrid.storage import place

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(autouse=True)
def no_otel(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def test_every_round_is_a_trace_of_its_phases_tasks_and_agents_named_in_its_record(tmp_path, monkeypatch):
    with Collector() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=abc")
        began = time.time_ns()
        with traced("r1") as traces:
            train(tmp_path, trace=traces)
        ended = time.time_ns()
    assert collector.paths == {"/v1/traces"}
    assert collector.headers[0]["x-token"] == "abc"
    assert collector.resources[0]["service.name"] == "neurogrid"
    assert collector.resources[0]["deployment.environment"] == "test"
    run = place(str(tmp_path)) / "runs" / "r1"
    rows, agents = read_round_metrics(run).to_pylist(), read_agent_audit(run).to_pylist()
    by_trace = defaultdict(list)
    for span in collector.spans:
        assert began <= span.start_time_unix_nano <= span.end_time_unix_nano <= ended
        assert span.end_time_unix_nano - span.start_time_unix_nano < 60e9
        by_trace[span.trace_id.hex()].append(span)
    assert set(by_trace) == {row["trace_id"] for row in rows}
    for row in rows:
        spans = by_trace[row["trace_id"]]
        named = {name: [s for s in spans if s.name == name] for name in {s.name for s in spans}}
        (root,) = named["round"]
        assert root.parent_span_id == b""
        assert attributes(root)["neurogrid.round"] == row["round_id"]
        assert attributes(root)["neurogrid.agents.accepted"] == row["n_accepted_agents"]
        for phase in ("send", "train", "collect", "aggregate", "evaluate", "persist"):
            (span,) = named[phase]
            assert span.parent_span_id == root.span_id
            took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
            assert took == pytest.approx(row[f"{phase}_s"], abs=1e-6)
        (train_span,), (task,) = named["train"], named["task"]
        assert task.parent_span_id == train_span.span_id
        own = {a["agent_id"]: a for a in agents if a["round_id"] == row["round_id"]}
        answered = {name for name, a in own.items() if a["answered"]}
        assert {attributes(s)["neurogrid.agent"] for s in named["agent"]} == answered
        for span in named["agent"]:
            assert span.parent_span_id == task.span_id
            assert task.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= task.end_time_unix_nano
            assert attributes(span)["neurogrid.accepted"] == own[attributes(span)["neurogrid.agent"]]["accepted"]
        missing = [{a.key: a.value.string_value for a in e.attributes}["neurogrid.agent"] for e in train_span.events]
        assert set(missing) == set(AGENTS) - answered


def test_tracing_changes_no_bit_of_the_weights_and_nothing_is_traced_when_unset(tmp_path, monkeypatch):
    with traced("r1") as traces:
        assert traces is None
    plain = train(tmp_path / "plain")
    with Collector() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        with traced("r1") as traces:
            seen = train(tmp_path / "traced", trace=traces)
    assert seen.weights.tobytes() == plain.weights.tobytes()
    rows = read_round_metrics(place(str(tmp_path / "plain")) / "runs" / "r1").to_pylist()
    assert {row["trace_id"] for row in rows} == {""}


def test_tracing_that_is_off_loads_no_library_and_what_is_not_spoken_here_is_said():
    code = (
        "import os, sys; from neurogrid.cli.telemetry import traced\n"
        "for name, value in (('A', 'b'), ('OTEL_SDK_DISABLED', 'true'), ('OTEL_TRACES_EXPORTER', 'none'),\n"
        "                    ('OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc')):\n"
        "    os.environ[name] = value\n"
        "    with traced('r1') as traces: print(traces, 'opentelemetry' in sys.modules)\n"
        "    del os.environ[name]\n"
        f"    os.environ[{ENDPOINT!r}] = 'http://127.0.0.1:9'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["None False"] * 4
    assert done.stderr.count("no traces") == 1
    assert "grpc" in done.stderr


def test_rounds_that_the_sampler_leaves_out_have_no_trace_in_their_record(tmp_path, monkeypatch):
    with Collector() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
        with traced("r1") as traces:
            train(tmp_path, rounds=2, trace=traces)
    assert collector.spans == []
    rows = read_round_metrics(place(str(tmp_path)) / "runs" / "r1").to_pylist()
    assert {row["trace_id"] for row in rows} == {""}


@pytest.mark.parametrize("status", [400, None])
def test_a_collector_that_is_gone_or_refuses_costs_spans_and_one_line_and_no_round(
    tmp_path, monkeypatch, status, capsys
):
    with Collector(status or 200) as collector:
        monkeypatch.setenv(ENDPOINT, collector.url if status else "http://127.0.0.1:9")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        began = time.monotonic()
        with traced("r1") as traces:
            state = train(tmp_path, trace=traces)
        assert time.monotonic() - began < 20
    assert state.round == 6
    said = [line for line in capsys.readouterr().err.splitlines() if "traces are not exported" in line]
    assert len(said) == 1


AGENT_S = 0.05
"""As long as a small model's agent takes; an agent of the demo takes ten times as long."""


class Keep:
    def __init__(self):
        self.records = []

    def after_round(self, record, state):
        self.records.append(record)

    def trace_id(self, round_id):
        return ""

    def persisted(self, round_id, persist_s): ...


@pytest.mark.slow
@pytest.mark.parametrize(("agents", "tasks"), [(15, 1), (1000, 2)])
def test_tracing_costs_under_a_hundredth_of_a_round_exporting_and_receiving_included(
    tmp_path, monkeypatch, agents, tasks
):
    """By processor time, the least of a few batches: what others do on this machine makes each of them longer."""
    keep = Keep()
    train(tmp_path, rounds=2, trace=keep)
    own = [agent for agent in keep.records[1].agents if agent.answered]
    many = tuple(replace(own[i % len(own)], agent_id=f"A{i:04}", task=i % tasks) for i in range(agents))
    record, round_s, rounds = replace(keep.records[1], agents=many), agents / tasks * AGENT_S, 4
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    spent, waited = [], []
    with Collector() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        with traced("r1") as traces:
            for batch in range(5):
                began_s, received, own_s = time.process_time(), len(collector.spans), 0.0
                for number in range(batch * rounds, (batch + 1) * rounds):
                    before_s = time.thread_time()
                    traces.after_round(replace(record, round_id=number), None)
                    traces.persisted(number, 0.001)
                    own_s += time.thread_time() - before_s
                waited.append(own_s / rounds)
                spans = rounds * (agents + tasks + 7)  # the round, its phases with persist, its tasks, their agents
                end = time.monotonic() + 60
                while len(collector.spans) < received + spans and time.monotonic() < end:
                    time.sleep(0.02)
                assert len(collector.spans) == received + spans
                spent.append((time.process_time() - began_s) / rounds)
    print(f"{agents} agents: {1e3 * min(waited):.2f} ms of the round's thread, {1e3 * min(spent):.1f} ms in all")
    assert min(spent) < 0.01 * round_s
    assert min(waited) < 0.005, "the round's own thread works as long whatever the number of agents"
