"""Whose readings a teacher learns from, and which rank reads them: never a held-out household, each file one rank's."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from neurogrid.data.manifest import Agent, Manifest, Part
from neurogrid.data.tables import CurrentTable, current_tables
from neurogrid.errors import UsageError
from neurogrid.plural import plural
from neurogrid.randomness import generator
from neurogrid.storage import Place


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


def choose(
    manifest: Manifest, warehouse: Place, consent: Consent, without: Collection[str] = ()
) -> tuple[CurrentTable, ...]:
    """The tables of the households to teach, by name; those `without` which a share is drawn are never among them.

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
    known = {name: table for name, table in _known(warehouse, manifest).items() if name not in without}
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
            f"a share of {consent.share:g} draws no household to teach",
            found=f"{len(pool)} usable households that are not held out" + (" and no agent's" if consent.apart else ""),
            fix="raise teacher.share, take fewer agents, or set teacher.apart to false",
        )
    chosen = generator(consent.seed, "teacher households").permutation(len(pool))[:count]
    return sorted(pool[i] for i in chosen.tolist())


def _known(warehouse: Place, manifest: Manifest) -> dict[str, CurrentTable]:
    """The current tables; of households that the manifest deals out, the tables that it names."""
    known = current_tables(warehouse)
    own = {part.household_id: part for agent in manifest.agents for part in agent.parts}
    return {
        name: replace(table, weather_id=own[name].weather_id, table=own[name].table) if name in own else table
        for name, table in known.items()
    }


@dataclass(frozen=True)
class Taught:
    """A household's table that a teacher learnt from.

    Attributes:
        sha256: of the table, which says its periods too.
        train_end, validation_end: it learnt from slots before the one, and chose its best epoch by those before the
            other; None where that was not noted.
    """

    sha256: str
    train_end: datetime | None
    validation_end: datetime | None


def refuse_leaks(taught: Mapping[str, Taught], manifest: Manifest, model: str) -> None:
    """Refuses a model that knows what a federation is tested with: households held out, or time that it tests on.

    Args:
        taught: what the model learnt from, by household.
        manifest: the federation's.
        model: the teacher or the run that it is of, in words.

    Raises:
        UsageError: names the households.
    """
    both = sorted({part.household_id for agent in manifest.held_out for part in agent.parts} & set(taught))
    if both:
        raise UsageError(
            f"{model} learnt from households that this manifest holds out, so they would prove nothing",
            found=_few(both),
            fix="use the manifest that it was made with, or start from another model",
        )
    later = [
        said
        for agent in manifest.agents
        for part in agent.parts
        if (known := taught.get(part.household_id)) and (said := _later(known, manifest, agent, part))
    ]
    if later:
        raise UsageError(
            f"{model} learnt from time that this federation tunes or tests on, so that would prove nothing",
            found=_few(later),
            fix="use the manifest that it was made with, or start from another model",
        )


def _later(taught: Taught, manifest: Manifest, agent: Agent, part: Part) -> str:
    """Why what was taught may reach into what the agent's household is tuned or tested on; empty where it does not."""
    if manifest.fingerprints[part.path] == taught.sha256:
        return ""
    whose = f"household {part.household_id}"
    # A manifest has the periods of an agent's first household alone.
    if taught.train_end is None or taught.validation_end is None or part != agent.parts[0]:
        return f"{whose} has another table by now, and until when it was taught is not known"
    if taught.train_end > agent.train_end:
        return f"{whose} was taught until {taught.train_end}, its training here ends {agent.train_end}"
    if taught.validation_end > agent.validation_end:
        return f"{whose} was validated until {taught.validation_end}, its validation here ends {agent.validation_end}"
    return ""


def deal(households: Sequence[CurrentTable], ranks: int) -> tuple[tuple[CurrentTable, ...], ...]:
    """Each rank's households: the largest first, to whoever has the fewest slots so far.

    A household's file, and so each of its row groups, is one rank's alone: a window may reach over row groups.

    Raises:
        UsageError: there are fewer households than ranks.
    """
    if len(households) < ranks:
        raise UsageError(
            f"there are fewer households than ranks, of which each needs one: {plural(ranks, 'rank')}",
            found=f"{plural(len(households), 'household')} to teach",
            fix="set teacher.ranks lower, or teach more households",
        )
    hands: list[list[CurrentTable]] = [[] for _ in range(ranks)]
    sizes = [0] * ranks
    for household in sorted(households, key=lambda h: (-h.rows, h.household_id)):
        lightest = sizes.index(min(sizes))
        hands[lightest].append(household)
        sizes[lightest] += household.rows
    return tuple(tuple(sorted(hand, key=lambda h: h.household_id)) for hand in hands)


def changed(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Files whose fingerprint is not the expected one, of those that are in both."""
    return sorted(name for name, digest in found.items() if expected.get(name, digest) != digest)


def others(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Files that are not among those expected, with the same fingerprint."""
    return sorted(name for name, digest in found.items() if expected.get(name) != digest)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
