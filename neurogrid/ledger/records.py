"""A run's records and the files that they name, read back; what was changed since is refused."""

import re
import shlex

from neurogrid.errors import RunError, UsageError
from neurogrid.ledger.chain import Record, is_intact, parse, sha256
from neurogrid.storage import Place

_ROUND = re.compile(r"round=([0-9]+)(?:\.json|\.parquet)?")


def round_name(number: int) -> str:
    """`round=0001`; beyond 9999 names don't sort as they count, so whoever lists them sorts by `round_number`."""
    return f"round={number:04d}"


def round_number(name: str) -> int:
    """Of `round=0007`, and of a file or folder of that name, 7; 0 for what is no round's."""
    found = _ROUND.fullmatch(name.rpartition("/")[2])
    return int(found[1]) if found else 0


def command(run: Place, words: str) -> str:
    """A command on the run as a person can type it anywhere: `words` with a `{}` for the run's id."""
    warehouse = str(run).removesuffix(f"/runs/{run.name}")
    return f"neurogrid {words.format(run.name)} --warehouse {shlex.quote(warehouse)}"


def changed(run: Place, what: str) -> RunError:
    """The error of a run that is not what was written."""
    return RunError(what, fix=f"{command(run, 'audit {}')} says what was changed; a changed run cannot be resumed")


def refuse_begun(run: Place) -> None:
    """Raises UsageError where a run lies in this folder already."""
    if (run / "run.json").exists():
        raise UsageError(
            f"run {run.name} exists already",
            found=str(run),
            fix=f"resume it: {command(run, 'run --resume {}')}; or choose another name: --set run_id=NAME",
        )


def refuse_ended(run: Place) -> None:
    """Raises UsageError where the run's rounds are over."""
    if (run / "end.json").exists():
        raise UsageError(
            f"run {run.name} has ended",
            found=f"{run}/end.json",
            fix=f"start a new run with another id; or do its missing steps: {command(run, 'run --resume {}')}",
        )


def read_genesis(run: Place) -> Record:
    """The first record of a run's chain.

    Raises:
        UsageError: the run never began: there is no record, and what else lies there was made on the way to it.
        RunError: the record is not the one that was written.
    """
    if not (run / "run.json").exists():
        raise UsageError(
            f"run {run.name} has not begun",
            found=f"no {run}/run.json: it was stopped while its folder was being made, or that file was removed",
            fix=f"start it again: {command(run, 'run --set run_id={}')}",
        )
    return _read_record(run, "run.json", "first")


def _read_record(run: Place, name: str, which: str) -> Record:
    record = parse((run / name).read_bytes())
    if record is None:
        raise changed(run, f"{run}/{name} is not a JSON record any more")
    if not is_intact(record):
        raise changed(run, f"the {which} record of run {run.name}, {name}, was modified")
    return record


def read_end(run: Place) -> Record:
    """The last record of a run's chain.

    Raises:
        UsageError: the run has not ended.
        RunError: the record is not the one that was written.
    """
    if not (run / "end.json").exists():
        raise UsageError(
            f"run {run.name} has no final weights yet",
            found=f"no {run}/end.json",
            fix=f"finish it: {command(run, 'run --resume {}')}",
        )
    return _read_record(run, "end.json", "last")


def read_evaluation(run: Place) -> Record:
    """The record of the run's evaluation; raises RunError where it is not the one that was written."""
    return _read_record(run, "evaluation.json", "evaluation's")


def read_named(run: Place, record: Record, name: str) -> bytes:
    """A file that a record names.

    Raises:
        RunError: it is missing, or not the one that was written.
    """
    content = (run / name).read_bytes() if (run / name).exists() else b""
    if sha256(content) != record["files"][name]:
        raise changed(run, f"{name} of run {run.name} is missing or was modified")
    return content


def read_chain(run: Place) -> list[Record]:
    """The first record and all rounds'; raises RunError unless they are those that were written, without a gap."""
    records = [read_genesis(run)]
    while (place := run / "rounds" / f"{round_name(len(records))}.json").exists():
        record = parse(place.read_bytes())
        if record is None or not is_intact(record) or record["previous_sha256"] != records[-1]["sha256"]:
            raise changed(run, f"the record of round {len(records)} of run {run.name} was modified")
        records.append(record)
    stored = sum(place.name.endswith(".json") for place in (run / "rounds").children())
    if stored != len(records) - 1:
        raise changed(run, f"the record of round {len(records)} of run {run.name} is missing, but later ones exist")
    return records
