"""Which task trains which agent of a round: the scheduling, as a state machine without threads, clock or network.

An agent is waiting, in one task's hand, answered, or missing with a reason. Tasks join, take a few agents at a time,
answer, fail, get stuck, or are lost. In whatever order that happens, each agent is answered once or missing once.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum

from neurogrid.fl.update import AgentId

TaskId = int

LOST = "lost"
LATE = "late"
MAX_LOSSES = 2
"""An agent whose task is lost this many times is given up: it may be what kills them."""

_QUICK_S = 0.003
_CHUNK_S = 0.4


class _State(Enum):
    WAITING = 0
    AGAIN = 1  # waiting for another try, alone
    IN_HAND = 2
    ANSWERED = 3
    MISSING = 4


def chunk_size(waiting: int, total: int, tasks: int, agent_s: float | None, max_rows: int) -> int:
    """How many agents to hand to a task at once.

    Half of a fair share of what waits (guided self-scheduling), so that nobody hoards at the end of a round; but at
    least a few milliseconds of work, so that quick agents do not drown in messages, and at most 400 ms of it.

    Args:
        waiting: agents that nobody has in hand.
        total: agents of the round.
        tasks: tasks that are alive.
        agent_s: what an agent takes, by experience; None when there is none yet.
        max_rows: most deltas that one message may carry.
    """
    tasks = max(1, tasks)
    size = -(-waiting // (2 * tasks))
    if agent_s is None:
        size = 1
    elif agent_s > 0:
        share = -(-total // tasks)
        size = max(size, min(int(_QUICK_S / agent_s), share))
        size = min(size, int(_CHUNK_S / agent_s))
    return max(1, min(size, max_rows))


class RoundQueue:
    """The agents of one round, by their index in the plan.

    Args:
        agents: the plan's agents.
        holders: tasks that have an agent's shard in memory, as far as is known.
        tasks: tasks that are alive.
        given_up: agents not to be tried, with the reason.
    """

    def __init__(
        self,
        agents: Sequence[AgentId],
        holders: Mapping[AgentId, Collection[TaskId]],
        tasks: Iterable[TaskId],
        given_up: Mapping[AgentId, str],
    ) -> None:
        self.total = len(agents)
        self.waiting = 0  # includes those that wait for another try
        self.missing: dict[int, str] = {}
        self.reassigned = 0
        self._open = len(agents)
        self._state = [_State.WAITING] * len(agents)
        self._hand: dict[TaskId, dict[int, None]] = {task: {} for task in tasks}
        self._own: dict[TaskId, deque[int]] = {task: deque() for task in self._hand}
        self._unheld: deque[int] = deque()
        self._again: deque[int] = deque()
        self._losses: dict[int, int] = {}
        self._failures: dict[int, tuple[TaskId, str]] = {}
        for index, agent in enumerate(agents):
            if agent in given_up:
                self._give_up(index, given_up[agent])
                continue
            self.waiting += 1
            by = [task for task in holders.get(agent, ()) if task in self._own]
            for task in by:
                self._own[task].append(index)
            if not by:
                self._unheld.append(index)

    @property
    def done(self) -> bool:
        """Whether each agent is answered or missing."""
        return self._open == 0

    @property
    def tasks(self) -> Collection[TaskId]:
        """Tasks that are alive."""
        return self._hand.keys()

    def in_hand(self, task: TaskId) -> int:
        """How many agents the task has."""
        return len(self._hand.get(task, ()))

    def losses(self) -> list[int]:
        """Agents that were given up because their tasks were lost."""
        return [index for index, count in self._losses.items() if count >= MAX_LOSSES]

    def join(self, task: TaskId) -> None:
        """A task is ready to train."""
        self._hand.setdefault(task, {})
        self._own.setdefault(task, deque())

    def take(self, task: TaskId, limit: int) -> list[int]:
        """Hands up to `limit` agents to `task`.

        First those whose shards it holds, then those that nobody holds; and, if it has nothing in hand at all, what
        others hold, from the one with the most left, and at last an agent that is to be tried again. Such an agent is
        handed out alone and nothing is handed out behind it: if it takes its task down, nobody else is suspected.
        """
        hand = self._hand.get(task)
        if hand is None or any(self._tried(index) for index in hand):
            return []
        picked = self._pop(self._own[task], limit)
        picked += self._pop(self._unheld, limit - len(picked))
        if not hand and not picked:
            victims = sorted((t for t in self._own if t != task), key=lambda t: -self._left(t))
            for victim in victims:
                picked += self._pop(self._own[victim], limit - len(picked), from_end=True)
        if not hand and not picked:
            picked = self._retry(task)
        for index in picked:
            self._state[index] = _State.IN_HAND
            hand[index] = None
        self.waiting -= len(picked)
        return picked

    def answer(self, task: TaskId, index: int) -> bool:
        """An agent's update is here. False when the task does not have the agent in hand: the update is ignored."""
        if not self._drop_from_hand(task, index):
            return False
        self._state[index] = _State.ANSWERED
        self._open -= 1
        if self._losses.get(index):
            self.reassigned += 1
        return True

    def fail(self, task: TaskId, index: int, reason: str, *, retry: bool) -> bool:
        """An agent gave no update. With `retry` it is tried once more if there is another task to try it on.

        False when the task does not have the agent in hand.
        """
        if not self._drop_from_hand(task, index):
            return False
        if retry and index not in self._failures and len(self._hand) > 1:
            self._failures[index] = (task, reason)
            self._put_back(index)
        else:
            self._give_up(index, reason)
        return True

    def lose(self, task: TaskId) -> None:
        """A task is gone: what it had in hand goes back, or is given up if that happened before."""
        hand = self._hand.pop(task, None)
        if hand is None:
            return
        self._unheld.extend(self._own.pop(task))
        for index in hand:
            self._losses[index] = self._losses.get(index, 0) + 1
            if self._losses[index] >= MAX_LOSSES:
                self._give_up(index, LOST)
            else:
                self._put_back(index)
        for index in [i for i in self._again if self._state[i] is _State.AGAIN and i in self._failures]:
            failed_on, reason = self._failures[index]
            if all(other == failed_on for other in self._hand):
                self.waiting -= 1
                self._give_up(index, reason)

    def reclaim(self, task: TaskId, keep: int) -> list[int]:
        """Takes back what `task` has in hand besides agent `keep`, on which it is stuck, for others to train."""
        hand = self._hand.get(task, {})
        if keep not in hand:
            return []
        back = [index for index in hand if index != keep]
        for index in back:
            del hand[index]
            self._state[index] = _State.WAITING
        self._unheld.extend(back)
        self.waiting += len(back)
        return back

    def expire(self) -> None:
        """The deadline has passed: who has not answered is late."""
        for index, state in enumerate(self._state):
            if state not in (_State.ANSWERED, _State.MISSING):
                self._give_up(index, self._failures[index][1] if index in self._failures else LATE)
        self.waiting = 0
        for hand in self._hand.values():
            hand.clear()

    def _tried(self, index: int) -> bool:
        return index in self._losses or index in self._failures

    def _left(self, task: TaskId) -> int:
        return sum(self._state[index] is _State.WAITING for index in self._own[task])

    def _pop(self, source: deque[int], limit: int, *, from_end: bool = False) -> list[int]:
        picked: list[int] = []
        while source and len(picked) < limit:
            index = source.pop() if from_end else source.popleft()
            # An agent that several tasks hold stands in several queues; only the first that comes gets it.
            if self._state[index] is _State.WAITING:
                self._state[index] = _State.IN_HAND
                picked.append(index)
        return picked

    def _retry(self, task: TaskId) -> list[int]:
        self._again = deque(i for i in self._again if self._state[i] is _State.AGAIN)
        for index in self._again:
            if index not in self._failures or self._failures[index][0] != task:
                return [index]
        return []

    def _put_back(self, index: int) -> None:
        self._state[index] = _State.AGAIN
        self._again.append(index)
        self.waiting += 1

    def _give_up(self, index: int, reason: str) -> None:
        self._state[index] = _State.MISSING
        self.missing[index] = reason
        self._open -= 1

    def _drop_from_hand(self, task: TaskId, index: int) -> bool:
        hand = self._hand.get(task)
        if hand is None or index not in hand:
            return False
        del hand[index]
        return True
