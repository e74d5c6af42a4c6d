"""What went in: the households in words and their usual days, the settings, and how to check the record."""

import math
from collections import Counter
from typing import Any

from neurogrid.ledger.made_with import breaks
from neurogrid.plural import plural
from neurogrid.report.facts import RunFacts
from neurogrid.report.table import Cell, Chart, Column, Section, Table, number, percent
from neurogrid.report.time_charts import daily_shapes

_MOST_LISTED = 30
Rows = list[list[str | Cell]]


def households(facts: RunFacts) -> Section:
    """Clusters in words, who trains and who is held out."""
    title = "Which households?"
    manifest = facts.manifest
    if manifest is None:
        found = facts.genesis.get("manifest_id", "?")
        return Section(
            "households",
            title,
            charts=_days(facts),
            missing=f"Manifest {found} is not in this warehouse, so it is not known who the agents are.",
        )
    trained = Counter(agent.cluster for agent in manifest.agents)
    held = Counter(agent.cluster for agent in manifest.held_out)
    largest = max((cluster.centre.get("mean_kwh", 0) for cluster in manifest.clusters), default=0)
    per_day = 24 * 60 / manifest.cadence_minutes
    rows: Rows = []
    for cluster in manifest.clusters:
        centre = cluster.centre
        mean = centre.get("mean_kwh", 0)
        rows.append(
            [
                f"{cluster.number + 1}. {cluster.description}",
                Cell(number(cluster.households)),
                Cell(number(trained[cluster.number])),
                Cell(number(held[cluster.number])),
                Cell(number(mean * per_day, 1), share=mean / largest if largest > 0 else None),
                Cell(number(centre.get("peak_kwh"), 2)),
                Cell(percent(centre.get("night_share"))),
                Cell(percent(centre.get("evening_share"))),
                Cell(percent(centre.get("missing_share"), 1)),
            ]
        )
    columns = (
        Column("Kind of household", numeric=False),
        Column("Households"),
        Column("Agents"),
        Column("Held out"),
        Column("Load", "kWh a day"),
        Column("Peak", "kWh a slot"),
        Column("At night", "0 to 6 h"),
        Column("Evening", "17 to 22 h"),
        Column("Gaps", "of slots"),
    )
    dealt = {
        "natural": "each agent is one household",
        "iid": "the households’ weeks are spread evenly over the agents",
        "dirichlet": "the households’ weeks are spread unevenly over the agents",
    }.get(manifest.partition, manifest.partition)
    rows_held = sum(agent.rows for agent in manifest.agents)
    lead = (
        f"{plural(len(manifest.agents), 'agent')} in {plural(manifest.districts, 'district')} hold {number(rows_held)} "
        f"slots of {manifest.cadence_minutes} min ({dealt}). {plural(len(manifest.held_out), 'household')} of the same "
        "kinds never train. Kinds were found by k-means on the training period; each is described by how it differs "
        "from the average household."
    )
    notes = [f"Silhouette of the kinds: {number(manifest.silhouette, 2)} (1: clearly separated, 0: overlapping)."]
    unused = [entry for entry in manifest.unused if "usable, not drawn" not in entry]
    if unused:
        more = f", and {len(unused) - _MOST_LISTED} more" if len(unused) > _MOST_LISTED else ""
        notes.append("Could not be used: " + "; ".join(unused[:_MOST_LISTED]) + more + ".")
    idle = len(manifest.unused) - len(unused)
    if idle:
        notes.append(f"{plural(idle, 'usable household')} not used, because fewer agents were asked for.")
    table = Table("Kinds of households", columns, rows)
    return Section("households", title, lead, charts=_days(facts), tables=(table,), notes=tuple(notes))


def _days(facts: RunFacts) -> tuple[Chart, ...]:
    """The usual day of each kind of household, as the evaluation has it."""
    words = {cluster.number: cluster.description for cluster in facts.manifest.clusters} if facts.manifest else {}
    lines = []
    for day in ((facts.evaluation or {}).get("examples") or {}).get("days") or ():
        households = plural(day["households"], "household")
        label = f"{day['cluster'] + 1}. {words.get(day['cluster'], 'kind of household')} ({households})"
        lines.append((label, [math.nan if value is None else float(value) for value in day["kw_by_hour"]]))
    return (daily_shapes("A usual day of each kind of household, by local time", lines),) if lines else ()


def settings(facts: RunFacts) -> list[tuple[str, list[tuple[str, str]]]]:
    """The config, section by section, each key with its value."""
    sections: list[tuple[str, list[tuple[str, str]]]] = []
    top = [(key, _setting(value)) for key, value in facts.config.items() if not isinstance(value, dict)]
    if top:
        sections.append(("run", top))
    for name, value in facts.config.items():
        if isinstance(value, dict) and value:
            sections.append((str(name), _flat(value)))
    return sections


def _flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            found += _flat(item, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", _setting(item)))
    return found


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ({}, [], ""):
        return "–"
    if isinstance(value, list):
        return ", ".join(_setting(item) for item in value)
    return str(value)


def record(facts: RunFacts) -> list[tuple[str, str]]:
    """What identifies this run and its outcome."""
    genesis, end = facts.genesis, facts.end or {}
    last = facts.rounds[-1] if facts.rounds else {}
    records = plural(1 + len(facts.rounds) + (facts.end is not None), "record")
    chain = f"{records}, each with the hash of the one before: intact"
    rows = [
        ("Head of the chain (SHA-256)", facts.head),
        ("Chain", chain),
        (
            "Final weights (SHA-256)" if end else "Newest weights (SHA-256)",
            end.get("w_final_sha256") or last.get("w_global_sha256"),
        ),
        ("Manifest (SHA-256)", genesis.get("manifest_sha256")),
        ("Seed", genesis.get("seed")),
        ("Differential privacy", _privacy(last)),
        ("Started", genesis.get("started")),
        ("NeuroGrid", genesis.get("neurogrid_version")),
        ("Made with", ", ".join(f"{what} {which}" for what, which in genesis.get("made_with", {}).items())),
        ("Break", "; ".join(breaks([genesis, *facts.rounds, *([end] if end else [])]))),
    ]
    return [(label, str(value)) for label, value in rows if value not in (None, "")]


def _privacy(last: dict[str, Any]) -> str:
    """What the weights after the last round promise; empty where the run promises nothing."""
    guarantee, spent = last.get("privacy.guarantee"), last.get("privacy.epsilon")
    if not guarantee or spent is None:
        return str(guarantee or "")
    return f"epsilon {spent:.3g} at delta {last['privacy.delta']:.2g}; {guarantee}"
