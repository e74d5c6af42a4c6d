"""A run's figures while it goes on: each look reads only the rounds that came since the one before.

For those who watch from outside the run's own process, on any storage; nothing here takes the run's lock.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

from neurogrid.errors import UsageError
from neurogrid.fl.record import flat, precision
from neurogrid.ledger.chain import Record, is_intact, parse, plain
from neurogrid.ledger.records import changed, round_name
from neurogrid.ledger.summary import PHASES
from neurogrid.ledger.tally import against_f
from neurogrid.lock import is_released
from neurogrid.storage import Place

SILENT_LEAST_S = 120.0
SILENT_ROUNDS = 10


@dataclass
class Followed:
    """All that was read of a run so far.

    Attributes:
        genesis: what the run was made from.
        rounds: its durable rounds' figures, see `record.flat`, in order.
        end: the last record of its chain; None while it has not ended.
        released: whether the process that wrote to it has let go of it.
        newest_at: when the newest record was written, by the storage's clock; None where it does not say.
    """

    genesis: Record
    rounds: list[Record] = field(default_factory=list)
    end: Record | None = None
    released: bool = False
    newest_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """`ended`, `stopped`, `running`, or `silent`: no new round for ten times the median, two minutes at least.

        `damaged` is a run that has ended and has fewer readable records than it wrote.
        """
        if self.end is not None:
            return "ended" if len(self.rounds) == self.end["rounds"] else "damaged"
        if self.released:
            return "stopped"
        age = self.age_s(now)
        known = [float(r["wallclock_s"]) for r in self.rounds if r["wallclock_s"] is not None]
        usual = median(known) if known else 0.0
        return "silent" if age is not None and age > max(SILENT_LEAST_S, SILENT_ROUNDS * usual) else "running"

    def age_s(self, now: datetime) -> float | None:
        """Seconds since the newest record was written."""
        return None if self.newest_at is None else max(0.0, (now - self.newest_at).total_seconds())

    def figures(self, now: datetime) -> dict[str, Any]:
        """What a watcher shows, JSON-able: None where a figure does not exist."""
        districts: dict[str, dict[str, int]] = {}
        refused: Counter[tuple[str, bool]] = Counter()
        for record in self.rounds:
            for entry in record["districts"]:
                own = districts.setdefault(str(entry["district"]), {"asked": 0, "accepted": 0})
                own["asked"] += entry["asked"]
                own["accepted"] += entry["accepted"]
            for entry in record["rejections"]:
                refused[entry["reason"], entry["malicious"]] += entry["agents"]
        malicious = self._sum("byzantine_agents_n")
        share = precision((*kind, agents) for kind, agents in refused.items())
        caught = sum(n for (_, attacks), n in refused.items() if attacks)
        return {
            "run_id": self.genesis["run_id"],
            "state": self.state(now),
            "reason": self.end["reason"] if self.end else None,
            "age_s": self.age_s(now),
            "rounds": len(self.rounds),
            "rounds_asked": self.genesis["rounds"],
            "void_rounds": sum(not r["aggregated"] for r in self.rounds),
            "latency_s": {name: _spread([r.get(f"{name}_s") for r in self.rounds]) for name in ("wallclock", *PHASES)},
            "held_out_loss": [r["held_out_loss"] for r in self.rounds],
            "training_loss": [r["loss_mean"] for r in self.rounds],
            "acceptance": [r["acceptance_rate"] for r in self.rounds],
            "updates": {
                "asked": self._sum("n_total_agents"),
                "answered": self._sum("n_answered_agents"),
                "late": self._sum("n_late_agents"),
                "lost": self._sum("n_lost_agents"),
                "accepted": self._sum("n_accepted_agents"),
            },
            "districts": dict(sorted(districts.items(), key=lambda entry: int(entry[0]))),
            "rejected": [
                {"reason": reason, "attackers": attacks, "updates": n}
                for (reason, attacks), n in sorted(refused.items())
            ],
            "assumed_f": self.rounds[-1]["assumed_f"] if self.rounds else None,
            "suspected": [against_f(self.genesis, r) for r in self.rounds],
            "rejection_recall": caught / malicious if malicious else None,
            "rejection_precision": plain(share) if malicious else None,
            "bytes_down": self._sum("bytes_down"),
            "bytes_up": self._sum("bytes_up"),
            "executors": self.rounds[-1]["executors"] if self.rounds else None,
        }

    def _sum(self, name: str) -> int:
        return sum(record[name] for record in self.rounds)


class Follower:
    """Reads a run's folder anew at each look; what was read once is not read again."""

    def __init__(self, run: Place) -> None:
        self._run = run
        self._found: Followed | None = None

    def look(self) -> Followed | None:
        """What is there now; None while the run has no first record."""
        if self._found is None:
            genesis = _read(self._run / "run.json")
            if genesis is None:
                return None
            self._found = Followed(genesis, newest_at=_written(self._run / "run.json"))
        found = self._found
        found.released = is_released(self._run)  # before its end, which is written first
        while found.end is None and (record := _read(self._place(len(found.rounds) + 1))) is not None:
            found.rounds.append(flat(record))
            found.newest_at = _written(self._place(len(found.rounds)))
        if found.end is None:
            found.end = _read(self._run / "end.json")
        return found

    def _place(self, number: int) -> Place:
        return self._run / "rounds" / f"{round_name(number)}.json"


class Newest:
    """Finds the run that was started last; a run's first record is read once."""

    def __init__(self, warehouse: Place) -> None:
        self._runs = warehouse / "runs"
        self._started: dict[str, str] = {}

    def look(self) -> Place | None:
        """The newest run; None where there is none yet."""
        for run in self._runs.children():
            if run.name not in self._started and (started := _started(run / "run.json")) is not None:
                self._started[run.name] = started
        # Of two that were started in the same second, one by name: the same one at every look.
        newest = max(self._started.items(), key=lambda entry: entry[::-1], default=None)
        return None if newest is None else self._runs / newest[0]


class Following:
    """The run that is named, or whichever is newest at each look."""

    def __init__(self, warehouse: Place, run_id: str) -> None:
        self._warehouse, self._run_id, self._newest = warehouse, run_id, Newest(warehouse)
        self._followers: dict[str, Follower] = {}

    def look(self, now: datetime) -> dict[str, Any] | None:
        """The run's figures (see `Followed.figures`); None while there is no run and none is named.

        Raises:
            UsageError: the run that is named is not there.
            RunError: its first record is not as it was written.
        """
        run = self._warehouse / "runs" / self._run_id if self._run_id else self._newest.look()
        if run is None:
            return None
        found = self._followers.setdefault(run.name, Follower(run)).look()
        if found is None and (run / "run.json").exists():
            raise changed(run, f"run {run.name} was modified: {run}/run.json is not as it was written")
        if found is None:
            there = ", ".join(child.name for child in (self._warehouse / "runs").children())
            raise UsageError(
                f'there is no run "{run.name}" in {self._warehouse}',
                found=there or "no runs at all",
                fix="name one of these, leave the name out for the newest, or give the warehouse with --warehouse",
            )
        return found.figures(now)


def _spread(values: list[float | None]) -> dict[str, float | None]:
    known = [float(v) for v in values if v is not None and math.isfinite(v)]
    if not known:
        return {"last": None, "median": None, "longest": None}
    return {"last": known[-1], "median": plain(median(known)), "longest": max(known)}


def _read(place: Place) -> Record | None:
    """A record; None where it is not there (yet), or is not as it was written."""
    try:
        record = parse(place.read_bytes())
    except OSError:
        return None
    return record if record is not None and is_intact(record) else None


def _started(place: Place) -> str | None:
    """When a run says that it was started, be it damaged or not; None where it has not begun."""
    try:
        return str((parse(place.read_bytes()) or {}).get("started", ""))
    except OSError:
        return None


def _written(place: Place) -> datetime | None:
    moment = place.filesystem.get_file_info(place.path).mtime
    return moment.astimezone(UTC) if moment is not None else None
