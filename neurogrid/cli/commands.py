"""The commands of the pipeline. What a command does stands in steps.py."""

from pathlib import Path
from typing import Annotated, Any

import typer

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
    from neurogrid.pipeline import ingest, runs, steps  # noqa: PLC0415 - torch and Spark load in seconds; --help must not wait for them

    flags = _training_flags(warehouse, manifest, rounds, byzantine_fraction, byzantine_attack, teacher, start_from)
    flags |= {"source.path": data_dir, "sampling.agents": agents}
    settings = load_config(config, sets, flags)
    settings = runs.with_id(settings) if resume is None else _resumed(settings, resume, config, sets, flags)
    run_id = resume or settings.run_id
    if settings.sampling.manifest and resume is None:
        _refuse_unused(settings.sampling.manifest, {"--data-dir": data_dir, "--agents": agents})
    source, drawn = None, None
    if resume is None and not settings.sampling.manifest:
        source = ingest.find_source(settings)
        steps.plan_run(settings, source)
    else:
        drawn = steps.find_manifest(settings)
    with runs.saying_how_to_go_on(settings, run_id, "run"):
        result = steps.do_run(settings, source, drawn, resume or "", accept_break=accept_break)
    print_result(result, as_json=as_json)


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

    if config is None:
        given = [f"{key}={value}" for key, value in flags.items() if value is not None and key != "warehouse"]
        return runs.with_own_manifest(runs.run_config(asked.warehouse, run_id, [*(sets or []), *given]), run_id)
    own = runs.run_config(asked.warehouse, run_id, [])
    runs.refuse_another(asked, own, run_id)
    anew = {"backend": asked.backend, "spark": asked.spark, "evaluation": asked.evaluation}
    return runs.with_own_manifest(own.model_copy(update=anew), run_id)


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
    from neurogrid.pipeline import ingest  # noqa: PLC0415

    settings = load_config(
        config, sets, {"warehouse": warehouse, "source.path": data_dir, "source.exclude": exclude or None}
    )
    source = ingest.find_source(settings)
    if dry_run:
        print_result(do_dry_run(settings, source), as_json=as_json)
        return
    with ingest.when_needed(ingest.session(settings)) as spark:
        print_result(ingest.do_etl(settings, spark, source), as_json=as_json)


def sample(
    config: ConfigFile = None,
    sets: Sets = None,
    agents: Agents = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Choose agents and held-out households, and write a manifest."""
    from neurogrid.pipeline import ingest, preflight, steps  # noqa: PLC0415

    settings = load_config(config, sets, {"warehouse": warehouse, "sampling.agents": agents})
    preflight.refuse_sampling(settings)
    with ingest.session(settings) as spark:
        print_result(steps.do_sample(settings, spark)[1], as_json=as_json)


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
    from neurogrid.pipeline import ingest, teach  # noqa: PLC0415

    flags = {"sampling.manifest": manifest, "teacher.ranks": ranks, "teacher.epochs": epochs}
    overrides = [*(sets or []), *(f"{key}={value}" for key, value in flags.items() if value is not None)]
    asked = load_config(config, sets, {**flags, "warehouse": warehouse})
    settings = teach.prepare(asked, resume or "", overrides)
    with ingest.session(settings) as spark:
        print_result(teach.do_teach(settings, spark, resume or ""), as_json=as_json)


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
    from neurogrid.pipeline import ingest, preflight, runs, steps  # noqa: PLC0415

    flags = _training_flags(warehouse, manifest, rounds, byzantine_fraction, byzantine_attack, teacher, start_from)
    settings = load_config(config, sets, flags)
    settings = runs.with_id(settings) if resume is None else _resumed(settings, resume, config, sets, flags)
    drawn = steps.find_manifest(settings)
    preflight.refuse_training(settings, drawn, resume or "")
    with runs.saying_how_to_go_on(settings, resume or settings.run_id, "train"):
        if settings.backend.kind == "inline":
            result = steps.do_train(settings, None, drawn, resume or "", accept_break=accept_break)
        else:
            with ingest.session(settings) as spark:
                result = steps.do_train(settings, spark, drawn, resume or "", accept_break=accept_break)
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
    from neurogrid.pipeline import ingest, preflight, runs, steps  # noqa: PLC0415

    flags = {"evaluation.comparisons": ALL_COMPARISONS} if everything else {}
    asked = load_config(config, sets, {"warehouse": warehouse, **flags})
    own = runs.run_config(asked.warehouse, run_id, [*(sets or []), *(f"{key}={value}" for key, value in flags.items())])
    if config is not None:
        own = own.model_copy(update={"evaluation": asked.evaluation, "spark": asked.spark})
    preflight.refuse_evaluation(own, run_id)
    settings = runs.with_own_manifest(own, run_id)
    drawn = steps.find_manifest(settings)
    with ingest.session(settings) as spark:
        print_result(steps.do_evaluate(settings, spark, run_id, drawn), as_json=as_json)


def report(run_id: RunId, config: ConfigFile = None, warehouse: Warehouse = None, as_json: Json = False) -> None:
    """Write a run's HTML report.

    Only the warehouse is taken from --config.
    """
    from neurogrid.pipeline import runs, steps  # noqa: PLC0415

    settings = load_config(config, None, {"warehouse": warehouse})
    runs.run_config(settings.warehouse, run_id, [])
    print_result(steps.do_report(settings.warehouse, run_id), as_json=as_json)


def audit(
    run_id: RunId,
    config: ConfigFile = None,
    warehouse: Warehouse = None,
    ended: Annotated[bool, typer.Option("--ended", help="Also fail if the run has not ended.")] = False,
    as_json: Json = False,
) -> None:
    """Check that a run's records and files are unmodified, and name those that were changed.

    Only the warehouse is taken from --config.
    """
    from neurogrid.pipeline import runs, steps  # noqa: PLC0415

    settings = load_config(config, None, {"warehouse": warehouse})
    runs.refuse_missing(settings.warehouse, run_id)
    found = steps.do_audit(settings.warehouse, run_id)
    if ended and not found["ended"]:
        raise RunError(f"run {run_id} has not ended", found=f"{plural(found['rounds'], 'round')} so far")
    print_result(found, as_json=as_json)
