"""`neurogrid etl --dry-run`: what each file is taken for and why, and what would be done. Starts and writes nothing."""

from dataclasses import asdict
from typing import Any

from neurogrid.cli import show
from neurogrid.data.layouts.preview import FILES, FilePreview, counts_of, preview
from neurogrid.data.sources import Source
from neurogrid.pipeline.etl_plan import EtlPlan
from neurogrid.plural import plural


def do_dry_run(plan: EtlPlan, warehouse_uri: str) -> dict[str, Any]:
    """Shows and returns what the ETL would make of the source."""
    source, etl, cadence = plan.source, plan.settings, plan.cadence_minutes
    listing = source.listing(etl.listed_per_kind)
    files = [preview(source, file, etl.treatment) for file in listing.files[:FILES]]
    megabytes = sum(file.size_bytes for file in listing.files) / 1e6
    declaration = source.declaration
    show.heading("What `neurogrid etl` would do")
    show.facts(
        [
            ("layout", f"{declaration.name}: {declaration.about}"),
            ("from", f"{source.folder}: {plural(len(listing.files), 'file')}, {megabytes:,.1f} MB"),
            ("how", _how(source)),
            ("times", _times(source)),
            ("slots", f"of {source.cadence_minutes} min as published, to tables of {cadence} min"),
            *(("passed over", f"{', '.join(names[:5])}: {rule}") for rule, names in listing.passed_over.items()),
            *([("left out", ", ".join(listing.excluded[:5]))] if listing.excluded else []),
            *(("faults", f"{kind} {count:,}") for kind, count in counts_of(listing).items()),
            ("to", f"{warehouse_uri}/meters"),
        ]
    )
    for file in files:
        _show(file)
    if len(listing.files) > FILES:
        show.say(f"  and {plural(len(listing.files) - FILES, 'more file')}, not looked at")
    return {
        "layout": declaration.name,
        "folder": str(source.folder),
        "shape": declaration.shape,
        "files": len(listing.files),
        "megabytes": megabytes,
        "timezone": source.timezone,
        "cadence_minutes": cadence,
        "passed_over": {rule: list(names) for rule, names in listing.passed_over.items()},
        "excluded": list(listing.excluded),
        "faults": dict(counts_of(listing)),
        "looked_at": [asdict(file) for file in files],
    }


def _how(source: Source) -> str:
    if source.declaration.staged:
        return "files of many households: split by household first, then each is cleaned"
    return "each file is a household"


def _times(source: Source) -> str:
    declaration = source.declaration
    zone = declaration.zone or "their own offset"
    side = "end" if declaration.ends else "start"
    return f"in {zone}, the {side} of what a row covers; hours and weekdays of {declaration.timezone}"


def _show(file: FilePreview) -> None:
    show.say(f"  {file.name} ({file.size_bytes:,} bytes): {file.why or 'not of this layout'}")
    if file.problem:
        show.say(f"    cannot be used: {file.problem}")
    for row in file.rows:
        show.say(f"    {row.household}  {row.start_utc}  {row.minutes} min  {row.kwh:g} kWh")
    if file.households > 1:
        show.say(f"    {file.households} households in the first {file.read_rows:,} rows")
    for kind, count in file.faults.items():
        show.say(f"    fault {kind}: {count:,} in the first {file.read_rows:,} rows")
    for example in file.examples:
        show.say(f"      {example}")
