"""The manifest: who the agents are, what each trains on, who is held out. Made by sampling.py.

Its id is its content's, so one that was changed is another one: in a warehouse each lies in a folder named after its
id, and is refused there where that no longer fits.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from pydantic import AwareDatetime, ConfigDict, TypeAdapter, ValidationError

from neurogrid.data.household import (
    FIRST_TABLE,
    TABLE_NAME,
    Household,
    HouseholdMeta,
    household_path,
    read_household,
    unusable_name,
)
from neurogrid.errors import InputError
from neurogrid.storage import Place

VERSION = 2
"""Of manifests that are written. Version 1, whose tables all have one name, is read too."""
_MOST_SAID = 3
_WORDS = {
    "missing": "is missing",
    "unexpected_keyword_argument": "is not a key of a manifest",
    "timezone_aware": "has no offset from UTC",
}
_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Part:
    """Readings of one household that belong to an agent.

    Attributes:
        household_id, weather_id: whose; names the file in the warehouse.
        blocks: numbers of the weeks (7 days from the household's first slot, from 0) whose windows belong to the agent;
            None is all of them. IID and Dirichlet partitions deal out weeks.
        table: name of the file.
    """

    __pydantic_config__ = _STRICT
    household_id: str
    weather_id: str
    blocks: tuple[int, ...] | None = None
    table: str = FIRST_TABLE

    @property
    def path(self) -> str:
        """The file, under the warehouse's root."""
        return household_path(self.weather_id, self.household_id, self.table)


@dataclass(frozen=True)
class Agent:
    """One agent of the federation (or one held-out household, which has no district and never trains).

    Attributes:
        agent_id: `A0001`, or `H0001` for a held-out household.
        parts: what it holds; one whole household in the natural partition.
        cluster: number of its cluster of load profiles.
        district: number of its district, from 0; -1 for held-out households.
        rows: slots that it holds.
        first, train_end, validation_end, last: its periods (of its first part, where it has several), UTC.
    """

    __pydantic_config__ = _STRICT
    agent_id: str
    parts: tuple[Part, ...]
    cluster: int
    district: int
    rows: int
    first: AwareDatetime
    train_end: AwareDatetime
    validation_end: AwareDatetime
    last: AwareDatetime


@dataclass(frozen=True)
class Cluster:
    """A cluster of household profiles: its centre in the profiles' own units, and what that means in words."""

    __pydantic_config__ = _STRICT
    number: int
    households: int
    centre: dict[str, float]
    description: str


@dataclass(frozen=True)
class Manifest:
    """A sampled federation. `fingerprints` are SHA-256 of the files it was made from, by path under the warehouse."""

    __pydantic_config__ = _STRICT
    seed: int
    cadence_minutes: int
    partition: str
    districts: int
    silhouette: float
    clusters: tuple[Cluster, ...]
    agents: tuple[Agent, ...]
    held_out: tuple[Agent, ...]
    unused: tuple[str, ...]
    fingerprints: dict[str, str]
    version: int = VERSION

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, ISO times, two spaces."""
        content = asdict(self)
        for part in (part for agent in (*content["agents"], *content["held_out"]) for part in agent["parts"]):
            if part["table"] == FIRST_TABLE:  # which manifests of version 1 don't say, whose id is their content's
                del part["table"]
        return json.dumps(content, sort_keys=True, indent=2, default=datetime.isoformat)

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical JSON; its first 12 digits are the manifest's id."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def cluster_of_household(self) -> dict[str, int]:
        """Cluster of each household that is one agent or held out; those dealt out by weeks are left out."""
        whole = [agent for agent in (*self.agents, *self.held_out) if all(part.blocks is None for part in agent.parts)]
        return {part.household_id: agent.cluster for agent in whole for part in agent.parts}

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Inverse of `to_json`; raises ValueError, in words, on what is no manifest or contradicts itself."""
        try:
            raw: Any = json.loads(text)
        except RecursionError as error:
            raise ValueError("lists or objects inside each other, too deep") from error
        if not isinstance(raw, dict):
            raise ValueError(f"a JSON {type(raw).__name__}, not an object with keys")
        if raw.get("version", VERSION) not in (1, VERSION):
            raise ValueError(f"manifest version {raw['version']!r}, this NeuroGrid reads versions 1 and {VERSION}")
        try:
            manifest = _READER.validate_json(text)
        except ValidationError as error:
            raise ValueError(few([_said(dict(problem)) for problem in error.errors()])) from error
        problems = [*_problems(manifest), *_misplaced(manifest), *_doubly_dealt(manifest)]
        if problems:
            raise ValueError(few(problems))
        return manifest


_READER = TypeAdapter(Manifest)


def read_manifest(file: Place) -> Manifest:
    """A manifest from its file.

    Raises:
        InputError: it is none, contradicts itself, or lies in a warehouse under another id than its content's.
    """
    try:
        manifest = Manifest.from_json(file.read_bytes())
    except (ValueError, OSError) as error:
        raise InputError(
            f"{file} is not a usable manifest", found=str(error), fix="make one with `neurogrid sample`"
        ) from error
    found = manifest.sha256[:12]
    match file.path.split("/"):
        case [*_, "manifests", wanted, _] if wanted != found:
            raise InputError(
                f"{file} was changed: it is not manifest {wanted} any more",
                found=f"the id of its content is {found}",
                fix="sample again with `neurogrid sample`, or restore the file as it was; a manifest of your own is "
                "put anywhere else and named by its path (--manifest)",
            )
    return manifest


def keep(manifest: Manifest, warehouse: Place) -> None:
    """Makes sure that the manifest is in the warehouse, where whoever knows its id finds it.

    Raises:
        InputError: it is not, and cannot be written there.
    """
    file = warehouse / "manifests" / manifest.sha256[:12] / "manifest.json"
    content = manifest.to_json().encode()
    if file.exists() and file.read_bytes() == content:
        return
    try:
        file.write(content)
    except OSError as error:
        raise InputError(
            f"manifest {manifest.sha256[:12]} cannot be put into the warehouse {warehouse}",
            found=str(error),
            fix="choose another with --warehouse, or change its permissions",
        ) from error


def read_part(warehouse: Place, manifest: Manifest, agent: Agent, part: Part) -> Household:
    """The readings of an agent's part, where they are; they are the very ones that the manifest was made from.

    Raises:
        OSError: they cannot be read.
        ValueError, KeyError: they are others, or no table, or do not fit what the manifest says of them.
    """
    household = read_household(warehouse / part.path, manifest.fingerprints.get(part.path, ""))
    meta = household.meta
    if meta.cadence_minutes != manifest.cadence_minutes:
        raise ValueError(f"slots of {meta.cadence_minutes} min, by the manifest of {manifest.cadence_minutes}")
    if part == agent.parts[0] and periods(meta) != periods(agent):
        name, own = next((name, own) for name, own in periods(meta).items() if own != periods(agent)[name])
        raise ValueError(f"{name} is {own}, by the manifest {periods(agent)[name]}")
    return household


def periods(known: Agent | HouseholdMeta) -> dict[str, datetime]:
    """The ends of the periods by name, in their order."""
    return {
        "first": known.first,
        "train_end": known.train_end,
        "validation_end": known.validation_end,
        "last": known.last,
    }


def few(problems: Sequence[str]) -> str:
    """The first of many problems, and how many more there are."""
    more = f"; and {len(problems) - _MOST_SAID} more" if len(problems) > _MOST_SAID else ""
    return "; ".join(problems[:_MOST_SAID]) + more


def _said(problem: dict[str, Any]) -> str:
    """One of pydantic's problems with the path to its key, e.g. `agents[3].first has no offset from UTC`."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
    message = problem["msg"]
    words = _WORDS.get(problem["type"]) or f"is wrong: {message[0].lower()}{message[1:]}"
    return f"{path} {words}" if path else str(message)


def _problems(manifest: Manifest) -> Iterator[str]:
    """What cannot be so by the manifest alone, agent by agent."""
    if not manifest.agents:
        yield "agents is empty"
    if manifest.cadence_minutes < 1:
        yield f"cadence_minutes is {manifest.cadence_minutes}"
    everyone = (*manifest.agents, *manifest.held_out)
    for agent_id, times in Counter(agent.agent_id for agent in everyone).items():
        if times > 1:
            yield f"agent {agent_id} is there {times} times"
    for agent in everyone:
        if not agent.parts:
            yield f"agent {agent.agent_id} has no parts, so no readings"
        for (earlier, begin), (later, end) in pairwise(periods(agent).items()):
            if begin > end:
                yield f"{later} of agent {agent.agent_id} is before its {earlier}, {begin}"
        yield from _unusable_parts(manifest, agent)


def _unusable_parts(manifest: Manifest, agent: Agent) -> Iterator[str]:
    """What is wrong with an agent's parts; their names become paths, so each is one of a folder."""
    for part in agent.parts:
        for kind, name in (("household", part.household_id), ("weather", part.weather_id)):
            if reason := unusable_name(name):
                yield f"{kind}_id of agent {agent.agent_id}: {reason}"
        if any(block < 0 for block in part.blocks or ()):
            yield f"household {part.household_id} of agent {agent.agent_id} has a week before its first"
        if not TABLE_NAME.fullmatch(part.table):
            yield f"table {part.table!r} of agent {agent.agent_id} is not the name of a table"
        elif part.path not in manifest.fingerprints:
            yield f"fingerprints has none of {part.path}, which agent {agent.agent_id} holds"
        elif part.table != FIRST_TABLE and not manifest.fingerprints[part.path].startswith(part.table[:12]):
            yield f"the fingerprint of {part.path} is not the one that its name says"


def _misplaced(manifest: Manifest) -> Iterator[str]:
    """Districts of agents that are none, or of nobody: means are taken by district, numbered from 0."""
    for agent in manifest.agents:
        if not 0 <= agent.district < manifest.districts:
            yield (
                f"agent {agent.agent_id} is in district {agent.district}, but there are {manifest.districts}, from 0 on"
            )
    taken = {agent.district for agent in manifest.agents}
    # So many numbers are enough to find one that is free.
    empty = next((number for number in range(len(taken) + 1) if number not in taken), 0)
    if empty < manifest.districts:
        yield f"nobody is in district {empty} of the {manifest.districts}"


def _doubly_dealt(manifest: Manifest) -> Iterator[str]:
    """Households that are both trained on and held out, or of which a week is dealt out twice."""
    held_out = {part.household_id: agent.agent_id for agent in manifest.held_out for part in agent.parts}
    weeks: dict[str, list[int | None]] = defaultdict(list)
    for agent in manifest.agents:
        for part in agent.parts:
            if part.household_id in held_out:
                yield (
                    f"household {part.household_id} trains as agent {agent.agent_id} "
                    f"and is held out as {held_out[part.household_id]}"
                )
            weeks[part.household_id] += [None] if part.blocks is None else part.blocks
    for household, dealt in weeks.items():
        if len(set(dealt)) < len(dealt) or (None in dealt and len(dealt) > 1):
            yield f"household {household} is dealt to agents more than once"
