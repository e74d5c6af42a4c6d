"""A teacher from its start or its last durable epoch to its end. Takes a plan; reads no config."""

import json
import math
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import SparkSession

import neurogrid
from neurogrid.data.manifest import keep
from neurogrid.ledger.chain import Record
from neurogrid.lock import FolderLock
from neurogrid.pipeline.events import SILENT, EpochEnded, Noted, Observer, Taught, Teaching
from neurogrid.pipeline.teach_plan import TeachPlan
from neurogrid.teacher import records
from neurogrid.teacher.distribute import device_for, distribute, refuse_without_slots
from neurogrid.teacher.rank import RankTask
from neurogrid.teacher.schedule import best_epoch, stop_reason
from neurogrid.teacher.settings import TeacherSettings
from neurogrid.teacher.store import conclude


def teach(plan: TeachPlan, spark: SparkSession, observer: Observer = SILENT) -> dict[str, Any]:
    """Trains a teacher; returns its metrics, and where it lies.

    Raises:
        UsageError: Spark has too few slots for the ranks, or another device than was asked for.
        RunError: the ranks were lost too often, or the teacher's folder is not what was written.
    """
    folder = plan.folder
    if plan.ended:
        return {**json.loads((folder / "metrics.json").read_text()), "path": str(folder)}
    device = device_for(spark, plan.device)
    teacher = plan.settings[device]
    refuse_without_slots(spark, teacher.ranks, teacher.timeout_s)
    with FolderLock(folder, f"teacher {folder.name}"):
        if not plan.resumes:
            # The first record names the manifest by id, and this one may lie elsewhere.
            keep(plan.manifest, plan.warehouse)
            records.begin(folder, _first_record(plan, teacher), plan.config_yaml)
        tries = len((folder / "tries").children())
        task = RankTask(plan.warehouse, folder, plan.hands, plan.manifest.fingerprints, teacher, tries)
        known = records.read(folder)

        losses = [*known.held_out]

        def after_epoch(record: Record) -> None:
            loss = record["held_out_loss"]
            losses.append(math.nan if loss is None else loss)
            observer.tell(EpochEnded(record, best_epoch(losses)))

        def note(text: str) -> None:
            observer.tell(Noted(text))

        with observer.during(Teaching(plan, device, spark.sparkContext.master)):
            if not stop_reason(known.held_out, teacher):
                known = distribute(spark, task, after_epoch, note)
        metrics = conclude(
            folder,
            {
                "model": vars(teacher.model),
                "windows": vars(teacher.windows),
                "cadence_minutes": plan.manifest.cadence_minutes,
                "reason": stop_reason(known.held_out, teacher),
            },
        )
    observer.tell(Taught(folder, metrics))
    return {**metrics, "path": str(folder)}


def _first_record(plan: TeachPlan, teacher: TeacherSettings) -> dict[str, Any]:
    return {
        "teacher_id": plan.folder.name,
        "manifest_id": plan.manifest.sha256[:12],
        "manifest_sha256": plan.manifest.sha256,
        "neurogrid_version": neurogrid.__version__,
        "households": [household.household_id for household in plan.households],
        "ranks": teacher.ranks,
        "device": teacher.device,
        "precision": teacher.precision,
        "seed": teacher.seed,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
