"""A run that stops because its rounds change nothing says why its agents gave nothing, and what to do about that."""

import numpy as np
import pytest
from test_rounds import AGENTS, SETTINGS, Scrambled, Trainer, run

from neurogrid.fl.void import VoidRoundsError


def lost_by(reason):
    return Scrambled(Trainer, lose=lambda number, agent: reason)


def spoilt(value):
    return Scrambled(Trainer, spoil=lambda number, agent, delta: np.full_like(delta, value))


@pytest.mark.parametrize(
    ("backend", "found", "fix"),
    [
        (lost_by("late"), "15 of 15 agents: late", "raise rounds.timeout_s"),
        (lost_by("lost"), "15 of 15 agents: lost", "executors' logs"),
        (lost_by("failed: ValueError: no"), "15 of 15 agents: failed: ValueError: no", "mend what failed"),
        (lost_by("wrong shape: delta is ()"), "15 of 15 agents: wrong shape: delta is ()", "same version"),
        (lost_by("claims -3 windows"), "15 of 15 agents: claims -3 windows", "broken or lie"),
        (spoilt(np.nan), "15 of 15 agents: not finite", "lower local.learning_rate"),
    ],
)
def test_the_commonest_reason_of_the_last_rounds_agents_is_named_with_what_to_do_about_it(backend, found, fix):
    with pytest.raises(VoidRoundsError) as stopped:
        run(backend=backend)
    assert stopped.value.found == found
    assert fix in stopped.value.fix


def test_those_who_gave_an_update_and_fell_with_the_round_are_not_blamed():
    few = Scrambled(Trainer, lose=lambda number, agent: "" if agent in AGENTS[:8] else "late")
    with pytest.raises(VoidRoundsError) as stopped:
        run(backend=few)
    assert stopped.value.found.endswith("of 15 agents: late")
    assert "rounds.timeout_s" in stopped.value.fix


def test_where_all_answered_and_the_rule_can_bear_no_more_the_numbers_are_to_be_changed():
    from dataclasses import replace

    settings = replace(SETTINGS, agents_per_round=8, aggregation=replace(SETTINGS.aggregation, byzantine_share=0.4))
    with pytest.raises(VoidRoundsError) as stopped:
        run(settings)
    assert (stopped.value.found, "aggregation.byzantine_share" in stopped.value.fix) == ("", True)


def test_a_round_that_a_rule_has_emptied_points_to_the_audit():
    from neurogrid.fl.record import REASON_KINDS
    from neurogrid.fl.void import _ADVICE

    assert set(_ADVICE) == set(REASON_KINDS)
