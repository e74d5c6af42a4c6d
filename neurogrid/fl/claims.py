"""What agents and tasks say about themselves, and how it comes in: bounded, by known names, and without ever raising.

Every backend takes claims through `claims`, on the agent's side and again where they arrive, so that a round has the
same claims wherever its agents run. The rest are the bounds of single values: counts, seconds, names of hosts, reasons.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_OWN = ("usual", "federated", "personal", "alone")
KNOWN = ("loss", "train_s", *(f"{what}_{which}" for what in ("loss", "share") for which in _OWN))
"""The figures that are taken from an agent; others are left where they are."""
MOST_FIGURE = 1e12
MOST_SECONDS = 1e7
MOST_WINDOWS = 2**31 - 1
MOST_CANDIDATES = 4096
MOST_REASON = 400
"""Most characters of a reason for which an agent is missing."""

_SECONDS = frozenset({"train_s"})
_SHARES = frozenset(name for name in KNOWN if name.startswith("share_"))
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Claims:
    """What an agent says of its training, its score or its personal model.

    Attributes:
        windows: how many windows it was over, 0 to `MOST_WINDOWS`.
        metrics: figures of `KNOWN` names, finite and bounded. One that is neither is not here.
        losses: of one that voted, the loss of each candidate; infinite where it is not a finite, bounded number.
    """

    windows: int
    metrics: Mapping[str, float]
    losses: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something is not taken."""

    reason: str


def claims(windows: object, metrics: object) -> Claims | Refusal:
    """What an agent claims, or why that can't be claimed. Never raises, whatever it is given.

    A figure of the wrong type is refused; one that is not finite, or beyond its bounds, says nothing and is left out.
    """
    try:
        return _claims(windows, metrics)
    except Exception as error:  # a mapping that is an agent's own code may raise anything
        return Refusal(f"wrong shape: its claims cannot be read: {type(error).__name__}")


def _claims(windows: object, metrics: object) -> Claims | Refusal:
    number = count(windows, MOST_WINDOWS)
    if number is None:
        return Refusal(f"claims {reason(windows)[:40]} windows")
    if not isinstance(metrics, Mapping):
        return Refusal(f"wrong shape: metrics is {type(metrics).__name__}, not a mapping")
    found = {}
    for name in KNOWN:
        value = metrics.get(name)
        if value is None:
            continue
        if not _is_number(value):
            return Refusal(f"wrong shape: metric {name} is {type(value).__name__}, not a number")
        figure = seconds(value) if name in _SECONDS else _share(value) if name in _SHARES else _figure(value)
        if figure is not None:
            found[name] = figure
    return Claims(number, found)


def ballot(losses: object) -> Claims | Refusal:
    """What an agent that voted claims, or why that can't be claimed. Never raises, whatever it is given.

    A loss that is no finite number, or beyond its bounds, is worse than all others: weights that give none are no good.
    """
    try:
        if not isinstance(losses, list | tuple) or not 0 < len(losses) <= MOST_CANDIDATES:
            return Refusal(f"wrong shape: its votes are not a list of 1 to {MOST_CANDIDATES} losses")
        if not all(loss is None or _is_number(loss) for loss in losses):
            return Refusal("wrong shape: one of its votes is not a number")
        found = [None if loss is None else _figure(loss) for loss in losses]
    except Exception as error:  # a list that is an agent's own code may raise anything
        return Refusal(f"wrong shape: its votes cannot be read: {type(error).__name__}")
    return Claims(0, {}, tuple(math.inf if loss is None else loss for loss in found))


def count(value: object, most: int) -> int | None:
    """A whole number from 0 to `most`, or None."""
    number: Any = value if _is_number(value) else -1
    return int(number) if 0 <= number <= most and number == int(number) else None


def seconds(value: object) -> float | None:
    """A duration from 0 to `MOST_SECONDS`, or None."""
    number: Any = value if _is_number(value) else -1
    return float(number) if 0 <= number <= MOST_SECONDS else None


def host(value: object) -> str | None:
    """A host's name or address, or None."""
    return value if isinstance(value, str) and _HOST.fullmatch(value) else None


def reason(value: object) -> str:
    """Words on one line, of at most `MOST_REASON` characters, all of them printable."""
    try:
        text = str(value)
    except Exception:  # an exception of an agent's own
        text = "without words"
    words = " ".join(text[: 4 * MOST_REASON].split())
    return "".join(letter for letter in words if letter.isprintable())[:MOST_REASON]


def _figure(number: Any) -> float | None:
    return float(number) if -MOST_FIGURE <= number <= MOST_FIGURE else None


def _share(number: Any) -> float | None:
    return float(number) if 0 <= number <= 1 else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
