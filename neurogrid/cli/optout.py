"""`neurogrid optout`: households that are to be used no more."""

from typing import Annotated

import typer

from neurogrid.cli import show
from neurogrid.cli.options import ConfigFile, Json, Sets, Warehouse, load_config, print_result
from neurogrid.plural import plural

optout_app = typer.Typer(help="Households that opted out: add them, list them.", no_args_is_help=True)


@optout_app.command("add")
def optout_add(
    households: Annotated[list[str], typer.Argument(help="Ids of households.", metavar="HOUSEHOLD...")],
    config: ConfigFile = None,
    sets: Sets = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Use these households no more. A run in progress stops asking them from its next round on."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from neurogrid.data.optout import opt_out  # noqa: PLC0415 - --help must not wait for Arrow
    from neurogrid.data.tables import current_tables  # noqa: PLC0415
    from neurogrid.storage import place  # noqa: PLC0415

    root = place(load_config(config, sets, {"warehouse": warehouse}).warehouse)
    current = current_tables(root)  # so that nothing is made in a folder that is no warehouse
    new = opt_out(root, households, datetime.now(UTC))
    unknown = sorted(set(households) - set(current))
    show.facts(
        [
            ("opted out", f"{plural(len(new), 'household')} more"),
            *([("not among the current households", ", ".join(unknown))] if unknown else []),
        ]
    )
    print_result({"added": new, "not_current": unknown}, as_json=as_json)


@optout_app.command("list")
def optout_list(
    config: ConfigFile = None, sets: Sets = None, warehouse: Warehouse = None, as_json: Json = False
) -> None:
    """List the households that opted out."""
    from neurogrid.data.optout import opted_out  # noqa: PLC0415 - --help must not wait for Arrow
    from neurogrid.storage import place  # noqa: PLC0415

    found = sorted(opted_out(place(load_config(config, sets, {"warehouse": warehouse}).warehouse)))
    show.facts([("opted out", ", ".join(found) or "nobody")])
    print_result({"households": found}, as_json=as_json)
