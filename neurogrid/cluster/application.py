"""From a job's template to a SparkApplication of its own: pure functions of what the chart rendered.

A submitted job never replaces the SparkApplication that Helm made: it gets a name of its own, so that the next upgrade
finds its objects as it left them. It belongs to the release all the same, and goes when the release goes.
"""

import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from neurogrid.cluster.release import Release
from neurogrid.errors import UsageError

Object = dict[str, Any]

MANAGER_LABEL, MANAGER = "app.kubernetes.io/managed-by", "neurogrid"
CONFIG_VOLUME, CONFIG_KEY = "config", "config.yaml"
GENERATION, AFTER_GENERATION = "NEUROGRID_GENERATION", "NEUROGRID_AFTER_GENERATION"
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
STOPPED = frozenset({"SUSPENDED", "SUSPENDING"})


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
    stamp: str,
    config: str | None,
    executors: int | None,
    *,
    variant: str = "",
) -> Submission:
    """A job under a name of its own.

    Args:
        release: whose job it is.
        job: which.
        template: its SparkApplication as the chart renders it, or one that ran.
        stamp: end of the name, which tells runs of a job apart.
        config: the whole config that the job runs with, where it is not the release's own.
        executors: how many; None takes the template's, and its bounds of dynamic allocation.
        variant: what sets this run's result apart from that of the template; empty where nothing does, and the run then
            goes on where the last one ended.

    Raises:
        UsageError: the name would be too long for the objects that Spark names after it.
    """
    name = f"{release.name}-{job}-{stamp}"
    if len(name) > LONGEST_NAME:
        raise UsageError(
            f"the name of the run is too long by {len(name) - LONGEST_NAME} characters",
            found=name,
            fix="install the release under a shorter name",
        )
    labels = {**template["metadata"].get("labels", {}), MANAGER_LABEL: MANAGER}
    metadata = {
        "name": name,
        "namespace": release.namespace,
        "labels": labels,
        "ownerReferences": [_owner("v1", "ConfigMap", release.config_map, release.uid)],
    }
    spec = copy.deepcopy(template["spec"])
    spec.pop("suspend", None)
    if executors is not None:
        _set_executors(spec, executors)
    # Whoever submits by hand means what the job before has made last, by hand or not.
    _each(spec, _is(AFTER_GENERATION), lambda entry: entry.update(value=""))
    if variant:
        _each(spec, _is(GENERATION), lambda entry: entry.update(value=_next_generation(entry["value"], variant)))
    application = {**{key: template[key] for key in ("apiVersion", "kind")}, "metadata": metadata, "spec": spec}
    if config is None:
        return Submission(application, None)
    _each(application, _is_config_volume, lambda volume: volume["configMap"].update(name=name))
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {CONFIG_KEY: config}}
    return Submission(application, config_map)


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


def state(application: Object) -> str:
    """The operator's word for where the application is; empty when no operator has seen it."""
    return str(application.get("status", {}).get("applicationState", {}).get("state", ""))


def error_message(application: Object) -> str:
    """Why it failed, as far as the operator knows."""
    return str(application.get("status", {}).get("applicationState", {}).get("errorMessage", ""))


def ended(application: Object) -> bool:
    """Whether nothing more will happen to it."""
    return state(application) in ENDED


def active(application: Object) -> bool:
    """Whether it has pods, or will have."""
    return state(application) not in ENDED | STOPPED


def suspended(application: Object) -> bool:
    """Whether somebody stopped it for now."""
    return bool(application["spec"].get("suspend"))


def submitted(application: Object) -> bool:
    """Whether it was submitted by hand; the others are Helm's, which puts them back at an upgrade."""
    return bool(application["metadata"].get("labels", {}).get(MANAGER_LABEL) == MANAGER)


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


def _is(variable: str) -> Callable[[Object], bool]:
    return lambda entry: entry.get("name") == variable and "value" in entry


def _is_config_volume(entry: Object) -> bool:
    return entry.get("name") == CONFIG_VOLUME and isinstance(entry.get("configMap"), dict)


def _found(value: Any, wanted: Callable[[Object], bool]) -> Iterator[Object]:
    """Every mapping inside that is wanted, however the chart nests its pod templates."""
    if isinstance(value, dict):
        if wanted(value):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _found(inner, wanted)


def _each(value: Any, wanted: Callable[[Object], bool], change: Callable[[Object], object]) -> None:
    for entry in list(_found(value, wanted)):
        change(entry)
