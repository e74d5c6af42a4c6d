"""How readings become tables; and how the current ones of a warehouse did, which is kept beside their list.

A forecast needs the local time of slots that are still to come, and readings that come from elsewhere have to be
scaled and filled as the ETL does it.
"""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, TypeAdapter, ValidationError

from neurogrid.data.series import Treatment

_MOST_SLOTS = 100_000
"""That a setting from a file may ask for: memory is taken for as many."""


@dataclass(frozen=True)
class EtlSettings:
    """How readings become tables.

    Attributes:
        cadence_minutes: length of a slot of the tables; None keeps the source's own.
        trailing_slots: how many slots back the first tier of imputation looks.
        weather_last_known_hours: for how long the last weather reading stands in for missing ones.
        train_share, validation_share: of each household's time, in this order; the rest is for testing.
        surge_percentile: of the observed training load, above which a slot is a surge.
        max_power_kw: a reading of more than this mean power is absurd and taken as missing.
        longest_gap_days: readings or hours of weather separated from most others by more than this are dropped.
        registers, net_meters, catch_up, estimated: see Treatment.
        another_source: whether readings of other households may replace the current tables: refuse or replace.
        listed_per_kind: how many faults of a kind are listed for a household; all are counted.
        compression: of the Parquet files: snappy, zstd, lz4 or none.
    """

    cadence_minutes: int | None
    trailing_slots: int
    weather_last_known_hours: int
    train_share: float
    validation_share: float
    surge_percentile: float
    max_power_kw: float
    longest_gap_days: float
    registers: str
    net_meters: str
    catch_up: str
    estimated: str
    another_source: str
    listed_per_kind: int
    compression: str

    @property
    def treatment(self) -> Treatment:
        """What is done where more than one thing is right."""
        return Treatment(self.max_power_kw, self.registers, self.net_meters, self.catch_up, self.estimated)

    def refuse_impossible(self) -> None:
        """Raises ValueError where a number is none that the config allows; for settings that come from a file."""
        shares = self.train_share, self.validation_share, 1 - self.train_share - self.validation_share
        numbers = {
            "trailing_slots": 1 <= self.trailing_slots <= _MOST_SLOTS,
            "weather_last_known_hours": 0 <= self.weather_last_known_hours <= _MOST_SLOTS,
            "train_share and validation_share": all(0 < share < 1 for share in shares),
            "surge_percentile": 50 < self.surge_percentile < 100,
            "max_power_kw": 0 < self.max_power_kw < math.inf,
            "longest_gap_days": 0 < self.longest_gap_days < math.inf,
            "listed_per_kind": self.listed_per_kind >= 1,
        }
        for name, possible in numbers.items():
            if not possible:
                raise ValueError(f"{name} cannot be what the settings of the ETL say")


@dataclass(frozen=True)
class Cleaning:
    """What decides, beside the readings themselves, what a table says.

    Attributes:
        timezone: IANA name of the households' local time.
        settings: of the ETL.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    timezone: str
    settings: EtlSettings

    def to_json(self) -> str:
        """Canonical JSON."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Cleaning":
        """Inverse of `to_json`; raises ValueError on what is no such thing."""
        try:
            found = _READER.validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        found.refuse_unknown_zone()
        found.settings.refuse_impossible()
        return found

    def refuse_unknown_zone(self) -> None:
        """Raises ValueError where there is no such time zone."""
        try:
            ZoneInfo(self.timezone)
        except (OSError, KeyError, ValueError) as error:  # a folder's name; one that is not there; a path
            raise ValueError(f"there is no time zone {self.timezone!r:.80}") from error


_READER = TypeAdapter(Cleaning)
