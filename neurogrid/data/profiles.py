"""What kind of household is it: a few figures of its load, from its training period only. Used by sampling.py.

One Spark pass over the warehouse's meters: a task reads several household files with Arrow and sends back one small
profile each, with the file's SHA-256, so that the driver sees no reading and every file is read once.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from neurogrid.data.household import METADATA_KEY, OBSERVED, HouseholdMeta, household_path
from neurogrid.data.optout import tables_to_use
from neurogrid.data.progress import unseen, watched
from neurogrid.storage import Place
from neurogrid.tasks import run_tasks

MEASURES = (
    "mean_kwh",
    "std_kwh",
    "peak_kwh",
    "load_factor",
    "missing_share",
    "zero_share",
    "night_share",
    "evening_share",
    "weekend_ratio",
    "temperature_correlation",
)
"""Figures of a profile. kWh are of a slot; `load_factor` is mean over peak; shares are 0 to 1, of slots (missing, zero)
or of energy (night 0-6 h, evening 17-22 h, local time); `weekend_ratio` is the mean load of weekend days over that of
working days; `temperature_correlation` is -1 to 1, NaN without weather. All but `missing_share` of observed slots."""

NIGHT_HOURS, EVENING_HOURS = (0, 6), (17, 22)
_COLUMNS = ["kWh", "load_tier", "hour_sin", "hour_cos", "is_weekend", "Temperature_avg_hourly", "weather_tier"]
_FILES_A_TASK = 8
_MOST_SLOTS = 1 << 31
_DAY_MINUTES = 1440
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """One household file, seen once.

    Attributes:
        path: under the warehouse's root.
        sha256: of the file.
        meta: what the file says of itself; None when it could not be read.
        observed_training_slots: measured slots before `meta.train_end`.
        measures: one value for each of MEASURES; empty when nothing was observed in training.
        problem: why it could not be read, or "".
    """

    path: str
    sha256: str
    meta: HouseholdMeta | None
    observed_training_slots: int
    measures: dict[str, float]
    problem: str = ""

    @property
    def household_id(self) -> str:
        """The household's id: the file's own, or that of its folder if it cannot be read."""
        return self.meta.household_id if self.meta else self.path.split("Household_ID=")[-1].split("/")[0]


def profile_households(
    spark: SparkSession, warehouse: Place, progress: Callable[[int, int], None] = unseen
) -> list[Profile]:
    """Profiles of current tables, but of those who opted out, by household id; `progress` is told those done, and all.

    Raises:
        InputError: there is no table.
    """
    files = [(warehouse / table.path).path for table in tables_to_use(warehouse).values()]
    context, root = spark.sparkContext, warehouse.path
    work, is_of = partial(_profile_file, warehouse.filesystem, root), partial(_is_of, root)
    tasks = min(max(context.defaultParallelism, len(files) // _FILES_A_TASK), len(files))
    with watched(spark, "sample: profiles of households", tasks, len(files), progress):
        found = run_tasks(context, files, work, TypeAdapter(Profile), is_of, tasks)
    return sorted(found, key=lambda profile: (profile.household_id, profile.path))


def _is_of(root: str, path: str, profile: Profile) -> bool:
    """Whether a profile can be that of a file: it names that file, and has what sampling goes by."""
    if profile.path != path.removeprefix(f"{root}/"):
        return False
    meta, names = profile.meta, set(profile.measures)
    if meta is None:
        return not names
    return (
        household_path(meta.weather_id, meta.household_id, path.rpartition("/")[2]) == profile.path
        and 0 < meta.cadence_minutes <= _DAY_MINUTES
        and 0 <= profile.observed_training_slots <= meta.rows <= _MOST_SLOTS
        and names == (set(MEASURES) if profile.observed_training_slots else set())
        and not any(map(math.isinf, profile.measures.values()))
    )


def _profile_file(filesystem: fs.FileSystem, root: str, path: str) -> Profile:
    name = path.removeprefix(f"{root}/")
    try:
        content = Place(filesystem, path).read_bytes()
    except OSError as error:
        return Profile(name, "", None, 0, {}, problem=f"cannot be read: {str(error).splitlines()[0]}")
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        table = pq.read_table(pa.BufferReader(content), columns=_COLUMNS, use_threads=False)
        meta = HouseholdMeta.from_json(table.schema.metadata[METADATA_KEY])
    # A damaged file is one household less, with a word; which of these pyarrow raises depends on where it is damaged.
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        return Profile(name, sha256, None, 0, {}, problem=f"not a household file: {str(error).splitlines()[0]}")
    if household_path(meta.weather_id, meta.household_id, name.rpartition("/")[2]) != name:
        says = f"it says that it is household {meta.household_id} of station {meta.weather_id}"
        return Profile(name, sha256, None, 0, {}, problem=f"not this household's file: {says}")
    observed, measures = measure(table, meta)
    return Profile(name, sha256, meta, observed, measures)


def measure(table: pa.Table, meta: HouseholdMeta) -> tuple[int, dict[str, float]]:
    """Number of observed training slots of a household's table, and its MEASURES over them (none if there are none).

    The hour is read off the table's own calendar features, so it is local wherever the ETL knew the time zone.
    """
    seconds = (meta.train_end - meta.first).total_seconds()
    training = table.slice(0, max(0, math.ceil(seconds / (60 * meta.cadence_minutes))))
    column = {name: training.column(name).to_numpy().astype(np.float64) for name in _COLUMNS}
    observed = column["load_tier"] == OBSERVED
    slots, count = len(observed), int(observed.sum())
    if count == 0:
        return 0, {}

    def feature(name: str) -> Floats:
        scale = meta.scales.get(name)
        values: Floats = column[name][observed]
        return values * scale.std + scale.mean if scale else values

    kwh = column["kWh"][observed]
    total, mean, peak = float(kwh.sum()), float(kwh.mean()), float(kwh.max())
    turn = np.arctan2(feature("hour_sin"), feature("hour_cos")) / (2 * np.pi)
    # A little is added since a whole hour must not round down to the hour before.
    hour = np.floor((turn % 1.0) * 24 + 1e-3) % 24
    weekend = feature("is_weekend") > 0.5

    def share_of_energy(hours: tuple[int, int]) -> float:
        inside = (hour >= hours[0]) & (hour < hours[1])
        return float(kwh[inside].sum()) / total if total > 0 else 0.0

    working_mean = float(kwh[~weekend].mean()) if (~weekend).any() else 0.0
    weekend_mean = float(kwh[weekend].mean()) if weekend.any() else 0.0
    return count, {
        "mean_kwh": mean,
        "std_kwh": float(kwh.std()),
        "peak_kwh": peak,
        "load_factor": mean / peak if peak > 0 else 0.0,
        "missing_share": 1 - count / slots,
        "zero_share": float((kwh == 0).mean()),
        "night_share": share_of_energy(NIGHT_HOURS),
        "evening_share": share_of_energy(EVENING_HOURS),
        "weekend_ratio": weekend_mean / working_mean if working_mean > 0 else 1.0,
        "temperature_correlation": _temperature_correlation(column, observed),
    }


def _temperature_correlation(column: dict[str, Floats], observed: npt.NDArray[np.bool_]) -> float:
    # Correlation does not mind the scaling of the temperature.
    both = observed & (column["weather_tier"] == OBSERVED) & np.isfinite(column["Temperature_avg_hourly"])
    if int(both.sum()) < 2:
        return math.nan
    load, temperature = column["kWh"][both], column["Temperature_avg_hourly"][both]
    if not np.ptp(load) or not np.ptp(temperature):
        return math.nan
    load, temperature = load - load.mean(), temperature - temperature.mean()
    # numpy's own sums: BLAS, which np.corrcoef uses, ends in other bits on another processor, and so would manifests.
    spread = math.sqrt(float(np.square(load).sum()) * float(np.square(temperature).sum()))
    return float((load * temperature).sum()) / spread
