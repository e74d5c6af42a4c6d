"""Makes meter data shaped like HEAPO: the same layout, headers, labels and kinds of fault, with loads of our own.

For the demo, for tests and for benchmarks. Everything drawn comes from (seed, name of the thing), so a household's file
does not depend on how many others are made.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from neurogrid.data.local_time import DAY_MINUTES, local_minutes
from neurogrid.randomness import generator

Floats = npt.NDArray[np.float64]

KINDS = ("heat pump by day", "heat pump by night", "flat without heat pump", "workplace at home")
"""Kinds of household, dealt out in turn; sampling should find them again."""
STATIONS = ("8jB", "Hg", "HbsbG", "wDD", "z6I", "ceOxS", "MqO", "sV3mR")
WITHOUT_SUNSHINE = ("HbsbG", "ceOxS", "sV3mR")
START = np.datetime64("2023-02-25T00:00", "m")
"""Clocks go forward on 26 March 2023, day 29 of the data."""
TIMEZONE = "Europe/Zurich"
SLOT_MINUTES = 15
SLOTS_PER_DAY = DAY_MINUTES // SLOT_MINUTES
_FIRST_ID = 1_204_511
_WEATHER_COLUMNS = (
    "Temperature_avg_hourly",
    "DewPoint_hourly",
    "Humidity_avg_hourly",
    "Precipitation_total_hourly",
    "Pressure_BarometricHeight_avg_hourly",
    "Pressure_SeaLevelStandardAtmosphere_avg_hourly",
    "Pressure_SeaLevel_avg_hourly",
    "Sunshine_duration_hourly",
    "WindSpeed_hourly",
)


@dataclass(frozen=True)
class SyntheticSettings:
    """Size of the data set. `stations` are at most 8; every third has no sunshine. `days` of 15-minute slots."""

    households: int
    stations: int
    days: int
    seed: int


@dataclass(frozen=True)
class _Climate:
    """One station's weather by hour, the hour that begins then."""

    temperature: Floats
    humidity: Floats
    sunshine: Floats


def make_heapo(folder: Path, settings: SyntheticSettings) -> None:
    """Writes a data set with all kinds of fault (from 4 households on): gaps, rows without a value, duplicates.

    The last household is entirely null, the last but one is no CSV at all, the one before has bad cells of every kind.

    Raises:
        ValueError: fewer than one or more than eight stations, or less than two days.
    """
    if settings.days < 2:
        raise ValueError(f"days = {settings.days}: at least 2 are needed")
    households = settings.households
    _write_all(folder, settings, settings.days * SLOTS_PER_DAY, decimals=3)
    if households >= 4:
        meters = folder / "smart_meter_data" / "15min"
        _break(meters / f"{_id(households - 3)}.csv", _id(households - 4))
        (meters / f"{_id(households - 2)}.csv").write_bytes(
            b"\x00\xff\xfe" + generator(settings.seed, "junk").bytes(2000)
        )
        _make_null(meters / f"{_id(households - 1)}.csv")


def make_benchmark(folder: Path, households: int, rows: int, seed: int) -> None:
    """Writes a data set of `rows` rows a household for measuring, without broken files.

    Numbers have ten decimals, so that a row is about as long as in the published files (86 bytes).
    """
    settings = SyntheticSettings(households=households, stations=len(STATIONS), days=0, seed=seed)
    _write_all(folder, settings, rows, decimals=10)


def _id(index: int) -> str:
    return str(_FIRST_ID + 17 * index)


def _write_all(folder: Path, settings: SyntheticSettings, slots: int, *, decimals: int) -> None:
    if not 1 <= settings.stations <= len(STATIONS):
        raise ValueError(f"stations = {settings.stations}: 1 to {len(STATIONS)} can be made")
    for part in ("meta_data", "smart_meter_data/15min", "weather_data/hourly"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    stations = STATIONS[: settings.stations]
    hours = slots // 4 + 2
    climates = {name: _climate(settings.seed, name, hours) for name in stations}
    for name, climate in climates.items():
        _write_weather(folder / "weather_data" / "hourly" / f"{name}.csv", name, climate, settings.seed)
    rows = [
        {
            "Household_ID": _id(index),
            "Group": _group(index),
            "Weather_ID": stations[index % len(stations)],
            "Installation_HasPVSystem": "False",
            "Protocols_Available": "False",
            "Protocols_HasMultipleVisits": "False",
            "Protocols_ReportIDs": "",
            "MetaData_Available": "True",
            "SmartMeterData_Available_15min": "True",
            "SmartMeterData_Available_Daily": "False",
            "SmartMeterData_Available_Monthly": "False",
        }
        for index in range(settings.households)
    ]
    _write_csv(folder / "meta_data" / "households.csv", pa.Table.from_pylist(rows))
    first = int(START.astype(np.int64)) // SLOT_MINUTES
    local = local_minutes(first, slots, SLOT_MINUTES, TIMEZONE)
    labels = _labels(START + np.arange(slots) * SLOT_MINUTES)
    for index in range(settings.households):
        climate = climates[stations[index % len(stations)]]
        load = _load(settings.seed, index, local, climate)
        table = _meter_table(index, labels, *load, decimals=decimals)
        keep, null = _gaps(settings.seed, index, slots)
        table = _with_nulls(table, null).filter(pa.array(keep))
        _write_csv(folder / "smart_meter_data" / "15min" / f"{_id(index)}.csv", table)


def _group(index: int) -> str:
    # By pairs, so that each station and each kind has households of both header orders.
    return "treatment" if index // 2 % 2 else "control"


def _labels(moments: npt.NDArray[np.datetime64]) -> pa.Array:
    text = np.char.add(np.char.replace(np.datetime_as_string(moments, unit="s"), "T", " "), "+00:00")
    return pa.array(text)


def _climate(seed: int, station: str, hours: int) -> _Climate:
    """Season, time of day, fronts of some days that all stations share, and a little of the station's own."""
    hour = np.arange(hours)
    season = -np.cos(2 * np.pi * (hour / 24 + 40) / 365.25)
    sun = np.clip(np.sin(2 * np.pi * (hour % 24 - 6) / 24), 0, None)
    fronts = _smooth(generator(seed, "fronts"), hours, 60)
    own = _smooth(generator(seed, "station", station), hours, 12)
    cloud = 1 / (1 + np.exp(1.5 * fronts))
    temperature = 10 + 9 * season + 5 * sun * (1 - 0.6 * cloud) + 3.5 * fronts + 0.8 * own
    humidity = np.clip(78 - 2.2 * (temperature - 10 - 9 * season) + 12 * (cloud - 0.5) + 3 * own, 15, 100)
    sunshine = np.round(60 * (sun > 0) * np.clip(1.1 - cloud + 0.1 * own, 0, 1))
    return _Climate(np.round(temperature, 1), np.round(humidity, 1), sunshine)


def _smooth(random: np.random.Generator, length: int, width: int) -> Floats:
    """Noise of variance 1 whose neighbours up to `width` apart are alike."""
    total = np.cumsum(random.standard_normal(length + width))
    return np.asarray((total[width:] - total[:-width]) / np.sqrt(width))


def _load(seed: int, index: int, local: npt.NDArray[np.int64], climate: _Climate) -> tuple[Floats, Floats]:
    """(heat pump, other) kWh of each slot: a daily and weekly pattern, heating by temperature, noise and surges."""
    slots = len(local)
    random = generator(seed, "household", index)
    hour = local % DAY_MINUTES / 60
    weekend = (local // DAY_MINUTES + 3) % 7 >= 5
    size = random.uniform(0.85, 1.2)
    shift = random.uniform(-0.5, 0.5)

    def bump(at: float, width: float) -> Floats:
        distance = np.abs(hour - at - shift)
        return np.asarray(np.exp(-0.5 * (np.minimum(distance, 24 - distance) / width) ** 2))

    # What the house feels lags behind the air by some hours: the mean of the last six.
    total = np.cumsum(np.concatenate([np.full(6, climate.temperature[0]), climate.temperature]))
    felt = np.repeat((total[6:] - total[:-6]) / 6, 4)[:slots]
    cold = np.clip(16 - felt, 0, None) / 16
    kind = index % len(KINDS)
    heat = np.zeros(slots)
    if kind == 0:
        heat = 0.55 * cold * (0.7 + 0.5 * bump(6.5, 1.5) + 0.3 * bump(17, 2))
        other = 0.05 + 0.07 * bump(7, 0.8) + 0.16 * bump(19, 1.6) + 0.05 * weekend * bump(12, 2)
    elif kind == 1:
        heat = 0.95 * cold * ((hour >= 22) | (hour < 6)) + 0.05 * cold
        other = 0.04 + 0.05 * bump(7, 0.8) + 0.10 * bump(20, 1.5)
    elif kind == 2:
        other = np.clip(-0.004 + 0.03 * bump(7.5, 0.7) + 0.09 * bump(20, 1.2) + 0.03 * weekend * bump(11, 2), 0, None)
    else:
        heat = 0.10 * cold
        other = 0.03 + np.where(weekend, 0.02, 0.34) * (bump(10, 1.6) + bump(14.5, 1.6))
    # A heat pump cycles and people switch things: one slot says little of the next, as in real households.
    noise = np.exp(0.25 * _smooth(random, slots, 8) + 0.5 * random.standard_normal(slots))
    cycling = np.exp(0.1 * _smooth(random, slots, 8) + 0.6 * random.standard_normal(slots))
    # A flat has no room for what a house plugs in.
    surge = _surges(random, hour, (0.15, 0.3) if kind == 2 else (0.5, 0.75))
    return size * heat * cycling, size * (other * noise + surge)


def _surges(random: np.random.Generator, hour: Floats, kwh: tuple[float, float]) -> Floats:
    """An appliance of `kwh` a slot for an hour or two, every other day at the household's own hour, seldom at any."""
    slots = len(hour)
    usual, length = random.uniform(17.5, 21), int(random.integers(4, 9))
    starts = np.flatnonzero(np.abs(hour - usual) < 0.125)
    starts = starts[random.random(len(starts)) < 0.5]
    starts = np.concatenate([starts, random.integers(0, slots, slots // 1500 + 1)])
    marks = np.zeros(slots)
    for offset in range(length):
        marks[np.clip(starts + offset, 0, slots - 1)] = 1
    return random.uniform(*kwh) * marks


def _meter_table(index: int, labels: pa.Array, heat: Floats, other: Floats, *, decimals: int) -> pa.Table:
    heat, other = np.round(heat, decimals), np.round(other, decimals)
    slots = len(labels)
    visit = np.where(np.arange(slots) < slots // 2, "before visit", "after visit")
    fixed = {
        "Group": pa.array(np.full(slots, _group(index))),
        "AffectsTimePoint": pa.array(visit if _group(index) == "treatment" else np.full(slots, "unknown")),
    }
    names = ("Group", "AffectsTimePoint") if _group(index) == "treatment" else ("AffectsTimePoint", "Group")
    return pa.table(
        {
            "Household_ID": pa.array(np.full(slots, _id(index))),
            **{name: fixed[name] for name in names},
            "Timestamp": labels,
            "kWh_received_Total": np.round(heat + other, decimals),
            "kWh_received_HeatPump": heat,
            "kWh_received_Other": other,
        }
    )


def _gaps(seed: int, index: int, slots: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Rows to keep, and rows to keep without a value: short gaps everywhere, a long one in every fifth household."""
    random = generator(seed, "gaps", index)
    keep, null = np.ones(slots, bool), np.zeros(slots, bool)
    for start in random.integers(1, slots, max(slots // 700, 1)):
        target = keep if random.random() < 0.7 else null
        target[start : start + int(random.integers(1, 6))] = target is null
    if index % 5 == 0:
        start = int(random.integers(slots // 4, slots // 2))
        keep[start : start + int(random.integers(24, 160))] = False
    keep[0] = keep[-1] = True
    return keep, null


def _with_nulls(table: pa.Table, null: npt.NDArray[np.bool_]) -> pa.Table:
    for name in table.column_names[-3:]:
        column = table.column_names.index(name)
        table = table.set_column(column, name, pa.array(table.column(name).to_numpy(), mask=null))
    return table


def _write_weather(file: Path, station: str, climate: _Climate, seed: int) -> None:
    """Labels name the END of the hour. Some hours are missing, some cells are empty."""
    hours = len(climate.temperature)
    random = generator(seed, "weather gaps", station)
    columns: dict[str, object] = dict.fromkeys(_WEATHER_COLUMNS, pa.nulls(hours, pa.float64()))
    empty = random.random(hours) < 0.002
    columns["Temperature_avg_hourly"] = pa.array(climate.temperature, mask=empty)
    columns["Humidity_avg_hourly"] = pa.array(climate.humidity, mask=empty)
    if station not in WITHOUT_SUNSHINE:
        columns["Sunshine_duration_hourly"] = pa.array(climate.sunshine)
    labels = _labels(START.astype("datetime64[h]") + 1 + np.arange(hours))
    keep = np.ones(hours, bool)
    start = int(random.integers(hours // 3, hours // 2))
    keep[start : start + 9] = False
    table = pa.table({"Weather_ID": pa.array([station] * hours), "Timestamp": labels, **columns})
    _write_csv(file, table.filter(pa.array(keep)))


def _write_csv(file: Path, table: pa.Table) -> None:
    header = ";".join(table.column_names).encode() + b"\n"
    with file.open("wb") as sink:
        sink.write(header)
        csv.write_csv(table, sink, csv.WriteOptions(include_header=False, delimiter=";", quoting_style="none"))


def _break(file: Path, other_household: str) -> None:
    """Puts one of each bad cell and row into a file, some of them twice, and cuts its last row short."""
    lines = file.read_text().splitlines()
    header = lines[0].split(";")
    time, value = header.index("Timestamp"), header.index("kWh_received_Total")

    def cell(line: int, column: int, text: str) -> None:
        cells = lines[line].split(";")
        cells[column] = text
        lines[line] = ";".join(cells)

    for line, text in ((20, "n/a"), (21, "0,125"), (30, "-0.4"), (40, "inf"), (50, "1e6"), (60, "")):
        cell(line, value, text)
    for line, text in (
        (70, "yesterday"),
        (80, "2023-02-30 00:00:00+00:00"),
        (90, ""),
        (100, "2097-01-01 00:00:00+00:00"),
    ):
        cell(line, time, text)
    cell(110, time, lines[110].split(";")[time].replace(":00+", ":07+"))
    cell(120, 0, other_household)
    repeated = [lines[130], lines[131]]
    cell(131, value, "0.999")
    lines[140] = ";".join(lines[140].split(";")[:4])
    lines[132:132] = repeated
    file.write_text("\n".join(lines)[:-20])


def _make_null(file: Path) -> None:
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *(";".join([*line.split(";")[:4], "", "", ""]) for line in lines[1:])]) + "\n")
