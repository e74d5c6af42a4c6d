"""A training: its ledger, its backend, its rounds, its end. Takes a plan; reads no config."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import SparkSession

import neurogrid
from neurogrid.backends.pods import LostPods
from neurogrid.backends.registry import Training
from neurogrid.data.manifest import Manifest, keep
from neurogrid.data.optout import holders, opted_out
from neurogrid.errors import RunError
from neurogrid.fl import roster
from neurogrid.fl.attack import Attacked
from neurogrid.fl.order import Backend
from neurogrid.fl.record import Round
from neurogrid.fl.rounds import Observer as RoundObserver
from neurogrid.fl.rounds import federate
from neurogrid.fl.state import State
from neurogrid.fl.update import AgentId, Vector
from neurogrid.fl.void import VoidRoundsError
from neurogrid.ledger import Genesis, Ledger
from neurogrid.ledger.made_with import differences, made_with
from neurogrid.ledger.personal import PERSONAL
from neurogrid.pipeline import privacy, runs, teachers
from neurogrid.pipeline.adapting import adapt
from neurogrid.pipeline.events import (
    SILENT,
    Observer,
    RoundEnded,
    Rounds,
    TrainingBegins,
    TrainingEnded,
    TrainingResumed,
)
from neurogrid.pipeline.plan import TrainPlan
from neurogrid.storage import Place


def train(
    plan: TrainPlan, spark: SparkSession | None, observer: Observer = SILENT, pods: LostPods | None = None
) -> dict[str, Any]:
    """Rounds of federated learning, from the start or from a run's last durable round; returns the run's summary.

    Args:
        plan: see there.
        spark: an open session; None where all agents train in this process.
        observer: told what goes on.
        pods: replaces executors that are lost on Kubernetes.

    Raises:
        UsageError, RunError: as `open_ledger`; or three rounds in a row changed nothing.
    """
    if not plan.resumes:
        # The run's first record names its manifest by id, and this one may lie elsewhere.
        keep(plan.manifest, plan.warehouse)
    observer.tell(TrainingBegins(plan, spark.sparkContext.master if spark and plan.backend.needs_spark else ""))
    backend, leaving = _backend(plan, spark, pods), _OptedOut(plan.manifest, plan.warehouse)
    with observer.traces(plan.run.name) as traces, open_ledger(plan, observer) as (ledger, state, started_from):
        ledger.traced_by(traces)
        private = plan.rounds.privacy
        spending = (
            privacy.begin(plan.run, plan.warehouse, plan.manifest, private, plan.household_epsilon, state.round)
            if private
            else None
        )
        try:
            with ExitStack() as stack:
                with observer.during("starting the tasks"):
                    stack.enter_context(backend)
                # Before the ledger, whose records name the traces.
                watchers: list[RoundObserver] = [*filter(None, [traces]), ledger, _Told(observer)]
                federation = replace(plan.federation, start=started_from)
                with observer.during(Rounds(plan.rounds.rounds, state.round)):
                    finish = federate(
                        state,
                        federation,
                        plan.rounds,
                        backend,
                        watchers,
                        plan.attackers,
                        spending=spending,
                        leaving=leaving,
                    )
                ledger.flush()  # whoever is killed in what comes now loses no round
                keeps = plan.factory.personal
                stay = roster.with_left(finish.state, leaving(finish.state.round + 1))
                personal = adapt(plan, keeps.settings, backend, stay, observer) if keeps else None
        except VoidRoundsError as error:
            raise RunError(str(error), found=error.found, fix=error.fix) from error
        facts: dict[str, Any] = {"manifest_sha256": plan.manifest.sha256}
        files = {}
        if spending:
            facts |= privacy.end(plan.warehouse, spending)
        if personal and keeps:
            for agent in personal.missing():
                keeps.remove(agent)
            facts["personal"], files[PERSONAL] = personal.summary(), personal.table()
        end = ledger.finish(finish.state, finish.reason, facts, files)
    summary = runs.summary(plan.run, end)
    observer.tell(TrainingEnded(finish, summary))
    return summary


def _backend(plan: TrainPlan, spark: SparkSession | None, pods: LostPods | None) -> Backend:
    uplink = plan.federation.uplink
    made_for = Training(plan.factory, plan.federation.spec.size, plan.exchange, spark, pods, uplink)
    backend = plan.backend.load()(made_for)
    return Attacked(backend, plan.attackers, uplink) if plan.attackers else backend


@dataclass(frozen=True)
class _OptedOut:
    """Looks before each round who opted out meanwhile."""

    manifest: Manifest
    warehouse: Place

    def __call__(self, number: int) -> frozenset[AgentId]:
        """Agents of the manifest that hold readings of somebody who opted out; see `roster.Leaving`."""
        return holders(self.manifest, opted_out(self.warehouse))


@dataclass(frozen=True)
class _Told:
    """Tells an observer of each round."""

    observer: Observer

    def after_round(self, record: Round, state: State) -> None:
        self.observer.tell(RoundEnded(record))


@contextmanager
def open_ledger(plan: TrainPlan, observer: Observer = SILENT) -> Iterator[tuple[Ledger, State, Vector]]:
    """The run's ledger, the state to go on from, and the weights that the run began with.

    Raises:
        UsageError: as `Ledger.create` and `Ledger.resume` do; or the run began with another manifest or teacher, or was
            made with other versions or on another processor and that is not accepted.
        RunError: as they do.
    """
    federation = plan.federation
    if not plan.resumes:
        state = State.start(federation.start)
        with Ledger.create(plan.run, _genesis(plan), plan.config_yaml, federation.spec, state) as ledger:
            yield ledger, state, federation.start
        return
    ledger, found = Ledger.resume(plan.run, federation.spec)
    with ledger:
        runs.refuse_other_manifest(found.genesis, plan.manifest)
        teachers.refuse_another(found.genesis, plan.teacher)
        privacy.refuse_another(found.genesis, plan.rounds.privacy)
        now = made_with()
        others = differences(found.made_with, now)
        if others:
            if not plan.accept_break:
                raise runs.broken(plan.run, others)
            ledger.goes_on_with(now)
        observer.tell(TrainingResumed(found.state.round, others))
        yield ledger, found.state, found.start


def _genesis(plan: TrainPlan) -> Genesis:
    """What a new run's first record says."""
    teacher, before = plan.teacher, plan.start_run
    return Genesis(
        run_id=plan.run.name,
        manifest_id=plan.manifest.sha256[:12],
        manifest_sha256=plan.manifest.sha256,
        neurogrid_version=neurogrid.__version__,
        seed=plan.federation.seed,
        model=plan.training.model.name,
        n_weights=plan.federation.spec.size,
        n_agents=len(plan.federation.agents),
        rounds=plan.rounds.rounds,
        rule=plan.rounds.aggregation.rule,
        attack=plan.attackers.attack if plan.attackers else "none",
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        teacher=teacher.id if teacher else "",
        teacher_sha256=teacher.head_sha256 if teacher else "",
        start_run=before.id if before else "",
        start_run_sha256=before.head_sha256 if before else "",
        made_with=made_with(),
        privacy=privacy.record(plan.rounds.privacy),
    )
