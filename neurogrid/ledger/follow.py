"""A run's figures while it goes on: each look reads only the rounds that came since the one before.

For those who watch from outside the run's own process, on any storage; nothing here takes the run's lock.
"""

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.errors import UsageError
from neurogrid.ledger.chain import Record
from neurogrid.ledger.journal import round_name
from neurogrid.ledger.summary import PHASES
from neurogrid.storage import Place

SILENT_LEAST_S = 120.0
SILENT_ROUNDS = 10
_FILTERED, _VOID, _FAILED, _CLAIMS = "filtered by ", "round void: ", "failed: ", "claims "


@dataclass
class Tally:
    """Updates asked and what became of them, of one district or of all."""

    asked: int = 0
    answered: int = 0
    accepted: int = 0
    malicious: int = 0


@dataclass
class Followed:
    """All that was read of a run so far.

    Attributes:
        genesis: what the run was made from.
        rounds: its durable rounds' records, in order.
        end: the last record of its chain; None while it has not ended.
        districts: tallies by district, over all rounds.
        rejected: how many updates were not accepted, by (reason, whether an attacker sent it).
        newest_at: when the newest record was written, by the storage's clock; None where it does not say.
    """

    genesis: Record
    rounds: list[Record] = field(default_factory=list)
    end: Record | None = None
    districts: dict[int, Tally] = field(default_factory=lambda: defaultdict(Tally))
    rejected: Counter[tuple[str, bool]] = field(default_factory=Counter)
    newest_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """`ended`, `running`, or `silent` after ten times its median round (two minutes at least) without a new one."""
        if self.end is not None:
            return "ended"
        age = self.age_s(now)
        usual = median([float(r["wallclock_s"]) for r in self.rounds]) if self.rounds else 0.0
        return "silent" if age is not None and age > max(SILENT_LEAST_S, SILENT_ROUNDS * usual) else "running"

    def age_s(self, now: datetime) -> float | None:
        """Seconds since the newest record was written."""
        return None if self.newest_at is None else max(0.0, (now - self.newest_at).total_seconds())

    def figures(self, now: datetime) -> dict[str, Any]:
        """What a watcher shows, JSON-able: None where a figure does not exist."""
        total = Tally(
            *(sum(getattr(t, name) for t in self.districts.values()) for name in ("asked", "answered", "accepted"))
        )
        caught = sum(n for (_, malicious), n in self.rejected.items() if malicious)
        malicious, rejected = sum(r["byzantine_agents_n"] for r in self.rounds), sum(self.rejected.values())
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
                "asked": total.asked,
                "answered": total.answered,
                "late": sum(r["n_late_agents"] for r in self.rounds),
                "lost": sum(r["n_lost_agents"] for r in self.rounds),
                "accepted": total.accepted,
            },
            "districts": {
                str(number): {"asked": own.asked, "accepted": own.accepted}
                for number, own in sorted(self.districts.items())
            },
            "rejected": [
                {"reason": reason, "attackers": malicious, "updates": n}
                for (reason, malicious), n in sorted(self.rejected.items())
            ],
            "assumed_f": self.rounds[-1]["assumed_f"] if self.rounds else None,
            "rejection_recall": caught / malicious if malicious else None,
            "rejection_precision": caught / rejected if malicious and rejected else None,
            "bytes_down": sum(r["bytes_down"] for r in self.rounds),
            "bytes_up": sum(r["bytes_up"] for r in self.rounds),
            "executors": self.rounds[-1]["executors"] if self.rounds else None,
        }


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
        while found.end is None and (record := _read(self._place(len(found.rounds) + 1))) is not None:
            self._count(found, round_name(len(found.rounds) + 1))
            found.rounds.append(record)
            found.newest_at = _written(self._place(len(found.rounds)))
        if found.end is None:
            found.end = _read(self._run / "end.json")
        return found

    def _place(self, number: int) -> Place:
        return self._run / "rounds" / f"{round_name(number)}.json"

    def _count(self, found: Followed, name: str) -> None:
        file = self._run / "audit" / "agent_round_audit" / f"{name}.parquet"
        columns = ["district", "answered", "accepted", "malicious", "reason"]
        try:
            rows = pq.read_table(pa.BufferReader(file.read_bytes()), columns=columns).to_pylist()
        except (OSError, pa.ArrowInvalid):
            return  # Someone removed or broke it; `audit` is who says so, the round's own record still counts.
        for row in rows:
            own = found.districts[row["district"]]
            own.asked += 1
            own.answered += row["answered"]
            own.accepted += row["accepted"]
            own.malicious += row["malicious"]
            if not row["accepted"]:
                found.rejected[short_reason(row["reason"]), bool(row["malicious"])] += 1


class Newest:
    """Finds the run that was started last; a run's first record is read once."""

    def __init__(self, warehouse: Place) -> None:
        self._runs = warehouse / "runs"
        self._started: dict[str, str] = {}

    def look(self) -> Place | None:
        """The newest run; None where there is none yet."""
        for run in self._runs.children():
            if run.name not in self._started and (genesis := _read(run / "run.json")) is not None:
                self._started[run.name] = str(genesis.get("started", ""))
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
        """
        run = self._warehouse / "runs" / self._run_id if self._run_id else self._newest.look()
        if run is None:
            return None
        found = self._followers.setdefault(run.name, Follower(run)).look()
        if found is None:
            there = ", ".join(child.name for child in (self._warehouse / "runs").children())
            raise UsageError(
                f'there is no run "{run.name}" in {self._warehouse}',
                found=there or "no runs at all",
                fix="name one of these, leave the name out for the newest, or give the warehouse with --warehouse",
            )
        return found.figures(now)


def short_reason(reason: str) -> str:
    """A reason without what differs from one update to the next, so that few kinds remain to count."""
    if reason.startswith((_FILTERED, _VOID)):
        return reason.split(":", maxsplit=1)[0]
    if reason.startswith(_FAILED):
        return "failed"
    return "impossible claim" if reason.startswith(_CLAIMS) else reason or "not said"


def _spread(values: list[float | None]) -> dict[str, float | None]:
    known = [float(v) for v in values if v is not None and math.isfinite(v)]
    if not known:
        return {"last": None, "median": None, "longest": None}
    return {"last": known[-1], "median": median(known), "longest": max(known)}


def _read(place: Place) -> Record | None:
    """A JSON record; None where it is not there (yet), or is not JSON because someone changed it."""
    try:
        content = json.loads(place.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _written(place: Place) -> datetime | None:
    moment = place.filesystem.get_file_info(place.path).mtime
    return moment.astimezone(UTC) if moment is not None else None
