"""CSV exports of HomeWizard Energy: states of a P1 meter's or a kWh meter's registers each quarter hour, in local time.

Read about the format: HomeWizard's help page "How to export and use CSV files" and the sample files of the project
Home-Assistant-Import-Energy-Data. The header is `time,Import T1 kWh,Import T2 kWh,Export T1 kWh,Export T2 kWh`, or
`time,Import kWh,Export kWh` for a kWh meter, and more columns that are not needed here. Tariffs are summed. The
household is the file's name.
"""

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import text
from neurogrid.data.layouts.tariffs import Clock, summed
from neurogrid.data.readings import UnusableFileError

NAME = "homewizard"
ENDS = False
LABELS = "local"
REGISTER = True
MINUTES = 15

CLOCK = Clock("time", has_offset=False, example="2025-01-31 00:15")
IMPORTS = ("import t1 kwh", "import t2 kwh", "import t3 kwh", "import t4 kwh", "import kwh")
EXPORTS = tuple(name.replace("import", "export") for name in IMPORTS)


def is_it(beginning: bytes, name: str) -> str:
    """Why a file is an export of HomeWizard; empty where it is not."""
    first = text.first_line(beginning).casefold()
    found = [name for name in IMPORTS if name in first]
    return f"its header begins with time and has {found[0]!r}" if first.startswith("time") and found else ""


def rows(stream: BinaryIO, name: str, faults: FaultLog) -> Iterator[pa.Table]:
    """States of the registers as tables of ROWS.

    Raises:
        UnusableFileError: no column of the time or of energy drawn, or no rows.
    """
    numbered = text.lines(stream)
    head = text.header(numbered, (CLOCK.column,), name)
    drawn, fed_in = ([each for each in names if each in head.columns] for names in (IMPORTS, EXPORTS))
    if not drawn:
        raise UnusableFileError(
            Fault.MISSING_COLUMN,
            f"no column 'Import T1 kWh' or 'Import kWh' in {name}; found: {', '.join(head.columns)[:200]}",
        )
    yield from summed(numbered, head, CLOCK, drawn, fed_in, name, faults)
