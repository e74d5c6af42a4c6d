"""Raw readings to clean tables, and the page of what was found in them.

`neurogrid etl` is run again and again, and often finds nothing to do. So nothing here imports torch, and Spark's own
modules only where a session is opened.
"""

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import neurogrid
from neurogrid.data.etl import run_etl
from neurogrid.data.manifest import Manifest
from neurogrid.data.quality import QualityReport
from neurogrid.data.tables import INDEX
from neurogrid.errors import RunError
from neurogrid.lock import FolderLock
from neurogrid.pipeline.etl_plan import EtlPlan
from neurogrid.pipeline.events import SILENT, Cleaned, Cleaning, Observer
from neurogrid.storage import Place, refuse_unwritable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def etl(plan: EtlPlan, spark: Callable[[], "SparkSession"], observer: Observer = SILENT) -> QualityReport:
    """Raw files to clean tables; opens a session where a file has to be read.

    Raises:
        UsageError: another process writes to the tables.
        InputError, RunError: see `run_etl`.
    """
    warehouse = plan.warehouse
    with observer.during(Cleaning(plan)) as progress:
        refuse_unwritable(warehouse)
        with FolderLock(warehouse / "meters", f"the ETL into {warehouse}"):
            try:
                report = run_etl(spark, plan.source, warehouse, plan.settings, progress)
            except RunError:  # not one file could be used: the page says why
                write_quality_page(warehouse, None, show_households=plan.show_households)
                raise
            write_quality_page(warehouse, None, show_households=plan.show_households)
    observer.tell(Cleaned(plan, report))
    return report


def figures(report: QualityReport) -> dict[str, Any]:
    """An ETL's report as JSON."""
    return {**json.loads(report.to_json()), "unchanged": report.unchanged, "seconds": report.seconds}


def write_quality_page(warehouse: Place, manifest: Manifest | None, *, show_households: bool) -> None:
    """The warehouse's data-quality page; with a manifest, its clusters' usual days."""
    if not (warehouse / "quality" / "report.json").exists():  # tables that came from elsewhere
        return
    # Drawn anew only where something that it shows has changed: it takes longer than to find that nothing has.
    shown = [warehouse / name for name in ("quality/report.json", "quality/faults.parquet", INDEX)]
    parts = [file.read_bytes() if file.exists() else b"" for file in shown]
    said = f"{neurogrid.__version__} {show_households} {manifest.sha256 if manifest else ''}"
    made_from = f"<!-- {hashlib.sha256(b''.join([*parts, said.encode()])).hexdigest()} -->\n"
    file = warehouse / "quality" / "report.html"
    if file.exists() and file.read_bytes().endswith(made_from.encode()):
        return
    from neurogrid.report.quality import render_quality  # noqa: PLC0415 - jinja2 loads where a page is drawn

    file.write(render_quality(warehouse, manifest, show_households=show_households) + made_from)
