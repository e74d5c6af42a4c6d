"""Files of many households split by household, as one Spark job, before each household is cleaned by itself.

Each task takes a piece (a range of bytes of a large plain table, or a whole file) and writes its rows, sorted into
buckets of households, under a folder of the warehouse that is deleted afterwards. No reading reaches the driver.
"""

import fnmatch
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.folder import BEYOND_LIMIT, Listing, MeterFile
from neurogrid.data.household import unusable_name
from neurogrid.data.layouts.buckets import Batch, Bucket, bucket_of, forget
from neurogrid.data.layouts.parts import Done, Work, is_of, stage_piece
from neurogrid.data.layouts.pieces import Piece, first_bytes, pieces
from neurogrid.data.layouts.table import check_columns, header
from neurogrid.data.packed import is_packed
from neurogrid.data.progress import watched
from neurogrid.data.readings import Header, UnusableFileError
from neurogrid.data.sources import Source
from neurogrid.errors import RunError
from neurogrid.plural import plural
from neurogrid.storage import Place
from neurogrid.tasks import run_tasks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PIECE_BYTES = 64 << 20
"""A large plain table is cut into pieces of this size, each a task's."""
LONG_BUCKET_BYTES, WIDE_BUCKET_BYTES = 64 << 20, 6 << 20
"""Text whose rows make a bucket: a wide table says less of each reading."""
PACKED_TIMES = 8
MOST_BUCKETS = 4096


@contextmanager
def staged(
    spark: "SparkSession",
    source: Source,
    listing: Listing,
    folder: Place,
    listed_per_kind: int,
    progress: Callable[[int, int], None],
) -> Iterator[Listing]:
    """The listing of a source's households, for as long as their rows lie in `folder`.

    Where each file is a household this is the listing that was given.

    Args:
        spark: an open session.
        source: from `open_source`.
        listing: of its files.
        folder: for the rows; what a killed run left there is deleted first, and all of it at the end.
        listed_per_kind: see FaultLog.
        progress: called with pieces done and pieces in all, now and then, from another thread.

    Raises:
        RunError: no household can be used.
    """
    if not source.declaration.staged:
        yield listing
        return
    _delete(folder)
    try:
        work, unusable = plan(source, listing.files, folder, listed_per_kind)
        done: list[Done] = []
        if work:
            name = "etl: files of many households, split by household"
            with watched(spark, name, len(work), len(work), progress):
                done = run_tasks(spark.sparkContext, work, stage_piece, TypeAdapter(Done), is_of)
        yield households_of(source, listing, work, done, unusable, listed_per_kind)
    finally:
        forget()
        _delete(folder)


def _delete(folder: Place) -> None:
    with suppress(FileNotFoundError):
        folder.filesystem.delete_dir(folder.path)


def plan(
    source: Source, files: Sequence[MeterFile], folder: Place, listed_per_kind: int
) -> tuple[list[Work], dict[str, tuple[Fault, str]]]:
    """The pieces of all files, and the files that cannot be used, with the reason."""
    declaration = source.declaration
    found: list[tuple[Piece, Header | None]] = []
    unusable: dict[str, tuple[Fault, str]] = {}
    total = 0
    for file in files:
        try:
            if declaration.format == "csv":
                head = header(first_bytes(file.place, declaration.encoding), declaration)
                check_columns(head, declaration)
                cut = pieces(file.place, file.size_bytes, declaration.encoding, PIECE_BYTES)
                found += [(piece, head) for piece in cut]
            else:
                found.append((Piece(file.place), None))
            total += file.size_bytes * (PACKED_TIMES if is_packed(file.place) else 1)
        except UnusableFileError as error:
            unusable[file.place.name] = error.fault, error.text
    each = WIDE_BUCKET_BYTES if declaration.shape == "wide" else LONG_BUCKET_BYTES
    buckets = min(max(-(-total // each), 1), MOST_BUCKETS)
    work = [
        Work(number, piece, head, declaration, folder, buckets, listed_per_kind)
        for number, (piece, head) in enumerate(found)
    ]
    return work, unusable


def households_of(
    source: Source,
    listing: Listing,
    work: Sequence[Work],
    done: Sequence[Done],
    unusable: Mapping[str, tuple[Fault, str]],
    listed_per_kind: int,
) -> Listing:
    """The households found, each with its bucket; files and names that cannot be used are faults."""
    sources = {task.number: task.piece.file.name for task in work}
    reasons = {**unusable, **{sources[own.number]: own.unusable for own in done if own.unusable is not None}}
    usable = [own for own in sorted(done, key=lambda own: own.number) if sources[own.number] not in reasons]
    before: dict[int, int] = {}
    lines: Counter[str] = Counter()
    for own in usable:
        before[own.number] = lines[sources[own.number]]
        lines[sources[own.number]] += own.lines
    list_faults = _file_faults(usable, sources, before, reasons, listed_per_kind)
    rows: Counter[str] = Counter()
    first: dict[str, int] = {}
    for own in usable:
        rows.update(own.households)
        for household in own.households:
            first.setdefault(household, own.number)
    buckets = _buckets(usable, work, before, sources)
    faults, excluded, beyond = dict(listing.faults), list(listing.excluded), []
    files: list[MeterFile] = []
    count = work[0].buckets if work else 1
    places = {task.number: task.piece.file for task in work}
    for household, number in zip(sorted(rows), bucket_of(sorted(rows), count).tolist(), strict=True):
        if any(fnmatch.fnmatch(household, pattern) for pattern in source.exclude):
            excluded.append(household)
        elif reason := unusable_name(household):
            faults.setdefault(household, FaultLog(listed_per_kind)).add(Fault.UNUSABLE_NAME, reason)
        elif source.limit is not None and len(files) == source.limit:
            beyond.append(household)
        else:
            size = rows[household] * 40
            file = MeterFile(household, "none", places[first[household]], size, buckets[number])
            files.append(file)
    if not files:
        said = [f"{name}: {fault}: {text}" for name, (fault, text) in reasons.items()]
        said += [f"{name!r:.40}: {note.text}" for name, log in faults.items() for note in log.notes]
        raise RunError(
            f"etl: no household in {plural(len(listing.files), 'file')} can be used",
            found="; ".join(said[:3]) or "no rows",
            fix="see what each file is taken for with `neurogrid etl --dry-run`",
        )
    passed = {**listing.passed_over, **({BEYOND_LIMIT: tuple(beyond)} if beyond else {})}
    found = Listing(tuple(files), faults, tuple(excluded), passed, {**listing.list_faults, **list_faults})
    return source.with_stations(found, listed_per_kind)


def _file_faults(
    usable: Sequence[Done],
    sources: Mapping[int, str],
    before: Mapping[int, int],
    reasons: Mapping[str, tuple[Fault, str]],
    listed_per_kind: int,
) -> dict[str, FaultLog]:
    """Faults of no household, by file: rows that are none, and why a file cannot be used."""
    logs: dict[str, FaultLog] = {}
    for name, (fault, text) in reasons.items():
        logs.setdefault(name, FaultLog(listed_per_kind)).add(fault, text)
    for own in usable:
        log = logs.setdefault(sources[own.number], FaultLog(listed_per_kind))
        listed = Counter(note.kind for note in log.notes)
        for note in own.faults.notes:
            if listed[note.kind] < listed_per_kind:
                listed[note.kind] += 1
                line = note.line + before[own.number] if note.line is not None else None
                log.notes.append(replace(note, line=line))
        log.counts.update(own.faults.counts)
    return {name: log for name, log in sorted(logs.items()) if log.counts.total()}


def _buckets(
    usable: Sequence[Done], work: Sequence[Work], before: Mapping[int, int], sources: Mapping[int, str]
) -> dict[int, Bucket]:
    rows: dict[int, list[Batch]] = {}
    notes: dict[int, list[Batch]] = {}
    for own in usable:
        for into, batches in ((rows, own.rows), (notes, own.notes)):
            for number, each in batches.items():
                into.setdefault(number, []).extend(each)
    numbers = rows.keys() | notes.keys()
    return {
        number: Bucket(
            number, work[0].folder, tuple(rows.get(number, ())), tuple(notes.get(number, ())), before, sources
        )
        for number in numbers
    }
