"""`local.private_layers`: a run whose agents keep some layers to themselves, from its config to its evaluation."""

import json
from pathlib import Path

import pytest
from test_run_manifest import Command, drawn, neurogrid, sampled, train  # noqa: F401 - fixtures

from neurogrid.config import load
from neurogrid.data.manifest import read_part
from neurogrid.pipeline.plan import plan_evaluation
from neurogrid.workloads.meters.agent import completed

SETS = ("--set", "local.private_layers=[forecast]", "--set", "local.private_steps=60", "--set", "rounds.count=2")


@pytest.mark.slow
def test_each_household_is_scored_with_layers_of_its_own(
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    warehouse = ("--warehouse", tmp_path / "w")
    code, _, said = neurogrid(*train(tmp_path, "own"), *SETS)
    assert code == 0, said
    assert "forecast: fitted by each agent, 60 steps, never sent" in said
    code, _, said = neurogrid("evaluate", "own", *warehouse, "--set", "evaluation.comparisons=[alone]")
    assert code == 0, said
    run = tmp_path / "w" / "runs" / "own"
    (run / "evaluation.parquet").write_bytes(b"damaged")
    code, _, said = neurogrid("audit", "own", *warehouse)
    assert code == 1
    assert "neurogrid evaluate own" in said
    assert neurogrid("evaluate", "own", *warehouse, "--set", "evaluation.comparisons=[alone]")[0] == 0
    assert neurogrid("audit", "own", *warehouse)[0] == 0
    kept = (run / "evaluation.json").read_bytes()
    (run / "evaluation.json").unlink()
    (run / "evaluation.json").mkdir()
    for command in (("evaluate", "own"), ("run", "--resume", "own")):
        code, _, said = neurogrid(*command, *warehouse)
        assert code == 2
        assert "evaluation.json is a folder, not a file" in said
        assert "remove it or move it away" in said
        assert "scoring" not in said
    (run / "evaluation.json").rmdir()
    (run / "evaluation.json").write_bytes(kept)
    methods = json.loads((run / "evaluation.json").read_text())["parts"]["test"]["trained"]["methods"]
    assert {"federated", "alone"} <= methods.keys(), methods.keys()

    plan = plan_evaluation(load((run / "config.yaml").read_text(), [f"warehouse={tmp_path}/w"]), "own")
    assert plan.settings.private is not None
    ours = [
        completed(
            plan.weights,
            read_part(plan.warehouse, plan.manifest, agent, agent.parts[0]),
            plan.settings.private,
            agent.agent_id,
        )
        for agent in plan.manifest.agents
    ]
    assert all(len(vector) > len(plan.weights) for vector in ours)
    assert len({vector.tobytes() for vector in ours}) == len(ours)


def test_layers_that_the_model_does_not_have_are_refused_before_anything_is_written(
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    code, _, said = neurogrid(*train(tmp_path, "none"), "--set", "local.private_layers=[head]")
    assert code == 2
    assert "the model has no layer 'head'; it has forecast, surge" in said
    code, _, said = neurogrid(*train(tmp_path, "none"), "--set", "local.private_layers=[forecast, surge]")
    assert code == 2
    assert "nothing to train together" in said
    assert not (tmp_path / "w" / "runs" / "none").exists()
