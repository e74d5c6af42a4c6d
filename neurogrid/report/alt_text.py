"""What a screen reader says of a chart beside its title: the figures that a glance at the picture gives."""

import math
from collections.abc import Iterable, Sequence


def value(number: float) -> str:
    """Four digits; a dash where there is no number."""
    return f"{number:,.4g}" if math.isfinite(number) else "–"


def series(label: str, values: Sequence[float]) -> str:
    """`held out: first 0.62, last 0.41, lowest 0.4, highest 0.62`."""
    known = [number for number in values if math.isfinite(number)]
    if not known:
        return f"{label}: no values"
    ends = {"first": known[0], "last": known[-1], "lowest": min(known), "highest": max(known)}
    return f"{label}: " + ", ".join(f"{name} {value(number)}" for name, number in ends.items())


def sentence(axis: str, parts: Iterable[str]) -> str:
    """The axis, then its parts: `loss by round. held out: ...; training: ...`."""
    return f"{axis}. {'; '.join(parts)}"
