"""Keys of how updates travel from agents to the server."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from neurogrid.config.section import Section
from neurogrid.fl.registry import RuleSpec


class UplinkSection(Section):
    """How updates travel from agents to the server. Weights travel to agents as float32."""

    codec: Literal["f32", "q8", "sign", "topk", "randk"] = Field(
        "f32",
        description="f32: all weights, 4 bytes each; q8: 8 bits each; sign: 1 bit each; topk: the largest ones; "
        "randk: some drawn at random",
    )
    share: float = Field(0.1, gt=0, le=1, description="topk, randk: share of the weights that is sent")
    remember: float = Field(
        0.0,
        ge=0,
        le=1,
        description="sign, topk, randk: share of what was not sent that an agent adds to its next update; 1 is error "
        "feedback",
    )
    values: Literal["q8", "f32"] = Field(
        "q8", description="topk, randk: how these weights are written, 8 bits or 4 bytes each"
    )


def refuse_uplink(section: UplinkSection, rules: Sequence[RuleSpec]) -> None:
    """Raises ValueError where a rule would throw away what the codec sends, or there is nothing to remember."""
    if section.remember and section.codec in ("f32", "q8"):
        raise ValueError(
            f"uplink.remember {section.remember:g}: {section.codec} leaves nothing out that an agent could remember; "
            "set it to 0, or use sign, topk or randk"
        )
    entries = [rule for rule in rules if rule.judges == "entries"]
    if section.codec in ("topk", "randk") and section.share < 1 and entries:
        raise ValueError(
            f"uplink.codec {section.codec} sends {section.share:g} of an agent's weights, and the rest are 0: "
            f"aggregation.rule {entries[0].name} judges each weight by itself and would take the 0 of most agents, so "
            "that the model hardly changes; use a rule that judges whole updates, such as caf, or mean where "
            "all agents are trusted, or the codec q8"
        )
