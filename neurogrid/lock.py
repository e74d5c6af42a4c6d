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
_HALF_WRITTEN: dict[str, Any] = {"beat": "half written"}
"""What a reader makes of a sign of life that another is writing: a store without renames (HDFS) shows it empty first.

Somebody's, until it has stayed so for `QUIET_S`: only a lock that is not there, or says `{}`, is free.
"""
_KERNEL = Path("/proc/sys/kernel/random/boot_id")


def is_released(run: Place) -> bool:
    """Whether the last process that wrote to the run has let go of it, as it does unless it is killed; only reads."""
    try:
        return bool(json.loads((run / "run.lock").read_bytes()) == {})
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

    What remains: a single write that was under way when the holder was cut off may still arrive after a successor has
    begun. It cannot go unnoticed, since each round's record names the hash of the one before and of its files.

    Args:
        folder: gets the file `run.lock`.
        what: is written there, for messages.

    Raises:
        UsageError: another process holds it.
    """

    def __init__(self, folder: Place, what: str) -> None:
        self._what = what
        self._path = folder / "run.lock"
        self._file: int | None = None
        self._beat = 0
        self._lost = ""
        self._closed = threading.Event()
        self._signing = threading.Lock()
        self._me = {
            "holder": uuid.uuid4().hex,
            "who": f"process {os.getpid()} on {socket.gethostname()}",
            "kernel": _KERNEL.read_text().strip() if _KERNEL.exists() else socket.gethostname(),
        }
        if folder.is_local:
            self._take_file()
        try:
            self._wait_for_quiet()
            self._sign()
        except BaseException:
            self._close_file()
            raise
        self._signed_s = time.monotonic()
        self._thread = threading.Thread(target=self._sign_on, name="run-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises RunError when this process may not write to the run any more."""
        silent_s = time.monotonic() - self._signed_s
        if not self._lost and silent_s > _STALE_S:
            try:
                self._sign_again()  # this process stood still: is the run still its own?
            except OSError as error:
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
            if not self._lost and self._holder() == self._me["holder"]:
                self._write({})
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

    def _wait_for_quiet(self) -> None:
        before = self._read()
        if not before or (self._file is not None and before.get("kernel") == self._me["kernel"]):
            return  # nobody; or somebody under our own kernel, which has just said that they are gone
        deadline = time.monotonic() + QUIET_S
        while time.monotonic() < deadline:
            time.sleep(_BEAT_S / 2)
            now = self._read()
            if not now:
                return
            if now != before:
                raise self._live({**before, **now})  # what is half written names nobody

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
                self._sign_again()

    def _sign_again(self) -> None:
        with self._signing:
            if self._holder() != self._me["holder"]:
                self._lost = f"{self._read().get('who') or 'somebody else'} has taken it over"
                return
            self._sign()
            self._signed_s = time.monotonic()

    def _sign(self) -> None:
        self._beat += 1
        self._write({**self._me, "beat": self._beat})

    def _holder(self) -> str:
        return str(self._read().get("holder", ""))

    def _write(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        if self._file is None:
            self._path.write(data)
        else:
            # In place, because the lock is the file's, not the name's; padded, so that no longer line shows through.
            os.pwrite(self._file, data.ljust(400), 0)

    def _read(self) -> dict[str, Any]:
        try:
            # A file under the kernel's lock, which is ours, is empty only until somebody signs it for the first time.
            data = self._path.read_bytes() if self._file is None else os.pread(self._file, 400, 0) or b"{}"
            found = json.loads(data.decode(errors="replace"))
        except FileNotFoundError:
            return {}
        except ValueError:
            return _HALF_WRITTEN
        return found if isinstance(found, dict) else _HALF_WRITTEN
