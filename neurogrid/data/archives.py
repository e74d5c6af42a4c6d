"""Archives of readings: unpacked where they lie, or refused whole, by their own checks and to their very end.

A tar is written out of its compression first: the stream's checksum stands at its end, which a reader of members may
never reach. Names come from whoever packed it, so each is checked, and nothing is ever overwritten.
"""

import bz2
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from neurogrid.errors import InputError, RunError

_BLOCK = 1 << 20
_ENCRYPTED = 0x1

_COMPRESSIONS: dict[str, Callable[[Path], AbstractContextManager[Any]]] = {
    ".tar": lambda file: file.open("rb"),
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.xz": lzma.open,
    ".txz": lzma.open,
    ".tar.bz2": bz2.open,
    ".tbz2": bz2.open,
    ".tar.zst": lambda file: pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"),
}
_UNREADABLE = {".7z": "7z x", ".rar": "unrar x"}
"""Archives that no library here reads, and the command that unpacks them."""

_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, pa.ArrowException),
    *(NotImplementedError, UnicodeError, ValueError),
)
"""What the readers of damaged archives raise."""


class _RefusedError(Exception):
    """An archive that is not damaged, and is not unpacked all the same; `fix` says what to do."""

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(found)
        self.fix = fix


@dataclass(frozen=True)
class _Member:
    """A file or folder of an archive: its name, and how its content is opened (None for a folder)."""

    name: str
    opened: Callable[[], IO[bytes] | None] | None


def is_archive(name: str) -> bool:
    """Whether a file of that name is unpacked.

    Raises:
        InputError: it is an archive of a kind that cannot be read.
    """
    lower = name.lower()
    for ending, command in _UNREADABLE.items():
        if lower.endswith(ending):
            raise InputError(
                f"archives like {name} cannot be unpacked here",
                found=f"an archive of kind {ending}",
                fix=f"fetch it yourself, unpack it with `{command} {name}`, and give the folder with --data-dir",
            )
    return lower.endswith((".zip", *_COMPRESSIONS))


def unpack(file: Path, limit_bytes: int) -> None:
    """Unpacks an archive into the folder where it lies, and removes the archive.

    Args:
        file: its name says of which kind it is, see `is_archive`.
        limit_bytes: of everything that is in it, unpacked.

    Raises:
        RunError: it is damaged, cut off, encrypted or larger than the limit; or a member would leave the folder,
            overwrite a file, or is neither a file nor a folder. Files may have been unpacked by then.
    """
    try:
        if file.name.lower().endswith(".zip"):
            with zipfile.ZipFile(file) as archive:
                _write(_zip_members(archive), file.parent, limit_bytes)
        else:
            _unpack_tar(file, limit_bytes)
    except _RefusedError as error:
        raise RunError(f"cannot unpack {file.name}", found=str(error), fix=error.fix) from error
    except _DAMAGED as error:
        raise RunError(
            f"cannot unpack {file.name}",
            found=str(error) or type(error).__name__,
            fix="fetch it again; if that changes nothing, unpack it with another program and give its folder",
        ) from error
    file.unlink()


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unlike(info.filename)
        if info.flag_bits & _ENCRYPTED:
            raise _RefusedError(f"{info.filename} is encrypted", "unpack it with its password, and give the folder")
        yield _Member(info.filename, None if info.is_dir() else partial(archive.open, info))


def _unpack_tar(file: Path, limit_bytes: int) -> None:
    ending = next(known for known in sorted(_COMPRESSIONS, key=len, reverse=True) if file.name.lower().endswith(known))
    plain = file.with_name(f".{file.name}.unpacked")
    try:
        with _COMPRESSIONS[ending](file) as source, plain.open("wb") as target:
            _copy(source, target, limit_bytes)
        with tarfile.open(plain, "r:") as archive:
            members = archive.getmembers()
            _refuse_rest(archive, plain, members)
            _write(_tar_members(archive, members), file.parent, limit_bytes)
    finally:
        plain.unlink(missing_ok=True)


def _tar_members(archive: tarfile.TarFile, members: list[tarfile.TarInfo]) -> Iterator[_Member]:
    for info in members:
        if not (info.isfile() or info.isdir()):
            raise _unlike(info.name)
        yield _Member(info.name, None if info.isdir() else partial(archive.extractfile, info))


def _refuse_rest(archive: tarfile.TarFile, file: Path, members: list[tarfile.TarInfo]) -> None:
    """A reader of tars takes a damaged header for the end. Behind the real end are zeros, a block of them at least."""
    last = members[-1].name if members else "its beginning"
    with file.open("rb") as content:
        content.seek(members[-1].offset_data + -(-members[-1].size // 512) * 512 if members else 0)
        first = content.read(tarfile.BLOCKSIZE)
        if len(first) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"it is cut off after {last}")
        while first:
            if first.strip(b"\0"):
                raise tarfile.ReadError(f"it is damaged after {last}: what follows cannot be read")
            first = content.read(_BLOCK)


def _unlike(name: str) -> _RefusedError:
    return _RefusedError(f"{name} is neither a file nor a folder", "pack the readings without links and devices")


def _write(members: Iterator[_Member], folder: Path, limit_bytes: int) -> None:
    left = limit_bytes
    for member in members:
        path = folder.joinpath(*_parts(member.name))
        if member.opened is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        if path.exists():
            fix = "rename one of the two files, or fetch them into folders of their own"
            raise _RefusedError(f"{member.name} would overwrite a file of the same name", fix)
        path.parent.mkdir(parents=True, exist_ok=True)
        source = member.opened()
        if source is None:
            raise _unlike(member.name)
        with source, path.open("xb") as target:
            left -= _copy(source, target, left)


def _parts(name: str) -> tuple[str, ...]:
    """Folders and file of a member's name; Windows' own packers separate them by backslashes."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
        raise _RefusedError(
            f"{name} would leave the folder", "pack the readings with names that are relative to a folder"
        )
    return path.parts


def _copy(source: IO[bytes], target: IO[bytes], limit_bytes: int) -> int:
    """Copies all of it; bytes copied."""
    copied = 0
    while block := source.read(_BLOCK):
        copied += len(block)
        if copied > limit_bytes:
            fix = "if you trust it, raise --unpack-limit-gb"
            raise _RefusedError(f"it unpacks to more than {limit_bytes / 1e9:g} GB are left for", fix)
        target.write(block)
    return copied
