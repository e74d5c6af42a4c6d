"""How many series there are at most, whatever a warehouse and a cluster say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from telemetry_run import EXPORTER, RECORDS, looked, scraped, train, write_records

from neurogrid.storage import place
from neurogrid.telemetry.exporter import Exporter

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()


def stated(pattern):
    """A number that docs/monitoring.md says."""
    (found,) = re.findall(pattern, " ".join(PAGE.split()))
    return int(found)


A_RUN = stated(r"A run is about (\d+) series \(up to")
STAGES = stated(r"\(up to (\d+) of them are its stages' own figures\)")
DISTRICTS = stated(r"three for each of its first (\d+) districts") + 1
AN_APPLICATION = stated(r"Each of the \d+ newest SparkApplications has (\d+) series")
APPLICATIONS = stated(r"Each of the (\d+) newest SparkApplications")
A_JOB, JOBS = stated(r"each of the \d+ newest jobs (\d+),"), stated(r"each of the (\d+) newest jobs")
A_MANIFEST, A_TEACHER = stated(r"a manifest at most (\d+),"), stated(r"a teacher (\d+)\.")


@pytest.mark.parametrize("given", [{}, {"attack": "none"}])
def test_a_run_is_as_many_series_as_the_docs_say(tmp_path, given):
    train(tmp_path, **given)
    own = [dict(labels) for _, labels in looked(tmp_path) if dict(labels).get("run") == "r1"]
    assert len([labels for labels in own if "district" not in labels]) == pytest.approx(A_RUN, abs=10)
    assert len([labels for labels in own if "district" in labels]) == 3 * 3


def test_series_have_a_ceiling_whatever_the_records_and_the_cluster_say(tmp_path):
    train(tmp_path, "r1", rounds=3, end=False)
    train(tmp_path, "r0", rounds=1, started="2025-01-01T00:00:00+00:00")
    (tmp_path / "runs" / "r1" / "round_metrics.parquet").unlink(missing_ok=True)
    for file in (tmp_path / "runs" / "r1" / "rounds").iterdir():
        record = json.loads(file.read_text())
        record["districts"] = [{"district": n, "asked": 2, "accepted": 1} for n in range(500)]
        record["rejections"] += [{"reason": f"{file.name} {n}", "malicious": True, "agents": 1} for n in range(100)]
        record["byzantine_attack"] = file.name
        record["reports"]["weigh"] |= {f"figure_{n}": n for n in range(300)}
        file.write_text(json.dumps(record))
    write_records(tmp_path)
    manifest = {**RECORDS["manifests/m1/manifest.json"]}
    manifest["clusters"] = [{"number": n, "households": 1} for n in range(300)]
    report = RECORDS["quality/report.json"]
    report = {**report, "load_tiers": {**report["load_tiers"], **{f"tier {n}": 1 for n in range(100)}}}
    for kind, path, content in [
        ("quality", "report.json", report),
        *(("manifests", f"m{n}/manifest.json", manifest) for n in range(3)),
        *(("jobs", f"r{n}/train.json", RECORDS["jobs/prod/etl.json"]) for n in range(300)),
        *(("teachers", f"t{n}/teacher.json", {}) for n in range(3)),
    ]:
        (tmp_path / kind / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / kind / path).write_text(json.dumps(content))
    applications = [
        {
            "metadata": {"name": f"a{n:03}", "creationTimestamp": f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z"},
            "spec": {"executor": {"instances": 50}},
            "status": {
                "applicationState": {"state": f"S{n}"},
                "executorState": {f"e{m}": f"X{m}" for m in range(50)},
                "lastSubmissionAttemptTime": "2026-01-01T00:00:00Z",
                "terminationTime": "2026-01-01T00:00:00Z",
            },
        }
        for n in range(300)
    ]
    work = Exporter(place(str(tmp_path)), "0.1", replace(EXPORTER, runs=1), lambda: applications)
    work.look()
    empty = looked(tmp_path / "nothing")
    data = [name for name, labels in scraped(work) if name.startswith("neurogrid_etl_")]
    assert len(data) < 150
    series = [(name, dict(labels)) for name, labels in scraped(work)]
    shown = {labels["application"] for _, labels in series if "application" in labels}
    assert shown == {f"a{n:03}" for n in range(300 - APPLICATIONS, 300)}, "the newest"
    assert sum("application" in labels for _, labels in series) == AN_APPLICATION * APPLICATIONS
    ceiling = (
        len(empty) + len(data) + A_RUN + STAGES + 10 + 3 * DISTRICTS + AN_APPLICATION * APPLICATIONS + A_JOB * JOBS
    )
    assert len(series) <= ceiling + A_MANIFEST + A_TEACHER
    others = {labels.get("reason") for _, labels in series} & {"other"}
    assert others == {"other"}
