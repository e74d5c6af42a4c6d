"""`neurogrid clean`: deletes the tables that nothing needs any more, and says which."""

from typing import Annotated

import typer

from neurogrid.cli import show
from neurogrid.cli.options import ConfigFile, Json, Sets, Warehouse, load_config, print_result
from neurogrid.plural import plural

_MB = 1e6


def clean(
    config: ConfigFile = None,
    sets: Sets = None,
    warehouse: Warehouse = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: Json = False,
) -> None:
    """Delete the tables of earlier ETLs that no run, teacher or manifest needs."""
    from neurogrid.data.tables import delete, find_waste  # noqa: PLC0415 - --help must not wait for Arrow
    from neurogrid.lock import FolderLock  # noqa: PLC0415
    from neurogrid.storage import place  # noqa: PLC0415

    root = place(load_config(config, sets, {"warehouse": warehouse}).warehouse)
    find_waste(root)  # so that nothing is made in a folder that is no warehouse
    with FolderLock(root / "meters", f"the cleaning of {root}"):
        waste = find_waste(root)
        if not dry_run:
            delete(root, waste)
    size_mb = sum(waste.tables.values()) / _MB
    households = {path.split("Household_ID=")[-1].split("/")[0] for path in waste.tables}
    show.facts(
        [
            (
                "would delete" if dry_run else "deleted",
                f"{plural(len(waste.tables), 'table')} of {plural(len(households), 'household')}, {size_mb:,.1f} MB",
            ),
            *([("manifests", ", ".join(waste.manifests))] if waste.manifests else []),
            *((f"kept for {who}", f"{plural(count, 'older table')}") for who, count in waste.kept.items()),
        ]
    )
    print_result(
        {
            "deleted": not dry_run,
            "tables": list(waste.tables),
            "bytes": sum(waste.tables.values()),
            "manifests": list(waste.manifests),
            "kept_for": waste.kept,
        },
        as_json=as_json,
    )
