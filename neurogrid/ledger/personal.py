"""What agents say of the models that they made of a run's last weights for themselves: a table, and a few figures."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pyarrow as pa

from neurogrid.fl.claims import KNOWN
from neurogrid.fl.order import Missing, Scores
from neurogrid.fl.update import AgentId
from neurogrid.ledger.table import to_parquet

PERSONAL = "personal.parquet"
_FIGURES = ("loss", *(name for name in KNOWN if name.startswith(("loss_", "share_"))))
_SCHEMA = pa.schema(
    [
        ("agent", pa.string()),
        ("reason", pa.string()),
        ("windows", pa.int64()),
        *((name, pa.float64()) for name in _FIGURES),
    ]
)
"""An agent, why it has no model of its own (empty where it has one), how many windows it was tuned on, the loss on its
validation part of what it uses and of each candidate, and the candidates' shares in it. Null is what it did not say."""


@dataclass(frozen=True)
class PersonalAnswers:
    """Each agent's answer."""

    answers: Mapping[AgentId, Scores | Missing]

    def table(self) -> bytes:
        """As Parquet, a row an agent."""
        return to_parquet(map(_row, self.answers.items()), _SCHEMA)

    def missing(self) -> list[AgentId]:
        """Who has no model of its own."""
        return [agent for agent, answer in self.answers.items() if isinstance(answer, Missing)]

    def summary(self) -> dict[str, Any]:
        """Figures of all agents together; None where nobody has one.

        `loss` and `loss_federated` are means over the agents that have both.
        """
        found = [answer.claims.metrics for answer in self.answers.values() if isinstance(answer, Scores)]
        both = [own for own in found if {"loss", "loss_federated"} <= own.keys()]
        return {
            "asked": len(self.answers),
            "agents": len(found),
            "loss_federated": _mean(own["loss_federated"] for own in both),
            "loss": _mean(own["loss"] for own in both),
            "shares": {
                name.removeprefix("share_"): _mean(own.get(name, 0.0) for own in found)
                for name in _FIGURES
                if name.startswith("share_")
            },
        }


def _row(item: tuple[AgentId, Scores | Missing]) -> dict[str, Any]:
    agent, answer = item
    if isinstance(answer, Missing):
        return {"agent": agent, "reason": answer.reason, "windows": 0}
    figures = {name: answer.claims.metrics.get(name) for name in _FIGURES}
    return {"agent": agent, "reason": "", "windows": answer.claims.windows, **figures}


def _mean(values: Iterable[float]) -> float | None:
    known: Sequence[float] = [value for value in values if math.isfinite(value)]
    return fmean(known) if known else None
