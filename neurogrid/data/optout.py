"""Households that opted out: read before anybody is drawn, asked, taught, scored or forecast.

One folder a household, `optout/Household_ID=<id>/`, with when it was put there. So adding one changes nothing of
another, two people can add at once, and an object store needs no lock. The folder alone counts, so a write that was cut
short errs on the side of the household.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime

from neurogrid.data.household import unusable_name
from neurogrid.data.manifest import Agent, Manifest, few
from neurogrid.data.tables import CurrentTable, current_tables
from neurogrid.errors import InputError, UsageError
from neurogrid.plural import plural
from neurogrid.storage import Place

_FOLDER, _PREFIX = "optout", "Household_ID="


def opted_out(warehouse: Place) -> frozenset[str]:
    """Ids of the households that opted out of this warehouse's federations."""
    names = [child.name for child in (warehouse / _FOLDER).children()]
    return frozenset(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))


def opt_out(warehouse: Place, households: Iterable[str], now: datetime) -> list[str]:
    """Puts households on the list, for good; returns those that were not on it, in order.

    Raises:
        UsageError: a name can be no household's. Then nothing is written.
    """
    names = sorted(set(households))
    if wrong := [problem for name in names if (problem := unusable_name(name))]:
        raise UsageError("a household that is to opt out must have the name of one", found=few(wrong))
    new = sorted(set(names) - opted_out(warehouse))
    for name in new:
        since = json.dumps({"since": now.isoformat(timespec="seconds")})
        (warehouse / _FOLDER / f"{_PREFIX}{name}" / "since.json").write(since)
    return new


def tables_to_use(warehouse: Place) -> dict[str, CurrentTable]:
    """The current tables of households that have not opted out.

    Raises:
        InputError: there is none, or their list cannot be read.
    """
    gone, tables = opted_out(warehouse), current_tables(warehouse)
    left = {name: table for name, table in tables.items() if name not in gone}
    if not left:
        raise InputError(
            f"nobody is left in {warehouse}",
            found=f"all of its {plural(len(tables), 'household')} opted out",
            fix="clean the readings of other households with `neurogrid etl`",
        )
    return left


def refuse_opted_out(warehouse: Place, households: Iterable[str]) -> None:
    """Raises UsageError where one of these opted out."""
    if both := sorted(opted_out(warehouse) & set(households)):
        raise UsageError(
            "a household that opted out is not to be used",
            found=few(both),
            fix="leave it out; `neurogrid optout list` says who opted out",
        )


def holders(manifest: Manifest, households: Collection[str]) -> frozenset[str]:
    """Ids of the agents, held-out ones too, that hold readings of any of these households."""
    return frozenset(agent.agent_id for agent in (*manifest.agents, *manifest.held_out) if _holds(agent, households))


def remaining(manifest: Manifest, warehouse: Place) -> Manifest:
    """The manifest without agents, held-out ones too, that hold readings of somebody who opted out.

    Raises:
        UsageError: no agent is left.
    """
    gone = opted_out(warehouse)
    agents = tuple(agent for agent in manifest.agents if not _holds(agent, gone))
    if not agents:
        raise UsageError(
            f"no agent of manifest {manifest.sha256[:12]} is left",
            found=f"all of its {plural(len(manifest.agents), 'agent')} hold readings of households that opted out",
            fix="make another manifest with `neurogrid sample`",
        )
    held_out = tuple(agent for agent in manifest.held_out if not _holds(agent, gone))
    return replace(manifest, agents=agents, held_out=held_out)


def _holds(agent: Agent, households: Collection[str]) -> bool:
    return any(part.household_id in households for part in agent.parts)
