"""What a person sees of the steps as they go on: the pipeline's events, said in words."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from neurogrid.cli import plan_words, show
from neurogrid.cli.epochs import EpochTable
from neurogrid.cli.telemetry import traced
from neurogrid.pipeline import events
from neurogrid.plural import plural

if TYPE_CHECKING:  # an ETL that finds nothing to do loads neither torch nor Spark
    from neurogrid.data.manifest import Manifest
    from neurogrid.data.quality import QualityReport
    from neurogrid.fl.record import Round
    from neurogrid.pipeline.etl_plan import EtlPlan
    from neurogrid.telemetry.tracing import RoundTraces


class Rounds(Protocol):
    """Shows rounds, while it is entered."""

    def show(self, record: "Round") -> None:
        """Shows one."""
        ...


class Terminal(events.Observer):
    """Observer of the pipeline that says on stderr what goes on.

    Args:
        rounds: what shows rounds, of the number of rounds in all and of those that are done.
    """

    def __init__(self, rounds: Callable[[int, int], AbstractContextManager[Rounds]] = show.RoundTable) -> None:
        self._new_rounds = rounds
        self._rounds: Rounds | None = None
        self._epochs: EpochTable | None = None

    def tell(self, event: events.Event) -> None:  # noqa: PLR0912 - one line a kind
        """Says what has happened."""
        match event:
            case events.Noted(text):
                show.say(text)
            case events.RunBegins(plan):
                show.heading("What this run will do")
                show.facts(plan_words.run(plan))
            case events.Cleaned(plan, report):
                show.facts(_etl(plan, report))
            case events.Sampled(manifest):
                show.facts(_manifest(manifest))
            case events.TrainingBegins(plan, master):
                show.heading(f"Training, run {plan.run.name}")
                show.facts(plan_words.training(plan, f"Spark, {master}" if master else plan.backend.name))
            case events.TrainingResumed(number, differences):
                if differences:
                    show.say(f"  a break, which the records say: {'; '.join(differences)}")
                show.say(f"  resuming after round {number}")
            case events.RoundEnded(record) if self._rounds:
                self._rounds.show(record)
            case events.TrainingEnded():
                show.facts(_trained(event))
            case events.AlreadyTrained(run_id, rounds, "evaluate"):
                done = f"the training of run {run_id} has ended after {plural(rounds, 'round')}"
                show.say(f"{done}; continuing with the evaluation and the report")
            case events.AlreadyTrained(run_id):
                show.say(f"run {run_id} has ended already: nothing to do")
            case events.Evaluated(run, record):
                show.scores(record["parts"]["test"])
                show.facts([("in full", f"{run}/evaluation.md")])
            case events.Reported(file):
                show.facts([("report", str(file))])
            case events.EpochEnded(record, best) if self._epochs:
                self._epochs.show(record, best)
            case events.Taught(folder, metrics):
                show.facts(_taught(str(folder), metrics))

    @contextmanager
    def during(self, work: events.Work) -> Iterator[events.Progress]:
        """Says what begins, and shows a table, a bar or a spinner meanwhile."""
        with ExitStack() as stack:
            progress: events.Progress = events.Unseen()
            match work:
                case events.Starting(master):
                    stack.enter_context(show.waiting(f"starting Spark on {master}"))
                case events.Cleaning(plan):
                    show.heading("ETL")
                    show.facts([("from", f"{plan.path} ({plan.source.kind})"), ("to", f"{plan.warehouse}/meters")])
                    progress = stack.enter_context(show.bar("household files"))
                case "sampling":
                    show.heading("Sampling")
                    progress = stack.enter_context(show.bar("profiles of households"))
                case events.Rounds(total, done):
                    self._rounds = stack.enter_context(self._new_rounds(total, done))
                case events.Adapting():
                    progress = stack.enter_context(show.bar("personal models"))
                case events.Scoring(run_id):
                    show.heading(f"Evaluation of run {run_id}")
                    progress = stack.enter_context(show.bar("evaluation"))
                case events.Personalising(run_id):
                    show.heading(f"Personal models of run {run_id}")
                    progress = stack.enter_context(show.bar("households"))
                case events.Forecasting(run_id):
                    show.heading(f"Forecasts by run {run_id}")
                    progress = stack.enter_context(show.bar("households"))
                case events.Teaching(plan, device, master):
                    show.heading(f"Teaching, teacher {plan.folder.name}")
                    show.facts(plan_words.teaching(plan, device, master))
                    self._epochs = stack.enter_context(EpochTable(plan.settings[device].epochs))
                case _:
                    stack.enter_context(show.console.status(f"  {work}"))
            yield progress

    def traces(self, run_id: str) -> "AbstractContextManager[RoundTraces | None]":
        """Traces where the environment names a collector."""
        return traced(run_id)


def _etl(plan: "EtlPlan", report: "QualityReport") -> list[tuple[str, str]]:
    faults = {
        **report.faults,
        **{f"weather {kind}": n for own in report.weather_faults.values() for kind, n in own.items()},
    }
    passed = ", ".join(f"{plural(len(names), 'name')} ({rule})" for rule, names in report.passed_over.items())
    removed = ", ".join(report.removed[:10]) + (
        f" and {len(report.removed) - 10} more" if len(report.removed) > 10 else ""
    )
    return [
        (
            "households" if plan.source.declaration.staged else "files",
            f"{report.files}, of which {len(report.unusable)} unusable",
        ),
        *([("unchanged", f"{plural(report.unchanged, 'file')}, not read again")] if report.unchanged else []),
        *([("passed over", passed)] if passed else []),
        ("rows read", f"{report.file_rows:,}"),
        (
            "tables",
            f"{plural(report.households, 'household')}, {report.slots:,} slots of {report.cadence_minutes} min",
        ),
        ("measured", f"{report.load_tiers['observed'] / max(report.slots, 1):.1%} of slots, the rest imputed"),
        ("faults", ", ".join(f"{kind} {n:,}" for kind, n in sorted(faults.items())) or "none"),
        *([("doubtful", ", ".join(report.doubtful))] if report.doubtful else []),
        *([("all doubtful", "; ".join(report.source_doubts))] if report.source_doubts else []),
        *([("not any more", removed)] if report.removed else []),
        ("report", f"{plan.warehouse}/quality/report.html"),
        ("took", f"{report.seconds:.1f} s"),
    ]


def _manifest(manifest: "Manifest") -> list[tuple[str, str]]:
    rows = sum(agent.rows for agent in manifest.agents)
    return [
        ("manifest", manifest.sha256[:12]),
        ("agents", f"{len(manifest.agents)} in {plural(manifest.districts, 'district')}, {rows:,} slots"),
        ("held out", plural(len(manifest.held_out), "household")),
        ("not used", plural(len(manifest.unused), "household")),
        *((f"cluster {c.number}", f"{plural(c.households, 'household')}: {c.description}") for c in manifest.clusters),
    ]


def _trained(event: events.TrainingEnded) -> list[tuple[str, str]]:
    summary = event.summary
    first, last = summary["held_out_loss_first"], summary["held_out_loss_last"]
    return [
        ("ended", f"{event.finish.reason}, after round {event.finish.state.round}"),
        ("held-out loss", "not measured" if first is None else f"{show.number(first)} to {show.number(last)}"),
        *([("personal", _personal(summary["personal"]))] if "personal" in summary else []),
        ("weights", summary["w_final_sha256"]),
        ("ledger", summary["head_sha256"]),
        ("folder", summary["path"]),
    ]


def _personal(found: Mapping[str, Any]) -> str:
    words = f"{found['agents']} of {plural(found['asked'], 'agent')} have a model of their own"
    before, after = found["loss_federated"], found["loss"]
    if before is not None and after is not None:
        words += f"; loss on their own validation time, on average: {show.number(before)} to {show.number(after)}"
    return words


def _taught(folder: str, metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    first, best = show.number(metrics["held_out_loss_first"]), show.number(metrics["held_out_loss"])
    return [
        ("ended", f"{metrics['reason']}, after epoch {len(metrics['epochs'])}"),
        ("held-out loss", f"{first} to {best}, in epoch {metrics['best_epoch']}"),
        ("speed", f"{metrics['windows_per_s']:,.0f} windows a second"),
        ("weights", metrics["weights_sha256"]),
        ("ledger", metrics["head_sha256"]),
        ("folder", folder),
    ]
