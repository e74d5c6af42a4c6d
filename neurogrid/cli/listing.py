"""`neurogrid runs`: the runs of a warehouse side by side, the oldest first."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from neurogrid.cli import show
from neurogrid.cli.options import ConfigFile, Json, Warehouse, load_config, print_result
from neurogrid.errors import UsageError

if TYPE_CHECKING:
    from neurogrid.storage import Place

DAMAGED = "damaged"
_SHOWN = ("run_id", "started", "state", "rounds", "rounds_asked", "rule", "attack", "first_loss", "last_loss")


def runs(config: ConfigFile = None, warehouse: Warehouse = None, as_json: Json = False) -> None:
    """List a warehouse's runs: state, rounds, rule, attack, held-out loss of the first and the last round.

    Of a config only its warehouse counts.
    """
    from neurogrid.storage import place  # noqa: PLC0415 - Arrow loads slowly; --help must not wait for it

    root = place(load_config(config, None, {"warehouse": warehouse}).warehouse)
    if not root.is_folder():
        raise UsageError(
            f"there is no warehouse {root}",
            found="a file" if root.exists() else "nothing there",
            fix="name it with --warehouse",
        )
    listed = sorted(_listed(root), key=lambda run: (run["started"] or "", run["run_id"]))
    if listed and not as_json:
        Console(width=None if sys.stdout.isatty() else 160).print(_table(listed))
    elif not listed:
        show.say(f"no run yet in {root}")
    for run in listed:
        if run["state"] == DAMAGED:
            show.say(f"  {run['run_id']} has been modified: neurogrid audit {run['run_id']} names what")
    print_result({"warehouse": str(root), "runs": listed}, as_json=as_json)


def _listed(warehouse: "Place") -> Iterator[dict[str, Any]]:
    from neurogrid.ledger.follow import Follower  # noqa: PLC0415 - torch loads in seconds

    now = datetime.now(UTC)
    for run in (warehouse / "runs").children():
        found = Follower(run).look()
        stored = sum(file.name.endswith(".json") for file in (run / "rounds").children())
        if found is None and not stored and not (run / "run.json").exists():
            continue  # it never began
        if found is None or len(found.rounds) < stored or found.state(now) == DAMAGED:
            yield {**dict.fromkeys(_SHOWN), "run_id": run.name, "state": DAMAGED}
            continue
        shown = {**found.genesis, **found.figures(now)}
        losses = shown["held_out_loss"] or [None]
        shown |= {"first_loss": losses[0], "last_loss": losses[-1]}
        yield {name: shown[name] for name in _SHOWN}


def _table(listed: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2))
    for name in ("run", "started", "state", "rounds", "rule", "attack"):
        table.add_column(name)
    for name in ("first loss", "last loss"):
        table.add_column(name, justify="right")
    for run in listed:
        started = datetime.fromisoformat(run["started"]).strftime("%Y-%m-%d %H:%M") if run["started"] else "-"
        rounds = "-" if run["rounds"] is None else f"{run['rounds']}/{run['rounds_asked']}"
        losses = ("-" if loss is None else f"{loss:.4f}" for loss in (run["first_loss"], run["last_loss"]))
        table.add_row(run["run_id"], started, run["state"], rounds, run["rule"] or "-", run["attack"] or "-", *losses)
    return table
