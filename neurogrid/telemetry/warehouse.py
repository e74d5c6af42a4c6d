"""Looks at a warehouse again and again, and puts on the page what is new: runs here, other records in pieces.py.

A look costs a listing of the runs, two small reads for each run that has not ended, and what is new. What it holds in
memory depends on the number of runs that it shows, not on their rounds.
"""

from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from pyarrow import ArrowException, fs

from neurogrid.storage import Place
from neurogrid.telemetry.agents import AgentFigures
from neurogrid.telemetry.page import Page
from neurogrid.telemetry.pieces import Pieces
from neurogrid.telemetry.readings import Values
from neurogrid.telemetry.records import Reads, UnreadableError
from neurogrid.telemetry.runs import End, Genesis, RoundFigures, RunFigures, is_read

_RECHECKED = 50
"""Runs that are not shown, whose first records are looked at for a change at each look."""
_RETRIED = 20
"""Broken records that are tried again at each look."""


@dataclass
class _Run:
    """A run as far as it was read.

    `next` is the round to read; `broken` are rounds before it that cannot be read, of which `retried` was tried last.
    """

    place: Place
    written: object
    figures: RunFigures
    agents: AgentFigures | None
    next: int = 1
    broken: set[int] = field(default_factory=set)
    retried: int = 0
    table_broken: bool = False
    changed: bool = True

    @property
    def whole(self) -> bool:
        """Whether nothing of it is left to be read or shown."""
        end = self.figures.end
        read = end is not None and self.next > end.rounds and not self.broken and not self.table_broken
        return read and not self.changed and (self.agents is None or self.agents.whole)


class Warehouse:
    """All that is read of a warehouse.

    Args:
        root: of the warehouse.
        page: where the readings go.
        newest: how many runs are shown.
        per_agent: whether each agent has metrics of its own.
        alive: see Reads.
    """

    def __init__(self, root: Place, page: Page, newest: int, per_agent: bool, alive: Callable[[], None]) -> None:
        self._root, self._page, self._newest, self._per_agent = root, page, newest, per_agent
        self.reads = Reads(alive)
        self._started: dict[str, tuple[float, object]] = {}
        self._shown: dict[str, _Run] = {}
        self._turn = 0
        self._pieces = Pieces(root, page, self.reads, newest)
        self.up: bool | None = None

    @property
    def runs(self) -> tuple[int, int]:
        """How many runs were found and are shown."""
        return len(self._started), len(self._shown)

    def look(self) -> None:
        """Reads what is new. Never raises for what it reads; the page keeps what it had where reading fails."""
        try:
            names = [place.name for place in (self._root / "runs").children()]
        except (OSError, ArrowException):
            self.up = False
            self.reads.fail("warehouse", str(self._root))
            return
        self.reads.succeed("warehouse", str(self._root))
        if self.up is None:  # the first look at a large warehouse is long
            self.up = True
        self._find(names)
        newest = sorted(self._started, key=lambda name: (self._started[name][0], name))[-self._newest :]
        for name in set(self._shown) - set(newest):
            del self._shown[name]
            self.reads.forget(str(self._root / "runs" / name))
        self._page.keep("run/", {f"run/{name}" for name in newest})
        for name in reversed(newest):  # of a large warehouse the newest runs are there first
            self._follow(name)
        self._pieces.look()
        self.up = not self.reads.unreadable("warehouse")

    def _find(self, names: list[str]) -> None:
        """Which runs there are and when each began; one that was made anew under its old name is read anew."""
        for gone in set(self._started) - set(names):
            del self._started[gone]
            self.reads.forget(str(self._root / "runs" / gone))
        hidden = sorted(set(self._started) - set(self._shown))
        self._turn = (self._turn + _RECHECKED) % max(len(hidden), 1)
        suspects = [*self._shown, *hidden[self._turn : self._turn + _RECHECKED]]
        written = self._written([name for name in suspects if name in self._started])
        for name, when in (written or {}).items():
            if when != self._started[name][1]:
                del self._started[name]
                self._shown.pop(name, None)
                self.reads.forget(str(self._root / "runs" / name))
        fresh = [name for name in names if name not in self._started]
        written = self._written(fresh)
        if written is None:
            return
        self.reads.keep("run", {str(self._root / "runs" / name / "run.json") for name in written})
        for name, when in written.items():
            try:
                genesis = self.reads.json("run", self._root / "runs" / name / "run.json", Genesis.parse)
            except UnreadableError:
                continue
            if genesis is not None:
                self._started[name] = (genesis.started_s, when)

    def _written(self, names: list[str]) -> dict[str, object] | None:
        """When each run's first record was written, by the storage's clock; None where storage does not answer."""
        if not names:
            return {}
        places = [self._root / "runs" / name / "run.json" for name in names]
        try:
            found = self._root.filesystem.get_file_info([place.path for place in places])
        except (OSError, ArrowException):
            self.reads.fail("warehouse", str(self._root))
            return None
        return {n: (i.mtime_ns, i.size) for n, i in zip(names, found, strict=True) if i.type == fs.FileType.File}

    def _follow(self, name: str) -> None:
        run = self._shown.get(name) or self._open(name)
        if run is None or run.whole:
            return
        try:
            # The end first: once it is there, so are all rounds.
            if run.figures.end is None:
                with suppress(UnreadableError):
                    run.figures.end = self.reads.json("end", run.place / "end.json", End.parse)
                    run.changed |= run.figures.end is not None
            if run.agents is not None:
                run.changed |= run.agents.retry()
            if run.next == 1 or run.table_broken:
                self._table(run)
            self._rounds(run)
        except UnreadableError:
            pass  # counted; what was read before it stands
        if run.changed:
            run.changed = False
            readings = run.figures.readings()
            if run.agents is not None:
                readings |= run.agents.readings()
            self._page.put(f"run/{name}", readings)

    def _open(self, name: str) -> _Run | None:
        place = self._root / "runs" / name
        try:
            genesis = self.reads.json("run", place / "run.json", Genesis.parse)
        except UnreadableError:
            return None
        if genesis is None:
            return None
        agents = AgentFigures(name, place, self.reads) if self._per_agent else None
        run = self._shown[name] = _Run(place, self._started[name][1], RunFigures(name, genesis), agents)
        return run

    def _table(self, run: _Run) -> None:
        """All rounds so far in one read; where the table is not what it should be, the rounds' own records are read."""
        try:
            rows = self.reads.table("round", run.place / "round_metrics.parquet", is_read) or []
            run.table_broken = False
            figures = [RoundFigures.parse(row) for row in rows]
        except UnreadableError as error:
            if not error.broken:
                raise
            run.table_broken = True
            return
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        if run.next > 1:  # counted from their own records meanwhile
            return
        if [each.number for each in figures] != list(range(1, len(figures) + 1)):
            return
        for each in figures:
            self._count(run, each)
        run.next = len(figures) + 1

    def _count(self, run: _Run, figures: RoundFigures) -> None:
        run.figures.add(figures)
        if run.agents is not None:
            run.agents.add(figures.number)
        run.changed = True

    def _rounds(self, run: _Run) -> None:
        self._retry(run)
        while True:
            try:
                figures = self._round(run, run.next)
            except UnreadableError as error:
                if not error.broken:  # storage does not answer: it will, or someone has to look
                    raise
                run.broken.add(run.next)
            else:
                if figures is not None:
                    self._count(run, figures)
                elif run.figures.end is not None and run.next <= run.figures.end.rounds:
                    run.broken.add(run.next)
                    self.reads.fail("round", str(_record(run, run.next)))
                else:
                    return
            run.next += 1

    def _retry(self, run: _Run) -> None:
        """Tries some of the broken rounds again, those first whose turn it is."""
        broken = sorted(run.broken)
        turn = bisect_right(broken, run.retried)
        for number in (broken[turn:] + broken[:turn])[:_RETRIED]:
            run.retried = number
            try:
                figures = self._round(run, number)
            except UnreadableError:
                continue
            if figures is not None:
                run.broken.discard(number)
                self._count(run, figures)
            elif number == run.next - 1 and run.figures.end is None:
                # The newest one is gone: nothing comes after it, so it may yet be written.
                run.broken.discard(number)
                run.next = number
            else:
                self.reads.fail("round", str(_record(run, number)))

    def _round(self, run: _Run, number: int) -> RoundFigures | None:
        def parse(record: dict[str, object]) -> RoundFigures:
            figures = RoundFigures.parse(record)
            if figures.number != number:
                raise ValueError("the record of another round")
            return figures

        return self.reads.json("round", _record(run, number), parse)

    def readings(self) -> Values:
        """How reading goes."""
        values = Values()
        values.put("neurogrid_exporter_warehouse_up", None if self.up is None else float(self.up))
        found, shown = self.runs
        values.put("neurogrid_exporter_runs", found, state="found")
        values.put("neurogrid_exporter_runs", shown, state="shown")
        return values


def _record(run: _Run, number: int) -> Place:
    return run.place / "rounds" / f"round={number:04d}.json"
