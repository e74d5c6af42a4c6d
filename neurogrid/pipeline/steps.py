"""What each command does, step by step: config to values, values to work, work to what the person is told.

Each step returns a dictionary for `--json`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

import neurogrid
from neurogrid.backends.inline import InlineBackend
from neurogrid.backends.pods import LostPods
from neurogrid.backends.spark import SparkBackend
from neurogrid.cli import plan, show
from neurogrid.cli.telemetry import traced
from neurogrid.config import Config, to_yaml
from neurogrid.data.manifest import Manifest, keep, read_manifest
from neurogrid.data.sampling import sample
from neurogrid.data.sources import Source
from neurogrid.data.tables import refuse_missing
from neurogrid.errors import InputError, RunError
from neurogrid.fl.attack import Attacked
from neurogrid.fl.order import Backend
from neurogrid.fl.record import weights_sha256
from neurogrid.fl.rounds import Federation, Finish, Observer, VoidRoundsError, federate
from neurogrid.fl.state import State
from neurogrid.fl.update import Vector
from neurogrid.fl.weights import layout
from neurogrid.ledger import Genesis, Ledger, read_final, verify
from neurogrid.ledger.chain import seal, to_text
from neurogrid.ledger.made_with import differences, made_with
from neurogrid.ledger.records import read_end, read_evaluation, read_genesis
from neurogrid.pipeline import ingest, preflight, runs, settings, teachers
from neurogrid.pipeline.earlier import Earlier
from neurogrid.plural import plural
from neurogrid.storage import Place, place
from neurogrid.teacher.store import Teacher
from neurogrid.workloads.meters.agent import AgentTrainerFactory, new_model
from neurogrid.workloads.meters.evaluation import evaluate

Result = dict[str, Any]


def do_run(
    config: Config, source: Source | None, manifest: Manifest | None, resume: str = "", *, accept_break: bool = False
) -> Result:
    """All steps from raw readings (`source`) or from a manifest to the report, or those that a stopped run has left.

    Args:
        config: with its `run_id`, or that of the run to go on with.
        source: readings to clean and sample first; None where there is a manifest.
        manifest: who the agents are; None where they are to be drawn.
        resume: a run to go on with, wherever it was stopped; or empty.
        accept_break: see `do_train`.
    """
    run_id = resume or config.run_id
    run = runs.folder(config, run_id)
    result: Result = {}
    trained = bool(resume) and runs.has_ended(run)
    if trained:
        result["train"] = runs.summary(run, read_end(run))
        done = plural(result["train"]["rounds"], "round")
        show.say(f"the training of run {run_id} has ended after {done}; continuing with the evaluation and the report")
    elif manifest is not None:
        preflight.refuse_training(config, manifest, resume)
    if trained and runs.is_evaluated(run):
        result["evaluate"] = read_evaluation(run)
    else:
        with ingest.session(config) as spark:
            if source is not None:
                result["etl"] = ingest.do_etl(config, lambda: spark, source)
            if manifest is None:
                manifest, result["sample"] = do_sample(config, spark)
            if not trained:
                result["train"] = do_train(config, spark, manifest, resume, accept_break=accept_break)
            result["evaluate"] = do_evaluate(config, spark, run_id, manifest)
    result["report"] = do_report(config.warehouse, run_id)
    return result


def plan_run(config: Config, source: Source) -> None:
    """Says what a whole run will do; refuses one that cannot work, before Spark starts."""
    preflight.refuse_run(config, source)
    plan.show_ahead(config, source, layout(new_model(settings.training(config))).size)


def do_sample(config: Config, spark: SparkSession) -> tuple[Manifest, Result]:
    """Clean tables to a manifest."""
    show.heading("Sampling")
    warehouse = place(config.warehouse)
    with show.bar("profiles of households") as bar:
        manifest = sample(spark, warehouse, settings.sampling(config), bar)
    ingest.write_quality_page(config, manifest)
    _show_manifest(manifest)
    path = f"{warehouse}/manifests/{manifest.sha256[:12]}/manifest.json"
    return manifest, {"manifest_id": manifest.sha256[:12], "path": path, "agents": len(manifest.agents)}


def _show_manifest(manifest: Manifest) -> None:
    rows = sum(agent.rows for agent in manifest.agents)
    show.facts(
        [
            ("manifest", manifest.sha256[:12]),
            ("agents", f"{len(manifest.agents)} in {plural(manifest.districts, 'district')}, {rows:,} slots"),
            ("held out", plural(len(manifest.held_out), "household")),
            ("not used", plural(len(manifest.unused), "household")),
            *(
                (f"cluster {c.number}", f"{plural(c.households, 'household')}: {c.description}")
                for c in manifest.clusters
            ),
        ]
    )


def find_manifest(config: Config) -> Manifest:
    """The manifest that the config names, or the only one of the warehouse.

    Raises:
        InputError: there is none, it cannot be read, or several are there and none is named.
    """
    folder, wanted = place(config.warehouse) / "manifests", config.sampling.manifest
    if wanted:
        candidates = [folder / wanted / "manifest.json", place(wanted), place(wanted) / "manifest.json"]
    else:
        candidates = [child / "manifest.json" for child in folder.children()]
        if len([c for c in candidates if c.exists()]) > 1:
            raise InputError(
                "there are several manifests in the warehouse",
                found=", ".join(c.path.split("/")[-2] for c in candidates),
                fix="choose one with --manifest",
            )
    for candidate in candidates:
        if candidate.exists() and candidate.name.endswith(".json"):
            return read_manifest(candidate)
    raise InputError(
        f'there is no manifest "{wanted}"' if wanted else "there is no manifest in the warehouse",
        found=", ".join(child.name for child in folder.children()) or f"nothing in {folder}",
        fix="make one with `neurogrid sample`",
    )


def do_train(
    config: Config,
    spark: SparkSession | None,
    manifest: Manifest,
    resume: str = "",
    watch: Callable[[int, int], AbstractContextManager[Observer]] = show.RoundTable,
    pods: LostPods | None = None,
    *,
    accept_break: bool = False,
) -> Result:
    """Rounds of federated learning, from the start or from a run's last durable round.

    `watch` shows the rounds; `pods` replaces executors that are lost on Kubernetes; with `accept_break` a run goes on
    with other versions or on another processor too, and says so in its records.
    """
    warehouse = place(config.warehouse)
    run_id = resume or runs.with_id(config).run_id
    teacher, before = preflight.refuse_training(config, manifest, resume)
    if not resume:
        # The run's first record names its manifest by id, and this one may lie elsewhere.
        keep(manifest, warehouse)
    training, rounds = settings.training(config), settings.rounds(config)
    model = new_model(training)
    show.heading(f"Training, run {run_id}")
    start = teachers.start(config, teacher, model) if before is None else before.weights
    federation = Federation(
        agents=tuple(agent.agent_id for agent in manifest.agents),
        districts={agent.agent_id: agent.district for agent in manifest.agents},
        layout=layout(model),
        start=start,
        seed=config.seed,
    )
    run = runs.folder(config, run_id)
    where = f"Spark, {spark.sparkContext.master}" if spark and config.backend.kind == "spark" else config.backend.kind
    plan.show_training(config, manifest, federation.layout.size, where)
    factory = AgentTrainerFactory(warehouse, manifest, training, teachers.distillation(config, teacher))
    backend: Backend
    if config.backend.kind == "inline":
        backend = InlineBackend(factory)
    else:
        assert spark is not None
        backend = SparkBackend(spark, factory, federation.layout.size, settings.exchange(config), pods)
    attackers = settings.attackers(config, federation.agents)
    if attackers:
        backend = Attacked(backend, attackers)
    with (
        traced(run_id) as traces,
        open_ledger(
            run, config, manifest, federation, teacher, before, resumed=bool(resume), accept_break=accept_break
        ) as begun,
    ):
        ledger, state, started_from = begun
        ledger.traced_by(traces)
        try:
            with ExitStack() as stack:
                with show.console.status("  starting the tasks"):
                    stack.enter_context(backend)
                table = stack.enter_context(watch(config.rounds.count, state.round))
                # Before the ledger, whose records name the traces.
                observers: list[Observer] = [*filter(None, [traces]), ledger, table]
                federation = replace(federation, start=started_from)
                finish = federate(state, federation, rounds, backend, observers, attackers)
        except VoidRoundsError as error:
            raise RunError(
                str(error), fix="lower rounds.min_agents, or see why updates were rejected in the run's audit"
            ) from error
        end = ledger.finish(finish.state, finish.reason, {"manifest_sha256": manifest.sha256})
    _show_finish(run, finish, end["sha256"])
    return runs.summary(run, end)


@contextmanager
def open_ledger(
    run: Place,
    config: Config,
    manifest: Manifest,
    federation: Federation,
    teacher: Teacher | None = None,
    before: Earlier | None = None,
    *,
    resumed: bool,
    accept_break: bool = False,
) -> Iterator[tuple[Ledger, State, Vector]]:
    """The run's ledger, the state to go on from, and the weights that the run began with.

    Raises:
        UsageError: as `Ledger.create` and `Ledger.resume` do; or the run began with another manifest or teacher, or was
            made with other versions or on another processor and that is not accepted.
        RunError: as they do.
    """
    if not resumed:
        state = State.start(federation.start)
        begun = _genesis(config, run, manifest, federation, teacher, before)
        with Ledger.create(run, begun, to_yaml(config), federation.layout, state) as ledger:
            yield ledger, state, federation.start
        return
    ledger, found = Ledger.resume(run, federation.layout)
    with ledger:
        runs.refuse_other_manifest(found.genesis, manifest)
        teachers.refuse_another(found.genesis, teacher)
        now = made_with()
        others = differences(found.made_with, now)
        if others:
            runs.refuse_break(run, others, accepted=accept_break)
            ledger.goes_on_with(now)
        show.say(f"  resuming after round {found.state.round}")
        yield ledger, found.state, found.start


def _genesis(
    config: Config,
    run: Place,
    manifest: Manifest,
    federation: Federation,
    teacher: Teacher | None,
    before: Earlier | None,
) -> Genesis:
    """What a new run's first record says."""
    return Genesis(
        run_id=run.name,
        manifest_id=manifest.sha256[:12],
        manifest_sha256=manifest.sha256,
        neurogrid_version=neurogrid.__version__,
        seed=config.seed,
        model=config.model.name,
        n_weights=federation.layout.size,
        n_agents=len(federation.agents),
        rounds=config.rounds.count,
        rule=config.aggregation.rule,
        attack=config.attack.kind,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        teacher=teacher.id if teacher else "",
        teacher_sha256=teacher.head_sha256 if teacher else "",
        start_run=before.id if before else "",
        start_run_sha256=before.head_sha256 if before else "",
        made_with=made_with(),
    )


def _show_finish(run: Place, finish: Finish, head: str) -> None:
    finite = [loss for loss in finish.state.progress.held_out if np.isfinite(loss)]
    change = f"{show.number(finite[0])} to {show.number(finite[-1])}" if finite else "not measured"
    show.facts(
        [
            ("ended", f"{finish.reason}, after round {finish.state.round}"),
            ("held-out loss", change),
            ("weights", weights_sha256(finish.state.weights)),
            ("ledger", head),
            ("folder", str(run)),
        ]
    )


def do_evaluate(config: Config, spark: SparkSession | None, run_id: str, manifest: Manifest) -> Result:
    """Scores a finished run's weights on held-out time and households."""
    warehouse = place(config.warehouse)
    run = runs.folder(config, run_id)
    runs.refuse_other_manifest(read_genesis(run), manifest)
    end = read_end(run)
    weights = read_final(run, end, layout(new_model(settings.training(config))))
    refuse_missing(manifest, warehouse)
    show.heading(f"Evaluation of run {run_id}")
    with show.bar("evaluation") as bar:
        found = evaluate(spark, warehouse, manifest, {"federated": weights}, settings.evaluation(config), bar.step, bar)
    record = seal({"w_final_sha256": weights_sha256(weights), **found.to_dict()}, end["sha256"])
    (run / "evaluation.md").write(found.to_markdown())
    # Last, and a record of the run's chain: what is there is whole, and `audit` tells whether it was changed.
    (run / "evaluation.json").write(to_text(record))
    show.scores(record["parts"]["test"])
    show.facts([("in full", f"{run}/evaluation.md")])
    return record


def do_report(warehouse_uri: str, run_id: str) -> Result:
    """The run's HTML report."""
    from neurogrid.report.page import render_report  # noqa: PLC0415 - matplotlib takes half a second that other steps do not need

    warehouse = place(warehouse_uri)
    run = warehouse / "runs" / run_id
    with show.console.status("  report"):
        content = render_report(run, warehouse)
    (run / "report.html").write(content)
    show.facts([("report", f"{run}/report.html")])
    return {"path": f"{run}/report.html"}


def do_audit(warehouse_uri: str, run_id: str) -> Result:
    """Whether a run's folder, and its manifest if that is there, is what was written; raises RunError if not."""
    warehouse = place(warehouse_uri)
    run = warehouse / "runs" / run_id
    found = verify(run)
    found = replace(found, problems=(*found.problems, *runs.manifest_problems(run, warehouse)))
    show.facts(
        [
            ("rounds", str(found.rounds)),
            ("files", str(found.files)),
            ("ledger", found.head),
            ("state", "ended" if found.ended else "not ended"),
            ("evaluation", found.evaluation or "no evaluation that can be checked"),
            *(("break", sentence) for sentence in found.breaks),
        ]
    )
    if found.problems:
        raise RunError(
            f"run {run_id} has been modified",
            found="\n         ".join(found.problems),
            fix="restore these files from a copy; until then the run cannot be resumed, evaluated or reported on",
        )
    show.say("  OK: all records and files are unmodified")
    return asdict(found)
