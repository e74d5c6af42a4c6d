"""Whether a run's folder is still what was written, record by record and file by file."""

from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.errors import UsageError
from neurogrid.ledger.chain import Record, is_intact, parse, sha256
from neurogrid.ledger.journal import table_is_due
from neurogrid.ledger.made_with import breaks
from neurogrid.ledger.records import round_name, round_number
from neurogrid.ledger.table import metrics_row
from neurogrid.plural import plural
from neurogrid.storage import Place


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        rounds: durable rounds that were checked.
        files: files whose hash was compared.
        head: SHA-256 of the newest record. Whoever keeps it elsewhere can tell a chain that was rewritten whole.
        ended: whether the run has its last record.
        evaluation: SHA-256 of the record of what the newest evaluation found; empty where there is none.
        breaks: one sentence for each time that the run went on with other versions or on another processor.
        problems: one sentence for each thing that is not as it was written; empty is a clean run.
    """

    rounds: int
    files: int
    head: str
    ended: bool
    evaluation: str
    breaks: tuple[str, ...]
    problems: tuple[str, ...]


def verify(run: Place) -> Verification:
    """Checks every record's own hash, the chain, every file a record names, the table of rounds, the evaluation.

    Raises:
        UsageError: there is no such run.
    """
    if not run.exists():
        raise UsageError(f"there is no run {run.name}", found=f"nothing at {run}")
    problems: list[str] = []
    records = _records(run, problems)
    files, head, intact = 0, "", []
    # None: what follows a record that is gone, or is not what it was, has nothing to be compared with.
    previous: str | None = ""
    for path, record in records:
        if record is None:
            previous = None
            continue
        head = str(record.get("sha256", ""))
        if not is_intact(record):
            problems.append(f"{path}: its content was changed (its own hash does not fit)")
            previous = None
        else:
            if previous is not None and record.get("previous_sha256") != previous:
                problems.append(f"{path}: does not follow the record before it (one was changed, removed or inserted)")
            intact.append((path, record))
            previous = head
        named = record.get("files")
        for name, digest in named.items() if isinstance(named, dict) else ():
            files += 1
            problem = _file_problem(run, name, digest, path)
            if problem:
                problems.append(problem)
    last = max(round_number(path) for path, _ in records)
    problems.extend(
        _table_problems(run, {round_number(path): record for path, record in intact if round_number(path)}, last)
    )
    rounds = sum(record is not None and round_number(path) > 0 for path, record in records)
    ended = records[-1][0] == "end.json"
    evaluation = verify_evaluation(run, records[-1][1] if ended else {}, problems)
    broken = tuple(breaks([record for _, record in intact])) if intact else ()
    return Verification(rounds, files, head, ended, evaluation, broken, tuple(problems))


def verify_evaluation(run: Place, end: Record | None, problems: list[str]) -> str:
    """The hash of the record that follows the end; a run from before there was such a record has none, and is well.

    Args:
        run: the run's folder.
        end: its last record; empty where the run has not ended, None where that cannot be read.
        problems: what is not as it was written is added here.
    """
    record = _read(run, "evaluation.json", problems) if (run / "evaluation.json").exists() else None
    sealed = "evaluation.json" in (end or {}).get("followed_by", ())
    if record is None or not ("sha256" in record or sealed):
        return ""
    if not is_intact(record):
        problems.append("evaluation.json: its content was changed (its own hash does not fit)")
    elif end is not None and record.get("previous_sha256") != end.get("sha256"):
        problems.append("evaluation.json: does not follow end.json (one of them is gone, or of another run)")
    else:
        named = record.get("files")
        found = (_file_problem(run, name, digest, "evaluation.json") for name, digest in (named or {}).items())
        problems.extend(filter(None, found))
    return str(record.get("sha256", ""))


def _records(run: Place, problems: list[str]) -> list[tuple[str, Record | None]]:
    """The chain's records by path, in order; one that is missing or cannot be read is a problem, and None."""
    stored = [f"rounds/{place.name}" for place in (run / "rounds").children() if place.name.endswith(".json")]
    problems.extend(f"{path}: is not the record of a round" for path in stored if round_number(path) == 0)
    ended = (run / "end.json").exists()
    end = _read(run, "end.json", problems) if ended else None
    # The last record says how many there were, so the newest rounds cannot go without a word.
    counted = end.get("rounds") if end is not None else None
    known = sorted(
        {*map(round_number, stored), counted if isinstance(counted, int) and is_intact(end or {}) else 0} - {0}
    )
    records = [("run.json", _read(run, "run.json", problems))]
    for before, number in pairwise([0, *known]):
        # A gap is one problem however wide it is: a file may be named after any number.
        if number - before > 2:
            problems.append(
                f"rounds/{round_name(before + 1)}.json to rounds/{round_name(number - 1)}.json: are missing"
            )
            records.append((f"rounds/{round_name(number - 1)}.json", None))
        elif number - before == 2:
            records.append(_numbered(run, before + 1, problems))
        records.append(_numbered(run, number, problems))
    return [*records, ("end.json", end)] if ended else records


def _numbered(run: Place, number: int, problems: list[str]) -> tuple[str, Record | None]:
    path = f"rounds/{round_name(number)}.json"
    return path, _read(run, path, problems)


def _read(run: Place, path: str, problems: list[str]) -> Record | None:
    try:
        record = parse((run / path).read_bytes())
    except FileNotFoundError:
        problems.append(f"{path}: {_absent(run / path)}")
        return None
    if record is None:
        problems.append(f"{path}: is not a JSON record any more")
    return record


def _absent(file: Place) -> str:
    return "is a folder, not a file" if file.is_folder() else "is missing"


def _file_problem(run: Place, name: str, digest: str, record: str) -> str:
    place = run / name
    try:
        content = place.read_bytes()
    except FileNotFoundError:
        return f"{name}: {_absent(place)} ({record} names it)"
    if sha256(content) != digest:
        return f"{name}: was changed since {record} was written"
    return ""


def _table_problems(run: Place, rounds: dict[int, Record], last: int) -> list[str]:
    """What the table says otherwise than the records: `rounds` by number, those found as written, of 1 to `last`."""
    place = run / "round_metrics.parquet"
    # The table is written after some of the rounds, and a kill may come just before it is.
    if not place.exists():
        return ["round_metrics.parquet: is missing"] if last > 1 else []
    try:
        table = pq.read_table(pa.BufferReader(place.read_bytes())).to_pylist()
    except (pa.ArrowException, OSError):
        return ["round_metrics.parquet: is not a Parquet file any more"]
    if table_is_due(len(table), last - 1):
        return [f"round_metrics.parquet: has {plural(len(table), 'row')}, but there are {plural(last, 'record')}"]
    for number, row in enumerate(table, start=1):
        if number in rounds and not _same(row, metrics_row(rounds[number])):
            return [f"round_metrics.parquet: row of round {number} differs from its record"]
        if number > last:
            return [f"round_metrics.parquet: has a row of round {number}, of which there is no record"]
    return []


def _same(row: dict[str, object], expected: dict[str, object]) -> bool:
    """Equality in which NaN equals NaN, and a stage's figure that a round did not have is none."""
    one, other = ({k: v for k, v in each.items() if "." not in k or v is not None} for each in (row, expected))
    return one.keys() == other.keys() and all(repr(one[key]) == repr(other[key]) for key in one)
