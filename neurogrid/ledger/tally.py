"""What a round's record says of its agents in sum, so that whoever follows a run reads one small file a round.

The audits beside it say the same agent by agent.
"""

import bisect
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from neurogrid.fl.record import TRAIN_S_BOUNDS, Round, reason_kind, suspected

# The fields of each struct stand in the order of their names, as those of the JSON record do.
TALLY: list[tuple[str, pa.DataType]] = [
    (
        "rejections",
        pa.list_(pa.struct([("agents", pa.int64()), ("malicious", pa.bool_()), ("reason", pa.string())])),
    ),
    ("districts", pa.list_(pa.struct([("accepted", pa.int64()), ("asked", pa.int64()), ("district", pa.int64())]))),
    ("agent_train_counts", pa.list_(pa.int64())),
    ("agent_train_s", pa.float64()),
]
"""Rejected agents by reason and by who they are; each district's; how long agents trained, by `TRAIN_S_BOUNDS`, and
the sum of it."""


def tally(record: Round) -> dict[str, Any]:
    """The columns of `TALLY`."""
    rejected = Counter((reason_kind(a.reason), a.malicious is True) for a in record.agents if not a.accepted)
    trained_s = [a.train_s for a in record.agents if math.isfinite(a.train_s)]
    return {
        "rejections": [
            {"agents": agents, "malicious": malicious, "reason": reason}
            for (reason, malicious), agents in sorted(rejected.items())
        ],
        "districts": [{"accepted": d.accepted, "asked": d.asked, "district": d.district} for d in record.districts],
        "agent_train_counts": _counts(trained_s),
        "agent_train_s": _total(trained_s),
    }


def _total(seconds: Sequence[float]) -> float:
    """Their sum, infinite where no float holds it: a record is written whatever an agent says of itself."""
    try:
        return math.fsum(seconds)
    except OverflowError:
        return math.inf


def against_f(genesis: Mapping[str, Any], record: Mapping[str, Any]) -> int:
    """How many rejections count against f, by a round's record and its run's first one; see `suspected`."""
    return suspected(genesis["rule"], ((own["reason"], own["agents"]) for own in record.get("rejections") or ()))


def _counts(seconds: Sequence[float]) -> list[int]:
    """How many are at most each bound and more than the one before; the last is of those above all bounds."""
    counts = [0] * (len(TRAIN_S_BOUNDS) + 1)
    for value in seconds:
        counts[bisect.bisect_left(TRAIN_S_BOUNDS, value)] += 1
    return counts
