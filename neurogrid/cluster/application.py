"""From a job's template to the SparkApplication of a run: pure functions of what the chart rendered.

The chart installs no SparkApplication: Helm, which puts back at each upgrade what it once wrote, would fight over
`suspend`. A run is called `<release>-<job>-<generation>`, so the same job with the same config is the same object,
whoever submits it. It belongs to the release, and goes when the release goes.
"""

import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from neurogrid.cluster.release import Release
from neurogrid.errors import UsageError
from neurogrid.plural import plural

Object = dict[str, Any]

MANAGER_LABEL, MANAGER = "app.kubernetes.io/managed-by", "neurogrid"
CONFIG_VOLUME, CONFIG_KEY = "config", "config.yaml"
GENERATION = "NEUROGRID_GENERATION"
AFTER, AFTER_GENERATION = "NEUROGRID_AFTER", "NEUROGRID_AFTER_GENERATION"
# Annotations of templates and runs.
ENABLED = "neurogrid.io/enabled"  # of a template: the release runs it by itself
QUEUE = "neurogrid.io/queue"  # the LocalQueue that decides when it runs, once its turn has come
COMES_AFTER = "neurogrid.io/after"  # of a run: the run that has to complete first
DONE = "neurogrid.io/completed"  # set by its driver, which then resumes those that come after
STOPPED_BY_HAND = "neurogrid.io/stopped"
SUBMITTED_BY, RELEASE, PERSON = "neurogrid.io/submitted-by", "release", "person"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
LOCKED = frozenset(
    {
        *("spark.driver.port", "spark.driver.blockManager.port", "spark.blockManager.port", "spark.ui.port"),
        *("spark.authenticate", "spark.authenticate.secret", "spark.network.crypto.enabled"),
        *("spark.network.crypto.cipher", "spark.io.encryption.enabled", "spark.task.cpus"),
        *("spark.executor.cores", "spark.executor.instances", "spark.dynamicAllocation.enabled"),
    }
)
"""Spark's settings that are the release's alone; the chart's template neurogrid.job.locked has the same names."""
GPUS = "spark.executor.resource.gpu.amount"
LONGEST_NAME = 63 - len("-driver-svc")  # Spark names a service after the application

ENDED = frozenset({"COMPLETED", "FAILED"})  # a failed submission is tried again first


@dataclass(frozen=True)
class Submission:
    """What has to be made for a run: the application and, where the config was changed, a ConfigMap with it."""

    application: Object
    config_map: Object | None

    @property
    def name(self) -> str:
        """Of the application."""
        return str(self.application["metadata"]["name"])


def make_submission(
    release: Release,
    job: str,
    template: Object,
    config: str | None,
    executors: int | None,
    *,
    before: Object | None = None,
    variant: str = "",
    by: str = PERSON,
) -> Submission:
    """A run of a job.

    Args:
        release: whose job it is.
        job: which.
        template: its SparkApplication as the chart renders it, or a run of it.
        config: the whole config that the job runs with, where it is not the release's own.
        executors: how many; None takes the template's, and its bounds of dynamic allocation.
        before: the run that has to complete first, if there is one.
        variant: what sets this run's result apart from that of the template; empty where nothing does.
        by: who submits it; what the release has submitted is replaced when its values change.

    Raises:
        UsageError: the name would be too long for the objects that Spark names after it.
    """
    spec = copy.deepcopy(template["spec"])
    spec.pop("suspend", None)
    if executors is not None:
        _set_executors(spec, executors)
    if before is not None and generation(before) != value(template, AFTER_GENERATION):
        variant = f"{variant} after {generation(before)}"
        _each(spec, _is(AFTER_GENERATION), lambda entry: entry.update(value=generation(before)))
    if variant:
        _each(spec, _is(GENERATION), lambda entry: entry.update(value=_next_generation(entry["value"], variant)))
    name = run_name(release, job, value(spec, GENERATION))
    if len(name) > LONGEST_NAME:
        raise UsageError(
            f"the name of the run is too long by {plural(len(name) - LONGEST_NAME, 'character')}",
            found=name,
            fix="install the release under a shorter name",
        )
    metadata: Object = {
        "name": name,
        "namespace": release.namespace,
        "labels": {**template["metadata"].get("labels", {}), MANAGER_LABEL: MANAGER},
        "ownerReferences": [_owner("v1", "ConfigMap", release.config_map, release.uid)],
    }
    metadata["labels"].pop(QUEUE_LABEL, None)
    queue = annotation(template, QUEUE)
    notes = {SUBMITTED_BY: by, COMES_AFTER: name_of(before) if before else "", QUEUE: queue}
    application = {
        **{key: template[key] for key in ("apiVersion", "kind")},
        "metadata": {**metadata, "annotations": {key: note for key, note in notes.items() if note}},
        "spec": spec,
    }
    if before is not None and not completed(before):
        spec["suspend"] = True
    elif queue:
        _merge(application, turn(application))
    if config is None:
        return Submission(application, None)
    _each(application, _is_config_volume, lambda volume: volume["configMap"].update(name=name))
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {CONFIG_KEY: config}}
    return Submission(application, config_map)


def run_name(release: Release, job: str, generation: str) -> str:
    """What the run of a job is called; the run's id in the warehouse is the same."""
    return "-".join(part for part in (release.name, job, generation) if part)


def turn(application: Object) -> Object:
    """The change that starts a run whose turn has come: it is resumed, or put into its queue, which resumes it."""
    queue = annotation(application, QUEUE)
    if queue:
        return {"metadata": {"labels": {QUEUE_LABEL: queue}}, "spec": {"suspend": True}}
    return {"spec": {"suspend": False}}


def owned_by(application: Object) -> Object:
    """The change of an object that makes it go when the application goes."""
    metadata = application["metadata"]
    owner = _owner(application["apiVersion"], "SparkApplication", metadata["name"], metadata["uid"])
    return {"metadata": {"ownerReferences": [owner]}}


def config_map_name(template: Object) -> str:
    """Name of the ConfigMap that holds the job's config."""
    return next((str(volume["configMap"]["name"]) for volume in _found(template, _is_config_volume)), "")


def step(template: Object) -> str:
    """What the job does: etl, sample, train..."""
    return str(template["spec"]["mainApplicationFile"]).rpartition("/")[2].removesuffix(".py")


def cores(template: Object) -> int:
    """How many tasks one of the job's executors runs at a time: one a core, and one a GPU where it has any."""
    own = int(template["spec"]["executor"].get("cores", 1))
    return min(own, int(template["spec"].get("sparkConf", {}).get(GPUS, own)))


def name_of(application: Object) -> str:
    """Its name."""
    return str(application["metadata"]["name"])


def annotation(application: Object, name: str) -> str:
    """An annotation's value; empty where it has none of this name."""
    return str((application["metadata"].get("annotations") or {}).get(name, ""))


def value(application: Object, variable: str) -> str:
    """What an environment variable of its pods is set to; empty where it is not."""
    return next((str(entry["value"]) for entry in _found(application, _is(variable))), "")


def generation(application: Object) -> str:
    """Changes when the result may."""
    return value(application, GENERATION)


def state(application: Object) -> str:
    """The operator's word for where the application is; empty when no operator has seen it."""
    return str(application.get("status", {}).get("applicationState", {}).get("state", ""))


def error_message(application: Object) -> str:
    """Why it failed, as far as the operator knows."""
    return str(application.get("status", {}).get("applicationState", {}).get("errorMessage", ""))


def ended(application: Object) -> bool:
    """Whether nothing more will happen to it."""
    return state(application) in ENDED


def completed(application: Object) -> bool:
    """Whether what comes after it may start."""
    return bool(annotation(application, DONE)) or state(application) == "COMPLETED"


def active(application: Object) -> bool:
    """Whether it has pods, or will have without anybody's doing."""
    return not ended(application) and not _suspended(application)


def stopped(application: Object) -> bool:
    """Whether somebody stopped it, and it stays so until it is submitted again."""
    return _suspended(application) and not ended(application) and not waiting(application)


def waiting(application: Object) -> bool:
    """Whether it is suspended until its turn: the run before it has not completed, or its queue has no room yet."""
    if not _suspended(application) or ended(application) or annotation(application, STOPPED_BY_HAND):
        return False
    return bool(annotation(application, COMES_AFTER) or annotation(application, QUEUE))


def queued(application: Object) -> bool:
    """Whether it waits for nothing but room in its queue."""
    return waiting(application) and QUEUE_LABEL in application["metadata"].get("labels", {})


def waits_for(application: Object) -> str:
    """What a suspended run waits for; empty where it waits for nothing."""
    if not waiting(application):
        return ""
    if queued(application):
        return f"waits in queue {annotation(application, QUEUE)}"
    return f"waits for {annotation(application, COMES_AFTER)}; it uses no memory until then"


def on(application: Object) -> bool:
    """Whether it runs, or will."""
    return active(application) or waiting(application)


def _suspended(application: Object) -> bool:
    return bool(application["spec"].get("suspend"))


def recency(application: Object) -> tuple[bool, str, str]:
    """Sorts runs of a job: what is on comes last, before it what the operator attempted last.

    An application's own age says little: the same one may be submitted again and again.
    """
    attempted = application.get("status", {}).get("lastSubmissionAttemptTime") or ""
    made = str(application["metadata"]["creationTimestamp"])
    return on(application), max(str(attempted), made), name_of(application)


def age(application: Object) -> str:
    """How long ago it was made, in the largest unit that fits."""
    made = datetime.fromisoformat(str(application["metadata"]["creationTimestamp"]))
    seconds = int((datetime.now(UTC) - made).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def pods_selector(name: str) -> str:
    """Labels of the application's pods."""
    return f"sparkoperator.k8s.io/app-name={name}"


def _owner(version: str, kind: str, name: str, uid: str) -> Object:
    return {"apiVersion": version, "kind": kind, "name": name, "uid": uid}


def _set_executors(spec: Object, executors: int) -> None:
    spec["executor"]["instances"] = executors
    dynamic = spec.get("dynamicAllocation", {})
    if dynamic.get("enabled"):
        # What was asked for is the most; Spark may still give back what has nothing to do.
        dynamic["maxExecutors"] = executors
        for name in ("initialExecutors", "minExecutors"):
            if name in dynamic:
                dynamic[name] = min(int(dynamic[name]), executors)


def _next_generation(generation: str, variant: str) -> str:
    changed = hashlib.sha256(f"{generation}\n{variant}".encode()).hexdigest()
    return changed[: len(generation) or 12]


def _merge(below: Object, above: Object) -> None:
    for key, inner in above.items():
        if isinstance(inner, dict):
            _merge(below.setdefault(key, {}), inner)
        else:
            below[key] = inner


def _is(variable: str) -> Callable[[Object], bool]:
    return lambda entry: entry.get("name") == variable and "value" in entry


def _is_config_volume(entry: Object) -> bool:
    return entry.get("name") == CONFIG_VOLUME and isinstance(entry.get("configMap"), dict)


def _found(inside: Any, wanted: Callable[[Object], bool]) -> Iterator[Object]:
    """Every mapping inside that is wanted, however the chart nests its pod templates."""
    if isinstance(inside, dict):
        if wanted(inside):
            yield inside
        inside = list(inside.values())
    if isinstance(inside, list):
        for inner in inside:
            yield from _found(inner, wanted)


def _each(inside: Any, wanted: Callable[[Object], bool], change: Callable[[Object], object]) -> None:
    for entry in list(_found(inside, wanted)):
        change(entry)
