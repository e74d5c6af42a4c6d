"""The clean table of one household: its columns, its metadata, where it lies in the warehouse, how it is read.

Written by etl.py, read by everyone after it. One Parquet file a household, in `meters/Weather_ID=.../Household_ID=.../`
and named after its content, one row a slot of the UTC grid, with what the rest needs to know in the file's own
metadata. A table is never changed: other readings make another file beside it, so whoever named the first still finds
it. `households.parquet` lists the tables that are current.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, AwareDatetime

from neurogrid.storage import Place

FEATURES = (
    "kWh_received_Total",
    "hour_sin",
    "hour_cos",
    "dow_sin",
    "dow_cos",
    "is_weekend",
    "Temperature_avg_hourly",
    "Humidity_avg_hourly",
    "Sunshine_duration_hourly",
    "weather_missing",
    "load_missing",
)
"""The model's input features, in the order that the first NeuroGrid fixed; the load stands at index 0."""

OBSERVED, TRAILING_MEAN, SLOT_MEAN, ZERO = 0, 1, 2, 3
"""Values of `load_tier` and `weather_tier`: how a slot's value came to be."""

_COLUMNS = [
    ("Timestamp", pa.timestamp("us", tz="UTC")),  # start of the slot
    *[(name, pa.float32()) for name in FEATURES],  # scaled by training-period statistics
    ("kWh", pa.float32()),  # energy of the slot, gaps imputed
    ("load_tier", pa.uint8()),
    ("weather_tier", pa.uint8()),
]
SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _COLUMNS])
"""No value is missing, and to say so of each took a quarter of a table's writing."""
METADATA_KEY = b"neurogrid.household"
FIRST_TABLE = "part-0.parquet"
"""Name of a household's table in warehouses and manifests from before tables were named after their content."""
TABLE_NAME = re.compile(r"part-0\.parquet|[0-9a-f]{12}\.parquet")
LONGEST_NAME = 200
"""Bytes of a household's or a station's name, which is part of a folder's."""
Moment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]


@dataclass(frozen=True)
class Scale:
    """(value - mean) / std, both of the observed values of the training period; std is 1 where it would be 0."""

    mean: float
    std: float


@dataclass(frozen=True)
class HouseholdMeta:
    """What is known of one household's table without reading its rows. Stored as JSON in the Parquet file's metadata.

    Attributes:
        household_id, weather_id: as strings; `weather_id` is `none` where the source has no weather.
        cadence_minutes: length of a slot.
        first, last: start of the first and the last slot, UTC.
        rows: number of slots, gaps included.
        observed: number of slots whose load was measured.
        train_end, validation_end: slots that start before `train_end` are for training, before `validation_end` for
            validation, the rest for test.
        scales: of each scaled feature.
        surge_threshold_kwh: 95th percentile of the observed load of the training period.
    """

    household_id: str
    weather_id: str
    cadence_minutes: int
    first: Moment
    last: Moment
    rows: int
    observed: int
    train_end: Moment
    validation_end: Moment
    scales: dict[str, Scale]
    surge_threshold_kwh: float

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, ISO times."""
        return json.dumps(asdict(self), sort_keys=True, default=_iso)

    @classmethod
    def from_json(cls, text: str | bytes) -> "HouseholdMeta":
        """Inverse of `to_json`."""
        raw: dict[str, Any] = json.loads(text)
        times = {k: datetime.fromisoformat(raw[k]) for k in ("first", "last", "train_end", "validation_end")}
        scales = {k: Scale(**v) for k, v in raw["scales"].items()}
        return cls(**{**raw, **times, "scales": scales})


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value))


@dataclass(frozen=True)
class Household:
    """One household's readings in memory.

    Attributes:
        meta: what is known without them.
        features: (T, 11) float32, scaled, in the order of FEATURES.
        kwh: (T,) float32, energy of each slot, gaps imputed.
        observed: (T,) bool, whether the load was measured.
    """

    meta: HouseholdMeta
    features: npt.NDArray[np.float32]
    kwh: npt.NDArray[np.float32]
    observed: npt.NDArray[np.bool_]

    def slot(self, moment: datetime) -> int:
        """Index of the first slot that starts at or after `moment`; may lie outside the table."""
        seconds = (moment - self.meta.first).total_seconds()
        return -int(-seconds // (60 * self.meta.cadence_minutes))


def unusable_name(name: str) -> str:
    """Why a household's or a station's name cannot be that of a folder in the warehouse; empty if it can."""
    if not name or name in (".", ".."):
        return f"{name!r} cannot be the name of a folder"
    if "/" in name or not name.isprintable():
        return f"{name!r:.80} has a character that the name of a folder cannot have"
    if len(name.encode()) > LONGEST_NAME:
        return f"{name[:40]!r} and so on is longer than {LONGEST_NAME} bytes"
    return ""


def household_path(weather_id: str, household_id: str, table: str) -> str:
    """Where a household's table lies, under the root of a warehouse; names that come from outside: `unusable_name`."""
    return f"meters/Weather_ID={weather_id}/Household_ID={household_id}/{table}"


def table_name(content: bytes) -> str:
    """The name of a table with this content."""
    return f"{hashlib.sha256(content).hexdigest()[:12]}.parquet"


def read_household(file: Place, sha256: str) -> Household:
    """Reads one household's table, once it is found to be the file that a manifest names.

    Raises:
        OSError: it cannot be read.
        ValueError, KeyError: it is another file, or no table.
    """
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("it is not the file that the manifest was made from")
    return household_from(pa.BufferReader(content))


def household_from(source: Any) -> Household:
    """Reads one household's table from an open file, or from one at a path."""
    table = pq.read_table(source, columns=[*FEATURES, "kWh", "load_tier"], partitioning=None, use_threads=False)
    meta = HouseholdMeta.from_json(table.schema.metadata[METADATA_KEY])
    features = np.empty((table.num_rows, len(FEATURES)), np.float32)
    for column, name in enumerate(FEATURES):
        features[:, column] = table.column(name).to_numpy()
    return Household(
        meta=meta,
        features=features,
        kwh=table.column("kWh").to_numpy().astype(np.float32, copy=False),
        observed=table.column("load_tier").to_numpy() == OBSERVED,
    )
