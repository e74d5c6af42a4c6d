"""Metrics of each agent of a run, from its audits: as many series as agents, so only for those who ask for them."""

import math
from dataclasses import dataclass
from typing import Any

from neurogrid.storage import Place
from neurogrid.telemetry.readings import Readings, Values
from neurogrid.telemetry.records import Reads, UnreadableError

_COLUMNS = ("agent_id", "answered", "accepted", "norm", "train_loss", "train_s")


@dataclass
class _Agent:
    asked: int = 0
    accepted: int = 0
    train_s: float = 0.0
    norm: float = math.nan
    train_loss: float = math.nan
    answered_round: int = 0


class AgentFigures:
    """What became of each agent of a run so far."""

    def __init__(self, run_id: str, run: Place, reads: Reads) -> None:
        self._run_id, self._run, self._reads = run_id, run, reads
        self._agents: dict[str, _Agent] = {}
        self._unread: set[int] = set()

    def add(self, number: int) -> None:
        """Counts a round's audit in; one that cannot be read is tried again later."""
        file = self._run / "audit" / "agent_round_audit" / f"round={number:04d}.parquet"
        try:
            rows = self._reads.table("audit", file, _COLUMNS.__contains__) or []
        except UnreadableError:
            self._unread.add(number)
            return
        self._unread.discard(number)
        for row in rows:
            self._count(self._agents.setdefault(str(row["agent_id"]), _Agent()), row, number)

    @property
    def whole(self) -> bool:
        """Whether all audits so far could be read."""
        return not self._unread

    def retry(self) -> bool:
        """Tries again what could not be read; whether any of it could now."""
        before = set(self._unread)
        for number in sorted(before):
            self.add(number)
        return self._unread != before

    @staticmethod
    def _count(agent: _Agent, row: dict[str, Any], number: int) -> None:
        agent.asked += 1
        agent.accepted += row["accepted"]
        if row["answered"]:
            if number > agent.answered_round:  # an audit that was broken may be read after later ones
                agent.norm, agent.train_loss, agent.answered_round = row["norm"], row["train_loss"], number
            agent.train_s += row["train_s"] if math.isfinite(row["train_s"]) else 0.0

    def readings(self) -> Readings:
        """All samples."""
        values = Values(run=self._run_id)
        for name, agent in sorted(self._agents.items()):
            values.put("neurogrid_agent_training_seconds_total", agent.train_s, agent=name)
            values.put("neurogrid_agent_rounds_asked_total", agent.asked, agent=name)
            values.put("neurogrid_agent_rounds_accepted_total", agent.accepted, agent=name)
            values.put("neurogrid_agent_update_norm", agent.norm, agent=name)
            values.put("neurogrid_agent_training_loss", agent.train_loss, agent=name)
        return values.readings
