"""Rounds that cannot work as the config has them are refused with the numbers."""

import pytest

from neurogrid.config import load
from neurogrid.errors import ConfigError
from neurogrid.pipeline import settings

BUFFERED = "rounds.schedule=buffered"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([BUFFERED, "rounds.buffer=16"], "rounds.buffer 16 is more than the 15 agents that are at work"),
        (
            [BUFFERED, "rounds.buffer=8", "aggregation.rule=trimmed_mean"],
            "since the fastest of 15 agents may be: trimmed_mean needs 2f + 3 = 9",
        ),
        ([BUFFERED, "rounds.min_agents=11"], "closes a round with 10 updates, rounds.min_agents is 11"),
        ([BUFFERED, "rounds.quorum=0.9"], "rounds.quorum is of the schedule sync"),
        ([BUFFERED, "aggregation.stages=[admit,clip,rule,mean,server_step]"], "aggregation.stages needs weigh"),
        ([BUFFERED, "attack.kind=noise", "attack.placement=per_round"], "use fixed"),
        ([BUFFERED, "aggregation.rule=median", "aggregation.scope=district"], "needs them all"),
        (["rounds.quorum=0.4"], "rounds.quorum 0.4 closes a round with 6 updates, of which f = 3"),
        (["rounds.quorum=0"], "rounds.quorum"),
        (["rounds.quorum=0.7", "rounds.min_agents=12"], "closes a round with 11 updates, rounds.min_agents is 12"),
        (["rounds.select=adaptive", "rounds.agents_per_round=61"], "takes all 61 agents"),
        (["rounds.select_floor=0"], "rounds.select_floor"),
        (["rounds.max_staleness=0"], "rounds.max_staleness"),
    ],
)
def test_what_cannot_work_is_refused(given: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load("", given)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        [BUFFERED],
        [BUFFERED, "rounds.buffer=1", "aggregation.rule=mean"],
        ["rounds.quorum=0.6"],
        ["rounds.select=adaptive", "rounds.select_floor=1"],
        [BUFFERED, "rounds.agents_per_round=61", "rounds.buffer=30"],
    ],
)
def test_what_can_work_comes_to_the_rounds_as_it_was_set(given: list[str]) -> None:
    config = load("", given)
    rounds = settings.rounds(config)
    section = config.rounds
    assert (rounds.schedule.kind, rounds.schedule.quorum) == (section.schedule, section.quorum)
    assert (rounds.schedule.buffer, rounds.schedule.max_staleness) == (section.buffer, section.max_staleness)
    assert (rounds.select.kind, rounds.select.floor) == (section.select, section.select_floor)


def test_without_a_word_rounds_are_as_they_always_were() -> None:
    rounds = settings.rounds(load(""))
    assert (rounds.schedule.kind, rounds.schedule.quorum, rounds.select.kind) == ("sync", 1.0, "random")
