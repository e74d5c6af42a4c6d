"""What a job in a pod is, and the record that it leaves when it has ended, for the job that comes after it.

Each generation of a job has a record of its own, `jobs/<release>/<job>/<generation>.json` in the warehouse; the newest
of them also lies in `jobs/<release>/<job>.json`, for those who mean whatever was made last. It is all that one job
knows of another, and it outlives every pod. When a job's turn comes is decided elsewhere (neurogrid/cluster/launch.py).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from neurogrid.errors import NeuroGridError, RunError
from neurogrid.ledger.chain import plain
from neurogrid.storage import Place

COMPLETED, FAILED, RUNNING = "completed", "failed", "running"

Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A job of a release, as its pod's environment describes it.

    Attributes:
        name: within the release.
        release: whose records it reads and writes.
        generation: changes when the job's result may; a record of another generation is not about this job.
        after: the job that has to be completed first; empty is none.
        after_generation: the generation of that one that counts; empty takes any.
        scheduled: whether it runs again and again, so that its own last record says nothing about this time.
        application: unique for each run of a schedule, the same for a driver that is started again.
    """

    name: str
    release: str
    generation: str
    after: str
    after_generation: str
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
            scheduled=variables.get("NEUROGRID_SCHEDULED", "").lower() == "true",
            application=variables.get("NEUROGRID_APPLICATION", ""),
        )

    @property
    def default_id(self) -> str:
        """The name of what the job makes where the config gives none: the same for a driver that is started again."""
        if self.scheduled and self.application:
            return self.application
        return "-".join(part for part in (self.release, self.name, self.generation) if part)


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

    def before(self) -> dict[str, str]:
        """What the job that this one comes after has made, and those before that one, by kind.

        Raises:
            RunError: it has not completed; a run is started only when it has, except by a schedule or by hand.
        """
        job = self._job
        if not job.after:
            return {}
        file = self._file(job.after, job.after_generation)
        record = _read(file)
        if record is not None and record["state"] == COMPLETED:
            return dict(record.get("made", {}))
        if record is not None and record["state"] == FAILED:
            raise _failed(job, record)
        raise RunError(
            f"job {job.name} cannot start: job {job.after}, its predecessor, has not completed",
            found=f"{self._state(record)} ({file})",
            fix=f"run it first: neurogrid k8s submit {job.after}",
        )

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
            "done": plain(done or {}),
            "result": plain(result),
        }
        text = json.dumps(record, indent=1, default=str) + "\n"
        for generation in dict.fromkeys((self._job.generation, "")):
            self._file(self._job.name, generation).write(text)

    def _file(self, job: str, generation: str) -> Place:
        """A job's record of this generation; of the newest where none is named."""
        return self._folder / (f"{job}/{generation}.json" if generation else f"{job}.json")

    def _state(self, record: Record | None) -> str:
        """How far the job is that this one comes after, and where it has no record, what generation it has one of."""
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
        raise RunError(f"{file} is not a completion record", fix="remove it; the job writes it again") from None
    if not isinstance(record, dict) or "state" not in record:
        raise RunError(f"{file} is not a completion record", fix="remove it; the job writes it again")
    return record


def _failed(job: Job, record: Record) -> RunError:
    result = record.get("result", {})
    found = "; ".join(str(result[key]) for key in ("what", "found") if result.get(key))
    return RunError(
        f"job {job.name} cannot start: job {job.after}, its predecessor, failed at {record.get('ended')}",
        found=found,
        fix=f"{result['fix']}; then run both again" if result.get("fix") else f"run {job.after} again, then this one",
    )
