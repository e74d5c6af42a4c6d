"""What the last ETL made of each file, so that one which is still the same need not be read again.

A file is the same if its content is, and everything else that its table is made from: how the source reads it, its
weather, the settings, and the code. `quality/files.parquet` keeps that of each file, with what came of it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from neurogrid.data.clean import Outcome, content_sha256
from neurogrid.data.cleaning import EtlSettings
from neurogrid.data.faults import FaultLog
from neurogrid.data.folder import Listing, MeterFile
from neurogrid.data.household import household_path
from neurogrid.data.sources import NO_WEATHER, Source
from neurogrid.storage import Place
from neurogrid.tasks import plain

FILES = "quality/files.parquet"
_SCHEMA = pa.schema([(name, pa.string()) for name in ("kind", "name", "file", "sha256", "made_with", "outcome")])
_THREADS = 8
T = TypeVar("T")


@dataclass(frozen=True)
class Remembered:
    """What came of each household's file, of each weather station, and of files of many households as a whole.

    Each with the fingerprint of all that it came from.
    """

    outcomes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    stations: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    wholes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    content: bytes = b""


@dataclass(frozen=True)
class Whole:
    """What came of files of many households, which are the same as they were; `remember` is what is kept of it."""

    outcomes: list[Outcome]
    listing: Listing
    stations: dict[str, FaultLog]
    remember: bytes


@dataclass(frozen=True)
class _Kept:
    """What is kept of files of many households as a whole; `files` are households, each with its station."""

    files: tuple[tuple[str, str], ...]
    faults: dict[str, FaultLog]
    excluded: tuple[str, ...]
    passed_over: dict[str, tuple[str, ...]]
    list_faults: dict[str, FaultLog]
    stations: dict[str, FaultLog]


class Fingerprints:
    """Of what tables are made from.

    Args:
        source, settings, cadence_minutes: of the ETL.
    """

    def __init__(self, source: Source, settings: EtlSettings, cadence_minutes: int) -> None:
        self._source = source
        self._common = (repr(source.declaration), cadence_minutes, _settings(settings), _code())
        self._stations: dict[str, str] = {}

    def made_with(self, file: MeterFile) -> str:
        """Of all but the file's own content."""
        return _digest((*self._common, file.household_id, file.place.name, file.weather_id, self._of(file.weather_id)))

    def whole(self, files: Iterable[MeterFile]) -> str:
        """Of files of many households, with their content."""
        todo = sorted(files, key=lambda file: file.place.path)
        with ThreadPoolExecutor(_THREADS) as threads:
            contents = threads.map(lambda file: content_sha256(file.place), todo)
            names = [(file.place.name, content) for file, content in zip(todo, contents, strict=True)]
        stations = self._source.weather_folder()
        weather = [(place.name, content_sha256(place)) for place in (stations.children() if stations else ())]
        return _digest((*self._common, names, weather))

    def station(self, weather_id: str) -> str:
        """Of a weather station's faults."""
        return _digest((*self._common, self._of(weather_id)))

    def _of(self, weather_id: str) -> str:
        if weather_id not in self._stations:
            place = self._source.weather_file(weather_id) if weather_id != NO_WEATHER else None
            self._stations[weather_id] = content_sha256(place) if place else ""
        return self._stations[weather_id]


def read_remembered(warehouse: Place) -> Remembered:
    """What the last ETL kept; nothing where there was none, or where what it kept cannot be read."""
    try:
        content = (warehouse / FILES).read_bytes()
        rows = pq.ParquetFile(pa.BufferReader(content)).read(_SCHEMA.names).to_pylist()
    except (OSError, ValueError, pa.ArrowException):
        return Remembered()
    found: dict[str, dict[str, tuple[str, str]]] = {"household": {}, "station": {}, "whole": {}}
    for row in rows:
        found.get(row["kind"] or "", {})[row["name"]] = (f"{row['sha256']} {row['made_with']}", row["outcome"])
    return Remembered(found["household"], found["station"], found["whole"], content)


def unchanged(
    files: Iterable[MeterFile], remembered: Remembered, made_with: Callable[[MeterFile], str], warehouse: Place
) -> dict[str, Outcome]:
    """By household what came of the files that are the same, and whose table is still there."""

    def same(file: MeterFile) -> Outcome | None:
        known, kept = remembered.outcomes.get(file.household_id, ("", ""))
        if not known or known.partition(" ")[2] != made_with(file):
            return None
        outcome = _read(_outcomes(), kept)
        if outcome is None or known.partition(" ")[0] != content_sha256(file.place):
            return None
        return outcome if _is_there(outcome, warehouse) else None

    todo = list(files) if remembered.outcomes else []
    with ThreadPoolExecutor(_THREADS) as threads:
        found = zip(todo, threads.map(same, todo), strict=True)
        return {file.household_id: outcome for file, outcome in found if outcome is not None}


def station_faults(remembered: Remembered, weather_id: str, fingerprint: str) -> FaultLog | None:
    """The faults of a weather station's file that is the same; None where it is not."""
    known, kept = remembered.stations.get(weather_id, ("", ""))
    if known.strip() != fingerprint:
        return None
    return _read(TypeAdapter(FaultLog), kept)


def same_whole(remembered: Remembered, whole: str, listing: Listing, warehouse: Place) -> Whole | None:
    """What came of files of many households, if these and all else are the same, and the tables are still there."""
    known, kept = remembered.wholes.get("", ("", ""))
    if known.strip() != whole:
        return None
    outcomes = [_read(_outcomes(), text) for _, text in remembered.outcomes.values()]
    there = [outcome for outcome in outcomes if outcome is not None and _is_there(outcome, warehouse)]
    own = _read(TypeAdapter(_Kept), kept)
    if own is None or len(there) != len(own.files):
        return None
    files = tuple(MeterFile(name, weather_id, listing.files[0].place, 0) for name, weather_id in own.files)
    again = Listing(files, own.faults, own.excluded, own.passed_over, own.list_faults)
    return Whole(there, again, own.stations, remembered.content)


def remembered_whole(
    whole: str, outcomes: Iterable[Outcome], listing: Listing, stations: Mapping[str, FaultLog]
) -> bytes:
    """`quality/files.parquet`, of files of many households."""
    kept = _Kept(
        tuple((file.household_id, file.weather_id) for file in listing.files),
        dict(listing.faults),
        listing.excluded,
        dict(listing.passed_over),
        dict(listing.list_faults),
        dict(stations),
    )
    row = {"kind": "whole", "name": "", "file": "", "sha256": "", "made_with": whole, "outcome": _text(kept)}
    return _parquet([row, *_household_rows({outcome.household_id: ("", outcome) for outcome in outcomes})])


def _is_there(outcome: Outcome, warehouse: Place) -> bool:
    meta = outcome.meta
    return meta is None or (warehouse / household_path(meta.weather_id, meta.household_id, outcome.table)).exists()


def remembered_parquet(
    outcomes: Mapping[str, tuple[str, Outcome]], stations: Mapping[str, tuple[str, FaultLog]]
) -> bytes:
    """`quality/files.parquet`; of households by `made_with`, and of stations by their fingerprint."""
    rows = [
        {"kind": "station", "name": name, "file": "", "sha256": "", "made_with": print_, "outcome": _text(log)}
        for name, (print_, log) in sorted(stations.items())
    ]
    return _parquet([*_household_rows(outcomes), *rows])


def _household_rows(outcomes: Mapping[str, tuple[str, Outcome]]) -> list[dict[str, str]]:
    return [
        {
            "kind": "household",
            "name": name,
            "file": own.file,
            "sha256": own.sha256,
            "made_with": made,
            "outcome": _text(own),
        }
        for name, (made, own) in sorted(outcomes.items())
    ]


def _parquet(rows: list[dict[str, str]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


@cache
def _outcomes() -> TypeAdapter[Outcome]:
    return TypeAdapter(Outcome)


def _read(kind: TypeAdapter[T], text: str) -> T | None:
    """What `_text` has written; None where it was another version's."""
    try:
        return kind.validate_json(text)
    except ValueError:
        return None


def _text(value: object) -> str:
    return json.dumps(value, default=plain, sort_keys=True)


def _settings(settings: EtlSettings) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in asdict(settings).items() if name != "another_source")


def _digest(parts: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@lru_cache(maxsize=1)
def _code() -> str:
    """Of the modules that make tables: another version may make another table of the same file."""
    digest = hashlib.sha256(pa.__version__.encode())
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
