"""`neurogrid k8s`: jobs of a release on Kubernetes, from where KUBECONFIG points.

Exit codes: those of every command, and 124 where `wait` or `submit --follow` ran into --timeout.
"""

from typing import Annotated, Any

import typer

from neurogrid.cli import show
from neurogrid.cli.options import ConfigFile, Json, Sets, print_result

k8s_app = typer.Typer(
    help="Jobs on Kubernetes: submit, status, logs, wait, cancel, scale.", no_args_is_help=True, rich_markup_mode="rich"
)

Job = Annotated[str, typer.Argument(help="Job of the release: etl, sample, teacher, train, evaluate...")]
JobOrRun = Annotated[str, typer.Argument(help="A job (its newest run is meant), or a run as `status` names it.")]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace; the context's without it.")]
ReleaseName = Annotated[
    str | None, typer.Option("--release", help="Release; the only one of the namespace without it.")
]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig; the current one without it.")]
Timeout = Annotated[float, typer.Option(min=0, help="Stop looking after so many seconds; 0 is never.")]
Executors = Annotated[int | None, typer.Option(min=1, help="Executors of this run.")]


@k8s_app.command()
def submit(
    job: Job,
    config: ConfigFile = None,
    sets: Sets = None,
    executors: Executors = None,
    again: Annotated[bool, typer.Option("--again", help="Run anew what has completed with this very config.")] = False,
    attach: Annotated[bool, typer.Option("--attach", help="Where the job is on already, take that run.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show what happens until it has ended.")] = False,
    log: Annotated[bool, typer.Option("--log", help="With --follow: the driver's log, too.")] = False,
    timeout: Timeout = 0,
    namespace: Namespace = None,
    release: ReleaseName = None,
    context: Context = None,
    as_json: Json = False,
) -> None:
    """Run a job of the release once more, with other settings if you like."""
    from neurogrid.cli import k8s_steps, remote  # noqa: PLC0415 - the client loads in a second; --help must not wait

    cluster, installed = k8s_steps.connect(context, namespace, release)
    name = k8s_steps.find_on(cluster, installed, job) if attach else None
    if name is None:
        name = k8s_steps.do_submit(cluster, installed, job, config, sets or [], executors, again=again)
    result: dict[str, Any] = {"run": name, "job": job, "namespace": cluster.namespace}
    if follow:
        result |= {"result": k8s_steps.do_wait(cluster, name, timeout, log=log), "state": "COMPLETED"}
    else:
        show.say(f"  follow it with: neurogrid k8s logs -f {job}{remote.where(cluster, namespace, release)}")
    print_result(result, as_json=as_json)


@k8s_app.command()
def status(
    namespace: Namespace = None, release: ReleaseName = None, context: Context = None, as_json: Json = False
) -> None:
    """All runs of the release: state, age, executors, how far they are, and what is wrong."""
    from neurogrid.cli import k8s_status, k8s_steps  # noqa: PLC0415

    cluster, installed = k8s_steps.connect(context, namespace, release)
    print_result(k8s_status.do_status(cluster, installed), as_json=as_json)


@k8s_app.command()
def logs(
    job: JobOrRun,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it has ended.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The driver's lines as they are.")] = False,
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last lines.")] = None,
    namespace: Namespace = None,
    release: ReleaseName = None,
    context: Context = None,
) -> None:
    """What a job's driver said; with --follow the live table of rounds."""
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
    """Wait for a job: exit code 0 when it completed, 1 when it failed, 124 when the time was over."""
    from neurogrid.cli import k8s_steps, remote  # noqa: PLC0415

    cluster, installed = k8s_steps.connect(context, namespace, release)
    name = remote.name_of(remote.newest(cluster, installed, job))
    result = {"run": name, "state": "COMPLETED", "result": k8s_steps.do_wait(cluster, name, timeout)}
    print_result(result, as_json=as_json)


@k8s_app.command()
def cancel(
    job: JobOrRun,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the run and its log, too.")] = False,
    namespace: Namespace = None,
    release: ReleaseName = None,
    context: Context = None,
    as_json: Json = False,
) -> None:
    """Stop a run. What was durable stays; submitting the job again goes on from there."""
    from neurogrid.cli import k8s_steps  # noqa: PLC0415

    cluster, installed = k8s_steps.connect(context, namespace, release)
    print_result(k8s_steps.do_cancel(cluster, installed, job, delete=delete), as_json=as_json)


@k8s_app.command()
def scale(
    job: Job,
    executors: Annotated[int, typer.Argument(min=1, help="Number of executors.")],
    now: Annotated[bool, typer.Option("--now", help="Stop the submitted run that is on; go on with so many.")] = False,
    namespace: Namespace = None,
    release: ReleaseName = None,
    context: Context = None,
    as_json: Json = False,
) -> None:
    """Set how many executors the job's next run gets. It changes no result."""
    from neurogrid.cli import k8s_steps  # noqa: PLC0415

    cluster, installed = k8s_steps.connect(context, namespace, release)
    print_result(k8s_steps.do_scale(cluster, installed, job, executors, now=now), as_json=as_json)
