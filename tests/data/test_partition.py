"""Dealing: largest remainder, districts, weeks. Pure arithmetic, so hypothesis looks for what breaks it."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurogrid.data.partition import Week, deal_districts, deal_weeks, draw, largest_remainder
from neurogrid.errors import UsageError

weights_and_rooms = st.lists(
    st.tuples(st.floats(0, 1e6, allow_nan=False), st.integers(0, 50)), min_size=1, max_size=8
).flatmap(lambda pairs: st.tuples(st.just(pairs), st.integers(0, sum(room for _, room in pairs))))


@given(weights_and_rooms)
def test_largest_remainder_places_all_and_never_above_a_capacity(case):
    pairs, total = case
    weights, rooms = zip(*pairs, strict=True)
    shares = largest_remainder(total, weights, rooms)
    assert sum(shares) == total
    assert all(0 <= share <= room for share, room in zip(shares, rooms, strict=True))


@given(st.integers(0, 500), st.lists(st.integers(1, 100), min_size=1, max_size=9))
def test_largest_remainder_is_within_one_of_the_quota_where_no_capacity_binds(total, weights):
    shares = largest_remainder(total, weights, [total] * len(weights))
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share * sum(weights) - total * weight) < sum(weights)


def test_largest_remainder_gives_the_textbook_seats():
    # Hamilton's method on the example of the 1880s: 47 / 16 / 15.8 / 12 / 6.1 / 3.1 percent and 10 seats.
    assert largest_remainder(10, [47, 16, 15.8, 12, 6.1, 3.1], [10] * 6) == (5, 2, 1, 1, 1, 0)


def test_largest_remainder_passes_on_what_a_full_one_cannot_take():
    assert largest_remainder(10, [8, 1, 1], [2, 9, 9]) == (2, 4, 4)


def test_largest_remainder_refuses_more_than_fits():
    with pytest.raises(ValueError, match="cannot place 5"):
        largest_remainder(5, [1, 1], [2, 2])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 7), st.integers(0, 9))
def test_districts_differ_by_at_most_one_in_size_and_in_each_cluster(clusters, districts, seed):
    district = deal_districts(clusters, districts, seed)
    sizes = [district.count(d) for d in range(districts)]
    assert max(sizes) - min(sizes) <= 1
    for cluster in set(clusters):
        mix = Counter(d for d, c in zip(district, clusters, strict=True) if c == cluster)
        counts = [mix[d] for d in range(districts)]
        assert max(counts) - min(counts) <= 1


def test_a_draw_takes_from_each_stratum_in_proportion_and_depends_on_its_seed():
    members = {0: [f"a{i}" for i in range(30)], 1: [f"b{i}" for i in range(10)]}
    drawn = draw(members, 8, 1, "held out")
    assert Counter(name[0] for name in drawn) == {"a": 6, "b": 2}
    assert drawn == draw(dict(reversed(members.items())), 8, 1, "held out")
    assert drawn != draw(members, 8, 2, "held out")
    assert drawn != draw(members, 8, 1, "agents")


def weeks_of(households: int, train: int) -> list[Week]:
    return [
        Week(h, b, h % 3, "train" if b < train else "validation" if b == train else "test")
        for h in range(households)
        for b in range(train + 3)
    ]


@given(
    households=st.integers(1, 8),
    train=st.integers(1, 8),
    agents=st.integers(1, 12),
    kind=st.sampled_from(["iid", "dirichlet"]),
    alpha=st.sampled_from([1e-3, 0.1, 1.0, 100.0]),
    seed=st.integers(0, 5),
)
def test_every_week_goes_to_exactly_one_agent_and_every_agent_can_train(households, train, agents, kind, alpha, seed):
    weeks = weeks_of(households, train)
    if households * train < agents:
        with pytest.raises(UsageError, match=f"too few training weeks for {agents} agents"):
            deal_weeks(weeks, agents, kind, alpha, seed)
        return
    hands = deal_weeks(weeks, agents, kind, alpha, seed)
    assert sorted((w.household, w.block) for hand in hands for w in hand) == [(w.household, w.block) for w in weeks]
    assert all(any(w.stage == "train" for w in hand) for hand in hands)


def test_iid_agents_hold_equally_many_weeks_and_a_small_alpha_makes_them_unlike():
    weeks = weeks_of(12, 40)

    def shares(kind, alpha):
        hands = deal_weeks(weeks, 6, kind, alpha, 3)
        mix = np.array([[sum(w.kind == k for w in hand) for k in range(3)] for hand in hands], float)
        return mix.sum(1), (mix / mix.sum(1, keepdims=True)).max(1).mean()

    sizes, iid_purity = shares("iid", 1.0)
    assert sizes.max() - sizes.min() <= 3  # one a stage
    _, even = shares("dirichlet", 100.0)
    _, uneven = shares("dirichlet", 0.05)
    assert iid_purity < 0.45
    assert even < 0.5
    assert uneven > 0.8
