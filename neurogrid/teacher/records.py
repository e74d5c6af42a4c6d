"""A teacher's folder: records in the ledger's hash chain, an epoch durable once its record is there.

The driver begins and ends it; rank 0 writes the epochs between. Whoever comes after a kill finds the last durable one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from torch import Tensor

from neurogrid.errors import RunError, UsageError
from neurogrid.ledger.chain import Record, is_intact, seal, sha256, to_text
from neurogrid.ledger.torchfile import pack, unpack
from neurogrid.storage import Place

VERSION = 1
Checkpoint = dict[str, Any]


def epoch_name(number: int) -> str:
    """`epoch=0001`."""
    return f"epoch={number:04d}"


@dataclass(frozen=True)
class Records:
    """The chain: the first record, those of the epochs in order, the last one if it has ended."""

    first: Record
    epochs: tuple[Record, ...]
    end: Record | None

    @property
    def head(self) -> str:
        """SHA-256 of the newest record."""
        newest = self.end or (self.epochs[-1] if self.epochs else self.first)
        return str(newest["sha256"])

    @property
    def held_out(self) -> list[float]:
        """Each epoch's held-out loss; nan where none was measured."""
        return [float("nan") if e["held_out_loss"] is None else e["held_out_loss"] for e in self.epochs]


def begin(folder: Place, content: Mapping[str, Any], config_yaml: str) -> None:
    """Writes the first record.

    Raises:
        UsageError: a teacher of that name exists.
    """
    if (folder / "teacher.json").exists():
        raise UsageError(
            f"teacher {folder.name} exists already",
            found=str(folder),
            fix=f"resume it: neurogrid teach --resume {folder.name}; or choose another teacher.id",
        )
    (folder / "config.yaml").write(config_yaml)
    files = {"config.yaml": sha256(config_yaml.encode())}
    (folder / "teacher.json").write(to_text(seal({"version": VERSION, **content, "files": files}, "")))


def read(folder: Place) -> Records:
    """The teacher's records, each checked against its own hash and the one before it.

    Raises:
        UsageError: there is no such teacher.
        RunError: a record is not the one that was written, or is missing.
    """
    if not (folder / "teacher.json").exists():
        raise UsageError(f"there is no teacher {folder.name}", found=f"no {folder}/teacher.json")
    names = sorted(place.name for place in (folder / "epochs").children() if place.name.endswith(".json"))
    paths = ["teacher.json", *(f"epochs/{epoch_name(number)}.json" for number in range(1, len(names) + 1))]
    ended = (folder / "end.json").exists()
    found: list[Record] = []
    previous = ""
    for path in [*paths, *(["end.json"] if ended else [])]:
        record = _record(folder, path)
        if not is_intact(record) or record.get("previous_sha256") != previous:
            raise _changed(folder, f"{path} of teacher {folder.name} was modified")
        previous = record["sha256"]
        found.append(record)
    end = found.pop() if ended else None
    return Records(found[0], tuple(found[1:]), end)


def extended(folder: Place, known: Records) -> Records:
    """The records with one more epoch, where it is durable by now; else as they were.

    Raises:
        RunError: it is not the record that was written.
    """
    path = f"epochs/{epoch_name(len(known.epochs) + 1)}.json"
    if not (folder / path).exists():
        return known
    record = _record(folder, path)
    if not is_intact(record) or record.get("previous_sha256") != known.head:
        raise _changed(folder, f"{path} of teacher {folder.name} was modified")
    return Records(known.first, (*known.epochs, record), None)


def _record(folder: Place, path: str) -> Record:
    try:
        record = json.loads((folder / path).read_text())
    except FileNotFoundError:
        raise _changed(folder, f"{path} of teacher {folder.name} is missing, but later records exist") from None
    except ValueError:
        record = None
    return record if isinstance(record, dict) else {}


def read_named(folder: Place, record: Record, path: str) -> bytes:
    """A file that a record names; raises RunError unless it is the one that was written."""
    content = (folder / path).read_bytes() if (folder / path).exists() else b""
    if sha256(content) != record["files"][path]:
        raise _changed(folder, f"{path} of teacher {folder.name} is missing or was modified")
    return content


def write_epoch(folder: Place, records: Records, figures: Mapping[str, Any], state: Checkpoint) -> None:
    """Makes an epoch durable: its checkpoint, then the record that names it."""
    name = epoch_name(len(records.epochs) + 1)
    path, content = f"checkpoints/{name}.pt", pack(state)
    (folder / path).write(content)
    files = {path: sha256(content), "data.json": sha256((folder / "data.json").read_bytes())}
    recorded = datetime.now(UTC).isoformat(timespec="seconds")
    sealed = seal({**figures, "recorded": recorded, "files": files}, records.head)
    (folder / "epochs" / f"{name}.json").write(to_text(sealed))


def read_checkpoint(folder: Place, records: Records, epoch: int) -> Checkpoint:
    """An epoch's weights and optimiser."""
    return unpack(read_named(folder, records.epochs[epoch - 1], f"checkpoints/{epoch_name(epoch)}.pt"))


def finish(folder: Place, records: Records, weights: Mapping[str, Tensor], metrics: Mapping[str, Any]) -> Record:
    """The last record, and what it names: the weights, the figures."""
    contents = {
        "weights.pt": pack(dict(weights)),
        "metrics.json": (json.dumps(metrics, indent=1, sort_keys=True, allow_nan=False) + "\n").encode(),
        "data.json": (folder / "data.json").read_bytes(),
    }
    for path in ("weights.pt", "metrics.json"):
        (folder / path).write(contents[path])
    files = {path: sha256(content) for path, content in contents.items()}
    end = seal({"reason": metrics["reason"], "epochs": len(records.epochs), "files": files}, records.head)
    (folder / "end.json").write(to_text(end))
    return end


def _changed(folder: Place, what: str) -> RunError:
    return RunError(what, fix=f"{folder} was changed since: teach another one")
