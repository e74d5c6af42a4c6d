"""A file as blocks of whole lines in UTF-8, unpacked, in bounded memory; of a large plain one a range of bytes."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from neurogrid.data.faults import Fault
from neurogrid.data.packed import PackedError, beginning, is_packed, opened
from neurogrid.data.readings import UnusableFileError
from neurogrid.storage import Place

LONGEST_LINE = 16 << 20
"""A line longer than this is none of a table: the file has no line ends, or is no text."""
LOOKED_AT = 1 << 18
"""Bytes in which the names of all columns end, those of wide files too."""
_READ = 4 << 20


@dataclass(frozen=True)
class Piece:
    """A file, or a range of its bytes: the lines that begin in it.

    Attributes:
        file: where it is.
        begin, end: of the range; an end of None is the file's.
    """

    file: Place
    begin: int = 0
    end: int | None = None


def pieces(file: Place, size_bytes: int, encoding: str, piece_bytes: int) -> list[Piece]:
    """A file's pieces; one alone where it cannot be cut: packed, or in an encoding whose line ends are not one byte."""
    if size_bytes <= piece_bytes or not _is_cuttable(encoding) or is_packed(file):
        return [Piece(file)]
    cuts = list(range(0, size_bytes, piece_bytes))
    return [Piece(file, begin, end) for begin, end in zip(cuts, [*cuts[1:], None], strict=True)]


def _is_cuttable(encoding: str) -> bool:
    return "\n".encode(encoding) == b"\n" and "a".encode(encoding) == b"a"


def first_bytes(file: Place, encoding: str, size: int = LOOKED_AT) -> bytes:
    """About the first `size` bytes of a file's unpacked content, in UTF-8; raises UnusableFileError."""
    try:
        found = beginning(file, size)
    except (PackedError, OSError) as error:
        raise UnusableFileError(Fault.UNREADABLE_FILE, str(error)) from None
    return b"".join(_utf8(iter([found]), encoding))


@contextmanager
def content_of(file: Place) -> Iterator[BinaryIO]:
    """A file's unpacked content; raises UnusableFileError where it cannot be read."""
    try:
        with opened(file) as stream:
            # Arrow's streams read bytes, but no lines.
            yield cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, stream), _READ))
    except (PackedError, OSError) as error:
        raise UnusableFileError(Fault.UNREADABLE_FILE, str(error)) from None


def blocks(piece: Piece, encoding: str, block_bytes: int) -> Iterator[bytes]:
    """The piece's whole lines, some `block_bytes` at a time.

    Raises:
        UnusableFileError: the file cannot be read, or has no line ends.
    """
    chunks = _range(piece, block_bytes) if piece.begin or piece.end is not None else _whole(piece.file, block_bytes)
    yield from _lines(_utf8(chunks, encoding), block_bytes)


def _whole(file: Place, block_bytes: int) -> Iterator[bytes]:
    # A plain file that fits into a block is read in one go, and so is not copied.
    size = min(block_bytes, max(file.filesystem.get_file_info(file.path).size + 1, _READ))
    try:
        with opened(file) as stream:
            while chunk := stream.read(size):
                yield bytes(chunk)
    except (PackedError, OSError) as error:
        raise UnusableFileError(Fault.UNREADABLE_FILE, str(error)) from None


def _range(piece: Piece, block_bytes: int) -> Iterator[bytes]:
    """The bytes from the first line that begins in the range to the end of the last that does."""
    try:
        with piece.file.filesystem.open_input_file(piece.file.path) as file:
            size = file.size()
            begin = _line_start(file, piece.begin, size)
            end = size if piece.end is None else _line_start(file, piece.end, size)
            file.seek(begin)
            left = end - begin
            while left > 0 and (chunk := file.read(min(left, block_bytes))):
                left -= len(chunk)
                yield bytes(chunk)
    except OSError as error:
        raise UnusableFileError(Fault.UNREADABLE_FILE, str(error)) from None


def _line_start(file: BinaryIO, position: int, size: int) -> int:
    """Where the first line begins that does so at `position` or after it."""
    if position == 0:
        return 0
    file.seek(position - 1)
    while position - 1 < size and (chunk := file.read(_READ)):
        found = chunk.find(b"\n")
        if found >= 0:
            return position + found
        position += len(chunk)
    return size


def _utf8(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    if codecs.lookup(encoding).name == "utf-8":
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:  # UTF-16 without the mark that says in which order its bytes are
        raise UnusableFileError(Fault.UNREADABLE_FILE, f"not text in {encoding}: {error}") from None


def _lines(chunks: Iterator[bytes], block_bytes: int) -> Iterator[bytes]:
    held: list[bytes] = []
    size, line_end = 0, b""
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size < block_bytes:
            continue
        block = b"".join(held)
        line_end = line_end or next((each for each in (b"\n", b"\r") if each in block), b"")
        cut = block.rfind(line_end) + 1 if line_end else 0
        if cut:
            yield block[:cut]
            held = [block[cut:]]
            size -= cut
        elif size > block_bytes + LONGEST_LINE:
            raise UnusableFileError(Fault.UNREADABLE_FILE, f"no end of line in {size:,} bytes")
        else:
            held = [block]
    if size:
        yield held[0] if len(held) == 1 else b"".join(held)
