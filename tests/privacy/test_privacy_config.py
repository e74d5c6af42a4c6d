"""What the config asks for reaches the plan, and what cannot be promised is refused with the reason and another way."""

import math
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from neurogrid.config import load
from neurogrid.config.privacy import LEVELS
from neurogrid.errors import UsageError
from neurogrid.fl.privacy import PrivacyPlan
from neurogrid.fl.spec import Span, Spec
from neurogrid.pipeline import privacy

CENTRAL = "{aggregation: {rule: mean, stages: [admit, rule, mean, server_step]}, rounds: {count: 4}, privacy: %s}"
AGENTS = (
    "{aggregation: {stages: [admit, clip, rule, mean, server_step]}, rounds: {count: 4, panel_agents: 0}, "
    "personal: {steps: 0}, privacy: %s}"
)


def planned(text: str, agents: int = 61) -> PrivacyPlan:
    found = privacy.plan(load(text), agents)
    assert found is not None
    return found


@pytest.mark.parametrize(("level", "epsilon"), [("strong", 1.0), ("moderate", 3.0), ("light", 10.0)])
def test_a_level_names_its_epsilon(level: str, epsilon: float) -> None:
    found = planned(CENTRAL % f"{{level: {level}, noise_multiplier: 30}}")
    assert (found.epsilon, found.level, found.delta, found.releases) == (epsilon, level, 1e-5, 4)


def test_without_a_level_nothing_is_planned() -> None:
    assert privacy.plan(load(""), 61) is None


@pytest.mark.parametrize(
    "key",
    [
        *("epsilon: 4", "delta: 0.001", "sampling: fixed", "clip_norm: 2.0", "clip_quantile: 0.5", "accountant: rdp"),
        *("noise_multiplier: 40", "test_seed: 1"),
    ],
)
def test_every_key_reaches_the_plan(key: str) -> None:
    base = "level: custom, epsilon: 5, noise_multiplier: 30"
    names = {part.split(":")[0].strip() for part in key.split(",")}
    kept = ", ".join(part for part in base.split(", ") if part.split(":")[0] not in names)
    assert asdict(planned(CENTRAL % f"{{{kept}, {key}}}")) != asdict(planned(CENTRAL % f"{{{base}}}"))


@pytest.mark.parametrize(("mode", "sensitivity"), [("central", 1.0), ("local", 2.0)])
def test_the_classic_formula_takes_the_sensitivity_of_the_mode(mode: str, sensitivity: float) -> None:
    text = CENTRAL if mode == "central" else AGENTS
    found = planned(text % f"{{level: custom, epsilon: 50, mode: {mode}, classic_round_epsilon: 0.5}}")
    assert found.noise_multiplier == pytest.approx(sensitivity * math.sqrt(2 * math.log(1.25e5)) / 0.5)


def test_more_agents_in_a_round_than_there_are_make_no_chance_above_one() -> None:
    assert planned(CENTRAL % "{level: light, noise_multiplier: 30}", agents=10).rate == 1


def test_a_budget_that_pays_for_no_round_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="does not pay for a single round"):
        planned(CENTRAL % "{level: strong, noise_multiplier: 0.4}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{privacy: {level: light}}", "leave weigh out"),
        ("{privacy: {level: light}, aggregation: {stages: [admit, rule, mean, server_step]}}", "caf makes"),
        (
            "{privacy: {level: light}, aggregation: {rule: mean, stages: [admit, clip, rule, mean, server_step]}}",
            "leave clip",
        ),
        (CENTRAL % "{level: custom}", "privacy.epsilon is the budget"),
        (CENTRAL % "{level: light, epsilon: 2}", "privacy.epsilon is the budget"),
        (CENTRAL % "{household_epsilon: 2}", "promises nothing to a household"),
        (CENTRAL % "{level: light, noise_multiplier: 1, classic_round_epsilon: 1}", "both say how much"),
        (CENTRAL % "{level: light, classic_round_epsilon: 1.5}", "less than or equal to 1"),
        (AGENTS % "{level: light, mode: local, clip_quantile: 0.5}", "clip_quantile needs the mode central"),
        (AGENTS % "{level: light, mode: local, sampling: fixed}", "knows who was drawn"),
        (AGENTS % "{level: light, mode: example, household_epsilon: 3}", "mode example promises nothing"),
        (AGENTS.replace("panel_agents: 0", "panel_agents: 1") % "{level: light, mode: local}", "a panel says its loss"),
        (AGENTS.replace("steps: 0", "steps: 1") % "{level: light, mode: example}", "set personal.steps to 0"),
        (
            AGENTS.replace("{stages", "{rule: vote, stages") % "{level: light, mode: local}",
            "the rule vote asks for losses",
        ),
    ],
)
def test_what_cannot_be_promised_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        load(text)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("rounds.select=adaptive", "adaptive draws agents by losses"),
        ("rounds.patience_rounds=3", "ends a run by losses"),
        ("rounds.quorum=0.8", "quorum drops one agent"),
        ("rounds.min_agents=2", "void when few answer"),
        ("aggregation.scope=district", "one sum of all agents"),
        ("sampling.partition=iid", "with several agents"),
        ("aggregation.stages=[admit, 'rule:multi_krum', rule, mean, server_step]", "a rule before the mean"),
        ("aggregation.stages=[admit, arc, rule, mean, server_step]", "arc changes them by what others sent"),
    ],
)
def test_what_would_let_one_agent_show_is_refused(override: str, reason: str) -> None:
    base = CENTRAL % "{level: light}"
    load(base)
    with pytest.raises(UsageError, match=reason):
        load(base, [override])


def test_a_model_with_statistics_of_its_inputs_is_refused() -> None:
    found = planned(CENTRAL % "{level: light, noise_multiplier: 30}")
    with pytest.raises(UsageError, match="GroupNorm"):
        privacy.refuse_statistics(found, Spec((Span("a", (2,), 0, 2), Span("b", (2,), 2, 4, "buffer"))))


def test_the_page_on_privacy_has_a_config_that_works_and_the_levels_that_there_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert planned(example).epsilon == LEVELS["light"]
    said = {name: float(epsilon) for name, epsilon in re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE)}
    assert said == LEVELS
