"""The data-quality page of a warehouse, quality/report.html: one self-contained file, the same bytes for the same data.

`neurogrid etl` writes it when the tables are made, and `neurogrid sample` again, with the clusters that it found.
"""

from neurogrid.data.manifest import Manifest
from neurogrid.plural import plural
from neurogrid.report import quality_sections as sections
from neurogrid.report.quality_facts import QualityFacts, read_quality
from neurogrid.report.readings import energy
from neurogrid.report.table import Tile, number, percent
from neurogrid.report.template import fill
from neurogrid.storage import Place

PAGE = "report.html"
_POOR = 0.1
"""A household that lacks more than this share of its slots is counted in the first sentence."""


def render_quality(warehouse: Place, manifest: Manifest | None, *, show_households: bool) -> str:
    """The data-quality page as HTML that needs no network, no script and no other file.

    Args:
        warehouse: after an ETL.
        manifest: whose clusters' usual days are drawn; None draws that of all households.
        show_households: whether the load of the households with most gaps is drawn.

    Raises:
        RunError: there is no report of an ETL.
    """
    facts = read_quality(warehouse, manifest, show_households=show_households)
    report = facts.report
    return fill(
        "quality.html",
        title="Data quality",
        summary=f"source {report.get('source', '?')} · slots of {report.get('cadence_minutes', '?')} min · "
        f"{plural(report.get('households') or 0, 'household')} of {plural(report.get('files') or 0, 'file')}",
        verdict=_verdict(facts),
        status=_status(facts),
        tiles=_tiles(facts),
        sections=[
            sections.coverage(facts),
            sections.worst(facts),
            sections.repairs(facts),
            sections.weather(facts),
            sections.shapes(facts),
            sections.doubtful(facts),
            sections.files(facts),
        ],
    )


def _status(facts: QualityFacts) -> tuple[str, str]:
    if not facts.report.get("energy_balanced"):
        return "the energy does not balance", "warn"
    left = len(facts.report.get("unusable") or ())
    return (f"{plural(left, 'file')} could not be used", "warn") if left else ("all files were used", "good")


def _verdict(facts: QualityFacts) -> str:
    slots, measured = _slots(facts), _measured(facts)
    if not slots:
        return "No household has a table."
    poor = [h for h in facts.households if 1 - h.observed / max(h.rows, 1) > _POOR]
    said = f"{percent(measured / slots, 1)} of {plural(slots, 'slot')} were measured. "
    if not facts.households:
        return said.strip()
    if not poor:
        return f"{said}No household lacks more than {percent(_POOR)} of its slots."
    lack = "lacks" if len(poor) == 1 else "lack"
    return f"{said}{plural(len(poor), 'household')} of {len(facts.households):,} {lack} more than {percent(_POOR)}."


def _tiles(facts: QualityFacts) -> list[Tile]:
    report, slots = facts.report, _slots(facts)
    measured, weather = _measured(facts), (report.get("weather_tiers") or {}).get("observed") or 0
    faults: dict[str, int] = report.get("faults") or {}
    most = max(faults, key=lambda kind: (faults[kind], kind), default="")
    unusable, excluded = len(report.get("unusable") or ()), len(report.get("excluded") or ())
    doubtful = report.get("doubtful") or {}
    balanced = bool(report.get("energy_balanced"))
    return [
        Tile(
            "Households used",
            number(report.get("households") or 0),
            f"of {plural(report.get('files') or 0, 'file')}; {unusable:,} could not be used, {excluded:,} more left "
            "out by you",
        ),
        Tile("Slots measured", percent(measured / slots, 2) if slots else "–", f"{measured:,} of {slots:,}"),
        Tile(
            "Slots with measured weather",
            percent(weather / slots, 2) if slots else "–",
            f"{weather:,} of {slots:,}; the others have the last known or the usual weather",
        ),
        Tile(
            "Faults found",
            number(sum(faults.values())),
            f"most often {most.replace('_', ' ')}, {faults[most]:,} times" if most else "none",
        ),
        Tile(
            "Doubtful households",
            number(len(doubtful)),
            "used, but look at them below" if doubtful else "none stands out as a whole",
            "warn" if doubtful else "",
        ),
        Tile(
            "Energy",
            "balances" if balanced else "does not balance",
            (energy(report) or ("the report does not say",))[0]
            .removeprefix("Energy: ")
            .removesuffix(", which balances."),
            "good" if balanced else "warn",
        ),
    ]


def _slots(facts: QualityFacts) -> int:
    return int(facts.report.get("slots") or 0)


def _measured(facts: QualityFacts) -> int:
    return int((facts.report.get("load_tiers") or {}).get("observed") or 0)
