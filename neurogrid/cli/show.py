"""What a person sees in the terminal: what a run will do, progress, the live table of rounds, errors.

Everything goes to stderr, so that `--json` on stdout stays clean. Where stderr is no terminal (CI, logs) the live table
becomes one line a round.
"""

import math
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from neurogrid.errors import NeuroGridError

if TYPE_CHECKING:  # what a federation runs on is not installed everywhere
    from neurogrid.fl.record import Round

ROWS_SHOWN = 12
console = Console(stderr=True, highlight=False)
if not console.is_terminal:
    console.width = 160  # a log has no edge to wrap at


def say(text: str) -> None:
    """One line for people."""
    console.print(text, markup=False, soft_wrap=True)


def heading(text: str) -> None:
    """Starts a step."""
    console.print(f"[bold]{text}[/bold]")


def facts(rows: Sequence[tuple[str, str]]) -> None:
    """Named figures, one a line."""
    if not console.is_terminal:  # a log is searched line by line: nothing wrapped
        for name, value in rows:
            say(f"  {name}: {value}")
        return
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(f"  [dim]{name}[/dim]", escape(value))
    console.print(table)


def error(problem: NeuroGridError) -> None:
    """What was wrong, what was found, what to do."""
    first, *rest = str(problem).splitlines()
    console.print("[bold red]neurogrid:[/bold red]", end=" ")
    console.print("\n".join([first, *rest]), markup=False, soft_wrap=True)


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """A spinner while something starts that takes this process's stderr for its own words meanwhile."""
    if not console.is_terminal:
        say(f"  {label}")
        yield
        return
    with os.fdopen(os.dup(2), "w") as terminal:
        console.file = terminal
        try:
            with console.status(f"  {label}"):
                yield
        finally:
            console.file = None  # type: ignore[assignment]


def _progress(label: str) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn(f"  {label}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.description}[/dim]"),
        console=console,
        transient=True,
    )


class Bar:
    """A progress bar; `bar(done, total)` moves it, `bar.step(name, total)` starts it anew under a name."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def __call__(self, done: int, total: int) -> None:
        """How far the work is."""
        self._progress.update(self._task, completed=done, total=total)

    def step(self, name: str, total: int) -> None:
        """A new part of the work."""
        if not console.is_terminal:
            say(f"  {name}: {total}")
        self._progress.reset(self._task, total=total, description=name)


@contextmanager
def bar(label: str) -> Iterator[Bar]:
    """A progress bar while something takes its time."""
    with _progress(label) as progress:
        yield Bar(progress)


class RoundTable:
    """The live table of rounds, while it is entered."""

    def __init__(self, rounds: int, done: int) -> None:
        self._rounds, self._rows = rounds, deque["Round"](maxlen=ROWS_SHOWN)
        self._progress = _progress("rounds")
        self._task = self._progress.add_task("", total=rounds, completed=done)
        self._live = Live(console=console, refresh_per_second=4)
        self._began = time.monotonic()

    def __enter__(self) -> "RoundTable":
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if console.is_terminal:
            self._live.update(self._table())
            self._live.stop()

    def show(self, record: "Round") -> None:
        """Shows a round."""
        self._rows.append(record)
        if console.is_terminal:
            self._progress.update(self._task, completed=record.round_id)
            self._live.update(Group(self._table(), self._progress))
        else:
            say("  " + round_words(record))

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2), header_style="dim", title=None)
        for name in _COLUMNS:
            table.add_column(name, justify="right")
        for record in self._rows:
            table.add_row(*_cells(record), style=None if record.aggregated else "yellow")
        return table


_COLUMNS = ("round", "held-out loss", "training loss", "accepted", "attackers out", "late/lost", "s", "update", "tasks")


def round_words(record: "Round") -> str:
    """The round on one line."""
    return "  ".join(f"{name} {cell}" for name, cell in zip(_COLUMNS, _cells(record), strict=True))


def _cells(record: "Round") -> tuple[str, ...]:
    figures = record.figures
    attackers = figures["byzantine_agents_n"]
    caught = "-" if not attackers else f"{round(attackers * figures['rejection_recall'])}/{attackers}"
    return (
        str(record.round_id),
        number(record.held_out_loss),
        number(figures["loss_mean"]),
        f"{figures['n_accepted_agents']}/{figures['n_total_agents']}" if record.aggregated else "void",
        caught,
        str(figures["n_late_agents"] + figures["n_lost_agents"]),
        f"{record.wallclock_s:.2f}",
        number(record.relative_update),
        str(figures["executors"]),
    )


def scores(test: Mapping[str, Any]) -> None:
    """The test part in short: MAE of each method on trained and on held-out households, and surges."""
    groups = {name: test[name] for name in ("trained", "held_out") if test[name]["households"]}
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("  MAE in kWh (% below the 28-day median)")
    for name, group in groups.items():
        table.add_column(f"{len(group['households'])} {name.replace('_', '-')}", justify="right")
    for method in test["trained"]["methods"]:
        cells = [_score(group["methods"].get(method)) for group in groups.values()]
        table.add_row(f"  {method.replace('_', ' ')}", *cells, style="bold" if method == "federated" else None)
    console.print(table)
    for name, group in groups.items():
        surges = group["surges"][-1]["methods"]
        words = ", ".join(
            f"{method.replace('_', ' ')} {number(own['f1']['value'], 2)}" for method, own in surges.items()
        )
        say(f"  any surge ahead, F1, {name.replace('_', '-')} households: {words}")


def _score(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return "-"
    return f"{number(figures['mae']['value'])} ({number(figures['mae_below_median_percent']['value'], 1)}%)"


def number(value: float | None, digits: int = 4) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:z.{digits}f}"  # z: no -0.0
