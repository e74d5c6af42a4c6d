"""How runs come about and follow one another, without a workflow engine.

A run that comes after another one is made suspended, so that it holds no memory. The driver that completes marks its
own run and then resumes those after it (`hand_on`); who makes a run looks for that mark once more after it was made.
One of the two always sees the other, so no run stays behind. Used by a release's submit job in the cluster and by
`neurogrid k8s submit` alike.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from neurogrid.cluster import application as applications
from neurogrid.cluster.application import Submission
from neurogrid.cluster.release import Release
from neurogrid.errors import RunError

Object = dict[str, Any]

GONE_S = 120.0
_LOOK_S = 1.0


class Applications(Protocol):
    """The SparkApplications of a namespace; `api.Cluster` is one, and within pods `incluster.PodApi`."""

    def applications(self, selector: str) -> list[Object]:
        """Those with these labels."""
        ...

    def application(self, name: str) -> Object | None:
        """The one of this name, if there is one."""
        ...

    def patch_application(self, name: str, change: Object) -> None:
        """Changes one by a merge patch."""
        ...


class Launchpad(Applications, Protocol):
    """Where runs are made."""

    def create_application(self, application: Object) -> Object:
        """Makes a SparkApplication."""
        ...

    def delete_application(self, name: str) -> None:
        """Deletes one, and what it owns."""
        ...

    def pods(self, selector: str) -> list[Object]:
        """Pods with these labels."""
        ...

    def config_map(self, name: str) -> Object | None:
        """The ConfigMap of this name, if there is one."""
        ...


class ConfigMaps(Protocol):
    """What keeps the configs of runs that do not have the release's own; only `api.Cluster` does."""

    def config_map(self, name: str) -> Object | None:
        """The one of this name, if there is one."""
        ...

    def create_config_map(self, config_map: Object) -> None:
        """Makes one."""
        ...

    def patch_config_map(self, name: str, change: Object) -> None:
        """Changes one by a merge patch."""
        ...


class Cluster(Launchpad, ConfigMaps, Protocol):
    """All that a submission by hand needs."""

    @property
    def namespace(self) -> str:
        """Where everything is."""
        ...


@dataclass(frozen=True)
class Launched:
    """What came of a submission.

    Attributes:
        application: the run.
        made: whether it was made; otherwise it was there, and is on or has completed.
    """

    application: Object
    made: bool

    @property
    def name(self) -> str:
        """Of the run."""
        return applications.name_of(self.application)


def launch(api: Launchpad, run: Submission, configs: ConfigMaps | None = None) -> Launched:
    """Makes a run, unless it is on or has completed; one that failed or was stopped is made anew and goes on.

    Args:
        api: the cluster.
        run: what to make.
        configs: where its config goes, if it has one of its own.
    """
    there = api.application(run.name)
    if there is not None and (applications.on(there) or applications.completed(there)):
        return Launched(_in_turn(api, there), made=False)
    if there is not None:
        remove(api, run.name, configs)
    if run.config_map is not None and configs is not None:
        configs.create_config_map(run.config_map)
    made = api.create_application(run.application)
    if run.config_map is not None and configs is not None:
        configs.patch_config_map(run.name, applications.owned_by(made))
    return Launched(_in_turn(api, made), made=True)


def launch_release(api: Launchpad, release: Release) -> list[Launched]:
    """Makes a run of every job that the release runs by itself, each after the one that it comes after.

    Runs that the release had made from other values are removed first: what they wrote stays in the warehouse.
    """
    wanted = {
        applications.run_name(release, job, applications.generation(template)) for job, template in in_order(release)
    }
    for other in api.applications(release.selector):
        if applications.name_of(other) not in wanted and _of_release(other):
            remove(api, applications.name_of(other))
    launched: dict[str, Launched] = {}
    for job, template in in_order(release):
        before = launched.get(applications.value(template, applications.AFTER))
        run = applications.make_submission(
            release,
            job,
            template,
            None,
            release.scaled.get(job),
            before=before.application if before else None,
            by=applications.RELEASE,
        )
        launched[job] = launch(api, run)
    return list(launched.values())


def in_order(release: Release) -> Iterator[tuple[str, Object]]:
    """Jobs that the release runs by itself, with their templates, each behind the one that it comes after."""
    left = {job: own for job, own in release.templates.items() if applications.annotation(own, applications.ENABLED)}
    while left:
        # The chart refuses circles, so that there always is one that waits for none of those left.
        job = next((j for j, own in left.items() if applications.value(own, applications.AFTER) not in left), None)
        if job is None:
            raise RunError("jobs wait for each other in a circle", found=", ".join(left), fix="run helm upgrade again")
        yield job, left.pop(job)


def _of_release(application: Object) -> bool:
    """Whether the release itself made it: from earlier values, or as a chart did that installed jobs itself."""
    if application["metadata"].get("labels", {}).get(applications.MANAGER_LABEL) == "Helm":
        return True
    return applications.annotation(application, applications.SUBMITTED_BY) == applications.RELEASE


def _in_turn(api: Applications, run: Object) -> Object:
    """The run, resumed where what it waits for has completed in the meantime."""
    if not applications.waiting(run) or applications.queued(run):
        return run
    before = api.application(applications.annotation(run, applications.COMES_AFTER))
    if before is None or not applications.completed(before):
        return run
    api.patch_application(applications.name_of(run), applications.turn(run))
    return api.application(applications.name_of(run)) or run


def remove(api: Launchpad, name: str, configs: ConfigMaps | None = None) -> None:
    """Deletes a run and waits until none of its pods is left: only then may another one write to the same warehouse.

    Raises:
        RunError: they are not gone in time.
    """
    api.delete_application(name)
    deadline = time.monotonic() + GONE_S
    while True:
        left = [pod for pod in api.pods(applications.pods_selector(name)) if pod["status"].get("phase") == "Running"]
        own_config = configs.config_map(name) if configs is not None else None
        if not left and own_config is None and api.application(name) is None:
            return
        if time.monotonic() > deadline:
            raise RunError(
                f"{name} has not gone within {GONE_S:.0f} s",
                found=", ".join(pod["metadata"]["name"] for pod in left) or "no pods, but it is still there",
                fix="see `neurogrid k8s status`; a pod on a lost node stays until the node is back or gone for good",
            )
        time.sleep(_LOOK_S)


def hand_on(api: Applications, name: str, selector: str) -> list[str]:
    """Marks a run as completed and starts what comes after it; returns their names. Doing it twice does no harm."""
    api.patch_application(name, {"metadata": {"annotations": {applications.DONE: "true"}}})
    after = [
        run
        for run in api.applications(selector)
        if applications.annotation(run, applications.COMES_AFTER) == name
        and applications.waiting(run)
        and not applications.queued(run)
    ]
    for run in after:
        api.patch_application(applications.name_of(run), applications.turn(run))
    return [applications.name_of(run) for run in after]


def held_up_by(api: Applications, run: Object) -> Object | None:
    """The run that keeps a waiting one from ever starting, near or far before it: one that failed or was stopped."""
    while applications.waiting(run) and not applications.queued(run):
        before = api.application(applications.annotation(run, applications.COMES_AFTER))
        if before is None or applications.completed(before):
            return None
        run = before
    return run if applications.state(run) == "FAILED" or applications.stopped(run) else None
