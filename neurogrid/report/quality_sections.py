"""The sections of the data-quality page: facts in, tables and pictures out."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from neurogrid.data.faults import MEANINGS, Fault
from neurogrid.data.sources import NO_WEATHER
from neurogrid.data.summary import MONDAY
from neurogrid.plural import plural
from neurogrid.report.quality_facts import Example, Household, QualityFacts
from neurogrid.report.readings import energy, tiers
from neurogrid.report.table import Cell, Column, Section, Table, number, percent
from neurogrid.report.time_charts import Row, coverage_map, daily_shapes, load_over_time

MOST_ROWS = 200
"""Households of the coverage map."""
_MOST_LISTED = 50
_MOST_NAMES = 10
_MOST_LETTERS = 160
Counts = npt.NDArray[np.int64]
Rows = list[list[str | Cell]]


def coverage(facts: QualityFacts) -> Section:
    """The heat map of measured slots."""
    title = "What was measured, week by week?"
    households = facts.households
    if not households:
        why = next(iter(facts.unreadable.values()), "no household has a table")
        return Section("coverage", title, missing=f"There is nothing to show: {why}.")
    first, weeks = _weeks(households)
    every = _row(f"all {len(households):,}", households, _measured, first, weeks)
    rows = [_row(h.household_id, [h], _measured, first, weeks) for h in households]
    rows.sort(key=lambda row: (row.whole, row.label))
    note = "Households with most slots missing come first. Rest the mouse on a row to see its share."
    if len(rows) > MOST_ROWS:
        note = (
            f"The {MOST_ROWS} of {len(rows):,} households with most slots missing, worst first. Each of the others has "
            f"{percent(rows[MOST_ROWS].whole, 2)} or more of its slots."
        )
        rows = rows[:MOST_ROWS]
    chart = coverage_map(
        "Measured slots by household and week", MONDAY + timedelta(weeks=first), [every, *rows], "measured", note
    )
    lead = (
        "The colour says how many of a household’s slots were measured in each week (UTC, from Monday), between its "
        "first and its last reading. Gaps inside a household’s time are filled from earlier values and marked as not "
        "measured. The first row is of all households together."
    )
    problems = [f"Table of household {name} cannot be read: {why}" for name, why in facts.unreadable.items()]
    return Section(
        "coverage",
        title,
        lead,
        wide=(chart,),
        tables=(tiers(facts.report),),
        notes=(*energy(facts.report), *problems[:_MOST_LISTED]),
    )


def _weeks(households: Sequence[Household]) -> tuple[int, int]:
    """The first week of all, and how many there are up to the last."""
    first = min(h.first_week for h in households)
    return first, max(h.first_week + len(h.slots) for h in households) - first


def _measured(household: Household) -> Counts:
    return household.measured


def _row(
    label: str,
    households: Sequence[Household],
    counted: Callable[[Household], Counts],
    first: int,
    weeks: int,
) -> Row:
    """Share of the slots of these households that are counted, by week from `first`."""
    slots, found = np.zeros(weeks, np.int64), np.zeros(weeks, np.int64)
    for household in households:
        own = slice(household.first_week - first, household.first_week - first + len(household.slots))
        slots[own] += household.slots
        found[own] += counted(household)
    shares = np.divide(found, slots, out=np.full(weeks, np.nan), where=slots > 0)
    return Row(label, shares, float(found.sum() / max(slots.sum(), 1)))


def worst(facts: QualityFacts) -> Section:
    """The households with most slots missing: a table of ten, the load of some."""
    title = "Which households lack most?"
    listed = [row for row in facts.report.get("worst") or () if row.get("missing_share", 0) > 0]
    if not listed:
        return Section("worst", title, missing="No household lacks a slot.")
    rows: Rows = [
        [
            str(row["household_id"]),
            str(row["weather_id"]),
            Cell(number(row["rows"])),
            Cell(percent(row["missing_share"], 2), share=row["missing_share"]),
            Cell(number(row["longest_gap_minutes"] / 60, 1)),
            Cell(percent(row["zero_share"], 1)),
            Cell(number(row["faults"])),
            Cell(number(row["energy_kwh"], 1)),
        ]
        for row in listed
    ]
    columns = (
        Column("Household", numeric=False),
        Column("Weather station", numeric=False),
        Column("Slots"),
        Column("Not measured"),
        Column("Longest gap", "hours"),
        Column("Readings of zero"),
        Column("Faults"),
        Column("Energy", "kWh"),
    )
    table = Table("Households with most slots missing", columns, rows)
    if not facts.shown:
        lead = "Their load is not drawn, because show_households is off."
        return Section("worst", title, lead, tables=(table,))
    lead = (
        "These pictures show readings of single households. Give this page only to those who may see them, or set "
        "show_households to false and make it again. The line is the mean measured power. Where it breaks on grey "
        "ground, nothing was measured. The strip under it says how much was measured, in the colours of the map above."
    )
    charts = tuple(
        load_over_time(
            f"Household {load.meta.household_id}", load.meta.first, load.meta.cadence_minutes, load.kwh, load.measured
        )
        for load in facts.loads
    )
    return Section("worst", title, lead, charts=charts, tables=(table,))


def repairs(facts: QualityFacts) -> Section:
    """What was wrong, what was done about it, and an example of each kind."""
    title = "What was wrong, and what was done?"
    faults: dict[str, int] = facts.report.get("faults") or {}
    if not faults:
        return Section("repairs", title, missing="No fault was found in any household’s file.")
    order = sorted(faults, key=lambda kind: (-faults[kind], kind))
    rows: Rows = [
        [kind.replace("_", " "), _meaning(kind), Cell(number(faults[kind])), *_example_cells(facts.examples.get(kind))]
        for kind in order
    ]
    columns = (
        Column("Fault", numeric=False),
        Column("What it is and what was done", numeric=False),
        Column("Count"),
        Column("Example", "file and line", numeric=False),
        Column("What stood there", numeric=False),
    )
    lead = (
        "Every cell, row and file that could not be used as it stood is counted. The first of each kind are listed for "
        "each household in quality/faults.parquet; one is shown here."
    )
    return Section("repairs", title, lead, tables=(Table("Faults by kind", columns, rows),))


def _meaning(kind: str) -> str:
    return MEANINGS[Fault(kind)] if kind in {str(fault) for fault in MEANINGS} else ""


def _example_cells(example: Example | None) -> tuple[str, str]:
    """Where it stood, and what stood there."""
    if example is None:
        return "–", "–"
    where = example.file or f"household {example.household_id}"
    return _clear(f"{where}, line {example.line}" if example.line is not None else where), _clear(example.text)


def _clear(text: str) -> str:
    """Text of a file as a person can read it: nothing invisible, no more than a few lines."""
    shown = "".join(letter if letter.isprintable() else "�" for letter in " ".join(text.split()))
    return shown if len(shown) <= _MOST_LETTERS else f"{shown[:_MOST_LETTERS]}…"


def weather(facts: QualityFacts) -> Section:
    """Gaps of weather stations by week, and what was wrong with their files."""
    title = "Where is weather missing?"
    stations: dict[str, list[Household]] = defaultdict(list)
    for household in facts.households:
        if household.weather_id != NO_WEATHER:
            stations[household.weather_id].append(household)
    if not stations:
        return Section("weather", title, missing="No household has a weather station.")
    known = [household for own in stations.values() for household in own]
    first, weeks = _weeks(known)

    def row(label: str, households: Sequence[Household]) -> Row:
        return _row(label, households, lambda household: household.weather, first, weeks)

    rows = [row(f"{name} ({len(own):,})", own) for name, own in stations.items()]
    rows.sort(key=lambda each: (each.whole, each.label))
    note = ""
    if len(rows) > MOST_ROWS:
        note = f"The {MOST_ROWS} of {len(rows):,} stations with most missing."
    chart = coverage_map(
        "Slots with measured weather by station and week",
        MONDAY + timedelta(weeks=first),
        [row(f"all {len(stations):,}", known), *rows[:MOST_ROWS]],
        "with measured weather",
        note,
    )
    lead = (
        "For each station, the share of its households’ slots that have measured weather. In brackets stands the "
        "number of households. The first row is of all stations."
    )
    faults: dict[str, dict[str, int]] = facts.report.get("weather_faults") or {}
    lines: Rows = [
        [
            station,
            kind.replace("_", " "),
            _meaning(kind),
            Cell(number(count)),
            *_example_cells(facts.station_examples.get((station, kind))),
        ]
        for station, kinds in faults.items()
        for kind, count in kinds.items()
    ]
    columns = (
        Column("Station", numeric=False),
        Column("Fault", numeric=False),
        Column("What it is and what was done", numeric=False),
        Column("Count"),
        Column("Example", "station and line", numeric=False),
        Column("What stood there", numeric=False),
    )
    more = f"and {len(lines) - _MOST_LISTED:,} more in quality/report.json" if len(lines) > _MOST_LISTED else ""
    table = Table("Faults in weather files", columns, lines[:_MOST_LISTED], note=more)
    return Section("weather", title, lead, wide=(chart,), tables=(table,) if lines else ())


def shapes(facts: QualityFacts) -> Section:
    """The usual day of each cluster, or of all households."""
    title = "What does a usual day look like?"
    by_id = {household.household_id: household for household in facts.households}
    if not by_id:
        return Section("shapes", title, missing="No household has a table, so there is nothing to show.")
    if facts.manifest is None:
        values = np.array([household.kw_by_hour for household in facts.households])
        lines = [("mean of all households", mean_shape(values)), *_spread(values)]
        lead = (
            "Mean measured power by hour of the local day. A tenth of the households lies below the 10th percentile of "
            "an hour, and a tenth above the 90th. `neurogrid sample` draws a line for each kind of household here."
        )
        return Section("shapes", title, lead, charts=(daily_shapes("A usual day of all households", lines),))
    members: dict[int, list[npt.NDArray[np.float64]]] = defaultdict(list)
    for household, cluster in facts.manifest.cluster_of_household().items():
        if household in by_id:
            members[cluster].append(by_id[household].kw_by_hour)
    found = [
        (
            f"{cluster.number + 1}. {cluster.description} ({plural(len(members[cluster.number]), 'household')})",
            mean_shape(np.array(members[cluster.number])),
        )
        for cluster in facts.manifest.clusters
        if members[cluster.number]
    ]
    lead = (
        f"Mean measured power by hour of the local day, for each kind of household of manifest "
        f"{facts.manifest.sha256[:12]}: those of its households that are one agent or held out."
    )
    if not found:
        return Section("shapes", title, missing="No agent of the manifest is one household.")
    return Section("shapes", title, lead, charts=(daily_shapes("A usual day of each kind of household", found),))


def mean_shape(values: npt.NDArray[np.float64]) -> list[float]:
    """(24,) mean over households of (n, 24) powers; NaN where no household has a value."""
    known = np.isfinite(values)
    counts = known.sum(axis=0)
    sums = np.where(known, values, 0).sum(axis=0)
    return [float(s / n) if n else float("nan") for s, n in zip(sums, counts, strict=True)]


def _spread(values: npt.NDArray[np.float64]) -> list[tuple[str, list[float]]]:
    """The 10th and the 90th percentile of each hour over households, where there are enough of them to say."""
    if len(values) < 10 or not np.isfinite(values).any(axis=0).all():
        return []
    low, high = np.nanquantile(values, [0.1, 0.9], axis=0)
    return [("90th percentile", high.tolist()), ("10th percentile", low.tolist())]


def doubtful(facts: QualityFacts) -> Section:
    """Households that are used and stand out as a whole."""
    title = "Which households are doubtful?"
    found: dict[str, str] = facts.report.get("doubtful") or {}
    shared = [f"All together: {_clear(text)}" for text in facts.report.get("source_doubts") or ()]
    if not found:
        return Section("doubtful", title, " ".join(shared), missing="No household stands out as a whole.")
    rows: Rows = [[name, _clear(why)] for name, why in list(found.items())[:_MOST_LISTED]]
    more = f"and {len(found) - _MOST_LISTED:,} more in quality/report.json" if len(found) > _MOST_LISTED else ""
    columns = (Column("Household", numeric=False), Column("What is doubtful", numeric=False))
    lead = "They are used. To leave one out, put the name of its file into source.exclude and run the ETL again."
    return Section(
        "doubtful", title, " ".join([*shared, lead]), tables=(Table("Doubtful households", columns, rows, note=more),)
    )


def files(facts: QualityFacts) -> Section:
    """Files that gave no table, names passed over, files left out, tables removed."""
    title = "Which files were not used?"
    report = facts.report
    unusable: dict[str, str] = report.get("unusable") or {}
    passed: dict[str, list[str]] = report.get("passed_over") or {}
    tables = []
    if unusable:
        rows: Rows = [[name, _clear(why)] for name, why in list(unusable.items())[:_MOST_LISTED]]
        more = (
            f"and {len(unusable) - _MOST_LISTED:,} more in quality/report.json" if len(unusable) > _MOST_LISTED else ""
        )
        columns = (Column("File", numeric=False), Column("Reason", numeric=False))
        tables.append(Table("Files that could not be used", columns, rows, note=more))
    if passed:
        names: Rows = [[rule, Cell(number(len(each))), _names(each)] for rule, each in passed.items()]
        heads = (Column("Rule", numeric=False), Column("Names"), Column("Which", numeric=False))
        tables.append(Table("Names that are no household’s file", heads, names))
    notes = []
    for key, words in (("excluded", "Left out by you"), ("removed", "Tables of an earlier ETL that were removed")):
        if report.get(key):
            notes.append(f"{words}: {_names(report[key])}.")
    lead = f"{plural(report.get('files') or 0, 'household file')} were found." if tables or notes else ""
    missing = "" if tables or notes else "Every file was used, and every name in the folder is a household’s."
    return Section("files", title, lead, tables=tuple(tables), notes=tuple(notes), missing=missing)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(_clear(name) for name in names[:_MOST_NAMES]) + more
