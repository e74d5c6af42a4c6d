"""The household files of a folder: which names are taken, and the rule by which each other name is passed over."""

import fnmatch
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyarrow import fs

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.household import unusable_name
from neurogrid.data.layouts.buckets import Bucket
from neurogrid.data.layouts.declaration import Declaration
from neurogrid.data.packed import ENDINGS
from neurogrid.errors import InputError
from neurogrid.plural import plural
from neurogrid.storage import Place

NO_WEATHER = "none"
HIDDEN, NOT_READINGS, SPREADSHEET, ARCHIVE, OTHER_NAME, A_FOLDER, LEADS_NOWHERE, NO_FILE, BEYOND_LIMIT = (
    "hidden file",
    "not .csv or .txt, plain or packed",
    "spreadsheet: save it as CSV, and declare its columns in source.generic",
    "archive: unpack it first",
    "not a name of the layout's files",
    "folder",
    "link that leads nowhere",
    "neither a file nor a folder: a pipe, a socket or a device",
    "beyond source.limit_households",
)
"""Rules by which a name is passed over. macOS keeps files of its own beside others, whose names begin with `._`."""


_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".tbz2", ".txz", *(f".tar{ending}" for ending in ENDINGS))


@dataclass(frozen=True)
class MeterFile:
    """One household's readings, and the weather station it belongs to (`none` where there is none).

    Attributes:
        household_id: its name.
        weather_id: of its station.
        place: its file; the first, if it has several.
        size_bytes: of what is read for it.
        bucket: where its rows lie after files of many households were split; None where the file is its own.
    """

    household_id: str
    weather_id: str
    place: Place
    size_bytes: int
    bucket: Bucket | None = None


@dataclass(frozen=True)
class Listing:
    """What lies in a source's folder: every name is in `files`, `second_files`, `excluded` or `passed_over`.

    Attributes:
        files: usable names.
        faults: by household.
        excluded: names left out by the user.
        passed_over: names by the rule that left them out.
        list_faults: of the household list itself, by its file; empty where a source has none.
    """

    files: tuple[MeterFile, ...]
    faults: Mapping[str, FaultLog]
    excluded: tuple[str, ...]
    passed_over: Mapping[str, tuple[str, ...]]
    list_faults: Mapping[str, FaultLog]


def household_of(name: str, endings: Sequence[str]) -> str | None:
    """What a file's name says without its ending, in whatever case that is; None where it has none of `endings`."""
    stem, lower = name, name.lower()
    for ending in ENDINGS:
        if lower.endswith(ending):
            stem, lower = stem[: -len(ending)], lower[: -len(ending)]
            break
    for ending in endings:
        if lower.endswith(ending) and len(lower) > len(ending):
            return stem[: -len(ending)]
    return None


def list_files(
    folder: Place, declaration: Declaration, exclude: Sequence[str], limit: int | None, listed_per_kind: int
) -> Listing:
    """Every name in a folder, accounted for.

    Args:
        folder: its files; folders in it are passed over.
        declaration: which names are those of readings, and whether a file is a household.
        exclude: patterns of file or household names to leave out.
        limit: take only so many files, the first by name, if each is a household.
        listed_per_kind: see FaultLog.

    Raises:
        InputError: no file is left.
    """
    files: dict[str, MeterFile] = {}
    faults: dict[str, FaultLog] = {}
    excluded: list[str] = []
    passed: dict[str, list[str]] = {}
    infos = _infos(folder)
    for name, info in infos.items():
        stem = household_of(name, declaration.endings)
        own = name if declaration.staged else stem
        if any(fnmatch.fnmatch(each, pattern) for pattern in exclude for each in (name, stem or name)):
            excluded.append(name)
        elif rule := _passed_over(name, info):
            passed.setdefault(rule, []).append(name)
        elif stem is None or own is None or info is None:
            passed.setdefault(no_readings(name), []).append(name)
        elif not fnmatch.fnmatch(name, declaration.files):
            passed.setdefault(OTHER_NAME, []).append(name)
        elif not declaration.staged and (reason := unusable_name(own)):
            faults.setdefault(own, FaultLog(listed_per_kind)).add(Fault.UNUSABLE_NAME, reason)
        elif own in files:
            faults.setdefault(own, FaultLog(listed_per_kind)).add(Fault.SECOND_FILE, name)
        elif limit is not None and len(files) == limit and not declaration.staged:
            passed.setdefault(BEYOND_LIMIT, []).append(name)
        else:
            files[own] = MeterFile(own, NO_WEATHER, Place(folder.filesystem, info.path), info.size)
    if not files:
        raise InputError(
            f"etl: no household's file in {folder}",
            found=f"{plural(len(infos), 'name')}, {len(excluded)} left out by --exclude",
            fix="put one CSV (plain or packed) for each household there, or exclude fewer",
        )
    rules = {rule: tuple(names) for rule, names in sorted(passed.items())}
    return Listing(tuple(files.values()), faults, tuple(excluded), rules, {})


def candidates(folder: Place, declaration: Declaration, exclude: Sequence[str]) -> list[Place]:
    """Files of a folder whose names could be those of readings, without those that are excluded."""
    return [
        Place(folder.filesystem, info.path)
        for name, info in _infos(folder).items()
        if info is not None
        and not _passed_over(name, info)
        and (stem := household_of(name, declaration.endings))
        and fnmatch.fnmatch(name, declaration.files)
        and not any(fnmatch.fnmatch(each, pattern) for pattern in exclude for each in (name, stem))
    ]


def _infos(folder: Place) -> dict[str, fs.FileInfo | None]:
    """What lies in a folder, by name; None for a link that leads nowhere, of which Arrow says nothing."""
    found = folder.filesystem.get_file_info(fs.FileSelector(folder.path, allow_not_found=True))
    infos: dict[str, fs.FileInfo | None] = {str(info.base_name): info for info in found}
    if folder.is_local and os.path.isdir(folder.path):  # noqa: PTH112 - a Place's path is text
        infos |= {name: None for name in os.listdir(folder.path) if name not in infos}  # noqa: PTH208
    return dict(sorted(infos.items()))


def no_readings(name: str) -> str:
    """The rule by which a name without an ending of readings is passed over."""
    lower = name.lower()
    if lower.endswith(_SPREADSHEETS):
        return SPREADSHEET
    return ARCHIVE if lower.endswith(_ARCHIVES) else NOT_READINGS


def _passed_over(name: str, info: fs.FileInfo | None) -> str:
    if info is None:
        return LEADS_NOWHERE
    if info.type == fs.FileType.Directory:
        return A_FOLDER
    if info.type != fs.FileType.File:
        return NO_FILE
    return HIDDEN if name.startswith(".") else ""
