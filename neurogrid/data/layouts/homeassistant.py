"""History that Home Assistant exports as CSV: states of energy sensors, each at the moment when it changed.

Read about the format: the history panel of Home Assistant's frontend (ha-panel-history.ts), which writes the columns
`entity_id,state,last_changed` with times in UTC, and the documentation of sensors (state class `total_increasing`).
Each entity is a household. The file names no unit: states are taken as kWh, and an entity whose state falls too often
for a register (a power, a temperature) is passed over.

A register that nobody uses does not change, and has no row. Its state at a quarter hour is the last one before it, if
the next row comes within an hour of that quarter hour, whatever it says; else the state is not known, for the sensor
may have been away. Nothing is interpolated.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import text
from neurogrid.data.layouts.blocks import MINUTE_US, Floats, Ints, tables
from neurogrid.data.readings import UnusableFileError

NAME = "homeassistant"
ENDS = False
LABELS = "utc"
REGISTER = True
MINUTES = 15

COLUMNS = ("entity_id", "state", "last_changed")
AWAY = frozenset({"unavailable", "unknown", "none", ""})
MOST_ROWS = 10_000_000
"""Rows of numbers are held until the file ends, for entities may take turns: some 25 bytes each."""
LONGEST_NAME = 255
STEP_US, KNOWN_US = MINUTES * MINUTE_US, 60 * MINUTE_US
REGISTER_FALLS, LEAST_FALLS = 0.1, 3
"""Of a register's changes at most such a share are falls (resets); so few are none to judge by."""


@dataclass
class Entity:
    """Rows of one entity in the file's order: moments, states (NaN where it was away or is text) and lines."""

    moments: "array[int]" = field(default_factory=lambda: array("q"))
    states: "array[float]" = field(default_factory=lambda: array("d"))
    lines: "array[int]" = field(default_factory=lambda: array("q"))
    numbers: int = 0


def is_it(beginning: bytes, name: str) -> str:
    """Why a file is a history of Home Assistant; empty where it is not."""
    columns = text.cells(text.first_line(beginning).casefold(), ",")
    return f"its header has {', '.join(COLUMNS)}" if set(COLUMNS) <= set(columns) else ""


def rows(stream: BinaryIO, name: str, faults: FaultLog) -> Iterator[pa.Table]:
    """States of registers at quarter hours, as tables of ROWS.

    Raises:
        UnusableFileError: a column is missing, there are too many rows, or no entity is a register.
    """
    numbered = text.lines(stream)
    head = text.header(numbered, COLUMNS, name)
    entities = _entities(numbered, head, faults)
    why, given = [], False
    for household, entity in sorted(entities.items()):
        moments, states, lines = (np.array(column) for column in (entity.moments, entity.states, entity.lines))
        order = np.argsort(moments, kind="stable")
        moments, states, lines = moments[order], states[order], lines[order]
        if reason := _why_not(entity, states):
            why.append(f"{household}: {reason}")
            faults.add_rows(Fault.PASSED_OVER, lines.astype(np.int32), (why[-1] for _ in lines))
            continue
        away = np.isnan(states)
        faults.add_rows(Fault.NULL_VALUE, lines[away].astype(np.int32), (f"{household} has no number" for _ in lines))
        below = states < 0
        faults.add_rows(
            Fault.NEGATIVE, lines[below].astype(np.int32), (f"{household}: {each:g}" for each in states[below])
        )
        states[below] = np.nan
        at, which = _known(moments, states)
        if len(at):
            given = True
            faults.add(Fault.ASSUMED, f"{household}: the file names no unit; taken as kWh", int(lines[0]))
            none, never = np.full(len(at), np.nan), np.zeros(len(at), bool)
            yield from tables(household, at, states[which], none, never, np.zeros(len(at), np.int64), lines[which])
        else:
            why.append(f"{household}: no two states within an hour around a quarter hour")
    if not given:
        raise UnusableFileError(
            Fault.NO_READINGS,
            "no entity whose states are those of an energy register, in kWh and never falling; "
            + ("; ".join(why[:5]) or faults.cause() or "no rows"),
        )


def _entities(numbered: Iterator[tuple[int, str]], head: text.Header, faults: FaultLog) -> dict[str, Entity]:
    """Rows by entity; those of which no time can be read are counted."""
    entities: dict[str, Entity] = {}
    places = [head.columns[column] for column in COLUMNS]
    count = 0
    for line, whole in numbered:
        row = text.cells(whole, head.separator)
        if len(row) <= max(places) or not 0 < len(row[places[0]]) <= LONGEST_NAME:
            faults.add(Fault.BROKEN_ROW, f"not {', '.join(COLUMNS)}: {whole[: text.SHOWN]}", line)
            continue
        household, state, changed = (row[place] for place in places)
        time = text.clock_us(changed)
        if time is None or not time[1]:
            wanted = "wanted is 2025-01-31T00:15:00.000Z"
            faults.add(Fault.BAD_TIMESTAMP, f"last_changed = {changed!r:.{text.SHOWN}}; {wanted}", line)
            continue
        count += 1
        if count > MOST_ROWS:
            raise UnusableFileError(
                Fault.UNREADABLE_FILE, f"more than {MOST_ROWS:,} rows; export fewer entities or days"
            )
        value = text.number(state)
        finite = value is not None and np.isfinite(value)
        entity = entities.setdefault(household, Entity())
        entity.moments.append(time[0])
        entity.states.append(value if value is not None and finite else np.nan)
        entity.lines.append(line)
        entity.numbers += finite
        if not finite and state.casefold() not in AWAY and entity.numbers:
            faults.add(Fault.BAD_NUMBER, f"state = {state!r:.{text.SHOWN}}", line)
    return entities


def _why_not(entity: Entity, states: Floats) -> str:
    if not entity.numbers:
        return "no numbers"
    changes = np.diff(states[np.isfinite(states)])
    falls, moves = int((changes < 0).sum()), int((changes != 0).sum())
    if falls >= LEAST_FALLS and falls > REGISTER_FALLS * moves:
        return f"falls at {falls:,} of {moves:,} changes, so a power or another measurement and no register"
    return ""


def _known(moments: Ints, states: Floats) -> tuple[Ints, Ints]:
    """Quarter hours at which the state is known, and the row of that state."""
    rows_, last = np.arange(len(moments)), len(moments) - 1
    exact = (moments % STEP_US == 0) & np.append(moments[1:] > moments[:-1], True)
    at, which = [moments[exact]], [rows_[exact]]
    following, before = moments[1:], moments[:-1]
    latest = (following - 1) // STEP_US * STEP_US
    for step in range(KNOWN_US // STEP_US):
        quarter = latest - step * STEP_US
        known = (quarter > before) & (following - quarter <= KNOWN_US)
        at.append(quarter[known])
        which.append(rows_[:last][known])
    quarters, origin = np.concatenate(at), np.concatenate(which)
    numbers = np.isfinite(states[origin])
    quarters, origin = quarters[numbers], origin[numbers]
    order = np.argsort(quarters, kind="stable")
    return quarters[order], origin[order]
