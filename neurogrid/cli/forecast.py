"""What a finished run gives: personal models and forecasts of a warehouse's households, and its model as a folder."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neurogrid.cli import show
from neurogrid.cli.options import ConfigFile, Json, RunId, Sets, Warehouse, load_config, print_result
from neurogrid.cli.terminal import Terminal
from neurogrid.plural import plural

if TYPE_CHECKING:
    from neurogrid.config import Config
    from neurogrid.pipeline.forecasting import Forecasts

Households = Annotated[
    list[str] | None,
    typer.Option("--households", metavar="ID", help="A household; may be repeated. Without it, all."),
]
ROWS_SHOWN = 12
NAMED = 3
REFUSED_SHOWN = 10


def forecast(
    run_id: RunId,
    config: ConfigFile = None,
    sets: Sets = None,
    households: Households = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME",
            help="Start of the first slot, like 2024-02-29T13:30Z; without it, the slot after each household's last.",
        ),
    ] = None,
    horizon: Annotated[
        int | None, typer.Option("--horizon", metavar="SLOTS", help="Number of slots, up to what the model forecasts.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="Where to write all forecasts: a .parquet or a .csv file."),
    ] = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Forecast the coming slots of households with the model of a finished run.

    Only the warehouse and spark settings are taken from --config; the others are the run's own.
    """
    from neurogrid.pipeline import forecasting, sessions  # noqa: PLC0415 - torch and Spark load in seconds
    from neurogrid.pipeline.forecast_plan import plan_forecasts  # noqa: PLC0415

    own = _own_config(run_id, config, sets, warehouse)
    plan, terminal = plan_forecasts(own, run_id, households or [], at, horizon, out), Terminal()
    if plan.on_spark:
        with sessions.session(own, terminal) as spark:
            found = forecasting.forecast(plan, spark, terminal)
    else:
        found = forecasting.forecast(plan, None, terminal)
    _say(found)
    if as_json:
        print_result(found.to_dict(), as_json=True)
    else:
        _print(found)


def _own_config(run_id: str, config: Path | None, sets: list[str] | None, warehouse: str | None) -> "Config":
    """The run's own config, with the Spark of the file that was given."""
    from neurogrid.pipeline import runs  # noqa: PLC0415

    asked = load_config(config, sets, {"warehouse": warehouse})
    own = runs.run_config(asked.warehouse, run_id, sets or [])
    return own if config is None else own.model_copy(update={"spark": asked.spark})


def personalise(
    run_id: RunId,
    config: ConfigFile = None,
    sets: Sets = None,
    households: Households = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a finished run's model for households that have no personal model yet.

    Only the warehouse and spark settings are taken from --config; the others are the run's own.
    """
    from neurogrid.pipeline import personalising, sessions  # noqa: PLC0415

    own = _own_config(run_id, config, sets, warehouse)
    plan, terminal = personalising.plan_personal(own, run_id, households or []), Terminal()
    with sessions.session(own, terminal) if plan.on_spark else nullcontext() as spark:
        found = personalising.personalise(plan, spark, terminal)
    _say_refused("personal model", found["refused"])
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found["shares"].items())
    show.facts(
        [
            ("made", plural(found["made"], "personal model")),
            ("there before", plural(found["kept"], "personal model")),
            ("they use", shares),
            ("folder", found["path"]),
        ]
    )
    print_result(found, as_json=as_json)


def export(
    run_id: RunId,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where to write it: empty, or not there yet.")],
    config: ConfigFile = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Write a finished run's model to a folder: ONNX, weights, and what `neurogrid.load` in Python needs.

    Only the warehouse is taken from --config.
    """
    from neurogrid.pipeline import exporting, runs  # noqa: PLC0415
    from neurogrid.pipeline.forecast_plan import plan_export  # noqa: PLC0415

    asked = load_config(config, None, {"warehouse": warehouse})
    plan = plan_export(runs.run_config(asked.warehouse, run_id, []), run_id, folder)
    found = exporting.export(plan, Terminal())
    compared = "forecasts what torch does" if found["onnx_compared_with_torch"] else "not compared with torch"
    show.facts(
        [
            ("folder", found["folder"]),
            *((name, f"{size:,} bytes") for name, size in found["bytes"].items()),
            ("ONNX", compared if found["onnx_compared_with_torch"] else f"{compared}: onnxruntime is not installed"),
        ]
    )
    print_result(found, as_json=as_json)


def _say(found: "Forecasts") -> None:
    """What is missing, and what was made with less than usual."""
    _say_refused("forecast", found.refused)
    if found.filled:
        history = found.plan.settings.training.windows.history_slots
        worst = max(found.filled.values())
        show.say(
            f"  {plural(len(found.filled), 'household')} with gaps in the {plural(history, 'slot')} before the "
            f"forecast, up to {worst} of them: filled values stand in"
        )


def _say_refused(what: str, refused: dict[str, str]) -> None:
    """Each reason once, with the first of those that it holds for."""
    whose: dict[str, list[str]] = {}
    for name, reason in refused.items():
        whose.setdefault(reason, []).append(name)
    for reason, names in list(whose.items())[:REFUSED_SHOWN]:
        more = len(names) - NAMED
        others = f" and {plural(more, 'more household')}" if more > 0 else ""
        show.say(f"  no {what} of {', '.join(names[:NAMED])}{others}: {reason}")
    hidden = sum(len(names) for names in list(whose.values())[REFUSED_SHOWN:])
    if hidden:
        show.say(f"  and none of {plural(hidden, 'more household')}; --json names all")


def _print(found: "Forecasts") -> None:
    plan, made = found.plan, found.made
    print(
        f"{plural(len(made), 'household')} forecast by run {plan.run.name}, "
        f"{plural(plan.settings.horizon_slots, 'slot')} of {plan.settings.cadence_minutes} min each, "
        f"from {min(each.start for each in made):%Y-%m-%d %H:%M} UTC on; {len(found.refused)} without a forecast"
    )
    if plan.out is not None:
        print(f"written to {plan.out}")
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2))
    for name in ("household", "slot from (UTC)"):
        table.add_column(name)
    for name in ("kWh", "surge"):
        table.add_column(name, justify="right")
    table.add_column("model")
    for row in found.rows(households=ROWS_SHOWN)[:ROWS_SHOWN]:
        surge = f"{row['surge_probability']:.0%}"
        kwh = show.number(row["forecast_kwh"])
        table.add_row(escape(row["household_id"]), row["start"][:16].replace("T", " "), kwh, surge, row["model"])
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    more = len(made) * plan.settings.horizon_slots - ROWS_SHOWN
    if more > 0:
        print(f"and {plural(more, 'row')} more; --out FILE.parquet or FILE.csv writes all")
