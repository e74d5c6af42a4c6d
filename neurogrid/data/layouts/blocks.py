"""Tables of ROWS in blocks of bounded size, as the modules of formats gather them row by row or day by day."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neurogrid.data.faults import Fault
from neurogrid.data.layouts.rows import ROWS
from neurogrid.data.readings import UnusableFileError

BLOCK_ROWS = 100_000
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass
class Block:
    """Rows that are gathered one by one; `table` gives them and begins anew."""

    _columns: tuple[list[object], ...] = field(default_factory=lambda: tuple([] for _ in ROWS.names))

    def __len__(self) -> int:
        return len(self._columns[0])

    @property
    def full(self) -> bool:
        """Whether the block should be given away."""
        return len(self) >= BLOCK_ROWS

    def add(
        self,
        household: str,
        label: int,
        value: float,
        line: int,
        export: float = np.nan,
        estimated: bool = False,
        minutes: int = 0,
    ) -> None:
        """Takes one row; the columns are those of ROWS."""
        for column, cell in zip(
            self._columns, (household, label, value, export, estimated, minutes, line), strict=True
        ):
            column.append(cell)

    def table(self) -> pa.Table:
        """The rows so far, which the block then no longer holds."""
        arrays = [pa.array(column, kind.type) for column, kind in zip(self._columns, ROWS, strict=True)]
        for column in self._columns:
            column.clear()
        return pa.table(arrays, schema=ROWS)


def tables(
    household: str,
    labels: Ints,
    values: Floats,
    exports: Floats,
    estimated: npt.NDArray[np.bool_],
    minutes: Ints,
    lines: Ints,
) -> Iterator[pa.Table]:
    """One household's rows, which are arrays of (n,), as tables of at most BLOCK_ROWS."""
    for first in range(0, len(labels), BLOCK_ROWS):
        part = slice(first, first + BLOCK_ROWS)
        count = len(labels[part])
        names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), [household]).dictionary_decode()
        columns = (labels, values, exports, estimated, minutes, lines)
        arrays = [pa.array(column[part], kind.type) for column, kind in zip(columns, list(ROWS)[1:], strict=True)]
        yield pa.table([names, *arrays], schema=ROWS)


@dataclass
class Given:
    """What was given of each household: parts of one sum (streams of one meter) must not lie apart in a file.

    Rows are given away before the file ends, so a part that comes later can no longer be added to its sum.
    """

    _spans: dict[str, dict[frozenset[str], tuple[int, int]]] = field(default_factory=dict)

    def add(self, household: str, parts: Sequence[str], first: int, last: int) -> None:
        """Notes that the parts of a household were given from the moment `first` to `last`.

        Raises:
            UnusableFileError: other parts of the household were given before for some of that time.
        """
        spans, key = self._spans.setdefault(household, {}), frozenset(parts)
        for other, (begin, end) in spans.items():
            if other != key and begin <= last and first <= end:
                raise UnusableFileError(
                    Fault.UNREADABLE_FILE,
                    f"household {household} is in two places of the file for the same time, first with "
                    f"{', '.join(sorted(other))} and then with {', '.join(sorted(key))}; wanted is that its parts "
                    "follow each other, so that they can be summed: sort the file by household",
                )
        begin, end = spans.get(key, (first, last))
        spans[key] = min(begin, first), max(end, last)
