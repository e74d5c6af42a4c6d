"""What a job in a pod says for machines: one line of JSON on stdout for each thing that happened.

A driver on a cluster has no terminal, and its warehouse may be a claim that nobody outside can read; its log is what
reaches everybody. `neurogrid k8s` reads these lines back, and makes the same live table of them as on a laptop.
"""

import json
import math
import sys
from collections.abc import Mapping
from typing import Any, Self

from neurogrid.fl.record import Round

MARK = "neurogrid"


def emit(kind: str, **content: Any) -> None:
    """Prints a line of this kind; what JSON has no word for (NaN) is null."""
    # Python and the JVM share stdout in a driver: a line goes out whole and at once.
    sys.stdout.write(json.dumps({MARK: kind, **plain(content)}, default=str, allow_nan=False) + "\n")
    sys.stdout.flush()


def parse(line: str) -> tuple[str, dict[str, Any]] | None:
    """Kind and content of a line that `emit` printed; None for any other."""
    if not line.startswith(f'{{"{MARK}": "'):
        return None
    try:
        content = json.loads(line)
    except ValueError:
        return None  # cut off, or mixed with what another process wrote
    return content.pop(MARK), content


class RoundLines:
    """With the face of `show.RoundTable`: a line at the start and a line a round."""

    def __init__(self, rounds: int, done: int) -> None:
        emit("training", rounds=rounds, done=done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return

    def show(self, record: Round) -> None:
        """Says what happened in a round."""
        # The records of agents stand in the ledger; a line of a log has no room for them.
        emit("round", **record.core)


def to_round(content: Mapping[str, Any]) -> Round:
    """The round of a `round` line, without its agents.

    Raises:
        TypeError: the line lacks a field, or has one more (another version wrote it).
    """
    return Round(**_numbers(content), agents=(), districts=())


def _numbers(content: Mapping[str, Any]) -> dict[str, Any]:
    inner = {name: _numbers(value) if isinstance(value, Mapping) else value for name, value in content.items()}
    return {name: float("nan") if value is None else value for name, value in inner.items()}


def plain(value: Any) -> Any:
    """The value with null for every number that JSON has no word for."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
