"""One writer of a folder, wherever it lies: on this machine, on a volume of many nodes, in an object store."""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from neurogrid.errors import RunError, UsageError
from neurogrid.storage import Place

QUIET_S = 15.0
"""Who has given no sign of life for so long does not hold a run any more."""
_BEAT_S = QUIET_S / 5
_STALE_S = QUIET_S * 2 / 3  # a holder stops before another may begin
_NAME = "run.lock"
_HALF_WRITTEN: dict[str, Any] = {"beat": "half written"}
"""What a reader makes of a sign of life that another is writing: it may see an empty file first.

Somebody's, until it has stayed so for `QUIET_S`: only a lock that is not there, or says `{}`, is free.
"""
_KERNEL = Path("/proc/sys/kernel/random/boot_id")


def is_released(run: Place) -> bool:
    """Whether the last process that wrote to the run has let go of it, as it does unless it is killed; only reads."""
    try:
        return bool(json.loads((run / _NAME).read_bytes()) == {})
    except (OSError, ValueError):
        return False


class FolderLock:
    """Held while a process writes to a folder: a run's, a teacher's, the clean tables'. A context manager.

    On a filesystem it is the kernel's lock on `run.lock`, which ends with its holder, however that ends: a run that was
    killed can be resumed at once on the same machine. Other machines may not see that lock, and object stores have
    none. So the holder also writes a sign of life into the file every few seconds. Who comes from elsewhere watches
    it, and takes the run over only when nothing has changed for `QUIET_S`. A holder that cannot give its sign (its node
    is cut off) or finds another's there (it stood still for too long) has lost the run: `check` raises, and nothing is
    written any more. No clock is compared with another machine's.

    In a store two may come at the same time, and neither sees the other's sign before it writes its own. So each first
    puts up a claim under a name that is its own (`run.lock.<holder>`), and only then looks who else has one. It holds
    the folder once it sees its own claim and no other. Of two, the one whose claim was there last sees both, however
    slow the store is, so at most one holds it; if both see both, the one whose name comes later takes its claim down.
    The claim stays while the folder is held. Who takes over from a dead holder takes its claim down first.

    What remains: a single write that was under way when the holder was cut off may still arrive after a successor has
    begun. It cannot go unnoticed, since each round's record names the hash of the one before and of its files.

    Args:
        folder: gets the file `run.lock`.
        what: is written there, for messages.

    Raises:
        UsageError: another process holds it.
    """

    def __init__(self, folder: Place, what: str) -> None:
        self._what, self._folder, self._path = what, folder, folder / _NAME
        self._file: int | None = None
        self._beat = 0
        self._lost = ""
        self._closed = threading.Event()
        self._signing = threading.Lock()
        self.holder = uuid.uuid4().hex
        self._me = {
            "holder": self.holder,
            "who": f"process {os.getpid()} on {socket.gethostname()}",
            "kernel": _KERNEL.read_text().strip() if _KERNEL.exists() else socket.gethostname(),
        }
        # On a filesystem the kernel's lock keeps two apart that come at the same time.
        self._claim = None if folder.is_local else folder / f"{_NAME}.{self.holder}"
        if self._claim is None:
            self._take_file()
        try:
            self._wait_for_others()
            self._sign()
        except BaseException:
            self._take_down()
            self._close_file()
            raise
        self._signed_s = time.monotonic()
        self._thread = threading.Thread(target=self._sign_on, name="run-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises RunError when this process may not write to the run any more."""
        silent_s = time.monotonic() - self._signed_s
        if not self._lost:
            try:
                # After a long silence a sign, too: this process stood still, and others count from its last one.
                self._look(sign=silent_s > _STALE_S)
            except OSError as error:
                if silent_s > _STALE_S:
                    self._lost = f"no sign of life could be written for {silent_s:.0f} s: {error}"
        if self._lost:
            raise RunError(
                f"{self._what} does not belong to this process any more",
                found=self._lost,
                fix="check whether another process is continuing it; if not, resume it",
            )

    def release(self) -> None:
        """Lets go; the file stays, since removing it would race with the next holder."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if not self._lost and self._is_mine():
                self._write({})
        self._take_down()
        self._close_file()

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _take_file(self) -> None:
        path = Path(self._path.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            found = self._read()
            self._close_file()
            raise self._live(found) from error

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _wait_for_others(self) -> None:
        """Returns when the folder is this process's; raises UsageError where somebody else's signs of life come."""
        before: dict[str, dict[str, Any]] | None = None
        dead: dict[str, dict[str, Any]] = {}
        changed_s = time.monotonic()
        while True:
            if self._claim is not None:
                self._beat += 1
                self._claim.write(json.dumps({**self._me, "beat": self._beat}))
            now = self._others()
            if all(dead.get(name) == found for name, found in now.items()):
                return
            for name, found in now.items():
                was = found if before is None else before.get(name, {})
                if found != was and self._is_before_me(name):
                    raise self._live({**was, **found})  # what is half written names nobody
            if now != before:
                before, changed_s = now, time.monotonic()
            elif time.monotonic() - changed_s >= QUIET_S:
                dead = now
                self._bury(dead)
                continue
            time.sleep(_BEAT_S / 2)

    def _others(self) -> dict[str, dict[str, Any]]:
        """What others have said in this folder, by the file's name; nothing of those who have let go."""
        found = {_NAME: self._read()}
        if self._claim is None:
            # Somebody under our own kernel, whose lock we have, is gone.
            return {} if found[_NAME].get("kernel") == self._me["kernel"] else {n: f for n, f in found.items() if f}
        claims = [file for file in self._folder.children() if file.name.startswith(f"{_NAME}.")]
        if self._claim.name not in {file.name for file in claims}:
            raise self._live({})  # another took this process for dead
        found |= {file.name: _parse(file) for file in claims if file.name != self._claim.name}
        return {name: said for name, said in found.items() if said}

    def _is_before_me(self, name: str) -> bool:
        """Whether this process gives way to whoever gives signs of life there: the holder, or another that waits."""
        return self._claim is None or name == _NAME or name < self._claim.name

    def _bury(self, dead: dict[str, dict[str, Any]]) -> None:
        for name in set(dead) - {_NAME}:
            with contextlib.suppress(FileNotFoundError):
                (self._folder / name).remove()

    def _take_down(self) -> None:
        if self._claim is not None:
            with contextlib.suppress(OSError):
                self._claim.remove()

    def _live(self, found: dict[str, Any]) -> UsageError:
        return UsageError(
            f"{self._what} is live: another process is writing to it",
            found=str(found.get("who") or "a lock on run.lock"),
            fix="wait for it to end, or stop it; then give the command again",
        )

    def _sign_on(self) -> None:
        while not self._closed.wait(_BEAT_S) and not self._lost:
            # What fails is tried again; too long a silence is noticed by `check`.
            with contextlib.suppress(OSError):
                self._look(sign=True)

    def _look(self, *, sign: bool) -> None:
        """Whether the folder is still this process's; if it is and `sign`, says so to others."""
        with self._signing:
            if not self._is_mine():
                found = self._read()
                who = found.get("who") if found.get("holder") != self.holder else None
                self._lost = f"{who or 'somebody else'} has taken it over"
            elif sign:
                self._sign()
                self._signed_s = time.monotonic()

    def _is_mine(self) -> bool:
        signed = self._read().get("holder") == self.holder
        return signed and (self._claim is None or self._claim.exists())

    def _sign(self) -> None:
        self._beat += 1
        self._write({**self._me, "beat": self._beat})

    def _write(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        if self._file is None:
            self._path.write(data)
        else:
            # In place, because the lock is the file's, not the name's; padded, so that no longer line shows through.
            os.pwrite(self._file, data.ljust(400), 0)

    def _read(self) -> dict[str, Any]:
        if self._file is None:
            return _parse(self._path)
        # A file under the kernel's lock, which is ours, is empty only until somebody signs it for the first time.
        return _said(os.pread(self._file, 400, 0) or b"{}")


def _parse(file: Place) -> dict[str, Any]:
    try:
        return _said(file.read_bytes())
    except FileNotFoundError:
        return {}


def _said(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data.decode(errors="replace"))
    except ValueError:
        return _HALF_WRITTEN
    return found if isinstance(found, dict) else _HALF_WRITTEN
