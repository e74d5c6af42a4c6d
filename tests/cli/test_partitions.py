"""Agents that hold weeks of many households, IID and Dirichlet, from readings to an evaluation."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from neurogrid.cli import main
from neurogrid.config import Config
from neurogrid.pipeline import sessions
from neurogrid.pipeline.events import Observer

CONFIG = """
sampling: {agents: 9, districts: 3, clusters: 2, held_out_share: 0.25, min_observed_slots: 200}
model: {name: linear, surge_hidden: 4, history_slots: 16, horizon_slots: 4}
local: {steps: 8, batch_size: 16}
rounds: {count: 3, panel_agents: 9}
personal: {steps: 10, batch_size: 16}
backend: {kind: inline}
"""


def neurogrid(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["neurogrid", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Iterator[Path]:
    """Eight households, cleaned: fewer than there are to be agents."""

    @contextmanager
    def session(config: Config, observer: Observer) -> Iterator[SparkSession]:
        yield spark

    root = tmp_path_factory.mktemp("partitions")
    (root / "small.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "session", session)
        neurogrid("synth", str(root / "data"), "--households", "8", "--days", "40")
        neurogrid("etl", "--data-dir", str(root / "data"), "--warehouse", str(root / "w"))
        yield root


@pytest.mark.slow
def test_more_agents_than_households_train_on_weeks_of_them_and_are_compared_with_all(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    partition = "dirichlet"  # how iid deals its weeks out is in tests/data/test_sampling.py
    dealt = ("--set", f"sampling.partition={partition}")
    common = ("-c", str(folder / "small.yaml"), "--warehouse", str(folder / "w"))
    capsys.readouterr()
    neurogrid("sample", *common, *dealt, "--json")
    drawn = json.loads(capsys.readouterr().out)
    manifest = json.loads(Path(drawn["path"]).read_text())
    neurogrid("run", *common, *dealt, "--manifest", drawn["manifest_id"], "--set", f"run_id={partition}", "--json")
    said = json.loads(capsys.readouterr().out)

    assert manifest["partition"] == partition
    weeks = [(p["household_id"], week) for a in manifest["agents"] for p in a["parts"] for week in p["blocks"]]
    assert len(weeks) == len(set(weeks)), "two agents hold the same week"
    assert any(len(agent["parts"]) > 1 for agent in manifest["agents"])
    held_out = {part["household_id"] for agent in manifest["held_out"] for part in agent["parts"]}
    assert held_out
    assert not held_out & {household for household, _ in weeks}

    assert (said["train"]["updates_asked"], said["train"]["updates_late"], said["train"]["updates_lost"]) == (27, 0, 0)
    assert said["train"]["updates_accepted"] > 27 / 2, "the rule may judge some that differ, and not most"
    assert said["train"]["held_out_loss_last"] is not None
    test = said["evaluate"]["parts"]["test"]
    assert set(test["trained"]["households"]) <= {household for household, _ in weeks}
    assert set(test["held_out"]["households"]) <= held_out
    assert test["trained"]["methods"]["federated"]["mae"]["value"] > 0

    # With one flag also beside the dear comparisons; the config says where, and how long those train.
    dear = f"warehouse: {folder}/w\nevaluation: {{alone_steps: 3, pooled_steps: 3, learning_rates: [0.003]}}\n"
    (folder / "dear.yaml").write_text(dear)
    neurogrid("evaluate", partition, "-c", str(folder / "dear.yaml"), "--all", "--json")
    methods = json.loads(capsys.readouterr().out)["parts"]["test"]["trained"]["methods"]
    assert {"ridge_federated", "ridge_local", "alone", "pooled"} <= set(methods)
    assert 0 <= methods["federated"]["better_than_alone_share"]["value"] <= 1
    neurogrid("audit", partition, "-c", str(folder / "dear.yaml"), "--ended", "--json")
    audit = json.loads(capsys.readouterr().out)
    assert (audit["problems"], audit["head"]) == ([], said["train"]["head_sha256"])
    assert audit["evaluation"] not in ("", said["evaluate"]["sha256"])
