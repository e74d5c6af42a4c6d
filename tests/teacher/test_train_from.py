"""`neurogrid train --from RUN`: a run starts from another's last weights, which its records say."""

import json
from pathlib import Path

import numpy as np
import pytest
import small_teacher

from neurogrid.config import Config, load
from neurogrid.data.manifest import Manifest, read_manifest
from neurogrid.errors import NeuroGridError
from neurogrid.ledger.checkpoint import read_final, read_weights
from neurogrid.ledger.records import read_end, read_genesis
from neurogrid.pipeline.plan import plan_training
from neurogrid.pipeline.training import train
from neurogrid.storage import place

CONFIG = """
seed: 3
sampling: {agents: 2, districts: 1}
rounds: {count: 2, agents_per_round: 2, panel_agents: 2}
aggregation: {rule: mean, byzantine_share: 0.0}
model: {hidden: 6, surge_hidden: 4, history_slots: 8, horizon_slots: 2}
local: {steps: 3, batch_size: 8}
backend: {kind: inline}
"""


def config(root: Path, run_id: str, *sets: str) -> Config:
    return load(CONFIG, [f"warehouse={root}", f"run_id={run_id}", *sets])


def drawn(root: Path, *agents: str, held_out: str, idle: tuple[str, ...] = ()) -> Manifest:
    small_teacher.write_manifest(root, small_teacher.manifest(agents, (held_out,), idle))
    written = sorted((root / "manifests").glob("*/manifest.json"), key=lambda file: file.stat().st_mtime_ns)[-1]
    return read_manifest(place(str(written)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with a run that has ended, `first`, and one that has not, `begun`."""
    folder = tmp_path_factory.mktemp("from")
    small_teacher.make_warehouse(folder)
    manifest = drawn(folder, "house0", "house1", held_out="house2", idle=("house3", "house4"))
    for run_id in ("first", "begun"):
        train(plan_training(config(folder, run_id), manifest), None)
    (folder / "runs" / "begun" / "end.json").unlink()
    return folder


@pytest.fixture(scope="module")
def manifest(root: Path) -> Manifest:
    return read_manifest(place(str(next((root / "manifests").glob("*/manifest.json")))))


def test_a_run_starts_from_anothers_last_weights_and_its_first_record_says_so(root: Path, manifest: Manifest) -> None:
    wanted = config(root, "second", "rounds.start_from=first")
    plan = plan_training(wanted, manifest)
    train(plan, None)
    first, second = (place(str(root)) / "runs" / name for name in ("first", "second"))
    spans = plan.federation.spec
    end, genesis = read_end(first), read_genesis(second)
    np.testing.assert_array_equal(read_weights(second, genesis, spans), read_final(first, end, spans))
    assert (genesis["start_run"], genesis["start_run_sha256"]) == ("first", end["sha256"])


def test_a_run_that_goes_on_does_without_the_run_that_it_started_from(root: Path, manifest: Manifest) -> None:
    wanted = config(root, "third", "rounds.start_from=first")
    train(plan_training(wanted, manifest), None)
    whole = json.loads((root / "runs" / "third" / "end.json").read_text())
    for file in ("end.json", "rounds/round=0002.json"):
        (root / "runs" / "third" / file).unlink()
    (root / "runs" / "third" / "round_metrics.parquet").unlink()
    (root / "runs" / "first").rename(root / "away")
    try:
        train(plan_training(wanted, manifest, "third"), None)
    finally:
        (root / "away").rename(root / "runs" / "first")
    assert json.loads((root / "runs" / "third" / "end.json").read_text())["w_final_sha256"] == whole["w_final_sha256"]


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["rounds.start_from=never"], ['no run "never"', "begun, first"]),
        (["rounds.start_from=begun"], ["run begun has no final weights yet", "--resume begun"]),
        (["rounds.start_from=first", "model.hidden=4"], ["run first has another model", "hidden 6 against 4"]),
        (["rounds.start_from=first", "model.horizon_slots=3"], ["horizon_slots 2 against 3"]),
        (["rounds.start_from=first", "rounds.teacher=t1"], ["one model's weights", "run first and teacher t1"]),
    ],
)
def test_a_run_that_does_not_fit_is_refused_before_anything_is_written(
    root: Path, manifest: Manifest, sets: list[str], words: list[str]
) -> None:
    with pytest.raises(NeuroGridError) as refusal:
        plan_training(config(root, "refused", *sets), manifest)
    said = f"{refusal.value}"
    assert not [word for word in words if word not in said], said
    assert not (root / "runs" / "refused").exists()


def test_a_run_that_learnt_from_what_this_one_tests_on_is_refused(root: Path) -> None:
    another = drawn(root, "house1", "house2", held_out="house0")
    with pytest.raises(NeuroGridError, match="run first learnt from households that this manifest holds out"):
        plan_training(config(root, "leaking", "rounds.start_from=first"), another)
