"""Who opted out is on a list that survives two writers and a cut, and nobody on it is dealt with any more."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from neurogrid.data import optout
from neurogrid.data.tables import CurrentTable
from neurogrid.errors import InputError, UsageError
from neurogrid.storage import place

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def warehouse(tmp_path, monkeypatch):
    """A warehouse of three households; their list is read by a function of its own, tested elsewhere."""
    tables = {name: CurrentTable(name, "W1", 1) for name in ("a", "b", "c")}
    monkeypatch.setattr(optout, "current_tables", lambda root: tables)
    return place(str(tmp_path))


def test_whoever_is_added_is_listed_and_is_added_once(warehouse):
    assert optout.opted_out(warehouse) == frozenset()
    assert optout.opt_out(warehouse, ["b", "a", "b"], NOW) == ["a", "b"]
    assert optout.opt_out(warehouse, ["b", "c"], NOW) == ["c"]
    assert optout.opted_out(warehouse) == {"a", "b", "c"}


@pytest.mark.parametrize("name", ["../up", "", ".", "a/b", "a\nb", "x" * 300])
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(warehouse, name):
    with pytest.raises(UsageError, match="must have the name of one"):
        optout.opt_out(warehouse, ["a", name], NOW)
    assert optout.opted_out(warehouse) == frozenset()


def test_the_longest_name_that_a_household_can_have_can_opt_out(warehouse):
    from neurogrid.data.household import LONGEST_NAME

    assert optout.opt_out(warehouse, ["x" * LONGEST_NAME], NOW)
    assert optout.opted_out(warehouse) == {"x" * LONGEST_NAME}


def test_a_write_that_was_cut_short_counts(warehouse, tmp_path):
    (tmp_path / "optout" / "Household_ID=b").mkdir(parents=True)
    assert optout.opted_out(warehouse) == {"b"}


def test_tables_of_those_who_opted_out_are_not_used(warehouse):
    optout.opt_out(warehouse, ["b", "elsewhere"], NOW)
    assert list(optout.tables_to_use(warehouse)) == ["a", "c"]
    optout.refuse_opted_out(warehouse, ["a", "c"])
    with pytest.raises(UsageError, match=r"(?s)opted out.*found: b"):
        optout.refuse_opted_out(warehouse, ["a", "b"])
    optout.opt_out(warehouse, ["a", "c"], NOW)
    with pytest.raises(InputError, match="all of its 3 households opted out"):
        optout.tables_to_use(warehouse)


def agent(name, *households):
    return SimpleNamespace(agent_id=name, parts=tuple(SimpleNamespace(household_id=h) for h in households))


def test_an_agent_that_holds_anything_of_theirs_is_left_out_held_out_ones_too(warehouse):
    from neurogrid.data.manifest import Manifest

    agents, held = (agent("A1", "a"), agent("A2", "b", "c"), agent("A3", "c")), (agent("H1", "b"), agent("H2", "d"))
    manifest = replace(
        Manifest(1, 30, "iid", 1, 0.0, (), (), (), (), {}),
        agents=agents,
        held_out=held,
    )
    optout.opt_out(warehouse, ["b"], NOW)
    assert optout.holders(manifest, {"b"}) == {"A2", "H1"}
    left = optout.remaining(manifest, warehouse)
    assert ([a.agent_id for a in left.agents], [a.agent_id for a in left.held_out]) == (["A1", "A3"], ["H2"])
