"""What a round needs of the rounds before it: named slots, which a checkpoint writes as they are.

Whatever a result depends on is in a slot, so that a run that was killed goes on to the same bits. Whoever needs
something of the rounds before keeps it in a slot of its own; nobody who saves or loads a state knows what is in it.

    model            (d,) float32, the global weights
    server/momentum  (d,) float32, the server's running sum of changes (Hsu et al. 2019, arXiv:1909.06335)
    progress         `Progress`, by which a run stops early
    lost/agents      {agent: [round, ...]}, who took down or held up their tasks, see lost.py
    select/history   of adaptive selection, see select.py
    schedule/...     of a buffered schedule, see schedule.py
    roster/left      [agent, ...], who has left the run, see roster.py; missing where nobody has
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from neurogrid.fl.update import Vector

Array = npt.NDArray[np.float32] | npt.NDArray[np.float64] | npt.NDArray[np.int64]
Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""Numbers are finite: None stands where nothing was measured."""
Slot = Array | Json
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64))


@dataclass(frozen=True, eq=False)
class State:
    """After a round: its number (0 before the first) and the slots. Nobody writes to what is in them."""

    round: int
    slots: Mapping[str, Slot]

    @classmethod
    def start(cls, weights: Vector) -> Self:
        """Before the first round."""
        return cls(0, {}).with_(
            {
                "model": weights,
                "server/momentum": np.zeros_like(weights),
                "progress": Progress().to_json(),
                "lost/agents": {},
            }
        )

    def with_(self, slots: Mapping[str, Slot], *, round: int | None = None) -> Self:  # noqa: A002 - the field's name
        """This state with these slots in the place of those of their names, and another round.

        Raises:
            TypeError: an array has a type that no checkpoint holds, or a value is not JSON.
            ValueError: a number is not finite.
        """
        changed = {name: _checked(name, slot) for name, slot in slots.items()}
        return type(self)(self.round if round is None else round, {**self.slots, **changed})

    def array(self, name: str) -> npt.NDArray[Any]:
        """The slot, which is an array."""
        slot = self.slots[name]
        assert isinstance(slot, np.ndarray), name
        return slot

    def json(self, name: str) -> Any:
        """The slot, which is a JSON value."""
        slot = self.slots[name]
        assert not isinstance(slot, np.ndarray), name
        return slot

    @property
    def weights(self) -> Vector:
        """(d,) float32, the global model."""
        return self.array("model")

    @property
    def progress(self) -> "Progress":
        """How the rounds so far went."""
        return Progress.of(self.json("progress"))


@dataclass(frozen=True)
class Progress:
    """How the rounds so far went, as far as whether to stop depends on it: so it does not grow with them.

    Attributes:
        held_out: held-out loss after each of the last rounds (NaN where none was measured).
        relative_updates: ||change|| / ||weights|| of each of them.
        void_in_a_row: how many of the last rounds changed nothing.
        best_earlier: the smallest held-out loss of the rounds before those; infinite where none was measured.
    """

    held_out: tuple[float, ...] = ()
    relative_updates: tuple[float, ...] = ()
    void_in_a_row: int = 0
    best_earlier: float = math.inf

    @classmethod
    def of(cls, slot: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`; a run from before the slot was bounded has all rounds in it."""
        best = slot.get("best_earlier")
        return cls(
            _floats(slot["held_out"]),
            _floats(slot["relative_updates"]),
            slot["void_in_a_row"],
            math.inf if best is None else best,
        )

    def to_json(self) -> Json:
        """As a slot."""
        return {
            "held_out": _finite(self.held_out),
            "relative_updates": _finite(self.relative_updates),
            "void_in_a_row": self.void_in_a_row,
            "best_earlier": _finite([self.best_earlier])[0],
        }

    def best_before(self, patience: int) -> float:
        """The smallest held-out loss of all rounds but the last `patience`; infinite where none was measured."""
        return min([self.best_earlier, *filter(math.isfinite, self.held_out[:-patience])])

    def after(self, held_out: float, relative_update: float, *, void: bool, patience: int) -> Self:
        """With one more round, of which as many as `patience` are told apart."""
        longer = replace(self, held_out=(*self.held_out, held_out))
        return type(self)(
            longer.held_out[-patience:],
            (*self.relative_updates, relative_update)[-patience:],
            self.void_in_a_row + 1 if void else 0,
            longer.best_before(patience),
        )


def _checked(name: str, slot: Slot) -> Slot:
    """The slot as a checkpoint gives it back, so that a resumed run sees no other than one that goes on."""
    if not isinstance(slot, np.ndarray):
        return cast(Json, json.loads(json.dumps(slot, allow_nan=False)))
    if slot.dtype not in _DTYPES:
        raise TypeError(f"slot {name} is of type {slot.dtype}, not one of {', '.join(map(str, _DTYPES))}")
    return slot


def _finite(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _floats(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else value for value in values)
