"""Raw readings from elsewhere into a folder: downloads, checks and unpacks. For pods, whose readings are fetched.

A folder appears whole or not at all: everything is put beside it and renamed at the end.
"""

import hashlib
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from neurogrid.errors import InputError, RunError
from neurogrid.storage import place

_BLOCK = 1 << 20
_TIMEOUT_S = 60.0
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")


def whole(folder: Path, make: Callable[[Path], None]) -> None:
    """Calls `make` with a folder beside `folder` and renames that at the end; after a failure nothing is left.

    Args:
        folder: must not exist, or be empty.
        make: fills the folder that it is given; the folder does not exist yet.
    """
    folder = folder.absolute()
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.parent.mkdir(parents=True, exist_ok=True)
    try:
        make(beside)
    except BaseException:  # Ctrl-C too
        shutil.rmtree(beside, ignore_errors=True)
        raise
    if folder.is_dir():
        folder.rmdir()
    beside.rename(folder)


def download(urls: Sequence[str], folder: Path) -> list[str]:
    """Puts what the URLs name into `folder` and unpacks archives; names of the files.

    Args:
        urls: http, https or s3; `#sha256=...` at the end is what the file has to be.
        folder: is made; must not exist.

    Raises:
        InputError: a URL cannot be used, or two would be the same file.
        RunError: it cannot be had, is not what the hash says, or is no archive though its name says so.
    """
    folder.mkdir(parents=True)
    for url in urls:
        parts = urlsplit(url)
        name = Path(unquote(parts.path)).name
        if parts.scheme not in ("http", "https", "s3") or not name:
            raise InputError(f'cannot fetch "{url}"', found=f"scheme {parts.scheme!r}", fix="give http(s) or s3 URLs")
        file = folder / name
        if file.exists():
            raise InputError(f'"{url}" would overwrite {name}', found="an earlier URL brought a file of that name")
        found = _save(url.partition("#")[0], file)
        wanted = parts.fragment.removeprefix("sha256=")
        if wanted and found != wanted:
            raise RunError(f"{url} is not what was to be fetched", found=f"sha256 {found}")
        if name.endswith(_ARCHIVES):
            _unpack(file)
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def _save(url: str, file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with _open(url) as source, file.open("wb") as target:
            while block := source.read(_BLOCK):
                digest.update(block)
                target.write(block)
    except (urllib.error.URLError, OSError) as error:
        raise RunError(f"cannot fetch {url}", found=str(error)) from error
    return digest.hexdigest()


def _open(url: str) -> AbstractContextManager[IO[bytes]] | Any:
    if url.startswith("s3://"):
        source = place(url)
        return source.filesystem.open_input_stream(source.path)
    return urllib.request.urlopen(url, timeout=_TIMEOUT_S)  # noqa: S310 - the scheme is checked by download


def _unpack(file: Path) -> None:
    """Unpacks an archive where it lies and removes it; members that would leave the folder are refused."""
    try:
        if file.name.endswith(".zip"):
            with zipfile.ZipFile(file) as archive:
                archive.extractall(file.parent)  # noqa: S202 - zipfile drops leading slashes and ..
        else:
            with tarfile.open(file) as archive:
                archive.extractall(file.parent, _harmless(archive))  # noqa: S202 - what would leave it is refused
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise RunError(f"cannot unpack {file.name}", found=str(error)) from error
    file.unlink()


def _harmless(archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """All members, if they are files and folders inside. Debian's Python 3.11.2 has no extraction filters yet."""
    members = archive.getmembers()
    for member in members:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise tarfile.TarError(f"{member.name} would leave the folder")
        if not (member.isfile() or member.isdir()):
            raise tarfile.TarError(f"{member.name} is neither a file nor a folder")
        member.mode = 0o755 if member.isdir() else 0o644
    return members
