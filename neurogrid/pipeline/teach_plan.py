"""From the config to what teaching takes: whom to teach, on which ranks. What cannot work is refused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from neurogrid.config import Config, load, of_its_time, to_yaml, values
from neurogrid.data.manifest import Manifest
from neurogrid.data.optout import opted_out, refuse_opted_out
from neurogrid.data.tables import CurrentTable
from neurogrid.errors import ConfigError, UsageError
from neurogrid.pipeline import settings
from neurogrid.pipeline.plan import find_manifest
from neurogrid.storage import Place, place
from neurogrid.teacher import records
from neurogrid.teacher.households import Consent, choose, deal
from neurogrid.teacher.settings import Device, TeacherSettings

# What may be set anew for a teacher that goes on: where and how patiently, nothing that its weights depend on.
_FREE = ("spark.", "teacher.tries", "teacher.timeout_s")


@dataclass(frozen=True)
class TeachPlan:
    """All that teaching takes.

    Attributes:
        warehouse: whose tables are taught.
        folder: the teacher's, called like it.
        config_yaml: the whole config, for the folder.
        manifest: says who is held out.
        households: whom to teach, and `hands` which rank has which of them.
        device: where ranks run; `auto` is a GPU where Spark gives each task one.
        settings: of a teacher on each device.
        resumes: whether the teacher exists and goes on.
        ended: whether nothing is left to do.
    """

    warehouse: Place
    folder: Place
    config_yaml: str
    manifest: Manifest
    households: tuple[CurrentTable, ...]
    hands: tuple[tuple[CurrentTable, ...], ...]
    device: Literal["auto", "cpu", "gpu"]
    settings: Mapping[Device, TeacherSettings]
    resumes: bool
    ended: bool


def plan_teaching(config: Config, resume: str = "", *, go_on: bool = False) -> TeachPlan:
    """See TeachPlan.

    Args:
        config: of the teacher; `own_config` of one that is gone on with.
        resume: a teacher to go on with; or empty.
        go_on: whether a teacher of the config's id that was begun already is gone on with, or, where it has ended,
            left as it is: what a job does whose driver was started again.

    Raises:
        UsageError: the teacher has ended; nobody is named or drawn, or there are too few for the ranks, or somebody who
            is held out or opted out; a teacher that is to go on learns from somebody who opted out.
        InputError: the manifest or a household's table is not there.
    """
    warehouse = place(config.warehouse)
    folder = warehouse / "teachers" / (resume or config.teacher.id or datetime.now(UTC).strftime("t%Y%m%d-%H%M%S"))
    resumes = bool(resume) or (go_on and (folder / "teacher.json").exists())
    ended = resumes and (folder / "end.json").exists()
    if ended and not go_on:
        raise UsageError(
            f"teacher {folder.name} has ended", found=f"{folder}/end.json", fix=f"use it: train --teacher {folder.name}"
        )
    manifest, section = find_manifest(config), config.teacher
    consent = Consent(tuple(section.households), section.share, section.apart, config.seed)
    refuse_opted_out(warehouse, section.households)
    # A teacher that goes on has drawn already: without those who opted out it would draw others.
    households = choose(manifest, warehouse, consent, () if resumes else opted_out(warehouse))
    if not ended:
        refuse_opted_out(warehouse, [table.household_id for table in households])
    devices: tuple[Device, ...] = ("cpu", "gpu")
    return TeachPlan(
        warehouse=warehouse,
        folder=folder,
        config_yaml=to_yaml(config),
        manifest=manifest,
        households=households,
        hands=deal(households, section.ranks),
        device=records.read(folder).first["device"] if resumes else section.device,
        settings={device: settings.teacher(config, device) for device in devices},
        resumes=resumes,
        ended=ended,
    )


def own_config(warehouse_uri: str, teacher_id: str, overrides: Sequence[str]) -> Config:
    """A teacher's own config, to go on with it; `overrides` may set where and how patiently.

    Raises:
        UsageError: there is no such teacher.
        ConfigError: an override would change what its weights depend on.
        RunError: its folder is not what was written.
    """
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
    then = of_its_time(text)
    own = [*then, f"warehouse={json.dumps(warehouse_uri)}", f"sampling.manifest={first['manifest_id']}"]
    kept, began = (values(load(text, more, where=where, teacher_follows=True)) for more in (own, then))
    asked = values(load(text, [*own[:-1], *overrides], where=where, teacher_follows=True))
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
