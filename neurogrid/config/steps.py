"""Which steps before a rule can't work with it or with so few agents, in words for the config's user."""

from neurogrid.config.federation import AggregationSection
from neurogrid.fl.registry import RULES, STEPS, count


def refuse_steps(section: AggregationSection, judged: int, updates: int) -> None:
    """Raises ValueError where a step of `aggregation.stages` would leave the rule nothing to go by.

    Args:
        section: of the config.
        judged: agents that are asked and judged at once, of whom f may be malicious.
        updates: the fewest updates with which a round closes, of those judged at once.
    """
    steps, rule = [name for name in section.stages if name in STEPS], RULES.find(section.rule)
    f = count(section.byzantine_share, judged)
    mixes = [name for name in steps if name != "arc"]
    if mixes and not rule.tolerates:
        raise ValueError(
            f"aggregation.stages: {mixes[0]} mixes updates for the rule to judge, and the rule {rule.name} judges "
            "nothing; leave it out, or use another rule"
        )
    if mixes and rule.by:
        raise ValueError(
            f"aggregation.stages: {mixes[0]} mixes updates, and the rule {rule.name} says something of each by itself; "
            "leave it out, or use another rule"
        )
    if "nnm" in steps and f == 0:
        raise ValueError(
            f"aggregation.stages: nnm with aggregation.byzantine_share {section.byzantine_share} of {judged} agents, "
            "f = 0, makes each update the mean of all; leave it out, or raise the share"
        )
    if "bucketing" not in steps:
        return
    buckets = -(-updates // section.bucket_size)
    if buckets < rule.least(f):
        raise ValueError(
            f"aggregation.bucket_size {section.bucket_size} makes {buckets} means of {updates} updates, of which "
            f"f = {f} may be spoilt: {rule.name} needs {rule.least_formula} = {rule.least(f)}; take nnm instead of "
            "bucketing, lower aggregation.byzantine_share, or raise rounds.agents_per_round"
        )
