"""Runs that exist: their own config, their manifest, and how to go on with one that was stopped."""

import json

from neurogrid.config import Config, load
from neurogrid.errors import ConfigError, UsageError
from neurogrid.ledger.records import read_config, read_genesis
from neurogrid.storage import Place, place

# What may be set anew for a run that exists: where it runs and what it is compared with, nothing its weights depend on.
_FREE = ("backend.", "spark.", "evaluation.")


def folder(config: Config, run_id: str) -> Place:
    """Where the run lies."""
    return place(config.warehouse) / "runs" / run_id


def run_config(warehouse_uri: str, run_id: str, overrides: list[str]) -> Config:
    """A run's own config; of it only where it runs may be set anew.

    Raises:
        UsageError: there is no such run, it never began, or an override would change its result.
        RunError: its first record or its config is not the one that was written.
    """
    warehouse = place(warehouse_uri)
    run = warehouse / "runs" / run_id
    if not run_id or not ((run / "config.yaml").exists() or (run / "run.json").exists()):
        there = [child.name for child in (warehouse / "runs").children()]
        raise UsageError(
            f'there is no run "{run_id}" in {warehouse}',
            found=", ".join(there) if there else "no runs at all",
            fix="name one of these, or give the warehouse with --warehouse",
        )
    changing = [o for o in overrides if not o.startswith(_FREE)]
    if changing:
        raise ConfigError(
            "a run keeps the config that it began with",
            found=", ".join(changing),
            fix="only backend.*, spark.* and evaluation.* may be set for a run that exists; or start a new run",
        )
    text = read_config(run, read_genesis(run))
    return load(text, [*overrides, f"warehouse={json.dumps(warehouse_uri)}"], where=f"{run}/config.yaml")


def run_manifest(config: Config, run_id: str) -> str:
    """Id of the manifest that a run was made with; raises as `run_config` does."""
    return str(read_genesis(folder(config, run_id))["manifest_id"])


def where_flag(config: Config) -> str:
    """The flag that a command needs to find this config's warehouse."""
    return "" if config.warehouse == "warehouse" else f" --warehouse {config.warehouse}"
