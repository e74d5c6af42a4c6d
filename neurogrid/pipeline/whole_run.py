"""A whole run: ETL, sampling, rounds, evaluation and report, or those of them that a stopped run has left."""

from dataclasses import dataclass, replace
from typing import Any

from neurogrid.config import Config
from neurogrid.data.sampling import SamplingSettings
from neurogrid.errors import UsageError
from neurogrid.fl.attack import AttackSettings
from neurogrid.fl.rounds import RoundSettings
from neurogrid.ledger.records import read_end, read_evaluation, refuse_begun
from neurogrid.pipeline import etl, plan, privacy, runs, sessions, settings, steps, teachers, training
from neurogrid.pipeline.etl_plan import EtlPlan, plan_etl
from neurogrid.pipeline.events import SILENT, AlreadyTrained, Observer, RunBegins
from neurogrid.plural import plural
from neurogrid.storage import place
from neurogrid.teacher.store import refuse_other_windows
from neurogrid.workloads.meters.agent import TrainingSettings
from neurogrid.workloads.meters.evaluation import Comparison


@dataclass(frozen=True)
class RunPlan:
    """What a run from raw readings will do, as far as is known before they are read.

    Attributes:
        etl: see there.
        sampling: how agents will be drawn.
        training, rounds, attack: how they will learn; no attack is None.
        n_weights: size of the model.
        comparisons: what the model will be compared with, beside naive forecasts.
    """

    etl: EtlPlan
    sampling: SamplingSettings
    training: TrainingSettings
    rounds: RoundSettings
    attack: AttackSettings | None
    n_weights: int
    comparisons: tuple[Comparison, ...]


def plan_run(config: Config) -> RunPlan:
    """See RunPlan; a run that cannot work is refused as far as can be told before its readings are read.

    Raises:
        InputError: there are no readings.
        UsageError: the run exists already, its teacher does not fit, the run to start from has not ended, or there are
            too few files.
    """
    plan.refuse_missing_packages(config)
    cleaning, learning = plan_etl(config), settings.training(config)
    refuse_begun(runs.folder(config, config.run_id))
    if config.rounds.start_from:
        runs.refuse_missing(config.warehouse, config.rounds.start_from)
        read_end(runs.folder(config, config.rounds.start_from))
    teacher = teachers.named(config)
    if teacher is not None:
        refuse_other_windows(teacher, learning.windows, cleaning.cadence_minutes)
    plan.refuse_more_tasks_than_cores(config)
    sampling = settings.sampling(config)
    files = cleaning.source.listing(cleaning.settings.listed_per_kind).files
    if not cleaning.source.declaration.staged:  # how many households a file of many has is not known yet
        _refuse_too_few_files(cleaning.path, len(files), sampling)
    private = privacy.plan(config, config.sampling.agents)
    privacy.refuse_statistics(private, plan.spec(learning))
    return RunPlan(
        etl=cleaning,
        sampling=sampling,
        training=learning,
        rounds=replace(settings.rounds(config), privacy=private),
        attack=settings.attack(config),
        n_weights=plan.spec(learning).size,
        comparisons=tuple(config.evaluation.comparisons),
    )


def run(config: Config, observer: Observer = SILENT, resume: str = "", *, accept_break: bool = False) -> dict[str, Any]:
    """All steps from raw readings or from the config's manifest to the report, or those that a stopped run has left.

    Each step's plan is made as soon as what it depends on is there: a training's when its agents are drawn.

    Args:
        config: with its `run_id`, or that of the run to go on with.
        observer: told what goes on.
        resume: a run to go on with, wherever it was stopped; or empty.
        accept_break: see TrainPlan.

    Returns:
        What each step has made, by the step's name.
    """
    plan.refuse_missing_packages(config)
    run_id = resume or config.run_id
    folder = runs.folder(config, run_id)
    result: dict[str, Any] = {}
    manifest, ahead, rounds = None, None, None
    if resume or config.sampling.manifest:
        manifest = plan.find_manifest(config)
    else:
        ahead = plan_run(config)
        observer.tell(RunBegins(ahead))
    trained = bool(resume) and runs.has_ended(folder)
    if trained:
        result["train"] = runs.summary(folder, read_end(folder))
        observer.tell(AlreadyTrained(run_id, result["train"]["rounds"], "evaluate"))
    elif manifest is not None:
        rounds = plan.plan_training(config, manifest, resume, accept_break=accept_break)
    if trained and runs.is_evaluated(folder):
        result["evaluate"] = read_evaluation(folder)
    else:
        with sessions.session(config, observer) as spark:
            if ahead is not None:
                result["etl"] = etl.figures(etl.etl(ahead.etl, lambda: spark, observer))
            if manifest is None:
                drawing = plan.plan_sampling(config)
                manifest = steps.sample(drawing, spark, observer)
                result["sample"] = steps.sampled(drawing.warehouse, manifest)
            if not trained:
                rounds = rounds or plan.plan_training(config, manifest, accept_break=accept_break)
                result["train"] = training.train(rounds, spark, observer)
            result["evaluate"] = steps.evaluate(plan.plan_evaluation(config, run_id), spark, observer)
    result["report"] = {"path": str(steps.report(place(config.warehouse), run_id, observer))}
    return result


def _refuse_too_few_files(path: str, files: int, sampling: SamplingSettings) -> None:
    held_out = round(files * sampling.held_out_share)
    found = f"{plural(files, 'household file')} in {path}, {held_out} of them held out"
    if sampling.partition == "natural" and sampling.agents > files - held_out:
        raise UsageError(
            f"there are too few households for {plural(sampling.agents, 'agent')}, each of which needs one to train on",
            found=found,
            fix=f"take at most {plural(files - held_out, 'agent')} (--agents), or a sampling.held_out_share "
            f"smaller than {sampling.held_out_share:g}",
        )
    if sampling.clusters > files:
        raise UsageError(
            f"{sampling.clusters} clusters need at least as many households",
            found=found,
            fix=f"set sampling.clusters to at most {files}",
        )
