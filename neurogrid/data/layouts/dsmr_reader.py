"""Hour totals that DSMR-reader exports as CSV: energy drawn and fed in by hour and tariff, each hour with its offset.

Read about the format: DSMR-reader's own export page (dsmr_frontend/views/export.py writes the fields of HourStatistics
under their titles) and the sample of the project Home-Assistant-Import-Energy-Data. The header is `Hour Start,
Electricity 1 (Dutch Users: Low Tariff),Electricity 2 (...),Electricity 1 Returned (...),Electricity 2 Returned (...),
Gas`. Tariffs are summed; gas is left. Day totals are refused: a day is no load profile. The household is the file's
name.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import text
from neurogrid.data.layouts.tariffs import Clock, summed
from neurogrid.data.readings import UnusableFileError

NAME = "dsmr_reader"
ENDS = False
LABELS = "utc"
REGISTER = False
MINUTES = 60

CLOCK = Clock("hour start", has_offset=True, example="2025-01-31T00:00:00+01:00")
_DRAWN, _FED_IN = (re.compile(rf"electricity \d{way}( \(.*\))?") for way in ("", " returned"))


def is_it(beginning: bytes, name: str) -> str:
    """Why a file is an export of DSMR-reader; empty where it is not."""
    first = text.first_line(beginning).casefold().replace('"', "")
    return (
        f"its header begins with {CLOCK.column!r} and has electricity 1"
        if re.match(r"(hour start|day).electricity 1", first)
        else ""
    )


def rows(stream: BinaryIO, name: str, faults: FaultLog) -> Iterator[pa.Table]:
    """Energies of hours as tables of ROWS.

    Raises:
        UnusableFileError: day totals, or no column of the hour or of energy drawn, or no rows.
    """
    numbered = text.lines(stream)
    head = text.header(numbered, (), name)
    found = f"found: {', '.join(head.columns)[:200]}"
    if CLOCK.column not in head.columns:
        wanted = "wanted is DSMR-reader's export of hour totals, not of days"
        raise UnusableFileError(Fault.MISSING_COLUMN, f"no column 'Hour Start' in {name}; {found}; {wanted}")
    fed_in = [each for each in head.columns if _FED_IN.fullmatch(each)]
    drawn = [each for each in head.columns if _DRAWN.fullmatch(each)]
    if not drawn:
        raise UnusableFileError(Fault.MISSING_COLUMN, f"no column 'Electricity 1 (...)' in {name}; {found}")
    yield from summed(numbered, head, CLOCK, drawn, fed_in, name, faults, MINUTES)
