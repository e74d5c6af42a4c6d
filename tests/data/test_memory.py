"""A household's ten years of one-minute readings are cleaned in bounded memory."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meter_files import meter_csv, series, write_heapo

from neurogrid.data import sources
from neurogrid.data.faults import FaultLog
from neurogrid.data.sources import open_source
from neurogrid.data.steps import in_time
from neurogrid.storage import place

DAYS = 3_650
LIMIT_MB, LIMIT_WITH_GAPS_MB = 300, 420
"""Above what the imports take. Of 5.3 million rows a column of 64 bits is 42 MB."""

MEASURE = """
import json, sys
from dataclasses import replace
from pathlib import Path
from meter_files import SETTINGS
from neurogrid.data.clean import Stations, clean_file
from neurogrid.data.sources import open_source
from neurogrid.storage import place

def peak_mb():
    # Not getrusage: what it tells begins with the memory of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

raw, warehouse, zone, unit = sys.argv[1:]
source = open_source("heapo", place(raw), (), None)
source = replace(source, declaration=replace(source.declaration, zone=zone, unit=unit))
file = source.listing(5).files[0]
before = peak_mb()
outcome = clean_file(source, file, Stations(source, SETTINGS), place(warehouse), 15, SETTINGS)
print(json.dumps({"mb": peak_mb() - before, "rows": outcome.file_rows, "observed": outcome.meta.observed,
                  "faults": dict(outcome.faults)}))
"""


def long_file(raw: Path, *, gaps: bool, zone: str) -> int:
    """Readings of each minute; returns its rows. With gaps, each day lacks two hours and has some empty cells.

    In a zone, labels are of its clock without an offset, so that a day may have 23 or 25 hours.
    """
    for folder in ("meta_data", "smart_meter_data/15min"):
        (raw / folder).mkdir(parents=True)
    listed = "Household_ID;Group;Weather_ID;SmartMeterData_Available_15min\n1;control;;True\n"
    (raw / "meta_data/households.csv").write_text(listed)
    minutes = [minute for minute in range(1440) if not (gaps and 180 <= minute < 300)]
    value = ["" if gaps and minute % 50 == 7 else f"0.0{minute * 37 % 59 + 1:02}" for minute in minutes]
    if gaps:
        value[180] = "2.5"  # the energy of the gap before it
    offset = "" if zone else "+00:00"
    lines = [
        f"1;control;unknown;DAY {minute // 60:02}:{minute % 60:02}:00{offset};{kwh};;\n"
        for minute, kwh in zip(minutes, value, strict=True)
    ]
    usual, without, with_two = (
        "".join(each) for each in (lines, lines[:120] + lines[180:], lines[:180] + lines[120:180] + lines[180:])
    )
    rows = 0
    with (raw / "smart_meter_data/15min/1.csv").open("w") as file:
        file.write("Household_ID;Group;AffectsTimePoint;Timestamp;")
        file.write("kWh_received_Total;kWh_received_HeatPump;kWh_received_Other\n")
        for number in range(DAYS):
            day = date(2014, 1, 1) + timedelta(number)
            hours = _hours(day, zone) if zone else 24
            file.write({23: without, 24: usual, 25: with_two}[hours].replace("DAY", str(day)))
            rows += len(minutes) + (hours - 24) * 60
    return rows


def _hours(day: date, zone: str) -> int:
    midnights = (datetime.combine(at, time(), ZoneInfo(zone)).astimezone(UTC) for at in (day, day + timedelta(1)))
    begin, end = midnights
    return (end - begin) // timedelta(hours=1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from Linux's /proc")
@pytest.mark.parametrize(
    ("gaps", "zone", "unit", "limit_mb"),
    [(False, "", "kWh", LIMIT_MB), (True, "", "kWh", LIMIT_WITH_GAPS_MB), (False, "Europe/Zurich", "kW", LIMIT_MB)],
)
def test_ten_years_of_minutes_take_no_more_than_some_columns(
    tmp_path: Path, gaps: bool, zone: str, unit: str, limit_mb: int
) -> None:
    rows = long_file(tmp_path / "raw", gaps=gaps, zone=zone)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "raw"), str(tmp_path / "warehouse"), zone, unit]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(command, capture_output=True, check=True, text=True, env={**os.environ, "PYTHONPATH": path})
    shutil.rmtree(tmp_path / "raw")  # 270 MB, which pytest would keep
    found = json.loads(run.stdout)
    assert found["rows"] == rows
    assert found["observed"] > 0.7 * DAYS * 96
    kinds = {"other_step", "catch_up", "null_value"} if gaps else {"other_step"}
    assert {kind for kind, count in found["faults"].items() if count} == kinds
    assert found["faults"].get("catch_up", 0) == (DAYS if gaps else 0)
    assert found["mb"] <= limit_mb, found


@pytest.mark.parametrize("block_bytes", [700, 4_000, 30_000])
def test_a_file_read_in_blocks_gives_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    values = ["" if number % 97 == 5 else "x" if number == 800 else number / 1000 for number in range(1_000)]
    root = write_heapo(tmp_path, {"1": meter_csv("1", series(values))})
    source = open_source("heapo", place(str(root)), (), None)
    file = source.listing(5).files[0]
    whole_log, log = FaultLog(5), FaultLog(5)
    whole = source.read(file, whole_log)
    monkeypatch.setattr(sources, "BLOCK_BYTES", block_bytes)
    found = source.read(file, log)
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name, strict=True)
    assert log == whole_log


@given(st.lists(st.integers(0, 6), max_size=8), st.sampled_from([0, 1, 30]), st.booleans())
def test_rows_in_order_of_time_are_those_of_a_stable_sort(labels: list[int], ordered: int, newest: bool) -> None:
    own = np.array([*labels, *range(7, 7 + ordered)], np.int64)
    own = own[::-1] if newest else own
    falls, changes = (np.diff(own) < 0).sum(), np.count_nonzero(np.diff(own))
    # In a file that begins with its newest row, of one label the later row is the earlier reading.
    backwards = falls > 0.75 * changes
    expected = sorted(range(len(own)), key=lambda row: (own[row], -row if backwards else row))
    assert np.arange(len(own))[in_time(own)].tolist() == expected
