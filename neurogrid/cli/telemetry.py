"""`neurogrid exporter`, and the trace of a training where the environment asks for one."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

import neurogrid
from neurogrid.cli import show
from neurogrid.cli.options import Warehouse, load_config
from neurogrid.errors import UsageError
from neurogrid.incluster import in_cluster

if TYPE_CHECKING:
    from neurogrid.telemetry.tracing import RoundTraces

MOST_SPANS = 16_384
"""Spans that wait for a collector, unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise: an agent in a round is one."""


def exporter(
    warehouse: Warehouse = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 9108,
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104 - to be scraped
    runs: Annotated[int, typer.Option(min=1, max=1000, help="Number of runs to show, the newest ones.")] = 20,
    per_agent: Annotated[bool, typer.Option("--per-agent", help="Also show series for each agent.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between reads of the warehouse.")] = 5.0,
    kubernetes: Annotated[
        str | None, typer.Option(metavar="NAMESPACE", help="Also show the SparkApplications of this namespace.")
    ] = None,
    release: Annotated[str | None, typer.Option(help="With --kubernetes, show only those of this release.")] = None,
) -> None:
    """Serve Prometheus metrics of a warehouse at /metrics, until stopped."""
    from neurogrid.storage import place  # noqa: PLC0415 - Arrow is not installed everywhere
    from neurogrid.telemetry.exporter import Exporter, ExporterSettings  # noqa: PLC0415
    from neurogrid.telemetry.server import serving  # noqa: PLC0415

    if release is not None and kubernetes is None:
        raise UsageError("--release needs --kubernetes", fix="name the namespace: --kubernetes NAMESPACE")
    root = place(load_config(None, None, {"warehouse": warehouse}).warehouse)
    applications = None if kubernetes is None else _applications(kubernetes, release)
    settings = ExporterSettings(
        every_s=every, stuck_after_s=max(120.0, 10 * every), runs=runs, per_agent=per_agent, namespace=kubernetes or ""
    )
    work = Exporter(root, neurogrid.__version__, settings, applications)
    looking = threading.Thread(target=work.run, name="exporter-look", daemon=True)
    with serving(work, address, port) as found:
        show.say(f"metrics of {root} at http://{address}:{found}/metrics")
        if root.is_local and not root.exists():
            show.say("  no runs there yet: they are shown as soon as they start")
        looking.start()
        try:
            looking.join()
        except KeyboardInterrupt:
            # To be stopped is how it ends.
            work.stop()


def _applications(namespace: str, release: str | None) -> Callable[[], list[dict[str, Any]]]:
    """Who lists SparkApplications: in a pod its own account, elsewhere the kubeconfig's."""
    selector = f"app.kubernetes.io/instance={release}" if release else "app.kubernetes.io/name=neurogrid"
    pod = in_cluster(os.environ, namespace=namespace)
    if pod is not None:
        return partial(pod.applications, selector)
    from neurogrid.cluster.api import Cluster  # noqa: PLC0415 - not in the images

    return partial(Cluster.connect(None, namespace).applications, selector)


@contextmanager
def traced(run_id: str) -> "Iterator[RoundTraces | None]":
    """Traces of a run's rounds where the environment names a collector; None, and nothing loaded, where it does not."""
    environment = os.environ
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    off = off or environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp"
    if off or not any(environment.get(name) for name in endpoints):
        yield None
        return
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((environment[name] for name in names if environment.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        # Often set for a whole cluster: no reason not to train.
        show.say(f"  no traces: the protocol {protocol} is not supported, only http/protobuf (port 4318)")
        yield None
        return
    from neurogrid.telemetry.tracing import RoundTraces  # noqa: PLC0415 - costs what those who trace pay

    most = environment.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
    try:
        traces = RoundTraces(run_id, neurogrid.__version__, int(most) if most.isdigit() else MOST_SPANS, show.say)
    except (ValueError, OSError) as error:
        show.say(f"  no traces: the environment's OTEL_ variables cannot be used: {error}")
        yield None
        return
    with traces:
        yield traces
