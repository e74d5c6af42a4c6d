"""The manifest: who the agents are, what each trains on, who is held out. Made by sampling.py."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

VERSION = 1


@dataclass(frozen=True)
class Part:
    """Readings of one household that belong to an agent.

    Attributes:
        household_id, weather_id: whose; names the file in the warehouse.
        blocks: numbers of the weeks (7 days from the household's first slot, from 0) whose windows belong to the agent;
            None is all of them. IID and Dirichlet partitions deal out weeks.
    """

    household_id: str
    weather_id: str
    blocks: tuple[int, ...] | None = None


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

    agent_id: str
    parts: tuple[Part, ...]
    cluster: int
    district: int
    rows: int
    first: datetime
    train_end: datetime
    validation_end: datetime
    last: datetime


@dataclass(frozen=True)
class Cluster:
    """A cluster of household profiles: its centre in the profiles' own units, and what that means in words."""

    number: int
    households: int
    centre: dict[str, float]
    description: str


@dataclass(frozen=True)
class Manifest:
    """A sampled federation. `fingerprints` are SHA-256 of the files it was made from, by path under the warehouse."""

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
        return json.dumps(asdict(self), sort_keys=True, indent=2, default=datetime.isoformat)

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical JSON; its first 12 digits are the manifest's id."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Inverse of `to_json`; raises ValueError on another version."""
        raw: dict[str, Any] = json.loads(text)
        if raw.get("version") != VERSION:
            raise ValueError(f"manifest version {raw.get('version')!r}, this NeuroGrid reads version {VERSION}")
        return cls(
            **{
                **raw,
                "clusters": tuple(Cluster(**c) for c in raw["clusters"]),
                "agents": tuple(_agent(a) for a in raw["agents"]),
                "held_out": tuple(_agent(a) for a in raw["held_out"]),
                "unused": tuple(raw["unused"]),
            }
        )


def _agent(raw: dict[str, Any]) -> Agent:
    parts = tuple(
        Part(p["household_id"], p["weather_id"], None if p["blocks"] is None else tuple(p["blocks"]))
        for p in raw["parts"]
    )
    times = {k: datetime.fromisoformat(raw[k]) for k in ("first", "train_end", "validation_end", "last")}
    return Agent(**{**raw, "parts": parts, **times})
