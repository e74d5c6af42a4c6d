"""Which task answers which order, without threads, clock or network."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogrid.backends.leases import Leases
from neurogrid.fl.order import LATE, LOST, Order

LEASE_S, DEADLINE_S = 5.0, 120.0


class Round:
    """Leases with orders 0 to n - 1 of agents A0 to A(n-1), and a clock."""

    def __init__(self, n, tasks=2, most=50, risky=(), quick=True):
        self.now = 0.0
        self.leases = Leases(LEASE_S, most)
        for task in range(1, tasks + 1):
            self.leases.join(task, 0.0)
        if quick:  # it is known how long agents take
            self.submit([Order(-task, f"B{task}", "train", 0, 0) for task in range(1, 2 * tasks + 1)])
            for _ in range(2):
                for task in range(1, tasks + 1):
                    for number in self.take(task):
                        self.answer(task, number, held=False)
            assert not self.leases.open
        self.submit([Order(i, f"A{i}", "train", 1, 0, int(i in risky)) for i in range(n)])

    def submit(self, orders):
        self.leases.submit(orders, self.now, DEADLINE_S)

    def take(self, task):
        return [order.id for order in self.leases.grant(task, self.now)]

    def answer(self, task, number, held=True):
        return self.leases.answer(task, number, self.now, 0.001, held=held) is not None

    def fail(self, task, number, retry=True):
        self.leases.fail(task, number, self.now, 0.001, f"failed: {number}", retry=retry)

    def wait(self, seconds):
        self.now += seconds
        return self.leases.expire(self.now)

    @property
    def missing(self):
        return {m.order.id: m.reason for m in self.leases.missing}

    @property
    def risky(self):
        return {m.order.id for m in self.leases.missing if m.risky}


def test_a_task_gets_first_what_it_holds_then_what_nobody_holds_then_what_others_hold():
    first = Round(4)
    held = {1: first.take(1), 2: first.take(2)}
    assert sorted(held[1] + held[2]) == [0, 1, 2, 3]
    for task, numbers in held.items():
        for number in numbers:
            first.answer(task, number)
    first.submit([Order(10 + i, f"A{i}", "train", 2, 0) for i in range(6)])
    assert first.take(1)[: len(held[1])] == [10 + number for number in held[1]]
    assert first.take(2)[: len(held[2])] == [10 + number for number in held[2]]


def test_a_task_that_has_nothing_takes_what_another_holds_the_shards_of():
    first = Round(2, tasks=1)
    for number in first.take(1):
        first.answer(1, number)
    first.leases.join(2, first.now)
    first.submit([Order(10, "A0", "train", 2, 0), Order(11, "A1", "train", 2, 0)])
    assert first.take(2) == [11, 10]  # from the end: it leaves the other what it comes to first


def test_the_agents_of_a_lost_task_go_to_another_one_at_a_time_and_the_first_comes_last():
    one = Round(3, tasks=1)
    assert one.take(1) == [0, 1, 2]
    one.leases.join(2, one.now)
    one.leases.leave(1)
    for number in (1, 2, 0):
        assert one.take(2) == [number]
        assert one.take(2) == []
        assert one.answer(2, number)
    assert one.leases.open == 0
    assert one.leases.reassigned == 3
    assert one.missing == {}


def test_an_agent_whose_tasks_are_lost_twice_is_lost_and_a_risk_and_the_others_are_not():
    one = Round(3, tasks=1)
    assert one.take(1) == [0, 1, 2]
    one.leases.join(2, one.now)
    one.leases.join(3, one.now)
    one.leases.leave(1)
    assert one.take(2) == [1]
    one.leases.leave(2)
    assert one.missing == {1: LOST}
    assert one.risky == {1}
    for number in (2, 0):
        assert one.take(3) == [number]
        assert one.answer(3, number)
    assert one.leases.open == 0


def test_an_agent_that_was_a_risk_before_is_tried_last_alone_and_once():
    one = Round(3, tasks=1, risky=(0,))
    assert one.take(1) == [1, 2]
    assert one.answer(1, 1)
    assert one.take(1) == []
    assert one.answer(1, 2)
    assert one.take(1) == [0]
    one.leases.leave(1)
    assert one.missing == {0: LOST}


def test_an_agent_that_fails_is_tried_once_more_elsewhere_and_nowhere_else():
    one = Round(1)
    assert one.take(1) == [0]
    one.fail(1, 0)
    assert one.take(1) == []
    assert one.take(2) == [0]
    one.fail(2, 0)
    assert one.missing == {0: "failed: 0"}
    assert one.risky == set()


def test_an_agent_that_failed_is_not_waited_for_when_no_other_task_is_left():
    one = Round(1)
    one.take(1)
    one.fail(1, 0)
    one.leases.leave(2)
    assert one.missing == {0: "failed: 0"}


def test_wrong_shapes_are_not_tried_again():
    one = Round(1)
    one.take(1)
    one.fail(1, 0, retry=False)
    assert one.missing == {0: "failed: 0"}


def test_agents_that_have_not_answered_by_the_deadline_are_late_and_only_who_held_up_its_task_is_a_risk():
    one = Round(8, tasks=1)
    assert 0 in one.take(1)
    assert one.wait(LEASE_S + 0.1) == []
    assert one.wait(LEASE_S + 0.1) == [1]  # others wait, and there is nobody else
    one.leases.leave(1)
    one.leases.join(2, one.now)
    one.now = DEADLINE_S - 0.5
    numbers = one.take(2)
    assert one.wait(0.5) == []
    assert set(one.missing.values()) == {LATE}
    assert len(one.missing) == 8
    assert one.risky == set()
    assert not one.answer(2, numbers[0])


def test_an_agent_that_held_up_its_task_until_it_was_late_is_a_risk():
    one = Round(8)
    assert 0 in one.take(1)
    one.wait(DEADLINE_S)
    assert set(one.missing.values()) == {LATE}
    assert one.risky == {0}


def test_when_a_lease_runs_out_others_get_all_it_was_for_the_one_under_way_last_and_the_first_answer_counts():
    one = Round(6)
    held = one.take(1)
    assert one.wait(LEASE_S - 0.1) == []
    assert one.take(1) == []
    taken = []
    one.wait(0.2)
    assert one.leases.live == [2]
    while numbers := one.take(2):
        taken += numbers
        assert all(one.answer(2, number) for number in numbers if number != held[0])
        if held[0] in numbers:
            break
    assert taken[-1] == held[0]
    assert sorted(taken) == list(range(6))
    assert one.answer(1, held[0])  # it was only slow
    assert not one.answer(2, held[0])
    assert one.leases.live == [1, 2]
    assert one.leases.open == 0


def test_a_task_whose_agent_another_has_answered_is_replaced_when_it_is_silent_for_as_long_again():
    one = Round(1)
    assert one.take(1) == [0]
    one.wait(LEASE_S + 0.1)
    assert one.take(2) == [0]
    assert one.answer(2, 0)
    assert one.leases.drops == {1: [0]}
    assert one.wait(LEASE_S - 0.2) == []
    assert one.wait(0.3) == [1]


def test_a_task_that_is_slow_and_needed_is_left_alone_until_its_deadline_has_passed():
    one = Round(1, tasks=1)
    assert one.take(1) == [0]
    for _ in range(110):
        assert one.wait(1.0) == []
    assert one.answer(1, 0)


def test_an_agent_may_take_four_times_as_long_as_any_before_it():
    one = Round(4, tasks=1)
    numbers = one.take(1)
    one.wait(4.0)
    one.answer(1, numbers[0])
    one.wait(15.9)
    assert one.leases.live == [1]
    one.wait(0.2)
    assert one.leases.live == []


def test_nobody_is_silent_while_the_driver_itself_stands_still():
    one = Round(1)
    one.take(1)
    one.now += 60.0
    one.leases.stood_still(60.0)
    assert one.wait(0.1) == []
    assert one.leases.live == [1, 2]


@pytest.mark.parametrize("tasks", [3, 5])
def test_a_quick_task_gets_no_more_than_twice_its_share_while_others_work(tasks):
    one = Round(100, tasks=tasks, most=10)
    for task in range(2, tasks + 1):
        one.take(task)
    taken = 0
    while numbers := one.take(1):
        taken += len(numbers)
        for number in numbers:
            one.answer(1, number)
    assert taken == 2 * -(-100 // tasks)


@pytest.mark.parametrize(("agent_s", "behind"), [(0.01, True), (0.5, False)])
def test_the_last_agent_is_handed_out_behind_another_only_if_they_are_quick(agent_s, behind):
    one = Round(4, tasks=1, quick=False)
    assert one.take(1) == [0]
    one.leases.answer(1, 0, 0.0, agent_s, held=False)
    assert one.take(1) == [1, 2]
    one.leases.answer(1, 1, 0.0, agent_s, held=False)
    assert (one.take(1) == [3]) == behind


def test_cancelled_orders_are_late_at_once_and_the_task_that_has_them_is_told():
    one = Round(2, tasks=1)
    assert one.take(1) == [0, 1]
    one.leases.cancel([1, 77])
    assert one.missing == {1: LATE}
    assert one.leases.drops == {1: [1]}
    assert not one.answer(1, 1)
    assert one.answer(1, 0)


STEPS = ["join", "leave", "take", "answer", "fail", "refuse", "skip", "wait", "cancel", "submit"]


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(0, 12),
    risky=st.sets(st.integers(0, 11)),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 4), st.integers(0, 30)), max_size=80),
)
def test_each_agent_is_answered_once_or_missing_once_whatever_happens(n, risky, steps):
    one = Round(n, tasks=2, most=2, risky=risky)
    asked, answered, hands, last = n, [], {1: [], 2: []}, 2
    for step, task, value in steps:
        hand = hands.get(task)
        if step == "join":
            last += 1
            hands[last] = []
            one.leases.join(last, one.now)
        elif step == "leave":
            one.leases.leave(task)
            hands.pop(task, None)
        elif step == "wait":
            for replaced in one.wait(float(value)):
                one.leases.leave(replaced)
                hands.pop(replaced)
        elif step == "cancel":
            one.leases.cancel([value])
        elif step == "submit":
            one.submit([Order(asked, f"A{asked}", "train", 2, 0)])
            asked += 1
        elif hand is None:
            assert one.take(task) == []
            assert not one.answer(task, 0)
        elif step == "take":
            taken = one.take(task)
            assert not set(taken) & set(hand)
            hand += taken
            assert len(hand) <= 4
        elif hand:
            number = hand.pop(0)
            if step == "answer":
                answered += [number] if one.answer(task, number) else []
            elif step == "skip":
                one.leases.skip(task, number, one.now)
                one.leases.cancel([number])
            else:
                one.fail(task, number, retry=step == "fail")
            assert not one.answer(task, number)
    for _ in range(3):
        for task in list(hands):
            one.leases.leave(task)
        one.wait(2 * DEADLINE_S)
    gone = [m.order.id for m in one.leases.missing]
    assert one.leases.open == 0
    assert sorted([*answered, *gone]) == list(range(asked))
    assert one.leases._waiting == 0


def test_what_is_still_open_of_earlier_waves_is_handed_out_however_small_the_newest_is():
    first = Round(20)
    first.submit([Order(100, "C0", "train", 2, 1)])
    done = 0
    while taken := [(task, number) for task in (1, 2) for number in first.take(task)]:
        for task, number in taken:
            first.fail(task, number, retry=False)
            done += 1
    assert (done, first.leases.open) == (21, 0)


def test_scores_that_a_round_waits_for_are_handed_out_before_trainings_that_wait():
    first = Round(20, tasks=1)
    held = first.take(1)
    first.submit([Order(100 + i, f"C{i}", "score", 2, 1) for i in range(3)])
    for number in held:
        first.answer(1, number, held=False)
    handed = []
    while len(handed) < 3:
        handed += first.take(1)
        for number in handed:
            first.answer(1, number, held=False)
    assert set(handed[:3]) == {100, 101, 102}


def test_that_trainings_are_quick_says_nothing_of_how_long_adapting_takes():
    first = Round(0)
    first.submit([Order(i, f"A{i}", "adapt", 2, 2) for i in range(6)])
    done, replaced = 0, []
    busy = {task: first.take(task) for task in (1, 2)}
    while any(busy.values()) and first.now < DEADLINE_S - 15:
        replaced += first.wait(13.0)
        for task, numbers in busy.items():
            if numbers:
                done += first.answer(task, numbers[0])
                busy[task] = numbers[1:] or first.take(task)
    assert (done, replaced, first.missing) == (6, [], {})
    first.submit([Order(10, "A9", "train", 3, 3)])  # and long adaptings make no training long
    first.take(1)
    first.wait(LEASE_S + 1.1)
    assert first.take(2) == [10]
