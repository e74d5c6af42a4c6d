"""One process a run: an advisory lock that ends with its holder, however it ends."""

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType

from neurogrid.errors import UsageError
from neurogrid.storage import Place


class RunLock:
    """Held while a process writes to a run's folder.

    The kernel drops it when the process dies, so a killed run can be resumed at once. Object stores have no such lock;
    there two writers are not kept apart.
    """

    def __init__(self, run: Place) -> None:
        self._file: int | None = None
        if not run.is_local:
            return
        path = Path(run.path) / "run.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._file, 200).decode(errors="replace").strip()
            os.close(self._file)
            self._file = None
            raise UsageError(
                f"run {run.name} is live: another process is writing to it",
                found=holder or "a lock on run.lock",
                fix="wait for it to end, or stop it, then resume",
            ) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def release(self) -> None:
        """Lets go; the file stays, since removing it would race with the next holder."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
