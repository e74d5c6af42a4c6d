"""The step `pipeline`: ETL, sampling, training and evaluation in one driver, as a schedule starts it every night."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
warehouse: {folder}/w
source: {{path: {folder}/data}}
spark: {{master: "local[2]"}}
sampling: {{agents: 9, districts: 3, clusters: 2, held_out_share: 0.2, min_observed_slots: 200}}
model: {{hidden: 8, surge_hidden: 8, history_slots: 16, horizon_slots: 4}}
local: {{steps: 4, batch_size: 16}}
rounds: {{count: 4, agents_per_round: 9, panel_agents: 3}}
aggregation: {{byzantine_share: 0.25}}
evaluation: {{comparisons: [ridge]}}
"""


def driver(folder: Path, application: str) -> subprocess.Popen[str]:
    env = {"JOB": "nightly", "RELEASE": "city", "GENERATION": "g1", "SCHEDULED": "true", "APPLICATION": application}
    variables = {f"NEUROGRID_{name}": value for name, value in env.items()}
    variables |= {"NEUROGRID_CONFIG": str(folder / "config.yaml")}
    command = [sys.executable, str(ROOT / "jobs" / "pipeline.py")]
    return subprocess.Popen(
        command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def said(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith('{"neurogrid"')]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_pipeline_whose_driver_is_killed_in_training_goes_on_there(tmp_path: Path) -> None:
    synth = ["-m", "neurogrid", "synth", str(tmp_path / "data"), "--households", "16", "--days", "40"]
    subprocess.run([sys.executable, *synth], check=True, capture_output=True)
    (tmp_path / "config.yaml").write_text(CONFIG.format(folder=tmp_path))
    record = tmp_path / "w" / "jobs" / "city" / "nightly" / "g1.json"
    report = tmp_path / "w" / "quality" / "report.json"

    killed = driver(tmp_path, "city-nightly-1")
    assert killed.stdout is not None
    for line in killed.stdout:
        if '"neurogrid": "round"' in line:
            killed.kill()
            break
    killed.stdout.close()
    killed.wait()
    left = json.loads(record.read_text())
    assert (left["state"], set(left["done"])) == ("running", {"etl", "sample"})

    before = report.stat().st_mtime_ns
    again = driver(tmp_path, "city-nightly-1")
    lines = said(again.communicate(timeout=400)[0])
    assert again.returncode == 0
    assert report.stat().st_mtime_ns == before, "ETL was done, and is not done anew"
    result = lines[-1]["result"]
    assert result["rounds"] == 4
    assert result["run_id"] == result["evaluate"]["run_id"] == "city-nightly-1"
    assert json.loads(record.read_text())["state"] == "completed"
