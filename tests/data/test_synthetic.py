"""The made data set has HEAPO's shape, the faults it promises, and loads worth forecasting."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from meter_files import readings
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import to_grid
from neurogrid.data.local_time import local_minutes
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.sources import Source, open_source
from neurogrid.data.synthetic import KINDS, SyntheticSettings, make_heapo
from neurogrid.storage import place

SETTINGS = SyntheticSettings(households=24, stations=3, days=40, seed=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    make_heapo(root, SETTINGS)
    return root


def opened(folder: Path) -> Source:
    return open_source("heapo", place(str(folder)), (), None)


def loads(folder: Path) -> dict[int, np.ndarray]:
    """kWh by number of the household, whole grid, NaN in gaps; without the broken files."""
    source, found = opened(folder), {}
    for index, file in enumerate(source.listing(5).files[:-3]):
        found[index] = to_grid(readings(source, file, FaultLog(5)).table, 15, 400, FaultLog(5)).kwh
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.csv")}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    make_heapo(tmp_path / "again", SETTINGS)
    assert contents(tmp_path / "again") == contents(folder)
    make_heapo(tmp_path / "other", SyntheticSettings(households=4, stations=3, days=40, seed=6))
    name = "smart_meter_data/15min/1204511.csv"
    assert contents(tmp_path / "other")[name] != contents(folder)[name]


def test_a_household_does_not_depend_on_how_many_are_made(folder: Path, tmp_path: Path) -> None:
    make_heapo(tmp_path, SyntheticSettings(households=5, stations=3, days=40, seed=5))
    name = "smart_meter_data/15min/1204511.csv"
    assert contents(tmp_path)[name] == contents(folder)[name]


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines()[1:]


def test_both_header_orders_occur_and_one_of_three_stations_has_no_sunshine(folder: Path) -> None:
    headers = {file.read_bytes().split(b"\n")[0] for file in (folder / "smart_meter_data" / "15min").glob("*.csv")}
    assert len({header for header in headers if header.startswith(b"Household_ID")}) == 2
    stations = sorted((folder / "weather_data" / "hourly").glob("*.csv"))
    without = [file.stem for file in stations if all(line.split(";")[9] == "" for line in lines(file))]
    assert (len(stations), without) == (3, ["HbsbG"])


def test_the_promised_faults_are_there(folder: Path) -> None:
    source = opened(folder)
    files = source.listing(5).files
    faults = FaultLog(5)
    table = readings(source, files[-3], faults).table
    to_grid(table, 15, 400, faults)
    expected = {
        Fault.BAD_NUMBER,
        Fault.BAD_TIMESTAMP,
        Fault.NEGATIVE,
        Fault.NOT_FINITE,
        Fault.ABSURD,
        Fault.NULL_VALUE,
        Fault.BROKEN_ROW,
        Fault.WRONG_HOUSEHOLD,
        Fault.OFF_GRID,
        Fault.DUPLICATE,
        Fault.FAR_FROM_THE_REST,
    }
    assert {kind for kind, count in faults.counts.items() if count} == expected
    with pytest.raises(UnusableFileError):
        readings(source, files[-2], FaultLog(5))
    assert readings(source, files[-1], FaultLog(5)).table.num_rows == 0


def test_clocks_change_within_the_period(folder: Path) -> None:
    source = opened(folder)
    table = readings(source, source.listing(5).files[0], FaultLog(5)).table
    first = table.column("Timestamp").cast(pa.int64())[0].as_py() // 900_000_000
    offsets = local_minutes(first, 40 * 96, 15, "Europe/Zurich") - 15 * np.arange(first, first + 40 * 96)
    assert sorted(set(offsets)) == [60, 120]


def test_the_hour_of_the_day_forecasts_most_households_better_than_their_median(folder: Path) -> None:
    ratios = []
    for kwh in loads(folder).values():
        days = kwh[: len(kwh) // 96 * 96].reshape(-1, 96)
        half = len(days) // 2
        error = np.nanmean(np.abs(days[half:] - np.nanmedian(days[:half], axis=0)))
        ratios.append(error / np.nanmean(np.abs(days[half:] - np.nanmedian(days[:half]))))
    assert np.median(ratios) < 0.95


def test_clustering_finds_the_kinds_of_household(folder: Path) -> None:
    profiles, kinds = [], []
    for index, kwh in loads(folder).items():
        hour = np.arange(len(kwh)) // 4 % 24
        night, weekend = (hour >= 21) | (hour < 5), np.arange(len(kwh)) // 96 % 7 < 2  # begins on a Saturday
        mean = np.nanmean(kwh)
        profiles.append(
            [mean, np.nanstd(kwh), np.nanmean(kwh[night]) / mean, np.nanmean(kwh[weekend]) / np.nanmean(kwh[~weekend])]
        )
        kinds.append(index % len(KINDS))
    standard = (np.array(profiles) - np.mean(profiles, axis=0)) / np.std(profiles, axis=0)
    found = KMeans(4, n_init=10, random_state=0).fit_predict(standard)
    assert adjusted_rand_score(kinds, found) > 0.8


@pytest.mark.parametrize(("stations", "days"), [(0, 10), (9, 10), (3, 1)])
def test_a_size_that_cannot_be_made_is_refused(tmp_path: Path, stations: int, days: int) -> None:
    with pytest.raises(ValueError, match="="):
        make_heapo(tmp_path, SyntheticSettings(households=4, stations=stations, days=days, seed=1))
