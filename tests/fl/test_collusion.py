"""What attackers send who see the honest updates."""

from dataclasses import replace

import numpy as np
import pytest
from racing import Racing, recorded, replay
from test_attack import NONE, Honest, These, honest
from test_rounds import FEDERATION, SETTINGS, Trainer, run

from neurogrid.config import Config
from neurogrid.fl.attack import Attacked, Attackers
from neurogrid.fl.collect import Inbox, Rows, run_round
from neurogrid.fl.collusion import COLLUSIONS, FOE_FACTOR, alie, foe, hidden, mimic, min_max, min_sum
from neurogrid.fl.update import RoundPlan


def test_alie_foe_and_mimic_are_those_of_byzfl(byzfl_attacks):
    rows = honest(12, 200)
    np.testing.assert_allclose(alie(rows, 3), byzfl_attacks.ALittleIsEnough(tau=-hidden(15, 3))(rows), atol=1e-5)
    np.testing.assert_allclose(foe(rows, 3), byzfl_attacks.InnerProductManipulation(tau=FOE_FACTOR)(rows), atol=1e-5)
    np.testing.assert_array_equal(mimic(rows, 3), byzfl_attacks.Mimic(epsilon=0)(rows))


def test_min_max_and_min_sum_go_to_their_limit_and_not_beyond():
    rows = honest(12, 200).astype(np.float64)
    between = ((rows[:, None] - rows) ** 2).sum(2)
    for sent, limit, measure in ((min_max, between.max(), np.max), (min_sum, between.sum(1).max(), np.sum)):
        found = measure(((rows - sent(rows.astype(np.float32), 3)) ** 2).sum(1))
        assert 0.999 * limit < found <= limit * (1 + 1e-6)


@pytest.mark.parametrize("who", [(1, 4), (0, 5)])
@pytest.mark.parametrize("kind", sorted(COLLUSIONS))
def test_all_attackers_of_a_round_send_what_follows_from_the_honest_updates_alone(kind, who):
    attackers = These(tuple(f"A{row}" for row in who), 7, replace(NONE, kind=kind))
    plan = RoundPlan(1, tuple(f"A{row}" for row in range(6)), np.zeros(5000, np.float32), 1.0)
    result = run_round(Inbox(Attacked(Honest(), attackers)), plan, Rows())
    rest = [row for row in range(6) if row not in who]
    assert (result.deltas[rest] == honest()[rest]).all()
    assert (result.deltas[list(who)] == COLLUSIONS[kind](honest()[rest], 2)).all()


@pytest.mark.parametrize("kind", sorted(COLLUSIONS))
def test_a_round_that_does_not_wait_for_all_is_refused_with_the_reason(kind):
    with pytest.raises(ValueError, match=r"all honest updates of a round.*quorum of 1"):
        Config.model_validate({"attack": {"kind": kind}, "rounds": {"quorum": 0.8}})


@pytest.mark.parametrize("kind", sorted(COLLUSIONS))
def test_an_attacked_run_is_made_again_from_its_record_with_the_same_bits_and_is_another_than_an_honest_one(kind):
    attackers = Attackers(FEDERATION.agents, 7, replace(NONE, kind=kind))
    assert any(attackers.malicious(1, FEDERATION.agents).values())
    finish, seen = run(SETTINGS, Attacked(Racing(Trainer, 1), attackers))
    made_again = replay(recorded(seen.records), FEDERATION, SETTINGS, Trainer, lambda own: Attacked(own, attackers))
    assert made_again.weights.tobytes() == finish.state.weights.tobytes()
    assert finish.state.weights.tobytes() != run(SETTINGS, Racing(Trainer, 1))[0].state.weights.tobytes()
