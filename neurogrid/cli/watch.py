"""`neurogrid watch`: a run's figures in the terminal while it goes on, for where no Grafana is at hand.

It reads the warehouse alone, so it may run anywhere that reaches it, and may be started and stopped at any time.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from neurogrid.cli import show
from neurogrid.cli.options import Json, Warehouse, load_config, print_result
from neurogrid.plural import plural

_BARS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH, _BAR_WIDTH = 40, 20
_TONES = {
    "running": "bold green",
    "ended": "bold",
    "stopped": "bold yellow",
    "damaged": "bold red",
    "silent": "bold yellow",
}
_PHASES = {
    "wallclock": "whole round",
    "send": "send weights",
    "train": "train",
    "collect": "collect updates",
    "aggregate": "defend and average",
    "evaluate": "held-out loss",
    "persist": "persist",
}


def watch(
    run_id: Annotated[str, typer.Argument(help="Name of the run. Default: the newest run.")] = "",
    warehouse: Warehouse = None,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between updates.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show the run as it is now, then exit.")] = False,
    as_json: Json = False,
) -> None:
    """Watch a run's loss, round times, accepted and rejected updates in the terminal, until it ends or is stopped.

    Ctrl-C leaves the view. The run goes on.
    """
    from neurogrid.ledger.follow import Following  # noqa: PLC0415 - torch loads in seconds; --help must not wait for it
    from neurogrid.storage import place  # noqa: PLC0415

    root = place(load_config(None, None, {"warehouse": warehouse}).warehouse)
    following = Following(root, run_id)
    if once or as_json or not show.console.is_terminal:
        figures = following.look(datetime.now(UTC))
        show.console.print(view(figures, str(root)))
        print_result(figures, as_json=as_json)
        return
    with Live(view(None, str(root)), console=show.console, refresh_per_second=4) as live:
        while True:
            figures = following.look(datetime.now(UTC))
            live.update(view(figures, str(root)))
            if figures is not None and figures["state"] in ("ended", "stopped", "damaged"):
                return
            time.sleep(every)


def view(figures: dict[str, Any] | None, where: str) -> RenderableType:
    """The whole picture of a run's figures; where there is no run yet, the words for that."""
    if figures is None:
        return Text(f"no run yet in {where}; the first one is shown here as soon as it starts", style="dim")
    head = Text.assemble(
        ("run ", "dim"),
        (figures["run_id"], "bold"),
        "  ",
        (figures["state"], _TONES[figures["state"]]),
        f"  round {figures['rounds']} of {figures['rounds_asked']}",
        (f"  {figures['reason']}" if figures["reason"] else _age(figures), "dim"),
    )
    if not figures["rounds"]:
        return Group(head, Text("no round has been finished yet", style="dim"))
    left = Group(_part("learning", _learning(figures)), _part("latency, s", _latency(figures)))
    right = Group(_part("acceptance", _acceptance(figures)), _part("not accepted, by reason", _rejected(figures)))
    if show.console.width < 110:
        return Group(head, left, right, _bytes(figures))
    both = Table.grid(expand=False, padding=(0, 1))
    both.add_row(left, right)
    return Group(head, both, _bytes(figures))


def _age(figures: dict[str, Any]) -> str:
    age = "" if figures["age_s"] is None else f"  last written {figures['age_s']:.0f} s ago"
    return age + ("; it may have been killed" if figures["state"] == "silent" else "")


def _part(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="dim", expand=False)


def _learning(figures: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("", "first", "last", "over the rounds"):
        table.add_column(name, justify="left" if name in ("", "over the rounds") else "right")
    for label, key in (("held-out loss", "held_out_loss"), ("training loss", "training_loss")):
        known = [value for value in figures[key] if value is not None]
        ends = (show.number(known[0]), show.number(known[-1])) if known else ("-", "-")
        table.add_row(label, *ends, sparkline(figures[key]))
    if figures["void_rounds"]:
        table.add_row("void rounds", "", Text(str(figures["void_rounds"]), style="yellow"), "changed nothing")
    return table


def _latency(figures: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("", "last", "median", "longest", ""):
        table.add_column(name, justify="right" if name else "left")
    whole = figures["latency_s"]["wallclock"]["median"]
    for key, label in _PHASES.items():
        own = figures["latency_s"][key]
        cells = [show.number(own[name], 3) for name in ("last", "median", "longest")]
        share = (own["median"] or 0) / whole if whole else 0
        table.add_row(label, *cells, bar(share) if key != "wallclock" else "")
    return table


def _acceptance(figures: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("", "asked", "accepted", "share", ""):
        table.add_column(name, justify="right" if name not in ("",) else "left")
    updates = figures["updates"]
    rows = [("all", updates), *((f"district {name}", own) for name, own in figures["districts"].items())]
    for label, own in rows:
        share = own["accepted"] / own["asked"] if own["asked"] else 0.0
        table.add_row(label, str(own["asked"]), str(own["accepted"]), f"{share:.0%}", bar(share))
    table.add_row("by round", "", "", "", sparkline(figures["acceptance"], 0.0, 1.0))
    table.add_row("late, lost", str(updates["late"]), str(updates["lost"]), "", "")
    return table


def _rejected(figures: dict[str, Any]) -> RenderableType:
    kinds: dict[str, dict[bool, int]] = {}
    for entry in figures["rejected"]:
        kinds.setdefault(entry["reason"], {})[entry["attackers"]] = entry["updates"]
    if not kinds:
        return Text("every update was accepted", style="dim")
    table = Table(box=None, padding=(0, 1), header_style="dim")
    known = figures["rejection_recall"] is not None  # attackers are simulated; else nobody knows who is honest
    for name in ("", "honest", "attackers") if known else ("", "updates", ""):
        table.add_column(name, justify="right" if name else "left")
    for reason, own in sorted(kinds.items(), key=lambda kind: -sum(kind[1].values())):
        attacks = Text(str(own.get(True, 0)), style="red" if own.get(True) else "") if known else ""
        table.add_row(reason, str(own.get(False, 0)), attacks)
    per_round = sum(figures["suspected"]) / figures["rounds"]
    # More than the rule tolerates: others may have got through.
    style = "bold red" if per_round > figures["assumed_f"] else ""
    table.add_row(f"suspected, per round (f = {figures['assumed_f']})", Text(f"{per_round:.1f}", style=style), "")
    if figures["rejection_recall"] is not None:
        table.add_row("attackers rejected (recall)", "", f"{figures['rejection_recall']:.0%}")
    if figures["rejection_precision"] is not None:
        table.add_row("rejected that attacked (precision)", "", f"{figures['rejection_precision']:.0%}")
    return table


def _bytes(figures: dict[str, Any]) -> Text:
    down, up = (figures[f"bytes_{way}"] / 1e6 for way in ("down", "up"))
    sent = f"{down:,.1f} MB of weights sent, {up:,.1f} MB of updates back" if down or up else "nothing sent: inline"
    return Text(f"{sent}; {plural(figures['executors'] or 0, 'task')}", style="dim")


def sparkline(values: Sequence[float | None], low: float | None = None, high: float | None = None) -> str:
    """The last values as bars between the least and the greatest, or between `low` and `high`; a dot for none."""
    shown = list(values)[-_SPARK_WIDTH:]
    known = [value for value in shown if value is not None]
    if not known:
        return ""
    least, greatest = (min(known) if low is None else low), (max(known) if high is None else high)
    span = greatest - least
    # One level throughout is drawn in the middle: neither low nor high.
    scale = [("·" if v is None else _BARS[round((v - least) / span * 7) if span else 3]) for v in shown]
    return "".join(scale)


def bar(share: float) -> str:
    """A share, 0 to 1, as a bar."""
    return "█" * round(_BAR_WIDTH * min(1.0, max(0.0, share)))
