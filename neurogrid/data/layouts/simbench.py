"""Load profiles of SimBench, the benchmark grids of Germany: one wide CSV with a column a profile, in quarter hours.

Read about the format: LoadProfile.csv and Load.csv in the wheel of the PyPI package `simbench` 1.6.3. The header is
`time;H0-A_pload;H0-A_qload;...`; times are `01.01.2016 00:15` on the clock on the wall (an hour lacks in March and one
is there twice in October). A `_pload` column is active power as a share of a load's peak; `_qload`, which is reactive,
is left.

Each profile is one household with a peak of 1 kW, which the log tells as assumed. Load.csv, beside it, names a profile
and a peak (`id;node;profile;pLoad;...`, in MW) for each load of a grid, and is not read: the 28,777 households of the
largest grid share 5 profiles. As households of their own, one would be held out and its twin trained on, and a model
that only remembers would look good.
"""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import text
from neurogrid.data.layouts.blocks import BLOCK_ROWS, tables
from neurogrid.data.readings import UnusableFileError

NAME = "simbench"
ENDS = False
LABELS = "local"
REGISTER = False
MINUTES = 15

ENDING = "_pload"
PEAK_KW = 1.0
MOST_PROFILES = 10_000


def is_it(beginning: bytes, name: str) -> str:
    """Why a file holds profiles of SimBench; empty where it does not."""
    columns = text.cells(text.first_line(beginning).casefold(), ";")
    found = [each for each in columns if each.endswith(ENDING)]
    return f"its header has time and {found[0]}" if found and "time" in columns else ""


def rows(stream: BinaryIO, name: str, faults: FaultLog) -> Iterator[pa.Table]:
    """Each profile as a household with a peak of 1 kW, as tables of ROWS.

    Raises:
        UnusableFileError: no column of the time or of a profile, or no rows.
    """
    numbered = text.lines(stream)
    line, first = next(numbered, (1, ""))
    if first.casefold().startswith("id;"):
        note = f"{name} describes a grid: {first:.80}; loads of one profile have its shape, so only profiles are read"
        raise UnusableFileError(Fault.NO_READINGS, note)
    head = text.header(iter([(line, first)] if first else []), ("time",), name)
    names = text.cells(first, head.separator)
    profiles = {each[: -len(ENDING)]: place for place, each in enumerate(names) if each.casefold().endswith(ENDING)}
    profiles.pop("", None)
    if not 0 < len(profiles) <= MOST_PROFILES:
        raise UnusableFileError(
            Fault.MISSING_COLUMN,
            f"{len(profiles):,} columns that end with {ENDING!r} in {name}; wanted are 1 to {MOST_PROFILES:,}; found: "
            f"{', '.join(names)[:200]}",
        )
    faults.add(Fault.ASSUMED, f"profiles have no size; each of {len(profiles):,} is taken with a peak of 1 kW")
    given = False
    labels: list[int] = []
    kwh: list[list[float]] = []
    lines: list[int] = []
    for line, row in text.table(numbered, head, faults):
        time = text.clock_us(row[head.columns["time"]])
        if time is None or time[1]:
            said = row[head.columns["time"]]
            faults.add(Fault.BAD_TIMESTAMP, f"time = {said!r:.{text.SHOWN}}; wanted is 31.01.2016 00:15", line)
            continue
        labels.append(time[0])
        cells = [row[place] for place in profiles.values()]
        kwh.append(text.energies(cells, list(profiles), line, faults, PEAK_KW * MINUTES / 60))
        lines.append(line)
        if len(labels) * len(profiles) + len(profiles) > BLOCK_ROWS:
            given = True
            yield _table(list(profiles), labels, kwh, lines)
            labels, kwh, lines = [], [], []
    if labels:
        yield _table(list(profiles), labels, kwh, lines)
    elif not given:
        raise UnusableFileError(Fault.NO_READINGS, f"no row with a time in {name}; {text.cause(faults)}")


def _table(names: list[str], labels: list[int], kwh: list[list[float]], lines: list[int]) -> pa.Table:
    """Rows of (n,) labels with (n, profiles) energies, one profile after the other."""
    count = len(labels)
    none, never, quarter = np.full(count, np.nan), np.zeros(count, bool), np.full(count, MINUTES)
    columns = zip(names, np.array(kwh).T, strict=True)
    parts = [tables(name, np.array(labels), each, none, never, quarter, np.array(lines)) for name, each in columns]
    return pa.concat_tables(table for part in parts for table in part).combine_chunks()
