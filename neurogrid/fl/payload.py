"""An update as it travels: the codec's name and version, a length, a checksum, and bytes. No pickle.

Whoever receives one believes none of it: `unpack` says what is wrong, and reads no more than is there.
"""

import struct
import zlib

VERSION = 1
_HEADER = struct.Struct("<2sH12sII")
_MAGIC = b"NU"
HEADER_BYTES = _HEADER.size


class PayloadError(ValueError):
    """Bytes that are no update; the message says why."""


def pack(codec: str, body: bytes) -> bytes:
    """The payload of a codec's bytes."""
    return _HEADER.pack(_MAGIC, VERSION, codec.encode(), len(body), zlib.crc32(body)) + body


def unpack(payload: bytes, codec: str, length: int) -> bytes:
    """Inverse of `pack`.

    Args:
        payload: anything.
        codec: which it has to be of.
        length: of the codec's bytes, which is known before they come.

    Raises:
        PayloadError: of another codec, version or length, or damaged.
    """
    if len(payload) != HEADER_BYTES + length:
        raise PayloadError(f"a payload of {len(payload)} bytes, not {HEADER_BYTES + length}")
    magic, version, name, stated, checksum = _HEADER.unpack_from(payload)
    if magic != _MAGIC or version != VERSION:
        raise PayloadError(f"not a payload of version {VERSION}")
    if name.rstrip(b"\0") != codec.encode():
        raise PayloadError(f"a payload of another codec than {codec}")
    body = payload[HEADER_BYTES:]
    if stated != length or zlib.crc32(body) != checksum:
        raise PayloadError("a payload whose length or checksum is not its own")
    return body
