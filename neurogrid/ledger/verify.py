"""Whether a run's folder is still what was written, record by record and file by file."""

import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.errors import UsageError
from neurogrid.ledger.chain import Record, is_intact, sha256
from neurogrid.ledger.journal import metrics_row, round_name
from neurogrid.ledger.table import ROUND_METRICS
from neurogrid.storage import Place


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        rounds: durable rounds that were checked.
        files: files whose hash was compared.
        head: SHA-256 of the newest record. Whoever keeps it elsewhere can tell a chain that was rewritten whole.
        ended: whether the run has its last record.
        problems: one sentence for each thing that is not as it was written; empty is a clean run.
    """

    rounds: int
    files: int
    head: str
    ended: bool
    problems: tuple[str, ...]


def verify(run: Place) -> Verification:
    """Checks every record's own hash, the chain, every file a record names, and the table of rounds.

    Raises:
        UsageError: there is no such run.
    """
    if not run.exists():
        raise UsageError(f"there is no run {run.name}", found=f"nothing at {run}")
    problems: list[str] = []
    records = _records(run, problems)
    files = 0
    previous = ""
    for path, record in records:
        if not is_intact(record):
            problems.append(f"{path}: its content was changed (its own hash does not fit)")
        elif record["previous_sha256"] != previous:
            problems.append(f"{path}: does not follow the record before it (one was changed, removed or put in)")
        previous = record.get("sha256", "")
        for name, digest in record.get("files", {}).items():
            files += 1
            problem = _file_problem(run, name, digest, path)
            if problem:
                problems.append(problem)
    rounds = [record for path, record in records if path.startswith("rounds/")]
    problems.extend(_table_problems(run, rounds))
    return Verification(len(rounds), files, previous, any(path == "end.json" for path, _ in records), tuple(problems))


def _records(run: Place, problems: list[str]) -> list[tuple[str, Record]]:
    """The chain's records by path, in order; what cannot be read is a problem."""
    numbered = sorted(
        (place.name for place in (run / "rounds").children() if place.name.endswith(".json")), key=lambda n: (len(n), n)
    )
    expected = [f"{round_name(number)}.json" for number in range(1, len(numbered) + 1)]
    missing = sorted(set(expected) - set(numbered))
    problems.extend(f"rounds/{name}: is missing, though later rounds are there" for name in missing)
    paths = ["run.json", *(f"rounds/{name}" for name in numbered)]
    if (run / "end.json").exists():
        paths.append("end.json")
    records = []
    for path in paths:
        try:
            record = json.loads((run / path).read_text())
            if not isinstance(record, dict):
                raise ValueError("not a record")
        except FileNotFoundError:
            problems.append(f"{path}: is missing")
        except ValueError:
            problems.append(f"{path}: is not JSON any more")
        else:
            records.append((path, record))
    return records


def _file_problem(run: Place, name: str, digest: str, record: str) -> str:
    place = run / name
    if not place.exists():
        return f"{name}: is missing ({record} names it)"
    if sha256(place.read_bytes()) != digest:
        return f"{name}: was changed since {record} was written"
    return ""


def _table_problems(run: Place, rounds: list[Record]) -> list[str]:
    place = run / "round_metrics.parquet"
    if not place.exists():
        return ["round_metrics.parquet: is missing"] if rounds else []
    try:
        table = pq.read_table(pa.BufferReader(place.read_bytes()))
    except pa.ArrowInvalid:
        return ["round_metrics.parquet: is not a Parquet file any more"]
    # A kill between a round's record and the table leaves the table one round behind, which is no tampering.
    expected = pa.Table.from_pylist([metrics_row(record) for record in rounds], schema=ROUND_METRICS)
    for row in range(min(table.num_rows, expected.num_rows)):
        if table.slice(row, 1).to_pylist() != expected.slice(row, 1).to_pylist() and not _same(table, expected, row):
            return [f"round_metrics.parquet: row of round {row + 1} differs from its record"]
    if not expected.num_rows - 1 <= table.num_rows <= expected.num_rows:
        return [f"round_metrics.parquet: has {table.num_rows} rows, there are {expected.num_rows} records"]
    return []


def _same(table: pa.Table, expected: pa.Table, row: int) -> bool:
    """Equality in which NaN equals NaN."""
    left, right = table.slice(row, 1).to_pylist()[0], expected.slice(row, 1).to_pylist()[0]
    return left.keys() == right.keys() and all(repr(left[key]) == repr(right[key]) for key in left)
