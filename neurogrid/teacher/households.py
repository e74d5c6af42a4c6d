"""Whose readings a teacher learns from, and which rank reads them: never a held-out household, each file one rank's."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from neurogrid.data.household import household_path
from neurogrid.data.manifest import Agent, Manifest
from neurogrid.errors import InputError, UsageError
from neurogrid.fl.randomness import generator
from neurogrid.storage import Place


@dataclass(frozen=True)
class TaughtHousehold:
    """A household that a teacher learns from: whose file, and how many slots it has."""

    household_id: str
    weather_id: str
    rows: int

    @property
    def file(self) -> str:
        """Its path under the warehouse's root."""
        return household_path("", self.weather_id, self.household_id).lstrip("/")


@dataclass(frozen=True)
class Consent:
    """Who may be taught; exactly one of the two is given.

    Attributes:
        households: by name.
        share: of the households that may be drawn, above 0.
        apart: whether only households that are no agent's may be drawn.
        seed: of the draw.
    """

    households: tuple[str, ...]
    share: float
    apart: bool
    seed: int


def choose(manifest: Manifest, warehouse: Place, consent: Consent) -> tuple[TaughtHousehold, ...]:
    """The households to teach, by name.

    Raises:
        UsageError: nobody is named and no share given; a household is held out, unknown, or named twice; the share
            draws nobody.
        InputError: the warehouse has no households.
    """
    if bool(consent.households) == (consent.share > 0):
        raise UsageError(
            "a teacher learns only from households that are named or drawn for it",
            found="both teacher.households and teacher.share" if consent.households else "neither list nor share",
            fix="list those who consented in teacher.households, or set teacher.share where all of them did",
        )
    known = _known(warehouse)
    held_out = {part.household_id for agent in manifest.held_out for part in agent.parts}
    if consent.households:
        names = list(consent.households)
        both = sorted(held_out & set(names))
        if both:
            raise UsageError(
                "a household cannot be both taught and held out",
                found=f"{_few(both)} held out by manifest {manifest.sha256[:12]}",
                fix="take them out of teacher.households, or sample another manifest",
            )
        missing = [name for name in names if name not in known]
        if missing or len(set(names)) < len(names):
            raise UsageError(
                "teacher.households must name households of the warehouse, each once",
                found=f"not there: {_few(missing)}" if missing else f"{len(names) - len(set(names))} named twice",
                fix="households.parquet in the warehouse lists those that are there",
            )
        return tuple(known[name] for name in sorted(names))
    return tuple(known[name] for name in _drawn(manifest, set(known), held_out, consent))


def _drawn(manifest: Manifest, known: set[str], held_out: set[str], consent: Consent) -> list[str]:
    agents = {part.household_id for agent in manifest.agents for part in agent.parts}
    idle = {entry.partition(":")[0] for entry in manifest.unused if "usable, not drawn" in entry}
    pool = sorted(((idle if consent.apart else idle | agents) - held_out) & known)
    count = round(consent.share * len(pool))
    if not count:
        raise UsageError(
            f"a share of {consent.share:g} draws nobody to teach",
            found=f"{len(pool)} usable households that are not held out" + (" and no agent's" if consent.apart else ""),
            fix="raise teacher.share, take fewer agents, or set teacher.apart to false",
        )
    chosen = generator(consent.seed, "teacher households").permutation(len(pool))[:count]
    return sorted(pool[i] for i in chosen.tolist())


def _known(warehouse: Place) -> dict[str, TaughtHousehold]:
    try:
        content = (warehouse / "households.parquet").read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"there are no households in {warehouse}", found="no households.parquet", fix="make them: `neurogrid etl`"
        ) from error
    rows = pq.read_table(io.BytesIO(content), columns=["household_id", "weather_id", "rows"]).to_pylist()
    return {row["household_id"]: TaughtHousehold(**row) for row in rows}


def refuse_held_out(taught: Sequence[str], held_out: Sequence[Agent], teacher: str) -> None:
    """Raises UsageError where a teacher learnt from households that a federation holds out."""
    both = sorted({part.household_id for agent in held_out for part in agent.parts} & set(taught))
    if both:
        raise UsageError(
            f"teacher {teacher} learnt from households that this manifest holds out, which proves nothing then",
            found=_few(both),
            fix="take the manifest that the teacher was made with, or teach another one",
        )


def deal(households: Sequence[TaughtHousehold], ranks: int) -> tuple[tuple[TaughtHousehold, ...], ...]:
    """Each rank's households: the largest first, to whoever has the fewest slots so far.

    A household's file, and so each of its row groups, is one rank's alone: a window may reach over row groups.

    Raises:
        UsageError: there are fewer households than ranks.
    """
    if len(households) < ranks:
        raise UsageError(
            f"{ranks} ranks need at least as many households: a rank without readings has nothing to train on",
            found=f"{len(households)} households to teach",
            fix="set teacher.ranks lower, or teach more households",
        )
    hands: list[list[TaughtHousehold]] = [[] for _ in range(ranks)]
    sizes = [0] * ranks
    for household in sorted(households, key=lambda h: (-h.rows, h.household_id)):
        lightest = sizes.index(min(sizes))
        hands[lightest].append(household)
        sizes[lightest] += household.rows
    return tuple(tuple(sorted(hand, key=lambda h: h.household_id)) for hand in hands)


def changed(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Files whose fingerprint is not the expected one, of those that are in both."""
    return sorted(name for name, digest in found.items() if expected.get(name, digest) != digest)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
