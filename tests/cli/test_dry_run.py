"""`neurogrid etl --dry-run`: what each file is taken for and why, without Spark and without writing anything."""

import json
from pathlib import Path

import pytest
from in_process import neurogrid

HEAPO_LIST = "Household_ID;Weather_ID;SmartMeterData_Available_15min\n1;;True\n2;;True\n"


def heapo(root: Path) -> Path:
    meters = root / "smart_meter_data" / "15min"
    meters.mkdir(parents=True)
    (root / "meta_data").mkdir()
    (root / "meta_data" / "households.csv").write_text(HEAPO_LIST)
    rows = [f"1;2025-02-01 {n // 4:02}:{n % 4 * 15:02}:00+00:00;0.{n * 37 % 90 + 10}" for n in range(96)]
    rows[7] = rows[7].replace("0.89", "0,89")
    (meters / "1.csv").write_text("Household_ID;Timestamp;kWh_received_Total\n" + "\n".join(rows) + "\n")
    (meters / "notes.md").write_text("x")
    return root


def test_it_says_what_a_file_is_and_shows_its_first_rows_and_faults_and_writes_nothing(tmp_path: Path) -> None:
    arguments = ("etl", "--dry-run", "--data-dir", heapo(tmp_path / "raw"), "--warehouse", tmp_path / "w", "--json")
    done = neurogrid(*arguments)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "w").exists()
    result = json.loads(done.stdout)
    assert (result["layout"], result["files"], result["cadence_minutes"]) == ("heapo", 1, 15)
    assert result["passed_over"] == {"not .csv or .txt, plain or packed": ["notes.md"]}
    assert result["faults"] == {"no_file": 1}
    (file,) = result["looked_at"]
    assert file["why"] == "columns Household_ID, Timestamp, kWh_received_Total"
    assert file["rows"][1] == {"household": "1", "start_utc": "2025-02-01 00:15Z", "minutes": 15, "kwh": 0.47}
    assert file["faults"] == {"bad_number": 1}
    wanted = "wanted is 0.25, with a decimal point and no other marks"
    assert file["examples"] == [f"bad_number in line 9: kWh_received_Total = '0,89'; {wanted}"]
    for words in ("heapo: HEAPO", "each file is a household", "1  2025-02-01 00:15Z  15 min  0.47 kWh", "notes.md"):
        assert words in done.stderr


def test_a_folder_of_nothing_known_is_refused_with_the_nearest_layout(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("LCLid,DateTime,energy\na,2025-01-01 00:00,1\n")
    done = neurogrid("etl", "--dry-run", "--data-dir", tmp_path, "--warehouse", tmp_path / "w")
    assert done.returncode == 2
    assert "x.csv has LCLid and DateTime of lcl, lacks KWH/hh (per half hour)" in done.stderr
    assert "neurogrid source new" in done.stderr


@pytest.mark.parametrize(
    ("generic", "says"),
    [
        ("{}", "source.generic.time must name the column of the time"),
        ("{time: [a]}", "source.generic.energy must name the columns of the energy"),
        ("{time: [a], energy: [b], unit: joule}", "found 'joule'"),
        ("{time: [a], energy: [b], time_format: '%d.%m.%Y'}", "it needs %H or %I"),
        ("{time: [a], energy: [b], time_format: '%d.%m.%Y %H:%Q'}", "%Q is not known"),
        ("{time: [a], energy: [b], time_format: '%d.%m.%Y %H:%M'}", "time_zone must say what its times mean"),
        ("{time: [a], energy: [b], time_zone: Europe/Zurish}", "not UTC, an offset like +10:00, or a time zone"),
        ("{time: [a], energy: [b], time_zone: '+15:00'}", "not UTC, an offset like +10:00, or a time zone"),
        ("{time: [a], energy: [b], separator: ','  , decimal: ','}", 'separator and decimal are both ","'),
        ("{time: [a], energy: [b], separator: ';;'}", "a separator is one character"),
        ("{time: [a], energy: [b], encoding: utf-9}", "not an encoding"),
        ("{time: [a], energy: [b], shape: long}", "household must name a column where shape is long"),
        ("{time: [a], energy: [b], shape: wide}", "a wide file has a column for each household"),
        ("{time: [a], energy: [b, B]}", "energy names a column twice"),
        ("{time: [a], energy: [b], quality: q}", "quality and quality_good need each other"),
        ("{time: [a], energy: [b], holds: register, unit: kW}", "a register counts energy, and kW is power"),
        ("{time: [a], energi: [b]}", "there is no key source.generic.energi (did you mean source.generic.energy?)"),
        ("{time: [a], energy: [b], thousands: '.'}", "there is no key source.generic.thousands"),
        ("{time: [when], energy: [b]}", 'no column "when" in "a,b"'),
    ],
)
def test_a_wrong_declaration_is_refused_in_words(tmp_path: Path, generic: str, says: str) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "x.csv").write_text("a,b\n2025-01-01T00:00:00Z,1\n")
    config = tmp_path / "c.yaml"
    config.write_text(f"source: {{kind: generic, path: {tmp_path}/raw, generic: {generic}}}\n")
    done = neurogrid("etl", "--dry-run", "-c", config, "--warehouse", tmp_path / "w")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert says in done.stderr


def test_a_header_that_lacks_a_column_is_refused_before_spark_starts(tmp_path: Path) -> None:
    raw = heapo(tmp_path / "raw")
    file = raw / "smart_meter_data" / "15min" / "1.csv"
    file.write_text(file.read_text().replace("kWh_received_Total", "kWh"))
    done = neurogrid("etl", "--data-dir", raw, "--warehouse", tmp_path / "w")
    assert done.returncode == 2
    assert '1.csv: missing_column: no column "kWh_received_Total"' in done.stderr
    assert "starting Spark" not in done.stderr
