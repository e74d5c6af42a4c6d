"""All runs beside each other."""

from boards import ALERTS, RUN_OF_A_LINE, RUN_OF_A_ROW, board, every, window
from colours import SEVERITIES, STATES
from grafana_foundation_sdk.builders import dashboard
from panels import AGE, BYTES_A_SECOND, LOSS, SECONDS, SHARE, YES_NO, Column, Query, Unit, count, figure, graph, rows
from queries import GOES_ON, HERE, RUN, of


def runs() -> dashboard.Dashboard:
    """All runs beside each other."""
    state = Column("", Unit("none", ""), f"{of('run_state', 'run, state')} == 1")
    share = f"{of('agents_accepted_total', 'run')} / {of('agents_asked_total', 'run')}"
    age = f"time() - {of('run_last_round_timestamp_seconds', 'run')}"
    info = "max by (namespace, run, model, rule, attack) (neurogrid_run_info{" + RUN + "})"
    built = board(
        "neurogrid-runs",
        "NeuroGrid / Runs",
        "All runs that the exporter shows, newest first, beside each other.",
        variables=[every("run", "run", f"label_values(neurogrid_run_info{{{HERE}}}, run)"), window()],
    )
    return (
        built.with_panel(
            figure(
                "Runs",
                count("runs"),
                "Runs in the warehouse.",
                f'max(neurogrid_exporter_runs{{{HERE}, state="found"}})',
            )
        )
        .with_panel(
            figure(
                "Going on",
                count("runs"),
                "Runs without an end record: at work, or their driver died (see the age of the last round).",
                f"sum({of('run_state', 'run', GOES_ON)})",
            )
        )
        .with_panel(
            figure(
                "Longest silence",
                AGE,
                "How long ago the last round of each run that has not ended became durable; the longest.",
                f"max(time() - ({of('run_last_round_timestamp_seconds', 'run')} and on (namespace, run) ({of('run_state', 'run', GOES_ON)} == 1))) or vector(0)",
                bad_above=600,
            )
        )
        .with_panel(
            figure(
                "Updates accepted",
                SHARE,
                "Of all updates asked for in all rounds of all runs.",
                f"sum({of('agents_accepted_total', 'run')}) / sum({of('agents_asked_total', 'run')})",
            )
        )
        .with_panel(
            figure(
                "Warehouse readable",
                Unit("none", ""),
                "Whether the exporter could list the warehouse at its last look.",
                f"min(neurogrid_exporter_warehouse_up{{{HERE}}})",
                bad_below=1,
                words=YES_NO,
            )
        )
        .with_panel(
            figure(
                "Alerts firing",
                count("alerts"),
                "Of NeuroGrid's own rules, in the namespace chosen above.",
                f"count({ALERTS}) or vector(0)",
                bad_above=1,
            )
        )
        .with_panel(
            rows(
                "Runs",
                "One row a run; the name leads to its own dashboard, as does a click on a line below.",
                Column("", Unit("none", ""), info),
                state,
                Column("rounds", count(""), of("run_last_round", "run")),
                Column("planned", count(""), of("run_planned_rounds", "run")),
                Column("held-out loss", LOSS, of("round_held_out_loss", "run")),
                Column("accepted", SHARE, share),
                Column("last round", AGE, age),
                labels={name: name for name in ("run", "namespace", "state", "model", "rule", "attack")},
                link=RUN_OF_A_ROW,
                colours={"state": STATES},
            )
        )
        .with_panel(
            graph(
                "Held-out loss",
                LOSS,
                "Of the new model on validation windows that no agent trains on, last round.",
                Query(of("round_held_out_loss", "run"), "{{run}} {{namespace}}"),
                link=RUN_OF_A_LINE,
            )
        )
        .with_panel(
            graph(
                "Round latency",
                SECONDS,
                "Wall time of the last round; making it durable runs beside the next.",
                Query(of("round_last_duration_seconds", "run"), "{{run}} {{namespace}}"),
                link=RUN_OF_A_LINE,
            )
        )
        .with_panel(
            graph(
                "Acceptance",
                SHARE,
                "Accepted over asked, last round.",
                Query(of("round_acceptance_ratio", "run"), "{{run}} {{namespace}}"),
                link=RUN_OF_A_LINE,
            )
        )
        .with_panel(
            graph(
                "Rounds done",
                count("rounds"),
                "Number of the newest durable round.",
                Query(of("run_last_round", "run"), "{{run}} {{namespace}}"),
                link=RUN_OF_A_LINE,
            )
        )
        .with_panel(
            graph(
                "Bytes exchanged",
                BYTES_A_SECOND,
                "Weights to the hosts of the agents and updates back.",
                Query(
                    f"sum by (namespace, run) (max by (namespace, run, direction) (rate(neurogrid_exchange_bytes_total{{{RUN}}}[$window])))",
                    "{{run}} {{namespace}}",
                ),
                link=RUN_OF_A_LINE,
            )
        )
        .with_panel(
            rows(
                "Alerts",
                "Of NeuroGrid's rules; what to do is in docs/monitoring.md.",
                Column(
                    "",
                    count(""),
                    f"count by (alertname, severity, namespace, run) ({ALERTS})",
                ),
                labels={"alertname": "alert", "severity": "severity", "namespace": "namespace", "run": "run"},
                colours={"severity": SEVERITIES},
                width=8,
                none="no alert fires",
            )
        )
    )
