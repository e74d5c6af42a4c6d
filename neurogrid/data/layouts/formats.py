"""The formats of meter data that are no plain tables, each a module of its own, by its name in the config."""

from collections.abc import Iterator
from typing import BinaryIO, Protocol

import pyarrow as pa

from neurogrid.data.faults import FaultLog
from neurogrid.data.layouts import (
    citylearn,
    dsmr_reader,
    espi,
    ha_statistics,
    homeassistant,
    homewizard,
    nem,
    p1,
    simbench,
)


class Format(Protocol):
    """A module that reads one format.

    Attributes:
        NAME: in the config.
        ENDS: whether labels name the end of what a reading covers.
        LABELS: `utc`, an offset like `+10:00`, or `local` for the wall clock of the households' time zone.
        REGISTER: whether values are a meter's counter.
        MINUTES: usual length of a slot.
    """

    NAME: str
    ENDS: bool
    LABELS: str
    REGISTER: bool
    MINUTES: int

    def is_it(self, beginning: bytes, name: str) -> str:
        """Why a file that begins like this is of the format; empty if it is not."""

    def rows(self, stream: BinaryIO, name: str, faults: FaultLog) -> Iterator[pa.Table]:
        """Tables of schema ROWS; raises UnusableFileError for a file that cannot be used at all."""


_MODULES: tuple[Format, ...] = (
    nem,
    espi,
    p1,
    homewizard,
    dsmr_reader,
    homeassistant,
    ha_statistics,
    citylearn,
    simbench,
)
FORMATS: dict[str, Format] = {module.NAME: module for module in _MODULES}
"""By name. A module is added here, and its name to registry.py."""
