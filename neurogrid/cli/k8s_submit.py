"""`neurogrid k8s submit`: which config a run gets, what cannot work, and how it is made.

In a release's submit job this runs in a pod, without the Kubernetes client: nothing here imports it.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from neurogrid import config as configs
from neurogrid.cli import show
from neurogrid.cluster import application as applications
from neurogrid.cluster.launch import Cluster, Launchpad, in_order, launch, launch_release
from neurogrid.cluster.release import Release, job_of
from neurogrid.config import Config
from neurogrid.errors import ConfigError, RunError, UsageError
from neurogrid.plural import plural

Object = dict[str, Any]
ConfigOf = Callable[[str], Object | None]

# Where a job runs changes no result, so a run that differs only there goes on with the same rounds.
NO_RESULT = ("backend", "spark")
RELEASES = (
    ("", "warehouse"),
    ("source", "path"),
    *(("backend", key) for key in ("port", "bind_address", "driver_host")),
    ("spark", "master"),
)


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
    """A run of the job; refuses what cannot work before anything is made. Returns its name."""
    template = release.template(job)
    asked = executors or release.scaled.get(job)
    count = asked or release.executors(job)
    own, text = config_for(cluster.config_map, template, file, sets)
    refuse_too_few_slots(job, template, own, count)
    changed = text is not None and _result_of(text) != _result_of(config_text(cluster.config_map, template))
    variant = f"{text if changed else ''}{datetime.now(UTC).isoformat() if again else ''}"
    before = _before(cluster, release, template)
    run = applications.make_submission(release, job, template, text, asked, before=before, variant=variant)
    _refuse_second(cluster, release, job)
    launched = launch(cluster, run, cluster)
    show.heading(f"{job}, run {run.name}")
    waits = applications.waits_for(launched.application)
    show.facts(
        [
            ("release", f"{release.name} in namespace {cluster.namespace}"),
            ("image", str(run.application["spec"].get("image", ""))),
            ("executors", f"{count}, each with {plural(applications.cores(template), 'task')}"),
            *([("set", ", ".join(sets))] if sets else []),
            *([("now", waits)] if waits else []),
        ]
    )
    if not launched.made:
        show.say("  it has already completed with this config: nothing to do (--again runs it again)")
    return run.name


def do_submit_all(api: Launchpad, release: Release) -> list[str]:
    """A run of every job that the release runs by itself, as the release's own submit job does. Returns their names."""
    for job, template in in_order(release):
        own, _ = config_for(api.config_map, template, None, [])
        refuse_too_few_slots(job, template, own, release.executors(job))
    launched = launch_release(api, release)
    show.heading(f"Jobs of release {release.name} in namespace {release.namespace}")
    for one in launched:
        what = applications.waits_for(one.application) or ("starts" if one.made else "is running, or has completed")
        show.say(f"  {one.name} {what}")
    return [one.name for one in launched]


def _before(cluster: Cluster, release: Release, template: Object) -> Object | None:
    """The run that a submission by hand comes after: of the job before it, the one that is on, else the last one.

    Raises:
        RunError: it failed or was stopped, so that this one would never start.
    """
    job = applications.value(template, applications.AFTER)
    found = sorted((a for a in cluster.applications(release.selector) if job_of(a) == job), key=applications.recency)
    if not job or not found:
        return None  # its record may be in the warehouse all the same: the driver looks
    before = found[-1]
    if applications.completed(before) or applications.on(before):
        return before
    raise RunError(
        f"{job_of(template)} comes after {job}, which {'failed' if applications.ended(before) else 'was stopped'}",
        found=applications.name_of(before),
        fix=f"submit {job} again: neurogrid k8s submit {job}",
    )


def config_text(config_of: ConfigOf, template: Object) -> str:
    """The config that the job's pods mount, as YAML."""
    name = applications.config_map_name(template)
    found = config_of(name) if name else None
    if found is None:
        raise UsageError(f"the release's ConfigMap {name} is missing", fix="install the chart again: helm upgrade")
    return str(found["data"][applications.CONFIG_KEY])


def config_for(config_of: ConfigOf, template: Object, file: Path | None, sets: list[str]) -> tuple[Config, str | None]:
    """The config that the run gets, and its text where it is not the release's own."""
    text = config_text(config_of, template)
    if file is None and not sets:
        return configs.load(text, where="the release's config", teacher_follows=True), None
    given = configs.given(text, where="the release's config")
    if file is not None:
        try:
            _merge(given, configs.given(file.read_text(), where=str(file)))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the config {file}", found=str(error)) from error
    under = yaml.safe_dump(given, sort_keys=False, allow_unicode=True)
    changed = configs.given(under, sets)
    _refuse_moved(configs.given(text), changed)
    where = str(file) if file else "the release's config"
    config = configs.load(under, sets, where=where, teacher_follows=True)
    return config, yaml.safe_dump(changed, sort_keys=False, allow_unicode=True)


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
                f"{name} belongs to the release: a single run cannot change it",
                found=f"{name}={new}, the release has {old or 'none'}",
                fix="change storage, data or network in the chart's values: helm upgrade",
            )


def _section(config: Object, name: str) -> Object:
    for part in filter(None, name.split(".")):
        config = config.get(part) or {}
    return config


def _result_of(text: str) -> Object:
    return {key: value for key, value in configs.given(text).items() if key not in NO_RESULT}


def refuse_too_few_slots(job: str, template: Object, config: Config, executors: int) -> None:
    """Raises UsageError where the job's tasks would wait for a slot that never comes."""
    slots = executors * applications.cores(template)
    tasks, ranks = ("backend.tasks", config.backend.tasks), ("teacher.ranks", config.teacher.ranks)
    wanted = {"train": tasks, "pipeline": tasks, "teacher": ranks}
    key, needed = wanted.get(applications.step(template), ("", 0))
    if needed > slots:
        raise UsageError(
            f"{job} would wait for ever: {key} is more than the slots of its executors",
            found=f"{key} {needed}, and {plural(slots, 'slot')} in {plural(executors, 'executor')} "
            f"of {plural(applications.cores(template), 'core')}",
            fix=f"set {key}={slots}, or give --executors {-(-needed // applications.cores(template))}",
        )


def runs_on(cluster: Cluster, release: Release, job: str) -> list[Object]:
    """Runs of the job that are on, or will be when their turn comes."""
    own = cluster.applications(release.selector)
    return sorted((a for a in own if job_of(a) == job and applications.on(a)), key=applications.recency)


def find_on(cluster: Cluster, release: Release, job: str) -> str | None:
    """Name of the job's run that is on, if one is."""
    release.template(job)
    found = runs_on(cluster, release, job)
    return applications.name_of(found[-1]) if found else None


def _refuse_second(cluster: Cluster, release: Release, job: str) -> None:
    for application in runs_on(cluster, release, job):
        name = applications.name_of(application)
        raise UsageError(
            f"{job} is already running",
            found=f"{name}, {applications.state(application) or 'new'}, {applications.age(application)} old",
            fix=f"follow it with `neurogrid k8s logs -f {name}`, or stop it with `neurogrid k8s cancel {name}`",
        )
