"""A run that an earlier version began keeps what its config meant then."""

import pytest

from neurogrid.config import load, of_its_time

PLAIN = ["admit", "clip", "weigh", "rule", "mean", "server_step"]
MIXED = ["admit", "clip", "weigh", "nnm", "rule", "mean", "server_step"]


@pytest.mark.parametrize(
    ("text", "rule", "stages"),
    [
        ("aggregation: {rule: trimmed_mean}", "trimmed_mean", PLAIN),
        ("aggregation: {rule: nnm_trimmed_mean}", "trimmed_mean", MIXED),
        (f"aggregation: {{rule: nnm_trimmed_mean, stages: [{', '.join(PLAIN)}]}}", "trimmed_mean", MIXED),
        (
            "aggregation: {rule: nnm_trimmed_mean, stages: [admit, rule:multi_krum, rule, mean, server_step]}",
            "trimmed_mean",
            ["admit", "rule:multi_krum", "nnm", "rule", "mean", "server_step"],
        ),
        ("aggregation: {rule: caf, stages: [admit, arc, rule, mean, server_step]}", "caf",
         ["admit", "arc", "rule", "mean", "server_step"]),
    ],
)  # fmt: skip
def test_an_old_runs_rule_and_stages_are_those_of_its_time(text: str, rule: str, stages: list[str]) -> None:
    found = load(text, of_its_time(text)).aggregation
    assert (found.rule, found.stages) == (rule, stages)
