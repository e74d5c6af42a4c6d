"""The commands of the pipeline. What a command does stands in steps.py."""

from typing import Annotated, Any

import typer

from neurogrid.cli.options import (
    Agents,
    AttackOption,
    ConfigFile,
    DataDir,
    Fraction,
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
)
from neurogrid.config import Config
from neurogrid.errors import RunError


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
    resume: Resume = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """All steps: ETL, sampling, rounds, evaluation, report. With --resume: the rounds that are left and the rest."""
    from neurogrid.cli import steps  # noqa: PLC0415 - torch and Spark load in seconds; --help must not wait for them

    flags = _training_flags(warehouse, manifest, rounds, byzantine_fraction, byzantine_attack, teacher)
    flags |= {"source.path": data_dir, "sampling.agents": agents}
    settings = load_config(config, sets, flags)
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
    print_result(result, as_json=as_json)


def _training_flags(
    warehouse: str | None,
    manifest: str | None,
    rounds: int | None,
    fraction: float | None,
    attack: str | None,
    teacher: str | None,
) -> dict[str, Any]:
    """The keys that flags of both `run` and `train` set."""
    return {
        "warehouse": warehouse,
        "sampling.manifest": manifest,
        "rounds.count": rounds,
        "attack.fraction": fraction,
        "attack.kind": attack,
        "rounds.teacher": teacher,
    }


def _resumed(settings: Config, run_id: str, sets: list[str] | None, flags: dict[str, Any]) -> Config:
    """The config of the run itself; flags that would change its result are refused."""
    from neurogrid.cli import runs  # noqa: PLC0415

    changing = [f"{key}={value}" for key, value in flags.items() if value is not None and key != "warehouse"]
    own = runs.run_config(settings.warehouse, run_id, [*(sets or []), *changing])
    return own.model_copy(
        update={"sampling": own.sampling.model_copy(update={"manifest": runs.run_manifest(own, run_id)})}
    )


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

    settings = load_config(
        config, sets, {"warehouse": warehouse, "source.path": data_dir, "source.exclude": exclude or None}
    )
    source = steps.find_source(settings)
    with steps.session(settings) as spark:
        print_result(steps.do_etl(settings, spark, source), as_json=as_json)


def sample(
    config: ConfigFile = None,
    sets: Sets = None,
    agents: Agents = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Choose agents and held-out households; writes a manifest."""
    from neurogrid.cli import steps  # noqa: PLC0415

    settings = load_config(config, sets, {"warehouse": warehouse, "sampling.agents": agents})
    with steps.session(settings) as spark:
        print_result(steps.do_sample(settings, spark)[1], as_json=as_json)


def teach(
    config: ConfigFile = None,
    sets: Sets = None,
    manifest: ManifestOption = None,
    ranks: Annotated[int | None, typer.Option(help="Processes that train together.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs at most.")] = None,
    resume: Annotated[str | None, typer.Option("--resume", metavar="ID", help="Go on with a teacher.")] = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Pretrain a model on households whose people agreed, for federations to start from."""
    from neurogrid.cli import steps, teach  # noqa: PLC0415

    flags = {"sampling.manifest": manifest, "teacher.ranks": ranks, "teacher.epochs": epochs}
    overrides = [*(sets or []), *(f"{key}={value}" for key, value in flags.items() if value is not None)]
    asked = load_config(config, sets, {**flags, "warehouse": warehouse})
    settings = teach.prepare(asked, resume or "", overrides)
    with steps.session(settings) as spark:
        print_result(teach.do_teach(settings, spark, resume or ""), as_json=as_json)


def train(
    config: ConfigFile = None,
    sets: Sets = None,
    manifest: ManifestOption = None,
    rounds: Rounds = None,
    byzantine_fraction: Fraction = None,
    byzantine_attack: AttackOption = None,
    teacher: TeacherOption = None,
    resume: Resume = None,
    warehouse: Warehouse = None,
    as_json: Json = False,
) -> None:
    """Rounds of federated learning."""
    from neurogrid.cli import steps  # noqa: PLC0415

    flags = _training_flags(warehouse, manifest, rounds, byzantine_fraction, byzantine_attack, teacher)
    settings = load_config(config, sets, flags)
    if resume is not None:
        settings = _resumed(settings, resume, sets, flags)
    drawn = steps.find_manifest(settings)
    if settings.backend.kind == "inline":
        result = steps.do_train(settings, None, drawn, resume or "")
    else:
        with steps.session(settings) as spark:
            result = steps.do_train(settings, spark, drawn, resume or "")
    print_result(result, as_json=as_json)


def evaluate(run_id: RunId, sets: Sets = None, warehouse: Warehouse = None, as_json: Json = False) -> None:
    """Score a run on held-out time and held-out households, beside what costs less."""
    from neurogrid.cli import steps  # noqa: PLC0415

    settings = _resumed(load_config(None, None, {"warehouse": warehouse}), run_id, sets, {})
    drawn = steps.find_manifest(settings)
    with steps.session(settings) as spark:
        print_result(steps.do_evaluate(settings, spark, run_id, drawn), as_json=as_json)


def report(run_id: RunId, warehouse: Warehouse = None, as_json: Json = False) -> None:
    """Write a run's HTML report."""
    from neurogrid.cli import runs, steps  # noqa: PLC0415

    settings = load_config(None, None, {"warehouse": warehouse})
    runs.run_config(settings.warehouse, run_id, [])
    print_result(steps.do_report(settings.warehouse, run_id), as_json=as_json)


def audit(
    run_id: RunId,
    warehouse: Warehouse = None,
    ended: Annotated[bool, typer.Option("--ended", help="Fail as well when the run has not ended.")] = False,
    as_json: Json = False,
) -> None:
    """Check that a run's folder is what was written, and name what was changed."""
    from neurogrid.cli import steps  # noqa: PLC0415

    found = steps.do_audit(load_config(None, None, {"warehouse": warehouse}).warehouse, run_id)
    if ended and not found["ended"]:
        raise RunError(f"run {run_id} has not ended", found=f"{found['rounds']} rounds so far")
    print_result(found, as_json=as_json)
