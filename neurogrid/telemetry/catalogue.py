"""Every metric that the exporter has: name, type, labels, unit, meaning. docs/metrics.md says the same.

Units stand in names, as Prometheus wants them; ages are timestamps, so that an age is right whenever it is looked at.
"""

from dataclasses import dataclass
from typing import Literal

PHASES = ("send", "train", "collect", "aggregate", "evaluate", "persist")


@dataclass(frozen=True)
class Metric:
    """One metric; `meaning` is its HELP line, `unit` is for people."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    unit: str
    meaning: str


def _gauge(name: str, labels: str, unit: str, meaning: str) -> Metric:
    return Metric(f"neurogrid_{name}", "gauge", tuple(labels.split()), unit, meaning)


def _counter(name: str, labels: str, unit: str, meaning: str) -> Metric:
    return Metric(f"neurogrid_{name}_total", "counter", tuple(labels.split()), unit, meaning)


def _histogram(name: str, labels: str, unit: str, meaning: str) -> Metric:
    return Metric(f"neurogrid_{name}", "histogram", tuple(labels.split()), unit, meaning)


_RUN = (
    _gauge("run_info", "run manifest model rule attack seed version", "", "What a run is made from; always 1."),
    _gauge("run_state", "run state", "0 or 1", "1 for the state a run is in: begun, running or ended."),
    _gauge("run_end_info", "run reason", "", "Why a run ended; always 1."),
    _gauge("run_started_timestamp_seconds", "run", "s", "When a run began."),
    _gauge("run_last_round_timestamp_seconds", "run", "s", "When a run's newest round became durable."),
    _gauge("run_ended_timestamp_seconds", "run", "s", "When a run ended."),
    _gauge("run_planned_rounds", "run", "rounds", "Rounds that a run's config asks for."),
    _gauge("run_last_round", "run", "", "Number of a run's newest durable round."),
    _gauge("run_agents", "run", "agents", "Agents of a run's manifest."),
    _gauge("run_weights", "run", "weights", "Weights of a run's model."),
    _gauge("run_best_held_out_loss", "run", "loss", "Lowest held-out loss of any round of a run."),
)
_ROUND = (
    _counter("rounds", "run result", "rounds", "Durable rounds that changed the model (aggregated) or not (void)."),
    _histogram(
        "round_duration_seconds", "run", "s", "Wall time of rounds, without persist, which runs beside the next."
    ),
    _histogram("round_phase_duration_seconds", "run phase", "s", "Time that rounds spent in each phase."),
    _gauge("round_last_duration_seconds", "run", "s", "Wall time of the last round."),
    _counter("agents_asked", "run", "updates", "Updates that agents were asked for."),
    _counter("agents_answered", "run", "updates", "Updates that came."),
    _counter("agents_accepted", "run", "updates", "Updates that the rule accepted."),
    _counter("agents_late", "run", "updates", "Updates that came too late."),
    _counter("agents_lost", "run", "updates", "Updates that were lost with their tasks."),
    _counter("agents_suspected", "run", "updates", "Updates that the rule or a check judged bad."),
    _counter("agents_reassigned", "run", "updates", "Updates that another task made after the first was lost."),
    _counter(
        "agents_rejected", "run reason attack", "updates", "Updates asked for and not accepted, by reason and attack."
    ),
    _counter(
        "agents_malicious", "run attack", "updates", "Updates asked of attackers, where it is known who they are."
    ),
    _gauge("round_agents", "run outcome", "agents", "Agents of the last round by what became of their updates."),
    _gauge("round_assumed_byzantine_agents", "run", "agents", "How many attackers the last round's rule tolerates."),
    _gauge("round_suspected_agents", "run", "agents", "Updates of the last round that the rule or a check judged bad."),
    _gauge("round_malicious_agents", "run", "agents", "Attackers in the last round, where it is known who they are."),
    _gauge("round_acceptance_ratio", "run", "ratio", "Accepted over asked in the last round."),
    _gauge(
        "district_acceptance_ratio", "run district", "ratio", "Accepted over asked in a district in the last round."
    ),
    _counter("district_agents_asked", "run district", "updates", "Updates that a district's agents were asked for."),
    _counter("district_agents_accepted", "run district", "updates", "Updates of a district that the rule accepted."),
    _gauge(
        "round_rejection_precision_ratio",
        "run",
        "ratio",
        "Attackers' updates among those that came and were rejected in the last round.",
    ),
    _gauge("round_rejection_recall_ratio", "run", "ratio", "Rejected among the attackers in the last round."),
    _gauge("round_held_out_loss", "run", "loss", "Loss of the last round's model on the panel's validation windows."),
    _gauge("round_training_loss", "run", "loss", "Mean training loss of the last round's accepted agents."),
    _gauge("round_training_loss_stddev", "run", "loss", "Spread of the training loss over the last round's agents."),
    _gauge("round_update_norm", "run", "L2 norm", "Length of the last round's change of the model."),
    _gauge("round_update_relative_ratio", "run", "ratio", "Last change of the model over the length of its weights."),
    _gauge("round_weights_drift_norm", "run", "L2 norm", "Distance of the weights from those that the run began with."),
    _gauge("round_median_agent_norm", "run", "L2 norm", "Median length of the last round's updates before clipping."),
    _gauge("round_executors", "run", "tasks", "Resident tasks alive at the end of the last round."),
    _gauge("round_stage_figure", "run stage figure", "", "What a stage of the last round reports, by its own names."),
    _counter("exchange_bytes", "run direction", "bytes", "Payload sent down to agents and up from them."),
    _histogram("agent_training_duration_seconds", "run", "s", "Time that one agent trained in one round."),
)
_AGENT = (
    _counter("agent_training_seconds", "run agent", "s", "Time that an agent has trained; only with --per-agent."),
    _counter("agent_rounds_asked", "run agent", "rounds", "Rounds that an agent was asked in; only with --per-agent."),
    _counter("agent_rounds_accepted", "run agent", "rounds", "Rounds that let an agent in; only with --per-agent."),
    _gauge("agent_update_norm", "run agent", "L2 norm", "Length of an agent's last update; only with --per-agent."),
    _gauge("agent_training_loss", "run agent", "loss", "Loss of an agent's last training; only with --per-agent."),
)
_DATA = (
    _gauge("etl_files", "state", "files", "Household files of the newest ETL: used, unusable or excluded."),
    _gauge("etl_rows", "", "rows", "Rows of the files that the newest ETL used."),
    _gauge("etl_households", "", "households", "Households that the newest ETL wrote a table of."),
    _gauge("etl_slots", "series tier", "slots", "Slots of the tables by how their values came to be."),
    _gauge("etl_observed_ratio", "series", "ratio", "Share of the tables' slots that was measured."),
    _gauge("etl_faults", "source fault", "faults", "Faults that the newest ETL found, by kind."),
    _gauge("etl_energy_joules", "flow", "J", "Energy that the newest ETL read, dropped, imputed and wrote."),
    _gauge("etl_energy_balanced", "", "0 or 1", "Whether read less dropped plus imputed energy is what was written."),
    _gauge("etl_zero_readings", "", "readings", "Measured values that are exactly zero."),
    _gauge("etl_last_success_timestamp_seconds", "", "s", "When the newest ETL wrote its report."),
    _gauge("sampling_silhouette", "manifest", "-1 to 1", "Silhouette of the clusters that a manifest was drawn from."),
    _gauge("sampling_agents", "manifest", "agents", "Agents of a manifest."),
    _gauge("sampling_districts", "manifest", "districts", "Districts of a manifest."),
    _gauge("sampling_held_out_households", "manifest", "households", "Households that a manifest holds out."),
    _gauge("sampling_unused_households", "manifest", "households", "Households that a manifest does not use."),
    _gauge("sampling_cluster_households", "manifest cluster", "households", "Households of each cluster."),
    _gauge("sampling_last_success_timestamp_seconds", "manifest", "s", "When a manifest was written."),
    _counter("teacher_epochs", "teacher", "epochs", "Epochs that a teacher was trained for."),
    _gauge("teacher_training_loss", "teacher", "loss", "Training loss of a teacher's newest epoch."),
    _gauge("teacher_validation_loss", "teacher", "loss", "Validation loss of a teacher's newest epoch."),
    _gauge("teacher_last_epoch_timestamp_seconds", "teacher", "s", "When a teacher's newest epoch was recorded."),
)
_APPLICATION = "namespace application release neurogrid_job"
_JOB = (
    _gauge("job_state", "release neurogrid_job state", "0 or 1", "1 for a job's newest state."),
    _gauge("job_started_timestamp_seconds", "release neurogrid_job", "s", "When a job's newest run began."),
    _gauge("job_ended_timestamp_seconds", "release neurogrid_job", "s", "When a job's newest run ended."),
    _gauge("sparkapplication_state", f"{_APPLICATION} state", "0 or 1", "1 for the state the operator sees."),
    _gauge("sparkapplication_executors", f"{_APPLICATION} state", "pods", "Executor pods by state."),
    _gauge("sparkapplication_wanted_executors", _APPLICATION, "pods", "Executor pods that its spec asks for."),
    _gauge("sparkapplication_attempts", f"{_APPLICATION} kind", "attempts", "Submissions and executions."),
    _gauge("sparkapplication_created_timestamp_seconds", _APPLICATION, "s", "When it was created."),
    _gauge("sparkapplication_submitted_timestamp_seconds", _APPLICATION, "s", "When last submitted."),
    _gauge("sparkapplication_terminated_timestamp_seconds", _APPLICATION, "s", "When it ended."),
)
_EXPORTER = (
    _gauge("build_info", "version", "", "The exporter's version; always 1."),
    _gauge(
        "exporter_warehouse_up",
        "",
        "0 or 1",
        "Whether all of the warehouse could be listed at the last look; nothing before the first.",
    ),
    _gauge(
        "exporter_kubernetes_up", "", "0 or 1", "Whether SparkApplications could be listed; only with --kubernetes."
    ),
    _counter("exporter_read_errors", "kind", "errors", "Failed reads since the exporter started."),
    _gauge("exporter_unreadable_records", "kind", "records", "Records that are there and cannot be read now."),
    _counter("exporter_records_read", "kind", "records", "Records read since the exporter started."),
    _gauge("exporter_last_refresh_timestamp_seconds", "", "s", "When the last whole look at the warehouse ended."),
    _gauge("exporter_refresh_duration_seconds", "", "s", "How long the last whole look took."),
    _gauge("exporter_runs", "state", "runs", "Runs found in the warehouse, and shown here."),
)
CATALOGUE: tuple[Metric, ...] = (*_RUN, *_ROUND, *_AGENT, *_DATA, *_JOB, *_EXPORTER)
BY_NAME = {metric.name: metric for metric in CATALOGUE}
