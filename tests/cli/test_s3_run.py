"""The whole product on an S3 server: the bits of a local folder, a killed training resumed, one writer a run.

The server is versitygw, which serves a folder; the tests are skipped where it is not on the PATH.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from neurogrid.cli import main
from neurogrid.config import load
from neurogrid.data.synthetic import SyntheticSettings, make_heapo
from neurogrid.pipeline import sessions, whole_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CONFIG = """
sampling: {agents: 9, districts: 3, clusters: 2, held_out_share: 0.2, min_observed_slots: 200}
model: {hidden: 8, surge_hidden: 8, history_slots: 16, horizon_slots: 4}
local: {steps: 40, batch_size: 32}
rounds: {count: 8, agents_per_round: 9, panel_agents: 3}
personal: {steps: 10, batch_size: 16}
aggregation: {byzantine_share: 0.25}
spark: {master: "local[2]"}
"""


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a process that uses the server; it has one bucket, `meters`."""
    program = shutil.which("versitygw")
    if program is None:
        pytest.skip("versitygw, an S3 server over a folder, is not on the PATH")
    folder = tmp_path_factory.mktemp("s3")
    (folder / "meters").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [program, "--quiet", "--port", f"127.0.0.1:{port}", "posix", str(folder)],
        env={"ROOT_ACCESS_KEY": "key", "ROOT_SECRET_KEY": "secret-key"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert time.monotonic() < until, "the S3 server does not answer"
        time.sleep(0.1)
    yield {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret-key",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="module")
def both(
    s3: dict[str, str], spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """What `neurogrid run` said on a local folder and on the server."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "config.yaml").write_text(CONFIG)
    make_heapo(folder / "data", SyntheticSettings(households=16, stations=3, days=40, seed=1))
    given = ("-c", str(folder / "config.yaml"), "--data-dir", str(folder / "data"), "--set", "run_id=whole")
    remote = command(s3, "run", *given, "--warehouse", "s3://meters/w")
    config = load(CONFIG, ["run_id=whole", f"source.path={folder}/data", f"warehouse={folder}/w"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "session", lambda config, observer: nullcontext(spark))
        local = whole_run.run(config)
    return folder, json.loads(json.dumps(local)), remote


def command(environment: dict[str, str], *arguments: str, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "neurogrid", *arguments, "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
        env=environment,
    )
    assert done.returncode == code, done.stderr[-3000:]
    return json.loads(done.stdout) if code == 0 else {"said": done.stderr}


def test_a_run_on_s3_has_the_bits_of_a_run_on_a_folder(
    both: tuple[Path, dict[str, Any], dict[str, Any]],
) -> None:
    _, local, remote = both
    assert remote["sample"]["manifest_id"] == local["sample"]["manifest_id"]
    assert remote["train"]["w_final_sha256"] == local["train"]["w_final_sha256"]
    assert remote["evaluate"]["parts"] == local["evaluate"]["parts"]
    assert remote["report"]["path"] == "s3://meters/w/runs/whole/report.html"


def test_an_audit_finds_a_run_on_s3_as_it_was_written(
    s3: dict[str, str], both: tuple[Path, dict[str, Any], dict[str, Any]]
) -> None:
    assert command(s3, "audit", "whole", "--warehouse", "s3://meters/w")["problems"] == []


def test_a_training_on_s3_that_is_killed_is_refused_to_others_while_it_lives_and_resumed_to_the_same_bits(
    s3: dict[str, str],
    both: tuple[Path, dict[str, Any], dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, local, _ = both
    where = ("--warehouse", "s3://meters/w", "--set", "backend.kind=inline")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "neurogrid", "train", "-c", str(folder / "config.yaml"), *where),
            *("--set", "run_id=killed"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=s3,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.strip().startswith("round 3"):
            break
    # From within this process, which is quicker than a short training.
    monkeypatch.setattr(sys, "argv", ["neurogrid", "train", "--resume", "killed", *where])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, s3[name])
    with pytest.raises(SystemExit, match="2"):
        main()
    refused = capsys.readouterr().err
    assert process.poll() is None, "it had ended before it was to be killed"
    process.kill()
    process.wait()
    process.stderr.close()
    assert "run killed is live: another process is writing to it" in refused
    resumed = command(s3, "train", "--resume", "killed", *where)
    assert resumed["w_final_sha256"] == local["train"]["w_final_sha256"]
