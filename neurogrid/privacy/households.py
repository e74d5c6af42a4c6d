"""What each household of a warehouse has spent, over all runs that it had part in: `privacy/households.json`.

A run reserves its whole plan before it begins, and gives back what it did not use when it ends. So a run that is
killed, resumed or never gone on with counts once, and never too little. Households are named by a keyed hash, so
that the file says nothing to somebody who has not the key that lies beside it.
"""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from neurogrid.errors import RunError, UsageError
from neurogrid.fl.privacy import PrivacyPlan
from neurogrid.lock import FolderLock
from neurogrid.plural import plural
from neurogrid.privacy.accounting import composed
from neurogrid.storage import Place

FOLDER, FILE, KEY = "privacy", "households.json", "key"
_VERSION, _PATIENCE_S = 1, 10.0
_PLAN = TypeAdapter(PrivacyPlan)


class _Entry(BaseModel):
    """What a run has reserved: its plan, for so many rounds, and for whom."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    plan: dict[str, Any]
    releases: int = Field(ge=0, le=10**7)
    households: list[str]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    key_check: str
    entries: dict[str, _Entry]


@dataclass(frozen=True)
class Spent:
    """What households have spent, by the plans of their runs.

    Attributes:
        entries: by a name that no other reservation has.
        plans: the entries' own, checked.
        key_check: by which the key that hashed the households is known again; empty where nothing is on file.
    """

    entries: Mapping[str, _Entry]
    plans: Mapping[str, PrivacyPlan]
    key_check: str = ""

    @classmethod
    def read(cls, warehouse: Place) -> Self:
        """What is on file; raises RunError where it is not what was written."""
        file = warehouse / FOLDER / FILE
        try:
            text = file.read_bytes()
        except FileNotFoundError:
            return cls({}, {})
        try:
            found = _File.model_validate_json(text)
            if found.version != _VERSION:
                raise ValueError(f"version {found.version}, this NeuroGrid knows {_VERSION}")
            plans = {name: _PLAN.validate_python(entry.plan) for name, entry in found.entries.items()}
        except (ValidationError, ValueError, TypeError) as error:
            raise RunError(
                "what households have spent of their privacy cannot be read",
                found=f"{file}: {_cause(error)}",
                fix="restore the file from a copy: without it nobody knows what may still be spent",
            ) from error
        return cls(found.entries, plans, found.key_check)

    def greatest(self, households: Iterable[str], plan: PrivacyPlan, releases: int) -> float:
        """The greatest epsilon of any of the households, at the plan's delta, after so many rounds of it as well."""
        wanted = set(households)
        by_household: dict[str, list[str]] = {household: [] for household in wanted}
        for name, entry in self.entries.items():
            for household in wanted & set(entry.households):
                by_household[household].append(name)
        histories = {tuple(names) for names in by_household.values()}
        return max(
            composed([*((self.plans[n], self.entries[n].releases) for n in names), (plan, releases)], plan.delta)
            for names in histories
        )


def reserve(
    warehouse: Place, run_id: str, plan: PrivacyPlan, households: Iterable[str], limit: float | None, name: str = ""
) -> str:
    """Writes down that a run is going to spend its whole plan; returns the name of the entry.

    Args:
        warehouse: where the ledger lies.
        run_id: for people.
        plan: of the run.
        households: ids of those that its agents are.
        limit: epsilon that no household may cross in all its runs, at the plan's delta; None is no limit.
        name: of the entry that the run has already, where it goes on: it is not counted again.

    Raises:
        UsageError: a household would cross the limit; nothing is written. Or another run is being written down.
        RunError: the ledger cannot be read or written.
    """
    with _locked(warehouse):
        spent = Spent.read(warehouse)
        if name in spent.entries:
            return name
        key = _key(warehouse, spent)
        hashes = _hashed(key, households)
        refuse_over(spent, hashes, plan, limit)
        name = name or f"{run_id}:{secrets.token_hex(8)}"
        entry = _Entry(run=run_id, plan=asdict(plan), releases=plan.releases, households=hashes)
        _write(warehouse, _check(key), {**spent.entries, name: entry})
    return name


def settle(warehouse: Place, name: str, releases: int) -> None:
    """A run has ended after so many rounds: what it reserved beyond them is free again."""
    with _locked(warehouse):
        spent = Spent.read(warehouse)
        if name in spent.entries and releases < spent.entries[name].releases:
            entry = spent.entries[name].model_copy(update={"releases": releases})
            _write(warehouse, spent.key_check, {**spent.entries, name: entry})


def refuse_over(spent: Spent, hashes: Iterable[str], plan: PrivacyPlan, limit: float | None) -> None:
    """Raises UsageError where a household would have spent more than `limit` after all of the plan's rounds."""
    hashes = list(hashes)
    if limit is None:
        return
    after = spent.greatest(hashes, plan, plan.releases)
    if after > limit:
        over = [h for h in hashes if spent.greatest([h], plan, plan.releases) > limit]
        before = spent.greatest(hashes, plan, 0)
        raise UsageError(
            f"this run would take {plural(len(over), 'household')} above privacy.household_epsilon {limit:g}",
            found=f"epsilon {after:.3g} at delta {plan.delta:g} after it, the most before it is {before:.3g}",
            fix="lower privacy.epsilon or rounds.count, leave out those households, or raise the limit",
        )


def refuse_spent(warehouse: Place, plan: PrivacyPlan, households: Iterable[str], limit: float | None) -> None:
    """As `reserve` refuses, and writes nothing: for whoever only plans."""
    spent = Spent.read(warehouse)
    hashes = _hashed(_key(warehouse, spent), households) if spent.entries else ["anybody"]
    refuse_over(spent, hashes, plan, limit)


def _cause(error: Exception) -> str:
    """The first thing that is wrong, with where it is."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))


def _key(warehouse: Place, spent: Spent) -> bytes:
    """The warehouse's own key, which is made when it is first needed.

    Raises:
        RunError: it is gone or another one: by it everybody would seem to have spent nothing.
    """
    file = warehouse / FOLDER / KEY
    if not file.exists() and not spent.entries:
        file.write(secrets.token_hex(32))
    try:
        key = bytes.fromhex(file.read_text().strip())
    except (FileNotFoundError, ValueError):
        key = b""
    if not key or (spent.key_check and _check(key) != spent.key_check):
        raise RunError(
            "what households have spent of their privacy cannot be told apart",
            found=f"{file} is {'not the key' if key else 'no key, and not the one'} that {FILE} was written with",
            fix="restore both files from one copy: with another key everybody would seem to have spent nothing",
        )
    return key


def _check(key: bytes) -> str:
    return hmac.new(key, FILE.encode(), hashlib.sha256).hexdigest()[:32]


def _hashed(key: bytes, households: Iterable[str]) -> list[str]:
    """Keyed hashes, HMAC-SHA256."""
    return sorted(hmac.new(key, household.encode(), hashlib.sha256).hexdigest()[:32] for household in households)


def _write(warehouse: Place, key_check: str, entries: Mapping[str, _Entry]) -> None:
    content = {
        "version": _VERSION,
        "key_check": key_check,
        "entries": {name: entry.model_dump() for name, entry in entries.items()},
    }
    (warehouse / FOLDER / FILE).write(json.dumps(content, indent=1) + "\n")


def _lock(folder: Place) -> FolderLock:
    """Waits for another run that begins or ends in this moment; raises UsageError where it goes on holding the lock."""
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return FolderLock(folder, "the ledger of what households have spent")
        except UsageError:
            if time.monotonic() > until_s:
                raise
            time.sleep(_PATIENCE_S / 100)


@contextmanager
def _locked(warehouse: Place) -> Iterator[None]:
    """One writer at a time, which takes milliseconds; OSErrors in words."""
    try:
        lock = _lock(warehouse / FOLDER)
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        raise RunError(
            "what households spend of their privacy could not be written",
            found=str(error),
            fix="make room or access there; without it no private run begins",
        ) from error
