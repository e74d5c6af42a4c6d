"""`neurogrid compare`: runs side by side, as a table, as JSON, as a page."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neurogrid.cli import show
from neurogrid.cli.options import ConfigFile, Json, Warehouse, load_config, print_result, run_ids
from neurogrid.errors import UsageError

if TYPE_CHECKING:
    from neurogrid.ledger.follow import Followed
    from neurogrid.report.comparison import Comparison
    from neurogrid.storage import Place

_NO_SETTING = ("run_id", "warehouse", "spark.", "backend.")
"""Keys that differ without changing a figure."""


def compare(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Runs.", autocompletion=run_ids)],
    config: ConfigFile = None,
    warehouse: Warehouse = None,
    page: Annotated[Path | None, typer.Option("--page", metavar="FILE", help="Also write an HTML page.")] = None,
    as_json: Json = False,
) -> None:
    """Set runs side by side: the settings in which they differ, and what came of each.

    Of a config only its warehouse counts.
    """
    from neurogrid.report.comparison import render_comparison  # noqa: PLC0415 - matplotlib loads slowly

    if len(run_ids) < 2 or len(set(run_ids)) < len(run_ids):
        raise UsageError(
            "compare takes two runs or more, each once",
            found=" ".join(run_ids),
            fix="neurogrid runs lists those that there are",
        )
    found = _compared(load_config(config, None, {"warehouse": warehouse}).warehouse, run_ids)
    if page is not None:
        try:
            page.write_text(render_comparison(found))
        except OSError as error:
            raise UsageError(f"--page {page} cannot be written", found=str(error), fix="name a file") from error
        show.say(f"  page: {page}")
    if as_json:
        shown = {"runs": found.runs, "settings": found.settings, "figures": found.figures, "notes": found.notes}
        print_result({**shown, "held_out_loss": found.held_out_loss}, as_json=True)
    else:
        _print(found)


def _compared(warehouse_uri: str, run_ids: Sequence[str]) -> "Comparison":
    """Reads the runs; raises as `runs.run_config`, and RunError where a run's records are not what was written."""
    from neurogrid.config import values  # noqa: PLC0415
    from neurogrid.ledger.follow import Follower  # noqa: PLC0415
    from neurogrid.ledger.records import changed  # noqa: PLC0415
    from neurogrid.pipeline import runs  # noqa: PLC0415 - torch loads in seconds
    from neurogrid.report.comparison import LABELS, Comparison  # noqa: PLC0415
    from neurogrid.storage import place  # noqa: PLC0415

    root, now = place(warehouse_uri) / "runs", datetime.now(UTC)
    configs, figures, losses, manifests = [], [], [], []
    for run_id in run_ids:
        own = values(runs.run_config(warehouse_uri, run_id, []))
        followed = Follower(root / run_id).look()
        if followed is None or followed.state(now) == "damaged":
            raise changed(root / run_id, f"run {run_id} was modified")
        manifests.append(str(followed.genesis["manifest_id"]))
        configs.append({**own, "sampling.manifest": manifests[-1]})
        figures.append(_figures(root / run_id, followed, now))
        losses.append([record["held_out_loss"] for record in followed.rounds])
    settings = {
        key: [own[key] for own in configs]
        for key in configs[0]
        if not key.startswith(_NO_SETTING) and any(own[key] != configs[0][key] for own in configs)
    }
    known = {name: [own.get(name) for own in figures] for name in LABELS}
    shown = {name: row for name, row in known.items() if any(value is not None for value in row)}
    notes = ["They were made with different manifests, so other households are tested."] * (len(set(manifests)) > 1)
    return Comparison(run_ids, settings, shown, losses, notes)


def _figures(run: "Place", followed: "Followed", now: datetime) -> dict[str, Any]:
    """A run's figures by the names of LABELS, as far as it has them."""
    from neurogrid.ledger.records import read_evaluation  # noqa: PLC0415
    from neurogrid.pipeline import runs  # noqa: PLC0415

    own = followed.figures(now)
    losses = [loss for loss in own["held_out_loss"] if loss is not None]
    updates = own["updates"]
    found = {
        "state": own["state"],
        "rounds": own["rounds"],
        "held_out_loss_first": losses[0] if losses else None,
        "held_out_loss_last": losses[-1] if losses else None,
        "accepted_share": updates["accepted"] / updates["asked"] if updates["asked"] else None,
        "late_or_lost": updates["late"] + updates["lost"],
        "rejection_recall": own["rejection_recall"],
        "rejection_precision": own["rejection_precision"],
        "rounds_s": sum(record["wallclock_s"] for record in followed.rounds),
    }
    if not runs.is_evaluated(run):
        return found
    return found | _scores(read_evaluation(run)["parts"]["test"])


def _scores(test: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for group in ("trained", "held_out"):
        if not test[group]["households"]:
            continue
        own = test[group]["methods"]["federated"]
        below = own["mae_below_median_percent"]["value"]
        found[f"{group}_mae_kwh"] = own["mae"]["value"]
        found[f"{group}_below_median_share"] = None if below is None else below / 100
        found[f"{group}_surge_f1"] = test[group]["surges"][-1]["methods"]["federated"]["f1"]["value"]
    return found


def _print(found: "Comparison") -> None:
    from neurogrid.report.comparison import LABELS, words  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2))
    table.add_column("")
    for run in found.runs:
        table.add_column(run, justify="right")
    for key, row in found.settings.items():
        table.add_row(key, *(escape(str(value)) for value in row))
    table.add_section()
    for name, row in found.figures.items():
        table.add_row(LABELS[name], *(words(name, value) for value in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    for note in found.notes:
        show.say(note)
