"""The exporter's figures against the run's own records and audits, read by other means; and as they grow."""

import json
import math
import shutil
import subprocess
import sys
from collections import Counter

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families
from telemetry_run import AGENTS, exporter, looked, scraped, train, value

from neurogrid.data.quality import TIERS
from neurogrid.fl.record import reason_kind
from neurogrid.fl.registry import STAGES
from neurogrid.ledger import read_agent_audit, read_round_metrics
from neurogrid.storage import Place, place
from neurogrid.telemetry.catalogue import BY_NAME, CATALOGUE, PHASES
from neurogrid.telemetry.page import Format


@pytest.fixture(scope="module")
def values(warehouse):
    return looked(warehouse)


@pytest.fixture(scope="module")
def rows(warehouse):
    return read_round_metrics(place(str(warehouse)) / "runs" / "r1").to_pylist()


@pytest.fixture(scope="module")
def agents(warehouse):
    return read_agent_audit(place(str(warehouse)) / "runs" / "r1").to_pylist()


def without_own(values):
    """What is of the warehouse, not of the exporter's own process."""
    return {key: v for key, v in values.items() if not key[0].startswith(("neurogrid_exporter", "process", "python"))}


def test_counters_are_what_the_agents_audit_says(values, agents):
    assert value(values, "agents_asked_total", run="r1") == len(agents) == 6 * len(AGENTS)
    assert value(values, "agents_answered_total", run="r1") == sum(a["answered"] for a in agents)
    assert value(values, "agents_accepted_total", run="r1") == sum(a["accepted"] for a in agents)
    assert value(values, "agents_malicious_total", run="r1", attack="noise") == sum(a["malicious"] for a in agents)
    expected = Counter(
        (reason_kind(a["reason"]), "noise" if a["malicious"] else "none") for a in agents if not a["accepted"]
    )
    assert {reason for reason, _ in expected} == {"filtered", "not_finite", "failed"}
    for (reason, attack), n in expected.items():
        assert value(values, "agents_rejected_total", run="r1", reason=reason, attack=attack) == n
    # Multi-Krum filters a fixed number, whoever attacks: only updates that are not finite count against f here.
    judged = sum(n for (reason, _), n in expected.items() if reason == "not_finite")
    assert value(values, "agents_suspected_total", run="r1") == judged > 0
    for district in range(3):
        own = [a for a in agents if a["district"] == district]
        labels = {"run": "r1", "district": str(district)}
        assert value(values, "district_agents_asked_total", **labels) == len(own)
        assert value(values, "district_agents_accepted_total", **labels) == sum(a["accepted"] for a in own)
        last = [a["accepted"] for a in own if a["round_id"] == 6]
        assert value(values, "district_acceptance_ratio", **labels) == pytest.approx(sum(last) / len(last))


def test_histograms_hold_every_round_and_every_agent_where_it_belongs(values, rows, agents):
    for phase in PHASES:
        seconds = [row[f"{phase}_s"] for row in rows]
        labels = {"run": "r1", "phase": phase}
        assert value(values, "round_phase_duration_seconds_count", **labels) == 6
        assert value(values, "round_phase_duration_seconds_sum", **labels) == pytest.approx(sum(seconds))
        for bound in (0.005, 0.01, 0.1, 600.0):
            counted = value(values, "round_phase_duration_seconds_bucket", **labels, le=repr(bound))
            assert counted == sum(s <= bound for s in seconds)
    walls = [row["wallclock_s"] for row in rows]
    assert value(values, "round_duration_seconds_sum", run="r1") == pytest.approx(sum(walls))
    trained = [a["train_s"] for a in agents if math.isfinite(a["train_s"])]
    assert value(values, "agent_training_duration_seconds_count", run="r1") == len(trained)
    assert value(values, "agent_training_duration_seconds_sum", run="r1") == pytest.approx(sum(trained))
    assert value(values, "agent_training_duration_seconds_bucket", run="r1", le="0.01") == len(trained)


def test_gauges_are_those_of_the_last_round(values, rows):
    last = rows[-1]
    for name, column in {
        "round_held_out_loss": "held_out_loss",
        "round_training_loss": "loss_mean",
        "round_update_norm": "update_norm",
        "round_weights_drift_norm": "w_drift",
        "round_acceptance_ratio": "acceptance_rate",
        "round_rejection_precision_ratio": "rejection_precision",
        "round_rejection_recall_ratio": "rejection_recall",
        "round_executors": "executors",
        "round_last_duration_seconds": "wallclock_s",
    }.items():
        assert value(values, name, run="r1") == pytest.approx(last[column]), name
    assert value(values, "round_agents", run="r1", outcome="not_finite") == 1
    assert value(values, "round_suspected_agents", run="r1") == 1, "what Multi-Krum filters and who failed do not count"
    assert value(values, "run_best_held_out_loss", run="r1") == min(row["held_out_loss"] for row in rows)
    assert value(values, "run_state", run="r1", state="ended") == 1
    assert value(values, "run_state", run="r1", state="running") == 0
    assert value(values, "run_end_info", run="r1", reason="all rounds done") == 1
    assert value(values, "rounds_total", run="r1", result="aggregated") == 6


def test_what_stages_report_is_shown_by_its_own_names(values, rows):
    own = {n: v for n, v in rows[-1].items() if n.split(".")[0] in STAGES and isinstance(v, int | float)}
    assert {"weigh.stale_agents", "weigh.capped_agents"} <= own.keys()
    for name, said in own.items():
        stage, figure = name.split(".")
        assert value(values, "round_stage_figure", run="r1", stage=stage, figure=figure) == pytest.approx(said), name


def test_attackers_are_not_spoken_of_where_none_are_known(tmp_path):
    train(tmp_path, attack="none")
    values = looked(tmp_path)
    assert value(values, "round_rejection_precision_ratio", run="r1") is None
    assert value(values, "agents_malicious_total", run="r1", attack="none") is None
    assert {dict(labels)["attack"] for name, labels in values if name == "neurogrid_agents_rejected_total"} == {"none"}


def test_a_restarted_exporter_and_a_resumed_driver_lose_nothing(tmp_path):
    going = exporter(tmp_path)
    before: dict = {}
    for rounds in (1, 2, 4, 6):
        train(tmp_path, rounds=rounds, end=rounds == 6)
        going.look()
        now = scraped(going)
        for (name, labels), v in now.items():
            if name.startswith("neurogrid_") and name.endswith(("_total", "_count", "_sum", "_bucket")):
                assert v >= before.get((name, labels), 0), name
        assert without_own(now) == pytest.approx(without_own(looked(tmp_path)))
        before = now
    assert value(before, "rounds_total", run="r1", result="aggregated") == 6


def test_only_what_is_new_is_read(tmp_path, monkeypatch):
    train(tmp_path, "old")
    train(tmp_path, "live", rounds=3, end=False)
    work = exporter(tmp_path)
    work.look()
    read = []
    original = Place.read_bytes

    def read_bytes(self):
        read.append(self.path.removeprefix(f"{tmp_path}/"))
        return original(self)

    monkeypatch.setattr(Place, "read_bytes", read_bytes)
    work.look()
    assert set(read) == {"runs/live/end.json", "runs/live/rounds/round=0004.json"}  # neither is there
    read.clear()
    train(tmp_path, "live", rounds=4, end=False)
    read.clear()
    work.look()
    assert set(read) == {"runs/live/end.json", "runs/live/rounds/round=0004.json", "runs/live/rounds/round=0005.json"}
    assert value(scraped(work), "run_last_round", run="live") == 4


def test_the_newest_runs_are_shown_and_others_take_their_place_when_they_go(tmp_path):
    for day in (1, 2, 3):
        train(tmp_path, f"r{day}", rounds=1, started=f"2026-01-0{day}T00:00:00+00:00")
    work = exporter(tmp_path, runs=2)
    work.look()
    shown = {dict(labels)["run"] for name, labels in scraped(work) if name == "neurogrid_run_info"}
    assert shown == {"r2", "r3"}
    assert value(scraped(work), "exporter_runs", state="found") == 3
    shutil.rmtree(tmp_path / "runs" / "r3")
    work.look()
    assert {dict(labels)["run"] for name, labels in scraped(work) if name == "neurogrid_run_info"} == {"r1", "r2"}


def test_a_run_made_anew_under_its_old_name_begins_at_zero(tmp_path):
    train(tmp_path, "r1", rounds=3)
    work = exporter(tmp_path)
    work.look()
    shutil.rmtree(tmp_path / "runs" / "r1")
    train(tmp_path, "r1", rounds=1, end=False)
    work.look()
    assert value(scraped(work), "rounds_total", run="r1", result="aggregated") == 1
    assert value(scraped(work), "run_state", run="r1", state="running") == 1


def _truncated(text):
    return text[: len(text) // 2]


@pytest.mark.parametrize("spoil", [_truncated, lambda text: "", lambda text: "[]", lambda text: '{"round_id": true}'])
def test_a_broken_record_is_counted_and_later_rounds_are_read_on(tmp_path, spoil):
    train(tmp_path, rounds=2, end=False)
    work = exporter(tmp_path)
    work.look()
    train(tmp_path, rounds=4, end=False)
    third = tmp_path / "runs" / "r1" / "rounds" / "round=0003.json"
    whole = third.read_text()
    third.write_text(spoil(whole))
    work.look()
    values = scraped(work)
    assert value(values, "exporter_unreadable_records", kind="round") == 1
    assert value(values, "exporter_read_errors_total", kind="round") >= 1
    assert value(values, "run_last_round", run="r1") == 4
    assert value(values, "rounds_total", run="r1", result="aggregated") == 3
    third.write_text(whole)
    work.look()
    values = scraped(work)
    assert value(values, "exporter_unreadable_records", kind="round") == 0
    assert value(values, "rounds_total", run="r1", result="aggregated") == 4
    assert without_own(values) == pytest.approx(without_own(looked(tmp_path)))


def test_where_the_table_of_rounds_is_broken_the_records_are_read(tmp_path, warehouse, values):
    shutil.copytree(warehouse, tmp_path / "w")
    (tmp_path / "w" / "runs" / "r1" / "round_metrics.parquet").write_bytes(b"PAR1 and no more")
    found = looked(tmp_path / "w")
    assert without_own(found) == pytest.approx(without_own(values))
    assert value(found, "exporter_unreadable_records", kind="round") == 1


def test_records_from_before_they_held_sums_over_agents_are_read_for_what_they_say(tmp_path, warehouse, values):
    shutil.copytree(warehouse, tmp_path / "w")
    run = tmp_path / "w" / "runs" / "r1"
    (run / "round_metrics.parquet").unlink()
    later = ("rejections", "districts", "agent_train_counts", "agent_train_s", "recorded", "trace_id", "ended")
    for file in (*(run / "rounds").iterdir(), run / "end.json"):
        record = json.loads(file.read_text())
        file.write_text(json.dumps({name: value for name, value in record.items() if name not in later}))
    found = looked(tmp_path / "w")
    assert value(found, "exporter_unreadable_records", kind="round") == 0
    for name in ("round_held_out_loss", "agents_accepted_total", "round_duration_seconds_sum"):
        assert value(found, name, run="r1") == value(values, name, run="r1")
    assert value(found, "run_state", run="r1", state="ended") == 1
    assert value(found, "run_ended_timestamp_seconds", run="r1") is None


def test_a_record_that_is_gone_from_an_ended_run_is_unreadable(tmp_path, warehouse):
    shutil.copytree(warehouse, tmp_path / "w")
    run = tmp_path / "w" / "runs" / "r1"
    (run / "round_metrics.parquet").unlink()
    (run / "rounds" / "round=0002.json").unlink()
    found = looked(tmp_path / "w")
    assert value(found, "exporter_unreadable_records", kind="round") == 1
    assert value(found, "run_last_round", run="r1") == 6


def test_broken_first_and_last_records_reports_and_manifests_are_counted_by_kind(tmp_path, warehouse):
    shutil.copytree(warehouse, tmp_path / "w")
    shutil.copytree(warehouse / "runs" / "r1", tmp_path / "w" / "runs" / "r2")
    for path in ("runs/r2/run.json", "runs/r1/end.json", "quality/report.json", "manifests/m1/manifest.json",
                 "jobs/r/etl.json", "teachers/t1/epochs/epoch=0001.json", "teachers/t1/teacher.json"):  # fmt: skip
        file = tmp_path / "w" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"seed": 1')
    found = looked(tmp_path / "w")
    for kind in ("run", "end", "quality", "manifest", "job", "teacher"):
        assert value(found, "exporter_unreadable_records", kind=kind) == 1, kind
    assert value(found, "exporter_warehouse_up") == 1
    assert value(found, "rounds_total", run="r1", result="aggregated") == 6


def test_a_warehouse_that_cannot_be_listed_is_down_and_its_figures_stay(tmp_path):
    train(tmp_path / "w", rounds=1)
    work = exporter(tmp_path / "w")
    work.look()
    assert work.ready
    (tmp_path / "w" / "runs").rename(tmp_path / "gone")
    (tmp_path / "w" / "runs").write_text("no folder")
    work.look()
    values = scraped(work)
    assert value(values, "exporter_warehouse_up") == 0
    assert value(values, "run_last_round", run="r1") == 1


def test_an_empty_warehouse_has_every_metric_and_no_run(tmp_path):
    work = exporter(tmp_path)
    work.look()
    assert work.ready
    families = {f.name for f in text_families(work.page(Format.TEXT, compressed=False).decode())}
    assert {m.name.removesuffix("_total") for m in CATALOGUE} <= families
    assert value(scraped(work), "exporter_runs", state="found") == 0


def test_every_sample_has_the_type_and_the_labels_that_the_catalogue_says(warehouse):
    work = exporter(warehouse, per_agent=True)
    work.look()
    for parse, format_ in ((text_families, Format.TEXT), (openmetrics_families, Format.OPENMETRICS)):
        for family in parse(work.page(format_, compressed=False).decode()):
            if not family.name.startswith("neurogrid_"):
                continue
            metric = BY_NAME.get(family.name) or BY_NAME[f"{family.name}_total"]
            assert (family.type, family.documentation) == (metric.kind, metric.meaning)
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == set(metric.labels), sample


def test_exemplars_name_the_trace_that_stands_in_the_rounds_record(tmp_path):
    class Trace:
        def after_round(self, record, state): ...
        def trace_id(self, round_id):
            return f"{round_id:032x}"

        def persisted(self, round_id, persist_s): ...

    train(tmp_path, trace=Trace())
    work = exporter(tmp_path)
    work.look()
    families = {f.name: f for f in openmetrics_families(work.page(Format.OPENMETRICS, compressed=False).decode())}
    rows = read_round_metrics(place(str(tmp_path)) / "runs" / "r1").to_pylist()
    by_trace = {row["trace_id"]: row for row in rows}
    assert set(by_trace) == {f"{n:032x}" for n in range(1, 7)}
    samples = [s for s in families["neurogrid_round_phase_duration_seconds"].samples if s.exemplar]
    assert samples
    for sample in samples:
        row = by_trace[sample.exemplar.labels["trace_id"]]
        assert sample.exemplar.value == pytest.approx(row[f"{sample.labels['phase']}_s"])
    (counted,) = [s for s in families["neurogrid_rounds"].samples if s.exemplar]
    assert counted.exemplar.labels["trace_id"] == f"{6:032x}"


def test_agents_have_series_only_for_those_who_ask(warehouse, values, agents):
    assert not any("agent" in dict(labels) for _, labels in values)
    found = looked(warehouse, per_agent=True)
    for agent in AGENTS:
        own = [a for a in agents if a["agent_id"] == agent]
        assert value(found, "agent_rounds_asked_total", run="r1", agent=agent) == 6
        assert value(found, "agent_rounds_accepted_total", run="r1", agent=agent) == sum(a["accepted"] for a in own)
        trained = sum(a["train_s"] for a in own if math.isfinite(a["train_s"]))
        assert value(found, "agent_training_seconds_total", run="r1", agent=agent) == pytest.approx(trained)


def test_reports_manifests_teachers_and_jobs_are_shown_as_they_are_and_read_again_when_written_anew(tmp_path):
    def write(path, **content):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(content))

    tiers = dict(zip(TIERS, (90, 5, 4, 1), strict=True))
    report = {
        "files": 10, "unusable": {"x.csv": "empty"}, "excluded": [], "file_rows": 99, "households": 9,
        "load_tiers": tiers, "weather_tiers": tiers, "faults": {"negative": 3},
        "weather_faults": {"W1": {"negative": 1}, "W2": {"negative": 2}}, "energy_read_kwh": 2.0,
        "energy_dropped_kwh": 0.5, "energy_imputed_kwh": 0.25, "energy_written_kwh": 1.75, "energy_balanced": True,
        "zero_readings": 7,
    }  # fmt: skip
    write("quality/report.json", **report)
    clusters = [{"number": 0, "households": 4}, {"number": 1, "households": 5}]
    write("manifests/m1/manifest.json", silhouette=0.25, agents=[{}] * 6, districts=3, held_out=[{}], unused=["a"],
          clusters=clusters)  # fmt: skip
    write("jobs/prod/etl.json", job="etl", state="failed", started="2026-01-01T00:00:00+00:00",
          ended="2026-01-01T00:01:00+00:00")  # fmt: skip
    write("jobs/prod/train.json", job="train", state="running", started="2026-01-01T00:01:00+00:00", ended=None)
    write("jobs/prod/train/g1.json", job="train", state="failed", started="2026-01-01T00:00:00+00:00",
          ended="2026-01-01T00:01:00+00:00")  # fmt: skip
    write("teachers/t1/teacher.json", version=1)
    write("teachers/t1/epochs/epoch=0001.json", train_loss=0.5, held_out_loss=0.6, recorded="2026-01-01T00:00:00+00:00")
    work = exporter(tmp_path)
    work.look()
    values = scraped(work)
    assert value(values, "etl_files", state="used") == 9
    assert value(values, "etl_files", state="unusable") == 1
    assert value(values, "etl_observed_ratio", series="load") == 0.9
    assert value(values, "etl_slots", series="weather", tier="zero") == 1
    assert value(values, "etl_faults", source="meter", fault="negative") == 3
    assert value(values, "etl_faults", source="weather", fault="negative") == 3
    assert value(values, "etl_faults", source="meter", fault="duplicate") == 0
    assert value(values, "etl_energy_joules", flow="written") == 1.75 * 3.6e6
    assert value(values, "sampling_silhouette", manifest="m1") == 0.25
    assert value(values, "sampling_cluster_households", manifest="m1", cluster="1") == 5
    assert value(values, "job_state", release="prod", neurogrid_job="etl", state="failed") == 1
    assert value(values, "job_ended_timestamp_seconds", release="prod", neurogrid_job="etl") == 1767225660
    assert value(values, "job_state", release="prod", neurogrid_job="train", state="running") == 1
    assert value(values, "job_state", release="train", neurogrid_job="g1", state="failed") is None, (
        "a generation is no job"
    )
    assert value(values, "exporter_unreadable_records", kind="job") == 0, "a job at work has a record without an end"
    assert value(values, "teacher_epochs_total", teacher="t1") == 1
    assert value(values, "teacher_validation_loss", teacher="t1") == 0.6
    write("quality/report.json", **{**report, "file_rows": 12345})
    write(
        "teachers/t1/epochs/epoch=0002.json", train_loss=0.4, held_out_loss=None, recorded="2026-01-01T00:00:09+00:00"
    )
    work.look()
    assert value(scraped(work), "etl_rows") == 12345
    assert value(scraped(work), "teacher_epochs_total", teacher="t1") == 2
    assert value(scraped(work), "teacher_validation_loss", teacher="t1") is None


def test_the_exporter_loads_neither_spark_nor_torch_nor_a_kubernetes_client(warehouse):
    code = (
        "import sys; import neurogrid.cli.app, neurogrid.telemetry.server, neurogrid.incluster;"
        "from neurogrid.telemetry.exporter import Exporter, ExporterSettings; from neurogrid.storage import place;"
        f"e = Exporter(place({str(warehouse)!r}), '0', ExporterSettings(1, 60, 20, True, '')); e.look();"
        "print([m for m in ('torch', 'pyspark', 'pandas', 'kubernetes', 'opentelemetry') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
