"""`neurogrid k8s status`: all runs of a release on one screen."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.markup import escape
from rich.table import Table

from neurogrid.cli import lines, remote, show
from neurogrid.cluster import application as applications
from neurogrid.cluster.api import Cluster
from neurogrid.cluster.diagnosis import Trouble, application_trouble, pod_trouble
from neurogrid.cluster.follow import WAITS, age_s, held_up, read_log
from neurogrid.cluster.launch import held_up_by
from neurogrid.cluster.release import Release, job_of

Object = dict[str, Any]

LINES_READ = 200
SUBMIT_POD = "neurogrid-submit"  # as the chart labels it
_COLUMNS = ("job", "run", "state", "age", "driver", "executors", "progress")


def do_status(cluster: Cluster, release: Release) -> dict[str, Any]:
    """Every run, newest last; below the table, what is wrong with the newest run of each job."""
    found = sorted(cluster.applications(release.selector), key=applications.recency)
    events = cluster.events()
    pods = cluster.pods(release.selector)
    rows: list[dict[str, Any]] = []
    troubles: list[tuple[str, Trouble]] = []
    for application in found:
        own = [p for p in pods if _application_of(p) == applications.name_of(application)]
        row = _row(cluster, application, own, _troubles(cluster, application, own, events))
        rows.append(row)
        superseded = [trouble for trouble in troubles if trouble[0] == row["job"]]
        troubles = [trouble for trouble in troubles if trouble not in superseded]
        troubles += [(row["job"], trouble) for trouble in row.pop("wrong")]
    show.heading(f"Release {release.name} in namespace {cluster.namespace}")
    _show(rows)
    for trouble in [*_submit_troubles(cluster, release, events), *(trouble for _, trouble in troubles)]:
        remote.tell(trouble)
    idle = [job for job in release.templates if job not in {row["job"] for row in rows}]
    if idle:
        show.say(f"  not run yet: {', '.join(idle)}")
    scaled = [f"{job} {count}" for job, count in release.scaled.items()]
    if scaled:
        show.say(f"  executors of the next run: {', '.join(scaled)}")
    return {"release": release.name, "namespace": cluster.namespace, "runs": rows, "jobs": list(release.templates)}


def _submit_troubles(cluster: Cluster, release: Release, events: list[Object]) -> list[Trouble]:
    """Why the release's own submit job has not made its runs: that of its newest pod, in its own words."""
    pods = cluster.pods(f"app.kubernetes.io/name={SUBMIT_POD},app.kubernetes.io/instance={release.name}")
    for pod in sorted(pods, key=lambda own: str(own["metadata"]["creationTimestamp"]))[-1:]:
        trouble = pod_trouble(pod, events)
        if trouble is None:
            return []
        said = [line.text for line in cluster.log(pod["metadata"]["name"], "submit")] if trouble.exited else []
        found = "; ".join(text.strip() for text in said[-6:] if text.strip()) or trouble.found
        return [replace(trouble, what=f"the release's jobs are not submitted: {trouble.what}", found=found)]
    return []


def _application_of(pod: Object) -> str:
    return str(pod["metadata"].get("labels", {}).get("sparkoperator.k8s.io/app-name", ""))


def _troubles(cluster: Cluster, application: Object, pods: list[Object], events: list[Object]) -> list[Trouble]:
    """What is wrong now; what went wrong on the way to a good end is of no interest any more."""
    if applications.state(application) == "COMPLETED":
        return []
    before = held_up_by(cluster, application) if applications.waiting(application) else None
    found = [application_trouble(application, age_s(application)), *(pod_trouble(pod, events) for pod in pods)]
    found += [held_up(application, before)] if before is not None else []
    return [trouble for trouble in found if trouble is not None]


def _row(cluster: Cluster, application: Object, pods: list[Object], wrong: list[Trouble]) -> dict[str, Any]:
    drivers = [p for p in pods if p["metadata"]["labels"].get("spark-role") == "driver"]
    executors = [p for p in pods if p["metadata"]["labels"].get("spark-role") == "executor"]
    running = sum(pod["status"].get("phase") == "Running" for pod in executors)
    state = WAITS if applications.waiting(application) else applications.state(application)
    on = applications.active(application)
    name = applications.name_of(application)
    last = _last_said(cluster, name) if drivers and state != "COMPLETED" else None
    how_far = applications.waits_for(application) or (_briefly(*last) if last else "")
    if last and last[0] == "failed":  # its own words are better than an exit code
        wrong = [*(trouble for trouble in wrong if not trouble.exited), remote.driver_failure(last[1])]
    return {
        "job": job_of(application),
        "run": name,
        "state": state or "NEW",
        "age": applications.age(application),
        "driver": str(drivers[-1]["status"].get("phase", "")) if drivers else "",
        "executors": int(application["spec"]["executor"].get("instances", 0)),
        "executors_running": running,
        "on": on,
        "how_far": how_far,
        "troubles": [trouble.what for trouble in wrong],
        "wrong": wrong,
    }


def _last_said(cluster: Cluster, name: str) -> tuple[str, Object] | None:
    """The newest thing that the driver said for machines; a round with how many there will be."""
    rounds, last = 0, None
    for line in read_log(cluster, name, LINES_READ):
        parsed = lines.parse(line.text)
        if parsed is None:
            continue
        kind, content = parsed
        rounds = int(content["rounds"]) if kind == "training" else rounds
        last = kind, content | {"of": rounds}
    return last


def _briefly(kind: str, content: Mapping[str, Any]) -> str:
    if kind == "round":
        of = f"/{content['of']}" if content["of"] else ""
        return f"round {content.get('round_id')}{of}, held-out loss {show.number(content.get('held_out_loss'))}"
    return kind


def _show(rows: list[dict[str, Any]]) -> None:
    if not rows:
        show.say("  no runs")
        return
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in _COLUMNS:
        table.add_column(name, overflow="fold")
    for row in rows:
        executors = f"{row['executors_running']}/{row['executors']}" if row["on"] else "-"
        cells = (row["job"], row["run"], row["state"], row["age"], row["driver"] or "-", executors, row["how_far"])
        style = {"FAILED": "red", "COMPLETED": "green"}.get(row["state"])
        table.add_row(*(escape(cell) for cell in cells), style=style)
    show.console.print(table)
