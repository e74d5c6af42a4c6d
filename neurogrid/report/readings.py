"""What the ETL found: how much was measured, what was filled in and how, what was wrong, what could not be used."""

from typing import Any

from neurogrid.data.faults import MEANINGS, Fault
from neurogrid.plural import plural
from neurogrid.report.facts import RunFacts
from neurogrid.report.table import Cell, Column, Link, Section, Table, number, percent

TIERS = {
    "observed": "measured",
    "trailing_mean": "mean of the slots just before",
    "slot_mean": "the household’s past mean for that slot",
    "zero": "zero, where there was nothing to estimate from",
}
QUALITY_PAGE = Link(
    "The data-quality page", "../../quality/report.html", "has maps and pictures: quality/report.html in the warehouse."
)
"""Its address is that from runs/<id>/, so that it leads there in any copy of the warehouse."""
_MOST_LISTED = 12
Rows = list[list[str | Cell]]


def readings(facts: RunFacts) -> Section:
    """The data-quality report in short; quality/report.md has all of it."""
    title = "How good are the readings?"
    found = facts.quality
    if found is None:
        missing = "There is no data-quality report in this warehouse (quality/report.json)."
        return Section("quality", title, missing=missing)
    slots = found.get("slots") or 0
    measured = (found.get("load_tiers") or {}).get("observed")
    lead = (
        f"{plural(found.get('households') or 0, 'household')} of {plural(found.get('files') or 0, 'file')} gave "
        f"{plural(slots, 'slot')}, of which {percent(measured / slots, 1) if slots and measured is not None else '–'} "
        "were measured. Gaps are filled from earlier values only, and are marked. Forecasts are scored on measured "
        "slots only."
    )
    tables = [table for table in (tiers(found), _faults(found), _unusable(found), _worst(found)) if table.rows]
    return Section(
        "quality",
        title,
        lead,
        tables=tuple(tables),
        notes=energy(found),
        link=QUALITY_PAGE if facts.quality_page else None,
    )


def tiers(found: dict[str, Any]) -> Table:
    """How many slots were measured, and how the others were filled in."""
    slots = max(found.get("slots") or 0, 1)
    load, weather = found.get("load_tiers") or {}, found.get("weather_tiers") or {}
    rows: Rows = []
    for tier, words in TIERS.items():
        if tier not in load:
            continue
        cells = [Cell(number(load[tier])), Cell(percent(load[tier] / slots, 2), share=load[tier] / slots)]
        if tier in weather:
            cells += [Cell(number(weather[tier])), Cell(percent(weather[tier] / slots, 2), share=weather[tier] / slots)]
        else:
            cells += [Cell("–"), Cell("–")]
        rows.append([words, *cells])
    columns = (
        Column("Source of a slot’s value", numeric=False),
        Column("Load", "slots"),
        Column("Load", "share"),
        Column("Weather", "slots"),
        Column("Weather", "share"),
    )
    return Table("Measured and filled in", columns, rows)


def _faults(found: dict[str, Any]) -> Table:
    meanings = {str(fault): meaning for fault, meaning in MEANINGS.items() if isinstance(fault, Fault)}
    faults: dict[str, int] = found.get("faults") or {}
    order = sorted(faults, key=lambda kind: (-faults[kind], kind))
    rows: Rows = [[kind.replace("_", " "), meanings.get(kind, ""), Cell(number(faults[kind]))] for kind in order]
    columns = (Column("Fault", numeric=False), Column("What it is and what was done", numeric=False), Column("Count"))
    return Table("What was wrong", columns, rows)


def _unusable(found: dict[str, Any]) -> Table:
    files: dict[str, str] = found.get("unusable") or {}
    rows: Rows = [[name, reason] for name, reason in list(files.items())[:_MOST_LISTED]]
    more = len(files) - len(rows)
    columns = (Column("File", numeric=False), Column("Reason", numeric=False))
    note = f"and {number(more)} more in quality/report.json" if more else ""
    return Table("Files that could not be used", columns, rows, note=note)


def _worst(found: dict[str, Any]) -> Table:
    rows: Rows = []
    for row in (found.get("worst") or [])[:5]:
        share = row.get("missing_share") or 0.0
        if share > 0:
            rows.append(
                [
                    str(row.get("household_id", "?")),
                    Cell(number(row.get("rows"))),
                    Cell(percent(share, 2), share=share),
                    Cell(number(row.get("faults"))),
                    Cell(number(row.get("energy_kwh"), 1)),
                ]
            )
    columns = (
        Column("Household", numeric=False),
        Column("Slots"),
        Column("Not measured"),
        Column("Faults"),
        Column("Energy", "kWh"),
    )
    return Table("Households with most slots missing", columns, rows)


def energy(found: dict[str, Any]) -> tuple[str, ...]:
    """What became of the energy that was read, in a sentence; none where the report does not say."""
    names = ("read", "dropped", "imputed", "written")
    kwh = {name: found.get(f"energy_{name}_kwh") for name in names}
    if any(value is None for value in kwh.values()):
        return ()
    said = (
        f"Energy: {number(kwh['read'], 1)} kWh read − {number(kwh['dropped'], 1)} in dropped rows + "
        f"{number(kwh['imputed'], 1)} imputed = {number(kwh['written'], 1)} written"
    )
    return (said + (", which balances." if found.get("energy_balanced") else ": IT DOES NOT BALANCE."),)
