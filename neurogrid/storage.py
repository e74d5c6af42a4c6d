"""A URI to a filesystem and a path, and the writes that leave nothing half done. The only place that knows both.

Local paths, `file://`, `s3://` and `gs://` all go through pyarrow.fs, so no Hadoop cloud jars are needed.
"""

import errno
import os
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pyarrow import fs

from neurogrid.errors import InputError

_SCHEMES = {"s3": "s3", "gcs": "gs"}
"""Of object stores, whose paths begin with a bucket, by pyarrow's name for them: they show an object whole or not."""
_OFFERED = ("file", "s3", "gs", "gcs")
_FIX = "give a path, an s3:// or a gs:// URI"


@dataclass(frozen=True)
class Place:
    """A folder or file somewhere: a filesystem and a path on it. Picklable, so it travels to Spark tasks."""

    filesystem: fs.FileSystem
    path: str

    def __truediv__(self, name: str) -> "Place":
        return Place(self.filesystem, f"{self.path}/{name}")

    def __str__(self) -> str:
        scheme = _SCHEMES.get(self.filesystem.type_name)
        return f"{scheme}://{self.path}" if scheme else self.path

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine's own filesystem."""
        return bool(isinstance(self.filesystem, fs.LocalFileSystem))

    def exists(self) -> bool:
        """Whether a file or folder is there; a pipe or a device is neither, and to read one may take for ever."""
        return self.filesystem.get_file_info(self.path).type in (fs.FileType.File, fs.FileType.Directory)

    def is_folder(self) -> bool:
        """Whether a folder is there; in an object store, whether something lies under that name."""
        return bool(self.filesystem.get_file_info(self.path).type == fs.FileType.Directory)

    @property
    def size_bytes(self) -> int:
        """Of the file; 0 where there is none."""
        return self.filesystem.get_file_info(self.path).size or 0

    def read_bytes(self) -> bytes:
        """The whole file; raises FileNotFoundError, also where a folder, a pipe or a device has its name."""
        if self.is_local and not Path(self.path).is_file():
            words = "is a folder, not a file" if Path(self.path).is_dir() else os.strerror(errno.ENOENT)
            raise FileNotFoundError(errno.ENOENT, words, self.path)
        with self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.read())

    def read_text(self) -> str:
        """The whole file as UTF-8."""
        return self.read_bytes().decode()

    def children(self) -> list["Place"]:
        """Files and folders directly under this folder, by name; none if the folder is missing."""
        selector = fs.FileSelector(self.path, allow_not_found=True)
        return sorted((Place(self.filesystem, i.path) for i in self.filesystem.get_file_info(selector)), key=str)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    def remove(self) -> None:
        """Deletes the file; raises FileNotFoundError on a filesystem where there is none."""
        self.filesystem.delete_file(self.path)

    def write(self, content: bytes | str) -> None:
        """Writes the whole file or nothing, and returns when it is durable.

        Local: written beside, flushed to disk, renamed. Object stores put objects whole, so there it is one put.
        """
        data = content.encode() if isinstance(content, str) else content
        if not self.is_local:
            with self.filesystem.open_output_stream(self.path) as stream:
                stream.write(data)
            return
        target = Path(self.path)
        _make_folder(target.parent)
        # Hidden, so that a reader of the folder never takes it for data. Process numbers repeat between pods on one
        # volume: only what is drawn keeps two writers apart.
        beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        _flush_names(target.parent)


class WritesBehind:
    """Writes a file while the next one is being made: most of a durable write is a wait for the disk.

    A context manager; at its end all files are durable. One file waits at a time, so that memory holds no more.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def write(self, file: Place, content: bytes) -> None:
        """Begins to write a file, once the one before is durable.

        Raises:
            OSError: the one before could not be written.
        """
        self._wait()
        self._last = self._thread.submit(file.write, content)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._thread:
            self._wait()


def _make_folder(folder: Path) -> None:
    """Makes the folder and those above it durably: a file is only as durable as the names that lead to it."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _flush_names(folder.parent)


def _flush_names(folder: Path) -> None:
    """Returns when the names in the folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def place(uri: str) -> Place:
    """Resolves a path or URI.

    Raises:
        InputError: the URI cannot be read, or names a store that shows half-written files (HDFS), so that a run which
            is killed there could not be continued.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator:
        return Place(fs.LocalFileSystem(), str(Path(uri).expanduser().absolute()))
    # Before pyarrow sees it: for HDFS it would look for libraries that are not there, and say so at length.
    if scheme not in _OFFERED:
        raise InputError(f'cannot use "{uri}" as a place', found=f"a {scheme}:// store", fix=_FIX)
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except (ValueError, OSError) as error:
        raise InputError(f'cannot use "{uri}" as a place', found=str(error), fix=_FIX) from error
    return Place(filesystem, path.rstrip("/"))


def refuse_unwritable(warehouse: Place) -> None:
    """Raises InputError where nothing can be written there."""
    probe = warehouse / f".can-write-{uuid.uuid4().hex}"  # of its own: another process may start in this moment
    try:
        probe.write(b"")
        probe.filesystem.delete_file(probe.path)
    except OSError as error:
        raise InputError(
            f"the warehouse {warehouse} cannot be written",
            found=str(error),
            fix="choose another with --warehouse, or change its permissions",
        ) from error
