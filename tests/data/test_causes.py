"""One file through a task, without Spark: an unusable one names what took its rows, a doubtful one what is doubtful."""

from datetime import UTC, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from meter_files import FIRST, label, meter_csv, settings, weather_csv, write_heapo

from neurogrid.data.clean import Outcome, Stations, clean_file
from neurogrid.data.faults import Fault
from neurogrid.data.sources import open_source
from neurogrid.storage import place


def cleaned(
    folder: Path, rows: list[tuple[str, str]], stations: dict[str, str] | None = None, cadence_minutes: int = 15
) -> Outcome:
    root = place(str(write_heapo(folder / "source", {"7": meter_csv("7", rows)}, stations)))
    source, own = open_source("heapo", root, (), None), settings(cadence_minutes=cadence_minutes)
    file = source.listing(5).files[0]
    return clean_file(source, file, Stations(source, own), place(str(folder / "warehouse")), cadence_minutes, own)


def quarters(days: int) -> list[tuple[str, str]]:
    kwh = np.random.default_rng(1).gamma(2, 0.1, 96 * days).round(3)
    return [(label(FIRST + timedelta(minutes=15 * n)), str(value)) for n, value in enumerate(kwh)]


def test_a_training_period_without_a_reading_names_what_took_its_rows(tmp_path: Path) -> None:
    rows = [(at, "-1" if n % 4 == 1 and n < 800 else kwh) for n, (at, kwh) in enumerate(quarters(10))]
    outcome = cleaned(tmp_path, rows, cadence_minutes=60)
    assert outcome.meta is None
    assert outcome.notes[-1].kind == Fault.NO_TRAINING_READINGS
    assert outcome.notes[-1].text == (
        "none in the first 172 of 240 slots; rows were lost to negative 200, e.g. line 3: -1 kWh"
    )


def test_a_file_of_negative_values_names_them(tmp_path: Path) -> None:
    outcome = cleaned(tmp_path, [(at, "-999") for at, _ in quarters(3)])
    assert outcome.notes[-1].kind == Fault.MOSTLY_REFUSED
    assert "288 of 288 rows cannot be used: negative 288, e.g. line 2: -999 kWh" in outcome.notes[-1].text


def test_a_weather_file_without_a_usable_row_names_what_took_them(tmp_path: Path) -> None:
    weather = weather_csv("other", [(label(FIRST + timedelta(hours=n)), 1.0, 2.0, 3.0) for n in range(9)])
    outcome = cleaned(tmp_path, quarters(3), {"8jB": weather})
    assert outcome.meta is not None
    assert outcome.faults == {Fault.NO_WEATHER_STATION: 1}
    assert "wrong_station 9, e.g. line 2: Weather_ID = other" in outcome.notes[0].text


def test_local_time_with_the_offset_of_utc_is_used_and_said_in_words(tmp_path: Path) -> None:
    zone = ZoneInfo("Europe/Zurich")
    rows = [(FIRST + timedelta(minutes=15 * n), kwh) for n, (_, kwh) in enumerate(quarters(60))]
    outcome = cleaned(tmp_path, [(label(at.astimezone(zone).replace(tzinfo=UTC)), kwh) for at, kwh in rows])
    assert outcome.meta is not None
    assert outcome.faults == {Fault.LOCAL_AS_UTC: 1}
    assert "2023-03-26 02:00 to 03:00 is missing" in outcome.notes[0].text
    assert cleaned(tmp_path / "utc", quarters(60)).faults == {}
