"""What went in: the newest ETL, samples, pretraining."""

from boards import board
from colours import BAD, FILES, GOOD, PLAIN, TIERS, WORSE
from grafana_foundation_sdk.builders import dashboard
from panels import AGE, ENERGY, LOSS, SHARE, YES_NO, Query, Unit, bars, count, figure, graph
from queries import HERE, of


def data() -> dashboard.Dashboard:
    """What went in."""
    built = board(
        "neurogrid-data",
        "NeuroGrid / Data quality",
        "The newest ETL, the samples drawn from it, and pretrained start weights.",
        variables=[],
        since="now-7d",
    )

    def etl(metric: str, by: str = "", more: str = "") -> str:
        return of(f"etl_{metric}", by, more, where=HERE)

    return (
        built.with_panel(
            figure("Household files", count("files"), "Used by the newest ETL.", etl("files", "state", 'state="used"'))
        )
        .with_panel(
            figure(
                "Unusable files",
                count("files"),
                "Could not be read at all; quality/report.md names them.",
                etl("files", "state", 'state="unusable"'),
                bad_above=1,
            )
        )
        .with_panel(figure("Rows", count("rows"), "Of the used files.", etl("rows")))
        .with_panel(
            figure(
                "Measured load",
                SHARE,
                "Share of slots with a measured value; the rest is imputed.",
                etl("observed_ratio", "series", 'series="load"'),
                bad_below=0.9,
            )
        )
        .with_panel(
            figure(
                "Energy balanced",
                Unit("none", ""),
                "Whether read - dropped + imputed = written.",
                etl("energy_balanced"),
                bad_below=1,
                words=YES_NO,
            )
        )
        .with_panel(
            figure(
                "Age of the data",
                AGE,
                "Since the newest ETL ended.",
                f"time() - {etl('last_success_timestamp_seconds')}",
            )
        )
        .with_panel(
            bars(
                "Slots by how their value came to be",
                count("slots"),
                "observed, then what stood in for a gap.",
                Query(etl("slots", "series, tier"), "{{series}}: {{tier}}"),
                colours=TIERS,
            )
        )
        .with_panel(
            bars(
                "Faults",
                count("faults"),
                "Found in the raw files and dealt with, by kind.",
                Query(f"{etl('faults', 'source, fault')} > 0", "{{source}}: {{fault}}"),
                none="no faults",
                colours={".*": WORSE},
            )
        )
        .with_panel(
            bars(
                "Energy",
                ENERGY,
                "Read, dropped, imputed, written.",
                Query(etl("energy_joules", "flow"), "{{flow}}"),
                colours={"^(read|written)$": GOOD, "^dropped$": BAD, "^imputed$": WORSE},
            )
        )
        .with_panel(
            graph(
                "Measured share",
                SHARE,
                "Of load and weather slots, ETL by ETL.",
                Query(etl("observed_ratio", "series"), "{{series}}"),
            )
        )
        .with_panel(
            graph(
                "Households, files",
                count("households, files"),
                "Tables written, and files by what became of them.",
                Query(etl("households"), "households"),
                Query(etl("files", "state"), "{{state}} files"),
                colours={name.replace("$", " files$"): colour for name, colour in FILES.items()},
            )
        )
        .with_panel(
            graph(
                "Readings of zero",
                count("readings"),
                "Measured values that are exactly zero: a stuck meter, or an empty flat.",
                Query(etl("zero_readings"), "zero"),
            )
        )
        .with_row(dashboard.Row("Samples"))
        .with_panel(
            bars(
                "Silhouette",
                Unit("none", "silhouette", -1, 1, 2),
                "Of the clusters of households: 1 is clear cut, 0 is overlapping.",
                Query(of("sampling_silhouette", "manifest", where=HERE), "{{manifest}}"),
            )
        )
        .with_panel(
            bars(
                "Households of a sample",
                count("households"),
                "Agents, held out, not used.",
                Query(of("sampling_agents", "manifest", where=HERE), "{{manifest}} agents"),
                Query(of("sampling_held_out_households", "manifest", where=HERE), "{{manifest}} held out"),
                Query(of("sampling_unused_households", "manifest", where=HERE), "{{manifest}} not used"),
                colours={" agents$": GOOD, " held out$": "blue", " not used$": PLAIN},
            )
        )
        .with_panel(
            bars(
                "Households by cluster",
                count("households"),
                "Of each sample.",
                Query(
                    of("sampling_cluster_households", "manifest, cluster", where=HERE),
                    "{{manifest}} cluster {{cluster}}",
                ),
            )
        )
        .with_row(dashboard.Row("Pretraining"))
        .with_panel(
            graph(
                "Teacher's loss",
                LOSS,
                "Newest epoch, in training and on validation windows. Nothing where no teacher was trained.",
                Query(of("teacher_training_loss", "teacher", where=HERE), "{{teacher}} training"),
                Query(of("teacher_validation_loss", "teacher", where=HERE), "{{teacher}} validation"),
                width=12,
            )
        )
        .with_panel(
            graph(
                "Teacher's epochs",
                count("epochs"),
                "Done so far.",
                Query(of("teacher_epochs_total", "teacher", where=HERE), "{{teacher}}"),
                width=12,
            )
        )
    )
