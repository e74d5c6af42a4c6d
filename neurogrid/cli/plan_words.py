"""What a plan will do, in words, before it is done: readings, agents, size of the model, rules, attackers."""

from typing import TYPE_CHECKING

from neurogrid.fl.registry import RULES, at_least, count
from neurogrid.plural import plural

if TYPE_CHECKING:  # an ETL that finds nothing to do loads neither torch nor Spark
    from neurogrid.pipeline.plan import TrainPlan
    from neurogrid.pipeline.teach_plan import TeachPlan
    from neurogrid.pipeline.whole_run import RunPlan
    from neurogrid.teacher.settings import Device

Facts = list[tuple[str, str]]


def run(plan: "RunPlan") -> Facts:
    """What a whole run will do, as far as is known before the readings are read."""
    source, sampling = plan.etl.source, plan.sampling
    files = source.listing(plan.etl.settings.listed_per_kind).files
    megabytes = sum(file.size_bytes for file in files) / 1e6
    kind_of_file = "file" if source.declaration.staged else "household file"
    natural = sampling.partition == "natural"
    partition = "one household each" if natural else f"weeks of many each ({sampling.partition})"
    return [
        (
            "readings",
            f"{plural(len(files), kind_of_file)}, {megabytes:,.1f} MB of {source.kind}, "
            f"to slots of {plan.etl.cadence_minutes} min",
        ),
        (
            "agents",
            f"{sampling.agents} in {plural(sampling.districts, 'district')}, {partition}; "
            f"{sampling.held_out_share:.0%} of usable households held out",
        ),
        *_model(plan, plan.n_weights, plan.etl.cadence_minutes),
        *_rounds(plan, sampling.agents, sampling.districts),
        ("then", f"evaluation against {', '.join(['naive forecasts', *plan.comparisons])}, and a report"),
    ]


def training(plan: "TrainPlan", where: str) -> Facts:
    """What a training will do, with its agents."""
    manifest = plan.manifest
    rows = sum(agent.rows for agent in manifest.agents)
    agents, districts, minutes = len(manifest.agents), manifest.districts, manifest.cadence_minutes
    return [
        *_teacher(plan),
        ("agents", f"{agents} in {plural(districts, 'district')}, {rows:,} slots of {minutes} min"),
        *_model(plan, plan.federation.spec.size, minutes),
        *_rounds(plan, agents, districts),
        ("runs on", where),
    ]


def _teacher(plan: "TrainPlan") -> Facts:
    teacher, distillation = plan.teacher, plan.factory.distillation
    if teacher is None or plan.start_run is not None:
        return []
    does = ["starts from its weights"] * (teacher.model == plan.training.model)
    if distillation is not None:
        does.append(f"learns from its forecasts with weight {distillation.weight:g}")
    size = " ".join(f"{name} {value}" for name, value in vars(teacher.model).items())
    about = f"{teacher.id}, trained on {plural(len(teacher.taught), 'household')}, {size}"
    return [("teacher", f"{about}: the federation {' and '.join(does)}")]


def _model(plan: "RunPlan | TrainPlan", weights: int, cadence_minutes: int) -> Facts:
    minutes = plan.training.windows.horizon_slots * cadence_minutes
    facts = [("model", f"{plan.training.model.name}, {weights:,} weights, {minutes} min ahead")]
    private, steps = plan.training.private, plan.training.local.private_steps
    if private:
        facts.append(
            ("private layers", f"{', '.join(private)}: fitted by each agent, {plural(steps, 'step')}, never sent")
        )
    return facts


def _rounds(plan: "RunPlan | TrainPlan", agents: int, districts: int) -> Facts:
    local, rounds, aggregation = plan.training.local, plan.rounds, plan.rounds.aggregation
    rule = RULES.find(aggregation.rule)
    asked = min(rounds.agents_per_round, agents)
    judged = asked // districts if aggregation.scope == "district" else asked
    borne = count(aggregation.byzantine_share, judged) if rule.tolerates else 0
    tolerated = f"f = {plural(borne, 'malicious agent')}" if rule.tolerates else "no malicious agent"
    where = " in each district" if aggregation.scope == "district" else ""
    return [
        ("rounds", f"{rounds.rounds}, {_schedule(plan, asked, agents)}"),
        (
            "each agent",
            f"{plural(local.steps, 'step')} of {plural(local.batch_size, 'window')}, loss {plan.training.loss.loss}",
        ),
        ("updates", f"{_stages(plan)}{where}, which tolerates {tolerated}"),
        *_privacy(plan),
        *_attack(plan, agents, asked, borne),
    ]


def _privacy(plan: "RunPlan | TrainPlan") -> Facts:
    """What a run promises to those whose readings it learns from, and what ends it."""
    found = plan.rounds.privacy
    if found is None:
        return [("privacy", "none: weights may give away what they were trained on")]
    if found.test_seed is not None:
        return [("privacy", "NONE: privacy.test_seed draws the noise, so that anybody can take it away")]
    where = {"central": "by the server on the mean", "local": "by each agent", "example": "by each agent in each step"}
    rows = [
        (
            "privacy",
            f"{found.level}: epsilon {found.epsilon:g} at delta {found.delta:.2g} for {found.guarantee}, "
            f"over {plural(found.releases, 'round')}",
        ),
        ("noise", f"{found.noise_multiplier:.3g} times the clip of {found.clip_norm:g}, {where[found.mode]}"),
    ]
    if found.releases < plan.rounds.rounds:
        rows.append(("privacy budget", f"ends the run after {found.releases} of {plan.rounds.rounds} rounds"))
    return rows


_STEPS = {
    "arc": "the longest shortened (arc)",
    "bucketing": "averaged in buckets",
    "nnm": "mixed with the nearest (nnm)",
}


def _stages(plan: "RunPlan | TrainPlan") -> str:
    """What happens to updates before they are averaged, in this order."""
    aggregation, privacy = plan.rounds.aggregation, plan.rounds.privacy
    if privacy and privacy.mode == "central":
        return "clipped whole, summed alike, mean"
    clip, rules = aggregation.clip, [name.removeprefix("rule:") for name in aggregation.stages if "rule:" in name]
    clipped = "clip" in aggregation.stages and clip.to != "none"
    said = f"clipped to the {clip.to} norm of each {clip.per}" if clipped else "not clipped"
    alike = "" if "weigh" in aggregation.stages else ", weighed alike"
    steps = [_STEPS[name] for name in aggregation.stages if name in _STEPS]
    return ", then ".join([f"{said}{alike}", *rules, *steps, aggregation.rule])


def _schedule(plan: "RunPlan | TrainPlan", asked: int, agents: int) -> str:
    rounds, schedule, whom = plan.rounds, plan.rounds.schedule, f"{asked} of {plural(agents, 'agent')}"
    if rounds.privacy and rounds.privacy.mode == "central" and rounds.privacy.sampling == "poisson":
        return f"with {whom} in each on average, drawn each by itself"
    chosen = "" if rounds.select.kind == "random" else ", chosen by their history"
    if schedule.kind == "buffered":
        return f"of {schedule.buffer} updates each, with {whom} at work at once{chosen}"
    closes = "" if schedule.quorum == 1 else f", until {at_least(schedule.quorum, asked)} have answered"
    return f"with {whom} in each{chosen}{closes}"


def _attack(plan: "RunPlan | TrainPlan", agents: int, asked: int, borne: int) -> Facts:
    attack, rule = plan.attack, plan.rounds.aggregation.rule
    if attack is None:
        return [("attack", "none")]
    attackers = count(attack.fraction, agents)
    if attack.placement == "per_round" or asked == agents:
        a_round = float(count(attack.fraction, asked))
        words = f"{a_round:.0f} of the {plural(asked, 'agent')} in each round"
    else:
        a_round = asked * attackers / agents
        words = f"{attackers} of {plural(agents, 'agent')}, so {a_round:.1f} of the {asked} in a round on average"
    rows = [("attack", f"{attack.kind} by {words}")]
    if a_round > borne:
        rows.append(
            ("attackers above f", f"more attackers than the {borne} that {rule} tolerates: they may steer the model")
        )
    return rows


def teaching(plan: "TeachPlan", device: "Device", master: str) -> Facts:
    """What teaching will do on this device."""
    settings = plan.settings[device]
    model, parts = settings.model, settings.accumulation
    slots = ", ".join(f"{sum(taught.rows for taught in hand):,}" for hand in plan.hands)
    return [
        ("taught", f"{plural(len(plan.households), 'household')}; slots of each rank: {slots}"),
        ("model", f"{model.name}, hidden {model.hidden} x {model.layers}"),
        ("ranks", f"{settings.ranks} on Spark, {master}, {settings.device}, {settings.precision}"),
        (
            "batch",
            f"{settings.batch_size} windows, {settings.part_size} a rank"
            + (f" in each of {parts} parts" if parts > 1 else ""),
        ),
        ("epochs", f"at most {settings.epochs}, loss {settings.loss.loss}"),
    ]
