"""Small data sets for tests of the ETL, written by hand."""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from neurogrid.data.cleaning import EtlSettings
from neurogrid.data.energies import Readings, energies
from neurogrid.data.faults import FaultLog
from neurogrid.data.folder import MeterFile
from neurogrid.data.sources import Source

CONTROL = ("Household_ID", "AffectsTimePoint", "Group", "Timestamp")
TREATMENT = ("Household_ID", "Group", "AffectsTimePoint", "Timestamp")
VALUES = ("kWh_received_Total", "kWh_received_HeatPump", "kWh_received_Other")
FIRST = datetime(2023, 2, 25, tzinfo=UTC)
SETTINGS = EtlSettings(
    cadence_minutes=15,
    trailing_slots=5,
    weather_last_known_hours=3,
    train_share=0.72,
    validation_share=0.08,
    surge_percentile=95.0,
    max_power_kw=200.0,
    longest_gap_days=400.0,
    registers="refuse",
    net_meters="refuse",
    catch_up="spread",
    estimated="use",
    another_source="refuse",
    listed_per_kind=20,
    compression="snappy",
)


def settings(**changes: object) -> EtlSettings:
    return replace(SETTINGS, **changes)


def readings(source: Source, file: MeterFile, faults: FaultLog, **changes: object) -> Readings:
    """A file's energies, as a task finds them."""
    return energies(source.read(file, faults), settings(**changes).treatment, faults)


def label(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S+00:00")


def series(values: Sequence[object], first: datetime = FIRST, minutes: int = 15) -> list[tuple[str, str]]:
    """(label, value) rows, one a slot."""
    return [(label(first + timedelta(minutes=minutes * n)), str(value)) for n, value in enumerate(values)]


def meter_csv(household: str, rows: Sequence[tuple[str, str]], header: Sequence[str] = CONTROL) -> str:
    cells = {"Household_ID": household, "AffectsTimePoint": "unknown", "Group": "control"}
    lines = [";".join((*header, *VALUES))]
    lines += [";".join([*({**cells, "Timestamp": at}[name] for name in header), kwh, "", ""]) for at, kwh in rows]
    return "\n".join(lines) + "\n"


def weather_csv(station: str, rows: Sequence[tuple[str, float, float, float]]) -> str:
    names = "Weather_ID;Timestamp;Temperature_avg_hourly;Humidity_avg_hourly;Sunshine_duration_hourly"
    return "\n".join([names, *(f"{station};{at};{t};{h};{s}" for at, t, h, s in rows)]) + "\n"


def write_heapo(root: Path, meters: Mapping[str, str | bytes], stations: Mapping[str, str] | None = None) -> Path:
    """Files by household; households of even number get station 8jB where there are stations."""
    for part in ("meta_data", "smart_meter_data/15min", "weather_data/hourly"):
        (root / part).mkdir(parents=True, exist_ok=True)
    rows = ["Household_ID;Group;Weather_ID;SmartMeterData_Available_15min"]
    station = next(iter(stations or {"": ""}))
    rows += [f"{name.split('.')[0]};control;{station};True" for name in meters]
    (root / "meta_data" / "households.csv").write_text("\n".join(dict.fromkeys(rows)) + "\n")
    for name, content in meters.items():
        file = root / "smart_meter_data" / "15min" / (name if "." in name else f"{name}.csv")
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    for name, text in (stations or {}).items():
        (root / "weather_data" / "hourly" / f"{name}.csv").write_text(text)
    return root


def sgsc_csv(household: str, rows: Sequence[tuple[str, str, str]]) -> bytes:
    header = "customer_id,reading_datetime,calendar_key,event_key,general_supply_kwh,controlled_load_kwh"
    return gzip.compress("\n".join([header, *(f"{household},{at},1,0,{g},{c}" for at, g, c in rows), ""]).encode())
