"""Runs that exist: their folder, their own config, their manifest, what an audit finds."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from neurogrid.config import Config, load, of_its_time, values
from neurogrid.data.manifest import Manifest, read_manifest
from neurogrid.errors import ConfigError, NeuroGridError, UsageError
from neurogrid.ledger.chain import Record
from neurogrid.ledger.records import read_genesis, read_named
from neurogrid.ledger.verify import Verification, verify
from neurogrid.storage import Place, place

# What may be set anew for a run that exists: where it runs and what it is compared with, nothing its weights depend on.
_FREE = ("backend.", "spark.", "evaluation.")


def folder(config: Config, run_id: str) -> Place:
    """Where the run lies."""
    return place(config.warehouse) / "runs" / run_id


def with_id(config: Config) -> Config:
    """The config with a name for its run; where none is given it is the time."""
    return config if config.run_id else config.model_copy(update={"run_id": f"r{datetime.now(UTC):%Y%m%d-%H%M%S}"})


def refuse_missing(warehouse_uri: str, run_id: str) -> None:
    """Raises UsageError where the warehouse has no run of that name."""
    warehouse = place(warehouse_uri)
    there = [child.name for child in (warehouse / "runs").children()]
    if run_id not in there:
        raise UsageError(
            f'there is no run "{run_id}" in {warehouse}',
            found=", ".join(there) if there else "no runs at all",
            fix=(
                "name one of these, or give the warehouse with --warehouse"
                if there
                else "give the warehouse with --warehouse; one that was stopped before its first round starts anew"
            ),
        )


def run_config(warehouse_uri: str, run_id: str, overrides: Sequence[str]) -> Config:
    """A run's own config; of it only where it runs may be set anew, and the rest to what it is.

    Raises:
        UsageError: there is no such run, it never began, or an override would change its config.
        RunError: its first record or its config is not the one that was written.
    """
    refuse_missing(warehouse_uri, run_id)
    run = place(warehouse_uri) / "runs" / run_id
    if not ((run / "config.yaml").exists() or (run / "run.json").exists()):
        read_genesis(run)  # raises: it never began
    genesis = read_genesis(run)
    text, here = read_named(run, genesis, "config.yaml").decode(), f"warehouse={json.dumps(warehouse_uri)}"
    then = of_its_time(text)
    asked = load(text, [*then, *overrides, here], where=f"{run}/config.yaml")
    changing = differing(asked, load(text, [*then, here]), _FREE, genesis)
    if changing:
        raise ConfigError(
            f"run {run_id} keeps the config that it began with",
            found="; ".join(changing),
            fix="only backend.*, spark.* and evaluation.* may be set for a run that exists; or start a new run",
        )
    return asked


def resumed_config(asked: Config, run_id: str, overrides: Sequence[str] | None) -> Config:
    """The config of a run that goes on, running where it is asked to, with the manifest that it was made with.

    Args:
        asked: what was asked for now; its warehouse has the run.
        run_id: the run.
        overrides: what is set anew in the run's own config; None where `asked` is a whole config of its own.

    Raises:
        UsageError: there is no such run, or it never began.
        ConfigError: what is asked for would change the run's result.
        RunError: its first record or its config is not the one that was written.
    """
    own = run_config(asked.warehouse, run_id, overrides or [])
    if overrides is None:
        refuse_another(asked, own, run_id)
        own = own.model_copy(update={"backend": asked.backend, "spark": asked.spark, "evaluation": asked.evaluation})
    return with_own_manifest(own, run_id)


def refuse_another(wanted: Config, own: Config, run_id: str) -> None:
    """Raises ConfigError where the run, whose config is `own`, was begun with one that gives other results."""
    free = (*_FREE, "warehouse", "show_households", "source.", "etl.", "teacher.")
    changing = differing(wanted, own, free, read_genesis(folder(own, run_id)))
    if changing:
        raise ConfigError(
            f"run {run_id} began with another config, which it keeps",
            found="; ".join(changing),
            fix="resume it without --config and flags that change its result; or start a new run with another run_id",
        )


def differing(wanted: Config, own: Config, free: tuple[str, ...], genesis: Record) -> list[str]:
    """What a config that is wanted for a run says otherwise than the run's own; keys that begin as in `free` may.

    Its name may be left open, and so may its manifest, which may also be named by its id.
    """
    known = {**values(own), "run_id": genesis["run_id"]}
    found = values(wanted)
    if not found["run_id"]:
        free = (*free, "run_id")
    if found["sampling.manifest"] in (genesis["manifest_id"], ""):
        free = (*free, "sampling.manifest")
    return [
        f"{key} is {value!r}, was {known[key]!r}"
        for key, value in found.items()
        if value != known[key] and not key.startswith(free)
    ]


def run_manifest(config: Config, run_id: str) -> str:
    """Id of the manifest that a run was made with; raises as `run_config` does."""
    return str(read_genesis(folder(config, run_id))["manifest_id"])


def refuse_other_manifest(genesis: Record, manifest: Manifest) -> None:
    """Raises UsageError where a run that exists was made with another manifest than `manifest`."""
    if genesis["manifest_sha256"] != manifest.sha256:
        run_id = genesis["run_id"]
        raise UsageError(
            f"run {run_id} was made with another manifest",
            found=f"{manifest.sha256[:12]}, the run has {genesis['manifest_id']}",
            fix=f"neurogrid run --resume {run_id} continues it with its own; or start a new run with another run_id",
        )


def broken(run: Place, others: Sequence[str]) -> UsageError:
    """The error of a run that was made with something else than it would go on with, where nobody has accepted that."""
    return UsageError(
        f"run {run.name} was made with other versions or on another processor, so its weights might differ",
        found="; ".join(others),
        fix="use those again; or go on with --accept-break; the run's records and report will say so",
    )


def audit(warehouse: Place, run_id: str) -> Verification:
    """What is found of a run's folder, and of its manifest if that is there: whether it is what was written."""
    run = warehouse / "runs" / run_id
    found = verify(run)
    return replace(found, problems=(*found.problems, *_manifest_problems(run, warehouse)))


def _manifest_problems(run: Place, warehouse: Place) -> Iterator[str]:
    """What an audit says of the manifest under the run's id of it; nothing of one that is not in this warehouse."""
    try:
        genesis = read_genesis(run)
    except NeuroGridError:
        return  # the audit of the records says so
    name = f"manifests/{genesis['manifest_id']}/manifest.json"
    if not (warehouse / name).exists():
        return
    try:
        refuse_other_manifest(genesis, read_manifest(warehouse / name))
    except UsageError as error:
        yield f"{name}: is not the one that the run was made with ({error.found})"


def with_own_manifest(config: Config, run_id: str) -> Config:
    """The config with the manifest that the run was made with."""
    sampling = config.sampling.model_copy(update={"manifest": run_manifest(config, run_id)})
    return config.model_copy(update={"sampling": sampling})


def has_ended(run: Place) -> bool:
    """Whether the run's rounds are over."""
    return (run / "end.json").exists()


def is_evaluated(run: Place) -> bool:
    """Whether the run's final weights were evaluated: that is written in one piece, once they are final."""
    return (run / "evaluation.json").exists() and not (run / "evaluation.json").is_folder()


def summary(run: Place, end: Record) -> dict[str, Any]:
    """What a run that has ended has to say of its training."""
    found: dict[str, Any] = json.loads(read_named(run, end, "run_summary.json"))
    return {**found, "path": str(run), "head_sha256": end["sha256"]}
