"""`neurogrid k8s`: jobs of a release on Kubernetes, from where KUBECONFIG points.

Exit codes: those of every command, and 124 where `wait` or `submit --follow` ran into --timeout.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from neurogrid.cli import show
from neurogrid.cli.options import Json, Sets, print_result
from neurogrid.errors import UsageError

k8s_app = typer.Typer(
    help="Jobs on Kubernetes: submit, status, logs, wait, cancel, scale.", no_args_is_help=True, rich_markup_mode="rich"
)

Job = Annotated[str, typer.Argument(help="Job of the release: etl, sample, teacher, train, evaluate...")]
JobOrRun = Annotated[
    str, typer.Argument(help="Name of a job (its current run, or else its last one), or of a run in `status`.")
]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace. Default: that of the context.")]
ReleaseName = Annotated[str | None, typer.Option("--release", help="Release. Default: the only one in the namespace.")]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig. Default: the current one.")]
Timeout = Annotated[float, typer.Option(min=0, help="Stop waiting after this many seconds; 0 waits for ever.")]
ReleaseConfig = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML config file; what it leaves out is the release's.")
]
Executors = Annotated[int | None, typer.Option(min=1, help="Number of executors of this run.")]


@k8s_app.command()
def submit(
    job: Annotated[str | None, typer.Argument(help="Job of the release: etl, sample, teacher, train...")] = None,
    every: Annotated[bool, typer.Option("--all", help="Submit every enabled job of the release, in order.")] = False,
    config: ReleaseConfig = None,
    sets: Sets = None,
    executors: Executors = None,
    again: Annotated[bool, typer.Option("--again", help="Run even if it has completed with this config.")] = False,
    attach: Annotated[bool, typer.Option("--attach", help="If the job is running already, use that run.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show progress until the run ends.")] = False,
    log: Annotated[bool, typer.Option("--log", help="With --follow, also show the driver's log.")] = False,
    timeout: Timeout = 0,
    namespace: Namespace = None,
    release: ReleaseName = None,
    context: Context = None,
    as_json: Json = False,
) -> None:
    """Run a job of the release, with other settings if you like, or with --all every enabled job."""
    from neurogrid.cli import k8s_submit  # noqa: PLC0415 - the client loads in a second; --help must not wait

    if every:
        if job or config or sets or executors or again or attach:
            raise UsageError(
                "--all takes no other settings than the release's", fix="name one job to change its settings"
            )
        cluster, installed = _connect_anywhere(context, namespace, release)
        runs = k8s_submit.do_submit_all(cluster, installed)
        result: dict[str, Any] = {"runs": runs, "namespace": cluster.namespace}
    elif job is None:
        raise UsageError("no job is named", fix="name one: neurogrid k8s submit train; or submit all with --all")
    else:
        cluster, installed = _connect(context, namespace, release)
        found = k8s_submit.find_on(cluster, installed, job) if attach else None
        name = found or k8s_submit.do_submit(cluster, installed, job, config, sets or [], executors, again=again)
        runs = [name]
        result = {"run": name, "job": job, "namespace": cluster.namespace}
    if follow:
        result |= {"result": _follow_all(context, cluster.namespace, runs, timeout, log=log), "state": "COMPLETED"}
    elif runs:
        where = (f" -n {cluster.namespace}" if namespace else "") + (f" --release {release}" if release else "")
        show.say(f"  follow it with: neurogrid k8s logs -f {runs[-1]}{where}")
    print_result(result, as_json=as_json)


def _connect(context: str | None, namespace: str | None, release: str | None) -> Any:
    from neurogrid.cli import k8s_steps  # noqa: PLC0415

    return k8s_steps.connect(context, namespace, release)


def _connect_anywhere(context: str | None, namespace: str | None, release: str | None) -> Any:
    """The cluster and the release; in a pod through the pod's own account, without the Kubernetes client."""
    from neurogrid.cluster.release import find_release  # noqa: PLC0415
    from neurogrid.incluster import in_cluster  # noqa: PLC0415

    pod = in_cluster(os.environ, namespace=namespace) if context is None and "KUBECONFIG" not in os.environ else None
    return (pod, find_release(pod, release)) if pod else _connect(context, namespace, release)


def _follow_all(context: str | None, namespace: str, runs: list[str], timeout_s: float, *, log: bool) -> dict[str, Any]:
    """Follows runs one after another; returns what the last one reported."""
    from neurogrid.cli import k8s_steps  # noqa: PLC0415
    from neurogrid.cluster.api import Cluster  # noqa: PLC0415

    cluster = Cluster.connect(context, namespace)
    result: dict[str, Any] = {}
    for name in runs:
        if len(runs) > 1:
            show.heading(name)
        result = k8s_steps.do_wait(cluster, name, timeout_s, log=log)
    return result


@k8s_app.command()
def status(
    namespace: Namespace = None, release: ReleaseName = None, context: Context = None, as_json: Json = False
) -> None:
    """Show all runs of the release: state, age, executors, progress and problems."""
    from neurogrid.cli import k8s_status, k8s_steps  # noqa: PLC0415

    cluster, installed = k8s_steps.connect(context, namespace, release)
    print_result(k8s_status.do_status(cluster, installed), as_json=as_json)


@k8s_app.command()
def logs(
    job: JobOrRun,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the log until the run ends.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print the driver's lines unchanged.")] = False,
    tail: Annotated[int | None, typer.Option(min=1, help="Show only this many of the last lines.")] = None,
    namespace: Namespace = None,
    release: ReleaseName = None,
    context: Context = None,
) -> None:
    """Show the log of a job's driver; with --follow, the live table of rounds."""
    from neurogrid.cli import k8s_steps  # noqa: PLC0415

    cluster, installed = k8s_steps.connect(context, namespace, release)
    k8s_steps.do_logs(cluster, installed, job, follow=follow, raw=raw, tail=tail)


@k8s_app.command()
def wait(
    job: JobOrRun,
    timeout: Timeout = 3600,
    namespace: Namespace = None,
    release: ReleaseName = None,
    context: Context = None,
    as_json: Json = False,
) -> None:
    """Wait for a job. Exit code 0 if it completed, 1 if it failed, 124 if the time is over."""
    from neurogrid.cli import k8s_steps, remote  # noqa: PLC0415

    cluster, installed = k8s_steps.connect(context, namespace, release)
    name = remote.newest(cluster, installed, job)["metadata"]["name"]
    result = {"run": name, "state": "COMPLETED", "result": k8s_steps.do_wait(cluster, name, timeout)}
    print_result(result, as_json=as_json)


@k8s_app.command()
def cancel(
    job: JobOrRun,
    delete: Annotated[bool, typer.Option("--delete", help="Also remove the run and its log.")] = False,
    namespace: Namespace = None,
    release: ReleaseName = None,
    context: Context = None,
    as_json: Json = False,
) -> None:
    """Stop a run. Finished rounds are kept; submit the job again to continue from there."""
    from neurogrid.cli import k8s_steps  # noqa: PLC0415

    cluster, installed = k8s_steps.connect(context, namespace, release)
    print_result(k8s_steps.do_cancel(cluster, installed, job, delete=delete), as_json=as_json)


@k8s_app.command()
def scale(
    job: Job,
    executors: Annotated[int, typer.Argument(min=1, help="Number of executors.")],
    now: Annotated[bool, typer.Option("--now", help="Stop the current run and continue it with this number.")] = False,
    namespace: Namespace = None,
    release: ReleaseName = None,
    context: Context = None,
    as_json: Json = False,
) -> None:
    """Set the number of executors of the job's next run. This does not change results."""
    from neurogrid.cli import k8s_steps  # noqa: PLC0415

    cluster, installed = k8s_steps.connect(context, namespace, release)
    print_result(k8s_steps.do_scale(cluster, installed, job, executors, now=now), as_json=as_json)
