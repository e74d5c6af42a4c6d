"""Records in a hash chain: canonical JSON, each with the SHA-256 of the one before it and of itself."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

Record = dict[str, Any]


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def canonical(record: Mapping[str, Any]) -> str:
    """JSON with sorted keys and without spaces, of which hashes are made; raises ValueError for NaN and infinities."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain(value: Any) -> Any:
    """Floats that JSON has no word for (NaN, infinities) become None; the rest stays."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def seal(content: Mapping[str, Any], previous_sha256: str) -> Record:
    """The content as a record of the chain, with `previous_sha256` and its own `sha256`."""
    record: Record = {**plain(content), "previous_sha256": previous_sha256}
    return {**record, "sha256": sha256(canonical(record).encode())}


def is_intact(record: Mapping[str, Any]) -> bool:
    """Whether a record's own hash is that of what it says."""
    content = {key: value for key, value in record.items() if key != "sha256"}
    try:
        return bool(record.get("sha256") == sha256(canonical(content).encode()))
    except ValueError:  # NaN or an infinity, which no record was ever written with
        return False


def parse(content: bytes) -> Record | None:
    """A record from what is stored; None where that is no JSON object, or not any more."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):  # lists in lists, thousands deep
        return None
    return record if isinstance(record, dict) else None


def to_text(record: Mapping[str, Any]) -> str:
    """As it is stored: sorted keys, readable."""
    return json.dumps(record, sort_keys=True, indent=1, allow_nan=False) + "\n"
