"""What households have spent is kept over runs: once for each run, never too little, refused before it is too much."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from neurogrid.errors import RunError, UsageError
from neurogrid.fl.privacy import PrivacyPlan
from neurogrid.privacy.accounting import composed
from neurogrid.privacy.households import Spent, refuse_spent, reserve, settle
from neurogrid.privacy.spending import Spending, found
from neurogrid.storage import place

PLAN = PrivacyPlan("central", 1.0, 6.0, "poisson", 20, 5, 3.0, 1e-5, 10)


@pytest.fixture
def warehouse(tmp_path):
    return place(str(tmp_path))


def file_of(warehouse):
    return json.loads((warehouse / "privacy" / "households.json").read_text())


def test_a_run_that_goes_on_counts_once_and_two_runs_of_one_name_count_twice(warehouse):
    name = reserve(warehouse, "a", PLAN, ["h1", "h2"], None)
    assert reserve(warehouse, "a", PLAN, ["h1", "h2"], None, name) == name
    assert len(file_of(warehouse)["entries"]) == 1
    reserve(warehouse, "a", PLAN, ["h1"], None)
    assert len(file_of(warehouse)["entries"]) == 2


def test_a_run_that_would_cross_the_limit_of_one_household_is_refused_and_nothing_is_written(warehouse):
    alone, twice = composed([(PLAN, 10)], 1e-5), composed([(PLAN, 10), (PLAN, 10)], 1e-5)
    limit = (alone + twice) / 2
    reserve(warehouse, "a", PLAN, ["h1"], limit)
    before = file_of(warehouse)
    with pytest.raises(UsageError, match="1 household above") as raised:
        reserve(warehouse, "b", PLAN, ["h1", "h2"], limit)
    assert f"{twice:.3g}" in raised.value.found
    with pytest.raises(UsageError, match="1 household above"):
        refuse_spent(warehouse, PLAN, ["h1", "h2"], limit)
    assert file_of(warehouse) == before
    reserve(warehouse, "b", PLAN, ["h2", "h3"], limit)


def test_what_a_run_reserved_and_did_not_use_is_free_again(warehouse):
    limit = composed([(PLAN, 15)], 1e-5)
    name = reserve(warehouse, "a", PLAN, ["h1"], limit)
    with pytest.raises(UsageError):
        reserve(warehouse, "b", PLAN, ["h1"], limit)
    settle(warehouse, name, 4)
    settle(warehouse, name, 9)  # a later word never takes more
    reserve(warehouse, "b", PLAN, ["h1"], limit)
    spent = Spent.read(warehouse)
    assert sorted(entry.releases for entry in spent.entries.values()) == [4, 10]


def test_no_household_is_named_and_another_warehouses_hashes_are_others(warehouse, tmp_path):
    reserve(warehouse, "a", PLAN, ["house-17"], None)
    other = place(str(tmp_path / "other"))
    reserve(other, "a", PLAN, ["house-17"], None)
    assert "house-17" not in json.dumps(file_of(warehouse))
    hashes = [next(iter(file_of(each)["entries"].values()))["households"] for each in (warehouse, other)]
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"version": 2, "key_check": "", "entries": {}}',
        '{"version": 1, "key_check": "", "entries": {"a": 1}}',
    ],
)
def test_a_ledger_that_cannot_be_read_is_not_taken_for_an_empty_one(warehouse, content):
    (warehouse / "privacy" / "households.json").write(content)
    with pytest.raises(RunError, match="cannot be read"):
        reserve(warehouse, "a", PLAN, ["h1"], None)


@pytest.mark.parametrize("key", [None, "", "no hex", "00" * 32])
def test_with_another_key_nobody_seems_to_have_spent_nothing(warehouse, key):
    reserve(warehouse, "a", PLAN, ["h1"], None)
    file, before = warehouse / "privacy" / "key", file_of(warehouse)
    file.remove() if key is None else file.write(key)
    for limit in (None, 100.0):
        with pytest.raises(RunError, match="cannot be told apart"):
            reserve(warehouse, "b", PLAN, ["h1"], limit)
        with pytest.raises(RunError, match="cannot be told apart"):
            refuse_spent(warehouse, PLAN, ["h1"], limit)
    assert file_of(warehouse) == before


def test_runs_that_begin_at_once_wait_for_one_another_and_are_all_counted(warehouse):
    with ThreadPoolExecutor(3) as pool:
        names = set(pool.map(lambda number: reserve(warehouse, f"r{number}", PLAN, ["h1"], None), range(3)))
    assert len(names) == 3
    assert set(file_of(warehouse)["entries"]) == names


def test_a_runs_own_count_is_durable_before_the_round_and_is_never_less_than_its_records(warehouse):
    run = warehouse / "runs/a"
    counted = Spending(run, replace(PLAN, releases=2), "a:1")
    assert counted.release()["epsilon"] == pytest.approx(composed([(PLAN, 1)], 1e-5), abs=1e-6)
    assert found(run, 0) == ("a:1", 1)
    assert found(run, 5) == ("a:1", 5)
    assert not counted.exhausted()
    counted.release()
    assert counted.exhausted()


def test_a_count_that_is_gone_or_was_changed_stops_a_run_that_has_rounds(warehouse):
    run = warehouse / "runs/a"
    assert found(run, 0) == ("", 0)
    with pytest.raises(RunError, match="how much"):
        found(run, 1)
    for content in ("[]", '{"entry": "a", "releases": -1}', '{"entry": "a", "releases": true}', "x"):
        (run / "privacy.json").write(content)
        with pytest.raises(RunError, match="how much"):
            found(run, 1)
