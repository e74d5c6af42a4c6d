"""The one format of a benchmark's result: columns and rows, as Markdown for people and Parquet for tools."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.storage import Place, place

Cell = str | int | float | None


@dataclass(frozen=True)
class ResultTable:
    """A table of results; every row has a cell for every column, units stand in the columns' names.

    Raises:
        ValueError: a row is shorter or longer than the columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: row {row} has not the {len(self.columns)} cells of {self.columns}")

    def to_markdown(self) -> str:
        """A heading, the table, the notes."""
        lines = [f"## {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line([_text(cell) for cell in row]) for row in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join(lines) + "\n"

    def to_arrow(self) -> pa.Table:
        """The rows as Arrow, title and notes in the schema's metadata."""
        columns = [list(column) for column in zip(*self.rows, strict=True)] or [[] for _ in self.columns]
        table = pa.table(dict(zip(self.columns, columns, strict=True)))
        return table.replace_schema_metadata({"title": self.title, "notes": "\n".join(self.notes)})

    def write(self, where: Place | str) -> None:
        """Writes `where`.md and `where`.parquet; `where` is a place or URI without suffix."""
        target = place(where) if isinstance(where, str) else where
        sink = pa.BufferOutputStream()
        pq.write_table(self.to_arrow(), sink)
        Place(target.filesystem, f"{target.path}.md").write(self.to_markdown())
        Place(target.filesystem, f"{target.path}.parquet").write(sink.getvalue().to_pybytes())


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 1000 else f"{cell:,.0f}"
    return f"{cell:,}" if isinstance(cell, int) else cell
