"""Keys of differential privacy, and what cannot be promised together with it."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from neurogrid.config.section import Section
from neurogrid.fl.registry import RULES, STEPS

if TYPE_CHECKING:
    from neurogrid.config.sections import Config

LEVELS = {"strong": 1.0, "moderate": 3.0, "light": 10.0}
"""Epsilon of a run by level: an adversary's odds that a household had part are multiplied by e^epsilon at most.

1 is what the theory calls a strong guarantee, 10 the most that is still called one (Ponomareva et al. 2023,
arXiv:2303.00654, tiers 1 and 2), 3 about the geometric middle.
"""
STAGES = ["admit", "rule", "mean", "server_step"]


class PrivacySection(Section):
    """Differential privacy of a run's weights."""

    level: Literal["none", "light", "moderate", "strong", "custom"] = Field(
        "none",
        description="epsilon of a run: strong 1, moderate 3, light 10, custom takes privacy.epsilon; none is off",
    )
    mode: Literal["central", "local", "example"] = Field(
        "central",
        description="central: the server adds noise to the mean, and hides each agent; local: each agent does before "
        "its update leaves; example: each agent adds it in training, and hides each of its windows (DP-SGD)",
    )
    epsilon: float | None = Field(None, gt=0, description="budget of a run, if level is custom")
    delta: float | None = Field(
        None, gt=0, lt=1, description="chance that the promise fails; null is 1e-5, or 1/agents^1.1 if that is less"
    )
    sampling: Literal["poisson", "fixed"] = Field(
        "poisson",
        description="central: each agent by itself with the chance agents_per_round/agents, whose secrecy is accounted "
        "for; or always agents_per_round of them, accounted for as if all had part in each round",
    )
    clip_norm: float = Field(
        1.0, gt=0, le=1e6, description="L2 norm to which a whole update is clipped; example: each window's gradient"
    )
    clip_quantile: float | None = Field(
        None, gt=0, lt=1, description="central: the clip follows this quantile of the norms; null keeps clip_norm"
    )
    clip_share: float = Field(0.05, gt=0, lt=1, description="part of the budget that following the quantile takes")
    noise_multiplier: float | None = Field(
        None,
        gt=0,
        description="noise as a multiple of the clip; the run ends before its budget is crossed. null takes the least "
        "that lasts for all rounds",
    )
    classic_round_epsilon: float | None = Field(
        None,
        gt=0,
        le=1,
        description="instead, noise by the classic formula clip * sqrt(2 ln(1.25/delta)) / epsilon, for this epsilon "
        "of one round; the budget still ends the run",
    )
    accountant: Literal["pld", "rdp"] = Field(
        "pld", description="how rounds are added up: privacy loss distributions (tight), or Renyi (looser)"
    )
    example_rate: float = Field(
        0.005, gt=0, le=1, description="example: chance of each window to be in a step; batch_size is not used then"
    )
    household_epsilon: float | None = Field(
        None, gt=0, description="what a household may spend in all runs of the warehouse; null is no limit"
    )
    test_seed: int | None = Field(
        None, ge=0, lt=2**63, description="draws the noise from a seed, for tests: there is no privacy then"
    )

    @property
    def on(self) -> bool:
        """Whether anything is promised."""
        return self.level != "none"

    @property
    def budget(self) -> float:
        """Epsilon of a run."""
        assert self.on
        return LEVELS.get(self.level, self.epsilon or 0.0)


def refuse_impossible(config: "Config") -> None:
    """Raises ValueError where privacy is asked for together with what it cannot be promised for."""
    privacy = config.privacy
    _refuse_keys(privacy)
    if not privacy.on:
        return
    rounds, aggregation = config.rounds, config.aggregation
    if config.sampling.partition != "natural":
        raise ValueError(
            f"privacy hides an agent, and with sampling.partition {config.sampling.partition} a household's readings "
            "are with several agents; use natural"
        )
    if "weigh" in aggregation.stages:
        raise ValueError(
            "privacy counts every update the same: an agent that claims more windows would move the model by more than "
            f"the noise hides; leave weigh out: aggregation.stages [{', '.join(STAGES)}]"
        )
    if rounds.select == "adaptive":
        raise ValueError(
            "rounds.select adaptive draws agents by losses that are measured without noise, so who is asked gives them "
            "away; use random"
        )
    if rounds.patience_rounds:
        raise ValueError(
            "rounds.patience_rounds ends a run by losses that are measured without noise, so its end gives them away; "
            "set it to 0"
        )
    if privacy.mode == "central":
        _refuse_central(config)
    else:
        _refuse_figures(config)


def _refuse_keys(privacy: PrivacySection) -> None:
    """Refuses keys of the section that do not fit each other."""
    if (privacy.level == "custom") != (privacy.epsilon is not None):
        raise ValueError(
            "privacy.epsilon is the budget of privacy.level custom: set both, or neither and a level "
            f"({', '.join(f'{name} {value:g}' for name, value in LEVELS.items())})"
        )
    if privacy.household_epsilon is not None and not (privacy.on and privacy.mode != "example"):
        raise ValueError(
            "privacy.household_epsilon limits what households spend, and a run of privacy."
            f"{'level none' if not privacy.on else 'mode example'} promises nothing to a household; "
            "leave it out, or use the mode central or local"
        )
    if privacy.noise_multiplier is not None and privacy.classic_round_epsilon is not None:
        raise ValueError("privacy.noise_multiplier and privacy.classic_round_epsilon both say how much noise: set one")
    if privacy.mode == "example" and privacy.classic_round_epsilon is not None:
        raise ValueError(
            "privacy.classic_round_epsilon is of one noise a round, and mode example adds one in each step"
        )
    if privacy.mode != "central" and privacy.clip_quantile is not None:
        raise ValueError(
            f"privacy.clip_quantile needs the mode central: in mode {privacy.mode} nobody may count whose norm is below"
        )
    if privacy.mode != "central" and privacy.sampling == "fixed":
        raise ValueError("privacy.sampling is of the mode central; whoever sees single updates knows who was drawn")


def _refuse_central(config: "Config") -> None:
    """Refuses what would make one agent move the sum by more than the clip."""
    rounds, aggregation = config.rounds, config.aggregation
    if aggregation.rule != "mean" or any(name.startswith("rule:") for name in aggregation.stages):
        name = aggregation.rule if aggregation.rule != "mean" else "a rule before the mean"
        raise ValueError(
            f"by how much one agent may move what {name} makes of all updates is not known, so no noise can be "
            "measured for it; use aggregation.rule mean, or privacy.mode local, which any rule may follow"
        )
    if "clip" in aggregation.stages:
        raise ValueError(
            "privacy clips whole updates to privacy.clip_norm, and clipping to others' norms before that would let one "
            f"agent move all; leave clip out: aggregation.stages [{', '.join(STAGES)}]"
        )
    if steps := [name for name in aggregation.stages if name in STEPS]:
        raise ValueError(
            f"privacy adds one noise to the sum of all updates as they are clipped, and {steps[0]} changes them by "
            f"what others sent; leave it out: aggregation.stages [{', '.join(STAGES)}]"
        )
    if aggregation.scope != "all":
        raise ValueError("privacy adds noise to one sum of all agents: use aggregation.scope all")
    if rounds.quorum < 1:
        raise ValueError(
            "rounds.quorum drops one agent because another was faster, so one agent moves the sum twice: set it to 1, "
            "and rounds.timeout_s to how long a round may wait"
        )
    if rounds.min_agents > 1:
        raise ValueError(
            f"rounds.min_agents {rounds.min_agents} makes a round void when few answer, and that says who did: with "
            "privacy every round counts; set it to 1"
        )


def _refuse_figures(config: "Config") -> None:
    """Refuses what an agent would say beside its noisy update, where nothing else of its readings may leave it."""
    mode = config.privacy.mode
    asking = [name for name in (config.aggregation.rule, *config.aggregation.stages) if _asks(name)]
    if asking:
        raise ValueError(
            f"in privacy.mode {mode} nothing but noisy updates leaves an agent, and the rule vote asks for losses as "
            "they are; use another rule, such as caf"
        )
    if config.rounds.panel_agents:
        raise ValueError(
            f"in privacy.mode {mode} nothing but noisy updates leaves an agent, and a panel says its loss as it is; "
            "set rounds.panel_agents to 0 and look at the evaluation of held-out households"
        )
    if config.personal.steps:
        raise ValueError(
            f"in privacy.mode {mode} nothing but noisy updates leaves an agent, and personal models come with "
            "figures; set personal.steps to 0"
        )
    if mode == "example" and config.local.distill_weight:
        raise ValueError(
            "privacy.mode example takes gradients of single windows, which is not done with a teacher's forecasts; set "
            "local.distill_weight to 0, and start from the teacher's weights instead"
        )


def _asks(name: str) -> bool:
    """Whether a rule, or the stage of one, asks agents."""
    rule = name.removeprefix("rule:")
    return rule in RULES.names() and RULES.find(rule).by == "votes"
