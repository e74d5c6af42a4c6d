"""SparkApplications as the operator sees them, to metrics. Who lists them, and where, is the caller's."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from neurogrid.telemetry.readings import Readings, Values

STATES = ("new", "submitted", "running", "succeeding", "completed", "failing", "failed", "submission_failed",
          "pending_rerun", "invalidating", "suspending", "suspended", "resuming", "unknown")  # fmt: skip
MOST_APPLICATIONS = 100
"""The newest so many are shown."""
_EXECUTORS = ("pending", "running", "completed", "failed", "unknown")


def application_readings(namespace: str, applications: list[dict[str, Any]]) -> Readings:
    """All samples of a namespace's newest SparkApplications; what one of them does not say has no sample."""
    together: Readings = {}
    for application in sorted(applications, key=_created)[-MOST_APPLICATIONS:]:
        metadata, spec, status = (application.get(part) or {} for part in ("metadata", "spec", "status"))
        name, labels = str(metadata.get("name", "")), metadata.get("labels") or {}
        release, job = labels.get("app.kubernetes.io/instance") or "", labels.get("neurogrid.io/job") or name
        values = Values(namespace=namespace, application=name, release=str(release), neurogrid_job=str(job))
        values.put("neurogrid_sparkapplication_wanted_executors", _wanted(spec))
        _one(values, metadata, status)
        for metric, samples in values.readings.items():
            together.setdefault(metric, []).extend(samples)
    return together


def _created(application: Mapping[str, Any]) -> tuple[str, str]:
    """Kubernetes writes all times in one zone and form, so their order is that of the moments."""
    metadata = application.get("metadata") or {}
    return str(metadata.get("creationTimestamp") or ""), str(metadata.get("name", ""))


def _wanted(spec: Mapping[str, Any]) -> int | None:
    """How many executors the spec asks for; with dynamic allocation at most; None where it leaves that to Spark."""
    dynamic = spec.get("dynamicAllocation") or {}
    wanted = dynamic.get("maxExecutors") if dynamic.get("enabled") else (spec.get("executor") or {}).get("instances")
    return wanted if isinstance(wanted, int) else None


def _one(values: Values, metadata: Mapping[str, Any], status: Mapping[str, Any]) -> None:
    state = str((status.get("applicationState") or {}).get("state") or "new").lower()
    values.state("neurogrid_sparkapplication_state", STATES, state if state in STATES else "unknown")
    words = (str(each).lower() for each in (status.get("executorState") or {}).values())
    executors = Counter(word if word in _EXECUTORS else "unknown" for word in words)
    for each in _EXECUTORS:
        values.put("neurogrid_sparkapplication_executors", executors[each], state=each)
    for kind in ("submission", "execution"):
        attempts = status.get(f"{kind}Attempts")
        values.put("neurogrid_sparkapplication_attempts", attempts if isinstance(attempts, int) else 0, kind=kind)
    for moment, said in (
        ("created", metadata.get("creationTimestamp")),
        ("submitted", status.get("lastSubmissionAttemptTime")),
        ("terminated", status.get("terminationTime")),
    ):
        values.put(f"neurogrid_sparkapplication_{moment}_timestamp_seconds", _seconds(said))


def _seconds(said: object) -> float | None:
    """Unix seconds of a Kubernetes time; None where it is not set."""
    try:
        return datetime.fromisoformat(str(said)).timestamp()
    except ValueError:
        return None
