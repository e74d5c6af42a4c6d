"""Refusals of what rules that judge by more than the updates cannot work with."""

from typing import TYPE_CHECKING

from neurogrid.fl.registry import RULES

if TYPE_CHECKING:
    from neurogrid.config.sections import Config


def refuse_trust(config: "Config") -> None:
    """Raises ValueError where a rule needs a trusted household's update in each round and can't be sure of it."""
    section, rounds = config.aggregation, config.rounds
    before = [name.removeprefix("rule:") for name in section.stages if name.startswith("rule:")]
    first = next((name for name in before if RULES.find(name).by == "trusted"), "")
    if first:
        raise ValueError(f"aggregation.stages: {first} says how much each update counts, so no rule can follow it")
    trusting = section.rule if RULES.find(section.rule).by == "trusted" else ""
    households = section.trusted_households
    if not trusting:
        if households:
            raise ValueError(
                f"aggregation.trusted_households is not used by aggregation.rule {section.rule}: "
                "use the rule fltrust, or leave the list empty"
            )
        return
    if not households:
        raise ValueError(
            f"aggregation.rule {trusting} compares updates with those of households that are trusted: "
            "name them in aggregation.trusted_households, or use the rule vote, which trusts nobody"
        )
    asked = min(rounds.agents_per_round, config.sampling.agents)
    if len(set(households)) < len(households) or len(households) >= asked:
        raise ValueError(
            f"aggregation.trusted_households must name fewer than the {asked} agents of a round, each once: "
            f"it names {len(households)}"
        )
    if rounds.schedule == "buffered" or rounds.quorum < 1:
        raise ValueError(
            f"aggregation.rule {trusting} needs the trusted households' updates in each round, and one that closes "
            "early may lack them: set rounds.schedule to sync and rounds.quorum to 1"
        )
    if section.scope == "district":
        raise ValueError(
            f"aggregation.rule {trusting} compares all updates with the same few: set aggregation.scope to all"
        )
