"""What attackers send, and who they are."""

from dataclasses import replace

import numpy as np
import pytest

from neurogrid.fl.attack import ATTACKS, Attacked, Attackers, AttackSettings
from neurogrid.fl.claims import Claims
from neurogrid.fl.collect import Inbox, Rows, run_round
from neurogrid.fl.order import Missing, Traffic, Update
from neurogrid.fl.registry import count
from neurogrid.fl.update import RoundPlan, Worked

EVERYONE = tuple(f"A{i:04}" for i in range(60))
NONE = AttackSettings(kind="none", fraction=0.2, placement="fixed", scale=10.0, noise_std=0.5)


def honest(n: int = 6, d: int = 5000) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)


class Honest:
    """A backend of six agents; those in `missing` are late."""

    def __init__(self, missing=()):
        self.missing = missing

    def publish(self, version, weights):
        pass

    def submit(self, orders, deadline_s):
        self.orders = orders

    def answers(self, until_s):
        for order, delta in zip(self.orders, honest(), strict=True):
            late = order.agent in self.missing
            yield Missing(order, "late") if late else Update(order, delta, Claims(9, {}), Worked(0, 0.0))

    def traffic(self):
        return Traffic()


class These(Attackers):
    """Attackers that are named."""

    def malicious(self, round_number, agents):
        return {agent: agent in self.everyone for agent in agents}


def attacked(kind: str, who: list[int], round_number: int = 1, missing=()) -> tuple[np.ndarray, np.ndarray]:
    attackers = These(tuple(f"A{row}" for row in who), 7, replace(NONE, kind=kind))
    plan = RoundPlan(round_number, tuple(f"A{row}" for row in range(6)), np.zeros(5000, np.float32), 1.0)
    return honest(), run_round(Inbox(Attacked(Honest(missing), attackers)), plan, Rows()).deltas


def test_scale_sends_ten_times_the_honest_delta():
    before, after = attacked("scale", [1, 4])
    assert (after[[1, 4]] == 10 * before[[1, 4]]).all()


def test_sign_flip_sends_the_honest_delta_turned_round():
    before, after = attacked("sign_flip", [0])
    assert (after[0] == -before[0]).all()


def test_noise_adds_gaussian_noise_of_that_deviation():
    before, after = attacked("noise", [2, 3])
    added = (after - before)[[2, 3]]
    assert added.std() == pytest.approx(0.5, rel=0.03)
    assert abs(added.mean()) < 0.02
    assert abs(np.corrcoef(added)[0, 1]) < 0.05


@pytest.mark.parametrize("kind", sorted(ATTACKS))
def test_honest_agents_send_what_they_computed_and_float32(kind):
    before, after = attacked(kind, [1, 4])
    rest = [0, 2, 3, 5]
    assert (after[rest] == before[rest]).all()
    assert after.dtype == np.float32


def test_noise_is_the_same_again_in_the_same_round_and_other_in_the_next():
    one, again, later = attacked("noise", [2])[1], attacked("noise", [2])[1], attacked("noise", [2], round_number=2)[1]
    assert (one == again).all()
    assert (one[2] != later[2]).any()


def test_what_an_attacker_draws_does_not_depend_on_who_else_has_answered():
    whole, without = attacked("noise", [1, 4])[1], attacked("noise", [1, 4], missing=("A0", "A1"))[1]
    assert (whole[2:] == without).all()


def drawn_of(chosen, round_number: int, settings: AttackSettings) -> np.ndarray:
    return np.array(list(Attackers(EVERYONE, 3, settings).malicious(round_number, chosen).values()))


def test_fixed_placement_makes_the_same_agents_malicious_in_every_round():
    settings = replace(NONE, kind="scale")
    whole = drawn_of(EVERYONE, 1, settings)
    assert whole.sum() == 12
    for number in range(2, 10):
        chosen = EVERYONE[number : number + 15]
        assert (drawn_of(chosen, number, settings) == whole[number : number + 15]).all()


def test_placement_per_round_makes_as_many_malicious_in_every_round_but_not_the_same():
    settings = replace(NONE, kind="scale", placement="per_round")
    drawn = [drawn_of(EVERYONE[:15], number, settings) for number in range(1, 9)]
    assert [d.sum() for d in drawn] == [3] * 8
    assert len({d.tobytes() for d in drawn}) > 1


@pytest.mark.parametrize(
    ("fraction", "agents", "expected"),
    [(0.2, 15, 3), (0.2, 14, 2), (0.1, 30, 3), (0.3, 10, 3), (0.29, 100, 29), (0, 9, 0)],
)
def test_a_share_of_agents_is_its_whole_part_whatever_binary_makes_of_it(fraction, agents, expected):
    assert count(fraction, agents) == expected
