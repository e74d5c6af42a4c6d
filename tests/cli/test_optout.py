"""A household that opts out while a run goes on: asked no more, scored no more, and the run can still be made again."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from test_run_manifest import Command, neurogrid, sampled  # noqa: F401 - fixtures

from neurogrid.config import load
from neurogrid.data.manifest import read_manifest
from neurogrid.errors import UsageError
from neurogrid.pipeline import training
from neurogrid.pipeline.events import SILENT, RoundEnded
from neurogrid.pipeline.plan import plan_training
from neurogrid.pipeline.teach_plan import plan_teaching
from neurogrid.storage import place

pytestmark = pytest.mark.slow
RUN = "mine"


class After(type(SILENT)):
    """Does something when a round has ended."""

    def __init__(self, number, act):
        self.number, self.act = number, act

    def tell(self, event):
        if isinstance(event, RoundEnded) and event.record.round_id == self.number:
            self.act()


def test_a_household_that_opts_out_in_a_run_is_left_alone_from_the_next_round_on(
    sampled: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    shutil.copytree(sampled, tmp_path, dirs_exist_ok=True)
    root = tmp_path / "w"
    (folder,) = (root / "manifests").iterdir()
    manifest = read_manifest(place(str(folder / "manifest.json")))
    leaver, held = manifest.agents[1], manifest.held_out[0]
    household, tested = leaver.parts[0].household_id, held.parts[0].household_id
    sets = [f"warehouse={root}", f"run_id={RUN}", "rounds.count=3", "personal.steps=20"]
    config = load((tmp_path / "small.yaml").read_text(), sets)

    def leave() -> None:
        code, said, words = neurogrid("optout", "add", household, tested, "unknown", "--warehouse", root)
        assert (code, said["not_current"]) == (0, ["unknown"]), words

    training.train(plan_training(config, manifest), None, After(1, leave))
    code, listed, _ = neurogrid("optout", "list", "--warehouse", root)
    assert (code, listed["households"]) == (0, sorted([household, tested, "unknown"]))

    run = root / "runs" / RUN
    asked = pq.read_table(run / "audit" / "agent_round_audit").to_pylist()
    assert {row["round_id"] for row in asked if row["agent_id"] == leaver.agent_id} == {1}
    rounds = [json.loads(file.read_text()) for file in sorted((run / "rounds").iterdir())]
    assert len(rounds) == 3
    assert "roster" not in rounds[0]["reports"]
    assert all(leaver.agent_id in r["reports"]["roster"]["left"].split() for r in rounds[1:])
    assert not any(household in json.dumps(r) for r in rounds)
    assert leaver.agent_id not in str(pq.read_table(run / "personal.parquet").to_pylist())

    warehouse = ("--warehouse", root)
    assert neurogrid("audit", RUN, *warehouse, "--replay")[0] == 0
    for command in ("evaluate", "report", "audit"):
        code, _, words = neurogrid(command, RUN, *warehouse)
        assert code == 0, words
    scored = set(pq.read_table(run / "evaluation.parquet")["household_id"].to_pylist())
    assert scored == {a.parts[0].household_id for a in (*manifest.agents, *manifest.held_out)} - {household, tested}
    for command in ("personalise", "forecast"):
        code, said, _ = neurogrid(command, RUN, "--households", household, *warehouse)
        assert (code, household in said["error"]["found"]) == (2, True)
    assert neurogrid("personalise", RUN, *warehouse)[0] == 0
    made = {file.stem for file in (run / "personal").iterdir()}
    assert not made & {leaver.agent_id, f"household={household}", f"household={tested}"}
    code, said, _ = neurogrid("forecast", RUN, *warehouse)
    assert not {row["household_id"] for row in said["forecasts"]} & {household, tested}

    few = ("--set", "sampling.agents=3")
    code, drawn, words = neurogrid("sample", "-c", tmp_path / "small.yaml", *few, *warehouse)
    assert code == 0, words
    new = root / "manifests" / drawn["manifest_id"]
    assert household not in (new / "manifest.json").read_text()
    assert household not in pq.read_table(new / "profiles.parquet")["household_id"].to_pylist()

    named = [f"teacher.households=[{json.dumps(household)}]", f"sampling.manifest={drawn['manifest_id']}"]
    with pytest.raises(UsageError, match="opted out"):
        plan_teaching(load((tmp_path / "small.yaml").read_text(), [f"warehouse={root}", *named, "sampling.agents=3"]))
