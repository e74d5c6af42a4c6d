"""What a file of meter data says, row by row, before anything is made of it: the same for every layout.

Files of many households give tables of this schema, which are then split by household.
"""

import pyarrow as pa

ROWS = pa.schema(
    [
        ("household", pa.string()),
        ("label", pa.int64()),
        ("value", pa.float64()),
        ("export", pa.float64()),
        ("estimated", pa.bool_()),
        ("minutes", pa.int32()),
        ("line", pa.int64()),
    ]
)
"""One reading of one household; no column has nulls.

household: as the file names it. label: microseconds since 1970 of the moment (UTC), or of the clock on the wall where
the declaration says that labels are local. value: kWh taken from the grid, or the register's state in kWh; NaN where
the cell is empty or was refused. export: the same for energy given to the grid; NaN where the file has no such thing.
estimated: whether the file marks the reading as estimated or substituted. minutes: the time that it covers where the
file says so, else 0. line: in the file, counted from 1.
"""
