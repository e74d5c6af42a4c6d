"""What a run says that it will do: the agents' readings, and plainly so where more attack than the rule tolerates."""

from datetime import UTC, datetime

import pytest

from neurogrid.cli import plan_words
from neurogrid.config import load
from neurogrid.data.manifest import Agent, Manifest
from neurogrid.errors import UsageError
from neurogrid.pipeline.plan import TrainPlan, plan_training

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def plan(agents: int, text: str) -> TrainPlan:
    everyone = tuple(Agent(f"A{i:04}", (), 0, 0, 1000, NOW, NOW, NOW, NOW) for i in range(agents))
    manifest = Manifest(1, 30, "natural", 3, 0.0, (), everyone, (), (), {})
    return plan_training(load(text), manifest)


def said(agents: int, text: str) -> str:
    return "\n".join(f"{name}: {words}" for name, words in plan_words.training(plan(agents, text), "inline"))


def test_a_training_says_how_many_slots_its_agents_hold() -> None:
    words = said(15, "")
    assert "agents: 15 in 3 districts, 15,000 slots of 30 min" in words
    assert f" {plan(15, '').federation.spec.size:,} weights, 120 min ahead" in words


@pytest.mark.parametrize(
    ("agents", "text", "words"),
    [
        (
            15,
            "attack: {kind: noise, fraction: 0.4}",
            "attackers above f: more attackers than the 3 that caf tolerates",
        ),
        (15, "{attack: {kind: scale, fraction: 0.1}, aggregation: {rule: mean}}", "than the 0 that mean tolerates"),
        (60, "attack: {kind: noise, fraction: 0.3}", "18 of 60 agents, so 4.5 of the 15 in a round on average"),
        (60, "attack: {kind: noise, fraction: 0.3, placement: per_round}", "4 of the 15 agents in each round"),
    ],
)
def test_more_attackers_than_the_rule_bears_are_said_plainly(agents: int, text: str, words: str) -> None:
    assert words in said(agents, text)
    assert "attackers above f" in said(agents, text)


@pytest.mark.parametrize(
    "text",
    ["", "attack: {kind: noise, fraction: 0.2}", "{attack: {kind: none, fraction: 0.5}, aggregation: {rule: mean}}"],
)
def test_attackers_that_the_rule_bears_are_no_matter(text: str) -> None:
    assert "above f" not in said(15, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "",
            "updates: clipped to the median norm of each tensor, then the longest shortened (arc), then caf, which "
            "tolerates f = 3",
        ),
        ("aggregation: {clip: {to: none}}", "updates: not clipped, then the longest shortened (arc), then caf, which"),
        (
            "aggregation: {rule: trimmed_mean, stages: [admit, 'rule:multi_krum', nnm, rule, mean, server_step]}",
            "updates: not clipped, weighed alike, then multi_krum, then mixed with the nearest (nnm), then "
            "trimmed_mean, which tolerates f = 3",
        ),
    ],
)
def test_what_happens_to_updates_is_said_as_the_stages_have_it(text: str, words: str) -> None:
    assert words in said(15, text)


PRIVATE = "{aggregation: {rule: mean, stages: [admit, rule, mean, server_step]}, privacy: {level: moderate%s}}"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            ", noise_multiplier: 90",
            "privacy: moderate: epsilon 3 at delta 1e-05 for each agent, added or removed, over 60 rounds",
        ),
        (", noise_multiplier: 3", "privacy budget: ends the run after "),
        (", test_seed: 1, noise_multiplier: 90", "privacy: NONE: privacy.test_seed draws the noise"),
    ],
)
def test_what_is_promised_is_said_with_its_epsilon(more: str, words: str) -> None:
    assert words in said(15, PRIVATE % more)
    assert "privacy: none: weights may give away" in said(15, "")


def test_a_rule_that_leaves_too_few_to_the_next_one_is_refused() -> None:
    chain = "aggregation: {stages: [admit, clip, weigh, 'rule:%s', rule, mean, server_step]}"
    with pytest.raises(UsageError, match="krum leaves 1, and caf after it needs more than 2f = 6"):
        load(chain % "krum")
    with pytest.raises(UsageError, match="multi_krum leaves 6, and multi_krum after it needs more than 2f = 6"):
        load(
            "{rounds: {agents_per_round: 12}, aggregation: {rule: multi_krum, byzantine_share: 0.25, "
            "stages: [admit, 'rule:multi_krum', 'rule:multi_krum', rule, mean, server_step]}}"
        )
    load(chain % "multi_krum")
