"""`neurogrid evidence`: a run's folder for whoever answers for data protection."""

from pathlib import Path
from typing import Annotated

import typer

from neurogrid.cli import show
from neurogrid.cli.options import ConfigFile, Json, RunId, Warehouse, load_config, print_result


def evidence(
    run_id: RunId,
    out: Annotated[Path | None, typer.Option(help="Folder to write; evidence-RUN_ID, here, by default.")] = None,
    config: ConfigFile = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Write what a run did with readings, for a data-protection officer: guarantees, attacks, packages, hashes.

    Only the warehouse is taken from --config. The run is audited first, and has to have ended.
    """
    from neurogrid.pipeline import runs  # noqa: PLC0415 - torch and Spark load in seconds; --help must not wait for them
    from neurogrid.report.evidence import evidence as write  # noqa: PLC0415
    from neurogrid.storage import place  # noqa: PLC0415

    settings = load_config(config, None, {"warehouse": warehouse})
    runs.refuse_missing(settings.warehouse, run_id)
    folder = out or Path(f"evidence-{run_id}")
    files = write(place(settings.warehouse) / "runs" / run_id, folder)
    show.facts([("evidence", str(folder)), ("files", ", ".join(files))])
    print_result({"path": str(folder), "files": files}, as_json=as_json)
