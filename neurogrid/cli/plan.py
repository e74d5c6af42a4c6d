"""What a run will do, shown before it starts: readings, agents, size of the model, rules, attackers."""

from dataclasses import dataclass

from neurogrid.cli import show
from neurogrid.config import Config
from neurogrid.data.grid import check_cadence
from neurogrid.data.manifest import Manifest
from neurogrid.data.sources import Source
from neurogrid.fl.registry import RULES, count
from neurogrid.plural import plural


@dataclass(frozen=True)
class Size:
    """What the numbers of a plan depend on, wished for or as drawn.

    Attributes:
        agents: of the federation.
        weights: of the model.
        cadence_minutes: length of a slot.
    """

    agents: int
    weights: int
    cadence_minutes: int


def show_ahead(config: Config, source: Source, weights: int) -> None:
    """What a whole run will do, as far as is known before the readings are read."""
    files = source.listing(config.etl.listed_per_kind).files
    megabytes = sum(file.size_bytes for file in files) / 1e6
    cadence = check_cadence(source.cadence_minutes, config.etl.cadence_minutes)
    section = config.sampling
    kind_of_file = "file" if source.declaration.staged else "household file"
    partition = "one household each" if section.partition == "natural" else f"weeks of many each ({section.partition})"
    show.heading("What this run will do")
    show.facts(
        [
            (
                "readings",
                f"{plural(len(files), kind_of_file)}, {megabytes:,.1f} MB of {source.kind}, to slots of {cadence} min",
            ),
            (
                "agents",
                f"{section.agents} in {plural(section.districts, 'district')}, {partition}; "
                f"{section.held_out_share:.0%} of usable households held out",
            ),
            *_training(config, Size(section.agents, weights, cadence)),
            (
                "then",
                f"evaluation against {', '.join(['naive forecasts', *config.evaluation.comparisons])}, and a report",
            ),
        ]
    )


def show_training(config: Config, manifest: Manifest, weights: int, where: str) -> None:
    """What a training will do, with its manifest."""
    agents, districts = len(manifest.agents), plural(manifest.districts, "district")
    rows = sum(agent.rows for agent in manifest.agents)
    show.facts(
        [
            ("agents", f"{agents} in {districts}, {rows:,} slots of {manifest.cadence_minutes} min"),
            *_training(config, Size(agents, weights, manifest.cadence_minutes)),
            ("runs on", where),
        ]
    )


def _training(config: Config, size: Size) -> list[tuple[str, str]]:
    section, clip, local = config.rounds, config.aggregation.clip, config.local
    asked = min(section.agents_per_round, size.agents)
    clipped = "not clipped" if clip.to == "none" else f"clipped to the {clip.to} norm of each {clip.per}"
    rule = RULES.find(config.aggregation.rule)
    borne = f"f = {plural(_borne(config, asked), 'malicious agent')}" if rule.tolerates else "no malicious agent"
    where = " in each district" if config.aggregation.scope == "district" else ""
    minutes = config.model.horizon_slots * size.cadence_minutes
    return [
        ("model", f"{config.model.name}, {size.weights:,} weights, {minutes} min ahead"),
        ("rounds", f"{section.count}, with {asked} of {plural(size.agents, 'agent')} in each"),
        ("each agent", f"{plural(local.steps, 'step')} of {plural(local.batch_size, 'window')}, loss {local.loss}"),
        ("updates", f"{clipped}, then {rule.name}{where}, which tolerates {borne}"),
        *_attack(config, size.agents, asked),
    ]


def _attack(config: Config, agents: int, asked: int) -> list[tuple[str, str]]:
    attack = config.attack
    if attack.kind == "none":
        return [("attack", "none")]
    attackers = count(attack.fraction, agents)
    if attack.placement == "per_round" or asked == agents:
        a_round = float(count(attack.fraction, asked))
        words = f"{a_round:.0f} of the {plural(asked, 'agent')} in each round"
    else:
        a_round = asked * attackers / agents
        words = f"{attackers} of {plural(agents, 'agent')}, so {a_round:.1f} of the {asked} in a round on average"
    rows = [("attack", f"{attack.kind} by {words}")]
    rule, borne = config.aggregation.rule, _borne(config, asked)
    if a_round > borne:
        rows.append(
            ("attackers above f", f"more attackers than the {borne} that {rule} tolerates: they may steer the model")
        )
    return rows


def _borne(config: Config, asked: int) -> int:
    """How many malicious agents among `asked` the rule tolerates."""
    section = config.aggregation
    judged = asked // config.sampling.districts if section.scope == "district" else asked
    return count(section.byzantine_share, judged) if RULES.find(section.rule).tolerates else 0
