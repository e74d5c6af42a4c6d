"""Raw readings from elsewhere into a folder: downloads and checks them. For pods, whose readings are fetched.

A folder appears whole or not at all: everything is put beside it and renamed at the end.
"""

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from neurogrid.data.archives import is_archive, unpack
from neurogrid.errors import InputError, RunError
from neurogrid.storage import place

_BLOCK = 1 << 20
_TIMEOUT_S = 60.0
_TRIES = 3
"""How often in a row a transfer may bring nothing new."""
_PAUSE_S = 1.0
_BUSY = (408, 429)


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


def download(urls: Sequence[str], folder: Path, unpack_limit_bytes: int) -> list[str]:
    """Puts what the URLs name into `folder` and unpacks archives; names of the files.

    Args:
        urls: http, https or s3; `#sha256=...` at the end is what the file has to be.
        folder: is made; must not exist.
        unpack_limit_bytes: of what is in one archive.

    Raises:
        InputError: a URL cannot be used, or two would be the same file.
        RunError: it cannot be had, does not come whole, is not what the hash says, or is no archive that can be
            unpacked though its name says so.
    """
    names = [_name(url) for url in urls]
    folder.mkdir(parents=True)
    for url, name in zip(urls, names, strict=True):
        file = folder / name
        if file.exists():
            raise InputError(
                f'"{_shown(url)}" would overwrite {name}',
                found="an earlier URL, or an archive's file, has that name",
                fix="fetch them into folders of their own",
            )
        _save(url.partition("#")[0], file)
        wanted = urlsplit(url).fragment.removeprefix("sha256=").lower()
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest() if wanted else ""
        if found != wanted:
            raise RunError(f"the SHA-256 of {_shown(url)} is not the one that was given", found=f"sha256 {found}")
        if is_archive(name):
            unpack(file, unpack_limit_bytes)
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def _name(url: str) -> str:
    parts = urlsplit(url)
    name = Path(unquote(parts.path)).name
    if parts.scheme not in ("http", "https", "s3") or not name:
        raise InputError(f'cannot fetch "{url}"', found=f"scheme {parts.scheme!r}", fix="give http(s) or s3 URLs")
    is_archive(name)
    return name


def _shown(url: str) -> str:
    """The URL without what may be secret in it: a password, a signature."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _save(url: str, file: Path) -> None:
    with file.open("wb") as target:
        if url.startswith("s3://"):
            _from_s3(url, target)
        else:
            _from_web(url, target)


def _from_s3(url: str, target: IO[bytes]) -> None:
    source = place(url)
    try:
        announced = source.filesystem.get_file_info(source.path).size
        with source.filesystem.open_input_stream(source.path) as stream:
            shutil.copyfileobj(stream, target, _BLOCK)
    except OSError as error:
        raise RunError(f"cannot fetch {_shown(url)}", found=str(error)) from error
    if target.tell() != announced:
        raise RunError(f"cannot fetch {_shown(url)}", found=f"{target.tell():,} of {announced:,} announced bytes came")


class _BrokenError(Exception):
    """A transfer that ended too early; another try may bring the rest."""


def _from_web(url: str, target: IO[bytes]) -> None:
    """Goes on where a transfer broke off, if the server says that the file is still the same; else from the start."""
    version, failures = "", 0
    while True:
        before = target.tell() if version else 0
        target.seek(before)
        target.truncate()
        try:
            with _answer(url, before, version) as answer:
                if not answer.headers.get("Content-Range", "").startswith(f"bytes {before}-"):
                    target.seek(before := 0)
                    target.truncate()
                version = _version(answer)
                for block in _blocks(answer):
                    target.write(block)
            return
        except _BrokenError as error:
            failures = 0 if version and target.tell() > before else failures + 1
            if failures == _TRIES:
                raise RunError(
                    f"cannot fetch {_shown(url)}", found=f"{error}; tried {_TRIES} times", fix="try again later"
                ) from error
            time.sleep(_PAUSE_S)


def _answer(url: str, start: int, version: str) -> http.client.HTTPResponse:
    headers = {"Range": f"bytes={start}-", "If-Range": version} if start else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme is checked by download
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
        return answer
    except urllib.error.HTTPError as error:
        if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR or error.code in _BUSY:
            raise _BrokenError(str(error)) from error
        raise RunError(f"cannot fetch {_shown(url)}", found=str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(str(error)) from error


def _version(answer: http.client.HTTPResponse) -> str:
    """What tells the file from another one of the same URL; empty where the server gives nothing to go on with."""
    tag = answer.headers.get("ETag", "")
    strong = "" if tag.startswith("W/") else tag
    return strong or answer.headers.get("Last-Modified", "")


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    announced, came = answer.length, 0
    try:
        while block := answer.read(_BLOCK):
            came += len(block)
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(str(error) or type(error).__name__) from error
    if announced is not None and came != announced:
        raise _BrokenError(f"{came:,} of {announced:,} announced bytes came")
