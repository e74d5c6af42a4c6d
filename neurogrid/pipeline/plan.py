"""From the config to what sampling, training and evaluation take: values, with everything that cannot work refused.

A plan is made once, in one function, before Spark starts or hours of ETL have gone by; nothing that it is handed to
reads the config again.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from neurogrid.backends.registry import BACKENDS, BackendSpec
from neurogrid.backends.spark import ExchangeSettings
from neurogrid.config import Config, load, to_yaml
from neurogrid.data.manifest import Manifest, read_manifest
from neurogrid.data.optout import remaining
from neurogrid.data.sampling import SamplingSettings
from neurogrid.data.tables import current_tables, refuse_missing
from neurogrid.errors import InputError, UsageError
from neurogrid.fl.attack import Attackers, AttackSettings
from neurogrid.fl.rounds import Federation, RoundSettings
from neurogrid.fl.spec import Spec
from neurogrid.fl.update import AgentId, Vector
from neurogrid.ledger import read_final, read_weights
from neurogrid.ledger.records import read_end, read_genesis, refuse_begun, refuse_ended
from neurogrid.pipeline import earlier, privacy, runs, settings, teachers
from neurogrid.pipeline.earlier import Earlier
from neurogrid.pipeline.uplinks import uplink
from neurogrid.plural import plural
from neurogrid.storage import Place, place
from neurogrid.teacher.store import Teacher
from neurogrid.workloads.meters.agent import AgentTrainerFactory, TrainingSettings, vector_spec
from neurogrid.workloads.meters.evaluation import EvaluationSettings
from neurogrid.workloads.meters.evaluation.boosting import refuse_without_package
from neurogrid.workloads.meters.personal_files import PersonalFiles
from neurogrid.workloads.meters.preflight import refuse_without_windows


@dataclass(frozen=True)
class SamplePlan:
    """All that sampling takes: the warehouse, how agents are drawn, and whether pages show single households."""

    warehouse: Place
    settings: SamplingSettings
    show_households: bool


@dataclass(frozen=True)
class TrainPlan:
    """All that a training takes.

    Attributes:
        run: the run's folder, called like the run.
        config_yaml: the whole config, for the run's folder.
        manifest: who the agents are.
        training, rounds: how agents train, and how rounds are run.
        federation: who takes part, and from which weights a new run starts.
        factory: makes agents' trainers where they run.
        backend: where they run.
        exchange: how the driver and others exchange weights and updates.
        replace_after_s: time after which a lost executor's pod is replaced, on Kubernetes.
        attackers: who is malicious, where an attack is simulated.
        teacher: that the run starts from or learns from.
        start_run: the run that it starts from; a run that goes on has its own start on record.
        resumes: whether the run exists and goes on.
        accept_break: whether it may go on with other versions or on another processor, and say so in its records.
        household_epsilon: what a household may spend in all runs of the warehouse; None is no limit.
    """

    run: Place
    config_yaml: str
    manifest: Manifest
    training: TrainingSettings
    rounds: RoundSettings
    federation: Federation
    factory: AgentTrainerFactory
    backend: BackendSpec
    exchange: ExchangeSettings
    replace_after_s: float
    attackers: Attackers | None
    teacher: Teacher | None
    start_run: Earlier | None
    resumes: bool
    accept_break: bool
    household_epsilon: float | None = None

    @property
    def attack(self) -> AttackSettings | None:
        """What is simulated, if anything."""
        return self.attackers.settings if self.attackers else None

    @property
    def warehouse(self) -> Place:
        """Where the run and its agents' tables lie."""
        return self.factory.warehouse


@dataclass(frozen=True)
class EvaluatePlan:
    """All that an evaluation takes: the run, its manifest without those who opted out, its (d,) final weights and the
    hash of its last record."""

    warehouse: Place
    run: Place
    manifest: Manifest
    settings: EvaluationSettings
    weights: Vector
    head_sha256: str


def plan_sampling(config: Config) -> SamplePlan:
    """See SamplePlan; raises InputError where there are no clean tables to sample from."""
    warehouse = place(config.warehouse)
    current_tables(warehouse)
    return SamplePlan(warehouse, settings.sampling(config), config.show_households)


def plan_training(config: Config, manifest: Manifest, resume: str = "", *, accept_break: bool = False) -> TrainPlan:
    """See TrainPlan.

    Args:
        config: of the training.
        manifest: who the agents are.
        resume: a run to go on with; or empty.
        accept_break: see TrainPlan.

    Raises:
        UsageError: the run exists already, or has ended where it is to be gone on with; the rule cannot bear what is
            asked of so few agents; nobody has a window to train on; the teacher or the run to start from does not fit.
        InputError: the warehouse lacks tables that the manifest names.
    """
    run = runs.folder(config, resume or runs.with_id(config).run_id)
    if resume:
        refuse_ended(run)
    else:
        refuse_begun(run)
    if len(manifest.agents) < config.sampling.agents:
        # The config's own check knows what was wished for; a manifest may hold fewer agents.
        fewer = config.sampling.model_copy(update={"agents": len(manifest.agents)})
        load(to_yaml(config.model_copy(update={"sampling": fewer})), where="config with this manifest's agents")
    remaining(manifest, place(config.warehouse))  # somebody has to be
    refuse_missing(manifest, place(config.warehouse))
    start_run = None if resume else earlier.find(config, manifest, spec(settings.training(config)))
    plan = _train_plan(config, manifest, run, start_run)
    if not resume:
        before = runs.run_config(config.warehouse, start_run.id, []) if start_run else None
        privacy.refuse_clear_start(plan.rounds.privacy, before)
        privacy.refuse_spent(manifest, plan.warehouse, plan.rounds.privacy, plan.household_epsilon)
    refuse_more_tasks_than_cores(config)
    refuse_without_windows(plan.training.windows, manifest, plan.rounds.aggregation.min_agents)
    return replace(plan, resumes=bool(resume), accept_break=accept_break)


def plan_replay(config: Config, run_id: str) -> TrainPlan:
    """What a run that exists was made with, to make its rounds again; `config` is its own.

    Raises:
        UsageError: its manifest or its teacher is not the one that it was made with.
        InputError: its manifest is not there, or the warehouse lacks tables that it names.
        RunError: it is not what was written.
    """
    run = runs.folder(config, run_id)
    genesis, manifest = read_genesis(run), find_manifest(runs.with_own_manifest(config, run_id))
    runs.refuse_other_manifest(genesis, manifest)
    refuse_missing(manifest, place(config.warehouse))
    plan = _train_plan(config, manifest, run, None)
    teachers.refuse_another(genesis, plan.teacher)
    start = read_weights(run, genesis, plan.federation.spec)
    return replace(plan, federation=replace(plan.federation, start=start), resumes=True)


def _train_plan(config: Config, manifest: Manifest, run: Place, start_run: Earlier | None) -> TrainPlan:
    """The plan of a new run, from the weights of an earlier one, or those that its seed or its teacher gives."""
    warehouse, private = place(config.warehouse), privacy.plan(config, len(manifest.agents))
    training = replace(settings.training(config), noise=privacy.agent_noise(private))
    rounds = replace(settings.rounds(config), privacy=private)
    privacy.refuse_statistics(private, spec(training))
    privacy.refuse_split(private, manifest)
    trusted = trusted_agents(manifest, config.aggregation.trusted_households)
    rounds = replace(rounds, aggregation=replace(rounds.aggregation, trusted=trusted))
    teacher = teachers.find(config, manifest)
    agents, attack = tuple(agent.agent_id for agent in manifest.agents), settings.attack(config)
    holds = spec(training)
    return TrainPlan(
        run=run,
        config_yaml=to_yaml(config),
        manifest=manifest,
        training=training,
        rounds=rounds,
        federation=Federation(
            agents=agents,
            districts={agent.agent_id: agent.district for agent in manifest.agents},
            spec=holds,
            start=start_run.weights if start_run else teachers.start(teacher, training),
            seed=config.seed,
            uplink=uplink(config, run, holds),
        ),
        factory=AgentTrainerFactory(
            warehouse, manifest, training, teachers.distillation(config, teacher), personal_files(config, run)
        ),
        backend=BACKENDS.find(config.backend.kind),
        exchange=settings.exchange(config),
        replace_after_s=config.backend.replace_after_s,
        attackers=Attackers(agents, config.seed, attack, trusted) if attack else None,
        teacher=teacher,
        start_run=start_run,
        resumes=False,
        accept_break=False,
        household_epsilon=config.privacy.household_epsilon,
    )


def trusted_agents(manifest: Manifest, households: Sequence[str]) -> frozenset[AgentId]:
    """The agents that these households are; raises UsageError where one is none."""
    own = {a.parts[0].household_id: a.agent_id for a in manifest.agents if len(a.parts) == 1 and not a.parts[0].blocks}
    others = sorted(set(households) - set(own))
    if others:
        few = " or ".join(sorted(own)[:3]) or "none: each agent holds weeks of many households"
        raise UsageError(
            "aggregation.trusted_households must name households that are agents",
            found=f"no agents of manifest {manifest.sha256[:12]}: {', '.join(others[:5])}",
            fix=f"name some that are, such as {few}",
        )
    return frozenset(own[household] for household in households)


def personal_files(config: Config, run: Place) -> PersonalFiles | None:
    """The personal models of a run; None where its config makes none."""
    own = settings.personal(config)
    return PersonalFiles(run, own) if own else None


def plan_evaluation(config: Config, run_id: str) -> EvaluatePlan:
    """See EvaluatePlan; `config` is the run's own, in what its weights depend on.

    Raises:
        UsageError: the run has no final weights yet, a comparison needs a package that is not installed, or all agents
            hold readings of households that opted out.
        InputError: the run's manifest is not there, the warehouse lacks tables that it names, or a folder lies where
            the evaluation goes.
        RunError: the run is not what was written.
    """
    refuse_missing_packages(config)
    warehouse, run = place(config.warehouse), runs.folder(config, run_id)
    for name in ("evaluation.json", "evaluation.md", "evaluation.parquet"):
        if (run / name).is_folder():
            raise InputError(
                f"the evaluation of run {run_id} cannot be written",
                found=f"{run / name} is a folder, not a file",
                fix="remove it or move it away, then give the command again",
            )
    end = read_end(run)
    manifest = find_manifest(runs.with_own_manifest(config, run_id))
    runs.refuse_other_manifest(read_genesis(run), manifest)
    weights = read_final(run, end, spec(settings.training(config)))
    manifest = remaining(manifest, warehouse)
    refuse_missing(manifest, warehouse)
    own = replace(settings.evaluation(config), personal=personal_files(config, run))
    return EvaluatePlan(warehouse, run, manifest, own, weights, str(end["sha256"]))


def refuse_missing_packages(config: Config) -> None:
    """Raises UsageError where the evaluation needs a package that is not installed: before hours of training."""
    refuse_without_package(config.evaluation.comparisons)


def spec(training: TrainingSettings) -> Spec:
    """What the run's vector holds; raises UsageError where the config names private layers that the model lacks."""
    try:
        return vector_spec(training)
    except ValueError as error:
        raise UsageError("local.private_layers names what cannot be private", found=str(error)) from error


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


def refuse_more_tasks_than_cores(config: Config) -> None:
    """Of a local Spark the slots are known before it starts; of a cluster's, when it has."""
    local = re.fullmatch(r"local(\[(?P<cores>\d+|\*)(,\d+)?\])?", config.spark.master)
    if not BACKENDS.find(config.backend.kind).needs_spark or local is None:
        return
    cores = os.cpu_count() or 1 if local["cores"] == "*" else int(local["cores"] or 1)
    if config.backend.tasks > cores:
        raise UsageError(
            f"{plural(config.backend.tasks, 'resident task')}, but not as many Spark slots",
            found=f"{cores} on {config.spark.master}",
            fix=f"set backend.tasks to at most {cores}, or 0 for all",
        )
