"""The commands and their flags. What a command does stands in steps.py.

Exit codes: 0 done; 1 the work started and could not be finished; 2 a wrong command, config or input; 130 stopped by the
person.
"""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import neurogrid
from neurogrid.cli import show
from neurogrid.config import Config, load
from neurogrid.errors import ConfigError, NeuroGridError, UsageError
from neurogrid.storage import place

STOPPED = 130

app = typer.Typer(
    name="neurogrid",
    help="Federated load forecasting for smart meters on Apache Spark.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
config_app = typer.Typer(help="Show, describe or check the config.", no_args_is_help=True)
bench_app = typer.Typer(help="Measure speed against a peer in the same run.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(bench_app, name="bench")

ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="YAML config; defaults without it.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the config.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Warehouse = Annotated[str | None, typer.Option(help="Path or URI of all that NeuroGrid writes.")]
DataDir = Annotated[str | None, typer.Option(help="Folder with the raw readings.")]
ManifestOption = Annotated[str | None, typer.Option("--manifest", help="Id or path of a manifest to use.")]
Rounds = Annotated[int | None, typer.Option(help="Number of rounds.")]
Agents = Annotated[int | None, typer.Option(help="Number of agents.")]
Fraction = Annotated[float | None, typer.Option(help="Share of agents that attack.")]
AttackOption = Annotated[str | None, typer.Option(help="none, scale, sign_flip or noise.")]
Resume = Annotated[str | None, typer.Option("--resume", metavar="RUN_ID", help="Go on with an interrupted run.")]
RunId = Annotated[str, typer.Argument(help="Name of the run, a folder under runs/ in the warehouse.")]


def main() -> None:
    """Runs the command line; every error a person can make ends in words and an exit code, never in a traceback."""
    # A pod or a supervisor ends a run with SIGTERM: leave as cleanly as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        app()
    except NeuroGridError as problem:
        show.error(problem)
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        show.say("neurogrid: stopped")
        sys.exit(STOPPED)
    except SystemExit as end:  # typer turns Ctrl-C inside a command into this
        if end.code == STOPPED:
            show.say("neurogrid: stopped")
        raise


def _load(file: Path | None, sets: list[str] | None, flags: dict[str, Any]) -> Config:
    """The config file, then `--set`, then flags."""
    text = ""
    if file is not None:
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the config {file}", found=str(error)) from error
    given = [f"{key}={json.dumps(value)}" for key, value in flags.items() if value is not None]
    fraction, kind = flags.get("attack.fraction"), flags.get("attack.kind")
    config = load(text, [*(sets or []), *given], where=str(file) if file else "config")
    if fraction and kind is None and config.attack.kind == "none":
        raise ConfigError(
            "--byzantine-fraction without an attack does nothing",
            found=f"--byzantine-fraction {fraction}",
            fix="say which with --byzantine-attack scale, sign_flip or noise",
        )
    return config


def _print(result: Any, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=2, sort_keys=True, default=str))


def _version(value: bool) -> None:
    if value:
        print(f"neurogrid {neurogrid.__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Federated load forecasting for smart meters on Apache Spark."""


@app.command()
def run(
    config: ConfigFile = None,
    sets: Sets = None,
    data_dir: DataDir = None,
    manifest: ManifestOption = None,
    rounds: Rounds = None,
    agents: Agents = None,
    byzantine_fraction: Fraction = None,
    byzantine_attack: AttackOption = None,
    resume: Resume = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """All steps: ETL, sampling, rounds, evaluation, report. With --resume: the rounds that are left and the rest."""
    from neurogrid.cli import steps  # noqa: PLC0415 - torch and Spark load in seconds; --help must not wait for them

    flags = {
        "warehouse": warehouse,
        "source.path": data_dir,
        "sampling.manifest": manifest,
        "sampling.agents": agents,
        "rounds.count": rounds,
        "attack.fraction": byzantine_fraction,
        "attack.kind": byzantine_attack,
    }
    settings = _load(config, sets, flags)
    if resume is not None:
        settings = _resumed(settings, resume, sets, flags)
    fresh = resume is None and not settings.sampling.manifest
    source = steps.find_source(settings) if fresh else None
    drawn = None if fresh else steps.find_manifest(settings)
    with steps.session(settings) as spark:
        result: dict[str, Any] = {}
        if source is not None:
            result["etl"] = steps.do_etl(settings, spark, source)
        if drawn is None:
            drawn, result["sample"] = steps.do_sample(settings, spark)
        result["train"] = steps.do_train(settings, spark, drawn, resume or "")
        run_id = result["train"]["run_id"]
        result["evaluate"] = steps.do_evaluate(settings, spark, run_id, drawn)
    result["report"] = steps.do_report(settings.warehouse, run_id)
    _print(result, as_json=as_json)


def _resumed(settings: Config, run_id: str, sets: list[str] | None, flags: dict[str, Any]) -> Config:
    """The config of the run itself; flags that would change its result are refused."""
    from neurogrid.cli import steps  # noqa: PLC0415

    changing = [f"{key}={value}" for key, value in flags.items() if value is not None and key != "warehouse"]
    own = steps.run_config(settings.warehouse, run_id, [*(sets or []), *changing])
    return own.model_copy(
        update={"sampling": own.sampling.model_copy(update={"manifest": steps.run_manifest(own, run_id)})}
    )


@app.command()
def etl(
    config: ConfigFile = None,
    sets: Sets = None,
    data_dir: DataDir = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Household file to leave out; may be repeated.")] = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Raw meter and weather files to clean Parquet, with a data-quality report."""
    from neurogrid.cli import steps  # noqa: PLC0415

    settings = _load(config, sets, {"warehouse": warehouse, "source.path": data_dir, "source.exclude": exclude or None})
    source = steps.find_source(settings)
    with steps.session(settings) as spark:
        _print(steps.do_etl(settings, spark, source), as_json=as_json)


@app.command()
def sample(
    config: ConfigFile = None,
    sets: Sets = None,
    agents: Agents = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Choose agents and held-out households; writes a manifest."""
    from neurogrid.cli import steps  # noqa: PLC0415

    settings = _load(config, sets, {"warehouse": warehouse, "sampling.agents": agents})
    with steps.session(settings) as spark:
        _print(steps.do_sample(settings, spark)[1], as_json=as_json)


@app.command()
def train(
    config: ConfigFile = None,
    sets: Sets = None,
    manifest: ManifestOption = None,
    rounds: Rounds = None,
    byzantine_fraction: Fraction = None,
    byzantine_attack: AttackOption = None,
    resume: Resume = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Rounds of federated learning."""
    from neurogrid.cli import steps  # noqa: PLC0415

    flags = {
        "warehouse": warehouse,
        "sampling.manifest": manifest,
        "rounds.count": rounds,
        "attack.fraction": byzantine_fraction,
        "attack.kind": byzantine_attack,
    }
    settings = _load(config, sets, flags)
    if resume is not None:
        settings = _resumed(settings, resume, sets, flags)
    drawn = steps.find_manifest(settings)
    if settings.backend.kind == "inline":
        result = steps.do_train(settings, None, drawn, resume or "")
    else:
        with steps.session(settings) as spark:
            result = steps.do_train(settings, spark, drawn, resume or "")
    _print(result, as_json=as_json)


@app.command()
def evaluate(run_id: RunId, sets: Sets = None, warehouse: Warehouse = None, as_json: Json = False) -> None:
    """Score a run on held-out time and held-out households, beside what costs less."""
    from neurogrid.cli import steps  # noqa: PLC0415

    settings = _resumed(_load(None, None, {"warehouse": warehouse}), run_id, sets, {})
    drawn = steps.find_manifest(settings)
    with steps.session(settings) as spark:
        _print(steps.do_evaluate(settings, spark, run_id, drawn), as_json=as_json)


@app.command()
def report(run_id: RunId, warehouse: Warehouse = None, as_json: Json = False) -> None:
    """Write a run's HTML report."""
    from neurogrid.cli import steps  # noqa: PLC0415

    settings = _load(None, None, {"warehouse": warehouse})
    steps.run_config(settings.warehouse, run_id, [])
    _print(steps.do_report(settings.warehouse, run_id), as_json=as_json)


@app.command()
def audit(run_id: RunId, warehouse: Warehouse = None, as_json: Json = False) -> None:
    """Check that a run's folder is what was written, and name what was changed."""
    from neurogrid.cli import steps  # noqa: PLC0415

    _print(steps.do_audit(_load(None, None, {"warehouse": warehouse}).warehouse, run_id), as_json=as_json)


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(help="Where to write it; must not exist or be empty.")],
    households: Annotated[int, typer.Option(min=1, help="Number of households.")] = 24,
    stations: Annotated[int, typer.Option(min=1, help="Number of weather stations.")] = 3,
    days: Annotated[int, typer.Option(min=2, help="Number of days.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 1,
    as_json: Json = False,
) -> None:
    """Make a small HEAPO-shaped data set, faults included."""
    from neurogrid.data.synthetic import SyntheticSettings, make_heapo  # noqa: PLC0415

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is in the way", found="it exists and is not empty", fix="name another folder")
    with show.console.status("  making readings"):
        make_heapo(folder, SyntheticSettings(households=households, stations=stations, days=days, seed=seed))
    show.facts([("made", f"{households} households, {stations} weather stations, {days} days in {folder}")])
    _print({"path": str(folder), "households": households}, as_json=as_json)


@config_app.command("show")
def config_show(config: ConfigFile = None, sets: Sets = None) -> None:
    """The whole config as it would be used, as YAML."""
    from neurogrid.config import to_yaml  # noqa: PLC0415

    print(to_yaml(_load(config, sets, {})), end="")


@config_app.command("schema")
def config_schema(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON Schema instead of Markdown.")] = False,
) -> None:
    """Every key with its default, unit and meaning."""
    from neurogrid.cli.reference import reference  # noqa: PLC0415

    print(json.dumps(Config.model_json_schema(), indent=2) if as_json else reference(), end="")


@config_app.command("validate")
def config_validate(config: Annotated[Path, typer.Argument(help="YAML config.")], sets: Sets = None) -> None:
    """Check a config; says what is wrong with it, all at once."""
    _load(config, sets, {})
    show.say(f"{config} can be used")


def _numbers(text: str, flag: str, least: int = 1) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < least:
        raise UsageError(f"{flag} takes numbers from {least} with commas between", found=text, fix=f"{flag} 15,100")
    return numbers


def _bench(title: str, work: Callable[[], Any], out: Path | None, *, as_json: bool) -> None:
    show.heading(title)
    table = work()
    print(
        json.dumps([dict(zip(table.columns, row, strict=True)) for row in table.rows])
        if as_json
        else table.to_markdown()
    )
    if out is not None:
        table.write(str(out))


Out = Annotated[Path | None, typer.Option(help="Also write it there, as .md and .parquet.")]


@bench_app.command("rounds")
def bench_rounds(
    agents: Annotated[str, typer.Option(help="Numbers of agents, with commas.")] = "15,100,1000",
    backends: Annotated[str, typer.Option(help="inline, spark or both, with commas.")] = "inline,spark",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds measured of each, after warm-up.")] = 5,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """A round's phases, against a bare torch loop and a bare socket exchange in the same run."""
    kinds = backends.split(",")
    if not set(kinds) <= {"inline", "spark"}:
        raise UsageError("--backends takes inline, spark or both", found=backends, fix="--backends inline,spark")
    counts = _numbers(agents, "--agents")
    from neurogrid.bench.rounds import bench_rounds as measure  # noqa: PLC0415

    _bench("Rounds", lambda: measure(counts, kinds, rounds), out, as_json=as_json)


@bench_app.command("etl")
def bench_etl(
    files: Annotated[int, typer.Option(min=1, help="Household files.")] = 140,
    rows: Annotated[int, typer.Option(min=96, help="Rows of each.")] = 61_600,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each, in turn.")] = 3,
    folder: Annotated[Path, typer.Option(help="Where the files are made.")] = Path("build/bench-etl"),
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Our ETL against a plain DuckDB script that does the same job, in the same run."""
    try:
        from neurogrid.bench.etl import bench_etl as measure  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"bench etl needs {error.name}, which is not installed", fix="pip install 'neurogrid[dev]'"
        ) from error

    _bench("ETL", lambda: measure(folder, files, rows, repeats), out, as_json=as_json)


@bench_app.command("results")
def bench_results(
    data_dir: Annotated[str, typer.Option(help="Folder with the Smart-Grid Smart-City readings.")],
    seeds: Annotated[str, typer.Option(help="Seeds, with commas.")] = "11,12,13",
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("docs/results.md"),
    config: ConfigFile = None,
    sets: Sets = None,
) -> None:
    """What is reached on real readings: forecasts, surges, attacks, against the goals."""
    numbers = _numbers(seeds, "--seeds", 0)
    own = [f"source.path={json.dumps(data_dir)}", "source.kind=sgsc", "etl.cadence_minutes=30"]
    settings = _load(config, [*own, "warehouse=build/results", *(sets or [])], {})
    from neurogrid.cli import results, steps  # noqa: PLC0415

    steps.find_source(settings)
    with steps.session(settings) as spark:
        page = results.measure(settings, numbers, spark)
    place(str(out)).write(page)
    show.facts([("page", str(out))])
