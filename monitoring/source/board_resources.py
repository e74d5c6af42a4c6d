"""What it runs on: SparkApplications, Spark, pods, the exporter."""

from grafana_foundation_sdk.builders import dashboard
from panels import (
    AGE,
    BYTES,
    BYTES_A_SECOND,
    CORES,
    NAMESPACE,
    SECONDS,
    SHARE,
    SINCE,
    Column,
    Query,
    Unit,
    bars,
    board,
    count,
    every,
    graph,
    rows,
)
from queries import APP, HERE, of


def resources() -> dashboard.Dashboard:
    """What it runs on."""
    built = board(
        "neurogrid-resources",
        "NeuroGrid / Spark and Kubernetes",
        "SparkApplications, Spark's driver and executors, pods, and the exporter itself.",
        variables=[
            NAMESPACE,
            every(
                "application", "application", f"label_values(neurogrid_sparkapplication_state{{{HERE}}}, application)"
            ),
        ],
        since="now-1h",
    )
    spark = "application_name, executor_id"
    pods = f'{HERE}, pod=~"$application.*", container!="", container!="POD"'

    def executor(metric: str, *, rate: bool = False) -> str:
        series = f"metrics_executor_{metric}{{{HERE}}}"
        return f"max by ({spark}) ({f'rate({series}[5m])' if rate else series})"

    who = "{{application_name}} {{executor_id}}"
    return (
        built.with_row(dashboard.Row("Applications"))
        .with_panel(
            rows(
                "SparkApplications",
                "As the operator reports them.",
                Column(
                    "",
                    Unit("none", ""),
                    f"{of('sparkapplication_state', 'application, job, state', where=APP)} == 1",
                ),
                Column(
                    "created",
                    SINCE,
                    f"1000 * {of('sparkapplication_created_timestamp_seconds', 'application, job', where=APP)}",
                ),
                labels={"application": "application", "job": "job", "state": "state"},
                width=12,
            )
        )
        .with_panel(
            graph(
                "Executors by state",
                count("executors (pods)"),
                "As the operator reports them.",
                Query(of("sparkapplication_executors", "application, state", where=APP), "{{application}} {{state}}"),
                width=12,
            )
        )
        .with_panel(
            bars(
                "Attempts",
                count("attempts"),
                "How often the operator submitted and ran each; more than one is a retry.",
                Query(of("sparkapplication_attempts", "application, kind", where=APP), "{{application}} {{kind}}"),
            )
        )
        .with_panel(
            bars(
                "Time of a job",
                SECONDS,
                "From start to end of each job's newest completion record.",
                Query(
                    f"{of('job_ended_timestamp_seconds', 'release, job', where=HERE)} - {of('job_started_timestamp_seconds', 'release, job', where=HERE)}",
                    "{{release}} {{job}}",
                ),
            )
        )
        .with_panel(
            bars(
                "Jobs by outcome",
                count("jobs"),
                "Newest completion records.",
                Query(f"sum by (state) ({of('job_state', 'release, job, state', where=HERE)})", "{{state}}"),
            )
        )
        .with_row(dashboard.Row("Spark"))
        .with_panel(
            graph(
                "Active tasks",
                count("tasks"),
                "A resident task counts as active for the whole training.",
                Query(executor("activeTasks"), who),
            )
        )
        .with_panel(
            graph(
                "Failed tasks",
                count("tasks"),
                "Since the application began.",
                Query(executor("failedTasks_total"), who),
            )
        )
        .with_panel(
            graph(
                "JVM heap",
                BYTES,
                "Peak heap of each executor and the driver.",
                Query(executor("JVMHeapMemory_bytes"), who),
            )
        )
        .with_panel(
            graph(
                "Python memory",
                BYTES,
                "Resident memory of the Python workers, where training happens (from /proc; nothing without it).",
                Query(executor("ProcessTreePythonRSSMemory_bytes"), who),
            )
        )
        .with_panel(
            graph(
                "Garbage collection",
                SHARE,
                "Seconds of collection a second.",
                Query(executor("totalGCTime_seconds_total", rate=True), who),
            )
        )
        .with_panel(
            graph(
                "Driver's CPU",
                CORES,
                "Cores that the driver's JVM uses.",
                Query(
                    f"max by (pod, instance) (rate(metrics_neurogrid_driver_JVMCPU_jvmCpuTime_Value{{{HERE}}}[5m])) / 1e9",
                    "{{pod}} {{instance}}",
                ),
            )
        )
        .with_panel(
            graph(
                "Driver's stages and jobs",
                count("stages, jobs"),
                "Running stages, failed stages and active jobs.",
                Query(
                    f"max by (pod, instance) (metrics_neurogrid_driver_DAGScheduler_stage_runningStages_Value{{{HERE}}})",
                    "running stages {{pod}}",
                ),
                Query(
                    f"max by (pod, instance) (metrics_neurogrid_driver_DAGScheduler_stage_failedStages_Value{{{HERE}}})",
                    "failed stages {{pod}}",
                ),
                Query(
                    f"max by (pod, instance) (metrics_neurogrid_driver_DAGScheduler_job_activeJobs_Value{{{HERE}}})",
                    "active jobs {{pod}}",
                ),
            )
        )
        .with_panel(
            graph(
                "Shuffle",
                BYTES_A_SECOND,
                "Read and written by each executor: the ETL and sampling, not the rounds.",
                Query(executor("totalShuffleRead_bytes_total", rate=True), f"read {who}"),
                Query(executor("totalShuffleWrite_bytes_total", rate=True), f"written {who}"),
            )
        )
        .with_row(dashboard.Row("Pods (kubelet)"))
        .with_panel(
            graph(
                "CPU",
                CORES,
                "Cores that each pod uses.",
                Query(f"sum by (pod) (rate(container_cpu_usage_seconds_total{{{pods}}}[5m]))", "{{pod}}"),
            )
        )
        .with_panel(
            graph(
                "Memory",
                BYTES,
                "Working set of each pod: what counts against its limit.",
                Query(f"sum by (pod) (container_memory_working_set_bytes{{{pods}}})", "{{pod}}"),
            )
        )
        .with_panel(
            graph(
                "Age of containers",
                AGE,
                "Since each container began: a young one in an old training was started again.",
                Query(
                    f"max by (pod, container) (time() - container_start_time_seconds{{{pods}}})",
                    "{{pod}} {{container}}",
                ),
            )
        )
        .with_row(dashboard.Row("Exporter"))
        .with_panel(
            graph(
                "Time of a look",
                SECONDS,
                "What reading the warehouse anew took, and what a scrape took.",
                Query(
                    f"max by (instance) (neurogrid_exporter_refresh_duration_seconds{{{HERE}}})", "look {{instance}}"
                ),
                Query(
                    f"max by (instance) (scrape_duration_seconds{{{HERE}}} and on (instance, job) neurogrid_build_info)",
                    "scrape {{instance}}",
                ),
            )
        )
        .with_panel(
            graph(
                "Unreadable",
                count("records"),
                "Records that are there and cannot be read now, by kind.",
                Query(f"max by (kind) (neurogrid_exporter_unreadable_records{{{HERE}}})", "{{kind}}"),
            )
        )
        .with_panel(
            graph(
                "Exporter's memory",
                BYTES,
                "Resident.",
                Query(
                    f"max by (instance) (process_resident_memory_bytes{{{HERE}}} and on (instance, job) neurogrid_build_info)",
                    "{{instance}}",
                ),
            )
        )
    )
