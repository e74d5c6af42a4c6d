"""`neurogrid personalise`: households that came after a run get models of their own, once, wherever they are made."""

import json
from pathlib import Path

import pytest
from forecasting_run import RUN, train_run
from pyspark.sql import SparkSession
from test_run_manifest import Command, neurogrid, sampled  # noqa: F401 - fixtures

from neurogrid.config import load
from neurogrid.data.manifest import read_manifest
from neurogrid.data.tables import current_tables
from neurogrid.pipeline import personalising
from neurogrid.storage import place
from neurogrid.workloads.meters.newcomers import Made, personalise_all


@pytest.fixture
def warehouse(sampled: Path, tmp_path: Path) -> Path:  # noqa: F811
    train_run(sampled, tmp_path)
    return tmp_path / "w"


def files(warehouse: Path) -> dict[str, bytes]:
    return {file.stem: file.read_bytes() for file in (warehouse / "runs" / RUN / "personal").iterdir()}


def test_households_that_were_no_agents_get_models_and_forecasts_from_them(
    warehouse: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    agents, before = files(warehouse), (warehouse / "runs" / RUN / "end.json").read_bytes()
    households = set(current_tables(place(str(warehouse))))
    (manifest,) = (warehouse / "manifests").iterdir()
    own = {a.parts[0].household_id: a.agent_id for a in read_manifest(place(str(manifest / "manifest.json"))).agents}
    code, said, words = neurogrid("personalise", RUN, "--warehouse", warehouse)
    assert code == 0, words
    assert said["made"] == len(households) - len(own) > 0
    assert said["kept"] == len(own)
    assert said["refused"] == {}
    assert sum(said["shares"].values()) == pytest.approx(1)
    after = files(warehouse)
    assert {name: after[name] for name in agents} == agents
    assert set(after) - set(agents) == {f"household={name}" for name in households - set(own)}
    assert (warehouse / "runs" / RUN / "end.json").read_bytes() == before
    code, said, _ = neurogrid("personalise", RUN, "--warehouse", warehouse)
    assert (said["made"], said["kept"]) == (0, len(households))
    assert files(warehouse) == after
    assert neurogrid("audit", RUN, "--warehouse", warehouse)[0] == 0
    one = sorted(households - set(own))[0]
    _, said, _ = neurogrid("forecast", RUN, "--households", one, "--warehouse", warehouse)
    shares = shares_of(after[f"household={one}"])
    assert {row["model"] for row in said["forecasts"]} == {"federated" if shares == {"federated": 1.0} else "personal"}


def shares_of(content: bytes) -> dict[str, float]:
    size = int.from_bytes(content[:8], "little")
    said = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["neurogrid"])
    return dict(said["shares"])


def test_spark_and_this_process_make_the_same_files(
    warehouse: Path,
    spark: SparkSession,
) -> None:
    text = (warehouse / "runs" / RUN / "config.yaml").read_text()
    plan = personalising.plan_personal(load(text, [f"warehouse={warehouse}"]), RUN, ())
    found = []
    for session in (spark, None):
        for file in (warehouse / "runs" / RUN / "personal").glob("household=*"):
            file.unlink()
        told: list[int] = []
        made = personalise_all(
            session, plan.warehouse, plan.tables, plan.settings, lambda done, _, t=told: t.append(done)
        )
        found.append((made, files(warehouse)))
        assert told[-1] == len(plan.tables)
    assert found[0] == found[1]
    assert {each.state for each in found[0][0]} == {"made", "kept"}


def test_what_cannot_be_made_is_named_and_costs_no_other_household_anything(
    warehouse: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    tables = current_tables(place(str(warehouse)))
    name = sorted(tables)[0]
    (warehouse / tables[name].path).write_bytes(b"damaged")
    code, said, words = neurogrid("personalise", RUN, "--warehouse", warehouse)
    assert code == 0
    assert list(said["refused"]) == [name]
    assert "its table cannot be read" in said["refused"][name]
    assert f"no personal model of {name}" in words
    code, said, _ = neurogrid("personalise", RUN, "--households", name, "--warehouse", warehouse)
    assert code == 1
    assert "no personal model could be made of 1 household" in said["error"]["what"]


def test_a_damaged_file_is_refused_and_named(
    warehouse: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    file = next(iter(sorted((warehouse / "runs" / RUN / "personal").iterdir())))
    file.write_bytes(file.read_bytes()[:60])
    _, said, _ = neurogrid("personalise", RUN, "--warehouse", warehouse)
    (reason,) = said["refused"].values()
    assert file.name in reason
    assert "remove the file" in reason
    file.unlink()
    _, said, _ = neurogrid("personalise", RUN, "--warehouse", warehouse)
    assert said["refused"] == {}


def test_it_is_refused_for_a_run_that_makes_none_or_a_household_that_is_not_there(
    sampled: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    train_run(sampled, tmp_path, "personal.steps=0", run_id="plain")
    assert not (tmp_path / "w" / "runs" / "plain" / "personal").exists()
    code, said, _ = neurogrid("personalise", "plain", "--warehouse", tmp_path / "w")
    assert code == 2
    assert "makes no personal models" in said["error"]["what"]
    train_run(sampled, tmp_path)
    code, said, _ = neurogrid("personalise", RUN, "--households", "nobody", "--warehouse", tmp_path / "w")
    assert code == 2
    assert "nobody" in said["error"]["found"]


def test_what_cannot_be_of_a_household_is_told(warehouse: Path) -> None:
    table = next(iter(current_tables(place(str(warehouse))).values()))
    good = Made(table.household_id, "made", "", {"personal": 1.0}, 3)
    assert good.is_of(table)
    for other in (
        Made("other", "made", "", {}, 3),
        Made(table.household_id, "none", "", {}, 3),
        Made(table.household_id, "made", "why", {}, 3),
        Made(table.household_id, "made", "", {"other": 1.0}, 3),
        Made(table.household_id, "made", "", {"personal": 2.0}, 3),
        Made(table.household_id, "made", "", {}, -1),
    ):
        assert not other.is_of(table)
