"""Keys of the federation itself: rounds, what becomes of updates, attacks."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from neurogrid.config.section import Section, name_of
from neurogrid.fl.registry import GONE, RULES, STAGES, refuse_stages

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def _not_gone(value: object) -> object:
    if value in GONE:
        raise ValueError(GONE[str(value)])
    return value


RuleName = Annotated[str, name_of(RULES), BeforeValidator(_not_gone)]


class RoundsSection(Section):
    """The rounds."""

    count: Count = Field(60, description="number of rounds (--rounds)")
    teacher: str = Field(
        "", description="id or path of a teacher to start from or, with local.distill_weight, to learn from (--teacher)"
    )
    start_from: str = Field(
        "",
        description="id of a run whose last weights this one starts from, e.g. to retrain on newer readings (--from)",
    )
    agents_per_round: Count = Field(15, description="agents that train in a round; all, if there are fewer")
    select: Literal["random", "adaptive"] = Field(
        "random",
        description="who trains in a round: random: all have the same chance; adaptive: those have a higher one whose "
        "training promises more and whose updates came and were accepted",
    )
    select_floor: float = Field(
        0.2, gt=0, le=1, description="adaptive: no agent's chance falls below this share of the chance at random"
    )
    schedule: Literal["sync", "buffered"] = Field(
        "sync",
        description="sync: a round waits for its agents; buffered: agents are at work all the time, and every so many "
        "updates are a round (FedBuff)",
    )
    quorum: float = Field(
        1.0, gt=0, le=1, description="sync: share of a round's agents whose updates close it; the others are late"
    )
    buffer: Count = Field(10, description="buffered: so many usable updates close a round")
    max_staleness: Count = Field(
        10, description="buffered: an agent that trains from weights of more rounds before is given up"
    )
    min_agents: Count = Field(
        1, description="usable updates that a round needs; with fewer it is void, and the model does not change"
    )
    timeout_s: Seconds = Field(
        120.0, description="the update of an agent that has not answered by then is lost, seconds"
    )
    server_momentum: float = Field(
        0.9, ge=0, lt=1, description="share of earlier changes that the server adds to a new one; 0 is FedAvg"
    )
    server_step: float = Field(0.5, gt=0, description="step size: share of this sum that is applied to the model")
    panel_agents: int = Field(
        16, ge=0, description="agents on whose validation windows each round's model is evaluated"
    )
    panel_windows: Count = Field(64, description="validation windows of each of these agents")
    patience_rounds: int = Field(0, ge=0, description="stop after this many rounds without improvement; 0 never stops")
    min_improvement: float = Field(
        0.001, ge=0, lt=1, description="relative fall of the held-out loss that counts as improvement"
    )
    converged_update: float = Field(
        0.0,
        ge=0,
        description="stop when the relative change of the weights stays below this for patience_rounds; 0 never stops",
    )


class ClipSection(Section):
    """How updates are clipped before anything else."""

    to: Literal["median", "fixed", "none"] = Field(
        "median", description="clip to the round's median norm, to `norm`, or not at all"
    )
    per: Literal["tensor", "update"] = Field(
        "tensor", description="clip each tensor by itself (stops concentrated updates), or the whole update"
    )
    norm: float = Field(1.0, gt=0, description="L2 norm to clip to, if `to` is fixed")


class AggregationSection(Section):
    """How updates become one change of the model."""

    rule: RuleName = Field(
        "caf",
        description="robust rule over all updates, applied before the mean; docs/rules.md compares them",
        examples=[*RULES.names()],
    )
    scope: Literal["all", "district"] = Field(
        "all", description="whose updates the rule judges together: all agents', or each district's by themselves"
    )
    stages: list[str] = Field(
        [*STAGES],
        description="what happens to updates, in this order; clip, weigh and arc may be left out, before rule the "
        "steps bucketing and nnm may go, and before the steps rules that judge whole updates, as rule:NAME",
    )
    bucket_size: int = Field(2, ge=2, description="agents of whom the stage bucketing makes one mean")
    byzantine_share: float = Field(
        0.2, ge=0, lt=0.5, description="tolerated share of malicious agents in a round; f is their number, rounded down"
    )
    trusted_households: list[Annotated[str, BeforeValidator(str)]] = Field(
        [],
        description="fltrust: ids of agents' households that are trusted; they train in every round, and updates count "
        "as far as they are like theirs",
    )
    weight_cap: float = Field(2.0, ge=1, description="largest weight of an agent, as a multiple of the median agent's")
    clip: ClipSection = Field(ClipSection(), description="clipping of updates")

    @field_validator("stages")
    @classmethod
    def _in_order(cls, names: list[str]) -> list[str]:
        refuse_stages(names)
        return names


class AttackSection(Section):
    """Malicious agents, for experiments."""

    kind: Literal["none", "scale", "sign_flip", "noise", "free_rider", "alie", "foe", "min_max", "min_sum", "mimic"] = (
        Field(
            "none",
            description="attack to simulate (--byzantine-attack); in the last five all honest updates are seen",
        )
    )
    fraction: float = Field(0.2, ge=0, lt=1, description="share of agents that attack (--byzantine-fraction)")
    placement: Literal["fixed", "per_round"] = Field(
        "fixed", description="fixed: the same agents attack in all rounds; per_round: others are drawn in each round"
    )
    scale: float = Field(10.0, description="factor of the scale attack")
    noise_std: float = Field(1.0, gt=0, description="standard deviation of the noise attack, in the weights' unit")
