"""How the current tables of a warehouse were made, kept beside their list: who continues them goes on in the same way.

A forecast needs the local time of slots that are still to come, and readings that come from elsewhere have to be
scaled and filled as the ETL does it.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, TypeAdapter, ValidationError

from neurogrid.data.clean import EtlSettings


@dataclass(frozen=True)
class Cleaning:
    """What decides, beside the readings themselves, what a table says.

    Attributes:
        timezone: IANA name of the households' local time.
        settings: of the ETL.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)
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
            found = _READER.validate_json(text)
            ZoneInfo(found.timezone)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        except (OSError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError, a folder's name an OSError
            raise ValueError(f"there is no time zone {found.timezone!r:.80}") from error
        return found


_READER = TypeAdapter(Cleaning)
