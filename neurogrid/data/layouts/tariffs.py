"""Exports of one meter that have a column for each tariff: what the tables of HomeWizard and DSMR-reader share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import text
from neurogrid.data.layouts.blocks import Block
from neurogrid.data.readings import UnusableFileError


@dataclass(frozen=True)
class Clock:
    """The column of times: its name in lower case, whether its times have an offset, and one of them, for messages."""

    column: str
    has_offset: bool
    example: str


def summed(
    numbered: Iterator[tuple[int, str]],
    head: text.Header,
    clock: Clock,
    drawn: Sequence[str],
    fed_in: Sequence[str],
    name: str,
    faults: FaultLog,
    minutes: int = 0,
) -> Iterator[pa.Table]:
    """Rows with the sum of the tariffs each way, as tables of ROWS; the household is the file's name.

    Args:
        numbered: lines after the header, with their number.
        head: of the table.
        clock: its column of times.
        drawn, fed_in: its columns of energy, or of states of registers.
        name: of the file.
        faults: what cannot be used is counted here.
        minutes: that each row covers, or 0.

    Raises:
        UnusableFileError: no row has a time.
    """
    household, block, given = text.stem(name), Block(), False
    for line, row in text.table(numbered, head, faults):
        said = row[head.columns[clock.column]]
        time = text.clock_us(said)
        if time is None or time[1] != clock.has_offset:
            note = f"{clock.column} = {said!r:.{text.SHOWN}}; wanted is {clock.example}"
            faults.add(Fault.BAD_TIMESTAMP, note, line)
            continue
        kwh, export = (text.total(row, names, head, line, faults) for names in (drawn, fed_in))
        block.add(household, time[0], kwh, line, export, minutes=minutes)
        given = True
        if block.full:
            yield block.table()
    if len(block):
        yield block.table()
    if not given:
        raise UnusableFileError(Fault.NO_READINGS, f"no row with a time in {name}; {text.cause(faults)}")
