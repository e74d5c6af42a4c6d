"""What a job in a pod is, and the record that it leaves when it has ended, for the job that comes after it.

Each generation of a job has a record of its own, `jobs/<release>/<job>/<generation>.json` in the warehouse; the newest
of them also lies in `jobs/<release>/<job>.json`, for those who mean whatever was made last. It is all that one job
knows of another: no workflow engine and no call to Kubernetes is needed, and it outlives every pod.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from neurogrid.cli import lines, show
from neurogrid.errors import ConfigError, NeuroGridError, RunError, UsageError
from neurogrid.storage import Place

COMPLETED, FAILED, RUNNING = "completed", "failed", "running"
_POLL_S = 2.0
_SAY_EVERY_S = 30.0

Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A job of a release, as its pod's environment describes it.

    Attributes:
        name: within the release.
        release: whose records it reads and writes.
        generation: changes when the job's result may; a record of another generation is not about this job.
        after: the job that it waits for; empty is none.
        after_generation: the generation of that one that counts; empty takes any.
        after_timeout_s: how long to wait for it, seconds.
        after_retry_s: how long it may take to be started again after a failure, seconds.
        scheduled: whether it runs again and again, so that its own last record says nothing about this time.
        application: unique for each run of a schedule, the same for a driver that is started again.
    """

    name: str
    release: str
    generation: str
    after: str
    after_generation: str
    after_timeout_s: float
    after_retry_s: float
    scheduled: bool
    application: str

    @classmethod
    def from_environment(cls, step: str, variables: Mapping[str, str]) -> "Job":
        """Reads NEUROGRID_*; what is missing makes a job that stands alone."""
        return cls(
            name=variables.get("NEUROGRID_JOB") or step,
            release=variables.get("NEUROGRID_RELEASE") or "neurogrid",
            generation=variables.get("NEUROGRID_GENERATION", ""),
            after=variables.get("NEUROGRID_AFTER", ""),
            after_generation=variables.get("NEUROGRID_AFTER_GENERATION", ""),
            after_timeout_s=_seconds(variables, "NEUROGRID_AFTER_TIMEOUT_S", 3600),
            after_retry_s=_seconds(variables, "NEUROGRID_AFTER_RETRY_S", 180),
            scheduled=variables.get("NEUROGRID_SCHEDULED", "").lower() == "true",
            application=variables.get("NEUROGRID_APPLICATION", ""),
        )

    @property
    def default_id(self) -> str:
        """The name of what the job makes where the config gives none: the same for a driver that is started again."""
        if self.scheduled and self.application:
            return self.application
        return "-".join(part for part in (self.release, self.name, self.generation) if part)


def _seconds(variables: Mapping[str, str], name: str, default_s: float) -> float:
    text = variables.get(name) or str(default_s)
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{name} takes a number of seconds", found=text) from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Completion:
    """The records of a release's jobs, from the view of one of them."""

    def __init__(self, warehouse: Place, job: Job) -> None:
        self._folder = warehouse / "jobs" / job.release
        self._job = job
        self._started = _now()

    def done(self) -> Record | None:
        """This job's own record, if it has completed already: its driver was started once more than needed."""
        record = _read(self._file(self._job.name, self._job.generation))
        return record if record and record["state"] == COMPLETED and not self._job.scheduled else None

    def begun(self) -> tuple[dict[str, Record], dict[str, str]]:
        """Results of the steps that this very run had done before its driver was started again, and what they made."""
        record = _read(self._file(self._job.name, self._job.generation))
        same = record is not None and record.get("application") == self._job.application
        if not record or not same or record["state"] == COMPLETED or not record.get("done"):
            return {}, {}
        return dict(record["done"]), dict(record["made"])

    def wait(self) -> dict[str, str]:
        """Waits for the job that this one comes after; what that one and those before it made, by kind.

        Raises:
            RunError: it failed, or the time is up.
        """
        job = self._job
        if not job.after:
            return {}
        file, limit_s = self._file(job.after, job.after_generation), job.after_timeout_s
        began = said = time.monotonic()
        failed_since: float | None = None
        lines.emit("waiting", after=job.after, timeout_s=limit_s)
        show.say(f"waiting for job {job.after} to complete, at most {limit_s:g} s ({file})")
        while True:
            record = _read(file)
            if record is not None and record["state"] == COMPLETED:
                show.say(f"job {job.after} has completed")
                return dict(record.get("made", {}))
            now = time.monotonic()
            if record is not None and record["state"] == FAILED:
                # Its driver may be about to be started again; a refusal would only be repeated.
                failed_since = failed_since if failed_since is not None else now
                refused = record.get("result", {}).get("exit_code") == UsageError.exit_code
                if refused or now - failed_since >= job.after_retry_s:
                    raise _failed(job, record)
            else:
                failed_since = None
            if now - began >= limit_s:
                raise _late(job, file, self._state(record))
            if now - said >= _SAY_EVERY_S:
                said = now
                show.say(f"waiting for job {job.after}: {self._state(record)}, for {now - began:.0f} s")
            time.sleep(max(0.0, min(_POLL_S, began + limit_s - now)))

    def write(
        self,
        state: str,
        result: Mapping[str, Any],
        made: Mapping[str, str],
        done: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Replaces this job's record.

        Args:
            state: completed, failed or running.
            result: what the step gave back, or the words of its failure.
            made: ids of what this job and those before it made: manifest, teacher, run.
            done: results of the steps that are done, of a job that has not ended.
        """
        record = {
            "job": self._job.name,
            "generation": self._job.generation,
            "state": state,
            "started": self._started,
            "ended": None if state == RUNNING else _now(),
            "application": self._job.application,
            "made": dict(made),
            "done": lines.plain(done or {}),
            "result": lines.plain(result),
        }
        text = json.dumps(record, indent=1, default=str) + "\n"
        for generation in dict.fromkeys((self._job.generation, "")):
            self._file(self._job.name, generation).write(text)

    def _file(self, job: str, generation: str) -> Place:
        """A job's record of this generation; of the newest where none is named."""
        return self._folder / (f"{job}/{generation}.json" if generation else f"{job}.json")

    def _state(self, record: Record | None) -> str:
        """How far the job is that this one waits for, and where it has no record, what generation it has one of."""
        job = self._job
        if record is not None:
            return f"it is {record['state']} since {record.get('started')}"
        newest = _read(self._file(job.after, "")) if job.after_generation else None
        if newest is None:
            return "it has no record yet"
        return f"its record is of generation {newest.get('generation') or 'none'}, not {job.after_generation}"


def words(problem: NeuroGridError) -> dict[str, Any]:
    """An error as a record and a line of the log carry it."""
    return {"what": problem.what, "found": problem.found, "fix": problem.fix, "exit_code": problem.exit_code}


def _read(file: Place) -> Record | None:
    try:
        record = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise RunError(f"{file} is no completion record", fix="remove it; the job writes it anew") from None
    if not isinstance(record, dict) or "state" not in record:
        raise RunError(f"{file} is no completion record", fix="remove it; the job writes it anew")
    return record


def _failed(job: Job, record: Record) -> RunError:
    result = record.get("result", {})
    found = "; ".join(str(result[key]) for key in ("what", "found") if result.get(key))
    return RunError(
        f"job {job.name} cannot start: job {job.after}, which it comes after, failed at {record.get('ended')}",
        found=found,
        fix=f"{result['fix']}; then run both again" if result.get("fix") else f"run {job.after} again, then this one",
    )


def _late(job: Job, file: Place, state: str) -> RunError:
    return RunError(
        f"job {job.after}, which job {job.name} comes after, has not completed within {job.after_timeout_s:g} s",
        found=f"{state} ({file})",
        fix=f"look at its driver: neurogrid k8s logs {job.after}; or wait longer with the job's afterTimeoutSeconds",
    )
