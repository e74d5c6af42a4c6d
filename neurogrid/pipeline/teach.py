"""`neurogrid teach`: a teacher from a manifest's warehouse, and what a person sees of it."""

import json
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import SparkSession
from rich.console import Group
from rich.live import Live
from rich.table import Table

import neurogrid
from neurogrid.cli import show
from neurogrid.config import Config, load, to_yaml, values
from neurogrid.data.manifest import Manifest, keep
from neurogrid.data.tables import CurrentTable
from neurogrid.errors import ConfigError, UsageError
from neurogrid.ledger.chain import Record
from neurogrid.lock import FolderLock
from neurogrid.pipeline import runs, settings, steps
from neurogrid.plural import plural
from neurogrid.storage import Place, place
from neurogrid.teacher import records
from neurogrid.teacher.distribute import device_for, distribute, refuse_without_slots
from neurogrid.teacher.households import Consent, choose, deal
from neurogrid.teacher.rank import RankTask
from neurogrid.teacher.schedule import best_epoch, stop_reason
from neurogrid.teacher.settings import TeacherSettings
from neurogrid.teacher.store import conclude

# What may be set anew for a teacher that goes on: where and how patiently, nothing that its weights depend on.
_FREE = ("spark.", "teacher.tries", "teacher.timeout_s")


def prepare(config: Config, resume: str, overrides: list[str]) -> Config:
    """The config to teach with; what can be refused is refused here, before Spark starts.

    Args:
        config: as it was asked for.
        resume: a teacher to go on with, which keeps its own config; or empty.
        overrides: what was set beside the file.
    """
    if resume:
        return _own_config(config.warehouse, resume, overrides)
    _choose(config)
    return config


def do_teach(config: Config, spark: SparkSession, resume: str = "", *, go_on: bool = False) -> dict[str, Any]:
    """A teacher from its start or its last durable epoch to its end; returns its metrics.

    Args:
        config: with `teacher.id` set, the teacher's name.
        spark: an open session.
        resume: a teacher to go on with.
        go_on: whether a teacher of the config's id that was begun already is gone on with, or, where it has ended,
            left as it is: what a job does whose driver was started again.
    """
    warehouse = place(config.warehouse)
    teacher_id = resume or config.teacher.id or datetime.now(UTC).strftime("t%Y%m%d-%H%M%S")
    folder = warehouse / "teachers" / teacher_id
    begun = (folder / "teacher.json").exists()
    if go_on and begun:
        resume = teacher_id
        if (folder / "end.json").exists():
            return {**json.loads((folder / "metrics.json").read_text()), "path": str(folder)}
    _refuse_ended(folder, resume)
    households, manifest = _choose(config)
    device = device_for(spark, records.read(folder).first["device"] if resume else config.teacher.device)
    teacher = settings.teacher(config, device)
    hands = deal(households, teacher.ranks)
    refuse_without_slots(spark, teacher.ranks, teacher.timeout_s)
    show.heading(f"Teaching, teacher {teacher_id}")
    with FolderLock(folder, f"teacher {teacher_id}"):
        if not resume:
            # The first record names the manifest by id, and this one may lie elsewhere.
            keep(manifest, warehouse)
            records.begin(folder, _first_record(teacher_id, teacher, households, manifest), to_yaml(config))
        _show_plan(teacher, households, hands, spark)
        tries = len((folder / "tries").children())
        task = RankTask(warehouse, folder, hands, manifest.fingerprints, teacher, tries)
        known = records.read(folder)
        try:
            with _epochs(teacher, known) as table:
                if not stop_reason(known.held_out, teacher):
                    known = distribute(spark, task, table.after_epoch, show.say)
        except KeyboardInterrupt:
            show.say(f"stopped; go on with: neurogrid teach --resume {teacher_id}{runs.where_flag(config)}")
            raise
        metrics = conclude(
            folder,
            {
                "model": vars(teacher.model),
                "windows": vars(teacher.windows),
                "cadence_minutes": manifest.cadence_minutes,
                "reason": stop_reason(known.held_out, teacher),
            },
        )
    _show_finish(folder, metrics)
    return {**metrics, "path": str(folder)}


def _choose(config: Config) -> tuple[tuple[CurrentTable, ...], Manifest]:
    """Whom to teach, and the manifest that says who is held out; raises UsageError where that cannot be."""
    manifest = steps.find_manifest(config)
    section = config.teacher
    consent = Consent(tuple(section.households), section.share, section.apart, config.seed)
    households = choose(manifest, place(config.warehouse), consent)
    deal(households, section.ranks)
    settings.teacher(config, "cpu")
    return households, manifest


def _refuse_ended(folder: Place, resume: str) -> None:
    if resume and (folder / "end.json").exists():
        raise UsageError(
            f"teacher {folder.name} has ended", found=f"{folder}/end.json", fix=f"use it: train --teacher {folder.name}"
        )


def _own_config(warehouse_uri: str, teacher_id: str, overrides: list[str]) -> Config:
    """A teacher's own config, to go on with it."""
    folder = place(warehouse_uri) / "teachers" / teacher_id
    there = [child.name for child in (place(warehouse_uri) / "teachers").children()]
    if teacher_id not in there or not (folder / "teacher.json").exists():
        raise UsageError(
            f'there is no teacher "{teacher_id}" in {warehouse_uri}',
            found=", ".join(there) if there else "no teachers at all",
            fix="name one of these, or give the warehouse with --warehouse",
        )
    first = records.read(folder).first
    text, where = records.read_named(folder, first, "config.yaml").decode(), f"{folder}/config.yaml"
    own = [f"warehouse={json.dumps(warehouse_uri)}", f"sampling.manifest={first['manifest_id']}"]
    kept, began = (values(load(text, more, where=where, teacher_follows=True)) for more in (own, ()))
    asked = values(load(text, [own[0], *overrides], where=where, teacher_follows=True))
    changing = [
        f"{key} is {value!r}, was {kept[key]!r}"
        for key, value in asked.items()
        if value not in (kept[key], began[key]) and not key.startswith(_FREE)
    ]
    if changing:
        raise ConfigError(
            f"teacher {teacher_id} keeps the config that it began with",
            found="; ".join(changing),
            fix="only spark.*, teacher.tries and teacher.timeout_s may be set for one that exists; or start another",
        )
    return load(text, [*overrides, *own], where=where, teacher_follows=True)


def _first_record(
    teacher_id: str, teacher: TeacherSettings, households: tuple[CurrentTable, ...], manifest: Manifest
) -> dict[str, Any]:
    return {
        "teacher_id": teacher_id,
        "manifest_id": manifest.sha256[:12],
        "manifest_sha256": manifest.sha256,
        "neurogrid_version": neurogrid.__version__,
        "households": [household.household_id for household in households],
        "ranks": teacher.ranks,
        "device": teacher.device,
        "precision": teacher.precision,
        "seed": teacher.seed,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _show_plan(
    teacher: TeacherSettings,
    households: tuple[CurrentTable, ...],
    hands: tuple[tuple[CurrentTable, ...], ...],
    spark: SparkSession,
) -> None:
    model, parts = teacher.model, teacher.accumulation
    slots = ", ".join(f"{sum(taught.rows for taught in hand):,}" for hand in hands)
    show.facts(
        [
            ("taught", f"{plural(len(households), 'household')}; slots of each rank: {slots}"),
            ("model", f"{model.name}, hidden {model.hidden} x {model.layers}"),
            ("ranks", f"{teacher.ranks} on Spark, {spark.sparkContext.master}, {teacher.device}, {teacher.precision}"),
            (
                "batch",
                f"{teacher.batch_size} windows, {teacher.part_size} a rank"
                + (f" in each of {parts} parts" if parts > 1 else ""),
            ),
            ("epochs", f"at most {teacher.epochs}, loss {teacher.loss.loss}"),
        ]
    )


def _show_finish(folder: Place, metrics: Any) -> None:
    first, best = show.number(metrics["held_out_loss_first"]), show.number(metrics["held_out_loss"])
    show.facts(
        [
            ("ended", f"{metrics['reason']}, after epoch {len(metrics['epochs'])}"),
            ("held-out loss", f"{first} to {best}, in epoch {metrics['best_epoch']}"),
            ("speed", f"{metrics['windows_per_s']:,.0f} windows a second"),
            ("weights", metrics["weights_sha256"]),
            ("ledger", metrics["head_sha256"]),
            ("folder", str(folder)),
        ]
    )


class EpochTable:
    """The live table of epochs; where there is no terminal, one line an epoch."""

    _COLUMNS = ("epoch", "held-out loss", "training loss", "rate", "windows/s", "s", "try", "best")

    def __init__(self, teacher: TeacherSettings, known: records.Records) -> None:
        self._rows = deque[tuple[str, ...]](maxlen=show.ROWS_SHOWN)
        self._held_out = known.held_out
        self._epochs = teacher.epochs
        # What ranks say is kept from the terminal by redirecting stderr, so the table holds the true one itself.
        self.live = Live(console=show.console, refresh_per_second=4, redirect_stderr=False, redirect_stdout=False)

    def after_epoch(self, record: Record) -> None:
        """Shows the epoch."""
        held_out = record["held_out_loss"]
        self._held_out.append(float("nan") if held_out is None else held_out)
        row = (
            f"{record['epoch']}/{self._epochs}",
            show.number(held_out),
            show.number(record["train_loss"]),
            f"{record['learning_rate']:.2e}",
            f"{record['windows_per_s']:,.0f}",
            f"{record['train_s'] + record['evaluate_s']:.1f}",
            str(record["try"]),
            str(best_epoch(self._held_out)),
        )
        self._rows.append(row)
        if show.console.is_terminal:
            self.live.update(self.group())
        else:
            show.say("  " + "  ".join(f"{name} {cell}" for name, cell in zip(self._COLUMNS, row, strict=True)))

    def group(self) -> Group:
        """All that is shown."""
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for name in self._COLUMNS:
            table.add_column(name, justify="right")
        for row in self._rows:
            table.add_row(*row)
        return Group(table) if self._rows else Group("  starting the ranks")


@contextmanager
def _epochs(teacher: TeacherSettings, known: records.Records) -> Iterator[EpochTable]:
    table = EpochTable(teacher, known)
    show.console.file = sys.stderr
    try:
        if show.console.is_terminal:
            table.live.start()
            table.live.update(table.group())
        yield table
    finally:
        if show.console.is_terminal:
            table.live.stop()
        show.console.file = None  # type: ignore[assignment]
