"""What the commands of `neurogrid k8s` do, but for `status`. Each step returns a dictionary for `--json`."""

import time
from typing import Any

from neurogrid.cli import lines, remote, show
from neurogrid.cli.k8s_submit import config_for, config_text, refuse_too_few_slots, runs_on
from neurogrid.cluster import application as applications
from neurogrid.cluster.api import DRIVER_CONTAINER, Cluster
from neurogrid.cluster.follow import Follower, Said, driver_of
from neurogrid.cluster.launch import GONE_S, launch
from neurogrid.cluster.release import EXECUTORS, Release, find_release, job_of
from neurogrid.errors import RunError, UsageError
from neurogrid.plural import plural

Object = dict[str, Any]
Result = dict[str, Any]

SETTLED = frozenset({"", "SUSPENDED", "COMPLETED", "FAILED"})


def connect(context: str | None, namespace: str | None, release: str | None) -> tuple[Cluster, Release]:
    """The cluster, and the release that is meant."""
    cluster = Cluster.connect(context, namespace)
    return cluster, find_release(cluster, release)


def do_wait(cluster: Cluster, name: str, timeout_s: float, *, log: bool = False) -> Result:
    """Follows a run to its end and returns what it reported."""
    try:
        outcome = remote.follow(cluster, name, timeout_s or float("inf"), log=log)
    except KeyboardInterrupt:
        show.say(f"{name} continues in the cluster; stop it with: neurogrid k8s cancel {name}")
        raise
    result = remote.conclude(name, outcome)
    remote.show_result(result)
    return result


def do_logs(cluster: Cluster, release: Release, job: str, *, follow: bool, raw: bool, tail: int | None) -> None:
    """The driver's log on stdout; rounds as on the laptop unless `raw`."""
    name = applications.name_of(remote.newest(cluster, release, job))
    if follow and not raw:
        remote.conclude(name, remote.follow(cluster, name, float("inf"), log=True, tail=tail))
        return
    if follow:
        for happening in Follower(cluster, name, tail=tail):
            if isinstance(happening, Said):
                print(happening.text, flush=True)
        return
    driver = driver_of(cluster, name)
    if driver is None:
        raise RunError(f"{name} has no driver at the moment", fix="see why with: neurogrid k8s status")
    for line in cluster.log(driver, DRIVER_CONTAINER, tail=tail):
        parsed = None if raw else lines.parse(line.text)
        print(remote.words(*parsed) if parsed else line.text)


def do_cancel(cluster: Cluster, release: Release, job: str, *, delete: bool) -> Result:
    """Takes a run's pods away; with `delete` the run itself, too."""
    application = remote.newest(cluster, release, job)
    name, state = applications.name_of(application), applications.state(application)
    if delete:
        cluster.delete_application(name)
        show.say(f"{name} is deleted; what it wrote to the warehouse stays")
        return {"run": name, "state": "DELETED"}
    if not applications.on(application):
        raise UsageError(
            f"{name} is not running", found=remote.STATES.get(state, state), fix="nothing to stop; --delete removes it"
        )
    stop(cluster, name)
    show.say(f"{name} is stopped; `neurogrid k8s submit {job_of(application)}` continues after its last finished round")
    return {"run": name, "state": "SUSPENDED"}


def stop(cluster: Cluster, name: str) -> None:
    """Takes a run's pods away; it stays stopped until it is submitted again."""
    # Out of its queue, too: Kueue would resume it.
    mark = {"annotations": {applications.STOPPED_BY_HAND: "true"}, "labels": {applications.QUEUE_LABEL: None}}
    cluster.patch_application(name, {"metadata": mark, "spec": {"suspend": True}})
    _await_stopped(cluster, name)


def _await_stopped(cluster: Cluster, name: str) -> None:
    """Until no pod of the run is left: only then may another one write to the same warehouse."""
    deadline = time.monotonic() + GONE_S
    with show.console.status(f"  stopping {name}"):
        while time.monotonic() < deadline:
            application = cluster.application(name)
            pods = [p for p in cluster.pods(applications.pods_selector(name)) if p["status"].get("phase") == "Running"]
            if not pods and (application is None or applications.state(application) in SETTLED):
                return
            time.sleep(1)
    raise RunError(
        f"{name} has not stopped within {GONE_S:.0f} s",
        found=", ".join(pod["metadata"]["name"] for pod in pods) or "no pods, but the operator has not confirmed it",
        fix="see `neurogrid k8s status`; a pod on a lost node stays until the node is back or gone for good",
    )


def do_scale(cluster: Cluster, release: Release, job: str, executors: int, *, now: bool) -> Result:
    """Executors of the job's next run, and with `now` of the one that is on, by stopping it and going on."""
    template = release.template(job)
    own, _ = config_for(cluster.config_map, template, None, [])
    refuse_too_few_slots(job, template, own, executors)
    cluster.patch_config_map(release.config_map, {"metadata": {"annotations": {f"{EXECUTORS}{job}": str(executors)}}})
    show.say(f"new runs of {job} get {plural(executors, 'executor')} (before: {release.executors(job)})")
    on = runs_on(cluster, release, job)
    if not on:
        return {"job": job, "executors": executors, "run": None}
    running = on[-1]
    name, count = applications.name_of(running), running["spec"]["executor"]["instances"]
    if not now:
        show.say(f"{name} keeps its {plural(count, 'executor')}: Spark cannot change the number while it runs.")
        show.say("  --now stops it and continues it after its last finished round with the new number")
        return {"job": job, "executors": executors, "run": name}
    again = _with_executors(cluster, release, job, running, executors)
    stop(cluster, name)
    launch(cluster, again, cluster)
    show.say(f"{name} continues with {plural(executors, 'executor')}")
    return {"job": job, "executors": executors, "run": name}


def _with_executors(
    cluster: Cluster, release: Release, job: str, running: Object, executors: int
) -> applications.Submission:
    """The same run again with another number: the same name, the same config, the same rounds."""
    own = applications.config_map_name(running) == applications.name_of(running)
    text = config_text(cluster.config_map, running) if own else None
    by = applications.annotation(running, applications.SUBMITTED_BY)
    before = cluster.application(applications.annotation(running, applications.COMES_AFTER) or "none")
    return applications.make_submission(release, job, running, text, executors, before=before, by=by)
