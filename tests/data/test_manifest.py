"""A manifest is read only where its content is one, fits its id and does not contradict itself."""

import json
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from neurogrid.data.household import FIRST_TABLE, household_path
from neurogrid.data.manifest import Agent, Cluster, Manifest, Part, keep, read_manifest
from neurogrid.errors import InputError
from neurogrid.storage import place

FIRST = datetime(2023, 1, 1, tzinfo=UTC)
Content = dict[str, Any]


def agent(agent_id: str, household: str, blocks: tuple[int, ...] | None = None) -> Agent:
    times = [FIRST + timedelta(days=days) for days in (0, 30, 35, 40)]
    return Agent(agent_id, (Part(household, "W1", blocks),), 0, 0, 1920, *times)


def federation() -> Manifest:
    return Manifest(
        seed=1,
        cadence_minutes=30,
        partition="natural",
        districts=1,
        silhouette=0.25,
        clusters=(Cluster(0, 3, {"mean_kwh": 0.5}, "like the average household"),),
        agents=(agent("A0001", "101"), agent("A0002", "102")),
        held_out=(agent("H0001", "103"),),
        unused=("104: 3 measured training slots, 96 needed",),
        fingerprints={household_path("W1", name, FIRST_TABLE): "0" * 64 for name in ("101", "102", "103")},
    )


def written(folder: Path, content: Content) -> Path:
    file = folder / "mine.json"
    file.write_text(json.dumps(content))
    return file


def test_a_manifest_is_read_as_it_was_written_and_travels_to_tasks() -> None:
    manifest = federation()
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest
    assert again.to_json() == manifest.to_json()
    assert pickle.loads(pickle.dumps(again.agents)) == manifest.agents


def test_weeks_of_one_household_may_be_dealt_to_several_agents() -> None:
    content = json.loads(federation().to_json())
    content["agents"][0]["parts"][0]["blocks"] = [1, 2]
    content["agents"][1]["parts"] = [{"household_id": "101", "weather_id": "W1", "blocks": [3]}]
    assert Manifest.from_json(json.dumps(content)).agents[1].parts == (Part("101", "W1", (3,)),)


def _first(content: Content) -> Content:
    return content["agents"][0]


WRONG: list[tuple[str, Callable[[Content], object], list[str]]] = [
    ("no fingerprints", lambda c: c["fingerprints"].clear(), ["fingerprints has none of meters/", "=101/", "A0001"]),
    ("an agent twice", lambda c: c["agents"].append(_first(c)), ["agent A0001 is there 2 times"]),
    (
        "a household twice",
        lambda c: c["agents"].append({**_first(c), "agent_id": "A0003"}),
        ["household 101 is dealt to agents more than once"],
    ),
    (
        "agent and held out",
        lambda c: c["held_out"].append({**_first(c), "agent_id": "H0002"}),
        ["household 101 trains as agent A0001 and is held out as H0002"],
    ),
    (
        "an unknown household",
        lambda c: _first(c)["parts"][0].update(household_id="999"),
        ["fingerprints has none of", "Household_ID=999", "A0001"],
    ),
    ("no parts", lambda c: _first(c).update(parts=[]), ["agent A0001 has no parts"]),
    ("nobody", lambda c: c.update(agents=[]), ["agents is empty"]),
    ("no slots", lambda c: c.update(cadence_minutes=0), ["cadence_minutes is 0"]),
    (
        "an end after the data",
        lambda c: _first(c).update(train_end="2029-01-01T00:00:00+00:00"),
        ["validation_end of agent A0001 is before its train_end, 2029-01-01"],
    ),
    (
        "no offset",
        lambda c: _first(c).update(first="2023-01-01T00:00:00"),
        ["agents[0].first has no offset from UTC"],
    ),
    ("no time", lambda c: _first(c).update(last="soon"), ["agents[0].last is wrong", "datetime"]),
    ("a number in words", lambda c: _first(c).update(district="0"), ["agents[0].district is wrong", "integer"]),
    ("a key too few", lambda c: c.pop("clusters"), ["clusters is missing"]),
    ("a key too many", lambda c: _first(c).update(weight=2), ["agents[0].weight is not a key of a manifest"]),
    (
        "another kind of file",
        lambda c: [c.pop(key) for key in [*c]] and c.update(version=1, seed=1, run_id="r1"),
        ["cadence_minutes is missing", "more"],
    ),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_is_no_manifest_or_contradicts_itself_is_refused_by_file_and_key(
    change: Callable[[Content], object], words: list[str], tmp_path: Path
) -> None:
    content = json.loads(federation().to_json())
    change(content)
    file = written(tmp_path, content)
    with pytest.raises(InputError, match=re.escape(f"{file} is not a usable manifest")) as refused:
        read_manifest(place(str(file)))
    for word in words:
        assert word in refused.value.found


def test_a_manifest_that_was_changed_in_a_warehouse_is_refused_and_brought_back_by_keeping_it(tmp_path: Path) -> None:
    manifest = federation()
    keep(manifest, place(str(tmp_path)))
    file = tmp_path / "manifests" / manifest.sha256[:12] / "manifest.json"
    assert file.read_text() == manifest.to_json()
    assert read_manifest(place(str(file))) == manifest

    content = json.loads(manifest.to_json())
    content["held_out"].append({**content["agents"].pop(), "agent_id": "H0002"})
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"{file} was changed: it is not manifest {manifest.sha256[:12]}"):
        read_manifest(place(str(file)))

    keep(manifest, place(str(tmp_path)))
    assert read_manifest(place(str(file))) == manifest
    assert [path.name for path in file.parent.iterdir()] == ["manifest.json"]


def test_a_warehouse_that_takes_no_manifest_says_so(tmp_path: Path) -> None:
    (tmp_path / "manifests").write_text("in the way")
    with pytest.raises(InputError, match="cannot be put into the warehouse"):
        keep(federation(), place(str(tmp_path)))


def test_a_manifest_of_ones_own_has_the_id_of_its_content(tmp_path: Path) -> None:
    content = json.loads(federation().to_json())
    content["agents"].pop()
    own = read_manifest(place(str(written(tmp_path, content))))
    assert own.sha256 != federation().sha256
    keep(own, place(str(tmp_path / "w")))
    assert read_manifest(place(str(tmp_path / "w" / "manifests" / own.sha256[:12] / "manifest.json"))) == own
