"""Samples of files with some of their bytes changed, as damaged disks, editors and transfers leave them."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

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


@st.composite
def mutated(draw: st.DrawFn, sample: bytes) -> bytes:
    """The sample after one to six changes: flipped and inserted bytes, cuts, doubled and swapped lines."""
    changed = bytearray(sample)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        match draw(st.sampled_from(("flip", "insert", "piece", "cut", "end", "swap", "double", "drop"))):
            case "flip" if changed:
                changed[at] = draw(st.integers(0, 255))
            case "insert":
                changed[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "piece":
                changed[at:at] = draw(st.sampled_from(PIECES))
            case "cut":
                del changed[at : at + draw(st.integers(1, 40))]
            case "end":
                del changed[at:]
            case change:
                lines = bytes(changed).split(b"\n")
                one, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
                if change == "swap":
                    lines[one], lines[other] = lines[other], lines[one]
                elif change == "double":
                    lines[one:one] = [lines[other]]
                else:
                    del lines[one]
                changed = bytearray(b"\n".join(lines))
    return bytes(changed)


def read(module: object, content: bytes, name: str = "a.csv") -> tuple[pa.Table, FaultLog]:
    """All rows of a file, each table of which keeps the schema."""
    faults = FaultLog(20)
    rows: Callable[..., object] = module.rows
    tables = list(rows(BytesIO(content), name, faults))
    for table in tables:
        assert table.schema.equals(ROWS)
        assert 0 < table.num_rows <= 100_000
    return pa.concat_tables(tables) if tables else ROWS.empty_table(), faults


def never_stumbles(module: object, content: bytes, name: str = "a.csv") -> None:
    """Whatever the bytes, rows keep what ROWS promises, or the file is refused in words."""
    assert isinstance(module.is_it(content[:4096], name), str)
    try:
        table, _ = read(module, content, name)
    except UnusableFileError:
        return
    for column in table.columns:
        assert column.null_count == 0
    for energies in (table["value"], table["export"]):
        assert not np.isinf(energies.to_numpy()).any()
    assert all(0 < len(name) < 300 for name in table["household"].unique().to_pylist())
    assert (table["line"].to_numpy() > 0).all()
    assert (table["minutes"].to_numpy() >= 0).all()
