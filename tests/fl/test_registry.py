"""The rules' registry: what is made of it, and rules that another package registers."""

from importlib.metadata import EntryPoint

import pytest

from neurogrid import registry
from neurogrid.config import load
from neurogrid.errors import ConfigError
from neurogrid.fl import built_in
from neurogrid.fl.record import suspected
from neurogrid.fl.registry import BUILT_IN, RULES, RuleSpec, known_rule
from neurogrid.fl.rules import mean
from neurogrid.registry import UnknownNameError

STRICT = RuleSpec("strict", "a strict rule", lambda: mean, "rows", least_per_f=4, fixed_rejections=True)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"strict": "STRICT", "another": "STRICT", "gone": "NOT_HERE", "mean": "STRICT"}
    entries = {name: (EntryPoint(name, f"{__name__}:{value}", RULES.group),) for name, value in values.items()}
    monkeypatch.setattr(registry, "_registered", lambda group: entries if group == RULES.group else {})


def test_every_rule_that_is_built_in_has_a_spec_and_runs() -> None:
    assert {name for name, spec in BUILT_IN.items() if not spec.by} == set(built_in.RULES)
    plain = {name: spec for name, spec in BUILT_IN.items() if not spec.by}
    assert all(spec.name == name and spec.load() is built_in.RULES[name] for name, spec in plain.items())


def test_the_config_takes_the_name_of_a_rule_that_another_package_registered(registered: None) -> None:
    assert load("aggregation: {rule: strict, byzantine_share: 0.1}").aggregation.rule == "strict"
    with pytest.raises(ConfigError, match=r"strict needs 4f \+ 3 = 15") as caught:
        load("aggregation: {rule: strict}", ["rounds.agents_per_round=14", "aggregation.byzantine_share=0.25"])
    assert "cannot tolerate f = 3" in str(caught.value)


def test_a_name_of_ours_that_somebody_else_registers_is_refused_and_records_keep_ours(registered: None) -> None:
    assert RULES.names() == (*BUILT_IN, "another", "gone", "strict")
    with pytest.raises(UnknownNameError, match="rule mean is registered by NeuroGrid and by a package"):
        RULES.find("mean")
    assert known_rule("mean") is BUILT_IN["mean"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nonesuch", "input should be 'mean' or"),
        ("gone", "cannot be loaded: AttributeError"),
        ("another", "is not a RuleSpec of that name"),
    ],
)
def test_a_rule_that_cannot_run_is_refused_by_the_config_with_the_reason(
    registered: None, name: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load(f"aggregation: {{rule: {name}}}")


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ("[admit, rule, clip, mean, server_step]", "stages are admit, clip, weigh"),
        ("[rule, mean, server_step]", "stages are admit, clip, weigh"),
        ("[admit, rule, mean]", "stages are admit, clip, weigh"),
        ("[admit, 'rule:median', rule, mean, server_step]", "rule:median judges single weights"),
        ("[admit, 'rule:nonesuch', rule, mean, server_step]", "there is no rule nonesuch"),
    ],
)
def test_stages_that_cannot_follow_one_another_are_refused(stages: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(f"aggregation: {{stages: {stages}}}")
    assert load("aggregation: {stages: [admit, 'rule:multi_krum', rule, mean, server_step]}").aggregation.stages


def test_a_rule_of_districts_too_small_for_their_f_is_refused() -> None:
    whole = (
        "rounds: {agents_per_round: 15}\nsampling: {districts: 3}\naggregation: {scope: district, rule: trimmed_mean}"
    )
    assert load(whole).aggregation.scope == "district"
    with pytest.raises(ConfigError, match=r"5 agents a round in each of 3 districts cannot .* f = 2 .* 2f \+ 3 = 7"):
        load(whole, ["aggregation.byzantine_share=0.45"])
    with pytest.raises(ConfigError, match="would cut nothing"):
        load(whole, ["sampling.districts=5"])


def test_each_rule_asks_for_the_agents_that_it_needs_and_no_more() -> None:
    few = ["rounds.agents_per_round=5", "sampling.agents=5", "aggregation.byzantine_share=0.4"]
    assert load("aggregation: {rule: median}", few).aggregation.rule == "median"
    with pytest.raises(ConfigError, match=r"trimmed_mean needs 2f \+ 3 = 7"):
        load("aggregation: {rule: trimmed_mean}", few)


def test_a_record_may_name_a_rule_that_is_not_known_here(registered: None) -> None:
    assert known_rule("nonesuch") is None
    with pytest.raises(UnknownNameError, match="there is no rule nonesuch"):
        RULES.find("nonesuch")
    assert suspected("nonesuch", [("filtered", 2)]) == 2
    assert suspected("strict", [("filtered", 2)]) == 0
