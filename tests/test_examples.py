"""The shipped examples learn: the held-out loss falls although two agents attack, and with a plain mean it does not."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from pyspark.sql import SparkSession

from neurogrid.config import load
from neurogrid.data.manifest import Manifest
from neurogrid.ledger import read_round_metrics
from neurogrid.pipeline import steps
from neurogrid.pipeline.etl import etl
from neurogrid.pipeline.etl_plan import plan_etl
from neurogrid.pipeline.plan import plan_sampling, plan_training
from neurogrid.pipeline.training import train
from neurogrid.storage import place

ROOT = Path(__file__).parents[1]
FALLS = 0.97
"""Of the first round's held-out loss, at most so much is left after the last."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"MAKEFLAGS": "", "MAKELEVEL": ""}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def neurogrid(*arguments: str) -> Any:
    return json.loads(run(sys.executable, "-m", "neurogrid", *arguments, "--json").stdout)


def test_the_demo_shows_what_attackers_cost_and_what_the_rule_saves(tmp_path: Path) -> None:
    done = run("make", "attackers", f"DEMO={tmp_path / 'demo'}")
    (report,) = re.findall(r"^ *report: *(.*/runs/.*\.html)$", done.stderr, re.MULTILINE)
    assert Path(report).stat().st_size > 0
    demo, clean, mean = neurogrid("runs", "--warehouse", str(tmp_path / "demo" / "warehouse"))["runs"]
    assert (clean["run_id"], clean["attack"]) == ("no-attack", "none")
    assert (mean["run_id"], mean["rule"]) == ("plain-mean", "mean")
    assert demo["attack"] == mean["attack"] != "none"
    assert {run["state"] for run in (demo, clean, mean)} == {"ended"}
    assert demo["last_loss"] < FALLS * demo["first_loss"]
    assert mean["last_loss"] > 2 * mean["first_loss"]
    assert clean["last_loss"] < demo["last_loss"] < 1.05 * clean["last_loss"]


class Laptop(NamedTuple):
    """The config of k8s/values/laptop.yaml, where its readings are, and the sample of them."""

    config: str
    places: list[str]
    manifest: Manifest


@pytest.fixture(scope="module")
def laptop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    folder = tmp_path_factory.mktemp("laptop")
    values = yaml.safe_load((ROOT / "k8s" / "values" / "laptop.yaml").read_text())
    assert not values["jobs"].get("teacher", {}).get("enabled"), "from a teacher's weights there is little to see"
    config, places = yaml.safe_dump(values["config"]), [f"warehouse={folder}/w", f"source.path={folder}/data"]
    households = str(values["data"]["synthetic"]["households"])
    run(sys.executable, "-m", "neurogrid", "synth", str(folder / "data"), "--households", households)
    settings = load(config, places)
    etl(plan_etl(settings), lambda: spark)
    return Laptop(config, places, steps.sample(plan_sampling(settings), spark))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_laptops_federation_learns_whatever_the_seed(laptop: Laptop, seed: int) -> None:
    # Its weights are the same bits as on Spark.
    settings = load(laptop.config, [*laptop.places, f"seed={seed}", f"run_id=s{seed}", "backend.kind=inline"])
    train(plan_training(settings, laptop.manifest), None)
    losses = read_round_metrics(place(settings.warehouse) / "runs" / f"s{seed}")["held_out_loss"].to_pylist()
    assert settings.attack.kind != "none"
    assert losses[-1] < FALLS * losses[0]
