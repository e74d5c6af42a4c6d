"""The live table of a teacher's epochs."""

import sys
from collections import deque
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table

from neurogrid.cli import show

if TYPE_CHECKING:  # what a federation runs on is not installed everywhere
    from neurogrid.ledger.chain import Record


class EpochTable:
    """The live table of epochs, while it is entered; where there is no terminal, one line an epoch.

    Args:
        epochs: at most so many.
    """

    _COLUMNS = ("epoch", "held-out loss", "training loss", "rate", "windows/s", "s", "try", "best")

    def __init__(self, epochs: int) -> None:
        self._rows = deque[tuple[str, ...]](maxlen=show.ROWS_SHOWN)
        self._epochs = epochs
        # What ranks say is kept from the terminal by redirecting stderr, so the table holds the true one itself.
        self._live = Live(console=show.console, refresh_per_second=4, redirect_stderr=False, redirect_stdout=False)

    def __enter__(self) -> "EpochTable":
        show.console.file = sys.stderr
        if show.console.is_terminal:
            self._live.start()
            self._live.update(self._group())
        return self

    def __exit__(self, *exc: object) -> None:
        if show.console.is_terminal:
            self._live.stop()
        show.console.file = None  # type: ignore[assignment]

    def show(self, record: "Record", best: int) -> None:
        """Shows an epoch, and which is the best so far."""
        row = (
            f"{record['epoch']}/{self._epochs}",
            show.number(record["held_out_loss"]),
            show.number(record["train_loss"]),
            f"{record['learning_rate']:.2e}",
            f"{record['windows_per_s']:,.0f}",
            f"{record['train_s'] + record['evaluate_s']:.1f}",
            str(record["try"]),
            str(best),
        )
        self._rows.append(row)
        if show.console.is_terminal:
            self._live.update(self._group())
        else:
            show.say("  " + "  ".join(f"{name} {cell}" for name, cell in zip(self._COLUMNS, row, strict=True)))

    def _group(self) -> Group:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for name in self._COLUMNS:
            table.add_column(name, justify="right")
        for row in self._rows:
            table.add_row(*row)
        return Group(table) if self._rows else Group("  starting the ranks")
