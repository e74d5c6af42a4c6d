"""Packed files, told by what they hold and not by their names, and read to the end of their own checksums."""

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import pyarrow as pa

from neurogrid.storage import Place

ENDINGS = (".gz", ".bz2", ".zst", ".xz", ".zip")
_KINDS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"\xfd7zXZ\0", "xz"),
    (b"PK\3\4", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "xls"),
)
_SPREADSHEET = "a spreadsheet and no text: save it as CSV"
_NOT_READ = {"7z": "a 7z archive: unpack it with `7z x`", "rar": "a rar archive: unpack it", "xls": _SPREADSHEET}
"""What no library here reads; docs/design.md says why of 7z."""
_PIECE = 1 << 20
_DAMAGED = (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, zipfile.BadZipFile, NotImplementedError)


class PackedError(Exception):
    """A packed file that cannot be read; the text says why."""


@contextmanager
def opened(file: Place) -> Iterator[BinaryIO]:
    """A stream of what a file holds, unpacked where it is packed; its checksum is read with its end.

    Raises:
        PackedError: it is cut off, damaged or encrypted, or a zip of more than one file; also while it is read.
    """
    kind = ""
    try:
        with file.filesystem.open_input_file(file.path) as raw:
            kind = _kind(raw.read(8))
            raw.seek(0)
            with _unpacking(raw, kind) as stream:
                yield stream
    except EOFError:
        raise PackedError(f"the {kind} stream is cut off before its end") from None
    except _DAMAGED as error:
        raise PackedError(f"the {kind} stream is broken: {error}" if kind else str(error)) from None


def _unpacking(raw: pa.NativeFile, kind: str) -> BinaryIO:
    match kind:
        case "gzip" | "bz2":
            return cast(BinaryIO, pa.CompressedInputStream(raw, kind))
        case "zst":
            return cast(BinaryIO, pa.CompressedInputStream(raw, "zstd"))
        case "xz":
            return cast(BinaryIO, lzma.LZMAFile(raw))
        case "zip":
            return _only_file(raw)
        case "":
            return cast(BinaryIO, raw)
        case _:
            raise PackedError(_NOT_READ[kind])


def plain(raw: bytes) -> bytes:
    """What a file's bytes hold, unpacked where they are packed; raises PackedError as `opened` does."""
    kind = _kind(raw)
    if not kind:
        return raw
    try:
        with _unpacking(pa.BufferReader(raw), kind) as stream:
            return bytes(stream.read())
    except EOFError:
        raise PackedError(f"the {kind} stream is cut off before its end") from None
    except _DAMAGED as error:
        raise PackedError(f"the {kind} stream is broken: {error}") from None


def is_packed(file: Place) -> bool:
    """Whether a file is packed, by its first bytes."""
    with file.filesystem.open_input_stream(file.path, compression=None) as stream:
        return bool(_kind(stream.read(8)))


def beginning(file: Place, size: int) -> bytes:
    """About the first `size` bytes of what a file holds; of a large one only a piece is read.

    Raises:
        PackedError: it cannot be unpacked.
    """
    with file.filesystem.open_input_stream(file.path, compression=None) as stream:
        raw = bytes(stream.read(size))
        kind = _kind(raw)
        if kind:
            raw += bytes(stream.read(_PIECE))
        if kind == "zip":  # whose directory is at its end
            return plain(raw + bytes(stream.read()))[:size]
    try:
        match kind:
            case "gzip":
                return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(raw, size)
            case "bz2":
                return bz2.BZ2Decompressor().decompress(raw, size)
            case "xz":
                return lzma.LZMADecompressor().decompress(raw, size)
            case "zst":
                return bytes(pa.CompressedInputStream(pa.BufferReader(raw), "zstd").read(size))
            case "":
                return raw[:size]
            case _:
                raise PackedError(_NOT_READ[kind])
    except _DAMAGED as error:
        raise PackedError(str(error)) from None


def _kind(raw: bytes) -> str:
    return next((name for magic, name in _KINDS if raw.startswith(magic)), "")


def _only_file(raw: pa.NativeFile) -> BinaryIO:
    archive = zipfile.ZipFile(cast(BinaryIO, raw))
    files = [info for info in archive.infolist() if not info.is_dir()]
    if any(info.filename == "[Content_Types].xml" for info in files):
        raise PackedError(_SPREADSHEET)
    if len(files) != 1:
        raise PackedError(f"a zip of {len(files)} files, where one is wanted: unpack it")
    try:
        return cast(BinaryIO, archive.open(files[0]))
    except RuntimeError as error:  # encrypted
        raise PackedError(str(error)) from None
