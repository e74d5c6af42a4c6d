"""What it runs on: SparkApplications, Spark, pods, the exporter."""

from boards import board, every
from colours import BAD, GOOD, STATES, WAITS, WORSE, whole
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from panels import (
    AGE,
    BYTES,
    BYTES_A_SECOND,
    CORES,
    SECONDS,
    SHARE,
    SINCE,
    Column,
    Query,
    Unit,
    bars,
    count,
    graph,
    rows,
)
from queries import APP, HERE, PODS, RUNNING, of

SPARK = "namespace, pod, neurogrid_io_job, application_name, executor_id"
"""Which driver said it, of which job where its pod's labels say so, and of which of its executors."""
WHO = "{{neurogrid_io_job}} {{application_name}} {{executor_id}}"
KUBELET_PODS = f'{PODS}, container!="", container!="POD"'
DRIVER_ONLY = "From the driver's second path, /metrics/prometheus (see docs/monitoring.md)."


def executor(metric: str, *, rate: bool = False) -> str:
    """What Spark's driver says of each executor and of itself."""
    series = f"metrics_executor_{metric}{{{HERE}}}"
    return f"max by ({SPARK}) ({f'rate({series}[5m])' if rate else series})"


def driver(metric: str, *, rate: bool = False) -> str:
    """What Spark's driver says of itself."""
    series = f"metrics_neurogrid_driver_{metric}_Value{{{HERE}}}"
    return f"max by (namespace, pod, instance) ({f'rate({series}[5m])' if rate else series})"


def application(metric: str, by: str = "", more: str = "") -> str:
    """What the operator says of a SparkApplication."""
    return of(f"sparkapplication_{metric}", f"application, {by}" if by else "application", more, where=APP)


CREATED, SUBMITTED, TERMINATED = (
    application(f"{moment}_timestamp_seconds") for moment in ("created", "submitted", "terminated")
)
ON = "on (namespace, application)"
EXECUTIONS = application("attempts", more='kind="execution"')
WAITED = f"({SUBMITTED} - {CREATED}) and {ON} ({EXECUTIONS} <= 1)"
"""Of those that ran once: for others, the last submission ended no waiting."""
WAITING = f"(time() - {CREATED}) unless {ON} {SUBMITTED}"


def _applications(built: Builder) -> Builder:
    running = f"{application('state', more=RUNNING)} == 1"
    return (
        built.with_row(dashboard.Row("Applications"))
        .with_panel(
            rows(
                "SparkApplications",
                "As the operator reports them. Queued: from creation to the first submission. Ran: since the last one.",
                Column("", Unit("none", ""), f"{application('state', 'neurogrid_job, state')} == 1"),
                Column("created", SINCE, f"1000 * {CREATED}"),
                Column("queued", SECONDS, f"{WAITED} or {WAITING}"),
                Column("ran", SECONDS, f"({TERMINATED} or time() + 0 * {SUBMITTED}) - {SUBMITTED}"),
                labels={
                    "application": "application",
                    "namespace": "namespace",
                    "neurogrid_job": "job",
                    "state": "state",
                },
                colours={"state": STATES},
                width=16,
            )
        )
        .with_panel(
            graph(
                "Executors, wanted and running",
                count("executors (pods)"),
                "Of applications that run. Wanted (dashed) is what the spec asks for, with dynamic allocation the most.",
                Query(f"{application('wanted_executors')} and {ON} ({running})", "{{application}} wanted"),
                Query(
                    f"{application('executors', more=RUNNING)} and {ON} ({running})",
                    "{{application}} running",
                ),
                dashed=" wanted$",
            )
        )
        .with_panel(
            graph(
                "Executors by state",
                count("executors (pods)"),
                "Of all applications chosen above. Completed and failed ones stay counted until their application runs anew.",
                Query(f"sum by (state) ({application('executors', 'state')})", "{{state}}"),
                stacked=True,
                colours=whole(STATES),
            )
        )
        .with_panel(
            graph(
                "Applications by state",
                count("applications"),
                "Suspended ones wait for the job before them or for their turn in a queue, and hold no memory.",
                Query(f"sum by (state) ({application('state', 'state')}) > 0", "{{state}}"),
                stacked=True,
                colours=whole(STATES),
            )
        )
        .with_panel(
            bars(
                "Queue time",
                SECONDS,
                "From an application's creation until it was submitted (waited), or until now (waits).",
                Query(WAITED, "{{application}} waited"),
                Query(WAITING, "{{application}} waits"),
                colours={" waited$": GOOD, " waits$": WAITS},
            )
        )
        .with_panel(
            bars(
                "Attempts",
                count("attempts"),
                "How often the operator submitted and ran each; more than one is a retry.",
                Query(application("attempts", "kind"), "{{application}} {{kind}}"),
            )
        )
        .with_panel(
            bars(
                "Time of a job",
                SECONDS,
                "From start to end of each job's newest completion record.",
                Query(
                    f"{of('job_ended_timestamp_seconds', 'release, neurogrid_job', where=HERE)} - {of('job_started_timestamp_seconds', 'release, neurogrid_job', where=HERE)}",
                    "{{release}} {{neurogrid_job}}",
                ),
            )
        )
        .with_panel(
            bars(
                "Jobs by outcome",
                count("jobs"),
                "Newest completion records.",
                Query(f"sum by (state) ({of('job_state', 'release, neurogrid_job, state', where=HERE)})", "{{state}}"),
                colours=whole(STATES),
            )
        )
    )


def _spark(built: Builder) -> Builder:
    return (
        built.with_row(dashboard.Row("Spark"))
        .with_panel(
            graph(
                "Active tasks",
                count("tasks"),
                "A resident task counts as active for the whole training.",
                Query(executor("activeTasks"), WHO),
            )
        )
        .with_panel(
            graph(
                "Failed tasks",
                count("tasks"),
                "Since the application began.",
                Query(executor("failedTasks_total"), WHO),
            )
        )
        .with_panel(
            graph(
                "JVM heap",
                BYTES,
                "Peak heap of each executor and the driver.",
                Query(executor("JVMHeapMemory_bytes"), WHO),
            )
        )
        .with_panel(
            graph(
                "Python memory",
                BYTES,
                "Resident memory of the Python workers, where training happens (from /proc; nothing without it).",
                Query(executor("ProcessTreePythonRSSMemory_bytes"), WHO),
            )
        )
        .with_panel(
            graph(
                "Garbage collection",
                SHARE,
                "Seconds of collection a second.",
                Query(executor("totalGCTime_seconds_total", rate=True), WHO),
            )
        )
        .with_panel(
            graph(
                "Shuffle",
                BYTES_A_SECOND,
                "Read and written by each executor: the ETL and sampling, not the rounds.",
                Query(executor("totalShuffleRead_bytes_total", rate=True), f"read {WHO}"),
                Query(executor("totalShuffleWrite_bytes_total", rate=True), f"written {WHO}"),
            )
        )
        .with_panel(
            graph(
                "Driver's CPU",
                CORES,
                f"Cores that the driver's JVM uses. {DRIVER_ONLY}",
                Query(f"{driver('JVMCPU_jvmCpuTime', rate=True)} / 1e9", "{{pod}} {{instance}}"),
                width=12,
            )
        )
        .with_panel(
            graph(
                "Driver's stages and jobs",
                count("stages, jobs"),
                f"Running stages, failed stages and active jobs. {DRIVER_ONLY}",
                Query(driver("DAGScheduler_stage_runningStages"), "running stages {{pod}}"),
                Query(driver("DAGScheduler_stage_failedStages"), "failed stages {{pod}}"),
                Query(driver("DAGScheduler_job_activeJobs"), "active jobs {{pod}}"),
                colours={"^failed ": BAD},
                width=12,
            )
        )
    )


def _pods(built: Builder) -> Builder:
    used = f"sum by (namespace, pod) (container_memory_working_set_bytes{{{KUBELET_PODS}}})"
    limit = f'sum by (namespace, pod) (kube_pod_container_resource_limits{{{PODS}, resource="memory"}})'
    restarts = f"sum by (namespace, pod) (kube_pod_container_status_restarts_total{{{PODS}}})"
    killed = " or ".join(
        f'kube_pod_container_status_{when}_reason{{{PODS}, reason="OOMKilled"}}'
        for when in ("terminated", "last_terminated")
    )
    return (
        built.with_row(dashboard.Row("Pods (kubelet, kube-state-metrics)"))
        .with_panel(
            graph(
                "CPU",
                CORES,
                "Cores that each pod uses.",
                Query(
                    f"sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{{{KUBELET_PODS}}}[5m]))",
                    "{{pod}}",
                ),
            )
        )
        .with_panel(
            graph("Memory", BYTES, "Working set of each pod: what counts against its limit.", Query(used, "{{pod}}"))
        )
        .with_panel(
            graph(
                "Memory of its limit",
                Unit("percentunit", "share of the limit", 0, calcs=("max", "lastNotNull")),
                "Working set over limit. At 100% the kernel kills a container of the pod. The line is at 90%.",
                Query(f"{used} / {limit}", "{{pod}}"),
                limit=0.9,
            )
        )
        .with_panel(
            bars(
                "Started again, out of memory",
                count("times"),
                "Restarts of a pod's containers, and containers that the kernel killed for memory.",
                Query(f"{restarts} > 0", "{{pod}} started again"),
                Query(f"count by (namespace, pod) (({killed}) == 1)", "{{pod}} out of memory"),
                width=12,
                none="no pod was started again or ran out of memory",
                colours={" started again$": WORSE, " out of memory$": BAD},
            )
        )
        .with_panel(
            graph(
                "Age of containers",
                AGE,
                "Since each container began: a young one in an old training was started again.",
                Query(
                    f"max by (namespace, pod, container) (time() - container_start_time_seconds{{{KUBELET_PODS}}})",
                    "{{pod}} {{container}}",
                ),
                width=12,
            )
        )
    )


def _exporter(built: Builder) -> Builder:
    def own(series: str) -> str:
        return f"max by (namespace, instance) ({series}{{{HERE}}} and on (instance, job) neurogrid_build_info)"

    return (
        built.with_row(dashboard.Row("Exporter"))
        .with_panel(
            graph(
                "Time of a look",
                SECONDS,
                "What reading the warehouse anew took, and what a scrape took.",
                Query(
                    f"max by (namespace, instance) (neurogrid_exporter_refresh_duration_seconds{{{HERE}}})",
                    "look {{instance}}",
                ),
                Query(own("scrape_duration_seconds"), "scrape {{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Unreadable",
                count("records"),
                "Records that are there and cannot be read now, by kind.",
                Query(f"max by (namespace, kind) (neurogrid_exporter_unreadable_records{{{HERE}}})", "{{kind}}"),
            )
        )
        .with_panel(
            graph("Exporter's memory", BYTES, "Resident.", Query(own("process_resident_memory_bytes"), "{{instance}}"))
        )
    )


def resources() -> dashboard.Dashboard:
    """What it runs on."""
    chosen = f"label_values(neurogrid_sparkapplication_state{{{HERE}}}, application)"
    built = board(
        "neurogrid-resources",
        "NeuroGrid / Spark and Kubernetes",
        "SparkApplications, Spark's driver and executors, pods, and the exporter itself.",
        variables=[every("application", "application", chosen)],
        since="now-1h",
    )
    return _exporter(_pods(_spark(_applications(built))))
