"""One run in full."""

from boards import board, one, window
from colours import AT_WORK, BAD, GOOD, OUTCOMES, PHASES, PLAIN, REJECTED, WAITS
from grafana_foundation_sdk.builders import dashboard
from panels import (
    AGE,
    BYTES,
    LOSS,
    NORM,
    RATIO,
    SECONDS,
    SHARE,
    Query,
    Unit,
    bars,
    count,
    figure,
    graph,
)
from queries import BEGUN, ENDED, HERE, RUNNING, a_round, mean, of, quantile

NEWEST = f"query_result(sort_desc(max by (run) (neurogrid_run_started_timestamp_seconds{{{HERE}}})))"


def run() -> dashboard.Dashboard:
    """One run in full."""
    built = board(
        "neurogrid-run",
        "NeuroGrid / Run",
        "One run: latency, who was let in and who was not and why, loss, bytes.",
        variables=[one("run", "run", NEWEST, '/run="([^"]+)"/'), window()],
    )
    last = "round_agents"
    return (
        built.with_panel(
            figure(
                "State",
                Unit("none", ""),
                "Begun: no round is durable yet. Running also when its driver died: look at the age.",
                f"{of('run_state', 'run', BEGUN)} + 2 * {of('run_state', 'run', RUNNING)} + 3 * {of('run_state', 'run', ENDED)}",
                words={"1": ("begun", WAITS), "2": ("running", AT_WORK), "3": ("ended", GOOD)},
            )
        )
        .with_panel(
            figure(
                "Rounds done",
                SHARE,
                "Of those planned; a run may end sooner when it stops improving.",
                f"{of('run_last_round', 'run')} / {of('run_planned_rounds', 'run')}",
            )
        )
        .with_panel(
            figure(
                "Age of the last round",
                AGE,
                "Since the newest round became durable.",
                f"time() - {of('run_last_round_timestamp_seconds', 'run')}",
            )
        )
        .with_panel(figure("Held-out loss", LOSS, "Last round.", of("round_held_out_loss", "run")))
        .with_panel(
            figure(
                "Updates accepted",
                SHARE,
                "Of all asked for so far.",
                f"{of('agents_accepted_total', 'run')} / {of('agents_asked_total', 'run')}",
            )
        )
        .with_panel(
            figure(
                "Median round",
                SECONDS,
                "Of all rounds so far, within the histogram's buckets.",
                f"histogram_quantile(0.5, {of('round_duration_seconds_bucket', 'run, le')})",
            )
        )
        .with_row(dashboard.Row("Latency"))
        .with_panel(
            graph(
                "Latency by phase",
                SECONDS,
                "Mean of each phase of a round; stacked, they are the round. Persist (dashed) runs beside the next round and is not in it.",
                Query(mean("round_phase_duration_seconds", "phase"), "{{phase}}"),
                stacked=True,
                colours=PHASES,
                dashed="^persist$",
            )
        )
        .with_panel(
            graph(
                "Round latency",
                SECONDS,
                "Last round, median and 95th percentile; where rounds are traced, each mark leads to a round's trace.",
                Query(of("round_last_duration_seconds", "run"), "last round"),
                Query(quantile(0.5, "round_duration_seconds"), "median"),
                Query(quantile(0.95, "round_duration_seconds"), "95th percentile", exemplars=True),
            )
        )
        .with_panel(
            graph(
                "An agent's training",
                SECONDS,
                "Seconds that one agent trained in one round.",
                Query(quantile(0.5, "agent_training_duration_seconds"), "median"),
                Query(quantile(0.95, "agent_training_duration_seconds"), "95th percentile"),
            )
        )
        .with_row(dashboard.Row("Acceptance"))
        .with_panel(
            graph(
                "Agents of the last round",
                count("agents"),
                "Asked, answered, accepted, late, lost with their task, refused. Suspected: judged and rejected; above f, attackers are probably in.",
                Query(of(last, "outcome"), "{{outcome}}"),
                Query(of("round_suspected_agents", "run"), "suspected"),
                Query(of("round_assumed_byzantine_agents", "run"), "f"),
                colours=OUTCOMES,
                dashed="^(asked|f)$",
            )
        )
        .with_panel(
            graph(
                "Acceptance by district",
                SHARE,
                "Accepted over asked, last round.",
                Query(of("district_acceptance_ratio", "district"), "district {{district}}"),
                Query(of("round_acceptance_ratio", "run"), "all"),
                colours={"^all$": PLAIN},
                dashed="^all$",
            )
        )
        .with_panel(
            graph(
                "Attackers found",
                SHARE,
                "In experiments, where attackers are known, last round. Recall: rejected among attackers. Precision: attackers among rejected.",
                Query(of("round_rejection_recall_ratio", "run"), "recall"),
                Query(of("round_rejection_precision_ratio", "run"), "precision"),
                colours={"^recall$": GOOD, "^precision$": AT_WORK},
                dashed="^precision$",
            )
        )
        .with_panel(
            bars(
                "Rejected by whom and why",
                count("updates"),
                "All rounds. `none` (orange) are agents that are not known to attack, red are known attackers.",
                Query(f"{of('agents_rejected_total', 'attack, reason')} > 0", "{{attack}}: {{reason}}"),
                none="none rejected",
                colours=REJECTED,
            )
        )
        .with_panel(
            graph(
                "Rejected a round, by whom and why",
                count("updates"),
                "Mean a round.",
                Query(a_round("agents_rejected_total", "run, attack, reason"), "{{attack}}: {{reason}}"),
                stacked=True,
                colours=REJECTED,
            )
        )
        .with_panel(
            bars(
                "Accepted by district",
                SHARE,
                "Of all asked for so far.",
                Query(
                    f"{of('district_agents_accepted_total', 'district')} / {of('district_agents_asked_total', 'district')}",
                    "district {{district}}",
                ),
            )
        )
        .with_row(dashboard.Row("Learning"))
        .with_panel(
            graph(
                "Loss",
                LOSS,
                "Held out: new model on validation windows that no agent trains on. Training: mean of accepted agents, who could report anything.",
                Query(of("round_held_out_loss", "run"), "held out"),
                Query(of("round_training_loss", "run"), "training"),
                Query(of("run_best_held_out_loss", "run"), "best held out"),
                colours={"^held out$": AT_WORK, "^training$": PLAIN, "^best held out$": GOOD},
                dashed="^best held out$",
                width=6,
            )
        )
        .with_panel(
            graph(
                "Spread of training losses",
                LOSS,
                "Standard deviation over accepted agents.",
                Query(of("round_training_loss_stddev", "run"), "standard deviation"),
                width=6,
            )
        )
        .with_panel(
            graph(
                "Lengths",
                NORM,
                "Change of the model in the last round, way from its start, median update of an agent before clipping.",
                Query(of("round_update_norm", "run"), "update"),
                Query(of("round_weights_drift_norm", "run"), "drift from the start"),
                Query(of("round_median_agent_norm", "run"), "median agent"),
                width=6,
            )
        )
        .with_panel(
            graph(
                "Relative update",
                RATIO,
                "Length of the last change over length of the weights before.",
                Query(of("round_update_relative_ratio", "run"), "change"),
                width=6,
            )
        )
        .with_row(dashboard.Row("Exchange"))
        .with_panel(
            graph(
                "Bytes a round",
                BYTES,
                "Mean a round: weights down to the hosts of the agents, updates up.",
                Query(a_round("exchange_bytes_total", "run, direction"), "{{direction}}"),
            )
        )
        .with_panel(
            bars(
                "Bytes in all",
                BYTES,
                "Since the run began.",
                Query(of("exchange_bytes_total", "direction"), "{{direction}}"),
            )
        )
        .with_panel(
            graph(
                "Tasks",
                count("tasks, updates"),
                "Resident tasks alive at the end of the last round, and trainings that another task took over (all rounds).",
                Query(of("round_executors", "run"), "alive"),
                Query(of("agents_reassigned_total", "run"), "taken over"),
                colours={"^alive$": GOOD, "^taken over$": BAD},
            )
        )
    )
