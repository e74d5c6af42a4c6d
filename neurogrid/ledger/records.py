"""A run's records read back: what it began with, its config, its durable rounds; refused where they were changed."""

import json
from typing import Any

from neurogrid.errors import RunError, UsageError
from neurogrid.ledger.chain import Record, is_intact, sha256
from neurogrid.storage import Place


def round_name(number: int) -> str:
    """`round=0001`: sorts as it counts up to 9999 rounds, and by length after them."""
    return f"round={number:04d}"


def changed(run: Place, what: str) -> RunError:
    """The error of a run that is not what was written."""
    return RunError(what, fix=f"neurogrid audit {run.name} says what was changed; a changed run is not gone on with")


def read_genesis(run: Place) -> Record:
    """The first record of a run's chain.

    Raises:
        UsageError: the run never began: there is no record, and what else lies there was made on the way to it.
        RunError: the record is not the one that was written.
    """
    if not (run / "run.json").exists():
        raise UsageError(
            f"run {run.name} has not begun",
            found=f"no {run}/run.json: it was stopped while its folder was made, or that file was removed",
            fix=f"begin it anew: neurogrid run --set run_id={run.name}",
        )
    record: Any = None
    try:
        record = json.loads((run / "run.json").read_text())
    except ValueError as error:
        raise changed(run, f"{run}/run.json is not JSON any more") from error
    if not isinstance(record, dict) or not is_intact(record):
        raise changed(run, f"the first record of run {run.name}, run.json, is not the one that was written")
    return record


def read_config(run: Place, genesis: Record) -> str:
    """The run's config.yaml.

    Raises:
        RunError: it is missing, or not the one that the run began with.
    """
    content = (run / "config.yaml").read_bytes() if (run / "config.yaml").exists() else b""
    if sha256(content) != genesis["files"]["config.yaml"]:
        raise changed(run, f"config.yaml of run {run.name} is missing or not the one that the run began with")
    return content.decode()


def read_rounds(run: Place) -> list[Record]:
    """The durable rounds' records in order, up to the first gap."""
    records: list[Record] = []
    while True:
        place = run / "rounds" / f"{round_name(len(records) + 1)}.json"
        if not place.exists():
            return records
        records.append(json.loads(place.read_text()))


def read_chain(run: Place) -> list[Record]:
    """The first record and all rounds'; raises RunError unless they are those that were written, without a gap."""
    records = [read_genesis(run)]
    try:
        records += read_rounds(run)
    except ValueError as error:
        raise changed(run, f"a record of run {run.name} is not JSON any more") from error
    previous = ""
    for number, record in enumerate(records):
        if not isinstance(record, dict) or not is_intact(record) or record["previous_sha256"] != previous:
            raise changed(run, f"the record of round {number} of run {run.name} is not the one that was written")
        previous = record["sha256"]
    stored = sum(place.name.endswith(".json") for place in (run / "rounds").children())
    if stored != len(records) - 1:
        raise changed(run, f"the record of round {len(records)} of run {run.name} is missing, later ones are there")
    return records
