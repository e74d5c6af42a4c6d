"""The commands of the pipeline: each makes a plan and hands it to a step, with a terminal that says what goes on."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from neurogrid.cli import show
from neurogrid.cli.options import (
    AcceptBreak,
    Agents,
    AttackOption,
    ConfigFile,
    DataDir,
    Fraction,
    FromOption,
    Json,
    ManifestOption,
    Resume,
    Rounds,
    RunId,
    Sets,
    TeacherOption,
    Warehouse,
    load_config,
    print_result,
    teacher_ids,
)
from neurogrid.cli.terminal import Terminal
from neurogrid.config import Config
from neurogrid.errors import RunError, UsageError
from neurogrid.plural import plural

ALL_COMPARISONS = ["ridge", "alone", "pooled"]


def run(
    config: ConfigFile = None,
    sets: Sets = None,
    data_dir: DataDir = None,
    manifest: ManifestOption = None,
    rounds: Rounds = None,
    agents: Agents = None,
    byzantine_fraction: Fraction = None,
    byzantine_attack: AttackOption = None,
    teacher: TeacherOption = None,
    start_from: FromOption = None,
    resume: Resume = None,
    accept_break: AcceptBreak = False,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Run all steps: ETL, sampling, rounds, evaluation, report. With --resume, continue from where a run stopped."""
    from neurogrid.pipeline import runs, whole_run  # noqa: PLC0415 - torch and Spark load in seconds; --help must not wait for them

    flags = _training_flags(warehouse, manifest, rounds, byzantine_fraction, byzantine_attack, teacher, start_from)
    flags |= {"source.path": data_dir, "sampling.agents": agents}
    settings = load_config(config, sets, flags)
    settings = runs.with_id(settings) if resume is None else _resumed(settings, resume, config, sets, flags)
    if settings.sampling.manifest and resume is None:
        _refuse_unused(settings.sampling.manifest, {"--data-dir": data_dir, "--agents": agents})
    with _saying_how_to_go_on(settings, resume or settings.run_id, "run"):
        result = whole_run.run(settings, Terminal(), resume or "", accept_break=accept_break)
    print_result(result, as_json=as_json)


@contextmanager
def _saying_how_to_go_on(config: Config, run_id: str, command: str) -> Iterator[None]:
    """Ctrl-C inside tells the person what to do next, whichever step it came in."""
    from neurogrid.storage import place  # noqa: PLC0415 - Arrow loads slowly

    kind, first = ("teachers", "teacher.json") if command == "teach" else ("runs", "run.json")
    try:
        yield
    except KeyboardInterrupt:
        if (place(config.warehouse) / kind / run_id / first).exists():
            flag = "" if config.warehouse == "warehouse" else f" --warehouse {shlex.quote(config.warehouse)}"
            show.say(f"stopped; go on with: neurogrid {command} --resume {run_id}{flag}")
        else:
            when = "first epoch" if command == "teach" else "first round"
            show.say(f"stopped before the {when}, so there is nothing to resume: give the same command again")
        raise


def _refuse_unused(manifest: str, flags: dict[str, Any]) -> None:
    """Raises UsageError for flags of steps that are left out, since a manifest is there."""
    unused = [f"{flag} {value}" for flag, value in flags.items() if value is not None]
    if unused:
        raise UsageError(
            f"a run from manifest {manifest} neither reads raw data nor chooses agents",
            found=f"{' and '.join(unused)}, which would do nothing",
            fix="leave it out; or, to start from the readings, leave out --manifest (sampling.manifest)",
        )


def _training_flags(
    warehouse: str | None,
    manifest: str | None,
    rounds: int | None,
    fraction: float | None,
    attack: str | None,
    teacher: str | None,
    start_from: str | None,
) -> dict[str, Any]:
    """The keys that flags of both `run` and `train` set."""
    return {
        "warehouse": warehouse,
        "sampling.manifest": manifest,
        "rounds.count": rounds,
        "attack.fraction": fraction,
        "attack.kind": attack,
        "rounds.teacher": teacher,
        "rounds.start_from": start_from,
    }


def _resumed(asked: Config, run_id: str, config: Path | None, sets: list[str] | None, flags: dict[str, Any]) -> Config:
    """The config of the run itself, running where it is asked to; what would change its result is refused."""
    from neurogrid.pipeline import runs  # noqa: PLC0415

    given = [f"{key}={value}" for key, value in flags.items() if value is not None and key != "warehouse"]
    return runs.resumed_config(asked, run_id, [*(sets or []), *given] if config is None else None)


def etl(
    config: ConfigFile = None,
    sets: Sets = None,
    data_dir: DataDir = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Household file to leave out; may be repeated.")] = None,
    warehouse: Warehouse = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what each file is taken for; start and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert raw meter and weather files to clean Parquet, with a data-quality report."""
    from neurogrid.cli.dry_run import do_dry_run  # noqa: PLC0415
    from neurogrid.pipeline import etl, sessions  # noqa: PLC0415
    from neurogrid.pipeline.etl_plan import plan_etl  # noqa: PLC0415

    settings = load_config(
        config, sets, {"warehouse": warehouse, "source.path": data_dir, "source.exclude": exclude or None}
    )
    plan = plan_etl(settings)
    if dry_run:
        print_result(do_dry_run(plan, settings.warehouse), as_json=as_json)
        return
    terminal = Terminal()
    with sessions.when_needed(sessions.session(settings, terminal)) as spark:
        print_result(etl.figures(etl.etl(plan, spark, terminal)), as_json=as_json)


def sample(
    config: ConfigFile = None,
    sets: Sets = None,
    agents: Agents = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Choose agents and held-out households, and write a manifest."""
    from neurogrid.pipeline import sessions, steps  # noqa: PLC0415
    from neurogrid.pipeline.plan import plan_sampling  # noqa: PLC0415

    settings = load_config(config, sets, {"warehouse": warehouse, "sampling.agents": agents})
    plan, terminal = plan_sampling(settings), Terminal()
    with sessions.session(settings, terminal) as spark:
        print_result(steps.sampled(plan.warehouse, steps.sample(plan, spark, terminal)), as_json=as_json)


def teach(
    config: ConfigFile = None,
    sets: Sets = None,
    manifest: ManifestOption = None,
    ranks: Annotated[int | None, typer.Option(help="Number of processes that train together.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Maximum number of epochs.")] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="ID", help="Continue a teacher.", autocompletion=teacher_ids),
    ] = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Pretrain a model on households whose residents have consented, for federations to start from."""
    from neurogrid.pipeline import sessions, teach_plan, teaching  # noqa: PLC0415

    flags = {"sampling.manifest": manifest, "teacher.ranks": ranks, "teacher.epochs": epochs}
    overrides = [*(sets or []), *(f"{key}={value}" for key, value in flags.items() if value is not None)]
    settings = load_config(config, sets, {**flags, "warehouse": warehouse})
    if resume is not None:
        settings = teach_plan.own_config(settings.warehouse, resume, overrides)
    plan, terminal = teach_plan.plan_teaching(settings, resume or ""), Terminal()
    with (
        sessions.session(settings, terminal) as spark,
        _saying_how_to_go_on(settings, plan.folder.name, "teach"),
    ):
        print_result(teaching.teach(plan, spark, terminal), as_json=as_json)


def train(
    config: ConfigFile = None,
    sets: Sets = None,
    manifest: ManifestOption = None,
    rounds: Rounds = None,
    byzantine_fraction: Fraction = None,
    byzantine_attack: AttackOption = None,
    teacher: TeacherOption = None,
    start_from: FromOption = None,
    resume: Resume = None,
    accept_break: AcceptBreak = False,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Train a model in rounds of federated learning."""
    from neurogrid.pipeline import runs, sessions, training  # noqa: PLC0415
    from neurogrid.pipeline.plan import find_manifest, plan_training  # noqa: PLC0415

    flags = _training_flags(warehouse, manifest, rounds, byzantine_fraction, byzantine_attack, teacher, start_from)
    settings = load_config(config, sets, flags)
    settings = runs.with_id(settings) if resume is None else _resumed(settings, resume, config, sets, flags)
    plan = plan_training(settings, find_manifest(settings), resume or "", accept_break=accept_break)
    terminal = Terminal()
    with _saying_how_to_go_on(settings, plan.run.name, "train"):
        if not plan.backend.needs_spark:
            result = training.train(plan, None, terminal)
        else:
            with sessions.session(settings, terminal) as spark:
                result = training.train(plan, spark, terminal)
    print_result(result, as_json=as_json)


def evaluate(
    run_id: RunId,
    config: ConfigFile = None,
    sets: Sets = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Also compare with ridge, and with the same model trained alone and on pooled readings. Takes longer.",
        ),
    ] = False,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Score a run on held-out time and held-out households, alongside cheaper baselines.

    Only the warehouse, spark and evaluation settings are taken from --config; the others are the run's own.
    """
    from neurogrid.pipeline import runs, sessions, steps  # noqa: PLC0415
    from neurogrid.pipeline.plan import plan_evaluation  # noqa: PLC0415

    flags = {"evaluation.comparisons": ALL_COMPARISONS} if everything else {}
    asked = load_config(config, sets, {"warehouse": warehouse, **flags})
    own = runs.run_config(asked.warehouse, run_id, [*(sets or []), *(f"{key}={value}" for key, value in flags.items())])
    if config is not None:
        own = own.model_copy(update={"evaluation": asked.evaluation, "spark": asked.spark})
    plan, terminal = plan_evaluation(own, run_id), Terminal()
    with sessions.session(own, terminal) as spark:
        print_result(steps.evaluate(plan, spark, terminal), as_json=as_json)


def report(run_id: RunId, config: ConfigFile = None, warehouse: Warehouse = None, as_json: Json = False) -> None:
    """Write a run's HTML report.

    Only the warehouse is taken from --config.
    """
    from neurogrid.pipeline import runs, steps  # noqa: PLC0415
    from neurogrid.storage import place  # noqa: PLC0415

    settings = load_config(config, None, {"warehouse": warehouse})
    runs.run_config(settings.warehouse, run_id, [])
    page = steps.report(place(settings.warehouse), run_id, Terminal())
    print_result({"path": str(page)}, as_json=as_json)


def audit(
    run_id: RunId,
    config: ConfigFile = None,
    warehouse: Warehouse = None,
    ended: Annotated[bool, typer.Option("--ended", help="Also fail if the run has not ended.")] = False,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="Also train all its rounds again, in this process, and compare the weights after each. Takes as long "
            "as the training takes on one core, and needs the same readings, versions and processor.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that a run's records and files are unmodified, and name those that were changed.

    Only the warehouse is taken from --config.
    """
    from neurogrid.pipeline import runs  # noqa: PLC0415
    from neurogrid.storage import place  # noqa: PLC0415

    settings = load_config(config, None, {"warehouse": warehouse})
    runs.refuse_missing(settings.warehouse, run_id)
    found = runs.audit(place(settings.warehouse), run_id)
    show.facts(
        [
            ("rounds", str(found.rounds)),
            ("files", str(found.files)),
            ("ledger", found.head),
            ("state", "ended" if found.ended else "not ended"),
            ("evaluation", found.evaluation or "no evaluation that can be checked"),
            *(("break", sentence) for sentence in found.breaks),
        ]
    )
    if found.problems:
        again = all(problem.startswith("evaluation.") for problem in found.problems)
        raise RunError(
            f"run {run_id} has been modified",
            found="\n         ".join(found.problems),
            fix=f"make the evaluation again with `neurogrid evaluate {run_id}`; the rest is unmodified"
            if again
            else "restore these files from a copy; until then the run cannot be resumed, evaluated or reported on",
        )
    show.say("  OK: all records and files are unmodified")
    if ended and not found.ended:
        raise RunError(f"run {run_id} has not ended", found=f"{plural(found.rounds, 'round')} so far")
    replayed = {"replayed_rounds": _replayed(settings.warehouse, run_id)} if replay else {}
    print_result({**asdict(found), **replayed}, as_json=as_json)


def _replayed(warehouse: str, run_id: str) -> int:
    from neurogrid.pipeline import runs  # noqa: PLC0415
    from neurogrid.pipeline.plan import plan_replay  # noqa: PLC0415
    from neurogrid.pipeline.replay import replay  # noqa: PLC0415

    show.heading(f"Replay of run {run_id}")
    with show.bar("rounds made again") as bar:
        rounds = replay(plan_replay(runs.run_config(warehouse, run_id, []), run_id), bar)
    show.say(f"  OK: {plural(rounds, 'round')} made again, each with the weights on record")
    return rounds
