"""What the commands of `neurogrid k8s` do, but for `status`. Each step returns a dictionary for `--json`."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from neurogrid import config as configs
from neurogrid.cli import lines, remote, show
from neurogrid.cluster import application as applications
from neurogrid.cluster.api import DRIVER_CONTAINER, Cluster
from neurogrid.cluster.follow import Follower, Said, driver_of
from neurogrid.cluster.release import EXECUTORS, Release, find_release
from neurogrid.config import Config
from neurogrid.errors import ConfigError, RunError, UsageError

Object = dict[str, Any]
Result = dict[str, Any]

GONE_S = 120.0
# Where a job runs changes no result, so a run that differs only there goes on with the same rounds.
NO_RESULT = ("backend", "spark")
RELEASES = (
    ("", "warehouse"),
    ("source", "path"),
    *(("backend", key) for key in ("port", "bind_address", "driver_host")),
    ("spark", "master"),
)


def connect(context: str | None, namespace: str | None, release: str | None) -> tuple[Cluster, Release]:
    """The cluster, and the release that is meant."""
    cluster = Cluster.connect(context, namespace)
    return cluster, find_release(cluster, release)


def do_submit(
    cluster: Cluster,
    release: Release,
    job: str,
    file: Path | None,
    sets: list[str],
    executors: int | None,
    *,
    again: bool = False,
) -> str:
    """A run of its own from the job's template; refuses what cannot work before anything is made. Returns its name."""
    template = release.template(job)
    asked = executors or release.scaled.get(job)
    count = asked or release.executors(job)
    own, text = _config(cluster, template, file, sets)
    _refuse_too_few_slots(job, template, own, count)
    _refuse_second(cluster, release, job)
    changed = text is not None and _result_of(text) != _result_of(_config_text(cluster, template))
    stamp = _stamp()
    variant = f"{text if changed else ''}{stamp if again else ''}"
    run = applications.make_submission(release, job, template, stamp, text, asked, variant=variant)
    make(cluster, run)
    show.heading(f"{job}, run {run.name}")
    show.facts(
        [
            ("release", f"{release.name} in namespace {cluster.namespace}"),
            ("image", str(run.application["spec"].get("image", ""))),
            ("executors", f"{count}, each {applications.cores(template)} tasks"),
            *([("set", ", ".join(sets))] if sets else []),
        ]
    )
    return run.name


def make(cluster: Cluster, run: applications.Submission) -> None:
    """Makes a run's objects; its config goes when the run goes."""
    if run.config_map is not None:
        cluster.create_config_map(run.config_map)
    made = cluster.create_application(run.application)
    if run.config_map is not None:
        cluster.patch_config_map(run.name, applications.owned_by(made))


def _stamp() -> str:
    return datetime.now(UTC).strftime("%m%d-%H%M%S")


def _config_text(cluster: Cluster, template: Object) -> str:
    name = applications.config_map_name(template)
    found = cluster.config_map(name) if name else None
    if found is None:
        raise UsageError(f"the release's ConfigMap {name} is not there", fix="install the chart anew: helm upgrade")
    return str(found["data"][applications.CONFIG_KEY])


def _config(cluster: Cluster, template: Object, file: Path | None, sets: list[str]) -> tuple[Config, str | None]:
    """The config that the run gets, and its text where it is not the release's own."""
    text = _config_text(cluster, template)
    if file is None and not sets:
        return configs.load(text, where="the release's config", teacher_follows=True), None
    given = configs.given(text, where="the release's config")
    if file is not None:
        try:
            _merge(given, configs.given(file.read_text(), where=str(file)))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the config {file}", found=str(error)) from error
    changed = configs.given(yaml.safe_dump(given, sort_keys=False), sets)
    _refuse_moved(configs.given(text), changed)
    merged = yaml.safe_dump(changed, sort_keys=False, allow_unicode=True)
    return configs.load(merged, teacher_follows=True), merged


def _merge(below: Object, above: Object) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value


def _refuse_moved(before: Object, after: Object) -> None:
    """Volumes, ports, NetworkPolicies and the way to start Spark are the release's: a config cannot move them."""
    for section, key in (*RELEASES, *(("spark.options", name) for name in sorted(applications.LOCKED))):
        name = ".".join(part for part in (section, key) if part)
        old, new = (_section(config, section).get(key) for config in (before, after))
        if old != new:
            raise ConfigError(
                f"{name} is the release's, and no run can change it",
                found=f"{name}={new}, the release has {old or 'none'}",
                fix="change storage, data or network in the chart's values: helm upgrade",
            )


def _section(config: Object, name: str) -> Object:
    for part in filter(None, name.split(".")):
        config = config.get(part) or {}
    return config


def _result_of(text: str) -> Object:
    return {key: value for key, value in configs.given(text).items() if key not in NO_RESULT}


def _refuse_too_few_slots(job: str, template: Object, config: Config, executors: int) -> None:
    slots = executors * applications.cores(template)
    tasks, ranks = ("backend.tasks", config.backend.tasks), ("teacher.ranks", config.teacher.ranks)
    wanted = {"train": tasks, "pipeline": tasks, "teacher": ranks}
    key, needed = wanted.get(applications.step(template), ("", 0))
    if needed > slots:
        raise UsageError(
            f"{job} would wait for ever: {key} is more than its executors have slots",
            found=f"{key} {needed}; {executors} executors of {applications.cores(template)} cores are {slots} slots",
            fix=f"set {key}={slots}, or give --executors {-(-needed // applications.cores(template))}",
        )


def _on(cluster: Cluster, release: Release, job: str) -> list[Object]:
    """Runs of the job that have pods, or will have."""
    own = cluster.applications(release.selector)
    return [a for a in own if remote.job_of(a) == job and applications.active(a)]


def find_on(cluster: Cluster, release: Release, job: str) -> str | None:
    """Name of the job's run that is on, if one is."""
    release.template(job)
    found = _on(cluster, release, job)
    return remote.name_of(found[-1]) if found else None


def _refuse_second(cluster: Cluster, release: Release, job: str) -> None:
    for application in _on(cluster, release, job):
        name = remote.name_of(application)
        raise UsageError(
            f"{job} is on already",
            found=f"{name}, {applications.state(application) or 'new'}, {remote.age(application)} old",
            fix=f"follow it with `neurogrid k8s logs -f {name}`, or stop it with `neurogrid k8s cancel {name}`",
        )


def do_wait(cluster: Cluster, name: str, timeout_s: float, *, log: bool = False) -> Result:
    """Follows a run to its end and returns what it reported."""
    try:
        outcome = remote.follow(cluster, name, timeout_s or float("inf"), log=log)
    except KeyboardInterrupt:
        show.say(f"{name} goes on in the cluster; stop it with: neurogrid k8s cancel {name}")
        raise
    result = remote.conclude(name, outcome)
    remote.show_result(result)
    return result


def do_logs(cluster: Cluster, release: Release, job: str, *, follow: bool, raw: bool, tail: int | None) -> None:
    """The driver's log on stdout; rounds as on the laptop unless `raw`."""
    name = remote.name_of(remote.newest(cluster, release, job))
    if follow and not raw:
        remote.conclude(name, remote.follow(cluster, name, float("inf"), log=True))
        return
    if follow:
        for happening in Follower(cluster, name):
            if isinstance(happening, Said):
                print(happening.text, flush=True)
        return
    driver = driver_of(cluster, name)
    if driver is None:
        raise RunError(f"{name} has no driver now", fix="see why with: neurogrid k8s status")
    for line in cluster.log(driver, DRIVER_CONTAINER, tail=tail):
        parsed = None if raw else lines.parse(line.text)
        print(remote.words(*parsed) if parsed else line.text)


def do_cancel(cluster: Cluster, release: Release, job: str, *, delete: bool) -> Result:
    """Takes a run's pods away; with `delete` the run itself, too."""
    application = remote.newest(cluster, release, job)
    name, state = remote.name_of(application), applications.state(application)
    if delete:
        cluster.delete_application(name)
        show.say(f"{name} is deleted; what it wrote to the warehouse stays")
        return {"run": name, "state": "DELETED"}
    if not applications.active(application):
        raise UsageError(
            f"{name} is not on", found=remote.STATES.get(state, state), fix="nothing to stop; --delete removes it"
        )
    cluster.patch_application(name, {"spec": {"suspend": True}})
    _await_stopped(cluster, name)
    show.say(
        f"{name} is stopped; `neurogrid k8s submit {remote.job_of(application)}` goes on after the last durable round"
    )
    return {"run": name, "state": "SUSPENDED"}


def _await_stopped(cluster: Cluster, name: str) -> None:
    """Until no pod of the run is left: only then may another one write to the same warehouse."""
    deadline = time.monotonic() + GONE_S
    with show.console.status(f"  stopping {name}"):
        while time.monotonic() < deadline:
            application = cluster.application(name)
            pods = [p for p in cluster.pods(applications.pods_selector(name)) if p["status"].get("phase") == "Running"]
            if not pods and (application is None or not applications.active(application)):
                return
            time.sleep(1)
    raise RunError(
        f"{name} has not stopped within {GONE_S:.0f} s",
        found=", ".join(pod["metadata"]["name"] for pod in pods) or "no pods, but the operator has not said so",
        fix="see `neurogrid k8s status`; a pod on a lost node stays until the node is back or gone for good",
    )


def do_scale(cluster: Cluster, release: Release, job: str, executors: int, *, now: bool) -> Result:
    """Executors of the job's next run, and with `now` of the one that is on, by stopping it and going on."""
    template = release.template(job)
    own, _ = _config(cluster, template, None, [])
    _refuse_too_few_slots(job, template, own, executors)
    on = _on(cluster, release, job)
    if on and now and not applications.submitted(on[-1]):
        raise UsageError(
            f"--now is for submitted runs: {remote.name_of(on[-1])} is Helm's, and would stay stopped for ever",
            found=f"{on[-1]['spec']['executor']['instances']} executors, asked for {executors}",
            fix=f"helm upgrade with jobs.{job}.executor.instances={executors}; it goes on after its last durable round",
        )
    cluster.patch_config_map(release.config_map, {"metadata": {"annotations": {f"{EXECUTORS}{job}": str(executors)}}})
    was = release.executors(job)
    show.say(f"runs of {job} that are submitted from now on get {executors} executors (so far {was})")
    if not on:
        return {"job": job, "executors": executors, "run": None}
    running = on[-1]
    name, count = remote.name_of(running), running["spec"]["executor"]["instances"]
    if not now:
        show.say(f"{name} keeps its {count}: Spark takes no other number for an application that runs.")
        if applications.submitted(running):
            show.say("  --now stops it and goes on after its last durable round with the new number")
        return {"job": job, "executors": executors, "run": name}
    cluster.patch_application(name, {"spec": {"suspend": True}})
    _await_stopped(cluster, name)
    # The config's ConfigMap goes with the run that is stopped: the new one gets its own.
    text = _config_text(cluster, running)
    again = applications.make_submission(release, job, running, _stamp(), text, executors)
    make(cluster, again)
    show.say(f"{name} is stopped; {again.name} goes on with {executors} executors")
    return {"job": job, "executors": executors, "run": again.name}
