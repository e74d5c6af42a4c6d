"""What attackers send, and who they are."""

from dataclasses import replace

import numpy as np
import pytest

from neurogrid.fl.attack import ATTACKS, AttackSettings, attack, count, malicious

EVERYONE = tuple(f"A{i:04}" for i in range(60))
NONE = AttackSettings(kind="none", fraction=0.2, placement="fixed", scale=10.0, noise_std=0.5)


def honest(n: int = 6, d: int = 5000) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)


def attacked(kind: str, who: list[int], round_number: int = 1) -> tuple[np.ndarray, np.ndarray]:
    before = honest()
    after = before.copy()
    agents = [f"A{row}" for row in range(len(before))]
    attack(after, agents, np.isin(np.arange(len(before)), who), round_number, 7, replace(NONE, kind=kind))
    return before, after


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


def test_no_attack_means_nobody_is_malicious():
    assert not malicious(EVERYONE, EVERYONE[:15], 1, 3, NONE).any()


def test_fixed_placement_makes_the_same_agents_malicious_in_every_round():
    settings = replace(NONE, kind="scale")
    whole = malicious(EVERYONE, EVERYONE, 1, 3, settings)
    assert whole.sum() == 12
    for number in range(2, 10):
        chosen = EVERYONE[number : number + 15]
        assert (malicious(EVERYONE, chosen, number, 3, settings) == whole[number : number + 15]).all()


def test_placement_per_round_makes_as_many_malicious_in_every_round_but_not_the_same():
    settings = replace(NONE, kind="scale", placement="per_round")
    drawn = [malicious(EVERYONE, EVERYONE[:15], number, 3, settings) for number in range(1, 9)]
    assert [d.sum() for d in drawn] == [3] * 8
    assert len({d.tobytes() for d in drawn}) > 1


@pytest.mark.parametrize(
    ("fraction", "agents", "expected"),
    [(0.2, 15, 3), (0.2, 14, 2), (0.1, 30, 3), (0.3, 10, 3), (0.29, 100, 29), (0, 9, 0)],
)
def test_a_share_of_agents_is_its_whole_part_whatever_binary_makes_of_it(fraction, agents, expected):
    assert count(fraction, agents) == expected
