"""The scheduling of a round's agents, without threads or network."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogrid.backends.queue import LATE, LOST, MAX_LOSSES, RoundQueue, chunk_size


def names(n):
    return [f"A{i}" for i in range(n)]


def test_a_task_gets_first_what_it_holds_then_what_nobody_holds_then_what_others_hold():
    queue = RoundQueue(names(6), {"A4": {1}, "A5": {1}, "A0": {2}, "A1": {2}}, [1, 2], {})
    assert queue.take(1, 2) == [4, 5]
    assert queue.take(1, 2) == [2, 3]
    assert queue.take(1, 2) == []  # it has work in hand: what task 2 holds is left to task 2
    for index in (4, 5, 2, 3):
        assert queue.answer(1, index)
    assert queue.take(1, 1) == [1]
    assert queue.take(2, 9) == [0]


def test_the_agents_of_a_lost_task_go_to_another_one_at_a_time():
    queue = RoundQueue(names(3), {}, [1, 2], {})
    assert queue.take(1, 2) == [0, 1]
    assert queue.take(2, 2) == [2]
    queue.lose(1)
    assert queue.take(2, 2) == []
    assert queue.answer(2, 2)
    assert queue.take(2, 2) == [0]
    assert queue.take(2, 2) == []
    assert queue.answer(2, 0)
    assert queue.take(2, 2) == [1]
    assert not queue.answer(1, 1)  # too late: task 1 is lost
    assert queue.answer(2, 1)
    assert queue.done
    assert queue.reassigned == 2
    assert queue.missing == {}


def test_an_agent_whose_tasks_are_lost_twice_is_given_up_and_the_others_are_not():
    queue = RoundQueue(names(4), {}, [1, 2, 3], {})
    assert queue.take(1, 4) == [0, 1, 2, 3]
    queue.lose(1)
    assert queue.take(2, 4) == [0]
    queue.lose(2)
    assert queue.missing == {0: LOST}
    assert queue.losses() == [0]
    for index in (1, 2, 3):
        assert queue.take(3, 4) == [index]
        assert queue.answer(3, index)
    assert queue.done


def test_an_agent_that_fails_is_tried_once_more_elsewhere_and_nowhere_else():
    queue = RoundQueue(names(1), {}, [1, 2], {})
    assert queue.take(1, 1) == [0]
    assert queue.fail(1, 0, "failed: x", retry=True)
    assert queue.take(1, 1) == []
    assert queue.take(2, 1) == [0]
    assert queue.fail(2, 0, "failed: y", retry=True)
    assert queue.missing == {0: "failed: y"}
    assert queue.done


def test_an_agent_that_failed_is_not_waited_for_when_no_other_task_is_left():
    queue = RoundQueue(names(1), {}, [1, 2], {})
    queue.take(1, 1)
    queue.fail(1, 0, "failed: x", retry=True)
    queue.lose(2)
    assert queue.missing == {0: "failed: x"}
    assert queue.waiting == 0


def test_agents_that_have_not_answered_by_the_deadline_are_late():
    queue = RoundQueue(names(3), {}, [1], {"A2": LOST})
    queue.take(1, 1)
    queue.expire()
    assert queue.done
    assert queue.missing == {0: LATE, 1: LATE, 2: LOST}
    assert not queue.answer(1, 0)


def test_what_waits_behind_a_stuck_agent_goes_to_others():
    queue = RoundQueue(names(4), {}, [1, 2], {})
    assert queue.take(1, 4) == [0, 1, 2, 3]
    assert queue.answer(1, 0)
    assert queue.reclaim(1, 0) == []  # it has moved on since it said so
    assert queue.reclaim(1, 1) == [2, 3]
    assert queue.take(2, 4) == [2, 3]
    assert not queue.answer(1, 2)
    assert queue.answer(2, 2)
    assert queue.answer(1, 1)


def test_wrong_shapes_are_not_tried_again():
    queue = RoundQueue(names(1), {}, [1, 2], {})
    queue.take(1, 1)
    queue.fail(1, 0, "wrong shape: x", retry=False)
    assert queue.missing == {0: "wrong shape: x"}


@pytest.mark.parametrize(
    ("waiting", "agent_s", "expected"),
    [
        (15, None, 1),  # nothing is known yet
        (15, 0.4, 1),  # an agent takes longer than a chunk may
        (15, 1e-5, 8),  # so quick that each task takes its share at once
        (1000, 1e-5, 50),  # as much as a message may carry
        (100, 0.02, 20),  # 400 ms of work
        (3, 0.005, 1),  # the end of the round
    ],
)
def test_a_chunk_is_small_when_agents_are_slow_or_few_are_left(waiting, agent_s, expected):
    assert chunk_size(waiting, max(waiting, 15), 2, agent_s, 50) == expected


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(0, 12),
    steps=st.lists(
        st.tuples(st.sampled_from(["join", "lose", "take", "answer", "fail", "reject", "stuck"]), st.integers(0, 4)),
        max_size=80,
    ),
    held=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 4)), max_size=12),
    end=st.sampled_from(["drain", "expire"]),
)
def test_each_agent_is_answered_once_or_missing_once_whatever_happens(n, steps, held, end):
    holders: dict[str, set[int]] = {}
    for agent, task in held:
        holders.setdefault(f"A{agent}", set()).add(task)
    live, hand, answered = {0, 1}, {0: [], 1: []}, []
    queue = RoundQueue(names(n), holders, live, {})

    def take(task, limit):
        picked = queue.take(task, limit)
        everybody = [i for indices in hand.values() for i in indices]
        assert not set(picked) & ({*everybody, *answered} | set(queue.missing))
        hand[task] += picked
        return picked

    for step, task in steps:
        if step == "join":
            if task not in live and task not in hand:  # a task that was lost never comes back under its number
                live.add(task)
                hand[task] = []
                queue.join(task)
        elif task not in live:
            assert queue.take(task, 3) == []
            assert not queue.answer(task, 0)
        elif step == "lose":
            queue.lose(task)
            live.discard(task)
            hand[task] = []
        elif step == "take":
            take(task, 3)
        elif hand[task]:
            index = hand[task].pop(0)
            if step == "stuck":
                assert sorted(queue.reclaim(task, index)) == sorted(hand[task])
                hand[task] = [index]
                continue
            if step == "answer":
                assert queue.answer(task, index)
                answered.append(index)
            else:
                assert queue.fail(task, index, step, retry=step == "fail")
            assert not queue.answer(task, index)
    if end == "expire":
        queue.expire()
    else:
        queue.join(99)
        queue.join(98)
        live |= {98, 99}
        hand |= {98: [], 99: []}
        for _ in range(20 * (n + 1)):
            for task in sorted(live):
                take(task, 2)
                while hand[task]:
                    index = hand[task].pop(0)
                    assert queue.answer(task, index)
                    answered.append(index)
    assert queue.done
    assert queue.waiting == 0
    assert sorted([*answered, *queue.missing]) == list(range(n))
    assert all(count <= MAX_LOSSES for count in queue._losses.values())
