"""Samples of files with some of their bytes changed, as damaged disks, editors and transfers leave them."""

from collections.abc import Callable, Iterator
from io import BytesIO
from random import Random

import numpy as np
import pyarrow as pa

from neurogrid.data.faults import FaultLog
from neurogrid.data.layouts.rows import ROWS
from neurogrid.data.readings import UnusableFileError

PIECES = (
    b",",
    b";",
    b"\n",
    b"\r\n",
    b'"',
    b"-",
    b"9" * 30,
    b"1e308",
    b"nan",
    b"\0",
    b"\xff\xfe",
    b"<",
    b">",
    b"&x;",
    b"|",
    b" ",
)
CHANGES = ("flip", "insert", "piece", "cut", "end", "swap", "double", "drop")


def damaged(sample: bytes, random: Random) -> bytes:
    """The sample after one to six changes: flipped and inserted bytes, cuts, doubled and swapped lines."""
    changed = bytearray(sample)
    for _ in range(random.randint(1, 6)):
        at = random.randint(0, max(len(changed) - 1, 0))
        match random.choice(CHANGES):
            case "flip" if changed:
                changed[at] = random.randint(0, 255)
            case "insert":
                changed[at:at] = bytes(random.randint(0, 255) for _ in range(random.randint(1, 8)))
            case "piece":
                changed[at:at] = random.choice(PIECES)
            case "cut":
                del changed[at : at + random.randint(1, 40)]
            case "end":
                del changed[at:]
            case change:
                lines = bytes(changed).split(b"\n")
                one, other = (random.randint(0, len(lines) - 1) for _ in range(2))
                if change == "swap":
                    lines[one], lines[other] = lines[other], lines[one]
                elif change == "double":
                    lines[one:one] = [lines[other]]
                else:
                    del lines[one]
                changed = bytearray(b"\n".join(lines))
    return bytes(changed)


def mutations(sample: bytes, count: int = 2000) -> Iterator[bytes]:
    """The sample damaged in so many ways, the same each time: `python -m tests.data.fuzz` tries others.

    Bytes that hypothesis chose took a third to three fifths of these tests' time.
    """
    return (damaged(sample, Random(number)) for number in range(count))


def read(module: object, content: bytes, name: str = "a.csv") -> tuple[pa.Table, FaultLog]:
    """All rows of a file, each table of which keeps the schema."""
    faults = FaultLog(20)
    rows: Callable[..., object] = module.rows
    tables = list(rows(BytesIO(content), name, faults))
    for table in tables:
        keeps_the_schema(table)
    return pa.concat_tables(tables) if tables else ROWS.empty_table(), faults


def keeps_the_schema(table: pa.Table) -> None:
    """What ROWS promises of a table."""
    assert table.schema.equals(ROWS)
    assert 0 < table.num_rows <= 100_000
    for column in table.columns:
        assert column.null_count == 0
    for energies in (table["value"], table["export"]):
        assert not np.isinf(energies.to_numpy()).any()
    assert all(0 < len(name) < 300 for name in table["household"].unique().to_pylist())
    assert (table["line"].to_numpy() > 0).all()
    assert (table["minutes"].to_numpy() >= 0).all()


def never_stumbles(module: object, content: bytes, name: str = "a.csv") -> None:
    """Whatever the bytes, rows keep what ROWS promises, or the file is refused in words."""
    assert isinstance(module.is_it(content[:4096], name), str)
    try:
        read(module, content, name)
    except UnusableFileError:
        return
