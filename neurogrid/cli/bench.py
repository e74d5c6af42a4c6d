"""`neurogrid bench`."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from neurogrid.cli import show
from neurogrid.cli.options import ConfigFile, Json, Sets, load_config, print_result
from neurogrid.cli.terminal import Terminal
from neurogrid.errors import UsageError

RESULTS_PAGE, QUICK_PAGE = Path("docs/results.md"), Path("build/results-quick.md")
_QUICK_NOTE = (
    "**This is the quick page, made by `make results QUICK=1`**: with fewer seeds, rounds and homes than the goals are "
    "meant for. It shows that everything works. Take no figure from it."
)
bench_app = typer.Typer(help="Measure speed, compared with other programs in the same run.", no_args_is_help=True)


def _numbers(text: str, flag: str, least: int = 1) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < least:
        raise UsageError(
            f"{flag} takes whole numbers from {least}, separated by commas",
            found=text,
            fix=f"for example {flag} {least},{least + 10}",
        )
    return numbers


def _shares(text: str, flag: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0.05 <= share <= 1000 for share in shares):
        raise UsageError(f"{flag} takes numbers from 0.05 to 1000, separated by commas", found=text, fix=f"{flag} 0.5")
    return shares


@contextmanager
def _needing_dev(command: str) -> Iterator[None]:
    """Says which package a benchmark lacks, of those that only development needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"bench {command} needs {error.name}, which is not installed", fix="pip install 'neurogrid[dev]'"
        ) from error


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


Out = Annotated[Path | None, typer.Option(help="Also write the table to this path, as .md and .parquet.")]


@bench_app.command("rounds")
def bench_rounds(
    agents: Annotated[str, typer.Option(help="Numbers of agents, separated by commas.")] = "15,100,1000",
    backends: Annotated[str, typer.Option(help="inline, spark, or both separated by a comma.")] = "inline,spark",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds to measure for each, after warm-up.")] = 5,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Measure the phases of a round, against a plain torch loop and a plain socket exchange."""
    kinds = backends.split(",")
    if not set(kinds) <= {"inline", "spark"}:
        raise UsageError("--backends takes inline, spark or both", found=backends, fix="--backends inline,spark")
    counts = _numbers(agents, "--agents")
    from neurogrid.bench.rounds import bench_rounds as measure  # noqa: PLC0415

    _bench("Rounds", lambda: measure(counts, kinds, rounds), out, as_json=as_json)


@bench_app.command("rules")
def bench_rules(
    agents: Annotated[str, typer.Option(help="Numbers of agents, separated by commas; from 5.")] = "50,1000",
    weights: Annotated[int, typer.Option(min=1, help="Weights of an update.")] = 145_000,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each; the fastest counts.")] = 3,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Measure what each robust rule costs, beside one pass over the updates, their Gram matrix, and byzfl."""
    counts = _numbers(agents, "--agents", 5)
    from neurogrid.bench.rules import bench_rules as measure  # noqa: PLC0415

    _bench("Robust rules", lambda: measure(counts, weights, repeats), out, as_json=as_json)


@bench_app.command("byzantine")
def bench_byzantine(
    rules: Annotated[str, typer.Option(help="mean (not clipped), trimmed_mean, caf.")] = "mean,trimmed_mean,caf",
    attacks: Annotated[str, typer.Option(help="Kinds of attack, as attack.kind takes them.")] = "",
    alphas: Annotated[str, typer.Option(help="Dirichlet alphas; the smaller, the more agents differ.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "1",
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of each training; 0: 60, or 20 with --quick.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="One alpha, fewer attacks and rounds.")] = False,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Measure rules against attacks on handwritten digits: accuracy, and who was rejected."""
    attacks = attacks or ("none,sign_flip,alie" if quick else "none,sign_flip,alie,foe,mimic")
    kinds, numbers = attacks.split(","), _numbers(seeds, "--seeds", 0)
    shares = _shares(alphas or ("0.1" if quick else "0.5,0.1"), "--alphas")
    with _needing_dev("byzantine"):
        from neurogrid.bench import byzantine  # noqa: PLC0415
    for flag, given, known in (
        ("--rules", rules.split(","), [*byzantine.CASES]),
        ("--attacks", kinds, [*byzantine.KINDS]),
    ):
        if not set(given) <= set(known):
            raise UsageError(f"{flag} takes {', '.join(known)}", found=",".join(given), fix=f"{flag} {known[0]}")
    length = rounds or (20 if quick else 60)
    _bench(
        "Rules against attacks",
        lambda: byzantine.bench_byzantine(rules.split(","), kinds, shares, numbers, length),
        out,
        as_json=as_json,
    )


@bench_app.command("etl")
def bench_etl(
    files: Annotated[int, typer.Option(min=1, help="Number of household files.")] = 140,
    rows: Annotated[int, typer.Option(min=96, help="Rows in each file.")] = 61_600,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each program, alternating.")] = 3,
    folder: Annotated[Path, typer.Option(help="Folder for the generated files.")] = Path("build/bench-etl"),
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Measure the ETL against a DuckDB script that does the same work, and whole commands against lean scripts.

    The second table is also written to the path of --out with -cold at its end.
    """
    with _needing_dev("etl"):
        from neurogrid.bench.etl import bench_commands, bench_etl  # noqa: PLC0415

    cold = out.with_name(f"{out.name}-cold") if out else None
    _bench("ETL, warm", lambda: bench_etl(folder, files, rows, repeats), out, as_json=as_json)
    _bench("ETL, whole commands", lambda: bench_commands(folder, files, rows, repeats), cold, as_json=as_json)


@bench_app.command("etl-large")
def bench_etl_large(
    files: Annotated[int, typer.Option(min=1, help="Number of household files of the smaller folder.")] = 140,
    times: Annotated[int, typer.Option(min=2, help="How many times as many the larger one has.")] = 10,
    rows: Annotated[int, typer.Option(min=96, help="Rows in each file.")] = 61_600,
    repeats: Annotated[int, typer.Option(min=1, help="Runs on each folder, alternating.")] = 1,
    folder: Annotated[Path, typer.Option(help="Folder for the generated files (8 GB).")] = Path("build/bench-etl"),
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Measure how time and memory of the ETL grow with the number of files."""
    with _needing_dev("etl-large"):
        from neurogrid.bench.etl_large import bench_large  # noqa: PLC0415

    _bench("ETL, many files", lambda: bench_large(folder, files, rows, times, repeats), out, as_json=as_json)


@bench_app.command("results")
def bench_results(
    data_dir: Annotated[str, typer.Option(help="Folder with the Smart-Grid Smart-City readings.")],
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas; 11,12,13, or 11 with --quick.")] = "",
    quick: Annotated[
        bool,
        typer.Option("--quick", help="One seed, fewer rounds and homes, in some 15 minutes."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The page to write; docs/results.md, or build/results-quick.md with --quick.")
    ] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Measure what joining gives, forecasts, surges, quantiles and attacks on real readings, against the goals."""
    numbers = _numbers(seeds or ("11" if quick else "11,12,13"), "--seeds", 0)
    target = out or (QUICK_PAGE if quick else RESULTS_PAGE)
    if quick and target.resolve() == RESULTS_PAGE.resolve():
        raise UsageError(
            f"the quick figures are not those of {RESULTS_PAGE}", found=f"--out {out}", fix=f"--out {QUICK_PAGE}"
        )
    from neurogrid.cli import results  # noqa: PLC0415
    from neurogrid.pipeline import sessions  # noqa: PLC0415
    from neurogrid.pipeline.etl_plan import plan_etl  # noqa: PLC0415
    from neurogrid.pipeline.plan import refuse_missing_packages  # noqa: PLC0415
    from neurogrid.storage import place  # noqa: PLC0415

    own = [f"source.path={json.dumps(data_dir)}", "source.kind=sgsc", "etl.cadence_minutes=30"]
    own += ["warehouse=build/results-quick", *results.QUICK] if quick else ["warehouse=build/results"]
    settings = load_config(config, [*own, *(sets or [])], {})
    compared = {"comparisons": [*results.RIVALS]}
    refuse_missing_packages(settings.model_copy(update={"evaluation": settings.evaluation.model_copy(update=compared)}))
    plan_etl(settings)
    terminal = Terminal()
    with sessions.session(settings, terminal) as spark:
        page = results.measure(settings, numbers, spark, terminal, _QUICK_NOTE if quick else "")
    place(str(target)).write(page)
    show.facts([("page", str(target))])
    print_result({"path": str(target), "seeds": numbers}, as_json=as_json)


@bench_app.command("teacher")
def bench_teacher(
    ranks: Annotated[str, typer.Option(help="Numbers of ranks, separated by commas.")] = "1,2",
    batch: Annotated[int, typer.Option(min=1, help="Windows in a step, of all ranks together.")] = 256,
    repeats: Annotated[int, typer.Option(min=1, help="Trainings for each, alternating.")] = 3,
    data_dir: Annotated[
        str | None,
        typer.Option(help="Folder with Smart-Grid Smart-City readings, to measure what a teacher gains."),
    ] = None,
    out: Out = None,
    config: ConfigFile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Measure a teacher's training against a plain torch loop, or with --data-dir what a federation gains from it."""
    counts = _numbers(ranks, "--ranks")
    uneven = [count for count in counts if batch % count]
    if uneven:
        raise UsageError("--batch must be a multiple of each number in --ranks", found=f"{batch} by {uneven[0]}")
    if data_dir is None:
        from neurogrid.bench.teacher import bench_teacher as measure  # noqa: PLC0415

        _bench("Teacher", lambda: measure(counts, batch, repeats), out, as_json=as_json)
        return
    own = [f"source.path={json.dumps(data_dir)}", "source.kind=sgsc", "etl.cadence_minutes=30", "seed=11"]
    own += ["sampling.agents=30", "teacher.share=1.0", "warehouse=build/teacher"]
    settings = load_config(config, [*own, *(sets or [])], {})
    from neurogrid.cli import teacher_results  # noqa: PLC0415
    from neurogrid.pipeline import sessions  # noqa: PLC0415
    from neurogrid.pipeline.etl_plan import plan_etl  # noqa: PLC0415

    plan_etl(settings)
    terminal = Terminal()
    with sessions.session(settings, terminal) as spark:
        _bench("What a teacher gains", lambda: teacher_results.measure(settings, spark, terminal), out, as_json=as_json)
