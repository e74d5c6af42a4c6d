"""A run's teacher: which one the config names, what the run takes from it, whether it may."""

from neurogrid.config import Config
from neurogrid.data.manifest import Manifest
from neurogrid.errors import InputError, UsageError
from neurogrid.fl.update import Vector
from neurogrid.fl.weights import flatten, from_state_dict
from neurogrid.ledger.chain import Record
from neurogrid.pipeline import settings
from neurogrid.storage import place
from neurogrid.teacher.households import refuse_leaks
from neurogrid.teacher.store import Teacher, open_teacher, refuse_other_windows
from neurogrid.workloads.meters.agent import TrainingSettings, new_model, vector_spec
from neurogrid.workloads.meters.distillation import Distillation
from neurogrid.workloads.meters.models import ModelSettings


def named(config: Config) -> Teacher | None:
    """The teacher that the config names, checked against the model; None where it names none.

    Raises:
        InputError: there is no such teacher.
        UsageError: it is of another size while nothing is distilled.
        RunError: its folder is not what was written.
    """
    wanted = config.rounds.teacher
    if not wanted:
        return None
    folder = place(config.warehouse) / "teachers"
    candidates = [folder / wanted, place(wanted)]
    found = next((c for c in candidates if (c / "teacher.json").exists()), None)
    if found is None:
        raise InputError(
            f'there is no teacher "{wanted}"',
            found=", ".join(child.name for child in folder.children()) or f"nothing in {folder}",
            fix="teach one with `neurogrid teach`, or name one of these",
        )
    teacher = open_teacher(found)
    if not config.local.distill_weight and teacher.model != settings.model(config):
        ours, theirs = settings.model(config), teacher.model
        raise UsageError(
            f"the model is of another size than teacher {teacher.id}, so it cannot start from its weights",
            found=f"the teacher {_size(theirs)}, the model {_size(ours)}",
            fix="set local.distill_weight to learn from its forecasts instead, or use its sizes in the model section",
        )
    return teacher


def find(config: Config, manifest: Manifest) -> Teacher | None:
    """The teacher that the config names, checked against the manifest and the model; None where it names none.

    Raises:
        UsageError: as `named`; or it knows households or time that are tested on, or sees or forecasts other slots.
    """
    teacher = named(config)
    if teacher is not None:
        refuse_leaks(teacher.taught, manifest, f"teacher {teacher.id}")
        refuse_other_windows(teacher, settings.windows(config), manifest.cadence_minutes)
    return teacher


def start(teacher: Teacher | None, settings: TrainingSettings) -> Vector:
    """The weights before round 1: a teacher's where they fit the model, else those of the run's seed."""
    if teacher is None or teacher.model != settings.model:
        return flatten(new_model(settings), settings.private)
    return from_state_dict(vector_spec(settings), teacher.weights())


def distillation(config: Config, teacher: Teacher | None) -> Distillation | None:
    """What agents need to learn from its forecasts; None where they do not."""
    if teacher is None or not config.local.distill_weight:
        return None
    return Distillation(teacher.weights_file, teacher.weights_sha256, teacher.model, config.local.distill_weight)


def refuse_another(genesis: Record, teacher: Teacher | None) -> None:
    """Raises UsageError where a run that goes on began with another teacher than `teacher`."""
    found = teacher.head_sha256 if teacher else ""
    began_with = genesis.get("teacher_sha256", "")
    if began_with != found:
        raise UsageError(
            f"run {genesis['run_id']} began with another teacher",
            found=f"{found[:12] or 'none'}, the run has {began_with[:12] or 'none'}",
            fix="restore the teacher's folder as it was, or start a new run",
        )


def _size(model: ModelSettings) -> str:
    return " ".join(f"{name} {value}" for name, value in vars(model).items() if value != {})
