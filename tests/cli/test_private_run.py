"""A run with differential privacy, from its words to its ledgers: what it promises, counts, keeps and refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_audit_replay import sets
from test_run_manifest import Command, drawn, neurogrid, sampled, train  # noqa: F401 - fixtures

from neurogrid.ledger import read_round_metrics
from neurogrid.ledger.table import read_agent_audit
from neurogrid.pipeline import training
from neurogrid.storage import place

pytestmark = pytest.mark.slow

CENTRAL = sets(
    "privacy.level=light",
    "aggregation.stages=[admit, rule, mean, server_step]",
    "rounds.agents_per_round=2",
    "rounds.count=3",
    "privacy.clip_norm=0.5",
)
LOCAL = sets(
    "privacy.level=light",
    "privacy.mode=local",
    "aggregation.stages=[admit, clip, rule, mean, server_step]",
    "aggregation.rule=median",
    "aggregation.byzantine_share=0",
    "rounds.panel_agents=0",
    "personal.steps=0",
)
EXAMPLE = [*LOCAL, *sets("privacy.mode=example", "privacy.example_rate=0.02")]


def ledger(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "w/privacy/households.json").read_text())["entries"]


def test_a_private_run_says_what_it_promises_counts_it_and_cannot_be_made_again(
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    code, said, words = neurogrid(*train(tmp_path, "a"), *CENTRAL, *sets("privacy.household_epsilon=11"))
    assert code == 0, words
    assert "light: epsilon 10 at delta 1e-05 for each agent, added or removed, over 3 rounds" in words
    assert 9.9 < said["privacy"]["epsilon"] <= 10
    run = place(str(tmp_path / "w/runs/a"))
    rounds = read_round_metrics(run).to_pylist()
    assert [row["privacy.releases"] for row in rounds] == [1, 2, 3]
    assert 0 < rounds[0]["privacy.epsilon"] < rounds[1]["privacy.epsilon"] < said["privacy"]["epsilon"] + 1e-9
    (entry,) = ledger(tmp_path).values()
    assert (entry["run"], entry["releases"], len(entry["households"])) == ("a", 3, 4)
    genesis = json.loads((run / "run.json").read_text())
    assert genesis["privacy"]["noise_multiplier"] == said["privacy"]["noise_multiplier"]

    code, _, words = neurogrid("audit", "a", "--warehouse", tmp_path / "w", "--replay")
    assert code == 2
    assert "their noise is on no record" in words
    assert neurogrid("audit", "a", "--warehouse", tmp_path / "w")[0] == 0

    code, _, words = neurogrid("report", "a", "--warehouse", tmp_path / "w")
    assert code == 0, words
    assert "at delta 1e-05; each agent, added or removed" in (tmp_path / "w/runs/a/report.html").read_text()

    code, _, words = neurogrid(*train(tmp_path, "b"), *CENTRAL, *sets("privacy.household_epsilon=11"))
    assert code == 2
    assert "4 households above privacy.household_epsilon 11" in words
    assert not (tmp_path / "w/runs/b").exists()


def test_a_run_that_is_killed_and_goes_on_counts_the_round_twice_and_its_households_once(
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = training.federate

    def killed(*arguments: Any, **named: Any) -> Any:
        spending, release = named["spending"], type(named["spending"]).release

        class Dies(type(spending)):  # type: ignore[misc]
            def release(self) -> Any:
                found = release(self)
                if self.releases == 2:
                    raise KeyboardInterrupt
                return found

        spending.__class__ = Dies
        return real(*arguments, **named)

    monkeypatch.setattr(training, "federate", killed)
    assert neurogrid(*train(tmp_path, "a"), *CENTRAL)[0] == 130
    monkeypatch.setattr(training, "federate", real)
    code, said, words = neurogrid("train", "--resume", "a", "--warehouse", tmp_path / "w")
    assert code == 0, words
    # Round 2 was begun twice, so the budget of three rounds is spent after the second.
    assert (said["reason"], said["rounds"], said["privacy"]["releases"]) == ("privacy budget spent", 2, 3)
    assert [entry["releases"] for entry in ledger(tmp_path).values()] == [3]


def test_with_a_tests_seed_the_run_says_that_there_is_no_privacy_and_can_be_made_again(
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    code, said, words = neurogrid(*train(tmp_path, "a"), *CENTRAL, *sets("privacy.test_seed=7"))
    assert code == 0, words
    assert "NONE: privacy.test_seed" in words
    assert said["privacy"]["epsilon"] is None
    assert said["privacy"]["guarantee"].startswith("none")
    assert not (tmp_path / "w/privacy").exists()
    assert neurogrid("audit", "a", "--warehouse", tmp_path / "w", "--replay")[0] == 0


@pytest.mark.parametrize("how", [LOCAL, EXAMPLE], ids=["local", "example"])
def test_where_agents_add_the_noise_nothing_but_noisy_updates_leaves_them(
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
    how: list[str],
) -> None:
    code, said, words = neurogrid(*train(tmp_path, "a"), *how)
    assert code == 0, words
    assert 9.9 < said["privacy"]["epsilon"] <= 10
    rows = read_agent_audit(place(str(tmp_path / "w/runs/a"))).to_pylist()
    assert {row["windows"] for row in rows} == {1}
    assert all(row["train_loss"] != row["train_loss"] for row in rows)
    assert all(row["accepted"] for row in rows)
    norms = [row["norm"] for row in rows]
    assert min(norms) > 10 if how is LOCAL else min(norms) > 0


def test_a_private_run_does_not_start_from_weights_that_are_not(
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    assert neurogrid(*train(tmp_path, "clear"))[0] == 0
    code, _, words = neurogrid(*train(tmp_path, "a"), *CENTRAL, "--from", "clear")
    assert code == 2
    assert "cannot start from weights that are not" in words
