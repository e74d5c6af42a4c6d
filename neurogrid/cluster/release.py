"""What Helm installed: releases, the jobs of each with their templates, and how many executors the next run gets.

The chart renders every job, switched on or not, into one ConfigMap `<release>-jobs`. It is all that a submission needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import yaml

from neurogrid.errors import RunError, UsageError

Object = dict[str, Any]

RELEASE_LABEL, JOB_LABEL = "app.kubernetes.io/instance", "neurogrid.io/job"
OURS = "app.kubernetes.io/name=neurogrid"
# Executors of the next run, by job: an annotation, since Helm would fight over a changed template.
EXECUTORS = "neurogrid.io/executors."


def job_of(application: Object) -> str:
    """The job that an application runs."""
    return str(application["metadata"].get("labels", {}).get(JOB_LABEL, ""))


def selector(release: str) -> str:
    """Labels of all that belongs to the release of this name."""
    return f"{OURS},{RELEASE_LABEL}={release}"


class ConfigMaps(Protocol):
    """Where releases are looked for; `api.Cluster` and, in pods, `incluster.PodApi` are."""

    @property
    def namespace(self) -> str:
        """The one that is meant where none is named."""
        ...

    def config_maps(self, selector: str, *, everywhere: bool = False) -> list[Object]:
        """ConfigMaps with these labels."""
        ...


@dataclass(frozen=True)
class Release:
    """One installation of the chart.

    Attributes:
        name: as given to `helm install`.
        namespace: where it lives.
        uid: of the ConfigMap with its jobs, which owns what is submitted.
        templates: by job, the SparkApplication that the chart would install.
        scaled: by job, how many executors the next run gets in place of the template's.
    """

    name: str
    namespace: str
    uid: str
    templates: Mapping[str, Object]
    scaled: Mapping[str, int]

    @property
    def config_map(self) -> str:
        """Name of the ConfigMap with its jobs."""
        return f"{self.name}-jobs"

    @property
    def selector(self) -> str:
        """Labels of all that belongs to it."""
        return selector(self.name)

    def template(self, job: str) -> Object:
        """The job's SparkApplication as the chart renders it.

        Raises:
            UsageError: the release has no such job.
        """
        if job not in self.templates:
            raise UsageError(
                f'release {self.name} has no job "{job}"',
                found=", ".join(self.templates) or "no jobs at all",
                fix="name one of these, or add it to the chart's values under jobs",
            )
        return self.templates[job]

    def executors(self, job: str) -> int:
        """How many executors the job's next run gets."""
        return self.scaled.get(job, int(self.template(job)["spec"]["executor"]["instances"]))


def find_release(cluster: ConfigMaps, name: str | None) -> Release:
    """The release of this name, or the only one of the namespace.

    Raises:
        UsageError: there is none, or several and none is named.
    """
    found = releases(cluster.config_maps(OURS))
    if name is not None:
        found = [release for release in found if release.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"several releases are in namespace {cluster.namespace}: say which",
            found=", ".join(release.name for release in found),
            fix="give one with --release",
        )
    raise UsageError(
        f"no release {name + ' ' if name else ''}of NeuroGrid is in namespace {cluster.namespace}",
        found=_elsewhere(cluster),
        fix="name another namespace with --namespace, or install one: helm install neurogrid helm/neurogrid",
    )


def releases(config_maps: list[Object]) -> list[Release]:
    """The releases whose ConfigMaps of jobs are among these."""
    found = []
    for config_map in config_maps:
        metadata = config_map["metadata"]
        name = metadata.get("labels", {}).get(RELEASE_LABEL, "")
        if metadata["name"] == f"{name}-jobs":
            found.append(_release(name, config_map))
    return sorted(found, key=lambda release: (release.namespace, release.name))


def _release(name: str, config_map: Object) -> Release:
    metadata = config_map["metadata"]
    try:
        rendered = {key.removesuffix(".yaml"): yaml.safe_load(text) for key, text in config_map.get("data", {}).items()}
    except yaml.YAMLError as error:
        raise RunError(
            f"ConfigMap {metadata['name']} of release {name} is not YAML",
            found=" ".join(str(error).split()),
            fix=f"install the chart again: helm upgrade {name}",
        ) from error
    scaled = {
        key.removeprefix(EXECUTORS): int(value)
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith(EXECUTORS) and value.isdecimal()
    }
    return Release(name, metadata["namespace"], metadata["uid"], rendered, scaled)


def _elsewhere(cluster: ConfigMaps) -> str:
    try:
        others = releases(cluster.config_maps(OURS, everywhere=True))
    except UsageError:
        return ""  # not everybody may look into other namespaces
    return ", ".join(f"{other.name} in namespace {other.namespace}" for other in others) or "none in the whole cluster"
