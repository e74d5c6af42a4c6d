"""What cannot work is refused here, before Spark starts or hours of ETL have gone by."""

import os
import re
from datetime import timedelta

from neurogrid.config import Config, load, to_yaml
from neurogrid.data.manifest import Manifest
from neurogrid.data.sources import Source
from neurogrid.data.tables import current_tables, refuse_missing
from neurogrid.errors import UsageError
from neurogrid.ledger.records import read_end, refuse_begun, refuse_ended
from neurogrid.pipeline import earlier, runs, settings, teachers
from neurogrid.pipeline.earlier import Earlier
from neurogrid.plural import plural
from neurogrid.storage import place
from neurogrid.teacher.store import Teacher, refuse_other_windows
from neurogrid.workloads.meters.windows import reach_slots


def refuse_run(config: Config, source: Source) -> None:
    """Refuses a whole run, from raw readings on, as far as can be told before they are read.

    Raises:
        UsageError: the run exists already, its teacher does not fit, the run to start from has not ended, or there are
            too few files.
    """
    refuse_begun(runs.folder(config, config.run_id))
    if config.rounds.start_from:
        runs.refuse_missing(config.warehouse, config.rounds.start_from)
        read_end(runs.folder(config, config.rounds.start_from))
    teacher = teachers.named(config)
    if teacher is not None:
        cadence = config.etl.cadence_minutes or source.cadence_minutes
        refuse_other_windows(teacher, settings.windows(config), cadence)
    _refuse_more_tasks_than_cores(config)
    files = source.listing(config.etl.listed_per_kind).files
    if not source.declaration.staged:  # how many households a file of many has is not known yet
        _refuse_too_few_files(config, len(files))


def refuse_sampling(config: Config) -> None:
    """Raises InputError where there are no clean tables to sample from."""
    current_tables(place(config.warehouse))


def refuse_evaluation(config: Config, run_id: str) -> None:
    """Raises UsageError where the run has no final weights yet, and RunError where its end is not what was written."""
    read_end(runs.folder(config, run_id))


def refuse_training(config: Config, manifest: Manifest, resume: str = "") -> tuple[Teacher | None, Earlier | None]:
    """Refuses a training that its manifest or its folder makes impossible; returns the teacher and the run that it
    starts from. A run that goes on has its own start on record, and does without the run that it started from.

    Raises:
        UsageError: the run exists already, or has ended where it is to be gone on with; the rule cannot bear what is
            asked of so few agents; nobody has a window to train on; the teacher or the run to start from does not fit.
        InputError: the warehouse lacks tables that the manifest names.
    """
    run = runs.folder(config, resume or config.run_id)
    if resume:
        refuse_ended(run)
    elif config.run_id:
        refuse_begun(run)
    if len(manifest.agents) < config.sampling.agents:
        # The config's own check knows what was wished for; a manifest may hold fewer agents.
        fewer = config.sampling.model_copy(update={"agents": len(manifest.agents)})
        load(to_yaml(config.model_copy(update={"sampling": fewer})), where="config with this manifest's agents")
    refuse_missing(manifest, place(config.warehouse))
    before = None if resume else earlier.find(config, manifest)
    teacher = teachers.find(config, manifest)
    _refuse_more_tasks_than_cores(config)
    _refuse_without_windows(config, manifest)
    return teacher, before


def _refuse_more_tasks_than_cores(config: Config) -> None:
    """Of a local Spark the slots are known before it starts; of a cluster's, when it has."""
    local = re.fullmatch(r"local(\[(?P<cores>\d+|\*)(,\d+)?\])?", config.spark.master)
    if config.backend.kind != "spark" or local is None:
        return
    cores = os.cpu_count() or 1 if local["cores"] == "*" else int(local["cores"] or 1)
    if config.backend.tasks > cores:
        raise UsageError(
            f"{plural(config.backend.tasks, 'resident task')}, but not as many Spark slots",
            found=f"{cores} on {config.spark.master}",
            fix=f"set backend.tasks to at most {cores}, or 0 for all",
        )


def _refuse_too_few_files(config: Config, files: int) -> None:
    section = config.sampling
    held_out = round(files * section.held_out_share)
    found = f"{plural(files, 'household file')} in {config.source.path}, {held_out} of them held out"
    if section.partition == "natural" and section.agents > files - held_out:
        raise UsageError(
            f"there are too few households for {plural(section.agents, 'agent')}, each of which needs one to train on",
            found=found,
            fix=f"take at most {plural(files - held_out, 'agent')} (--agents), or a sampling.held_out_share "
            f"smaller than {section.held_out_share:g}",
        )
    if section.clusters > files:
        raise UsageError(
            f"{section.clusters} clusters need at least as many households",
            found=found,
            fix=f"set sampling.clusters to at most {files}",
        )


def _refuse_without_windows(config: Config, manifest: Manifest) -> None:
    """Refuses history and horizon that are longer than what the agents have to train on."""
    windows = settings.windows(config)
    slot = timedelta(minutes=manifest.cadence_minutes)
    reach = reach_slots(windows, timedelta(days=1) // slot)
    needed = reach + windows.horizon_slots
    # An agent of several households' weeks is not judged: its first household may be the shortest.
    whole = [(agent.train_end - agent.first) // slot for agent in manifest.agents if len(agent.parts) == 1]
    able = len(manifest.agents) - sum(slots < needed for slots in whole)
    if able < config.rounds.min_agents:
        raise UsageError(
            f"a window is longer than the training period: {needed} slots of {manifest.cadence_minutes} min, "
            f"{reach} before its start and {windows.horizon_slots} to forecast",
            found=f"{able} of {plural(len(manifest.agents), 'agent')} have as many in their training period, "
            f"{config.rounds.min_agents} needed; the longest has {max(whole)}",
            fix="lower model.history_slots or model.horizon_slots, take a coarser etl.cadence_minutes, "
            "or use readings of a longer time",
        )
