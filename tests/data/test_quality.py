"""The data-quality report says all that an engineer asks for, the same each time."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

from neurogrid.data.clean import Outcome
from neurogrid.data.counts import Counts
from neurogrid.data.faults import MEANINGS, Fault, FaultLog, FaultNote
from neurogrid.data.folder import Listing
from neurogrid.data.household import HouseholdMeta, Scale
from neurogrid.data.quality import QualityReport, faults_table, households_table, quality_report
from neurogrid.data.summary import Summary

MOMENT = datetime(2023, 3, 1, tzinfo=UTC)
SUMMARY = Summary(2778, (100,), (90,), (100,), (0.5,) * 24)
COUNTS = Counts(102, (90, 5, 4, 1), (100, 0, 0, 0), 50.0, 2.0, 3.0, 51.0, 17, 90, 45)

SHA256, TABLE = "0" * 64, f"{0:012}.parquet"


def outcome(household: str, *, observed: int = 90, counts: Counts = COUNTS) -> Outcome:
    meta = HouseholdMeta(
        household_id=household,
        weather_id="8jB",
        cadence_minutes=15,
        first=MOMENT,
        last=MOMENT,
        rows=100,
        observed=observed,
        train_end=MOMENT,
        validation_end=MOMENT,
        scales={"kWh_received_Total": Scale(0.5, 0.25)},
        surge_threshold_kwh=1.5,
    )
    note = FaultNote(Fault.NEGATIVE, 7, "-1 kWh")
    return Outcome(
        household,
        f"{household}.csv",
        SHA256,
        90,
        "0" * 12 + ".parquet",
        meta,
        counts,
        SUMMARY,
        Counter({Fault.NEGATIVE: 2}),
        (note,),
    )


BROKEN = Outcome(
    "9",
    "9.csv",
    SHA256,
    7,
    "",
    None,
    None,
    None,
    Counter({Fault.MISSING_COLUMN: 1}),
    (FaultNote(Fault.MISSING_COLUMN, None, 'no column "kWh" in "a|b\nc"'),),
)


def report(*outcomes: Outcome) -> QualityReport:
    listed = FaultLog(5)
    listed.add(Fault.NO_FILE, "77.csv")
    station = FaultLog(5)
    station.add(Fault.BAD_NUMBER, "Humidity = 'x'", 3)
    listing = Listing(
        (), {"77": listed}, ("5.csv",), {"folder": ("old", "older")}, {"meta_data/households.csv": household_list()}
    )
    return quality_report("heapo", 15, outcomes, listing, {"8jB": station}, 200.0)


def household_list() -> FaultLog:
    log = FaultLog(2)
    for line in (3, 5, 9):
        log.add(Fault.BROKEN_ROW, "3 cells for 4: 2;a|b;8jB", line)
    return log


def test_totals_add_up_over_households_and_faults_over_all_files() -> None:
    got = report(outcome("1"), outcome("2", observed=60), BROKEN)
    assert (got.files, got.households, got.slots, got.file_rows) == (3, 2, 200, 187)
    assert got.load_tiers == {"observed": 180, "trailing_mean": 10, "slot_mean": 8, "zero": 2}
    assert got.faults == {"negative": 4, "missing_column": 1, "no_file": 1, "broken_row": 3}
    assert got.weather_faults == {"8jB": {"bad_number": 1}}
    assert [row.household_id for row in got.worst] == ["2", "1"]
    assert got.worst[0].missing_share == 0.4
    assert got.unusable == {"9.csv": 'missing_column: no column "kWh" in "a|b\nc"'}


def test_energy_that_was_lost_on_the_way_is_said_loudly() -> None:
    assert report(outcome("1")).energy_balanced
    lost = report(outcome("1", counts=replace(COUNTS, energy_written_kwh=50.9)))
    assert not lost.energy_balanced
    assert "**NO**" in lost.to_markdown()
    assert json.loads(lost.to_json())["energy_balanced"] is False


def test_the_page_names_every_fault_with_what_was_done_and_every_unusable_file_with_its_reason() -> None:
    page = report(outcome("1"), BROKEN).to_markdown()
    assert "| folder | 2 | old, older |" in page
    assert f"| negative | 2 | {MEANINGS[Fault.NEGATIVE]} |" in page
    assert '| 9.csv | missing_column: no column "kWh" in "a/b c" |' in page
    assert "| 8jB | bad_number | 1 |" in page
    assert "| 1 | 8jB | 100 | 10.00% | 1.5 h | 16.7% | 2 | 51.0 |" in page


def test_faults_of_the_household_list_are_counted_and_listed_with_their_file_and_line() -> None:
    got = report(outcome("1"))
    listed = [{"kind": "broken_row", "line": line, "text": "3 cells for 4: 2;a|b;8jB"} for line in (3, 5)]
    assert json.loads(got.to_json())["list_faults"] == {
        "meta_data/households.csv": {"counts": {"broken_row": 3}, "listed": listed}
    }
    page = got.to_markdown()
    assert "| meta_data/households.csv | 5 | broken_row | 3 cells for 4: 2;a/b;8jB |" in page
    assert "and 1 more of meta_data/households.csv" in page


def test_the_report_does_not_depend_on_how_long_the_run_took() -> None:
    fast, slow = (replace(report(outcome("1")), seconds=s) for s in (1.0, 2.0))
    assert fast.to_json() == slow.to_json()
    assert fast.to_markdown() == slow.to_markdown()


def test_every_kind_of_fault_has_a_meaning_and_a_column() -> None:
    assert set(MEANINGS) == set(Fault)
    names = set(households_table([outcome("1")]).column_names)
    assert {f"fault_{kind}" for kind in Fault} <= names
    assert {"household_id", "first", "train_end", "kWh_received_Total_mean", "load_zero_slots", "file"} <= names


def test_the_list_of_faults_names_household_file_and_line() -> None:
    listing = Listing((), {}, (), {}, {"meta_data/households.csv": household_list()})
    rows = faults_table([outcome("1"), BROKEN], listing, {}).to_pylist()
    assert rows[0] == {"household_id": "1", "file": "1.csv", "kind": "negative", "line": 7, "text": "-1 kWh"}
    assert [row["line"] for row in rows] == [7, None, 3, 5]
    assert {row["file"] for row in rows[2:]} == {"meta_data/households.csv"}


def test_a_household_in_another_unit_is_named_as_doubtful() -> None:
    wh = replace(COUNTS, energy_read_kwh=48_002.0, energy_written_kwh=51_000.0)
    got = report(*(outcome(str(n)) for n in range(5)), outcome("9", counts=wh))
    assert list(got.doubtful) == ["9"]
    assert "| 9 | uses 1,000 times what most others use: is its unit another one? |" in got.to_markdown()


def test_what_is_doubtful_of_all_households_together_is_said() -> None:
    kw_for_kwh = replace(COUNTS, energy_read_kwh=COUNTS.energy_read_kwh * 4)
    got = report(*(outcome(str(n), counts=kw_for_kwh) for n in range(5)))
    assert got.doubtful == {}
    (text,) = got.source_doubts
    assert "is the unit another one" in text
    assert json.loads(got.to_json())["source_doubts"] == [text]
    assert f"## All households are doubtful\n\n{text}\n" in got.to_markdown()
    assert report(*(outcome(str(n)) for n in range(5))).source_doubts == ()


def test_a_report_of_nothing_can_be_read() -> None:
    page = quality_report("heapo", 15, [], Listing((), {}, (), {}, {}), {}, 200.0).to_markdown()
    assert "None." in page
