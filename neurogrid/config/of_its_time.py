"""What a config of an earlier version meant: defaults that changed since must not change the run that has it."""

from neurogrid.config.reading import given

_STAGES = ("admit", "clip", "weigh", "rule", "mean", "server_step")
"""Of every run before they had names."""


def of_its_time(text: str) -> list[str]:
    """Overrides by which a run's config from before stages had names, or with a rule that is gone, says the same.

    Args:
        text: the YAML that the run began with.
    """
    aggregation = given(text).get("aggregation") or {}
    stages, said = list(aggregation.get("stages") or _STAGES), []
    if aggregation.get("rule") == "nnm_trimmed_mean":
        stages.insert(stages.index("rule"), "nnm")
        said.append("aggregation.rule=trimmed_mean")
    if said or "stages" not in aggregation:
        said.append(f"aggregation.stages=[{', '.join(stages)}]")
    return said
